//! Bytes on their way to a guest when frames are lost.

use std::time::Duration;

use atoll_engine::Event;
use atoll_wire::Seq;
use atoll_wire::tcp::{Flags, Options};

use crate::bench::{A, Net};
use crate::connection::{ISS, MODERN, Tcp, stream, syn};

const MSS: u32 = 1460;
const NO_SACK: Options = Options {
    sack_permitted: false,
    ..MODERN
};

/// When a segment that is alone under way is probed for on a quick link: its acknowledgement may be delayed.
const TAIL_ALONE: Duration = Duration::from_millis(60);

/// Ten full segments are under way.
fn ten_under_way(options: Options) -> Tcp {
    let mut tcp = Tcp::open_with(options, |_| ());
    tcp.host_sends(&stream(0, 14_600));
    assert_eq!(tcp.segments().len(), 10);
    tcp
}

/// Sequence numbers of what was heard, in segments after `ack`.
fn numbers(tcp: &mut Tcp) -> Vec<u32> {
    let ack = tcp.ack;
    let segments = tcp.segments();
    for segment in &segments {
        let from = (segment.header.seq - ack) as usize;
        assert!(from.is_multiple_of(1460) && segment.payload.len() <= 1460);
    }
    segments
        .iter()
        .map(|segment| (segment.header.seq - ack) / MSS)
        .collect()
}

fn segments_after(ack: Seq, from: u32, to: u32) -> (Seq, Seq) {
    (ack + from * MSS, ack + to * MSS)
}

#[test]
fn three_duplicate_acknowledgements_repeat_the_lost_segment_at_once() {
    let mut tcp = ten_under_way(NO_SACK);
    for _ in 0..2 {
        tcp.send_ack();
    }
    tcp.hears_nothing();
    tcp.send_ack();
    let again = tcp.hears();
    assert_eq!((again.header.seq, again.payload), (tcp.ack, stream(0, 1460)));
    for _ in 0..5 {
        tcp.send_ack();
    }
    tcp.hears_nothing();
    tcp.ack += 10 * MSS;
    tcp.send_ack();
    assert_eq!(tcp.discarded(), 14_600);
    assert_eq!(tcp.net.counter("tcp_retransmit"), 1);
    tcp.wait(Duration::from_secs(60));
    tcp.hears_nothing();
}

#[test]
fn without_sack_a_partial_acknowledgement_names_the_next_loss() {
    let mut tcp = ten_under_way(NO_SACK);
    for _ in 0..3 {
        tcp.send_ack();
    }
    assert_eq!(numbers(&mut tcp), [0]);
    tcp.ack += 4 * MSS;
    tcp.send_ack();
    assert_eq!(numbers(&mut tcp), [0]);
    tcp.ack += 6 * MSS;
    tcp.send_ack();
    assert_eq!((tcp.discarded(), tcp.net.counter("tcp_timeout")), (14_600, 0));
}

#[test]
fn with_sack_every_hole_is_repeated_once() {
    let mut tcp = ten_under_way(MODERN);
    let block = |from, to| segments_after(tcp.ack, from, to);
    let (first, second, third) = (block(1, 2), block(4, 5), block(6, 9));
    tcp.send_sack(&[first]);
    tcp.send_sack(&[second, first]);
    tcp.send_sack(&[third, second, first]);
    assert_eq!(numbers(&mut tcp), [0, 2, 3, 5]);
    tcp.send_sack(&[third, second, first]);
    tcp.hears_nothing();
    tcp.ack += 10 * MSS;
    tcp.send_ack();
    assert_eq!(tcp.discarded(), 14_600);
    assert_eq!(tcp.net.counter("tcp_timeout"), 0);
}

#[test]
fn reordering_by_two_segments_repeats_nothing() {
    let mut tcp = ten_under_way(MODERN);
    let ack = tcp.ack;
    tcp.send_sack(&[segments_after(ack, 1, 2)]);
    tcp.send_sack(&[segments_after(ack, 1, 3)]);
    tcp.ack += 3 * MSS;
    tcp.send_ack();
    tcp.hears_nothing();
    assert_eq!(tcp.net.counter("tcp_retransmit"), 0);
}

