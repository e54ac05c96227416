//! iperf3 between a guest and a server.

use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{BenchError, Trying};
use crate::lab::{Namespace, Output, Process, Scratch, Spawn};

const NAME: &str = "iperf3";
const PORT: u16 = 5201;

/// How long the server may take to listen, and the client to connect and to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Datagrams of one size, at one rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagrams {
    pub(crate) length: u32,
    /// Bits a second; as fast as the sender can without.
    pub(crate) rate: Option<u64>,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// From the client to the server.
    pub(crate) up: bool,
    pub(crate) streams: u32,
    pub(crate) seconds: u32,
    pub(crate) datagrams: Option<Datagrams>,
}

/// Where a run goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends<'a> {
    pub(crate) client: &'a Namespace,
    pub(crate) server: &'a Namespace,
    pub(crate) address: Ipv4Addr,
}

/// What a TCP run came to, as the receiver saw it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) bits_per_second: f64,
    pub(crate) bytes: f64,
    /// Bits a second of each stream.
    pub(crate) each: Vec<f64>,
    /// Congestion control of the sender on the measured link: the guest's, or the server's.
    pub(crate) congestion: String,
}

/// What a UDP run came to, as the receiver saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    pub(crate) per_second: f64,
    pub(crate) lost_percent: f64,
}

impl Run {
    /// One TCP stream.
    pub(crate) fn tcp(up: bool, seconds: u32) -> Self {
        Self {
            up,
            streams: 1,
            seconds,
            datagrams: None,
        }
    }

    /// Measures TCP.
    pub(crate) fn stream(&self, ends: Ends<'_>, scratch: &Scratch) -> Result<Stream, BenchError> {
        let report = self.report(ends, scratch)?;
        parse_stream(&report).ok_or_else(|| incomprehensible(&report))
    }

    /// Measures UDP.
    pub(crate) fn delivered(&self, ends: Ends<'_>, scratch: &Scratch) -> Result<Delivered, BenchError> {
        let report = self.report(ends, scratch)?;
        parse_delivered(&report).ok_or_else(|| incomprehensible(&report))
    }

    /// Runs server and client, and gives the client's report.
    fn report(&self, ends: Ends<'_>, scratch: &Scratch) -> Result<Value, BenchError> {
        let server = serve(ends, scratch)?;
        let mut client = Spawn {
            name: NAME,
            command: self.client(ends.address),
            namespace: Some(ends.client),
            output: Output::Log,
        }
        .start(scratch)?;
        let ended = client.finish(Duration::from_secs(self.seconds.into()) + 2 * PATIENCE);
        let text = client.log();
        drop(server);
        // A failing client says why in its report, which is better than its exit status.
        let report: Result<Value, _> = serde_json::from_str(&text);
        match (report, ended) {
            (Ok(report), _) if report["error"].is_string() => Err(BenchError::Program {
                program: NAME.to_owned(),
                words: report["error"].as_str().unwrap_or_default().to_owned(),
            }),
            (_, Err(error)) => Err(error),
            (report, Ok(())) => report.trying(|| "cannot read iperf3's report".to_owned()),
        }
    }

    fn client(&self, address: Ipv4Addr) -> Command {
        let mut command = Command::new(NAME);
        command.args([
            "--json",
            "--client",
            &address.to_string(),
            "--port",
            &PORT.to_string(),
        ]);
        command.args([
            "--time",
            &self.seconds.to_string(),
            "--parallel",
            &self.streams.to_string(),
        ]);
        command.args(["--connect-timeout", &PATIENCE.as_millis().to_string()]);
        if !self.up {
            command.arg("--reverse");
        }
        if let Some(datagrams) = self.datagrams {
            let rate = datagrams.rate.unwrap_or(0);
            command.args([
                "--udp",
                "--length",
                &datagrams.length.to_string(),
                "--bitrate",
                &rate.to_string(),
            ]);
        }
        command
    }
}

