//! The runner: suites, rounds and peers in turn.
//!
//! A suite is a list of jobs; a job is one back end, started anew in namespaces of its own, and the cases measured on
//! it. Within a round every job of the suite runs once, so that what the machine does meanwhile hits all alike; each
//! round begins with another job. A job or a case that fails is recorded as failed and the rest goes on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::error::BenchError;
use crate::lab::{SERVER, Scratch};
use crate::load::descriptors::allow_most;
use crate::load::iperf::{Ends, Run, Stream};
use crate::options::Options;
use crate::peers::{Cell, Kind, Peer, Request};
use crate::probe::process::processor_seconds;
use crate::results::{Results, Sample, Values};
use crate::suites::Suite;

/// One number that a suite measures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) heading: &'static str,
    pub(crate) decimals: usize,
}

/// A measurement on a back end that runs.
type Measure = dyn Fn(&Bench, &Cell) -> Result<Values, BenchError>;

/// What is measured on a back end that runs.
pub(crate) struct Case {
    pub(crate) name: String,
    measure: Box<Measure>,
}

/// A back end and its cases.
pub(crate) struct Job {
    pub(crate) peer: Rc<dyn Peer>,
    pub(crate) request: Request,
    pub(crate) cases: Vec<Case>,
}

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        measure: impl Fn(&Bench, &Cell) -> Result<Values, BenchError> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            measure: Box::new(measure),
        }
    }
}

/// A comparison under way.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) scratch: Scratch,
    peers: Vec<Rc<dyn Peer>>,
    /// Descriptors that a back end may open.
    descriptors: u64,
    /// Congestion controls that senders reported.
    congestion: RefCell<BTreeSet<String>>,
}

impl Bench {
    pub(crate) fn new(options: Options, peers: Vec<Rc<dyn Peer>>) -> Result<Self, BenchError> {
        Ok(Self {
            options,
            scratch: Scratch::new()?,
            peers,
            descriptors: allow_most(),
            congestion: RefCell::new(BTreeSet::new()),
        })
    }

    /// The peers of some kinds, in their order.
    pub(crate) fn peers(&self, kinds: &[Kind]) -> Vec<Rc<dyn Peer>> {
        let wanted = self.peers.iter().filter(|peer| kinds.contains(&peer.kind()));
        wanted.map(Rc::clone).collect()
    }

    /// MTUs to measure at, of those that a suite offers.
    pub(crate) fn mtus(&self, offered: &[u32]) -> Vec<u32> {
        let chosen = |mtu: &u32| self.options.mtu.is_empty() || self.options.mtu.contains(mtu);
        offered.iter().copied().filter(chosen).collect()
    }

    /// One guest without losses.
    pub(crate) fn request(&self, mtu: u32) -> Request {
        Request {
            mtu,
            guests: 1,
            lost_per_million: 0,
            queue: None,
            congestion: self.options.congestion.clone(),
        }
    }

    /// Idle connections: those asked for, or as many as a back end can hold with the descriptors that it may open.
    pub(crate) fn connections(&self) -> u32 {
        self.options.connections.min(most_connections(self.descriptors))
    }

    pub(crate) fn congestion_seen(&self) -> Vec<String> {
        self.congestion.borrow().iter().cloned().collect()
    }

    /// Runs the suites.
    pub(crate) fn run(&self, suites: &[Suite], results: &mut Results) {
        for suite in suites {
            for round in 1..=self.options.rounds.min(suite.most_rounds) {
                let mut jobs = (suite.jobs)(self);
                let shift = usize::try_from(round - 1).unwrap_or(0) % jobs.len().max(1);
                jobs.rotate_left(shift);
                for job in &jobs {
                    self.run_job(suite, round, job, results);
                }
            }
        }
    }

    fn run_job(&self, suite: &Suite, round: u32, job: &Job, results: &mut Results) {
        let cell = job.peer.start(&job.request, &self.scratch);
        for case in &job.cases {
            let outcome = match &cell {
                Ok(cell) => (case.measure)(self, cell).map_err(|error| error.to_string()),
                Err(error) => Err(format!("it did not start: {error}")),
            };
            let sample = Sample {
                suite: suite.name,
                case: case.name.clone(),
                peer: job.peer.name(),
                round,
                outcome,
            };
            progress(&sample);
            results.add(sample);
        }
    }

    /// Runs a TCP load between the guest and the server on the host.
    pub(crate) fn stream(&self, cell: &Cell, run: Run) -> Result<Stream, BenchError> {
        let ends = Ends {
            client: &cell.guest()?.namespace,
            server: &cell.host.namespace,
            address: SERVER,
        };
        self.stream_between(ends, run)
    }

    /// Runs a TCP load between any two.
    pub(crate) fn stream_between(&self, ends: Ends<'_>, run: Run) -> Result<Stream, BenchError> {
        let stream = run.stream(ends, &self.scratch)?;
        self.congestion.borrow_mut().insert(stream.congestion.clone());
        Ok(stream)
    }
}

/// How many connections a back end with so many descriptors can hold: what is left beside those that Atoll keeps for itself and for
/// questions to name servers (`atoll_runtime`'s own rule; others keep fewer), and room for the streams that are measured meanwhile.
fn most_connections(descriptors: u64) -> u32 {
    const ROOM: u64 = 50;
    let kept = (descriptors / 8 * 3).min((descriptors / 16).max(2048));
    u32::try_from(descriptors.saturating_sub(kept + ROOM)).unwrap_or(u32::MAX)
}

/// Does `work`, and tells the processor seconds that the back end used meanwhile (none without a back end).
pub(crate) fn with_processor_time<T>(
    cell: &Cell,
    work: impl FnOnce() -> Result<T, BenchError>,
) -> Result<(T, Option<f64>), BenchError> {
    let Some(pid) = cell.backend_pid() else {
        return Ok((work()?, None));
    };
    let before = processor_seconds(pid)?;
    let done = work()?;
    let after = processor_seconds(pid)?;
    Ok((done, Some(after - before)))
}

#[expect(clippy::print_stderr, reason = "progress is told as it happens")]
fn progress(sample: &Sample) {
    let what = match &sample.outcome {
        Ok(values) => {
            let words: Vec<String> = values
                .iter()
                .map(|(name, value)| format!("{name} {value:.3}"))
                .collect();
            words.join(", ")
        }
        Err(reason) => format!("failed: {reason}"),
    };
    eprintln!(
        "{} #{} {} [{}]: {what}",
        sample.suite, sample.round, sample.peer, sample.case
    );
}

#[cfg(test)]
mod tests {
    use super::most_connections;

    #[test]
    fn no_more_connections_are_asked_for_than_a_back_end_keeps_descriptors_for() {
        assert_eq!(most_connections(20_000), 17_902);
        assert_eq!(most_connections(1024), 590);
        assert!(most_connections(1 << 20) > 50_000);
    }
}
