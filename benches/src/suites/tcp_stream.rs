//! One TCP stream between a guest and a server on the host.

use super::{CPU, GBIT, Suite};
use crate::bench::{Bench, Case, Job, with_processor_time};
use crate::error::BenchError;
use crate::lab::{ETHERNET_MTU, LARGE_MTU};
use crate::load::iperf::Run;
use crate::peers::{Cell, Kind};
use crate::results::Values;

pub(super) const SUITE: Suite = Suite {
    name: "tcp-stream",
    title: "TCP, one stream",
    about: "Up is from the guest to a server on the host. Goodput as the receiver saw it. Columns are the guest's MTU; \
            loopback has its own.",
    metrics: &[GBIT, CPU],
    most_rounds: u32::MAX,
    jobs,
};

/// The MTU of the loopback device.
pub(super) const LOOPBACK_MTU: u32 = 65536;

fn jobs(bench: &Bench) -> Vec<Job> {
    let mut jobs = Vec::new();
    for peer in bench.peers(&[Kind::Loopback]) {
        jobs.push(Job {
            peer,
            request: bench.request(LOOPBACK_MTU),
            cases: cases(LOOPBACK_MTU),
        });
    }
    for mtu in bench.mtus(&[ETHERNET_MTU, LARGE_MTU]) {
        for peer in bench.peers(&[Kind::Stream, Kind::Tap, Kind::Variant]) {
            jobs.push(Job {
                peer,
                request: bench.request(mtu),
                cases: cases(mtu),
            });
        }
    }
    jobs
}

fn cases(mtu: u32) -> Vec<Case> {
    let case = |name: &str, up| {
        Case::new(format!("{mtu} {name}"), move |bench, cell| {
            measure(bench, cell, up)
        })
    };
    vec![case("up", true), case("down", false)]
}

fn measure(bench: &Bench, cell: &Cell, up: bool) -> Result<Values, BenchError> {
    let run = Run::tcp(up, bench.options.seconds);
    let (stream, seconds) = with_processor_time(cell, || bench.stream(cell, run))?;
    let mut values = vec![(GBIT.name, stream.bits_per_second / 1e9)];
    values.extend(seconds.map(|seconds| (CPU.name, seconds / (stream.bytes / 1e9))));
    Ok(values)
}
