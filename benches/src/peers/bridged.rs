//! A guest on the host's LAN: by a TAP in the bridge, attached directly or as the uplink of `atoll net run --mode bridged`.
//!
//! | peer | from the guest's kernel to the bridge |
//! |---|---|
//! | `tap-direct` | TAP, what plays QEMU with `-netdev tap`, TAP in the bridge |
//! | `bridged-tap` | TAP, atoll (`net exec --join`), TAP in the bridge: a program more for none, so the two compare switches |
//! | `bridged-vhost` | TAP, the shim by vhost-user, atoll, TAP in the bridge: a process more, as for any VM that is not attached directly |
//! | `bridged-stream` | the same by QEMU's stream protocol |
//!
//! Guests have their addresses set by hand; the second one of a cell is the LAN's station.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{BenchError, Trying};
use crate::lab::{
    Addressing, Attach, BRIDGE, Guest, Host, Namespace, Output, Process, Scratch, Spawn, own_command,
};
use crate::peers::adopt::Meeting;
use crate::peers::{Cell, Kind, Peer, Request, first_line, milliseconds_since};

pub(crate) const TAP_DIRECT: &str = "tap-direct";
pub(crate) const BRIDGED_TAP: &str = "bridged-tap";
pub(crate) const BRIDGED_VHOST: &str = "bridged-vhost";
pub(crate) const BRIDGED_STREAM: &str = "bridged-stream";

const ADDRESSING: Addressing = Addressing {
    first: Ipv4Addr::new(192, 0, 2, 10),
    prefix: 24,
    gateway: None,
};

/// The station's place among the guests.
const STATION: u8 = 1;

const PATIENCE: Duration = Duration::from_secs(10);

/// A TAP in the bridge and nothing between.
#[derive(Debug)]
pub(crate) struct TapDirect;

impl Peer for TapDirect {
    fn name(&self) -> &'static str {
        TAP_DIRECT
    }

    fn kind(&self) -> Kind {
        Kind::Bridged
    }

    fn version(&self) -> Result<String, BenchError> {
        Ok("a TAP in the bridge, frames carried as QEMU's `-netdev tap` does".to_owned())
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        let host = Host::new(&request.congestion, scratch)?;
        let station = host.make_lan(&request.guest(STATION, ADDRESSING), scratch)?;
        let namespace = Namespace::new("guest", scratch)?;
        let mut command = own_command()?;
        command.args(["pump", "--tap", "eth0", "--port", "tap0", "--port-of"]);
        command.arg(host.namespace.pid().to_string());
        let mut pump = Spawn {
            name: "pump",
            command,
            namespace: Some(&namespace),
            output: Output::Lines,
        }
        .start(scratch)?;
        pump.line(PATIENCE)?;
        host.plug_in("tap0")?;
        let guest = Guest::adopt(namespace, &request.guest(0, ADDRESSING), "eth0")?;
        Ok(Cell {
            guests: vec![guest, station],
            backend: Some(pump),
            host,
            api: None,
            ready_ms: None,
        })
    }
}

/// How a guest of atoll's is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attached {
    Tap,
    Vhost,
    Stream,
}

/// `atoll net run --mode bridged`.
#[derive(Debug)]
pub(crate) struct Bridged {
    pub(crate) program: PathBuf,
    pub(crate) attached: Attached,
}

impl Peer for Bridged {
    fn name(&self) -> &'static str {
        match self.attached {
            Attached::Tap => BRIDGED_TAP,
            Attached::Vhost => BRIDGED_VHOST,
            Attached::Stream => BRIDGED_STREAM,
        }
    }

    fn kind(&self) -> Kind {
        Kind::Bridged
    }

    fn version(&self) -> Result<String, BenchError> {
        let help = Command::new(&self.program)
            .args(["net", "run", "--help"])
            .output();
        let knows = help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--via"));
        let helper = self.program.with_file_name("atoll-helper");
        match (knows, helper.is_file()) {
            (true, true) => first_line(&self.program, "--version"),
            (false, _) => Err(BenchError::Unfit(format!(
                "{} has no --via",
                self.program.display()
            ))),
            (true, false) => Err(BenchError::Unfit(format!("there is no {}", helper.display()))),
        }
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        let host = Host::new(&request.congestion, scratch)?;
        let station = host.make_lan(&request.guest(STATION, ADDRESSING), scratch)?;
        let (socket, api) = (scratch.path("bridged.sock"), scratch.path("bridged.api"));
        let start = Instant::now();
        let mut backend = self.run(&host, &socket, &api, scratch)?;
        let line = backend.line(PATIENCE)?;
        let ready_ms = milliseconds_since(start);
        if !line.contains("\"ready\"") {
            return Err(backend.failed(&format!("it said {line}")));
        }
        let spec = request.guest(0, ADDRESSING);
        let guest = match self.attached {
            Attached::Tap => self.join(request, &host, &api, scratch)?,
            Attached::Vhost => Guest::attach(&spec, Attach::Share(&socket), scratch)?,
            Attached::Stream => Guest::attach(&spec, Attach::Connect(&socket), scratch)?,
        };
        Ok(Cell {
            guests: vec![guest, station],
            backend: Some(backend),
            host,
            api: Some(api),
            ready_ms: Some(ready_ms),
        })
    }
}

impl Bridged {
    fn run(&self, host: &Host, socket: &Path, api: &Path, scratch: &Scratch) -> Result<Process, BenchError> {
        let mut command = Command::new(&self.program);
        command.args([
            "net",
            "run",
            "--mode",
            "bridged",
            "--interface",
            BRIDGE,
            "--via",
            "bridge",
        ]);
        // Its own helper, which as root it starts itself, in the root folder.
        let helper = std::path::absolute(self.program.with_file_name("atoll-helper"));
        command.env(
            "ATOLL_HELPER",
            helper.trying(|| "cannot tell where atoll-helper is".to_owned())?,
        );
        let option = match self.attached {
            Attached::Vhost => "--vhost-user",
            Attached::Tap | Attached::Stream => "--qemu",
        };
        command.arg(option).arg(format!("unix:{}", socket.display()));
        command.arg("--api").arg(format!("unix:{}", api.display()));
        host.start(self.name(), command, Output::Lines, scratch)
    }

    /// A namespace on the network by its own TAP.
    fn join(
        &self,
        request: &Request,
        host: &Host,
        api: &Path,
        scratch: &Scratch,
    ) -> Result<Guest, BenchError> {
        let meeting = Meeting::new(scratch)?;
        let mut command = Command::new(&self.program);
        command.args(["net", "exec", "--join"]);
        command.arg(format!("unix:{}", api.display()));
        command.args(["--name", "guest", "--"]);
        command.args(meeting.holder()?);
        let exec = host.start("net-exec", command, Output::Log, scratch)?;
        let namespace = meeting.namespace(&exec)?;
        namespace.quieten()?;
        let guest = Guest::adopt(namespace, &request.guest(0, ADDRESSING), "tap0")?;
        Ok(guest.kept_by(exec))
    }
}
