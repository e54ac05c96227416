//! Losses at chosen places: what is lost once is repaired at once, what is lost again is repaired without a timeout as long as
//! the flow goes on, and the end of what was sent is probed for.

use std::time::Duration;

use atoll_sim::link::Link;
use atoll_sim::script::Crossing;
use atoll_wire::{Offloads, Seq};

use crate::kit::{GIGABIT, LARGE, Run, Setup};

const MEGABYTE: u64 = 1_000_000;

/// Which of the engine's segments are lost: those that hold a byte of the range, the first `times` times that each comes by.
struct Plan {
    bytes: std::ops::Range<u64>,
    times: u32,
}

/// Follows the engine's stream on the link.
#[derive(Default)]
struct Follow {
    initial: Option<Seq>,
    /// How often a segment with this place was lost.
    lost: std::collections::BTreeMap<u64, u32>,
}

impl Follow {
    fn loses(&mut self, crossing: &Crossing<'_>, plan: &Plan) -> bool {
        let Some((header, len)) = crossing.segment().filter(|_| crossing.to_guest) else {
            return false;
        };
        if header.flags.syn {
            self.initial = Some(header.seq);
        }
        let Some(initial) = self
            .initial
            .filter(|_| !header.flags.syn && (len > 0 || header.flags.fin))
        else {
            return false;
        };
        // FIN counts as the byte after the last.
        let start = u64::from(header.seq - initial - 1);
        let end = start + u64::from(len) + u64::from(header.flags.fin);
        let from = start.max(plan.bytes.start);
        if from >= end.min(plan.bytes.end) {
            return false;
        }
        let times = self.lost.entry(from).or_default();
        *times += 1;
        *times <= plan.times
    }
}

/// The host sends so many bytes and closes.
fn setup(bytes: u64, link: Link, offloads: Offloads) -> Setup {
    Setup {
        link,
        offloads,
        lengths: (0, bytes),
        ..Setup::default()
    }
}

/// The connection runs to its end; what `plan` says is lost.
fn with_losses(setup: &Setup, plan: Plan) -> Run {
    let mut run = setup.connect();
    let mut follow = Follow::default();
    run.world.lose_when(move |crossing| follow.loses(crossing, &plan));
    run.finish();
    run
}

fn links() -> [Link; 3] {
    [100, 1000, 20_000].map(|micros| Link {
        delay: Duration::from_micros(micros / 2),
        rate: GIGABIT,
        ..Link::default()
    })
}

fn on_every_link(bytes: u64, plan: impl Fn() -> Plan, check: impl Fn(&Run)) {
    for link in links() {
        for offloads in [Offloads::default(), LARGE] {
            check(&with_losses(&setup(bytes, link, offloads), plan()));
        }
    }
}

fn no_timeout(run: &Run) {
    assert_eq!(run.world.counter("tcp_timeout"), 0);
}

#[test]
fn a_segment_lost_amid_a_steady_flow_is_repeated_once() {
    let plan = || Plan {
        bytes: MEGABYTE..MEGABYTE + 1,
        times: 1,
    };
    on_every_link(4 * MEGABYTE, plan, |run| {
        no_timeout(run);
        assert_eq!(run.world.counter("tcp_tail_probe"), 0);
    });
}

#[test]
fn a_repetition_that_is_lost_costs_no_timeout() {
    let plan = || Plan {
        bytes: MEGABYTE..MEGABYTE + 1,
        times: 2,
    };
    on_every_link(8 * MEGABYTE, plan, no_timeout);
}

#[test]
fn a_repetition_may_be_lost_many_times_while_new_bytes_flow() {
    for link in links() {
        let mut setup = setup(40 * MEGABYTE, link, Offloads::default());
        setup.profile.buffer = 30_000_000;
        setup.profile.scale = Some(10);
        let plan = Plan {
            bytes: MEGABYTE..MEGABYTE + 1,
            times: 5,
        };
        no_timeout(&with_losses(&setup, plan));
    }
}

#[test]
fn many_segments_in_a_row_lost_twice_cost_no_timeout() {
    let plan = || Plan {
        bytes: MEGABYTE..MEGABYTE + 200_000,
        times: 2,
    };
    on_every_link(8 * MEGABYTE, plan, no_timeout);
}

#[test]
fn a_lost_tail_costs_no_timeout() {
    for tail in [1, 1460, 5000, 100_000] {
        let end = 2 * MEGABYTE;
        let plan = || Plan {
            bytes: end - tail..end + 1,
            times: 1,
        };
        on_every_link(end, plan, no_timeout);
    }
}

#[test]
fn a_lost_fin_costs_no_timeout() {
    let end = 2 * MEGABYTE;
    let plan = || Plan {
        bytes: end..end + 1,
        times: 1,
    };
    on_every_link(end, plan, no_timeout);
}

#[test]
fn a_tail_that_is_lost_with_its_probe_costs_a_timeout_at_most() {
    let end = 2 * MEGABYTE;
    let plan = || Plan {
        bytes: end - 1..end + 1,
        times: 2,
    };
    on_every_link(end, plan, |run| assert!(run.world.counter("tcp_timeout") <= 1));
}

#[test]
fn a_short_answer_that_is_lost_comes_before_a_timeout_also_right_after_the_handshake() {
    for link in links() {
        let plan = Plan {
            bytes: 0..100,
            times: 1,
        };
        let run = with_losses(&setup(100, link, Offloads::default()), plan);
        no_timeout(&run);
        let took = run.world.now().elapsed();
        assert!(took < Duration::from_millis(200), "{took:?}");
    }
}

#[test]
fn lost_acknowledgements_repeat_little() {
    for offloads in [Offloads::default(), LARGE] {
        let setup = Setup {
            link: Link {
                rate: GIGABIT,
                ..Link::default()
            },
            offloads,
            lengths: (0, 10 * MEGABYTE),
            ..Setup::default()
        };
        let mut run = setup.connect();
        let mut count = 0;
        run.world.lose_when(move |crossing| {
            count += u32::from(!crossing.to_guest);
            let amid = (10..60).contains(&crossing.now.elapsed().as_millis());
            amid && !crossing.to_guest && count % 10 != 0
        });
        run.finish();
        assert_eq!(
            (
                run.world.counter("tcp_timeout"),
                run.world.counter("tcp_retransmit")
            ),
            (0, 0)
        );
    }
}

#[test]
fn a_link_that_is_cut_for_a_while_goes_on_soon_after() {
    for (from, outage) in [(10, 50), (10, 1000), (10, 20_000)] {
        let setup = Setup {
            link: links()[1],
            lengths: (20 * MEGABYTE, 20 * MEGABYTE),
            ..Setup::default()
        };
        let mut run = setup.connect();
        let millis = |crossing: &Crossing<'_>| crossing.now.elapsed().as_millis();
        run.world
            .lose_when(move |crossing| (from..from + outage).contains(&millis(crossing)));
        run.finish();
        let took = run.world.now().elapsed().as_millis();
        // The flow itself takes a fifth of a second, and the timer doubles at most.
        assert!(
            took < from + 2 * outage + 1500,
            "{took} ms with an outage of {outage} ms"
        );
    }
}
