//! What a guest's SYN says is kept to: no segment is larger than its MSS, none goes beyond its window. The guest checks both, of every
//! segment of the engine's.

use atoll_sim::guest::Profile;
use atoll_sim::link::Link;
use atoll_wire::Offloads;

use crate::kit::{BAD, LARGE, Setup};

/// Exchange over a bad link with guests that differ in window scale, SACK and port.
fn with_every_scale(mtu: u16, mss: Option<u16>) {
    for scale in [None, Some(0), Some(7), Some(14)] {
        for (seed, sack) in [(1, true), (2, false)] {
            for offloads in [Offloads::default(), LARGE] {
                let setup = Setup {
                    seed,
                    link: Link::from(BAD),
                    offloads,
                    mtu,
                    profile: Profile {
                        mss,
                        scale,
                        sack,
                        ..Profile::default()
                    },
                    lengths: (500_000, 500_000),
                    ..Setup::default()
                };
                setup.exchange();
            }
        }
    }
}

#[test]
fn an_ordinary_mss_is_kept_to() {
    with_every_scale(1500, Some(1460));
}

#[test]
fn a_guest_that_names_no_mss_gets_segments_of_536_bytes() {
    with_every_scale(1500, None);
}

#[test]
fn a_small_mss_is_kept_to() {
    with_every_scale(1500, Some(536));
    with_every_scale(1500, Some(88));
}

#[test]
fn the_largest_mss_is_kept_to() {
    with_every_scale(65_520, Some(65_480));
}

#[test]
fn a_guest_on_a_large_link_may_want_small_segments() {
    with_every_scale(65_520, Some(1460));
}

#[test]
fn an_mss_larger_than_the_link_is_the_links() {
    with_every_scale(1500, Some(u16::MAX));
}

#[test]
fn a_buffer_of_less_than_two_segments_is_never_overrun() {
    for buffer in [100, 1460, 2000, 2920] {
        for offloads in [Offloads::default(), LARGE] {
            let setup = Setup {
                link: Link::from(BAD),
                offloads,
                profile: Profile {
                    scale: Some(0),
                    buffer,
                    ..Profile::default()
                },
                lengths: (50_000, 50_000),
                ..Setup::default()
            };
            setup.exchange();
        }
    }
}
