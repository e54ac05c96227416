//! What people and scripts see of a cluster. The JSON of `ls --json` and `status --json`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use atoll_runtime::NetworkSnapshot;
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
    /// Where ssh reaches it on the host's loopback.
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
    /// Its IPv4 address, where its network has IPv4.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address, where its network has IPv6.
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
