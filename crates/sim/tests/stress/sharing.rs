//! Flows that share the link to one guest.

use std::time::Duration;

use atoll_sim::guest::Profile;
use atoll_sim::link::Link;

use crate::kit::{LARGE, SERVER, Setup, TEN_GIGABIT, streams};
use atoll_wire::Offloads;

const BYTES: (u64, u64) = (0, 100_000_000);

/// What two flows of one guest, whose receive buffers differ, get in a while of a link that holds all that both allow.
fn shares(offloads: Offloads) -> [u64; 2] {
    let setup = Setup {
        link: Link {
            delay: Duration::from_millis(10),
            rate: TEN_GIGABIT,
            ..Link::default()
        },
        offloads,
        lengths: BYTES,
        ..Setup::default()
    };
    let mut world = setup.world();
    let (up, down) = streams(setup.seed, BYTES);
    let numbers = [8 << 20, 2 << 20].map(|buffer| {
        let profile = Profile {
            buffer,
            ..Profile::default()
        };
        world.guest(0).connect(SERVER, profile, up, down)
    });
    world.run_for(Duration::from_millis(500));
    numbers.map(|number| world.guest(0).connection(number).received().len())
}

#[test]
fn a_larger_window_takes_no_larger_part_of_the_link() {
    for offloads in [Offloads::default(), LARGE] {
        let [large, small] = shares(offloads);
        assert!(large + small > 40_000_000, "{large}, {small}");
        assert!(2 * large < 3 * small, "{large}, {small}");
    }
}
