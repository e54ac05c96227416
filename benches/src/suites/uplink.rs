//! One TCP stream between a guest and a station on the host's LAN.

use super::{CPU, GBIT, Suite};
use crate::bench::{Bench, Case, Job, with_processor_time};
use crate::error::BenchError;
use crate::lab::ETHERNET_MTU;
use crate::load::iperf::{Ends, Run};
use crate::peers::{Cell, Kind, Request};
use crate::results::Values;

pub(super) const SUITE: Suite = Suite {
    name: "uplink",
    title: "TCP, one stream between a guest and the host's LAN",
    about: "MTU 1500. A bridge with a station on it; up is from the guest to the station. `tap-direct` is what QEMU with \
            `-netdev tap` does, played by a process that carries frames with their virtio_net_hdr between the guest's TAP and one \
            in the bridge. `bridged-tap` has `atoll net run --mode bridged --via bridge` in that process's place \
            (`net exec --join`), so both have two TAPs and one process, and this is what the bar compares. The other \
            two have a further process, the shim, in front of atoll: a VM by vhost-user and by QEMU's stream protocol; \
            its processor time is not counted.",
    metrics: &[GBIT, CPU],
    most_rounds: u32::MAX,
    jobs,
};

/// Length of every guest's queue: one that does not fill, whoever made the TAP.
const QUEUE: u32 = 20_000;

fn jobs(bench: &Bench) -> Vec<Job> {
    let case = |name: &str, up| Case::new(name, move |bench, cell| measure(bench, cell, up));
    let job = |peer| Job {
        peer,
        request: Request {
            queue: Some(QUEUE),
            ..bench.request(ETHERNET_MTU)
        },
        cases: vec![case("up", true), case("down", false)],
    };
    bench.peers(&[Kind::Bridged]).into_iter().map(job).collect()
}

fn measure(bench: &Bench, cell: &Cell, up: bool) -> Result<Values, BenchError> {
    let [guest, station] = cell.guests.as_slice() else {
        return Err(BenchError::Unfit(
            "there is no guest with a station on the LAN".to_owned(),
        ));
    };
    let ends = Ends {
        client: &guest.namespace,
        server: &station.namespace,
        address: station.address,
    };
    let run = Run::tcp(up, bench.options.seconds);
    let (stream, seconds) = with_processor_time(cell, || bench.stream_between(ends, run))?;
    let mut values = vec![(GBIT.name, stream.bits_per_second / 1e9)];
    values.extend(seconds.map(|seconds| (CPU.name, seconds / (stream.bytes / 1e9))));
    Ok(values)
}
