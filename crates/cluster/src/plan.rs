//! From what is wanted and what is there to what is to be done. Pure.
//!
//! A plan has one row a machine; rows do not depend on each other and are carried out side by side, the steps of a row in
//! order. Carrying out a plan and planning again gives empty rows, so `up` after a failure goes on where it stopped.
//!
//! | goal | machine is stopped | runs as wanted | runs otherwise than wanted |
//! |---|---|---|---|
//! | up | image, disk if it has none, network, start, await | await, if it was not ready | adjust, or tell, or with `restart` stop, then as up |
//! | down | nothing | stop | stop |
//! | restart | as up | stop, then as up | stop, then as up |
//! | remove | delete | stop, delete | stop, delete |
//!
//! What a running machine can be given without a restart, such as forwards, it is given at once ([`Step::Adjust`]). A machine that the file
//! no longer has is told of and left as it is; `rm` deletes it, and `up` where it may prune.

use std::collections::{BTreeMap, BTreeSet};

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
}

/// A machine as it is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Whether its QEMU runs.
    pub running: bool,
    /// Whether it was ready since it was started.
    pub ready: bool,
    /// Whether its disk is there.
    pub disk: bool,
    /// What it was started as.
    pub fingerprint: Option<String>,
    /// What it was given last of what can be changed.
    pub adjustable: Option<String>,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Have its image on this host.
    Image,
    /// Make its disk.
    Disk,
    /// Let its network know it: socket, address, name, documents, forwards.
    Join,
    /// Start its QEMU.
    Start,
    /// Wait until it is ready.
    Await,
    /// Give it what changed and needs no restart: forwards, documents for the next boot that asks.
    Adjust,
    /// Tell that it runs otherwise than the file says.
    TellChanged,
    /// Tell that the file no longer has it.
    TellGone,
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
    let nothing = Observed::default();
    let rows = known
        .into_iter()
        .filter(|name| named.is_empty() || named.contains(*name))
        .map(|name| {
            let found = observed.get(name).unwrap_or(&nothing);
            Row {
                machine: name.to_owned(),
                steps: steps(goal, wanted.get(name).copied(), found),
            }
        });
    Ok(rows.collect())
}

impl Goal {
    fn named(&self) -> &BTreeSet<String> {
        match self {
            Self::Up(up) => &up.machines,
            Self::Down(named) | Self::Restart(named) | Self::Remove(named) => named,
        }
    }

    /// Only what the file has can be brought up; what is there can always be stopped and removed.
    fn may_name(&self, name: &str, wanted: &BTreeMap<&str, &Desired>, known: &BTreeSet<&str>) -> bool {
        match self {
            Self::Up(_) | Self::Restart(_) => wanted.contains_key(name),
            Self::Down(_) | Self::Remove(_) => known.contains(name),
        }
    }
}

fn steps(goal: &Goal, desired: Option<&Desired>, observed: &Observed) -> Vec<Step> {
    let stopped = Observed {
        running: false,
        ready: false,
        ..observed.clone()
    };
    match (goal, desired) {
        (Goal::Up(up), Some(desired)) if !(up.restart && runs_otherwise(desired, observed)) => {
            bring_up(desired, observed)
        }
        (Goal::Up(up), None) if !up.prune => vec![Step::TellGone],
        (Goal::Restart(_), None) | (Goal::Down(_), _) => stop(observed),
        (Goal::Up(_) | Goal::Restart(_), Some(desired)) => {
            let mut steps = stop(observed);
            steps.extend(bring_up(desired, &stopped));
            steps
        }
        (Goal::Remove(_), _) | (Goal::Up(_), None) => {
            let mut steps = stop(observed);
            steps.push(Step::Delete);
            steps
        }
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
    observed.running && observed.fingerprint.as_deref() != Some(&desired.fingerprint)
}

fn bring_up(desired: &Desired, observed: &Observed) -> Vec<Step> {
    if !observed.running {
        let mut steps = vec![Step::Image];
        if desired.has_disk && !observed.disk {
            steps.push(Step::Disk);
        }
        steps.extend([Step::Join, Step::Start, Step::Await]);
        return steps;
    }
    let mut steps = Vec::new();
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
