//! `forward`: ports of the host that lead to machines, changed while they run.

use std::net::SocketAddr;

use atoll_control::Method;
use atoll_control::cluster::problem::Problem;
use atoll_control::cluster::questions::{NewForwards, OldForward};
use atoll_control::cluster::status::ForwardStatus;
use atoll_control::runtime::{ForwardId, ForwardInfo, GuestTarget};
use atoll_control::spec::{Forward, Hint};
use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::project::{self, FileArgs};
use crate::shape::Shape;
use crate::table::{or_dash, print};

/// Arguments of `forward`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Example:\n  atoll forward web 8080:80               127.0.0.1:8080 of the host leads to port 80 of web\n  atoll forward web 0.0.0.0:5353:53/udp   for everybody, UDP\n  atoll forward ls\n  atoll forward rm 3"
)]
pub(crate) struct ForwardArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    add: AddArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add forwards to a machine that runs; they are kept until they are removed
    #[command(after_help = "Example:\n  atoll forward add web 8080:80 8443:443")]
    Add(AddArgs),
    /// Remove a forward by its number
    #[command(after_help = "Example:\n  atoll forward rm 3")]
    Rm(RmArgs),
    /// List all forwards
    #[command(after_help = "Example:\n  atoll forward ls --json | jq -r '.[].listen'")]
    Ls(LsArgs),
}

#[derive(Debug, Args)]
struct AddArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The machine
    #[arg(required = true, add = crate::complete::machines())]
    machine: Option<String>,
    #[arg(value_name = "FORWARD", required = true, value_parser = parse)]
    #[arg(
        help = "[BIND:]HOST-PORT:GUEST-PORT[/PROTOCOL]; BIND 127.0.0.1 when left out, 0.0.0.0 for all of IPv4, [::] for \
                  all of IPv6, * for both; host port 0 for one of the host's choice"
    )]
    forwards: Vec<Forward>,
}

#[derive(Debug, Args)]
struct RmArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Its number in `atoll forward ls`
    id: u32,
    /// The network it is on, where numbers of several would be the same
    #[arg(long)]
    network: Option<String>,
}

#[derive(Debug, Args)]
struct LsArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    shape: Shape,
}

pub(crate) const HEADING: [&str; 4] = ["  ID", "HOST", "GUEST", "PROTOCOL"];

fn parse(text: &str) -> Result<Forward, String> {
    text.parse::<Forward>().map_err(|error| match error.hint() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    })
}

fn guest(forward: &ForwardInfo) -> String {
    let port = forward.guest_port;
    match &forward.guest {
        // With brackets round an IPv6 address.
        GuestTarget::Address(address) => SocketAddr::new(*address, port).to_string(),
        several @ GuestTarget::OneOf(_) => format!("{several}:{port}"),
        GuestTarget::Mac(mac) => format!("{mac}:{port}"),
        GuestTarget::Name(name) => format!("{name}:{port}"),
    }
}

/// A forward as a row under [`HEADING`].
pub(crate) fn row(forward: &ForwardInfo) -> Vec<String> {
    vec![
        format!("  {}", forward.id.0),
        match forward.wanted_port {
            Some(port) => format!("{} (for {port})", forward.listen),
            None => forward.listen.to_string(),
        },
        guest(forward),
        if forward.automatic {
            format!("{}, by itself", forward.protocol)
        } else {
            forward.protocol.to_string()
        },
    ]
}

pub(crate) fn forward(args: ForwardArgs) -> Result<(), Failure> {
    match args.action {
        None => add(args.add),
        Some(Action::Add(args)) => add(args),
        Some(Action::Rm(args)) => remove(args),
        Some(Action::Ls(args)) => list(&args),
    }
}

fn add(args: AddArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let machine = project::running_machine(&project, &args.machine.unwrap_or_default())?.name;
    let new = NewForwards {
        machine,
        forwards: args.forwards,
    };
    let made: Vec<ForwardInfo> = project::daemon(&project)?.call(&Method::POST, "/v1/forwards", &new)?;
    Ok(print(&HEADING, &made.iter().map(row).collect::<Vec<_>>())?)
}

fn remove(args: RmArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let old = OldForward {
        network: args.network,
        id: ForwardId(args.id),
    };
    let Some(client) = project::daemon_if_needed(&project)? else {
        return Err(Problem::environment("the cluster does not run")
            .with_hint("`atoll up` starts it")
            .into());
    };
    Ok(client.call(&Method::DELETE, "/v1/forwards", &old)?)
}

fn list(args: &LsArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let forwards: Vec<ForwardStatus> = match project::daemon_if_needed(&project)? {
        Some(client) => client.get("/v1/forwards")?,
        None => Vec::new(),
    };
    if args.shape.print(&forwards, &forwards)? {
        return Ok(());
    }
    let rows = forwards.iter().map(|it| {
        let mut row = row(&it.forward);
        row[0] = it.forward.id.0.to_string();
        row.extend([it.network.clone(), or_dash(it.machine.as_ref())]);
        row
    });
    let rows: Vec<_> = rows.collect();
    Ok(print(
        &["ID", "HOST", "GUEST", "PROTOCOL", "NETWORK", "MACHINE"],
        &rows,
    )?)
}
