//! One TCP stream between a VM on a TAP in the host's bridge and a station there.

use std::time::Duration;

use super::{GBIT, Suite};
use crate::bench::{Bench, Case, Job, Metric, with_processor_time};
use crate::error::BenchError;
use crate::lab::ETHERNET_MTU;
use crate::load::shell::Transfer;
use crate::peers::{Cell, Kind, MACHINE_ADDRESS};
use crate::results::Values;

pub(super) const SUITE: Suite = Suite {
    name: "direct-attach",
    title: "TCP, one stream between a VM and the host's LAN by a TAP attached directly",
    about: "MTU 1500, the micro image under TCG, `nc` in the guest; up is from it. `vm-atoll` is the command line \
            that `atoll qemu-args` prints for `attach: tap`, with the descriptor it names open on a TAP, `vm-bare` the same machine with \
            `-netdev tap,ifname=…` as one writes it by hand. Both TAPs are made by `ip tuntap` and QEMU carries all frames (`vhost=off`).",
    metrics: &[
        GBIT,
        Metric {
            name: "cpu_per_gb",
            heading: "QEMU's processor seconds per GB",
            decimals: 2,
        },
    ],
    most_rounds: u32::MAX,
    jobs,
};

fn jobs(bench: &Bench) -> Vec<Job> {
    let case = |name: &str, up| Case::new(name, move |bench, cell| measure(bench, cell, up));
    let job = |peer| Job {
        peer,
        request: bench.request(ETHERNET_MTU),
        cases: vec![case("up", true), case("down", false)],
    };
    bench.peers(&[Kind::Machine]).into_iter().map(job).collect()
}

fn measure(bench: &Bench, cell: &Cell, up: bool) -> Result<Values, BenchError> {
    let station = cell.guest()?;
    if let Some(qemu) = &cell.backend {
        qemu.alive()?;
    }
    let transfer = Transfer {
        guest: MACHINE_ADDRESS,
        own: station.address,
        up,
        length: Duration::from_secs(bench.options.seconds.into()),
    };
    transfer.await_guest(&station.namespace)?;
    let ((bytes, seconds), processor) = with_processor_time(cell, || transfer.run(&station.namespace))?;
    let mut values = vec![(GBIT.name, bytes * 8.0 / seconds / 1e9)];
    values.extend(processor.map(|used| ("cpu_per_gb", used / (bytes / 1e9))));
    Ok(values)
}
