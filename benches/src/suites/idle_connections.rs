//! Many TCP connections that do nothing.

use std::time::Duration;

use super::Suite;
use crate::bench::{Bench, Case, Job, Metric};
use crate::error::BenchError;
use crate::lab::ETHERNET_MTU;
use crate::load::iperf::Run;
use crate::load::requests::{number, result, start_client, start_server};
use crate::peers::{Cell, Kind};
use crate::probe::process::{kernel_memory, resident};
use crate::results::Values;

pub(super) const SUITE: Suite = Suite {
    name: "idle-connections",
    title: "Idle TCP connections",
    about: "Connections that were used once and then wait. Each is used again at the end: held are those that still \
            answer. Memory of the back end's process, and, apart, of the kernel's objects for all ends of the \
            connections (client, server, back end: `loopback` has no back end). One stream up, before and with them. \
            Where the machine lets no process have as many descriptors as connections were asked for, there are as many as atoll has \
            flows for: it keeps descriptors back for itself and for questions to name servers.",
    metrics: &[
        Metric {
            name: "asked",
            heading: "connections",
            decimals: 0,
        },
        Metric {
            name: "held",
            heading: "held",
            decimals: 0,
        },
        Metric {
            name: "bytes_each",
            heading: "back end's bytes each",
            decimals: 0,
        },
        Metric {
            name: "kernel_each",
            heading: "kernel's bytes each",
            decimals: 0,
        },
        Metric {
            name: "before",
            heading: "Gbit/s before",
            decimals: 2,
        },
        Metric {
            name: "with",
            heading: "Gbit/s with them",
            decimals: 2,
        },
        Metric {
            name: "kept",
            heading: "with by before",
            decimals: 2,
        },
    ],
    most_rounds: 3,
    jobs,
};

/// For opening all of them, one way or another.
const PATIENCE: Duration = Duration::from_secs(180);

fn jobs(bench: &Bench) -> Vec<Job> {
    let peers = bench
        .peers(&[Kind::Loopback, Kind::Stream, Kind::Tap])
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
    let run = Run::tcp(true, bench.options.seconds);
    let before = bench.stream(cell, run)?.bits_per_second;
    let own_before = cell.backend_pid().map(resident).transpose()?;
    let kernel_before = kernel_memory()?;
    let count = bench.connections();
    let words = ["hold", "--count", &count.to_string()];
    let mut client = start_client(&cell.guest()?.namespace, &words, scratch)?;
    let opened = result(&mut client, PATIENCE)?;
    let own_after = cell.backend_pid().map(resident).transpose()?;
    let kernel_after = kernel_memory()?;
    // A stream that cannot even begin has no rate; how many connections were held is still worth knowing.
    let with = bench
        .stream(cell, run)
        .map_or(0.0, |stream| stream.bits_per_second);
    client.say("use")?;
    let held = number(&result(&mut client, PATIENCE)?, "alive")?;
    let opened = number(&opened, "opened")?.max(1.0);
    let mut values = vec![
        ("asked", f64::from(count)),
        ("held", held),
        ("kernel_each", (kernel_after - kernel_before) / opened),
        ("before", before / 1e9),
        ("with", with / 1e9),
        ("kept", with / before),
    ];
    if let (Some(own_before), Some(own_after)) = (own_before, own_after) {
        values.push(("bytes_each", (own_after - own_before) / opened));
    }
    Ok(values)
}
