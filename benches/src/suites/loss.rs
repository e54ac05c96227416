//! Links that lose frames, and a short queue.

use super::{GBIT, Suite};
use crate::bench::{Bench, Case, Job, Metric};
use crate::error::BenchError;
use crate::lab::ETHERNET_MTU;
use crate::load::iperf::Run;
use crate::peers::{Cell, Kind, Request};
use crate::probe::{api, tcp};
use crate::results::Values;

pub(super) const SUITE: Suite = Suite {
    name: "loss",
    title: "TCP, one stream over a link that loses frames",
    about: "MTU 1500. Frames are lost both ways: between guest and stream socket by the shim, with the same seed for \
            all; on a TAP by nftables' random numbers, where a frame of a guest with segment offload is a large \
            segment. Timeouts are the guest kernel's retransmission timeouts (up), and the back end's where it counts \
            them (down).",
    metrics: &[
        GBIT,
        Metric {
            name: "timeouts",
            heading: "retransmission timeouts",
            decimals: 0,
        },
    ],
    most_rounds: u32::MAX,
    jobs,
};

/// Name, losses of a million, queue.
const LINKS: [(&str, u32, Option<u32>); 4] = [
    ("no loss", 0, None),
    ("queue 500", 0, Some(500)),
    ("0.1 %", 1_000, None),
    ("1 %", 10_000, None),
];

/// Atoll's counter of its own retransmission timeouts.
const OWN_TIMEOUTS: &str = "tcp_timeout";

fn jobs(bench: &Bench) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (name, lost_per_million, queue) in LINKS {
        for peer in bench.peers(&[Kind::Stream, Kind::Tap]) {
            let case = |way: &str, up| {
                Case::new(format!("{name} {way}"), move |bench, cell| {
                    measure(bench, cell, up)
                })
            };
            jobs.push(Job {
                peer,
                request: Request {
                    lost_per_million,
                    queue,
                    ..bench.request(ETHERNET_MTU)
                },
                cases: vec![case("up", true), case("down", false)],
            });
        }
    }
    jobs
}

fn measure(bench: &Bench, cell: &Cell, up: bool) -> Result<Values, BenchError> {
    let before = timeouts(cell, up)?;
    let stream = bench.stream(cell, Run::tcp(up, bench.options.seconds))?;
    let mut values = vec![(GBIT.name, stream.bits_per_second / 1e9)];
    if let (Some(before), Some(after)) = (before, timeouts(cell, up)?) {
        values.push(("timeouts", after - before));
    }
    Ok(values)
}

/// Timeouts of who sends towards the link's other end.
fn timeouts(cell: &Cell, up: bool) -> Result<Option<f64>, BenchError> {
    if up {
        return tcp::timeouts(&cell.guest()?.namespace).map(Some);
    }
    let picture = cell.api.as_deref().map(api::network).transpose()?;
    Ok(picture
        .as_ref()
        .and_then(|picture| api::counter(picture, OWN_TIMEOUTS)))
}
