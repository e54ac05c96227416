//! Two guests whose shims are each other's other side.

use std::net::Ipv4Addr;

use crate::error::BenchError;
use crate::lab::{Addressing, Attach, Guest, Host, Scratch};
use crate::peers::{Cell, Kind, Peer, Request};

pub(crate) const NAME: &str = "direct";

const ADDRESSING: Addressing = Addressing {
    first: Ipv4Addr::new(192, 0, 2, 10),
    prefix: 24,
    gateway: None,
};

#[derive(Debug)]
pub(crate) struct Direct;

impl Peer for Direct {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> Kind {
        Kind::Direct
    }

    fn version(&self) -> Result<String, BenchError> {
        Ok("two shims with nothing between".to_owned())
    }

    fn most_guests(&self) -> u8 {
        2
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        if request.guests != 2 {
            return Err(BenchError::Unfit(
                "two shims with nothing between have two guests".to_owned(),
            ));
        }
        let socket = scratch.path("direct.sock");
        let (first, second) = (request.guest(0, ADDRESSING), request.guest(1, ADDRESSING));
        let mut listening = Guest::begin(&first, Attach::Listen(&socket), scratch)?;
        let mut connecting = Guest::begin(&second, Attach::Connect(&socket), scratch)?;
        listening.complete(&first)?;
        connecting.complete(&second)?;
        Ok(Cell {
            guests: vec![listening, connecting],
            backend: None,
            host: Host::new(&request.congestion, scratch)?,
            api: None,
            ready_ms: None,
        })
    }
}
