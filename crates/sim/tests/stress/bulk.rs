//! Much, both ways at once, over a link that loses, repeats and reorders.

use atoll_sim::host::Server;
use atoll_sim::link::Link;
use atoll_wire::Offloads;

use crate::kit::{BAD, LARGE, Setup, TEN_GIGABIT};

const GIGABYTE: u64 = 1_000_000_000;

fn a_gigabyte_each_way(seed: u64, link: Link, offloads: Offloads) {
    let setup = Setup {
        seed,
        link,
        offloads,
        lengths: (GIGABYTE, GIGABYTE),
        server: Server {
            buffer: Some(6 << 20),
            ..Server::default()
        },
        ..Setup::default()
    };
    let mut run = setup.exchange();
    assert_eq!(run.socket().received.digest(), run.up.digest());
    assert_eq!(run.connection().received().digest(), run.down.digest());
}

#[test]
fn ordinary_segments_arrive_whole() {
    let link = Link {
        faults: BAD,
        rate: TEN_GIGABIT,
        ..Link::default()
    };
    a_gigabyte_each_way(1, link, Offloads::default());
}

#[test]
fn large_segments_arrive_whole() {
    let link = Link {
        faults: BAD,
        rate: TEN_GIGABIT,
        ..Link::default()
    };
    a_gigabyte_each_way(2, link, LARGE);
}

#[test]
fn large_segments_of_which_parts_are_lost_arrive_whole() {
    let link = Link {
        faults: BAD,
        cuts: true,
        ..Link::default()
    };
    a_gigabyte_each_way(3, link, LARGE);
}
