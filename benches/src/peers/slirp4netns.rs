//! slirp4netns, which makes and configures its TAP in a namespace that exists.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use crate::error::BenchError;
use crate::lab::{Addressing, Host, Namespace, Output, Scratch};
use crate::peers::adopt::adopt_one;
use crate::peers::{Cell, Kind, Peer, Request, find, first_line, one_guest_only};

pub(crate) const NAME: &str = "slirp4netns";

/// Its own defaults.
const ADDRESSING: Addressing = Addressing {
    first: Ipv4Addr::new(10, 0, 2, 100),
    prefix: 24,
    gateway: Some(Ipv4Addr::new(10, 0, 2, 2)),
};

#[derive(Debug)]
pub(crate) struct Slirp4netns {
    program: PathBuf,
}

impl Slirp4netns {
    pub(crate) fn new() -> Self {
        Self {
            program: find(None, NAME),
        }
    }
}

impl Peer for Slirp4netns {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> Kind {
        Kind::Tap
    }

    fn version(&self) -> Result<String, BenchError> {
        first_line(&self.program, "--version")
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        one_guest_only(NAME, request)?;
        let host = Host::new(&request.congestion, scratch)?;
        let namespace = Namespace::new("guest", scratch)?;
        let mut command = Command::new(&self.program);
        command.args(["--configure", "--mtu", &request.mtu.to_string(), "--disable-dns"]);
        command.args([&namespace.pid().to_string(), "eth0"]);
        let backend = host.start(NAME, command, Output::Log, scratch)?;
        let guest = adopt_one(request, ADDRESSING, namespace, &backend)?;
        Ok(Cell {
            guests: vec![guest],
            backend: Some(backend),
            host,
            api: None,
            ready_ms: None,
        })
    }
}
