//! `output`: what machines gave for others.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use atoll_control::cluster::outputs::{self, Values};
use atoll_control::cluster::problem::Problem;
use atoll_control::cluster::project::Project;
use clap::Args;

use crate::failure::Failure;
use crate::project::FileArgs;
use crate::table::{print, print_json};

/// Arguments of `output`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll output                            which there are; values are not shown\n  atoll output control join-token         its value, as it is\n  atoll output --json | jq -r '.control[\"join-token\"]'"
)]
pub(crate) struct OutputArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The machine; all of the cluster when left out
    #[arg(add = crate::complete::machines())]
    machine: Option<String>,
    /// The output whose value to print
    name: Option<String>,
    /// Values by machine and name, as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn output(args: &OutputArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let known = known(&project, args.machine.as_deref())?;
    if let (Some(machine), Some(name)) = (&args.machine, &args.name) {
        let value = value(&project, &known, machine, name)?;
        if args.json {
            return Ok(print_json(&value)?);
        }
        return Ok(writeln!(io::stdout(), "{}", for_stdout(value))?);
    }
    if args.json {
        let printed = match &args.machine {
            Some(machine) => print_json(&known.get(machine)),
            None => print_json(&known),
        };
        return Ok(printed?);
    }
    let row = |machine: &str, name: &str, known: Option<&String>| {
        let size = known.map_or_else(
            || "not known".to_owned(),
            |value| format!("{} bytes", value.len()),
        );
        vec![machine.to_owned(), name.to_owned(), size]
    };
    let mut rows = Vec::new();
    for machine in &project.cluster.machines {
        let values = known.get(machine.name.as_str());
        for name in machine.outputs.keys().filter(|_| values.is_some()) {
            let value = values.and_then(|values| values.get(name.as_str()));
            rows.push(row(machine.name.as_str(), name.as_str(), value));
        }
    }
    Ok(print(&["MACHINE", "OUTPUT", "VALUE"], &rows)?)
}

/// The value as it is; on a terminal without what a guest could play tricks on it with.
fn for_stdout(value: &str) -> String {
    let is_shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    if io::stdout().is_terminal() {
        value.chars().filter(is_shown).collect()
    } else {
        value.to_owned()
    }
}

/// What is known of the machines of the file, or of one of them.
fn known(project: &Project, only: Option<&str>) -> Result<BTreeMap<String, Values>, Failure> {
    let machines = &project.cluster.machines;
    if let Some(name) = only.filter(|name| project.cluster.machine(name).is_none()) {
        let known: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
        let problem = Problem::usage(format!("there is no machine {name:?} in this cluster"));
        return Err(problem
            .with_hint(format!("there are: {}", known.join(", ")))
            .into());
    }
    let names = machines.iter().map(|machine| machine.name.as_str());
    let mut known = BTreeMap::new();
    for name in names.filter(|name| only.is_none_or(|only| only == *name)) {
        let values = outputs::load(&project.paths, name).map_err(Problem::from)?;
        known.insert(name.to_owned(), values);
    }
    Ok(known)
}

fn value<'k>(
    project: &Project,
    known: &'k BTreeMap<String, Values>,
    machine: &str,
    name: &str,
) -> Result<&'k String, Failure> {
    if let Some(value) = known.get(machine).and_then(|values| values.get(name)) {
        return Ok(value);
    }
    let given = project.cluster.machine(machine).map(|machine| &machine.outputs);
    let names: Vec<&str> = given
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    if names.contains(&name) {
        let problem = Problem::environment(format!("output {name} of machine {machine} is not known yet"));
        return Err(problem.with_hint(format!("`atoll up {machine}` takes it")).into());
    }
    let hint = match names.as_slice() {
        [] => "it has none; the file gives them: outputs: {NAME: {command: …}}".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    };
    let problem = Problem::usage(format!("machine {machine} has no output {name:?}"));
    Err(problem.with_hint(hint).into())
}
