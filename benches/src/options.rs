//! What can be chosen about a comparison.

use std::path::PathBuf;

use clap::Args;

/// The arguments of a comparison.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Rounds; each measures every back end once, in turn. Long measurements take fewer.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,

    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,

    /// Only these measurements, by the names that `--list` prints.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) only: Vec<String>,

    /// Only these peers, by name.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub(crate) peers: Vec<String>,

    /// Only these MTUs, where a measurement has several.
    #[arg(long, value_delimiter = ',', value_name = "BYTES,…")]
    pub(crate) mtu: Vec<u32>,

    /// The atoll to measure.
    #[arg(long, value_name = "PATH")]
    pub(crate) atoll: Option<PathBuf>,

    /// An earlier atoll, to be measured beside it.
    #[arg(long, value_name = "PATH")]
    pub(crate) before: Option<PathBuf>,

    /// Another passt than the one in the search path; pasta is taken from beside it.
    #[arg(long, value_name = "PATH")]
    pub(crate) passt: Option<PathBuf>,

    /// A gvproxy, which is left out otherwise.
    #[arg(long, value_name = "PATH")]
    pub(crate) gvproxy: Option<PathBuf>,

    /// Connections of the measurement with idle connections.
    #[arg(long, default_value_t = 50_000)]
    pub(crate) connections: u32,

    /// New connections a second of the measurement with new connections.
    #[arg(long, default_value_t = 2000)]
    pub(crate) churn_rate: u32,

    /// Seconds of the measurement with new connections.
    #[arg(long, default_value_t = 30)]
    pub(crate) churn_seconds: u32,

    /// Congestion control, set by route in every namespace.
    #[arg(long, default_value = "cubic")]
    pub(crate) congestion: String,

    /// Also write the tables to this file; docs/benchmarks.md without one.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/benchmarks.md")]
    pub(crate) write: Option<PathBuf>,

    /// Also write every sample to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Report also what earlier runs on this machine measured, from files that `--json` wrote; measurements that this run makes itself
    /// are not taken from them.
    #[arg(long = "with", value_delimiter = ',', value_name = "FILE,…")]
    pub(crate) earlier: Vec<PathBuf>,

    /// Print the names of measurements and peers, and measure nothing.
    #[arg(long)]
    pub(crate) list: bool,
}
