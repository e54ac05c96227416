//! What `up` would do, found out without doing it and without the daemon: the same plan from the same state.

use serde::{Deserialize, Serialize};

use crate::change::{Change, Takes, changes};
use crate::cluster::{desired, observed};
use crate::plan::{self, Goal, Step, Up};
use crate::problem::Problem;
use crate::project::Project;
use crate::state::State;

/// What `up` would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Of each machine that it is about, in the order of their names.
    pub machines: Vec<Planned>,
    /// Networks that machines run on and that the file changes: `up` refuses until all of those are down.
    pub changed_networks: Vec<String>,
}

/// What `up` would do for a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The machine.
    pub machine: String,
    /// In a word.
    pub action: Action,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What the file changes of it, if it runs.
    pub changes: Vec<Change>,
}

/// What `up` would do for a machine, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing: it runs as the file says.
    Nothing,
    /// Make it and start it.
    Create,
    /// Start what was made before.
    Start,
    /// Let it go on where it stands still.
    Resume,
    /// Wait for what was started before.
    Await,
    /// Give it what changed while it runs.
    Adjust,
    /// Stop it and start it with what changed.
    Restart,
    /// Nothing, or what needs no restart, although it runs otherwise than the file says.
    NeedsRestart,
    /// Nothing, although the file does not have it.
    NotInFile,
    /// Stop it, and delete it with its disk.
    Delete,
}

impl Preview {
    /// Whether `up` would change anything.
    pub fn does_something(&self) -> bool {
        let is_idle = |it: &Planned| matches!(it.action, Action::Nothing | Action::NotInFile);
        !self.changed_networks.is_empty() || !self.machines.iter().all(is_idle)
    }

    /// The machines that run otherwise than the file says, which only a restart changes.
    pub fn needing_restart(&self) -> impl Iterator<Item = &Planned> {
        let machines = self.machines.iter();
        machines.filter(|it| it.action == Action::NeedsRestart)
    }
}

impl Planned {
    /// The changes that take a restart, in one line.
    pub fn reasons(&self) -> String {
        let restart = self
            .changes
            .iter()
            .filter(|change| change.takes == Takes::Restart);
        restart.map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// What `up` would do now for the cluster of this file.
///
/// # Errors
///
/// The state cannot be read, or a machine is named that the file does not have.
pub fn preview(project: &Project, up: &Up) -> Result<Preview, Problem> {
    let state = State::load(&project.paths)?.unwrap_or_else(|| State::new(project.file.clone()));
    let observed = observed(&state, &project.paths);
    let rows = plan::plan(&Goal::Up(up.clone()), &desired(&project.cluster), &observed)?;
    let machines = rows.into_iter().map(|row| {
        let found = observed.get(&row.machine);
        let started = state
            .machines
            .get(&row.machine)
            .and_then(|known| known.started.as_ref());
        let running = started.filter(|_| found.is_some_and(|found| found.running || found.suspended));
        let changed = running.zip(project.cluster.machine(&row.machine));
        Planned {
            action: action(&row.steps, found.is_some()),
            changes: changed.map_or_else(Vec::new, |(old, new)| changes(&old.machine, new)),
            steps: row.steps,
            machine: row.machine,
        }
    });
    let machines = machines.collect();
    let is_used = |network: &str| {
        let running = state
            .machines
            .iter()
            .filter(|(name, _)| observed.get(*name).is_some_and(|it| it.running));
        let mut nics = running
            .filter_map(|(_, known)| known.started.as_ref())
            .flat_map(|it| &it.machine.nics);
        nics.any(|nic| nic.network.as_str() == network && !nic.attach.is_direct())
    };
    let old = state.cluster.iter().flat_map(|cluster| &cluster.networks);
    let changed_networks = old.filter(|old| {
        let name = old.name.as_str();
        is_used(name) && project.cluster.network(name) != Some(old)
    });
    Ok(Preview {
        changed_networks: changed_networks.map(|network| network.name.to_string()).collect(),
        machines,
    })
}

fn action(steps: &[Step], is_known: bool) -> Action {
    let has = |step| steps.contains(&step);
    if has(Step::Delete) {
        Action::Delete
    } else if has(Step::Stop) {
        Action::Restart
    } else if has(Step::Start) {
        if is_known { Action::Start } else { Action::Create }
    } else if has(Step::Wake) || has(Step::Continue) {
        Action::Resume
    } else if has(Step::TellGone) {
        Action::NotInFile
    } else if has(Step::TellChanged) {
        Action::NeedsRestart
    } else if has(Step::Adjust) {
        Action::Adjust
    } else if has(Step::Await) {
        Action::Await
    } else {
        Action::Nothing
    }
}
