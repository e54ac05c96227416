//! From what is wanted and what is there to what is to be done. Pure.
//!
//! A plan has one row a machine; rows are carried out side by side, the steps of a row in order. Where one machine depends on another, a step of
//! its row waits for something that the other's row tells, or that is looked for in the other machine (`Step::Hold`); when machines are
//! stopped, those that others depend on come last (`Step::Yield`). Carrying out a plan and planning again gives empty rows, so `up` after a
//! failure goes on where it stopped.
//!
//! | goal | machine is stopped | runs as wanted | runs otherwise than wanted |
//! |---|---|---|---|
//! | up | image, disk if it has none, hold, network, start, await, outputs | await, if it was not ready; outputs, if they are wanted | adjust, or tell, or with `restart` stop, then as up |
//! | down | nothing | stop | stop |
//! | restart | as up | stop, then as up | stop, then as up |
//! | remove | delete | stop, delete | stop, delete |
//! | pause, suspend | nothing | pause, or suspend | as before |
//! | resume | nothing | nothing | nothing |
//!
//! A machine that stands still goes on first: with `resume`, and with `up` or `restart`, which then treat it as one that runs. A
//! suspended one is stopped already as far as `down` goes, and keeps its memory; `rm` deletes that, too.
//!
//! Who is named for `up` or `restart` brings those that it depends on with it: they are brought up. Outputs are wanted when they
//! are not known, when the machine is started, and when one is started that uses them: they may have changed since.
//!
//! What a running machine can be given without a restart, such as forwards, it is given at once ([`Step::Adjust`]). A machine that the file
//! no longer has is told of and left as it is; `rm` deletes it, and `up` where it may prune.

use std::collections::{BTreeMap, BTreeSet};

use atoll_spec::{Condition, Dependency};
use serde::{Deserialize, Serialize};

/// What a command is to bring about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Machines run and are ready.
    Up(Up),
    /// Machines are stopped: these, or all when empty.
    Down(BTreeSet<String>),
    /// These machines are stopped and run again.
    Restart(BTreeSet<String>),
    /// These machines are gone with their disks; all when empty.
    Remove(BTreeSet<String>),
    /// The CPUs of these machines stand still; all when empty.
    Pause(BTreeSet<String>),
    /// These machines have ended, and their memory is in a file; all when empty.
    Suspend(BTreeSet<String>),
    /// Those of these machines that stand still, or are suspended, go on; all when empty.
    Resume(BTreeSet<String>),
}

/// How far `up` goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Up {
    /// These machines, or all when empty.
    pub machines: BTreeSet<String>,
    /// Whether machines may be restarted that cannot have otherwise what the file says.
    pub restart: bool,
    /// Whether machines that the file no longer has are deleted.
    pub prune: bool,
}

/// A machine as the file has it, as far as a plan depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Its name.
    pub machine: String,
    /// Whether it boots from a disk of its own.
    pub has_disk: bool,
    /// Stands for all that a running machine cannot change: equal exactly when nothing of it changed.
    pub fingerprint: String,
    /// Stands for what it can.
    pub adjustable: String,
    /// What it is started after: machines that are wanted, too, none of which waits for this one.
    pub waits: Vec<Dependency>,
    /// The names of what it gives to others.
    pub outputs: BTreeSet<String>,
}

/// A machine as it is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Whether its QEMU runs.
    pub running: bool,
    /// Whether it was ready since it was started.
    pub ready: bool,
    /// Whether its CPUs stand still because somebody wanted it so.
    pub paused: bool,
    /// Whether it goes on from its memory in a file.
    pub suspended: bool,
    /// Whether its disk is there.
    pub disk: bool,
    /// What it was started as.
    pub fingerprint: Option<String>,
    /// What it was given last of what can be changed.
    pub adjustable: Option<String>,
    /// The names of its outputs that are known.
    pub outputs: BTreeSet<String>,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Have its image on this host.
    Image,
    /// Make its disk.
    Disk,
    /// Wait until all that it is started after holds.
    Hold,
    /// Let its network know it: socket, address, name, documents, forwards.
    Join,
    /// Start its QEMU.
    Start,
    /// Wait until it is ready.
    Await,
    /// Take its outputs.
    Outputs,
    /// Give it what changed and needs no restart: forwards, documents for the next boot that asks.
    Adjust,
    /// Tell that it runs otherwise than the file says.
    TellChanged,
    /// Tell that the file no longer has it.
    TellGone,
    /// Let its CPUs stand still.
    Pause,
    /// Let its CPUs run again.
    Continue,
    /// Put its memory into a file and end its QEMU.
    Suspend,
    /// Start its QEMU with the memory that is in a file.
    Wake,
    /// Wait until those that depend on it are stopped.
    Yield,
    /// Shut it down.
    Stop,
    /// Take it off its network.
    Leave,
    /// Delete its disk and all that is known of it.
    Delete,
}