#[test]
fn new_bytes_go_on_while_losses_are_repaired() {
    let mut tcp = ten_under_way(MODERN);
    let ack = tcp.ack;
    tcp.host_sends(&stream(14_600, 1460));
    tcp.segments();
    tcp.send_sack(&[segments_after(ack, 1, 6)]);
    assert_eq!(numbers(&mut tcp), [0]);
    tcp.host_sends(&stream(14_600 + 1460, 1460));
    assert_eq!(numbers(&mut tcp), [11]);
}

#[test]
fn a_silent_guest_is_retried_with_back_off_and_goes_on_where_it_stood() {
    let mut tcp = ten_under_way(MODERN);
    let doubled = (0..9).map(|times| 200 << times);
    for millis in [10].into_iter().chain(doubled).chain([60_000, 60_000]) {
        let (again, took) = tcp.wait_for_segment();
        assert_eq!((again.header.seq, took), (tcp.ack, Duration::from_millis(millis)));
        assert_eq!(again.payload, stream(0, 1460));
    }
    assert_eq!(
        (tcp.net.counter("tcp_tail_probe"), tcp.net.counter("tcp_timeout")),
        (1, 11)
    );
    tcp.ack += MSS;
    tcp.send_ack();
    assert_eq!(tcp.receive_all(), stream(1460, 14_600 - 1460));
    assert_eq!(tcp.discarded(), 14_600);
    tcp.host_sends(b"and on");
    assert_eq!(tcp.hears().payload, b"and on");
}

#[test]
fn a_lost_tail_is_probed_for_long_before_the_timeout() {
    let mut tcp = quick();
    tcp.host_sends(&stream(0, 14_600));
    tcp.segments();
    tcp.ack += 6 * MSS;
    tcp.send_ack();
    let (probe, took) = tcp.wait_for_segment();
    assert_eq!((probe.header.seq, took), (tcp.ack, Duration::from_millis(10)));
    tcp.ack += MSS;
    tcp.send_ack();
    assert_eq!(numbers(&mut tcp), [0, 1, 2], "the guest lacks what lies behind");
    assert_eq!(tcp.net.counter("tcp_timeout"), 0);
}

#[test]
fn a_burst_that_is_lost_is_probed_for_like_its_tail() {
    let mut tcp = quick();
    tcp.host_sends(&stream(0, 14_600));
    tcp.segments();
    let (probe, took) = tcp.wait_for_segment();
    assert_eq!((probe.header.seq, took), (tcp.ack, Duration::from_millis(10)));
}

#[test]
fn a_guest_that_was_only_slow_gets_one_segment_twice() {
    let mut tcp = quick();
    tcp.host_sends(&stream(0, 14_600));
    tcp.segments();
    tcp.wait_for_segment();
    tcp.ack += 4 * MSS;
    tcp.send_ack();
    tcp.hears_nothing();
    tcp.ack += 6 * MSS;
    tcp.send_ack();
    tcp.hears_nothing();
    assert_eq!(tcp.net.counter("tcp_retransmit"), 1);
}

#[test]
fn a_repetition_that_is_lost_is_repeated_when_later_bytes_are_reported() {
    let mut tcp = ten_under_way(MODERN);
    let ack = tcp.ack;
    tcp.send_sack(&[segments_after(ack, 2, 10)]);
    assert_eq!(numbers(&mut tcp), [0, 1]);
    tcp.host_sends(&stream(14_600, 5 * 1460));
    assert_eq!(numbers(&mut tcp), [10, 11, 12, 13, 14]);
    tcp.send_sack(&[segments_after(ack, 2, 13)]);
    tcp.hears_nothing();
    tcp.send_sack(&[segments_after(ack, 2, 14)]);
    assert_eq!(numbers(&mut tcp), [0, 1]);
    assert_eq!(tcp.net.counter("tcp_timeout"), 0);
}

#[test]
fn after_a_timeout_only_what_is_missing_is_repeated() {
    let mut tcp = ten_under_way(MODERN);
    tcp.wait_for_segment();
    tcp.wait_for_segment();
    let ack = tcp.ack;
    tcp.ack += MSS;
    tcp.send_sack(&[segments_after(ack, 2, 9)]);
    let heard: Vec<u32> = tcp
        .segments()
        .iter()
        .map(|segment| (segment.header.seq - ack) / MSS)
        .collect();
    assert_eq!(heard, [1, 9]);
}

