//! Which cluster a command is about.

use std::path::{Path, PathBuf};

use atoll_control::cluster::problem::Problem;
use atoll_control::cluster::project::{self, Project};
use atoll_control::cluster::questions::offline_status;
use atoll_control::cluster::status::{MachineStatus, Status};
use atoll_control::spec::Choices;
use atoll_control::{CallError, Client, daemon};
use clap::Args;

use crate::failure::Failure;

/// The cluster file.
#[derive(Clone, Debug, Args)]
pub(crate) struct FileArgs {
    /// The cluster file; atoll.yaml in this folder or the nearest above when left out
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    choices: ChoiceArgs,
}

/// What a cluster file leaves open.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ChoiceArgs {
    /// A value for a variable of the file; else ATOLL_VAR_NAME of the environment, else the file's own
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    var: Vec<(String, String)>,
    /// Also use the machines of this profile
    #[arg(long, value_name = "PROFILE")]
    profile: Vec<String>,
}

/// A variable's name and value.
fn variable(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

impl ChoiceArgs {
    fn choices(&self) -> Choices {
        let (variables, profiles) = (self.var.iter().cloned(), self.profile.iter().cloned());
        project::choices(variables.collect(), profiles.collect())
    }
}

/// The cluster file, where `-f` means something else.
#[derive(Debug, Args)]
pub(crate) struct LongFileArgs {
    /// The cluster file; atoll.yaml in this folder or the nearest above when left out
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    choices: ChoiceArgs,
}

impl LongFileArgs {
    /// Reads the file.
    pub(crate) fn load(&self) -> Result<Project, Failure> {
        FileArgs {
            file: self.file.clone(),
            choices: self.choices.clone(),
        }
        .load()
    }
}

/// The hidden subcommand that runs a cluster's daemon.
pub(crate) const DAEMON: &str = "daemon";

impl FileArgs {
    /// This file with these values for its variables.
    pub(crate) fn with(file: PathBuf, variables: Vec<(String, String)>) -> Self {
        Self {
            file: Some(file),
            choices: ChoiceArgs {
                var: variables,
                profile: Vec::new(),
            },
        }
    }

    /// Reads the file, for a command that looks at what is there: what is not chosen now is as it was when the cluster was brought up.
    pub(crate) fn load(&self) -> Result<Project, Failure> {
        let here = std::env::current_dir()?;
        let file = project::find(self.file.as_deref(), &here)?;
        let mut choices = self.choices.choices();
        let last = project::last_choices(&file);
        // What the environment says now counts more than what was said then.
        let environment = last.environment.into_iter().chain(choices.environment);
        choices.environment = environment.collect();
        if choices.variables.is_empty() {
            choices.variables = last.variables;
        }
        if choices.profiles.is_empty() {
            choices.profiles = last.profiles;
        }
        match Project::load(&file, &self.shown(&file, &here), choices) {
            Ok(project) => Ok(project),
            // The file may have lost what was chosen then.
            Err(_) => self.load_as_chosen(),
        }
    }

    /// Reads the file, for a command that changes what is there: with what is chosen now.
    pub(crate) fn load_as_chosen(&self) -> Result<Project, Failure> {
        let here = std::env::current_dir()?;
        let file = project::find(self.file.as_deref(), &here)?;
        let shown = self.shown(&file, &here);
        Ok(Project::load(&file, &shown, self.choices.choices())?)
    }

    /// What messages call the file: as the user named it, or from here if it is below.
    pub(crate) fn shown(&self, file: &Path, here: &Path) -> String {
        let here = here.canonicalize().unwrap_or_else(|_| here.to_owned());
        let named = self.file.as_deref();
        named
            .unwrap_or_else(|| file.strip_prefix(here).unwrap_or(file))
            .display()
            .to_string()
    }
}

/// The cluster's daemon, started if it does not run.
pub(crate) fn daemon(project: &Project) -> Result<Client, Failure> {
    let name = project.cluster.name.as_str();
    let arguments = [
        DAEMON.as_ref(),
        "--name".as_ref(),
        name.as_ref(),
        project.file.as_os_str(),
    ];
    Ok(daemon::reach_or_start(project, &arguments)?)
}

/// The cluster's daemon if it runs, or if machines run that it should look after; else `None`.
pub(crate) fn daemon_if_needed(project: &Project) -> Result<Option<Client>, Failure> {
    match Client::connect(&project.paths.api_socket()) {
        Ok(client) => Ok(Some(client)),
        Err(CallError::NotRunning { .. }) => {
            let status = offline_status(project)?;
            let any_runs = status.machines.iter().any(|machine| machine.pid.is_some());
            any_runs.then(|| daemon(project)).transpose()
        }
        Err(error) => Err(error.into()),
    }
}

/// The cluster as it is, whether or not a daemon runs.
pub(crate) fn status(project: &Project) -> Result<Status, Failure> {
    match daemon_if_needed(project)? {
        Some(client) => Ok(client.get("/v1/status")?),
        None => Ok(offline_status(project)?),
    }
}

/// One machine of the cluster, which must run.
pub(crate) fn running_machine(project: &Project, name: &str) -> Result<MachineStatus, Failure> {
    let machine = any_machine(project, name)?;
    must_run(&machine)?;
    Ok(machine)
}

/// The machines of these names, or with none named every machine that runs where ssh reaches it.
pub(crate) fn machines_by_ssh(project: &Project, names: &[String]) -> Result<Vec<String>, Failure> {
    if !names.is_empty() {
        reached_by_ssh(project, names)?;
        return Ok(names.to_vec());
    }
    let machines = status(project)?.machines.into_iter();
    let reached = machines.filter(|machine| machine.pid.is_some() && machine.ssh_port.is_some());
    let names: Vec<String> = reached.map(|machine| machine.name).collect();
    if names.is_empty() {
        let hint = Some("`atoll up` starts them".to_owned());
        return Err(Failure::environment("no machine runs", hint));
    }
    Ok(names)
}

/// Machines of the cluster, each of which must run where ssh reaches it.
pub(crate) fn reached_by_ssh(project: &Project, names: &[String]) -> Result<(), Failure> {
    let machines = status(project)?.machines;
    for name in names {
        let machine = known(&machines, name)?;
        must_run(machine)?;
        if machine.ssh_port.is_some() {
            continue;
        }
        let why = if machine.nics.is_empty() {
            "it is on no network"
        } else {
            "its NICs are attached to the host's LAN directly"
        };
        let problem = Problem::environment(format!("machine {name} cannot be reached by ssh: {why}"));
        let hint = format!("`atoll console {name}` attaches to its serial port");
        return Err(problem.with_hint(hint).into());
    }
    Ok(())
}

fn must_run(machine: &MachineStatus) -> Result<(), Failure> {
    let name = &machine.name;
    if machine.pid.is_none() {
        let problem = Problem::environment(format!("machine {name} does not run"));
        return Err(problem.with_hint(format!("`atoll up {name}` starts it")).into());
    }
    Ok(())
}

/// The machine of this name.
pub(crate) fn known<'m>(machines: &'m [MachineStatus], name: &str) -> Result<&'m MachineStatus, Failure> {
    machines
        .iter()
        .find(|machine| machine.name == name)
        .ok_or_else(|| {
            let known: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
            let problem = Problem::usage(format!("there is no machine {name:?} in this cluster"));
            problem
                .with_hint(format!("there are: {}", known.join(", ")))
                .into()
        })
}

/// One machine of the cluster.
pub(crate) fn any_machine(project: &Project, name: &str) -> Result<MachineStatus, Failure> {
    let machines = status(project)?.machines;
    known(&machines, name).cloned()
}
