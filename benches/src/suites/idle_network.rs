//! A network on which nothing happens.

use std::thread;
use std::time::Duration;

use super::Suite;
use crate::bench::{Bench, Case, Job, Metric};
use crate::error::BenchError;
use crate::lab::ETHERNET_MTU;
use crate::peers::{Cell, Kind};
use crate::probe::process::{resident, switches};
use crate::results::Values;

pub(super) const SUITE: Suite = Suite {
    name: "idle-network",
    title: "A network on which nothing happens",
    about: "Guests are attached and say nothing (four where the back end takes as many). Wake-ups are how often the \
            threads of the process gave up or lost the processor, over ten seconds. Start is from the start of the \
            process to its word that it is ready, where it gives one.",
    metrics: &[
        Metric {
            name: "guests",
            heading: "guests",
            decimals: 0,
        },
        Metric {
            name: "wakeups",
            heading: "wake-ups/s",
            decimals: 2,
        },
        Metric {
            name: "megabytes",
            heading: "resident, MB",
            decimals: 1,
        },
        Metric {
            name: "ready",
            heading: "start, ms",
            decimals: 1,
        },
    ],
    most_rounds: 5,
    jobs,
};

const GUESTS: u8 = 4;

/// For neighbours to be found and start-up to be over.
const CALM: Duration = Duration::from_secs(2);

const WATCHED: Duration = Duration::from_secs(10);

fn jobs(bench: &Bench) -> Vec<Job> {
    let mut jobs = Vec::new();
    for peer in bench.peers(&[Kind::Stream, Kind::Tap]) {
        let mut request = bench.request(ETHERNET_MTU);
        request.guests = GUESTS.min(peer.most_guests());
        jobs.push(Job {
            peer,
            request,
            cases: vec![Case::new("1500", |_, cell| measure(cell))],
        });
    }
    jobs
}

fn measure(cell: &Cell) -> Result<Values, BenchError> {
    let Some(pid) = cell.backend_pid() else {
        return Err(BenchError::Unfit("there is no back end".to_owned()));
    };
    thread::sleep(CALM);
    let before = switches(pid)?;
    thread::sleep(WATCHED);
    let woken = switches(pid)? - before;
    let guests = u32::try_from(cell.guests.len()).unwrap_or(u32::MAX);
    let mut values = vec![
        ("guests", f64::from(guests)),
        ("wakeups", woken / WATCHED.as_secs_f64()),
        ("megabytes", resident(pid)? / 1e6),
    ];
    values.extend(cell.ready_ms.map(|ready| ("ready", ready)));
    Ok(values)
}