#[test]
fn a_guest_that_takes_nothing_for_a_quarter_of_an_hour_is_reset() {
    let mut tcp = ten_under_way(MODERN);
    tcp.wait(Duration::from_secs(14 * 60));
    assert_eq!(tcp.socket.closed, None);
    tcp.wait(Duration::from_secs(4 * 60));
    assert_eq!(tcp.socket.closed, Some(true));
    assert!(tcp.net.flows().is_empty());
}

#[test]
fn the_timeout_follows_the_round_trip_but_is_never_below_a_fifth_of_a_second() {
    for (round_trip, at_least, at_most) in [(1, 200, 200), (400, 400, 450)] {
        let mut tcp = Tcp::open_after(Duration::from_millis(round_trip));
        for _ in 0..20 {
            tcp.host_sends(b"ping");
            tcp.hears();
            tcp.wait(Duration::from_millis(round_trip));
            tcp.hears_nothing();
            tcp.ack += 4;
            tcp.send_ack();
        }
        tcp.host_sends(b"lost");
        tcp.hears();
        tcp.wait_for_segment();
        let (_, took) = tcp.wait_for_segment();
        let took = took.as_millis();
        assert!((at_least..=at_most).contains(&took), "{took} ms");
    }
}

#[test]
fn what_was_acknowledged_is_discarded_once_whatever_was_repeated() {
    let mut tcp = ten_under_way(NO_SACK);
    for step in 0..10 {
        for _ in 0..4 {
            tcp.send_ack();
        }
        if step % 3 == 0 {
            tcp.wait(Duration::from_secs(2));
        }
        tcp.segments();
        tcp.ack += MSS;
        tcp.send_ack();
        assert!(tcp.socket.discarded <= 1460 * (step + 1));
    }
    assert_eq!(tcp.discarded(), 14_600);
    assert!(tcp.socket.queue.is_empty());
    // An old acknowledgement that comes late discards nothing.
    tcp.ack = Seq(tcp.ack.0.wrapping_sub(MSS));
    tcp.send_ack();
    assert_eq!(tcp.discarded(), 14_600);
}

#[test]
fn an_acknowledgement_within_a_segment_leaves_its_rest_to_be_repeated() {
    let mut tcp = ten_under_way(MODERN);
    tcp.ack += 700;
    tcp.send_ack();
    let (again, _) = tcp.wait_for_segment();
    assert_eq!(again.header.seq, tcp.ack);
    assert_eq!(again.payload, stream(700, 1460));
}

#[test]
fn sack_blocks_that_make_no_sense_do_no_harm() {
    let mut tcp = ten_under_way(MODERN);
    let ack = tcp.ack;
    let nonsense = [
        (ack + 50 * MSS, ack + 60 * MSS),
        (ack + 5 * MSS, ack + 3 * MSS),
        (Seq(ack.0.wrapping_sub(5000)), Seq(ack.0.wrapping_sub(1))),
    ];
    for _ in 0..2 {
        tcp.send_sack(&nonsense);
    }
    tcp.hears_nothing();
    tcp.ack += 10 * MSS;
    tcp.send_ack();
    assert_eq!((tcp.discarded(), tcp.net.counter("tcp_retransmit")), (14_600, 0));
}

#[test]
fn a_window_update_is_no_duplicate_acknowledgement() {
    let mut tcp = ten_under_way(NO_SACK);
    for _ in 0..6 {
        tcp.window += 1;
        tcp.send_ack();
    }
    tcp.hears_nothing();
    assert_eq!(tcp.net.counter("tcp_retransmit"), 0);
}

#[test]
fn data_with_an_old_acknowledgement_is_no_duplicate_acknowledgement() {
    let mut tcp = ten_under_way(NO_SACK);
    for _ in 0..6 {
        tcp.send(b"busy");
    }
    assert!(tcp.segments().iter().all(|segment| segment.payload.is_empty()));
    assert_eq!(tcp.net.counter("tcp_retransmit"), 0);
}

#[test]
fn a_lost_last_segment_and_fin_are_both_repeated() {
    let mut tcp = ten_under_way(MODERN);
    tcp.host_closes();
    assert_eq!(tcp.hears().header.flags, Flags::FIN_ACK);
    tcp.ack += 9 * MSS;
    tcp.send_ack();
    tcp.wait(Duration::from_millis(1100));
    assert_eq!(tcp.receive_all(), stream(9 * 1460, 1460));
    assert_eq!(tcp.net.flows(), [("tcp", "FIN-WAIT")]);
    tcp.send_fin();
    assert_eq!(tcp.socket.closed, Some(false));
}

