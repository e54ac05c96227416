//! The clients of the request/response loads. Each is a process of its own in the guest's namespace and tells its
//! result as one JSON line.

mod churn;
mod hold;
mod serial;

use std::io::{self, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::error::{BenchError, Trying};
use crate::lab::{Host, Namespace, Output, Process, SERVER, SERVER_PORTS, Scratch, Spawn, own_command};
use crate::load::descriptors;

/// What a client does.
#[derive(Debug, Subcommand)]
pub(crate) enum Client {
    /// One byte there and back, over one connection, again and again.
    Latency(Timed),
    /// Connect, one byte there and back, close, again and again.
    Connect(Timed),
    /// Open connections and hold them until standard input ends; on each line there, use every one of them.
    Hold(Held),
    /// New connections at a steady rate, whatever becomes of those before.
    Churn(Churned),
}

#[derive(Debug, Args)]
pub(crate) struct Timed {
    #[arg(long)]
    seconds: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Held {
    #[arg(long)]
    count: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Churned {
    /// Connections a second.
    #[arg(long)]
    rate: u32,
    #[arg(long)]
    seconds: u32,
}

/// How long one connection may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a client.
pub(crate) fn run(client: &Client) -> Result<(), BenchError> {
    descriptors::use_all();
    match client {
        Client::Latency(timed) => serial::latency(timed.seconds),
        Client::Connect(timed) => serial::connect(timed.seconds),
        Client::Hold(held) => hold::hold(held.count),
        Client::Churn(churned) => churn::churn(churned.rate, churned.seconds),
    }
}

/// The server's address for connection number `index`: its ports in turn.
fn server(index: u32) -> SocketAddr {
    let ports = SERVER_PORTS.end - SERVER_PORTS.start;
    let offset = u16::try_from(index % u32::from(ports)).unwrap_or(0);
    SocketAddr::V4(SocketAddrV4::new(SERVER, SERVER_PORTS.start + offset))
}

#[expect(clippy::print_stdout, reason = "its owner reads this line")]
fn tell(result: &Value) -> Result<(), BenchError> {
    println!("{result}");
    io::stdout().flush().trying(|| "cannot write".to_owned())
}

/// Starts the server that all clients ask, and waits until it listens.
pub(crate) fn start_server(host: &Host, scratch: &Scratch) -> Result<Process, BenchError> {
    let mut command = own_command()?;
    let ports = SERVER_PORTS.end - SERVER_PORTS.start;
    command.args(["echo", "--address", &SERVER.to_string()]);
    command.args([
        "--port",
        &SERVER_PORTS.start.to_string(),
        "--ports",
        &ports.to_string(),
    ]);
    let mut server = host.start("echo-server", command, Output::Lines, scratch)?;
    server.line(PATIENCE)?;
    Ok(server)
}

/// Starts a client in `namespace`; `words` are its arguments.
pub(crate) fn start_client(
    namespace: &Namespace,
    words: &[&str],
    scratch: &Scratch,
) -> Result<Process, BenchError> {
    let mut command = own_command()?;
    command.arg("request").args(words);
    Spawn {
        name: "request",
        command,
        namespace: Some(namespace),
        output: Output::Lines,
    }
    .start(scratch)
}

/// A client's next result.
pub(crate) fn result(client: &mut Process, deadline: Duration) -> Result<Value, BenchError> {
    let line = client.line(deadline)?;
    serde_json::from_str(&line).trying(|| format!("cannot read {line:?}"))
}

/// A number of a client's result.
pub(crate) fn number(result: &Value, name: &str) -> Result<f64, BenchError> {
    result[name].as_f64().ok_or_else(|| BenchError::Answer {
        program: "the client".to_owned(),
        missing: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::server;
    use crate::lab::SERVER_PORTS;

    #[test]
    fn connections_spread_over_all_ports() {
        let ports: std::collections::BTreeSet<u16> = (0..100).map(|index| server(index).port()).collect();
        assert_eq!(ports.len(), SERVER_PORTS.len());
        assert!(ports.iter().all(|port| SERVER_PORTS.contains(port)));
    }
}