/// A server for one run, listening.
fn serve(ends: Ends<'_>, scratch: &Scratch) -> Result<Process, BenchError> {
    let mut command = Command::new(NAME);
    command.args(["--server", "--one-off", "--port", &PORT.to_string()]);
    command.args(["--bind", &ends.address.to_string()]);
    let server = Spawn {
        name: "iperf3-server",
        command,
        namespace: Some(ends.server),
        output: Output::Log,
    }
    .start(scratch)?;
    let start = Instant::now();
    while !listens(&ends.server.proc_net("tcp")?, PORT) {
        server.alive()?;
        if start.elapsed() > PATIENCE {
            return Err(server.failed("it does not listen"));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(server)
}

/// Whether the kernel's table of sockets has a listener (state 0A) at `port`.
fn listens(table: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some("0A")
    })
}

fn incomprehensible(report: &Value) -> BenchError {
    let members = report["end"].as_object().map_or(0, serde_json::Map::len);
    BenchError::Answer {
        program: NAME.to_owned(),
        missing: format!("its results ({members} members at the end)"),
    }
}

fn parse_stream(report: &Value) -> Option<Stream> {
    let end = &report["end"];
    let received = &end["sum_received"];
    let each = end["streams"].as_array()?.iter();
    Some(Stream {
        bits_per_second: received["bits_per_second"].as_f64()?,
        bytes: received["bytes"].as_f64()?,
        each: each
            .filter_map(|stream| stream["receiver"]["bits_per_second"].as_f64())
            .collect(),
        congestion: end["sender_tcp_congestion"]
            .as_str()
            .unwrap_or("unknown")
            .to_owned(),
    })
}

/// `sum` holds the sender's packets with the receiver's losses, in either direction.
fn parse_delivered(report: &Value) -> Option<Delivered> {
    let sum = &report["end"]["sum"];
    let number = |name: &str| sum[name].as_f64();
    let (packets, lost) = (number("packets")?, number("lost_packets")?);
    let arrived = (packets - lost).max(0.0);
    let seconds = number("seconds").filter(|seconds| *seconds > 0.0)?;
    let lost_percent = if packets > 0.0 {
        lost / packets * 100.0
    } else {
        0.0
    };
    Some(Delivered {
        per_second: arrived / seconds,
        lost_percent,
    })
}

#[cfg(test)]
mod tests {
    use super::{listens, parse_delivered, parse_stream};
    use serde_json::json;

    #[test]
    fn what_arrived_counts_not_what_was_sent() {
        let report = json!({"end": {
            "streams": [{"sender": {"bits_per_second": 9.0}, "receiver": {"bits_per_second": 4.0}}],
            "sum_sent": {"bits_per_second": 9.0, "bytes": 90.0},
            "sum_received": {"bits_per_second": 4.0, "bytes": 40.0},
            "sender_tcp_congestion": "cubic",
        }});
        let stream = parse_stream(&report).unwrap();
        assert_eq!((stream.bits_per_second, stream.bytes), (4.0, 40.0));
        assert_eq!((stream.each, stream.congestion.as_str()), (vec![4.0], "cubic"));
    }

    #[test]
    fn lost_datagrams_are_not_delivered() {
        let report = json!({
            "end": {"sum": {"seconds": 2.0, "packets": 1000, "lost_packets": 250}},
        });
        let delivered = parse_delivered(&report).unwrap();
        assert_eq!((delivered.per_second, delivered.lost_percent), (375.0, 25.0));
    }

    #[test]
    fn a_listener_is_told_from_a_connection() {
        let connection = "  0: 016433C6:1451 016433C6:9C40 01 00000000:00000000\n";
        let listener = "  0: 016433C6:1451 00000000:0000 0A 00000000:00000000\n";
        assert!(!listens(connection, 5201));
        assert!(listens(listener, 5201));
        assert!(!listens(listener, 5202));
    }
}
