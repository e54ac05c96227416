//! UDP datagrams of two sizes.

use super::Suite;
use crate::bench::{Bench, Case, Job, Metric};
use crate::error::BenchError;
use crate::lab::{ETHERNET_MTU, SERVER};
use crate::load::iperf::{Datagrams, Delivered, Ends, Run};
use crate::peers::{Cell, Kind};
use crate::results::Values;

pub(super) const SUITE: Suite = Suite {
    name: "udp",
    title: "UDP",
    about: "MTU 1500. Flooded: what arrives when the sender sends as fast as it can, and the loss then. Clean: the \
            highest rate found at which no more than 1 % is lost. Columns are the datagram's length.",
    metrics: &[
        Metric {
            name: "clean",
            heading: "datagrams/s, clean",
            decimals: 0,
        },
        Metric {
            name: "flooded",
            heading: "datagrams/s, flooded",
            decimals: 0,
        },
        Metric {
            name: "flood_loss",
            heading: "loss when flooded, %",
            decimals: 1,
        },
    ],
    most_rounds: u32::MAX,
    jobs,
};

/// How far apart two rates of the search are.
const STEP: f64 = 1.5;

/// Rates tried until one is clean and the next is not, and between those two.
const COARSE: u32 = 8;
const FINE: u32 = 2;

/// The loss that still counts as none.
const CLEAN_PERCENT: f64 = 1.0;

fn jobs(bench: &Bench) -> Vec<Job> {
    let mut jobs = Vec::new();
    for peer in bench.peers(&[Kind::Loopback, Kind::Stream, Kind::Tap]) {
        let case = |length, way: &str, up| {
            Case::new(format!("{length} {way}"), move |bench, cell| {
                measure(bench, cell, length, up)
            })
        };
        jobs.push(Job {
            peer,
            request: bench.request(ETHERNET_MTU),
            cases: vec![
                case(1400, "up", true),
                case(1400, "down", false),
                case(64, "up", true),
                case(64, "down", false),
            ],
        });
    }
    jobs
}

fn measure(bench: &Bench, cell: &Cell, length: u32, up: bool) -> Result<Values, BenchError> {
    let seconds = bench.options.seconds.min(2);
    let flood = deliver(bench, cell, Datagrams { length, rate: None }, (up, seconds))?;
    let clean = cleanest(flood.per_second.max(1.0), |per_second| {
        let rate = Some(whole(per_second * f64::from(length) * 8.0));
        let delivered = deliver(bench, cell, Datagrams { length, rate }, (up, seconds))?;
        Ok((delivered.lost_percent <= CLEAN_PERCENT).then_some(delivered.per_second))
    })?;
    let mut values = vec![("flooded", flood.per_second), ("flood_loss", flood.lost_percent)];
    values.extend(clean.map(|clean| ("clean", clean)));
    Ok(values)
}

/// The highest rate found at which `try_rate` delivers: up or down from `start` in large steps until one is clean and
/// its neighbour is not, then between the two.
fn cleanest(
    start: f64,
    mut try_rate: impl FnMut(f64) -> Result<Option<f64>, BenchError>,
) -> Result<Option<f64>, BenchError> {
    let (mut clean, mut unclean, mut best) = (None, None, None);
    let mut rate = start;
    for _ in 0..COARSE {
        match try_rate(rate)? {
            Some(delivered) => (clean, best) = (Some(rate), Some(delivered)),
            None => unclean = Some(rate),
        }
        match (clean, unclean) {
            (Some(_), Some(_)) => break,
            (Some(_), None) => rate *= STEP,
            (None, _) => rate /= STEP,
        }
    }
    for _ in 0..FINE {
        let (Some(low), Some(high)) = (clean, unclean) else {
            break;
        };
        let between = f64::midpoint(low, high);
        match try_rate(between)? {
            Some(delivered) => (clean, best) = (Some(between), Some(delivered)),
            None => unclean = Some(between),
        }
    }
    Ok(best)
}

fn deliver(
    bench: &Bench,
    cell: &Cell,
    datagrams: Datagrams,
    (up, seconds): (bool, u32),
) -> Result<Delivered, BenchError> {
    let ends = Ends {
        client: &cell.guest()?.namespace,
        server: &cell.host.namespace,
        address: SERVER,
    };
    let run = Run {
        up,
        streams: 1,
        seconds,
        datagrams: Some(datagrams),
    };
    run.delivered(ends, &bench.scratch)
}

/// The nearest whole number of bits, in steps of a thousand; at least one step.
fn whole(bits: f64) -> u64 {
    let thousands = (bits / 1000.0).round().clamp(1.0, f64::from(u32::MAX));
    format!("{thousands:.0}").parse::<u64>().unwrap_or(1) * 1000
}

#[cfg(test)]
mod tests {
    use super::cleanest;

    /// A link that carries `capacity` datagrams a second.
    fn found(start: f64, capacity: f64) -> Option<f64> {
        cleanest(start, |rate| Ok((rate <= capacity).then_some(rate))).unwrap()
    }

    #[test]
    fn the_search_ends_near_what_the_link_carries_wherever_it_begins() {
        for start in [300.0, 1000.0, 3000.0] {
            let best = found(start, 1000.0).unwrap();
            assert!((850.0..=1000.0).contains(&best), "{best} from {start}");
        }
    }

    #[test]
    fn a_link_that_carries_nothing_has_no_clean_rate() {
        assert_eq!(found(1000.0, 0.0), None);
    }
}
