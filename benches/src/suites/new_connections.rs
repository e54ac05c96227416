//! New TCP connections at a steady rate, and what they leave behind.

use std::thread;
use std::time::{Duration, Instant};

use super::Suite;
use crate::bench::{Bench, Case, Job, Metric};
use crate::error::BenchError;
use crate::lab::ETHERNET_MTU;
use crate::load::requests::{number, result, start_client, start_server};
use crate::peers::{Cell, Kind};
use crate::probe::api;
use crate::probe::process::descriptors;
use crate::results::Values;

pub(super) const SUITE: Suite = Suite {
    name: "new-connections",
    title: "New TCP connections at a steady rate",
    about: "Each connects, asks once and closes; an open loop. Descriptors of the back end's process and, where it \
            tells, flows: before, and when they were back or 90 s had passed.",
    metrics: &[
        Metric {
            name: "completed",
            heading: "completed",
            decimals: 0,
        },
        Metric {
            name: "failed",
            heading: "failed",
            decimals: 0,
        },
        Metric {
            name: "descriptors_before",
            heading: "descriptors before",
            decimals: 0,
        },
        Metric {
            name: "descriptors_after",
            heading: "after",
            decimals: 0,
        },
        Metric {
            name: "flows_before",
            heading: "flows before",
            decimals: 0,
        },
        Metric {
            name: "flows_after",
            heading: "after",
            decimals: 0,
        },
        Metric {
            name: "settled",
            heading: "back after, s",
            decimals: 1,
        },
    ],
    most_rounds: 1,
    jobs,
};

/// Longer than TIME-WAIT lasts.
const PATIENCE: Duration = Duration::from_secs(90);

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

/// What a back end holds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Holding {
    descriptors: Option<f64>,
    flows: Option<f64>,
}

fn holding(cell: &Cell) -> Result<Holding, BenchError> {
    Ok(Holding {
        descriptors: cell.backend_pid().map(descriptors).transpose()?,
        flows: cell
            .api
            .as_deref()
            .map(api::network)
            .transpose()?
            .as_ref()
            .and_then(api::flows),
    })
}

fn measure(bench: &Bench, cell: &Cell) -> Result<Values, BenchError> {
    let scratch = &bench.scratch;
    let _server = start_server(&cell.host, scratch)?;
    let before = holding(cell)?;
    let (rate, seconds) = (bench.options.churn_rate, bench.options.churn_seconds);
    let words = [
        "churn",
        "--rate",
        &rate.to_string(),
        "--seconds",
        &seconds.to_string(),
    ];
    let mut client = start_client(&cell.guest()?.namespace, &words, scratch)?;
    let churned = result(&mut client, Duration::from_secs(u64::from(seconds) + 60))?;
    let (after, settled) = settle(cell, before)?;
    let mut values = vec![
        ("completed", number(&churned, "completed")?),
        ("failed", number(&churned, "failed")?),
    ];
    values.extend(before.descriptors.map(|count| ("descriptors_before", count)));
    values.extend(after.descriptors.map(|count| ("descriptors_after", count)));
    values.extend(before.flows.map(|count| ("flows_before", count)));
    values.extend(after.flows.map(|count| ("flows_after", count)));
    values.push(("settled", settled));
    Ok(values)
}

/// Waits until the back end holds no more than before, and tells how long that took in seconds.
fn settle(cell: &Cell, before: Holding) -> Result<(Holding, f64), BenchError> {
    let start = Instant::now();
    loop {
        let now = holding(cell)?;
        let back = now.descriptors <= before.descriptors && now.flows <= before.flows;
        if back || start.elapsed() > PATIENCE {
            return Ok((now, start.elapsed().as_secs_f64()));
        }
        thread::sleep(Duration::from_millis(500));
    }
}
