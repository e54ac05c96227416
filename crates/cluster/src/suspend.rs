//! Machines that stand still: paused in memory, or suspended with their memory in a file.
//!
//! ```text
//!            pause                 suspend: stop, save, write down, quit
//!  running ─────────> paused        running, paused ────────────────────> suspended (no process; survives the host)
//!     ^                  │                                                    │
//!     └──── resume ──────┴──────────── resume: start, load, write down, cont ─┘
//! ```
//!
//! The state file decides. It says *suspended* from when the memory is whole and synced until it is loaded again and the guest is about to
//! run: in between, memory and disk belong together, since no CPU runs that could change one without the other. So a daemon that is killed in
//! the middle leaves something whole, which the next one settles (`Cluster::settle`):
//!
//! | the state says | a QEMU is there | then |
//! |---|---|---|
//! | suspended | yes | it has not run since (or not yet): it is ended |
//! | not suspended, not paused | with CPUs that stand still | a saving was under way: that is called off, and it goes on |
//! | not suspended | no | what lies there of a memory is deleted |
//!
//! What a guest's network knows of it (address, forwards, the documents) is of the state and comes back with it. Connections do not survive:
//! their other ends have not stood still. Memory that a network shares (vhost-user), and whatever else QEMU says it cannot save, is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use atoll_qemu::{MemoryFile, Process, Qmp};
use atoll_spec as spec;
use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::cluster::{Cluster, DEADLINE};
use crate::files;
use crate::plan::{Goal, Up};
use crate::problem::{Kind, Problem};
use crate::progress::{Sink, Stage};
use crate::state::{Started, Suspended, new_run};
use crate::steps::{Job, last_words};

/// How long memory may take on its way to a file or back: 64 GiB over a slow disk.
pub(crate) const MEMORY_DEADLINE: Duration = Duration::from_secs(1200);

/// How long a QEMU may take to end that is told to.
const END: Duration = Duration::from_secs(5);

/// What is asked of [`Cluster::resume`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ResumeRequest {
    /// Machines, or all when empty.
    pub machines: BTreeSet<String>,
    /// Whether suspended ones give up their memory and boot.
    #[serde(default)]
    pub cold: bool,
}

impl Cluster {
    /// Lets the CPUs of machines stand still.
    pub fn pause(&self, machines: BTreeSet<String>, sink: &dyn Sink) -> Result<(), Problem> {
        let _turn = self.turn();
        self.end(Goal::Pause, machines, sink)
    }

    /// Puts machines' memory into files and ends their QEMUs.
    pub fn suspend(&self, machines: BTreeSet<String>, sink: &dyn Sink) -> Result<(), Problem> {
        let _turn = self.turn();
        self.end(Goal::Suspend, machines, sink)
    }

    /// Lets machines go on that stand still, in memory or in a file.
    pub fn resume(&self, request: ResumeRequest, sink: &dyn Sink) -> Result<(), Problem> {
        let _turn = self.turn();
        let Some(cluster) = self.shared().state.cluster.clone() else {
            return Err(Problem::usage("the cluster was never brought up").with_hint("`atoll up` does"));
        };
        if !request.cold {
            return self.carry_out(&Goal::Resume(request.machines), cluster, DEADLINE, sink);
        }
        let machines = self.give_up_memory(&request.machines)?;
        if machines.is_empty() {
            return Err(
                Problem::usage("none of these machines is suspended").with_hint("`atoll ls` says which are")
            );
        }
        let up = Up {
            machines,
            ..Up::default()
        };
        self.carry_out(&Goal::Up(up), cluster, DEADLINE, sink)
    }

    /// Throws away the memory of suspended machines; which those were.
    fn give_up_memory(&self, machines: &BTreeSet<String>) -> Result<BTreeSet<String>, Problem> {
        let is_meant = |name: &String| machines.is_empty() || machines.contains(name);
        let cold = self.change(|state| {
            let suspended = state.machines.iter_mut().filter(|(name, _)| is_meant(name));
            let cold = suspended.filter_map(|(name, known)| known.suspended.take().map(|_| name.clone()));
            cold.collect::<BTreeSet<String>>()
        })?;
        for name in &cold {
            files::remove(&self.paths.memory(name))?;
        }
        Ok(cold)
    }

    /// Brings what runs to where the state says it is, after a daemon that may have been killed in the middle of something.
    pub(crate) fn settle(&self) {
        let machines = self.shared().state.machines.clone();
        for (name, known) in machines {
            let settled = match (&known.process, &known.suspended) {
                (Some(process), Some(_)) => {
                    let ended = process.stop_within(Duration::ZERO, END);
                    self.shared().state.machine(&name).process = None;
                    ended.map(drop).map_err(Problem::from)
                }
                (Some(process), None) if known.paused.is_none() => go_on_if_it_stands(process),
                (None, None) => self.forget_memory(&name),
                (Some(_), None) | (None, Some(_)) => Ok(()),
            };
            if let Err(problem) = settled {
                tracing::warn!(machine = %name, %problem, "it could not be brought to where it should be");
            }
        }
    }

