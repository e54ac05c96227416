//! What can be asked of a cluster at any time, and forwards, which can be changed at any time.

use std::collections::BTreeSet;

use atoll_qemu::Process;
use atoll_runtime::{ForwardId, ForwardInfo, Handle};
use atoll_spec as spec;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, UpRequest};
use crate::networks::{forward_specs, forward_target};
use crate::paths::ClusterPaths;
use crate::plan::UnknownMachine;
use crate::problem::{Kind, Problem};
use crate::progress::Stage;
use crate::project::Project;
use crate::state::{AddedForward, MachineState as Known, State};
use crate::status::{ForwardStatus, MachineState, MachineStatus, NicStatus, Status};

/// Forwards to add to a running machine, spelt as in the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewForwards {
    /// The machine.
    pub machine: String,
    /// The forwards.
    pub forwards: Vec<spec::Forward>,
}

/// A forward to remove.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OldForward {
    /// The network it is on; may be left out when the cluster has only one.
    pub network: Option<String>,
    /// Its number there.
    pub id: ForwardId,
}

impl Cluster {
    /// The cluster at this moment.
    pub fn status(&self) -> Status {
        let shared = self.shared();
        let mut status = status(&shared.state, &self.paths, None, |name| {
            shared.stages.get(name).copied()
        });
        for machine in &mut status.machines {
            machine.waits_for = shared.waiting.get(&machine.name).cloned().unwrap_or_default();
        }
        status.daemon = Some(std::process::id());
        status.networks = shared.networks.status();
        status.learn_addresses();
        status
    }

    /// What restarts one machine as the file on disk says now.
    pub fn request_for(&self, machine: String) -> Result<UpRequest, Problem> {
        let (file, choices) = {
            let shared = self.shared();
            (shared.state.file.clone(), shared.state.choices.clone())
        };
        let shown = file.display().to_string();
        let project = Project::load(&file, &shown, choices)?;
        Ok(UpRequest {
            shown,
            text: project.text,
            input: project.input,
            machines: BTreeSet::from([machine]),
            deadline_secs: None,
            restart: false,
            prune: false,
        })
    }

    /// Every forward.
    pub fn forwards(&self) -> Vec<ForwardStatus> {
        let shared = self.shared();
        shared.networks.forwards(shared.state.cluster.as_ref())
    }

    /// Adds forwards to a machine that runs; they are kept until they are removed, or the machine is.
    pub fn add_forwards(&self, new: &NewForwards) -> Result<Vec<ForwardInfo>, Problem> {
        let mut shared = self.shared();
        let machine = known_machine(&shared.state, &new.machine)?;
        let cluster = shared.state.cluster.as_ref();
        let Some((network, guest)) = cluster.and_then(|cluster| forward_target(cluster, machine)) else {
            return Err(unreachable(machine));
        };
        let (network, own) = (network.to_string(), machine.loopback);
        let mut made = Vec::new();
        for forward in new
            .forwards
            .iter()
            .flat_map(|forward| forward_specs(forward, &guest, own))
        {
            let info = match shared.networks.forward(&network, forward.clone()) {
                Ok(info) => info,
                Err(error) => {
                    // All or none.
                    for info in made {
                        let _: &ForwardInfo = &info;
                        let _ = shared.networks.unforward(&network, info.id);
                    }
                    return Err(error.into());
                }
            };
            made.push(info);
        }
        for info in &made {
            let forward = forward_of(info);
            let added = AddedForward {
                network: network.clone(),
                machine: new.machine.clone(),
                forward,
            };
            if !shared.state.forwards.contains(&added) {
                shared.state.forwards.push(added);
            }
        }
        shared.state.save(&self.paths)?;
        Ok(made)
    }

    /// A network of this name that runs; the only one when no name is given.
    pub fn network(&self, name: Option<&str>) -> Result<Handle, Problem> {
        let shared = self.shared();
        let names: Vec<&str> = shared.networks.names().collect();
        let name = match (name, names.as_slice()) {
            (Some(name), _) => name,
            (None, [only]) => only,
            (None, []) => return Err(Problem::environment("the cluster has no network that runs")),
            (None, _) => {
                let problem = Problem::usage("the cluster has several networks");
                return Err(problem.with_hint(format!("say which: --network {}", names.join(" or "))));
            }
        };
        Ok(shared.networks.handle(name)?)
    }

    /// Ends a forward. One of the file is there again after the next `up`.
    pub fn remove_forward(&self, old: &OldForward) -> Result<(), Problem> {
        let mut shared = self.shared();
        let all = shared.networks.forwards(shared.state.cluster.as_ref());
        let named = |it: &&ForwardStatus| old.network.as_ref().is_none_or(|name| *name == it.network);
        let found: Vec<_> = all
            .iter()
            .filter(|it| it.forward.id == old.id)
            .filter(named)
            .collect();
        let [found] = found.as_slice() else {
            let problem = match found.len() {
                0 => Problem::usage(format!("there is no forward {}", old.id.0)),
                _ => Problem::usage(format!("forward {} is on several networks", old.id.0)),
            };
            return Err(problem.with_hint("`atoll forward ls` lists them; --network says which network"));
        };
        shared.networks.unforward(&found.network, old.id)?;
        let ended = forward_of(&found.forward);
        shared
            .state
            .forwards
            .retain(|it| it.network != found.network || it.forward != ended);
        Ok(shared.state.save(&self.paths)?)
    }
}

