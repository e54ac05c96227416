//! A LAN of the host's: a bridge in its namespace, and a station at a cable in it.

use crate::error::BenchError;
use crate::lab::{Guest, GuestSpec, Host, Namespace, Scratch};

/// The bridge's name in the host's namespace.
pub(crate) const BRIDGE: &str = "br0";

impl Host {
    /// Makes the bridge, and the station with the address that `spec` says.
    pub(crate) fn make_lan(&self, spec: &GuestSpec<'_>, scratch: &Scratch) -> Result<Guest, BenchError> {
        let station = Namespace::new("station", scratch)?;
        self.namespace.ip(&format!(
            "link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0\n\
             link add cable type veth peer name eth0 netns {}\n\
             link set cable master {BRIDGE}\n\
             link set cable up\n\
             link set {BRIDGE} up\n",
            station.pid()
        ))?;
        Guest::adopt(station, spec, "eth0")
    }

    /// Puts a device of the host's namespace into the bridge.
    pub(crate) fn plug_in(&self, device: &str) -> Result<(), BenchError> {
        self.namespace.ip(&format!(
            "link set {device} master {BRIDGE}\nlink set {device} up\n"
        ))
    }
}
