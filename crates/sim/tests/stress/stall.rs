//! Receivers that stop for a while and go on, on either side.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use atoll_sim::World;
use atoll_sim::guest::{LeanGuest, Profile};
use atoll_sim::host::Server;
use atoll_sim::link::{Faults, Link};
use atoll_wire::Offloads;

use crate::kit::{BAD, GIGABIT, LARGE, Run, Setup};

const SECOND: Duration = Duration::from_secs(1);
/// A receive window of the engine's.
const WINDOW: u64 = 1 << 20;

fn setup(faults: Faults, offloads: Offloads) -> Setup {
    Setup {
        link: Link {
            faults,
            rate: GIGABIT,
            ..Link::default()
        },
        offloads,
        lengths: (8_000_000, 8_000_000),
        ..Setup::default()
    }
}

/// Count the frames that cross the link from now on, to the guest and from it.
fn count_frames(run: &mut Run) -> Rc<Cell<(u32, u32)>> {
    let frames = Rc::new(Cell::new((0, 0)));
    let counted = Rc::clone(&frames);
    run.world.lose_when(move |crossing| {
        let (down, up) = counted.get();
        counted.set(if crossing.to_guest {
            (down + 1, up)
        } else {
            (down, up + 1)
        });
        false
    });
    frames
}

/// Run until so many bytes arrived on either side.
fn until_bytes(run: &mut Run, bytes: u64) {
    let (number, flow) = (run.number, run.flow());
    assert!(run.world.run_until(60 * SECOND, |world| {
        world.guest(0).connection(number).received().len() >= bytes
            && world.sockets[&flow].received.len() >= bytes
    }));
}

fn guest_that_stops(faults: Faults, offloads: Offloads) -> Run {
    let setup = setup(faults, offloads);
    let mut run = setup.connect().open();
    until_bytes(&mut run, 500_000);
    run.connection().stop_reading();
    run
}

#[test]
fn a_guest_that_does_not_read_is_probed_with_back_off_and_loses_nothing() {
    for offloads in [Offloads::default(), LARGE] {
        let mut run = guest_that_stops(Faults::default(), offloads);
        run.world.run_for(2 * SECOND);
        let before = run.connection().received().len();
        let frames = count_frames(&mut run);
        run.world.run_for(60 * SECOND);
        let probes = frames.get().0;
        assert!((2..=10).contains(&probes), "{probes} frames in a minute");
        assert_eq!(run.connection().received().len(), before);
        assert_eq!(run.world.engine.snapshot(run.world.now()).ports[0].queued, 0);
        assert_eq!(
            (
                run.world.counter("tcp_timeout"),
                run.world.counter("tcp_retransmit")
            ),
            (0, 0)
        );
        run.connection().resume_reading();
        run.finish();
        assert_eq!(run.world.counter("tcp_timeout"), 0);
    }
}

#[test]
fn a_guest_that_stops_on_a_bad_link_loses_nothing() {
    for offloads in [Offloads::default(), LARGE] {
        let mut run = guest_that_stops(BAD, offloads);
        run.world.run_for(5 * SECOND);
        let frames = count_frames(&mut run);
        run.world.run_for(60 * SECOND);
        let probes = frames.get().0;
        assert!((2..=20).contains(&probes), "{probes} frames in a minute");
        run.connection().resume_reading();
        run.finish();
    }
}

#[test]
fn a_lost_word_that_the_guest_reads_again_is_asked_for() {
    let mut run = guest_that_stops(Faults::default(), Offloads::default());
    run.world.run_for(10 * SECOND);
    let before = run.connection().received().len();
    let lost = Rc::new(Cell::new(0));
    let count = Rc::clone(&lost);
    run.world.lose_when(move |crossing| {
        let loses = !crossing.to_guest && count.get() < 2;
        count.set(count.get() + u32::from(loses));
        loses
    });
    run.connection().resume_reading();
    let number = run.number;
    let goes_on = |world: &mut World<LeanGuest>| {
        let guest = world.guest(0);
        guest.connection(number).received().len() > before
    };
    assert!(run.world.run_until(60 * SECOND, goes_on));
    assert_eq!(lost.get(), 2);
    run.finish();
}