    fn forget_memory(&self, name: &str) -> Result<(), Problem> {
        let memory = self.paths.memory(name);
        files::remove(&memory.with_extension("new"))?;
        Ok(files::remove(&memory)?)
    }

    /// A suspended machine comes back to the network that it left, or not at all: its guest still has the old addresses.
    pub(crate) fn keep_networks_of_suspended(&self, cluster: &spec::Cluster) -> Result<(), Problem> {
        let shared = self.shared();
        let old = shared.state.cluster.as_ref();
        let suspended = shared
            .state
            .machines
            .iter()
            .filter(|(_, known)| known.suspended.is_some());
        for (name, known) in suspended {
            let nics = known.started.iter().flat_map(|started| &started.machine.nics);
            for network in nics.map(|nic| nic.network.as_str()) {
                let was = old.and_then(|old| old.network(network));
                if was != cluster.network(network) {
                    let message =
                        format!("the file changes network {network}, which suspended machine {name} is on");
                    let hint =
                        format!("`atoll resume {name}`, then `atoll down`; or `atoll resume --cold {name}`");
                    return Err(Problem::new(Kind::Configuration, message).with_hint(hint));
                }
            }
        }
        Ok(())
    }
}

/// Calls off a saving that a killed daemon left under way. A guest that stands still for another reason (a full disk, a panic) is left as it is.
fn go_on_if_it_stands(process: &Process) -> Result<(), Problem> {
    let mut control = process.control()?;
    let status = control.query_status()?;
    if matches!(status.state.as_str(), "paused" | "postmigrate" | "finish-migrate") {
        control.end_saving()?;
        control.cont()?;
    }
    Ok(())
}

