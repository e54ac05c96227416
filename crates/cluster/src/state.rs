//! What the daemon must know again after it was killed: one JSON file, replaced whole at each change.
//!
//! It holds what was asked for (the cluster as last brought up, forwards added since) and what was decided once and must not
//! change (instance ids, ssh ports). What can be found out by looking, such as whether a QEMU runs, is not in it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::path::PathBuf;

use atoll_qemu::Process;
use atoll_runtime::ForwardSpec;
use atoll_spec::{Choices, Cluster, Kept, Machine};
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};
use crate::paths::ClusterPaths;
use crate::problem::Problem;

/// The layout of the file; a later one is not read.
const VERSION: u32 = 1;

/// What is known of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The cluster file's canonical path.
    pub file: PathBuf,
    /// What variables and profiles were chosen then.
    #[serde(default)]
    pub choices: Choices,
    /// The cluster as last brought up.
    pub cluster: Option<Cluster>,
    /// What is known of each machine that was ever brought up and not removed.
    pub machines: BTreeMap<String, MachineState>,
    /// Forwards added at run time.
    pub forwards: Vec<AddedForward>,
}

/// What is known of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineState {
    /// For cloud-init: a new one makes it set the machine up again, so it changes with the disk only.
    pub instance_id: String,
    /// The host's port for ssh, once there was one.
    pub ssh_port: Option<u16>,
    /// The address of that port, if it is not 127.0.0.1.
    #[serde(default)]
    pub ssh_address: Option<IpAddr>,
    /// Who logs in.
    pub ssh_user: Option<String>,
    /// How it was started last.
    pub started: Option<Started>,
    /// Its QEMU, as long as nobody stopped it.
    pub process: Option<Process>,
    /// The host's interfaces that its NICs are attached to directly; the helper's to undo when it ends.
    #[serde(default)]
    pub taps: Vec<String>,
    /// Since when its CPUs stand still because somebody wanted it so, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<u64>,
    /// It does not run, and goes on from its memory in a file when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspended>,
    /// Stands for what its disk holds: another one whenever its guest begins to run or goes on.
    #[serde(default)]
    pub run: String,
    /// Why it did not get further, the last time it was tried.
    pub problem: Option<Problem>,
}

/// A start of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The machine as the file had it.
    pub machine: Machine,
    /// Stands for all of it and of its image.
    pub fingerprint: String,
    /// What executes it.
    pub accel: String,
    /// When it counts as ready.
    pub rule: ReadyRule,
    /// Whether it was ready since.
    pub ready: bool,
}

/// What a machine goes on as, besides its memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// QEMU's machine type by its full name: a newer QEMU means another one by the short name.
    pub machine_type: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
}

/// When a machine counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadyRule {
    /// cloud-init has finished and ssh answers.
    CloudInit,
    /// Its console says so: images of ours without cloud-init.
    Marker,
    /// Its console says that cloud-init has finished: it is not reached by a network of ours.
    Announced,
    /// Its QEMU runs: nothing is known of what is in it, or it is on no network.
    Runs,
}

/// A forward added at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedForward {
    /// The network it is on.
    pub network: String,
    /// The machine it was added for.
    pub machine: String,
    /// What it is, with the host's port as chosen.
    pub forward: ForwardSpec,
}

impl State {
    /// Nothing brought up yet.
    pub fn new(file: PathBuf) -> Self {
        Self {
            version: VERSION,
            file,
            choices: Choices::default(),
            cluster: None,
            machines: BTreeMap::new(),
            forwards: Vec::new(),
        }
    }

    /// What the state folder holds; `None` when it holds nothing.
    pub fn load(paths: &ClusterPaths) -> Result<Option<Self>, FileError> {
        files::read_json(&paths.state_file())
    }

    /// Writes it down.
    pub fn save(&self, paths: &ClusterPaths) -> Result<(), FileError> {
        files::write_json(&paths.state_file(), self)
    }

    /// What the NICs of machines that were brought up have.
    pub fn kept(&self) -> Vec<Kept> {
        let machines = self.machines.iter().filter_map(|(name, known)| {
            let started = known.started.as_ref().map(|started| &started.machine);
            started.or_else(|| self.cluster.as_ref()?.machine(name))
        });
        let nics =
            machines.flat_map(|machine| machine.nics.iter().enumerate().map(move |nic| (machine, nic)));
        let kept = nics.map(|(machine, (index, nic))| Kept {
            machine: machine.name.to_string(),
            index,
            network: nic.network.to_string(),
            mac: nic.mac,
            address: nic.address,
        });
        kept.collect()
    }

    /// A machine's entry, made if it is new.
    pub fn machine(&mut self, name: &str) -> &mut MachineState {
        self.machines
            .entry(name.to_owned())
            .or_insert_with(|| MachineState {
                instance_id: new_instance_id(name),
                ssh_port: None,
                ssh_address: None,
                ssh_user: None,
                started: None,
                process: None,
                taps: Vec::new(),
                paused: None,
                suspended: None,
                run: String::new(),
                problem: None,
            })
    }
}

/// An id that no machine had before.
pub fn new_instance_id(machine: &str) -> String {
    format!("{machine}-{}", new_run())
}

/// A word that nothing was called by before.
pub fn new_run() -> String {
    // The keys of std's hash tables are the system's randomness.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_id_is_kept_and_a_new_machine_gets_another() {
        let mut state = State::new("/w/atoll.yaml".into());
        let first = state.machine("a").instance_id.clone();
        assert_eq!(state.machine("a").instance_id, first);
        state.machines.clear();
        assert_ne!(state.machine("a").instance_id, first);
    }
}
