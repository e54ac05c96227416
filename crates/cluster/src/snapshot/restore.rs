//! Going back to a snapshot.
//!
//! Machines that run are ended as they are, since what they would still write is what is given up. Each gets disk and belongings of then;
//! one whose memory is in the snapshot is *suspended* there, and goes on as any suspended machine does ([`crate::suspend`]). So a going back that is
//! killed half-way leaves machines that are all of then, or none that runs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use atoll_images::disk_state;
use atoll_qemu::Process;
use serde::{Deserialize, Serialize};

use super::take::{copy, link};
use super::{BELONGINGS, Journal, Saved, Snapshot, Was, find};
use crate::cluster::{Cluster, DEADLINE};
use crate::direct;
use crate::files;
use crate::plan::{Goal, UnknownMachine};
use crate::problem::{Kind, Problem};
use crate::progress::{Progress, Sink, Stage};
use crate::state::Suspended;

/// How long a QEMU may take to end that is told to.
const END: Duration = Duration::from_secs(5);

/// What is asked of [`Cluster::restore_snapshot`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The snapshot's name.
    pub name: String,
    /// Machines, or all that are in it when empty.
    pub machines: BTreeSet<String>,
    /// Whether what machines wrote since may be lost.
    #[serde(default)]
    pub discard: bool,
}

impl Cluster {
    /// Makes machines what they were when the snapshot was taken; those that ran run again.
    pub fn restore_snapshot(&self, request: &RestoreRequest, sink: &dyn Sink) -> Result<(), Problem> {
        let _turn = self.turn();
        let began = Instant::now();
        let snapshot = find(&self.paths, &request.name)?;
        let machines = chosen(&snapshot, &request.machines)?;
        self.can_go_back(&snapshot, &machines, request)?;
        let journal = Journal {
            snapshot: request.name.clone(),
            machines: machines.clone(),
        };
        files::write_json(&self.paths.journal(), &journal)?;
        self.go_back(&snapshot, &journal, sink)?;
        let ran = |name: &&String| {
            let saved = &snapshot.machines[*name];
            saved.was == Was::Running && saved.machine_type.is_some()
        };
        let resumed: BTreeSet<String> = machines.iter().filter(ran).cloned().collect();
        for name in machines.iter().filter(|name| !resumed.contains(*name)) {
            let detail = match snapshot.machines[name].was {
                Was::Running => "as after a power cut; `atoll up` boots it",
                Was::Paused | Was::Suspended => "suspended",
                Was::Stopped => "stopped",
            };
            sink.tell(Progress::stage(name, Stage::Restore, detail));
        }
        if resumed.is_empty() {
            sink.tell(Progress::done(machines, began.elapsed()));
            return Ok(());
        }
        let cluster = self.shared().state.cluster.clone().unwrap_or(snapshot.cluster);
        self.carry_out(&Goal::Resume(resumed), cluster, DEADLINE, sink)
    }

    /// Refuses what would lose something unasked, or cannot be done, while nothing has happened yet.
    fn can_go_back(
        &self,
        snapshot: &Snapshot,
        machines: &[String],
        request: &RestoreRequest,
    ) -> Result<(), Problem> {
        let name = &request.name;
        for machine in machines {
            let saved = &snapshot.machines[machine];
            let disk = self.paths.disk(machine);
            if saved.disk && !(disk.exists() && disk_state::names(&disk)?.contains(&snapshot.tag)) {
                let message = format!("the disk of machine {machine} does not know snapshot {name} any more");
                return Err(Problem::environment(message));
            }
            self.has_its_networks(snapshot, machine)?;
        }
        let shared = self.shared();
        let changed = |machine: &&String| {
            let known = shared.state.machines.get(*machine);
            known.is_some_and(|known| {
                let runs = known.process.as_ref().is_some_and(Process::is_alive);
                runs || known.run != snapshot.machines[*machine].run
            })
        };
        let changed: Vec<&str> = machines.iter().filter(changed).map(String::as_str).collect();
        if request.discard || changed.is_empty() {
            return Ok(());
        }
        let message = format!(
            "going back to {name} loses what has happened since on {}",
            changed.join(", ")
        );
        let hint = format!(
            "`atoll snapshot create` keeps it first; `atoll snapshot restore --discard {name}` gives it up"
        );
        Err(Problem::usage(message).with_hint(hint))
    }

