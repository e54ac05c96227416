//! One TCP stream from guest to guest.

use super::{CPU, GBIT, Suite};
use crate::bench::{Bench, Case, Job, with_processor_time};
use crate::error::BenchError;
use crate::lab::{ETHERNET_MTU, LARGE_MTU};
use crate::load::iperf::{Ends, Run};
use crate::peers::{Cell, Kind};
use crate::results::Values;

pub(super) const SUITE: Suite = Suite {
    name: "guest-to-guest",
    title: "TCP, one stream from guest to guest",
    about: "`direct` is two shims with nothing between them. With idle guests, eight more are attached that say nothing. \
            Columns are the guests' MTU.",
    metrics: &[GBIT, CPU],
    most_rounds: u32::MAX,
    jobs,
};

/// Guests that are attached and say nothing.
const IDLE: u8 = 8;

fn jobs(bench: &Bench) -> Vec<Job> {
    let mut jobs = Vec::new();
    for mtu in bench.mtus(&[ETHERNET_MTU, LARGE_MTU]) {
        for peer in bench.peers(&[Kind::Direct, Kind::Stream]) {
            for guests in [2, 2 + IDLE]
                .into_iter()
                .filter(|guests| peer.most_guests() >= *guests)
            {
                let mut request = bench.request(mtu);
                request.guests = guests;
                let name = if guests > 2 {
                    format!("{mtu}, {IDLE} idle")
                } else {
                    mtu.to_string()
                };
                jobs.push(Job {
                    peer: peer.clone(),
                    request,
                    cases: vec![Case::new(name, measure)],
                });
            }
        }
    }
    jobs
}

fn measure(bench: &Bench, cell: &Cell) -> Result<Values, BenchError> {
    let [sender, receiver, ..] = cell.guests.as_slice() else {
        return Err(BenchError::Unfit("there are no two guests".to_owned()));
    };
    let ends = Ends {
        client: &sender.namespace,
        server: &receiver.namespace,
        address: receiver.address,
    };
    let run = Run::tcp(true, bench.options.seconds);
    let (stream, seconds) = with_processor_time(cell, || bench.stream_between(ends, run))?;
    let mut values = vec![(GBIT.name, stream.bits_per_second / 1e9)];
    values.extend(seconds.map(|seconds| (CPU.name, seconds / (stream.bytes / 1e9))));
    Ok(values)
}