/// What to do for one machine, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The machine.
    pub machine: String,
    /// What to do.
    pub steps: Vec<Step>,
    /// What [`Step::Hold`] waits for.
    pub waits: Vec<Dependency>,
    /// Whose stopping [`Step::Yield`] waits for.
    pub dependents: Vec<String>,
}

impl Row {
    /// Whether the machine is started by it.
    fn starts(&self) -> bool {
        self.steps.contains(&Step::Start)
    }
}

/// What has to be looked for in machines while a plan is carried out: each thing once, whoever waits for it.
pub fn looks(rows: &[Row]) -> BTreeSet<&Dependency> {
    let held = rows.iter().filter(|row| row.steps.contains(&Step::Hold));
    held.flat_map(|row| &row.waits)
        .filter(|wait| wait.condition.is_looked_at())
        .collect()
}

/// A goal names a machine that is neither in the file nor found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no machine {machine:?} in this cluster")]
pub struct UnknownMachine {
    /// The name.
    pub machine: String,
    /// The names there are.
    pub known: Vec<String>,
}

impl UnknownMachine {
    /// What can be done about it.
    pub fn hint(&self) -> String {
        match self.known.as_slice() {
            [] => "the cluster has no machines yet: `atoll up` makes them".to_owned(),
            known => format!("there are: {}", known.join(", ")),
        }
    }
}

/// What is to be done, a row for every machine that the goal is about, in the order of their names.
pub fn plan(
    goal: &Goal,
    desired: &[Desired],
    observed: &BTreeMap<String, Observed>,
) -> Result<Vec<Row>, UnknownMachine> {
    let wanted: BTreeMap<&str, &Desired> = desired.iter().map(|it| (it.machine.as_str(), it)).collect();
    let known: BTreeSet<&str> = wanted
        .keys()
        .copied()
        .chain(observed.keys().map(String::as_str))
        .collect();
    let named = goal.named();
    if let Some(machine) = named.iter().find(|name| !goal.may_name(name, &wanted, &known)) {
        let known = known.iter().filter(|name| goal.may_name(name, &wanted, &known));
        return Err(UnknownMachine {
            machine: machine.clone(),
            known: known.map(|name| (*name).to_owned()).collect(),
        });
    }
    let also = goal.also(&wanted);
    let nothing = Observed::default();
    let rows = known.into_iter().filter_map(|name| {
        let is_named = named.is_empty() || named.contains(name);
        // Those that come along are brought up, whatever happens to the others.
        let up = Goal::Up(Up::default());
        let goal = if is_named { goal } else { &up };
        let found = observed.get(name).unwrap_or(&nothing);
        let desired = wanted.get(name).copied();
        let row = || Row {
            machine: name.to_owned(),
            steps: steps(goal, desired, found),
            waits: desired.map(|it| it.waits.clone()).unwrap_or_default(),
            dependents: Vec::new(),
        };
        (is_named || also.contains(name)).then(row)
    });
    let mut rows: Vec<Row> = rows.collect();
    if matches!(goal, Goal::Up(_) | Goal::Restart(_)) {
        want_outputs(&mut rows, &wanted, observed);
    }
    yield_to_dependents(&mut rows);
    Ok(rows)
}

/// Outputs are taken where they are not known, and where somebody is started who uses them.
fn want_outputs(rows: &mut [Row], wanted: &BTreeMap<&str, &Desired>, observed: &BTreeMap<String, Observed>) {
    let starting = rows.iter().filter(|row| row.starts());
    let uses = starting
        .flat_map(|row| &row.waits)
        .filter(|wait| wait.condition == Condition::Outputs);
    let used: BTreeSet<String> = uses.map(|wait| wait.machine.to_string()).collect();
    let none = BTreeSet::new();
    for row in rows {
        let (name, stops) = (row.machine.as_str(), row.steps.contains(&Step::Stop));
        let Some(desired) = wanted.get(name).filter(|desired| !desired.outputs.is_empty()) else {
            continue;
        };
        let found = observed.get(name);
        let known = found.map_or(&none, |found| &found.outputs);
        let goes_on = !stops && found.is_some_and(|found| found.running || found.suspended);
        let is_wanted = used.contains(name) || !known.is_superset(&desired.outputs);
        if row.starts() || goes_on && is_wanted {
            row.steps.push(Step::Outputs);
        }
    }
}

/// What is stopped goes after what depends on it.
fn yield_to_dependents(rows: &mut [Row]) {
    let stopping: Vec<(String, Vec<String>)> = rows
        .iter()
        .filter(|row| row.steps.contains(&Step::Stop))
        .map(|row| {
            let others = row.waits.iter().map(|wait| wait.machine.to_string());
            (row.machine.clone(), others.collect())
        })
        .collect();
    for row in rows.iter_mut().filter(|row| row.steps.contains(&Step::Stop)) {
        let dependents = stopping
            .iter()
            .filter(|(_, others)| others.contains(&row.machine));
        row.dependents = dependents.map(|(name, _)| name.clone()).collect();
        if !row.dependents.is_empty() {
            row.steps.insert(0, Step::Yield);
        }
    }
}

