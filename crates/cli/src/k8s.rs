//! `k8s`: a Kubernetes cluster in one line: a template's file, `up`, and the context for `kubectl`.

use std::path::PathBuf;

use atoll_control::cluster::project::DEFAULT_FILE;
use atoll_control::spec::FileTemplate;
use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::init;
use crate::kubeconfig;
use crate::lifecycle::{self, DownArgs, UpArgs};
use crate::project::FileArgs;

/// What can be done with a Kubernetes cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum K8sCommand {
    /// Bring a Kubernetes cluster up, and make it kubectl's current context
    #[command(
        after_help = "Example:\n  mkdir lab && cd lab && atoll k8s up --nodes 4 && kubectl get nodes\n  atoll k8s up --nodes 6 --control-planes 3\n  atoll k8s up --nodes 5      a worker more than with 4; the others are left alone\n\nIt is `atoll init k3s && atoll up --var … && atoll kubeconfig --install --use`: the file is yours to edit, and is not written where there is one. What is not said is as the file has it. docs/kubernetes.md says what was tried."
    )]
    Up(K8sUpArgs),
    /// Take the context out of the kubeconfig and shut the machines down; disks are kept
    #[command(
        after_help = "Example:\n  atoll k8s down && atoll k8s up      the same cluster\n  atoll rm                        its end"
    )]
    Down(K8sDownArgs),
}

/// Arguments of `k8s up`.
#[derive(Debug, Args)]
pub(crate) struct K8sUpArgs {
    /// How many machines, control planes among them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: Option<u16>,
    /// How many of them are control planes: 1, or 3 of which one may fail
    #[arg(long, value_name = "N", value_parser = ["1", "3"])]
    control_planes: Option<String>,
    /// The release, as it stands in addresses; the file's when left out
    #[arg(long, value_name = "RELEASE")]
    release: Option<String>,
    /// Where releases lie that are not fetched from their makers: http://… as machines reach it
    #[arg(long, value_name = "URL")]
    artefacts: Option<String>,
    /// The cluster file, written where there is none
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
    /// How long each machine may take to become ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    timeout: u64,
}

/// Arguments of `k8s down`.
#[derive(Debug, Args)]
pub(crate) struct K8sDownArgs {
    #[command(flatten)]
    file: FileArgs,
}

pub(crate) fn k8s(command: &K8sCommand) -> Result<(), Failure> {
    match command {
        K8sCommand::Up(args) => up(args),
        K8sCommand::Down(args) => {
            kubeconfig::take_out(&args.file.load()?)?;
            lifecycle::down(&DownArgs::all(args.file.clone()))
        }
    }
}

fn up(args: &K8sUpArgs) -> Result<(), Failure> {
    let variables = variables(args)?;
    if !args.file.exists() {
        let template = FileTemplate::find("k3s").expect("it is among the templates");
        init::write(template, &args.file)?;
    }
    let file = FileArgs::with(args.file.clone(), variables);
    lifecycle::up(&UpArgs::all(file.clone(), args.timeout))?;
    let project = file.load()?;
    kubeconfig::install(&project, project.cluster.name.as_str(), true)
}

/// What the command line says, as variables of the file.
fn variables(args: &K8sUpArgs) -> Result<Vec<(String, String)>, Failure> {
    let mut variables = Vec::new();
    let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
    if let Some(nodes) = args.nodes {
        let control = args.control_planes.as_deref().unwrap_or("1");
        let workers = control
            .parse()
            .ok()
            .and_then(|control| nodes.checked_sub(control));
        let Some(workers) = workers else {
            let sentence = format!("{nodes} nodes are fewer than {control} control planes");
            return Err(Failure::usage(sentence, None));
        };
        set("control-planes", control);
        set("workers", &workers.to_string());
    } else if let Some(control) = &args.control_planes {
        set("control-planes", control);
    }
    if let Some(release) = &args.release {
        set("release", release);
    }
    if let Some(artefacts) = &args.artefacts {
        let url = artefacts.trim_end_matches('/');
        for name in ["artefacts", "installer"] {
            set(name, url);
        }
    }
    Ok(variables)
}