#[test]
fn a_lost_segment_of_the_guest_costs_one_repetition() {
    let mut tcp = Tcp::open();
    for part in 1..50u32 {
        tcp.send_ahead(part * 1000, &stream(part as usize * 1000, 1000));
    }
    let answers = tcp.segments();
    assert_eq!(
        answers.len(),
        49,
        "each is answered at once, so that the guest can tell what was lost"
    );
    assert!(answers.iter().all(|answer| answer.header.ack == tcp.seq));
    tcp.send(&stream(0, 1000));
    assert_eq!(tcp.socket.received, stream(0, 50_000));
    let answers = tcp.segments();
    assert_eq!(answers.last().unwrap().header.ack, tcp.seq + 49_000);
}

#[test]
fn a_timeout_forgets_what_was_reported_since_the_guest_may_have_dropped_it() {
    let mut tcp = ten_under_way(MODERN);
    let ack = tcp.ack;
    tcp.send_sack(&[segments_after(ack, 5, 10)]);
    assert_eq!(numbers(&mut tcp), [0, 1, 2, 3, 4]);
    tcp.wait(Duration::from_millis(11));
    assert_eq!(numbers(&mut tcp), [0, 1, 2, 3, 4], "a tail probe sweeps again");
    tcp.wait_for_segment();
    tcp.ack += 6 * MSS;
    tcp.send_ack();
    assert_eq!(numbers(&mut tcp), [0, 1, 2, 3]);
}

/// A connection whose round trip is known to be a millisecond.
fn quick() -> Tcp {
    let mut tcp = Tcp::open();
    for _ in 0..3 {
        tcp.host_sends(b"ping");
        tcp.hears();
        tcp.wait(Duration::from_millis(1));
        tcp.ack += 4;
        tcp.send_ack();
    }
    tcp
}

#[test]
fn the_handshake_tells_the_round_trip() {
    let mut tcp = Tcp::open_after(Duration::from_millis(1));
    tcp.host_sends(b"lost");
    tcp.hears();
    let (_, took) = tcp.wait_for_segment();
    assert_eq!(took, TAIL_ALONE);
}

#[test]
fn a_handshake_that_was_repeated_does_not() {
    let mut tcp = Tcp::connecting(Net::with(|_| ()), A, syn(ISS, MODERN));
    tcp.net.event(Event::TcpConnected(tcp.flow));
    tcp.net.hears_tcp(A);
    tcp.wait(Duration::from_millis(1001));
    tcp.finish_handshake();
    tcp.host_sends(b"lost");
    tcp.hears();
    let (_, took) = tcp.wait_for_segment();
    assert_eq!(took, Duration::from_secs(1));
}

#[test]
fn an_acknowledgement_of_a_repeated_segment_says_nothing_of_the_round_trip() {
    let mut tcp = quick();
    for _ in 0..3 {
        tcp.host_sends(b"lost");
        tcp.hears();
        let (_, took) = tcp.wait_for_segment();
        assert_eq!(took, TAIL_ALONE);
        tcp.ack += 4;
        tcp.send_ack();
    }
}

#[test]
fn an_acknowledgement_of_a_part_gives_the_rest_its_whole_time() {
    let mut tcp = quick();
    tcp.host_sends(&stream(0, 2920));
    tcp.segments();
    tcp.wait(Duration::from_millis(9));
    tcp.ack += MSS;
    tcp.send_ack();
    let (_, took) = tcp.wait_for_segment();
    assert_eq!(took, TAIL_ALONE);
}

#[test]
fn a_guest_that_was_idle_for_long_has_its_whole_time_to_take_what_comes() {
    let mut tcp = quick();
    tcp.wait(Duration::from_secs(3600));
    tcp.host_sends(b"are you there?");
    tcp.wait(Duration::from_secs(14 * 60));
    assert_eq!(tcp.socket.closed, None);
    tcp.wait(Duration::from_secs(4 * 60));
    assert_eq!(tcp.socket.closed, Some(true));
}
