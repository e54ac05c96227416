//! `kubeconfig`: the cluster for `kubectl`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use atoll_control::cluster::kubeconfig::{self, Installed, OUTPUT};
use atoll_control::cluster::outputs;
use atoll_control::cluster::problem::{Kind, Problem};
use atoll_control::cluster::project::Project;
use atoll_control::cluster::status::ForwardStatus;
use atoll_control::spec::kubeconfig::Admin;
use clap::Args;

use crate::failure::{Failure, say};
use crate::project::{self, FileArgs};

/// Arguments of `kubeconfig`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll kubeconfig --install && kubectl --context k3s get nodes\n  atoll kubeconfig > admin.conf && KUBECONFIG=admin.conf kubectl get nodes\n\nThe cluster is a Kubernetes one if a machine has an output `kubeconfig`. Its server is led to the forward of that machine's port; no other context is touched. `atoll rm` takes out what --install put in."
)]
pub(crate) struct KubeconfigArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Put it into the file of KUBECONFIG, else into ~/.kube/config
    #[arg(long, conflicts_with = "uninstall")]
    install: bool,
    /// Also make it the current context, which it becomes by itself where there is none
    #[arg(long = "use", requires = "install")]
    make_current: bool,
    /// Take it out again
    #[arg(long)]
    uninstall: bool,
    /// The name of the context; the cluster's when left out
    #[arg(long, value_name = "NAME", conflicts_with = "uninstall")]
    context: Option<String>,
}

pub(crate) fn kubeconfig(args: &KubeconfigArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    if args.uninstall {
        if !take_out(&project)? {
            say("no kubeconfig has the cluster");
        }
        return Ok(());
    }
    let name = args.context.as_deref().unwrap_or(project.cluster.name.as_str());
    if args.install {
        return install(&project, name, args.make_current);
    }
    let (admin, at) = way_in(&project)?;
    Ok(io::stdout().write_all(admin.entry(name, at).alone().as_bytes())?)
}

/// Puts the cluster into the user's kubeconfig.
pub(crate) fn install(project: &Project, name: &str, make_current: bool) -> Result<(), Failure> {
    let (admin, at) = way_in(project)?;
    let wanted = Installed {
        file: user_file()?,
        name: name.to_owned(),
    };
    kubeconfig::install(&project.paths, (&admin, at), &wanted, make_current).map_err(Problem::from)?;
    let file = wanted.file.display();
    say(&format!("{file} has the context {name}: https://{at}"));
    Ok(())
}

/// Takes the cluster out of the kubeconfig that it was put into; whether there was one.
pub(crate) fn take_out(project: &Project) -> Result<bool, Failure> {
    let was = kubeconfig::uninstall(&project.paths).map_err(Problem::from)?;
    if let Some(Installed { file, name }) = &was {
        say(&format!("{} has the context {name} no more", file.display()));
    }
    Ok(was.is_some())
}

fn user_file() -> Result<PathBuf, Failure> {
    let found = kubeconfig::user_file(|name| std::env::var_os(name)).ok_or_else(|| {
        let hint = "set HOME, or KUBECONFIG to the file".to_owned();
        Failure::environment("there is no place for a kubeconfig", Some(hint))
    })?;
    Ok(std::path::absolute(found)?)
}

/// What the control plane gave, and where the host reaches it.
fn way_in(project: &Project) -> Result<(Admin, SocketAddr), Failure> {
    let machines = &project.cluster.machines;
    let has_it = |output: &str| output == OUTPUT;
    let control = machines
        .iter()
        .find(|machine| machine.outputs.keys().any(|output| has_it(output.as_str())));
    let Some(control) = control.map(|machine| machine.name.as_str()) else {
        let problem = Problem::usage(format!("no machine of this cluster has an output {OUTPUT:?}"));
        let hint = "outputs: {kubeconfig: {file: /etc/kubernetes/admin.conf}} gives one; `atoll template ls` has whole clusters";
        return Err(problem.with_hint(hint).into());
    };
    let known = outputs::load(&project.paths, control).map_err(Problem::from)?;
    let text = known.get(OUTPUT).ok_or_else(|| {
        let problem = Problem::environment(format!("output {OUTPUT} of machine {control} is not known yet"));
        problem.with_hint(format!("`atoll up {control}` takes it"))
    })?;
    let admin = Admin::parse(text).map_err(|error| {
        Problem::new(
            Kind::Guest,
            format!("output {OUTPUT} of machine {control}: {error}"),
        )
    })?;
    let forwards: Vec<ForwardStatus> = match project::daemon_if_needed(project)? {
        Some(client) => client.get("/v1/forwards")?,
        None => Vec::new(),
    };
    let port = admin.port();
    let at = kubeconfig::address(&forwards, control, port).ok_or_else(|| {
        let problem = Problem::environment(format!("nothing of this host leads to port {port} of {control}"));
        problem.with_hint(format!(
            "`atoll up` starts it; `atoll forward {control} {port}:{port}` leads there"
        ))
    })?;
    Ok((admin, at))
}
