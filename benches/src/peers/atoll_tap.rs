//! `atoll net exec`, which makes the guest's namespace itself and runs a command in it.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use crate::error::BenchError;
use crate::lab::{Addressing, Guest, Host, Namespace, Output, Scratch};
use crate::peers::adopt::{Meeting, shape};
use crate::peers::{Cell, Kind, Peer, Request, first_line, one_guest_only};

pub(crate) const NAME: &str = "atoll-tap";

#[derive(Debug)]
pub(crate) struct AtollTap {
    pub(crate) program: PathBuf,
    /// More of its arguments.
    pub(crate) arguments: &'static [&'static str],
}

impl Peer for AtollTap {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kind(&self) -> Kind {
        Kind::Tap
    }

    fn version(&self) -> Result<String, BenchError> {
        let help = Command::new(&self.program)
            .args(["net", "exec", "--help"])
            .output();
        match help {
            Ok(output) if output.status.success() => first_line(&self.program, "--version"),
            _ => Err(BenchError::Unfit(format!(
                "{} has no `net exec`",
                self.program.display()
            ))),
        }
    }

    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError> {
        one_guest_only(NAME, request)?;
        let host = Host::new(&request.congestion, scratch)?;
        let meeting = Meeting::new(scratch)?;
        let mut command = Command::new(&self.program);
        command.args([
            "net",
            "exec",
            "--subnet",
            "10.77.0.0/24",
            "--mtu",
            &request.mtu.to_string(),
        ]);
        command.args(self.arguments).arg("--");
        command.args(meeting.holder()?);
        let backend = host.start(NAME, command, Output::Log, scratch)?;
        let namespace = meeting.namespace(&backend)?;
        namespace.quieten()?;
        let (device, addressing) = configured(&namespace)?;
        let guest = Guest::adopt(namespace, &request.guest(0, addressing), &device)?;
        shape(&guest, request)?;
        Ok(Cell {
            guests: vec![guest],
            backend: Some(backend),
            host,
            api: None,
            ready_ms: None,
        })
    }
}

/// The device that leads out, and the addresses it was given.
fn configured(namespace: &Namespace) -> Result<(String, Addressing), BenchError> {
    let routes = namespace.ip_json(&["-4", "route", "show", "default"])?;
    let missing = |what: &str| BenchError::Answer {
        program: NAME.to_owned(),
        missing: what.to_owned(),
    };
    let device = routes[0]["dev"]
        .as_str()
        .ok_or_else(|| missing("a default route"))?;
    let gateway = routes[0]["gateway"]
        .as_str()
        .and_then(|text| text.parse::<Ipv4Addr>().ok());
    let addresses = namespace.ip_json(&["-4", "address", "show", "dev", device])?;
    let info = &addresses[0]["addr_info"][0];
    let first = info["local"]
        .as_str()
        .and_then(|text| text.parse::<Ipv4Addr>().ok());
    let prefix = info["prefixlen"]
        .as_u64()
        .and_then(|length| u8::try_from(length).ok());
    let addressing = Addressing {
        first: first.ok_or_else(|| missing("an address"))?,
        prefix: prefix.ok_or_else(|| missing("a prefix length"))?,
        gateway,
    };
    Ok((device.to_owned(), addressing))
}