#[test]
fn a_host_that_does_not_read_closes_the_window_and_loses_nothing() {
    for (faults, offloads) in [
        (Faults::default(), Offloads::default()),
        (Faults::default(), LARGE),
        (BAD, LARGE),
    ] {
        let setup = setup(faults, offloads);
        let mut run = setup.connect().open();
        until_bytes(&mut run, 500_000);
        let flow = run.flow();
        run.world.host_takes(flow, Some(0));
        run.world.run_for(5 * SECOND);
        let before = run.socket().received.len();
        let timeouts = run.connection().timeouts();
        let frames = count_frames(&mut run);
        run.world.run_for(60 * SECOND);
        let held: usize = run.world.engine.tcp_outgoing(flow).map(<[u8]>::len).sum();
        assert!(held as u64 <= WINDOW, "{held} bytes are held");
        assert_eq!(run.socket().received.len(), before);
        assert_eq!(
            run.connection().timeouts(),
            timeouts,
            "what is held was acknowledged"
        );
        let (answers, probes) = frames.get();
        assert!(answers <= probes + 1, "{answers} answers to {probes} probes");
        run.world.host_takes(flow, None);
        run.finish();
    }
}

/// Nothing tells a guest of an open window but we; its own probes come after its timeout, 200 ms at least.
#[test]
fn a_guest_hears_at_once_that_the_host_reads_again() {
    for offloads in [Offloads::default(), LARGE] {
        let mut run = setup(Faults::default(), offloads).connect().open();
        until_bytes(&mut run, 500_000);
        let flow = run.flow();
        run.world.host_takes(flow, Some(0));
        run.world.run_for(SECOND);
        run.world.host_takes(flow, None);
        let before = run.socket().received.len();
        let goes_on = |world: &mut World<LeanGuest>| world.sockets[&flow].received.len() > before + WINDOW;
        assert!(run.world.run_until(Duration::from_millis(50), goes_on));
        run.finish();
    }
}

#[test]
fn both_sides_stop_and_go_many_times() {
    for (seed, offloads) in [(1, Offloads::default()), (2, LARGE)] {
        let setup = Setup {
            seed,
            server: Server {
                buffer: Some(300_000),
                ..Server::default()
            },
            ..setup(BAD, offloads)
        };
        let mut run = setup.connect().open();
        let flow = run.flow();
        for round in 0..40u32 {
            run.world.host_takes(flow, (round % 3 == 0).then_some(0));
            if round % 2 == 0 {
                run.connection().stop_reading();
            } else {
                run.connection().resume_reading();
            }
            run.world
                .run_for(Duration::from_millis(u64::from(round * 37 % 300)));
        }
        run.connection().resume_reading();
        run.world.host_takes(flow, None);
        run.finish();
    }
}

#[test]
fn the_end_waits_for_room_like_any_byte() {
    const BUFFER: u64 = 60_000;
    for offloads in [Offloads::default(), LARGE] {
        let setup = Setup {
            lengths: (0, BUFFER),
            profile: Profile {
                scale: Some(0),
                buffer: BUFFER,
                ..Profile::default()
            },
            ..setup(Faults::default(), offloads)
        };
        let mut run = setup.connect().open();
        run.connection().stop_reading();
        run.world.run_for(20 * SECOND);
        assert!(run.connection().received().is_whole());
        assert!(!run.connection().is_finished(), "there is no room for FIN");
        assert_eq!(
            (
                run.world.counter("tcp_timeout"),
                run.world.counter("tcp_retransmit")
            ),
            (0, 0)
        );
        run.connection().resume_reading();
        let number = run.number;
        assert!(
            run.world
                .run_until(SECOND, |world| world.guest(0).connection(number).is_finished())
        );
        run.finish();
    }
}
