//! Sequence numbers that pass 2^32 on the way, on both sides.

use std::time::Duration;

use atoll_sim::guest::Profile;
use atoll_wire::Offloads;

use crate::kit::{BAD, LARGE, Setup};

/// How far before 2^32 a side begins.
const BEFORE: [u32; 5] = [1, 2, 1461, 60_000, 1_500_000];

/// The engine's initial sequence number goes on by one in 4 microseconds: how long to wait until it is `wanted`.
fn wait_for(setup: &Setup, wanted: u32) -> Duration {
    let mut run = setup.connect().open();
    let ticks = wanted.wrapping_sub(run.connection().initial_of_engine());
    Duration::from_micros(4) * ticks
}

fn before_the_wrap(distance: u32) -> u32 {
    0u32.wrapping_sub(distance)
}

/// Megabytes both ways over a bad link, between sides that begin so far before the wrap.
fn exchange(seed: u64, (guest, engine): (u32, u32), offloads: Offloads) {
    let setup = Setup {
        seed,
        offloads,
        profile: Profile {
            iss: before_the_wrap(guest),
            ..Profile::default()
        },
        lengths: (3_000_000, 3_000_000),
        ..Setup::default()
    };
    let wanted = before_the_wrap(engine);
    let mut world = setup.world();
    world.run_for(wait_for(&setup, wanted));
    let mut run = setup.connect_in(world).open();
    assert_eq!(run.connection().initial_of_engine(), wanted);
    run.world.set_link(BAD);
    run.finish();
}

fn all_distances(seed: u64, offloads: Offloads) {
    for (row, &guest) in (0..).zip(&BEFORE) {
        for (column, &engine) in (0..).zip(&BEFORE) {
            exchange(seed + 10 * row + column, (guest, engine), offloads);
        }
    }
}

#[test]
fn ordinary_segments_pass_the_wrap() {
    all_distances(100, Offloads::default());
}

#[test]
fn large_segments_pass_the_wrap() {
    all_distances(200, LARGE);
}
