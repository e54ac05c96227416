//! `atoll net`: a network by itself, for guests that somebody else starts.

mod arguments;
mod exec;
mod forwards;
mod mode;
mod naming;
mod once;
mod policy;
mod reach;
mod services;

use std::io::{self, Write};
use std::path::PathBuf;

use atoll_control::runtime::{ForwardInfo, Handle, Network, NetworkSnapshot, StartError, Transport};
use clap::Subcommand;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;
use arguments::NetworkArguments;
pub(crate) use arguments::unix;

const EXAMPLE: &str = "Example:
  atoll net run --qemu unix:/tmp/lan.sock --forward 8022:10.77.0.10:22 \\
      --lease 52:54:00:00:00:01=10.77.0.10
  qemu-system-x86_64 … -netdev stream,id=n,addr.type=unix,addr.path=/tmp/lan.sock \\
      -device virtio-net-pci,netdev=n,mac=52:54:00:00:00:01

  atoll net run --mode bridged --interface br0 --qemu unix:/tmp/lan.sock \\
      --forward 8022:52:54:00:00:00:01:22
  atoll net run --mode bridged --interface eth0 --via macvtap --qemu unix:/tmp/lan.sock
  atoll net run --mode shared --subnet 10.78.0.0/24 --qemu unix:/tmp/nat.sock
  atoll net run --mode host --subnet 10.79.0.0/24 --qemu unix:/tmp/own.sock
  atoll net run --qemu unix:/tmp/lan.sock --route 192.168.10.0/24=10.77.0.5";

/// What can be done with a network by itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a network in the foreground, until SIGTERM or SIGINT.
    ///
    /// When it listens, one JSON line on stdout tells every address.
    #[command(after_help = EXAMPLE)]
    Run(Box<NetworkArguments>),
    /// Run a command in a namespace on a network, and exit with its status.
    ///
    /// The namespace has users, interfaces and a resolver of its own: no privilege is needed, and the command is root there. The
    /// network is one of its own, made by the options, or with --join one that runs.
    #[command(after_help = exec::EXAMPLE)]
    Exec(Box<exec::ExecArguments>),
    /// Be the process that becomes the command.
    #[command(name = exec::INSIDE, hide = true)]
    Inside(exec::InsideArguments),
}

/// Run an `atoll net` command.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => run_network(&arguments),
        Command::Exec(arguments) => exec::exec(*arguments),
        Command::Inside(arguments) => exec::inside(&arguments),
    }
}

fn run_network(arguments: &NetworkArguments) -> Result<(), Failure> {
    let options = arguments.options()?;
    let api = arguments.api()?;
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("cannot start: {error}"), None))?;
    tokio.block_on(async {
        // Signals are ours from before the first file exists, so that none is left behind.
        let mut terminate = signal(SignalKind::terminate()).map_err(environment)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(environment)?;
        let network = Network::start(options).map_err(start_failure)?;
        let handle = network.handle();
        let server = api
            .as_deref()
            .map(|path| atoll_control::serve_network(path, handle.clone()));
        let server = server.transpose().map_err(|error| {
            let hint = error.hint();
            Failure::environment(error, hint)
        })?;
        tell_ready(&handle, api.as_ref())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        drop(server);
        handle.shutdown();
        network.wait();
        Ok(())
    })
}

fn environment(error: io::Error) -> Failure {
    Failure::environment(error, None)
}

fn start_failure(error: StartError) -> Failure {
    let hint = error.hint();
    match error {
        StartError::Config(_) => Failure::usage(error, hint),
        _ => Failure::environment(error, hint),
    }
}

/// One line on stdout: every address at which something listens.
#[expect(clippy::print_stdout, reason = "the line is this command's output")]
fn tell_ready(handle: &Handle, api: Option<&PathBuf>) -> Result<(), Failure> {
    let picture = handle
        .snapshot()
        .map_err(|error| Failure::environment(error, None))?;
    println!("{}", ready_line(&picture, api));
    io::stdout().flush().map_err(environment)
}

fn ready_line(picture: &NetworkSnapshot, api: Option<&PathBuf>) -> Value {
    let sockets = |transport: Transport| -> Vec<String> {
        let of_kind = picture
            .listeners
            .iter()
            .filter(|listener| listener.transport == transport);
        of_kind
            .map(|listener| format!("unix:{}", listener.path.display()))
            .collect()
    };
    json!({
        "event": "ready",
        "mode": picture.mode,
        "uplink": picture.uplink,
        "subnet": picture.subnet,
        "gateway": picture.gateway,
        "host_alias": picture.host_alias,
        "ipv6": picture.ipv6,
        "gateway6": picture.gateway6,
        "host_alias6": picture.host_alias6,
        "domain": picture.domain,
        "mtu": picture.mtu,
        "resolvers": picture.resolvers,
        "qemu": sockets(Transport::Qemu),
        "qemu_dgram": sockets(Transport::QemuDgram),
        "vhost_user": sockets(Transport::VhostUser),
        "forwards": picture.forwards.iter().map(forward_line).collect::<Vec<_>>(),
        "proxies": picture.proxies,
        "host_ports": picture.host_ports,
        "api": api.map(|path| format!("unix:{}", path.display())),
    })
}

fn forward_line(forward: &ForwardInfo) -> Value {
    json!({
        "protocol": forward.protocol,
        "listen": forward.listen,
        "guest": forward.guest,
        "guest_port": forward.guest_port,
        "wanted_port": forward.wanted_port,
        "automatic": forward.automatic,
        "keep_source": forward.manner.keep_source,
    })
}
