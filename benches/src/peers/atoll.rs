//! `atoll net run`, with guests on its stream socket or on its vhost-user one.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::lab::{Addressing, Attach, Host, Output, Scratch};
use crate::peers::{Cell, Kind, Peer, Request, first_line, milliseconds_since, socket_guests};

pub(crate) const NAME: &str = "atoll";
pub(crate) const SHARED_NAME: &str = "atoll-vhost";

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
    /// Guests share their memory.
    pub(crate) shared: bool,
    /// More of its arguments.
    pub(crate) arguments: &'static [&'static str],
}

impl Peer for Atoll {
    fn name(&self) -> &'static str {
        if self.shared { SHARED_NAME } else { NAME }
    }

    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn version(&self) -> Result<String, BenchError> {
        let help = Command::new(&self.program)
            .args(["net", "run", "--help"])
            .output();
        let knows = help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--vhost-user"));
        if self.shared && !knows {
            let words = format!("{} has no --vhost-user", self.program.display());
            return Err(BenchError::Unfit(words));
        }
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
        command.args(self.arguments);
        let option = if self.shared { "--vhost-user" } else { "--qemu" };
        command.arg(option).arg(format!("unix:{}", socket.display()));
        command.arg("--api").arg(format!("unix:{}", api.display()));
        let start = Instant::now();
        let mut backend = host.start(self.name(), command, Output::Lines, scratch)?;
        let line = backend.line(PATIENCE)?;
        let ready_ms = milliseconds_since(start);
        if !line.contains("\"ready\"") {
            return Err(backend.failed(&format!("it said {line}")));
        }
        let attach = if self.shared {
            Attach::Share(&socket)
        } else {
            Attach::Connect(&socket)
        };
        Ok(Cell {
            guests: socket_guests(request, ADDRESSING, attach, scratch)?,
            backend: Some(backend),
            host,
            api: Some(api),
            ready_ms: Some(ready_ms),
        })
    }
}