impl Job<'_> {
    /// Lets a machine's CPUs stand still.
    pub(crate) fn pause(&self, name: &str) -> Result<(), Problem> {
        let Some(process) = self.process(name) else {
            return Ok(());
        };
        self.tell(name, Stage::Suspend, "");
        // Written down first: a daemon killed in between would else let it go on.
        self.host
            .change(|state| state.machine(name).paused = Some(now()))?;
        let paused = process.control().and_then(|mut control| control.stop());
        if let Err(error) = paused {
            self.host.change(|state| state.machine(name).paused = None)?;
            return Err(error.into());
        }
        self.tell(name, Stage::Suspend, "paused, in memory");
        Ok(())
    }

    /// Lets a paused machine go on.
    pub(crate) fn go_on(&self, name: &str) -> Result<(), Problem> {
        let since = self.host.shared().state.machine(name).paused;
        let (Some(process), Some(since)) = (self.process(name), since) else {
            return Ok(());
        };
        self.tell(name, Stage::Resume, "");
        process.control()?.cont()?;
        self.host.change(|state| state.machine(name).paused = None)?;
        self.tell(name, Stage::Resume, self.set_clock(name, since));
        Ok(())
    }

    /// Puts a machine's memory into a file and ends its QEMU.
    pub(crate) fn suspend(&self, name: &str) -> Result<(), Problem> {
        let Some(process) = self.process(name) else {
            return Ok(());
        };
        self.tell(name, Stage::Suspend, "saving its memory");
        let (suspended, control) = self.save_suspended(name, &process)?;
        let noted = self.host.change(|state| {
            let known = state.machine(name);
            known.suspended = Some(suspended);
            known.paused = None;
            known.problem = None;
        });
        if let Err(problem) = noted {
            return Err(self.not_suspended(name, control, problem));
        }
        drop(control);
        process.stop_within(Duration::ZERO, END)?;
        files::remove(&self.host.paths.console_socket(name))?;
        let taps = self.host.shared().state.machine(name).taps.clone();
        self.undo_taps(name, &taps);
        self.host.change(|state| {
            let known = state.machine(name);
            known.process = None;
            known.taps.clear();
        })?;
        self.tell(name, Stage::Suspend, "its memory is on disk");
        Ok(())
    }

    /// A machine's memory in its place, and its QEMU, whose CPUs stand still. If that fails, they do not.
    fn save_suspended(&self, name: &str, process: &Process) -> Result<(Suspended, Qmp), Problem> {
        let mut control = process.control()?;
        can_be_saved(name, &mut control)?;
        let memory = self.host.paths.memory(name);
        let new = memory.with_extension("new");
        files::remove(&new)?;
        let machine_type = control.machine_type()?;
        let capabilities = self.capabilities_of(name)?;
        control.stop()?;
        let file = MemoryFile {
            path: &new,
            deadline: MEMORY_DEADLINE,
            is_off: &|| self.is_cancelled(),
        };
        let saved = control.save_memory(file, &capabilities).map_err(Problem::from);
        let saved = saved.and_then(|()| Ok(files::put_in_place(&new, &memory)?));
        let suspended = Suspended {
            machine_type,
            since: now(),
        };
        match saved {
            Ok(()) => Ok((suspended, control)),
            Err(problem) => Err(self.not_suspended(name, control, problem)),
        }
    }

    /// Lets a machine go on whose memory could not be kept.
    fn not_suspended(&self, name: &str, mut control: Qmp, problem: Problem) -> Problem {
        let was_paused = self.host.shared().state.machine(name).paused.is_some();
        if !was_paused && let Err(error) = control.cont() {
            tracing::error!(machine = name, %error, "it does not go on");
        }
        if let Err(problem) = self.host.forget_memory(name) {
            tracing::warn!(machine = name, %problem, "its memory is left behind");
        }
        problem
    }

    /// Starts the QEMU of a suspended machine with its memory, and lets it go on.
    pub(crate) fn wake(&self, name: &str) -> Result<(), Problem> {
        let known = self.host.shared().state.machine(name).clone();
        let (Some(suspended), Some(started)) = (known.suspended, known.started) else {
            return Ok(());
        };
        let process = self.load(&started, &suspended).map_err(|problem| {
            let hint = format!(
                "`atoll resume --cold {name}` gives its memory up and boots it, as after a power cut"
            );
            let has_hint = problem.hint.is_some();
            problem.with_hint_if((!has_hint).then_some(hint))
        })?;
        let gone_on = || {
            // From here on its memory in the file is of the past.
            self.host.change(|state| {
                let known = state.machine(name);
                known.suspended = None;
                known.run = new_run();
            })?;
            Ok::<_, Problem>(process.control()?.cont()?)
        };
        gone_on()?;
        files::remove(&self.host.paths.memory(name))?;
        self.tell(name, Stage::Resume, self.set_clock(name, suspended.since));
        Ok(())
    }

    /// A QEMU with the memory of a suspended machine; its CPUs stand still.
    fn load(&self, started: &Started, suspended: &Suspended) -> Result<Process, Problem> {
        let machine = &started.machine;
        let name = machine.name.as_str();
        let mut image = None;
        self.image(machine, &mut image)?;
        self.tell(name, Stage::Resume, "loading its memory");
        self.join_again(machine)?;
        let mut prepared = self.prepare(machine, image.as_ref())?;
        if prepared.accel.to_string() != started.accel {
            let message = format!(
                "machine {name} was suspended under {}, which does not work now",
                started.accel
            );
            return Err(Problem::environment(message));
        }
        prepared.launch.waits_for_memory = true;
        prepared.launch.machine = Some(full_type(
            prepared.launch.machine.as_deref(),
            &suspended.machine_type,
        ));
        let capabilities = prepared.capabilities.clone();
        let process = self.begin(name, prepared)?;
        let memory = self.host.paths.memory(name);
        let file = MemoryFile {
            path: &memory,
            deadline: MEMORY_DEADLINE,
            is_off: &|| self.is_cancelled(),
        };
        let loaded = process
            .control()
            .and_then(|mut control| control.load_memory(file, &capabilities));
        let Err(error) = loaded else {
            return Ok(process);
        };
        let words = last_words(&self.host.paths.qemu_log(name));
        let mut problem = Problem::from(error);
        problem.message += &words.map_or_else(String::new, |words| format!(": {words}"));
        if let Err(error) = process.stop_within(Duration::ZERO, END) {
            tracing::warn!(machine = name, %error, "its QEMU is left behind");
        }
        self.host.change(|state| state.machine(name).process = None)?;
        Err(problem)
    }

    pub(crate) fn process(&self, name: &str) -> Option<Process> {
        self.host.shared().state.machine(name).process.clone()
    }

    /// The QEMU that a machine runs on.
    pub(crate) fn capabilities_of(&self, name: &str) -> Result<atoll_qemu::Capabilities, Problem> {
        let started = self.host.shared().state.machine(name).started.clone();
        let arch = started.map(|started| started.machine.arch);
        let arch = arch.ok_or_else(|| Problem::environment(format!("machine {name} was never started")))?;
        Ok(self.host.hypervisor.capabilities(arch)?)
    }
}

/// Refuses a machine whose memory QEMU says it cannot save.
pub(crate) fn can_be_saved(name: &str, control: &mut Qmp) -> Result<(), Problem> {
    let Some(why) = control.memory_blocker()? else {
        return Ok(());
    };
    let problem = Problem::new(
        Kind::Configuration,
        format!("the memory of machine {name} cannot be saved: {why}"),
    );
    Err(problem.with_hint(
        "a NIC with `attach: vhost-user` is such a reason; `atoll pause` and `atoll snapshot create --disk-only` do without",
    ))
}

/// The machine type by its full name, with the options that were given to the short one.
fn full_type(given: Option<&str>, full: &str) -> String {
    match given.and_then(|given| given.split_once(',')) {
        Some((_, options)) => format!("{full},{options}"),
        None => full.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_a_machine_type_stay_with_its_full_name() {
        assert_eq!(full_type(None, "pc-q35-10.0"), "pc-q35-10.0");
        assert_eq!(
            full_type(Some("virt,gic-version=3"), "virt-9.2"),
            "virt-9.2,gic-version=3"
        );
    }
}