/// A forward as it can be made again, at the host's port as it was chosen, which may stand for another.
fn forward_of(info: &ForwardInfo) -> atoll_runtime::ForwardSpec {
    atoll_runtime::ForwardSpec {
        protocol: info.protocol,
        listen: info.listen.clone(),
        guest: info.guest.clone(),
        guest_port: info.guest_port,
        manner: info.manner,
    }
}

/// Nothing can be forwarded to a machine that is on no network of ours.
fn unreachable(machine: &spec::Machine) -> Problem {
    let name = &machine.name;
    if machine.nics.is_empty() {
        return Problem::new(Kind::Configuration, format!("machine {name} is on no network"));
    }
    let message =
        format!("nothing can be forwarded to machine {name}: its NICs are attached to TAPs directly");
    Problem::new(Kind::Configuration, message).with_hint("reach it at its address on the LAN")
}

fn known_machine<'a>(state: &'a State, name: &str) -> Result<&'a spec::Machine, Problem> {
    let machines = state.cluster.iter().flat_map(|cluster| &cluster.machines);
    let unknown = || UnknownMachine {
        machine: name.to_owned(),
        known: machines.clone().map(|machine| machine.name.to_string()).collect(),
    };
    let found = machines.clone().find(|machine| machine.name.as_str() == name);
    Ok(found.ok_or_else(unknown)?)
}

/// What the file and the state folder say while no daemon runs. QEMU processes that a killed daemon left still count.
pub fn offline_status(project: &Project) -> Result<Status, Problem> {
    let state = State::load(&project.paths)?.unwrap_or_else(|| State::new(project.file.clone()));
    Ok(status(&state, &project.paths, Some(&project.cluster), |_| None))
}

/// The file as given, or as it was at the last `up`.
fn status(
    state: &State,
    paths: &ClusterPaths,
    file: Option<&spec::Cluster>,
    stage: impl Fn(&str) -> Option<Stage>,
) -> Status {
    let file = file.or(state.cluster.as_ref());
    let in_file = file
        .iter()
        .flat_map(|file| &file.machines)
        .map(|machine| machine.name.to_string());
    let names: BTreeSet<String> = in_file.chain(state.machines.keys().cloned()).collect();
    let machines = names.into_iter().map(|name| {
        let machine = file.and_then(|file| file.machine(&name));
        let stage = stage(&name);
        machine_status(name.clone(), machine, state.machines.get(&name), stage)
    });
    Status {
        cluster: file.map(|file| file.name.to_string()).unwrap_or_default(),
        file: state.file.clone(),
        state: paths.state.clone(),
        daemon: None,
        machines: machines.collect(),
        networks: Vec::new(),
    }
}

fn machine_status(
    name: String,
    machine: Option<&spec::Machine>,
    known: Option<&Known>,
    stage: Option<Stage>,
) -> MachineStatus {
    let process = known
        .and_then(|known| known.process.as_ref())
        .filter(|process| process.is_alive());
    let started = known.and_then(|known| known.started.as_ref());
    let as_started = started.filter(|_| process.is_some());
    let state = match (process, known) {
        _ if stage.is_some() => MachineState::Starting,
        (Some(_), Some(Known { paused: Some(_), .. })) => MachineState::Paused,
        (Some(_), _) if started.is_some_and(|started| started.ready) => MachineState::Ready,
        (Some(_), _) => MachineState::Running,
        (
            None,
            Some(Known {
                suspended: Some(_), ..
            }),
        ) => MachineState::Suspended,
        (None, Some(Known { problem: Some(_), .. })) => MachineState::Failed,
        (None, _) => MachineState::Stopped,
    };
    let shown = as_started.map(|started| &started.machine).or(machine);
    let nics = shown
        .iter()
        .flat_map(|machine| &machine.nics)
        .map(|nic| NicStatus {
            network: nic.network.to_string(),
            address: nic.address,
            address6: nic.address6,
            mac: nic.mac.to_string(),
        });
    MachineStatus {
        state,
        stage,
        waits_for: Vec::new(),
        nics: nics.collect(),
        image: shown
            .and_then(|machine| machine.image.as_ref())
            .map(ToString::to_string),
        pid: process.map(|process: &Process| process.pid),
        accel: as_started.map(|started| started.accel.clone()),
        loopback: shown.and_then(|machine| machine.loopback),
        ssh_address: known
            .and_then(|known| known.ssh_address)
            .filter(|_| process.is_some()),
        ssh_port: known
            .and_then(|known| known.ssh_port)
            .filter(|_| process.is_some()),
        ssh_user: known.and_then(|known| known.ssh_user.clone()),
        in_file: machine.is_some(),
        problem: known.and_then(|known| known.problem.clone()),
        name,
    }
}
