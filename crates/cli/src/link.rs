//! `link` and `unlink`: the host itself on a network that runs.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;

use atoll_control::cluster::problem::Problem;
use atoll_control::link;
use atoll_control::runtime::{LinkAddresses, LinkInfo, LinkWish};
use atoll_control::{CallError, Client};
use clap::Args;
use serde_json::json;

use crate::failure::{Failure, say};
use crate::net::unix;
use crate::project::FileArgs;
use crate::table::print_json;

/// Which network.
#[derive(Debug, Args)]
struct WhichArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The network of the cluster, where it has several
    network: Option<String>,
    /// A network that runs without a cluster file, by the socket of its API (`net run --api`)
    #[arg(long, value_name = "unix:API", conflicts_with = "file")]
    api: Option<String>,
}

/// Arguments of `link`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  atoll link                             then: ssh web.atoll.internal, curl http://10.77.0.2/
  atoll link --api unix:/tmp/api.sock
  sudo HOME=$HOME atoll link             without a line in /etc/atoll/helper.conf

The host gets an interface, an address on the network, a route to the network's addresses and to nothing else, and where
systemd-resolved runs the names of the network's domain. Machines can answer the host, and begin nothing. `atoll unlink`
takes all of it away, and so does the end of the network.

On macOS a network of mode shared or host has the host on it, and a link to it is names alone: /etc/resolver has a file of the
network's domain for as long as the link is there.

It takes root, or a line in /etc/atoll/helper.conf: allow user=NAME link")]
pub(crate) struct LinkArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// The host's address on the network; the highest free one below the host alias when left out. Repeatable, once with IPv4
    /// and once with IPv6
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<IpAddr>,
    /// What the interface is called after `atoll-`, as far as it fits; the network or the cluster when left out
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Leave the host's resolver alone
    #[arg(long)]
    no_names: bool,
    /// Machines may open connections to the host, to all that listens on its address there or on all addresses
    #[arg(long)]
    allow_guests: bool,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

/// Arguments of `unlink`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  atoll unlink\n  atoll unlink --api unix:/tmp/api.sock")]
pub(crate) struct UnlinkArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

impl WhichArgs {
    /// The API, and what the network is called.
    fn reach(&self) -> Result<(Client, String), Failure> {
        if let Some(api) = &self.api {
            let path = unix("--api", api)?;
            let client = Client::connect(&path).map_err(not_running)?;
            return Ok((client, self.name(stem(&path))));
        }
        let project = self.file.load()?;
        // Not started for this, as other commands do: under sudo it would be root's.
        let client = Client::connect(&project.paths.api_socket()).map_err(Problem::from)?;
        Ok((client, self.name(project.cluster.name.to_string())))
    }

    fn name(&self, other: String) -> String {
        self.network.clone().unwrap_or(other)
    }
}

fn not_running(error: CallError) -> Problem {
    match error {
        CallError::NotRunning { .. } => Problem::environment(error.to_string())
            .with_hint("name the socket of a network that runs: `atoll net run --api unix:PATH`"),
        error => error.into(),
    }
}

/// The file's name without its ending.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Run `atoll link`.
pub(crate) fn link(args: &LinkArgs) -> Result<(), Failure> {
    let mut addresses = LinkAddresses::default();
    for address in &args.address {
        let is_second = match address {
            IpAddr::V4(it) => addresses.v4.replace(*it).is_some(),
            IpAddr::V6(it) => addresses.v6.replace(*it).is_some(),
        };
        if is_second {
            return Err(Failure::usage(
                format!("--address {address}: the link has one address of each family"),
                None,
            ));
        }
    }
    let (client, name) = args.which.reach()?;
    let wish = LinkWish {
        name: args.name.clone().unwrap_or(name),
        names: !args.no_names,
        guests: args.allow_guests,
    };
    let network = args.which.network.as_deref();
    let linked = link::link(&client, network, addresses, &wish).map_err(Problem::from)?;
    if args.json {
        let mut value = serde_json::to_value(&linked.info).map_err(io::Error::from)?;
        value["was_there"] = json!(linked.was_there);
        return Ok(print_json(&value)?);
    }
    if linked.was_there {
        say("linked already: nothing was done");
    }
    Ok(tell(&linked.info, !args.no_names)?)
}

fn tell(info: &LinkInfo, wants_names: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if info.port.is_some() {
        writeln!(out, "interface  {}", info.interface)?;
        writeln!(out, "address    {}", words(&info.addresses))?;
        writeln!(out, "routes     {}", info.routes.join(", "))?;
    } else {
        writeln!(out, "file       {}", info.interface)?;
        writeln!(out, "resolvers  {}", words(&info.resolvers))?;
    }
    if let Some(who) = &info.names {
        writeln!(out, "names      *.{}, by {who}", info.domain)?;
    }
    let guests = if info.guests {
        "may open connections to the host"
    } else {
        "only answer the host"
    };
    if info.port.is_some() {
        writeln!(out, "guests     {guests}")?;
    }
    for note in &info.notes {
        say(&format!("note: {note}"));
    }
    if info.names.is_none() && wants_names {
        say(&format!("hint: {}", other_names(info)));
    }
    Ok(())
}

/// What helps where no resolver was told.
fn other_names(info: &LinkInfo) -> String {
    let servers = words(&info.resolvers);
    format!(
        "let the host's resolver ask {servers} for names below {}, as `server=/{}/ADDRESS` does in dnsmasq; for ssh, `atoll ssh-config --install` needs no resolver",
        info.domain, info.domain
    )
}

fn words(addresses: &[IpAddr]) -> String {
    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// Run `atoll unlink`.
pub(crate) fn unlink(args: &UnlinkArgs) -> Result<(), Failure> {
    let (client, _) = args.which.reach()?;
    let gone = link::unlink(&client, args.which.network.as_deref())?;
    if args.json {
        return Ok(print_json(&gone)?);
    }
    match gone {
        Some(info) => say(&format!("{} is gone", info.interface)),
        None => say("there was no link"),
    }
    Ok(())
}

/// A link in a listing of its network.
pub(crate) fn line(info: &LinkInfo) -> String {
    if info.port.is_none() {
        return format!("names by {} ", info.interface);
    }
    format!("host by {} as {} ", info.interface, words(&info.addresses))
}
