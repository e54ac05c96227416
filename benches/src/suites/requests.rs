//! Requests of one byte and answers of one byte.

use std::time::Duration;

use super::Suite;
use crate::bench::{Bench, Case, Job, Metric};
use crate::error::BenchError;
use crate::lab::ETHERNET_MTU;
use crate::load::requests::{number, result, start_client, start_server};
use crate::peers::{Cell, Kind};
use crate::results::Values;

pub(super) const SUITE: Suite = Suite {
    name: "rr",
    title: "TCP request and response",
    about: "One byte there and one back: over one connection, and with a connection for each (connect, ask, close). \
            One at a time, MTU 1500.",
    metrics: &[
        Metric {
            name: "p50",
            heading: "p50, µs",
            decimals: 1,
        },
        Metric {
            name: "p99",
            heading: "p99, µs",
            decimals: 1,
        },
        Metric {
            name: "requests",
            heading: "requests/s",
            decimals: 0,
        },
        Metric {
            name: "connects",
            heading: "connections/s",
            decimals: 0,
        },
    ],
    most_rounds: u32::MAX,
    jobs,
};

fn jobs(bench: &Bench) -> Vec<Job> {
    let peers = bench
        .peers(&[Kind::Loopback, Kind::Stream, Kind::Tap, Kind::Variant])
        .into_iter();
    let job = |peer| Job {
        peer,
        request: bench.request(ETHERNET_MTU),
        cases: vec![Case::new("1500", measure)],
    };
    peers.map(job).collect()
}

fn measure(bench: &Bench, cell: &Cell) -> Result<Values, BenchError> {
    let scratch = &bench.scratch;
    let _server = start_server(&cell.host, scratch)?;
    let guest = &cell.guest()?.namespace;
    let seconds = bench.options.seconds;
    let deadline = Duration::from_secs(u64::from(seconds) + 15);
    let words = seconds.to_string();
    let ask = |what: &str| {
        result(
            &mut start_client(guest, &[what, "--seconds", &words], scratch)?,
            deadline,
        )
    };
    let latency = ask("latency")?;
    let connects = ask("connect")?;
    Ok(vec![
        ("p50", number(&latency, "p50")?),
        ("p99", number(&latency, "p99")?),
        ("requests", number(&latency, "rate")?),
        ("connects", number(&connects, "rate")?),
    ])
}
