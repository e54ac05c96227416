//! What losses cost: bytes a second to a guest in virtual time, by round trip and loss, as a table. A change that makes
//! recovery better or worse is a difference in the table. Timeouts stand in brackets.
//! `INSTA_UPDATE=always cargo nextest run -p atoll-sim rate_in` writes the tables anew.

use std::time::Duration;

use atoll_sim::guest::Profile;
use atoll_sim::link::{Faults, Link};
use atoll_wire::Offloads;

use crate::kit::{LARGE, Setup, TEN_GIGABIT};

const BYTES: u64 = 30_000_000;

/// Losses of ten thousand frames.
const LOSSES: [u16; 4] = [0, 10, 100, 500];

/// Each cell is the median of so many runs.
const RUNS: u64 = 3;

/// How long the bytes take, and how many timeouts it needs.
fn run(seed: u64, round_trip: Duration, loss: u16, offloads: Offloads) -> (Duration, u64) {
    let setup = Setup {
        seed,
        link: Link {
            delay: round_trip / 2,
            rate: TEN_GIGABIT,
            faults: Faults {
                loss,
                ..Faults::default()
            },
            cuts: false,
        },
        offloads,
        lengths: (0, BYTES),
        // What Linux lets its receive buffer grow to.
        profile: Profile {
            buffer: 6 << 20,
            ..Profile::default()
        },
        ..Setup::default()
    };
    let mut run = setup.connect().open();
    let began = run.world.now();
    run.finish();
    (run.world.now().since(began), run.world.counter("tcp_timeout"))
}

/// Megabytes a second, and the timeouts of all runs if there were any.
fn cell(round_trip: Duration, loss: u16, offloads: Offloads) -> String {
    let runs = (1..=RUNS).map(|seed| run(seed, round_trip, loss, offloads));
    let (mut times, timeouts): (Vec<_>, Vec<_>) = runs.unzip();
    times.sort_unstable();
    let rate = u128::from(BYTES) / times[times.len() / 2].as_micros();
    match timeouts.iter().sum::<u64>() {
        0 => format!("{rate}"),
        timeouts => format!("{rate} ({timeouts})"),
    }
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> String {
    cells.fold(format!("{name:>10}"), |row, cell| row + &format!("{cell:>12}")) + "\n"
}

fn table(offloads: Offloads) -> String {
    let percent = LOSSES
        .iter()
        .map(|loss| format!("{} %", f64::from(*loss) / 100.0));
    let mut table = row("round trip", percent);
    for micros in [100, 1000, 10_000, 50_000] {
        let round_trip = Duration::from_micros(micros);
        let cells = LOSSES.iter().map(|loss| cell(round_trip, *loss, offloads));
        table += &row(&format!("{round_trip:?}"), cells);
    }
    table
}

#[test]
fn rate_in_ordinary_segments() {
    insta::assert_snapshot!(table(Offloads::default()));
}

#[test]
fn rate_in_large_segments() {
    insta::assert_snapshot!(table(LARGE));
}
