//! The host's namespace: an address that stands for the outside, and an uplink to copy from.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::process::Command;

use crate::error::BenchError;
use crate::lab::{Namespace, Output, Process, Scratch, Spawn};

/// Where servers listen. Not a loopback address, since back ends refuse those, yet on the loopback device.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// Ports that the request/response server listens on: several, so that one client has ports enough for 50 000
/// connections and more.
pub(crate) const SERVER_PORTS: Range<u16> = 7000..7008;

/// The uplink's own address, which back ends copy or bind to.
const UPLINK: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// The host's side of one measurement.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
}

impl Host {
    /// A namespace with its addresses and routes.
    pub(crate) fn new(congestion: &str, scratch: &Scratch) -> Result<Self, BenchError> {
        let namespace = Namespace::new("host", scratch)?;
        let mut batch = format!(
            "link set lo up\n\
             address add {SERVER}/32 dev lo\n\
             link add uplink type veth peer name nowhere\n\
             address add {UPLINK}/24 dev uplink\n\
             link set nowhere up\n\
             link set uplink up\n\
             route add default via 203.0.113.1 dev uplink\n"
        );
        let locals = [
            ("127.0.0.0/8", "127.0.0.1", "lo"),
            ("127.0.0.1", "127.0.0.1", "lo"),
            ("198.51.100.1", "198.51.100.1", "lo"),
            ("203.0.113.2", "203.0.113.2", "uplink"),
        ];
        for (to, source, device) in locals {
            batch.push_str(&format!(
                "route replace local {to} dev {device} table local proto kernel scope host src {source} congctl {congestion}\n"
            ));
        }
        namespace.ip(&batch)?;
        Ok(Self { namespace })
    }

    /// Starts a program here.
    pub(crate) fn start(
        &self,
        name: &str,
        command: Command,
        output: Output,
        scratch: &Scratch,
    ) -> Result<Process, BenchError> {
        let namespace = Some(&self.namespace);
        Spawn {
            name,
            command,
            namespace,
            output,
        }
        .start(scratch)
    }
}
