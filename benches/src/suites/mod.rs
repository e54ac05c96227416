//! What is measured.

mod direct_attach;
mod guests;
mod idle_connections;
mod idle_network;
mod loss;
mod new_connections;
mod requests;
mod streams;
mod tcp_stream;
mod udp;
mod uplink;

use crate::bench::{Bench, Job, Metric};

/// A kind of measurement.
#[derive(Clone, Copy)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What a reader must know to understand its numbers.
    pub(crate) about: &'static str,
    pub(crate) metrics: &'static [Metric],
    /// More rounds than this tell nothing new, or take too long.
    pub(crate) most_rounds: u32,
    pub(crate) jobs: fn(&Bench) -> Vec<Job>,
}

/// All suites, in the order of the report.
pub(crate) const ALL: [Suite; 11] = [
    tcp_stream::SUITE,
    guests::SUITE,
    requests::SUITE,
    streams::SUITE,
    idle_connections::SUITE,
    new_connections::SUITE,
    loss::SUITE,
    udp::SUITE,
    idle_network::SUITE,
    uplink::SUITE,
    direct_attach::SUITE,
];

const GBIT: Metric = Metric {
    name: "gbit",
    heading: "Gbit/s",
    decimals: 2,
};

const CPU: Metric = Metric {
    name: "cpu_per_gb",
    heading: "back end's processor seconds per GB",
    decimals: 2,
};
