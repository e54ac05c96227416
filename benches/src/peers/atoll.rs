//! `atoll net run`, with guests on its stream socket.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::lab::{Addressing, Host, Output, Scratch};
use crate::peers::{Cell, Kind, Peer, Request, first_line, milliseconds_since, stream_guests};

pub(crate) const NAME: &str = "atoll";

const ADDRESSING: Addressing = Addressing {
    first: Ipv4Addr::new(10, 77, 0, 10),
    prefix: 24,
    gateway: Some(Ipv4Addr::new(10, 77, 0, 1)),
};

/// How long it may take to say that it is ready; the bar is far lower and is measured.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Atoll {
    pub(crate) program: PathBuf,
}

impl Peer for Atoll {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn version(&self) -> Result<String, BenchError> {
        first_line(&self.program, "--version")
    }

    fn most_guests(&self) -> u8 {
        200
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        let host = Host::new(&request.congestion, scratch)?;
        let (socket, api) = (scratch.path("atoll.sock"), scratch.path("atoll.api"));
        let mut command = Command::new(&self.program);
        command.args([
            "net",
            "run",
            "--subnet",
            "10.77.0.0/24",
            "--mtu",
            &request.mtu.to_string(),
        ]);
        command.arg("--qemu").arg(format!("unix:{}", socket.display()));
        command.arg("--api").arg(format!("unix:{}", api.display()));
        let start = Instant::now();
        let mut backend = host.start(NAME, command, Output::Lines, scratch)?;
        let line = backend.line(PATIENCE)?;
        let ready_ms = milliseconds_since(start);
        if !line.contains("\"ready\"") {
            return Err(backend.failed(&format!("it said {line}")));
        }
        Ok(Cell {
            guests: stream_guests(request, ADDRESSING, &socket, scratch)?,
            backend: Some(backend),
            host,
            api: Some(api),
            ready_ms: Some(ready_ms),
        })
    }
}
