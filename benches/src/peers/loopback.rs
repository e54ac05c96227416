//! No network at all: client and server in one namespace.

use crate::error::BenchError;
use crate::lab::{Host, Scratch};
use crate::peers::{Cell, Kind, Peer, Request};

pub(crate) const NAME: &str = "loopback";

#[derive(Debug)]
pub(crate) struct Loopback;

impl Peer for Loopback {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> Kind {
        Kind::Loopback
    }

    fn version(&self) -> Result<String, BenchError> {
        Ok("the kernel's loopback device, MTU 65536".to_owned())
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        let host = Host::new(&request.congestion, scratch)?;
        Ok(Cell {
            guests: vec![host.as_guest()?],
            backend: None,
            host,
            api: None,
            ready_ms: None,
        })
    }
}