impl Goal {
    fn named(&self) -> &BTreeSet<String> {
        match self {
            Self::Up(up) => &up.machines,
            Self::Down(named)
            | Self::Restart(named)
            | Self::Remove(named)
            | Self::Pause(named)
            | Self::Suspend(named)
            | Self::Resume(named) => named,
        }
    }

    /// The machines that come along because one that is named depends on them, however far.
    fn also<'d>(&self, wanted: &BTreeMap<&str, &'d Desired>) -> BTreeSet<&'d str> {
        let mut also = BTreeSet::new();
        if !matches!(self, Self::Up(_) | Self::Restart(_)) {
            return also;
        }
        let named = self.named();
        let mut next: Vec<&Desired> = named
            .iter()
            .filter_map(|name| wanted.get(name.as_str()).copied())
            .collect();
        while let Some(desired) = next.pop() {
            for wait in &desired.waits {
                let other = wait.machine.as_str();
                if let Some(other) = wanted.get(other)
                    && also.insert(other.machine.as_str())
                {
                    next.push(other);
                }
            }
        }
        also
    }

    /// Only what the file has can be brought up; what is there can always be stopped and removed.
    fn may_name(&self, name: &str, wanted: &BTreeMap<&str, &Desired>, known: &BTreeSet<&str>) -> bool {
        match self {
            Self::Up(_) | Self::Restart(_) => wanted.contains_key(name),
            Self::Down(_) | Self::Remove(_) | Self::Pause(_) | Self::Suspend(_) | Self::Resume(_) => {
                known.contains(name)
            }
        }
    }
}

fn steps(goal: &Goal, desired: Option<&Desired>, observed: &Observed) -> Vec<Step> {
    match (goal, desired) {
        (Goal::Up(up), Some(desired)) if !(up.restart && runs_otherwise(desired, observed)) => {
            bring_up(desired, observed)
        }
        (Goal::Up(up), None) if !up.prune => vec![Step::TellGone],
        (Goal::Restart(_), None) | (Goal::Down(_), _) => stop(observed),
        (Goal::Up(_) | Goal::Restart(_), Some(desired)) => {
            // A guest that stands still cannot shut down.
            let mut steps = go_on(observed);
            let going = gone_on(observed);
            steps.extend(stop(&going));
            let stopped = Observed {
                running: false,
                ready: false,
                ..going
            };
            steps.extend(bring_up(desired, &stopped));
            steps
        }
        (Goal::Remove(_), _) | (Goal::Up(_), None) => {
            let mut steps = stop(observed);
            steps.push(Step::Delete);
            steps
        }
        (Goal::Pause(_), _) if observed.running && !observed.paused => vec![Step::Pause],
        (Goal::Suspend(_), _) if observed.running => vec![Step::Suspend, Step::Leave],
        (Goal::Pause(_) | Goal::Suspend(_), _) => Vec::new(),
        (Goal::Resume(_), _) => {
            let mut steps = go_on(observed);
            if !steps.is_empty() && !observed.ready {
                steps.push(Step::Await);
            }
            steps
        }
    }
}

/// What makes a machine run on that stands still.
fn go_on(observed: &Observed) -> Vec<Step> {
    if observed.suspended {
        vec![Step::Wake]
    } else if observed.running && observed.paused {
        vec![Step::Continue]
    } else {
        Vec::new()
    }
}

/// The machine after [`go_on`].
fn gone_on(observed: &Observed) -> Observed {
    Observed {
        running: observed.running || observed.suspended,
        paused: false,
        suspended: false,
        ..observed.clone()
    }
}

fn stop(observed: &Observed) -> Vec<Step> {
    if observed.running {
        vec![Step::Stop, Step::Leave]
    } else {
        Vec::new()
    }
}

fn runs_otherwise(desired: &Desired, observed: &Observed) -> bool {
    let runs = observed.running || observed.suspended;
    runs && observed.fingerprint.as_deref() != Some(&desired.fingerprint)
}

fn bring_up(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let mut steps = go_on(observed);
    let observed = &gone_on(observed);
    if !observed.running {
        let mut steps = vec![Step::Image];
        if desired.has_disk && !observed.disk {
            steps.push(Step::Disk);
        }
        if !desired.waits.is_empty() {
            steps.push(Step::Hold);
        }
        steps.extend([Step::Join, Step::Start, Step::Await]);
        return steps;
    }
    if observed.adjustable.as_deref() != Some(&desired.adjustable) {
        steps.push(Step::Adjust);
    }
    if runs_otherwise(desired, observed) {
        steps.push(Step::TellChanged);
    }
    if !observed.ready {
        steps.push(Step::Await);
    }
    steps
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