    /// A machine whose memory comes back has to come back to the networks that it was on.
    fn has_its_networks(&self, snapshot: &Snapshot, machine: &str) -> Result<(), Problem> {
        let saved = &snapshot.machines[machine];
        let shared = self.shared();
        let Some(now) = shared.state.cluster.as_ref() else {
            return Ok(());
        };
        let nics = saved.started.iter().flat_map(|started| &started.machine.nics);
        let mut networks = nics.map(|nic| nic.network.as_str());
        let changed = networks.find(|it| now.network(it) != snapshot.cluster.network(it));
        match changed.filter(|_| saved.machine_type.is_some()) {
            None => Ok(()),
            Some(network) => {
                let message = format!("machine {machine} was on network {network}, which has changed since");
                let hint = "put the network back in the file as it was, and `atoll up`";
                Err(Problem::new(Kind::Configuration, message).with_hint(hint))
            }
        }
    }

    /// Does again what an earlier daemon was killed in.
    pub(super) fn go_back_again(&self) -> Result<(), Problem> {
        let Some(journal) = files::read_json::<Journal>(&self.paths.journal())? else {
            return Ok(());
        };
        match find(&self.paths, &journal.snapshot) {
            Ok(snapshot) => self.go_back(&snapshot, &journal, &|_| {}),
            Err(problem) => {
                files::remove(&self.paths.journal())?;
                Err(problem)
            }
        }
    }

    /// Goes back as the journal says, which ends with it. Also when it fails: who was told so may bring machines up and work on, and a later
    /// daemon may not take that away.
    fn go_back(&self, snapshot: &Snapshot, journal: &Journal, sink: &dyn Sink) -> Result<(), Problem> {
        let gone_back = self.end_and_put_back(snapshot, journal, sink);
        files::remove(&self.paths.journal())?;
        gone_back
    }

    fn end_and_put_back(
        &self,
        snapshot: &Snapshot,
        journal: &Journal,
        sink: &dyn Sink,
    ) -> Result<(), Problem> {
        let machines = journal.machines.iter();
        let machines: Vec<_> = machines
            .filter_map(|name| Some((name, snapshot.machines.get(name)?)))
            .collect();
        // All end before any goes back: what runs hears of no machine that has forgotten it.
        for (name, _) in &machines {
            sink.tell(Progress::stage(name, Stage::Restore, ""));
            self.end_now(name)?;
        }
        for (name, saved) in &machines {
            self.put_back(name, saved, (snapshot, &journal.snapshot))?;
        }
        Ok(())
    }

    /// Ends a machine's QEMU without asking its guest.
    fn end_now(&self, name: &str) -> Result<(), Problem> {
        let known = self.shared().state.machine(name).clone();
        let Some(process) = known.process else {
            return Ok(());
        };
        process.stop_within(Duration::ZERO, END)?;
        files::remove(&self.paths.console_socket(name))?;
        let mut shared = self.shared();
        drop(shared.sessions.take(name));
        if let Some(started) = &known.started {
            shared.networks.leave(&started.machine, &self.paths);
        }
        drop(shared);
        direct::wait_gone(&known.taps);
        self.change(|state| {
            let known = state.machine(name);
            known.process = None;
            known.paused = None;
            known.taps.clear();
        })
    }

    fn put_back(
        &self,
        name: &str,
        saved: &Saved,
        (snapshot, snapshot_name): (&Snapshot, &str),
    ) -> Result<(), Problem> {
        let folder = self.paths.snapshot(snapshot_name).join(name);
        // Until all of it is there, it is a machine without a memory: that would not fit the disk.
        self.change(|state| state.machine(name).suspended = None)?;
        if saved.disk {
            disk_state::apply(&self.paths.disk(name), &snapshot.tag)?;
        }
        files::make_private(&self.paths.machine(name))?;
        for file in BELONGINGS {
            copy(&folder.join(file), &self.paths.machine(name).join(file))?;
        }
        if saved.machine_type.is_some() {
            link(&folder.join("memory"), &self.paths.memory(name))?;
        } else {
            files::remove(&self.paths.memory(name))?;
        }
        self.change(|state| {
            let known = state.machine(name);
            known.instance_id.clone_from(&saved.instance_id);
            known.ssh_user.clone_from(&saved.ssh_user);
            known.started.clone_from(&saved.started);
            known.run.clone_from(&saved.run);
            known.problem = None;
            known.suspended = saved.machine_type.clone().map(|machine_type| Suspended {
                machine_type,
                since: snapshot.created,
            });
        })
    }
}

/// The machines that are to go back.
fn chosen(snapshot: &Snapshot, wanted: &BTreeSet<String>) -> Result<Vec<String>, Problem> {
    if let Some(machine) = wanted.iter().find(|name| !snapshot.machines.contains_key(*name)) {
        let unknown = UnknownMachine {
            machine: machine.clone(),
            known: snapshot.machines.keys().cloned().collect(),
        };
        let problem = Problem::usage(format!("machine {machine} is not in this snapshot"));
        return Err(problem.with_hint(unknown.hint()));
    }
    let names = snapshot.machines.keys();
    Ok(names
        .filter(|name| wanted.is_empty() || wanted.contains(*name))
        .cloned()
        .collect())
}
