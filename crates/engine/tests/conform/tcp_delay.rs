//! Acknowledgements that travel with the host's answer.

use std::time::Duration;

use crate::connection::Tcp;

const MICROSECOND: Duration = Duration::from_micros(1);
const DELAY: Duration = Duration::from_millis(2);

/// The guest asks, and the host answers after a while. How many segments the guest hears.
fn exchange(tcp: &mut Tcp, after: Duration) -> usize {
    tcp.send(b"ask");
    tcp.wait(after);
    tcp.host_sends(b"answer");
    let heard = tcp.segments();
    let last = heard.last().expect("the answer");
    assert_eq!(
        (last.payload.as_slice(), last.header.ack),
        (&b"answer"[..], tcp.seq)
    );
    tcp.ack += 6_u32;
    heard.len()
}

/// Guest and host have taken turns.
fn in_turns() -> Tcp {
    let mut tcp = Tcp::open();
    for _ in 0..4 {
        assert_eq!(exchange(&mut tcp, 100 * MICROSECOND), 2);
    }
    tcp
}

#[test]
fn where_answers_were_prompt_the_acknowledgement_travels_with_the_next() {
    let mut tcp = in_turns();
    for _ in 0..10 {
        assert_eq!(exchange(&mut tcp, 1900 * MICROSECOND), 1);
        assert_eq!(exchange(&mut tcp, MICROSECOND), 1);
        tcp.wait(Duration::from_millis(7));
        tcp.hears_nothing();
    }
}

#[test]
fn an_answer_that_does_not_come_is_waited_for_once() {
    let mut tcp = in_turns();
    tcp.send(b"ask");
    tcp.hears_nothing();
    tcp.wait(DELAY + Duration::from_millis(1));
    assert_eq!(tcp.hears().header.ack, tcp.seq);
    tcp.hears_nothing();
    for _ in 0..4 {
        tcp.send(b"another");
        assert_eq!(tcp.hears().header.ack, tcp.seq);
    }
}

#[test]
fn answers_that_take_long_are_not_waited_for() {
    let mut tcp = Tcp::open();
    for _ in 0..10 {
        assert_eq!(exchange(&mut tcp, Duration::from_millis(3)), 2);
    }
}

#[test]
fn a_guest_that_speaks_twice_is_answered_at_once() {
    let mut tcp = in_turns();
    tcp.send(b"half of what");
    tcp.hears_nothing();
    tcp.send(b"it wants");
    assert_eq!(tcp.hears().header.ack, tcp.seq);
    assert_eq!(exchange(&mut tcp, MICROSECOND), 2);
}

#[test]
fn what_is_more_than_a_message_is_acknowledged_at_once() {
    let mut tcp = in_turns();
    tcp.send(&[7; 1460]);
    assert_eq!(tcp.hears().header.ack, tcp.seq);
}

#[test]
fn neither_an_end_nor_a_hole_waits() {
    let mut tcp = in_turns();
    tcp.send_ahead(3, b"early");
    assert_eq!(tcp.hears().header.ack, tcp.seq);
    tcp.send(b"ask");
    tcp.seq += 5_u32;
    let heard = tcp.segments();
    assert_eq!(heard.last().expect("at once").header.ack, tcp.seq);
    let mut tcp = in_turns();
    tcp.send_fin();
    assert_eq!(tcp.hears().header.ack, tcp.seq);
}
