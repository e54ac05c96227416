//! What people and scripts see of a cluster. The JSON of `ls --json` and `status --json`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use atoll_runtime::{Mode, NetworkSnapshot};
use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::progress::Stage;

/// A cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub cluster: String,
    /// The file that describes it.
    pub file: PathBuf,
    /// Its state folder.
    pub state: PathBuf,
    /// The daemon's process id; absent when none runs.
    pub daemon: Option<u32>,
    /// In the order of their names.
    pub machines: Vec<MachineStatus>,
    /// In the order of the file; empty when no daemon runs.
    pub networks: Vec<NetworkStatus>,
}

impl Status {
    /// Fills in what a LAN gave: the addresses that machines were heard to have there. Those that the file gives stay.
    pub fn learn_addresses(&mut self) {
        for nic in self.machines.iter_mut().flat_map(|machine| &mut machine.nics) {
            let on_lan = |it: &&NetworkStatus| it.name == nic.network && it.snapshot.mode == Mode::Bridged;
            let Some(network) = self.networks.iter().find(on_lan) else {
                continue;
            };
            let mut ports = network.snapshot.ports.iter().filter(|port| !port.uplink);
            let Some(port) = ports.find(|port| port.macs.contains(&nic.mac)) else {
                continue;
            };
            for address in &port.addresses {
                match address {
                    IpAddr::V4(address) => _ = nic.address.get_or_insert(*address),
                    IpAddr::V6(address) if address.is_unicast_link_local() => {}
                    IpAddr::V6(address) => _ = nic.address6.get_or_insert(*address),
                }
            }
        }
    }
}

/// Whether a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MachineState {
    /// It does not.
    Stopped,
    /// It is on its way up.
    Starting,
    /// It runs, but was never ready.
    Running,
    /// It runs and was ready.
    Ready,
    /// It runs, but its CPUs stand still.
    Paused,
    /// It does not run, and its memory is in a file.
    Suspended,
    /// It does not run, because something went wrong.
    Failed,
}

impl MachineState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
            Self::Failed => "failed",
        }
    }
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub state: MachineState,
    /// Where it is on its way up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// What it waits for before it is started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// Its NICs in order.
    pub nics: Vec<NicStatus>,
    /// Its image as the file has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The process id of its QEMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// What executes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accel: Option<String>,
    /// Its own address of the host's loopback, where its network gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loopback: Option<Ipv4Addr>,
    /// Where ssh reaches it, if not at 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_address: Option<IpAddr>,
    /// The port at which ssh reaches it on the host's loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_port: Option<u16>,
    /// Who logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_user: Option<String>,
    /// Whether the file has it; what it lost is stopped by the next `up`.
    pub in_file: bool,
    /// Why it did not get further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// One NIC of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicStatus {
    /// The network it is on.
    pub network: String,
    /// Its IPv4 address, where its network has IPv4. On a LAN the one that it was heard to have.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address, where its network has IPv6. On a LAN the one that it was heard to have.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// Its Ethernet address.
    pub mac: String,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Its name.
    pub name: String,
    /// All that it says of itself: ports, leases, forwards, names, flows, counters.
    #[serde(flatten)]
    pub snapshot: NetworkSnapshot,
}

/// A forward as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardStatus {
    /// The network it is on.
    pub network: String,
    /// The machine it leads to, when it is one.
    pub machine: Option<String>,
    /// The forward.
    #[serde(flatten)]
    pub forward: atoll_runtime::ForwardInfo,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(mode: &str) -> Status {
        let nic = serde_json::json!({ "network": "lan", "mac": "52:54:00:00:00:01" });
        let port = serde_json::json!({
            "id": 1, "label": "a", "endpoint": "/r/a.n0", "macs": ["52:54:00:00:00:01"],
            "addresses": ["fe80::1", "192.168.1.50", "2001:db8::50", "2001:db8::51"],
            "rx_frames": 0, "rx_bytes": 0, "tx_frames": 0, "tx_bytes": 0, "tx_dropped": 0, "queued": 0,
        });
        let mut snapshot = serde_json::to_value(NetworkSnapshot::default()).unwrap();
        snapshot["mode"] = mode.into();
        snapshot["name"] = "lan".into();
        snapshot["ports"] = serde_json::json!([port]);
        let text = serde_json::json!({
            "cluster": "demo", "file": "/w/atoll.yaml", "state": "/s", "daemon": 7,
            "machines": [{ "name": "a", "state": "ready", "nics": [nic], "in_file": true }],
            "networks": [snapshot],
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_machine_on_a_lan_has_the_addresses_that_it_was_heard_to_have() {
        let mut status = status("bridged");
        status.learn_addresses();
        let nic = &status.machines[0].nics[0];
        assert_eq!(nic.address, Some(Ipv4Addr::new(192, 168, 1, 50)));
        assert_eq!(nic.address6, Some("2001:db8::50".parse().unwrap()));
    }

    #[test]
    fn elsewhere_the_file_says_them() {
        let mut status = status("user");
        status.learn_addresses();
        assert_eq!(status.machines[0].nics[0].address, None);
    }
}
