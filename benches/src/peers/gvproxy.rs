//! gvproxy, with its guest on the stream socket. It has fixed addresses and takes one guest there.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use crate::error::BenchError;
use crate::lab::{Addressing, Host, Output, Scratch};
use crate::peers::{Cell, Kind, Peer, Request, first_line, one_guest_only, stream_guests};

pub(crate) const NAME: &str = "gvproxy";

const ADDRESSING: Addressing = Addressing {
    first: Ipv4Addr::new(192, 168, 127, 2),
    prefix: 24,
    gateway: Some(Ipv4Addr::new(192, 168, 127, 1)),
};

#[derive(Debug)]
pub(crate) struct Gvproxy {
    pub(crate) program: PathBuf,
}

impl Peer for Gvproxy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn version(&self) -> Result<String, BenchError> {
        first_line(&self.program, "--version")
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        one_guest_only(NAME, request)?;
        let host = Host::new(&request.congestion, scratch)?;
        let socket = scratch.path("gvproxy.sock");
        let mut command = Command::new(&self.program);
        command
            .arg("-listen-qemu")
            .arg(format!("unix://{}", socket.display()));
        command.args(["-mtu", &request.mtu.to_string()]);
        let backend = host.start(NAME, command, Output::Log, scratch)?;
        let guests = stream_guests(request, ADDRESSING, &socket, scratch);
        backend.alive()?;
        Ok(Cell {
            guests: guests?,
            backend: Some(backend),
            host,
            api: None,
            ready_ms: None,
        })
    }
}
