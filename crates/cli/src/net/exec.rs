//! `atoll net exec`: a command in a namespace on a network.

use std::ffi::OsString;

use atoll_control::cluster::problem::Problem;
use atoll_control::exec::{self, Reach, Wishes};
use atoll_control::runtime::Mac;
use atoll_control::runtime::namespace::{self, NamespaceError};
use atoll_control::spec;
use clap::Args;

use super::arguments::{NetworkArguments, add, bad, hinted, unix};
use crate::failure::{Failure, tell_problem};

pub(super) const EXAMPLE: &str = "Example:
  atoll net exec -- curl -s https://example.org/
  atoll net exec --forward 8080:80 -- busybox httpd -f -p 80
  atoll net run --qemu unix:/tmp/lan.sock --api unix:/tmp/api.sock &
  atoll net exec --join unix:/tmp/api.sock --name probe -- ping 10.77.0.10

Exit status:
  the command's; 128 and the number of a signal that ended it; 127 when it was not found,
  126 when it could not be run; 1 and 2 as always when there is no network for it";

/// The hidden subcommand that becomes the command.
pub(super) const INSIDE: &str = "inside";

/// What the namespace is called on a network of its own.
const NAME: &str = "exec";

/// Arguments of `net exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArguments {
    #[command(flatten)]
    network: NetworkArguments,

    /// Put the command on a network that runs, by the socket of its API.
    #[arg(long, value_name = "unix:API", conflicts_with_all = NetworkArguments::ids())]
    join: Option<String>,

    /// Which network of a cluster to join, where it has several.
    #[arg(long = "network", value_name = "NAME", requires = "join")]
    network_name: Option<String>,

    /// The namespace's host name on the network; its address follows from it and is the same each time. On a network of its own
    /// it is `exec` when left out.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The namespace's address; when left out the one that DHCP would give, and of IPv6 what its MAC address makes of the prefix.
    /// Repeatable, once with IPv4 and once with IPv6.
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<String>,

    /// What to run there.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Arguments of the process that becomes the command.
#[derive(Debug, Args)]
pub(crate) struct InsideArguments {
    #[arg(long)]
    channel: i32,
    #[arg(long)]
    mac: Option<Mac>,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Run `atoll net exec`.
pub(super) fn exec(arguments: ExecArguments) -> Result<(), Failure> {
    let name = name(&arguments)?;
    let addresses = addresses(&arguments.address)?;
    let reach = reach(&arguments, name.as_deref())?;
    let mac = name.as_deref().map(namespace::mac_for);
    let command = arguments.command;
    let inside = |channel| inside_arguments(channel, mac, command);
    let wishes = Wishes {
        name,
        address: addresses.v4,
        address6: addresses.v6,
    };
    Failure::of_status(exec::exec(reach, wishes, inside).map_err(Problem::from)?)
}

fn name(arguments: &ExecArguments) -> Result<Option<String>, Failure> {
    match &arguments.name {
        Some(name) => Ok(Some(hinted::<spec::Name>("--name", name)?.to_string())),
        None => Ok(arguments.join.is_none().then(|| NAME.to_owned())),
    }
}

fn addresses(values: &[String]) -> Result<spec::Addresses, Failure> {
    let mut addresses = spec::Addresses::default();
    for value in values {
        let address = value.parse().map_err(|_| {
            bad(
                "--address",
                value,
                "this is no IP address",
                "write one such as 10.77.0.5 or fd77:77::5",
            )
        })?;
        add(&mut addresses, ("--address", value), address)?;
    }
    Ok(addresses)
}

fn reach(arguments: &ExecArguments, name: Option<&str>) -> Result<Reach, Failure> {
    if let Some(join) = &arguments.join {
        return Ok(Reach::Running {
            api: unix("--join", join)?,
            network: arguments.network_name.clone(),
        });
    }
    let options = arguments.network.options_for(name)?;
    Ok(Reach::Own(Box::new(options), arguments.network.api()?))
}

/// How this program is told to become the command.
fn inside_arguments(channel: i32, mac: Option<Mac>, command: Vec<OsString>) -> Vec<OsString> {
    let mut arguments = vec![
        "net".to_owned(),
        INSIDE.to_owned(),
        "--channel".to_owned(),
        channel.to_string(),
    ];
    if let Some(mac) = mac {
        arguments.extend(["--mac".to_owned(), mac.to_string()]);
    }
    arguments.push("--".to_owned());
    arguments.into_iter().map(OsString::from).chain(command).collect()
}

/// Become the command.
pub(super) fn inside(arguments: &InsideArguments) -> Result<(), Failure> {
    let error = namespace::run_inside(arguments.channel, arguments.mac, &arguments.command);
    // A starter that goes no further has said why.
    if !matches!(error, NamespaceError::Alone) {
        let problem = Problem::environment(error.to_string()).with_hint_if(error.hint());
        tell_problem(&problem, "", None);
    }
    Err(Failure::Told(error.exit_status()))
}
