//! passt, with its guest on the stream socket.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::BenchError;
use crate::lab::{Addressing, Host, Output, Scratch};
use crate::peers::{
    Cell, Kind, Peer, Request, find, first_line, one_guest_only, package_version, stream_guests,
};

pub(crate) const NAME: &str = "passt";

const ADDRESSING: Addressing = Addressing {
    first: Ipv4Addr::new(192, 0, 2, 10),
    prefix: 24,
    gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
};

#[derive(Debug)]
pub(crate) struct Passt {
    pub(crate) program: PathBuf,
}

impl Passt {
    pub(crate) fn new(given: Option<&PathBuf>) -> Self {
        Self {
            program: find(given, NAME),
        }
    }
}

/// Debian's build answers "unknown version", and some releases leave before a pipe has got their words: then the package
/// or the path says what it is.
pub(super) fn version_of(program: &Path) -> Result<String, BenchError> {
    if !program.is_file() {
        return Err(BenchError::Unfit(format!("there is no {}", program.display())));
    }
    match first_line(program, "--version") {
        Ok(own) if !own.contains("unknown") => Ok(own),
        _ => Ok(package_version(program).map_or_else(
            || format!("of unknown version at {}", program.display()),
            |version| format!("Debian package {version}"),
        )),
    }
}

impl Peer for Passt {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn version(&self) -> Result<String, BenchError> {
        version_of(&self.program)
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        one_guest_only(NAME, request)?;
        let host = Host::new(&request.congestion, scratch)?;
        let socket = scratch.path("passt.sock");
        let mut command = Command::new(&self.program);
        // It refuses to serve as root unless told so; with another user it could not reach the socket's folder.
        command.args([
            "--foreground",
            "--runas",
            "0",
            "--ipv4-only",
            "--quiet",
            "--dns",
            "none",
        ]);
        command.args([
            "--address",
            "192.0.2.10",
            "--netmask",
            "24",
            "--gateway",
            "192.0.2.1",
            "--no-map-gw",
        ]);
        command.args([
            "--mtu",
            &request.mtu.to_string(),
            "--tcp-ports",
            "none",
            "--udp-ports",
            "none",
        ]);
        command.arg("--socket").arg(&socket);
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
