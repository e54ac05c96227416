//! pasta, which makes the guest's namespace itself and runs a command in it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use crate::error::BenchError;
use crate::lab::{Addressing, Host, Output, Scratch};
use crate::peers::adopt::{Meeting, adopt_one};
use crate::peers::passt::version_of;
use crate::peers::{Cell, Kind, Peer, Request, find, one_guest_only};

pub(crate) const NAME: &str = "pasta";

const ADDRESSING: Addressing = Addressing {
    first: Ipv4Addr::new(192, 0, 2, 10),
    prefix: 24,
    gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
};

#[derive(Debug)]
pub(crate) struct Pasta {
    program: PathBuf,
}

impl Pasta {
    /// Beside passt when a path is given for that: it is the same program under another name.
    pub(crate) fn new(passt: Option<&PathBuf>) -> Self {
        let beside = passt.map(|path| path.with_file_name(NAME));
        Self {
            program: find(beside.as_ref(), NAME),
        }
    }
}

impl Peer for Pasta {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> Kind {
        Kind::Tap
    }

    fn version(&self) -> Result<String, BenchError> {
        version_of(&self.program)
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        one_guest_only(NAME, request)?;
        let host = Host::new(&request.congestion, scratch)?;
        let meeting = Meeting::new(scratch)?;
        let mut command = Command::new(&self.program);
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
            "--ns-ifname",
            "eth0",
            "--config-net",
        ]);
        command.args([
            "--tcp-ports",
            "none",
            "--udp-ports",
            "none",
            "--tcp-ns",
            "none",
            "--udp-ns",
            "none",
        ]);
        // It would take the options of the command for its own otherwise.
        command.arg("--").args(meeting.holder()?);
        let backend = host.start(NAME, command, Output::Log, scratch)?;
        let namespace = meeting.namespace(&backend)?;
        namespace.quieten()?;
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
