//! Eight TCP streams at once.

use std::rc::Rc;

use super::tcp_stream::LOOPBACK_MTU;
use super::{GBIT, Suite};
use crate::bench::{Bench, Case, Job, Metric};
use crate::error::BenchError;
use crate::lab::{ETHERNET_MTU, LARGE_MTU};
use crate::load::iperf::Run;
use crate::peers::{Cell, Kind, Peer};
use crate::results::Values;

pub(super) const SUITE: Suite = Suite {
    name: "streams",
    title: "TCP, eight streams at once",
    about: "The sum of all, the sum by what one stream reached just before on the same back end, and the slowest \
            stream's part of the fair share. Columns are the guest's MTU; loopback, which has its own, shows what eight \
            streams are by one where nothing lies between (iperf3 serves all of them in one thread).",
    metrics: &[
        GBIT,
        Metric {
            name: "of_one",
            heading: "sum by one stream",
            decimals: 2,
        },
        Metric {
            name: "least_share",
            heading: "slowest by fair share",
            decimals: 2,
        },
    ],
    most_rounds: u32::MAX,
    jobs,
};

const STREAMS: u32 = 8;

fn jobs(bench: &Bench) -> Vec<Job> {
    let mut jobs = Vec::new();
    for peer in bench.peers(&[Kind::Loopback]) {
        jobs.push(job(bench, peer, LOOPBACK_MTU));
    }
    for mtu in bench.mtus(&[ETHERNET_MTU, LARGE_MTU]) {
        for peer in bench.peers(&[Kind::Stream, Kind::Tap]) {
            jobs.push(job(bench, peer, mtu));
        }
    }
    jobs
}

fn job(bench: &Bench, peer: Rc<dyn Peer>, mtu: u32) -> Job {
    let case = |name: &str, up| {
        Case::new(format!("{mtu} {name}"), move |bench, cell| {
            measure(bench, cell, up)
        })
    };
    Job {
        peer,
        request: bench.request(mtu),
        cases: vec![case("up", true), case("down", false)],
    }
}

fn measure(bench: &Bench, cell: &Cell, up: bool) -> Result<Values, BenchError> {
    let one = Run::tcp(up, bench.options.seconds);
    let single = bench.stream(cell, one)?;
    let all = bench.stream(
        cell,
        Run {
            streams: STREAMS,
            ..one
        },
    )?;
    let fair = all.bits_per_second / f64::from(STREAMS);
    let least = all.each.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(vec![
        (GBIT.name, all.bits_per_second / 1e9),
        ("of_one", all.bits_per_second / single.bits_per_second),
        ("least_share", least / fair),
    ])
}
