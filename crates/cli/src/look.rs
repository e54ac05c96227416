//! `ls`, `status`, `qemu-args`: what can be seen of a cluster.

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use atoll_control::cluster::dry;
use atoll_control::cluster::status::{MachineStatus, NetworkStatus, NicStatus, Status};
use atoll_control::runtime::{Mode, NetworkSnapshot};
use clap::Args;

use crate::failure::Failure;
use crate::project::{self, FileArgs};
use crate::shape::Shape;
use crate::table::{or_dash, print};

/// Arguments of `ls` and `status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll ls --json | jq -r '.machines[] | [.name, .nics[0].address] | @tsv'\n  atoll ls --format '{{ name }} {{ nics[0].address }}'"
)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    shape: Shape,
}

/// Arguments of `qemu-args`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  atoll qemu-args web > web.sh")]
pub(crate) struct QemuArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The machine
    #[arg(add = crate::complete::machines())]
    machine: String,
}

pub(crate) fn list(args: &ListArgs) -> Result<(), Failure> {
    let status = project::status(&args.file.load()?)?;
    if args.shape.print(&status, &status.machines)? {
        return Ok(());
    }
    Ok(print_machines(&status)?)
}

fn print_machines(status: &Status) -> io::Result<()> {
    let rows: Vec<_> = status.machines.iter().map(row).collect();
    print(&["NAME", "STATE", "ADDRESS", "SSH", "IMAGE"], &rows)
}

fn row(machine: &MachineStatus) -> Vec<String> {
    let addresses: Vec<String> = machine.nics.iter().flat_map(addresses).collect();
    let state = match (machine.stage, machine.in_file) {
        (Some(_), _) if !machine.waits_for.is_empty() => {
            format!(
                "{} (waits for {})",
                machine.state.as_str(),
                machine.waits_for.join(", ")
            )
        }
        (Some(stage), _) => format!("{} ({stage})", machine.state.as_str()),
        (None, true) => machine.state.as_str().to_owned(),
        (None, false) => format!("{} (not in the file)", machine.state.as_str()),
    };
    vec![
        machine.name.clone(),
        state,
        or_dash((!addresses.is_empty()).then(|| addresses.join(","))),
        or_dash(machine.ssh_port.map(|port| {
            let address = machine.ssh_address.unwrap_or(Ipv4Addr::LOCALHOST.into());
            SocketAddr::new(address, port).to_string()
        })),
        or_dash(machine.image.as_ref()),
    ]
}

/// Of both families, IPv4 first.
fn addresses(nic: &NicStatus) -> impl Iterator<Item = String> {
    let v4 = nic.address.map(|address| address.to_string());
    let v6 = nic.address6.map(|address| address.to_string());
    v4.into_iter().chain(v6)
}

/// What a network is to the host's, where it is not one of its own: `bridged by macvtap to eth0`.
fn uplink(picture: &NetworkSnapshot) -> String {
    let mut text = String::new();
    if picture.mode != Mode::User {
        text = format!("{} ", picture.mode);
    }
    let Some(uplink) = &picture.uplink else {
        return text;
    };
    if let Some(via) = uplink.via {
        text += &format!("by {via} ");
    }
    text += &format!("to {} ", uplink.interface);
    if let Some(fault) = &uplink.fault {
        text += &format!("({fault}) ");
    }
    text
}

pub(crate) fn status(args: &ListArgs) -> Result<(), Failure> {
    let status = project::status(&args.file.load()?)?;
    if args.shape.print(&status, std::slice::from_ref(&status))? {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "cluster  {}", status.cluster)?;
    writeln!(out, "file     {}", status.file.display())?;
    writeln!(out, "state    {}", status.state.display())?;
    let daemon = status
        .daemon
        .map_or_else(|| "does not run".to_owned(), |pid| format!("process {pid}"));
    writeln!(out, "daemon   {daemon}\n")?;
    drop(out);
    print_machines(&status)?;
    for machine in &status.machines {
        if let Some(problem) = &machine.problem {
            writeln!(io::stdout(), "  {}: {}", machine.name, problem.message)?;
        }
    }
    for network in &status.networks {
        print_network(network, &status)?;
    }
    Ok(())
}

fn print_network(network: &NetworkStatus, status: &Status) -> io::Result<()> {
    let picture = &network.snapshot;
    let families = [
        (picture.subnet.as_deref(), picture.gateway.map(IpAddr::V4)),
        (picture.ipv6.as_deref(), picture.gateway6.map(IpAddr::V6)),
    ];
    let mut facts = uplink(picture);
    for (network, gateway) in families {
        if let (Some(network), Some(gateway)) = (network, gateway) {
            facts += &format!("{network} gateway {gateway} ");
        }
    }
    if let Some(link) = &picture.link {
        facts += &crate::link::line(link);
    }
    facts += &format!("domain {}", picture.domain);
    writeln!(io::stdout(), "\nnetwork {}  {facts}", network.name)?;
    let on_it = status.machines.iter().flat_map(|machine| {
        let nics = machine.nics.iter().filter(|nic| nic.network == network.name);
        nics.map(|nic| (machine.name.as_str(), nic))
    });
    let rows: Vec<_> = on_it
        .map(|(name, nic)| {
            let port = picture.ports.iter().find(|port| port.macs.contains(&nic.mac));
            let frames = port.map(|port| format!("{}/{}", port.rx_frames, port.tx_frames));
            vec![
                name.to_owned(),
                or_dash(nic.address),
                or_dash(nic.address6),
                nic.mac.clone(),
                or_dash(frames),
            ]
        })
        .collect();
    print(&["  GUEST", "ADDRESS", "IPV6", "MAC", "FRAMES IN/OUT"], &rows)?;
    let rows: Vec<_> = picture.forwards.iter().map(crate::forward::row).collect();
    if rows.is_empty() {
        Ok(())
    } else {
        print(&crate::forward::HEADING, &rows)
    }
}

pub(crate) fn qemu_args(args: &QemuArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let line = dry::command_line(&project, &args.machine)?;
    for note in dry::notes(&project, &args.machine) {
        crate::failure::say(&note);
    }
    let mut out = io::stdout().lock();
    let text = dry::shell_text(&line, !io::stdout().is_terminal());
    out.write_all(text.as_bytes())?;
    Ok(writeln!(out)?)
}
