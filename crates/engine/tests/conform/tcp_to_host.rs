//! Bytes on their way from a guest to its host socket.

use std::time::Duration;

use atoll_engine::Event;
use atoll_wire::Seq;
use atoll_wire::tcp::{Flags, Header, Options};

use crate::bench::{A, Net};
use crate::connection::{ISS, MODERN, Tcp, stream, syn};

fn window_of(header: &Header) -> u32 {
    u32::from(header.window) << 5
}

#[test]
fn bytes_in_order_are_offered_once_and_acknowledged_when_the_host_took_them() {
    let mut tcp = Tcp::open();
    let header = tcp.header(Flags::ACK);
    tcp.net.send_tcp(A, tcp.remote, &header, b"hello");
    assert_eq!(tcp.net.action(), atoll_engine::Action::TcpSend(tcp.flow));
    tcp.hears_nothing();
    tcp.net.send_tcp(
        A,
        tcp.remote,
        &Header {
            seq: tcp.seq + 5,
            ..header
        },
        b" world",
    );
    tcp.net.asks_nothing();
    let offered: Vec<u8> = tcp.net.engine.tcp_outgoing(tcp.flow).flatten().copied().collect();
    assert_eq!(offered, b"hello world");
    tcp.net.event(Event::TcpSent {
        flow: tcp.flow,
        bytes: 11,
    });
    assert_eq!(tcp.hears().header.ack, tcp.seq + 11);
    assert_eq!(tcp.net.engine.tcp_outgoing(tcp.flow).count(), 0);
}

#[test]
fn a_host_that_takes_a_part_is_offered_the_rest() {
    let mut tcp = Tcp::open();
    tcp.socket.room = 300;
    tcp.send(&stream(0, 1000));
    assert_eq!(tcp.socket.received, stream(0, 300));
    tcp.host_takes(300);
    tcp.host_takes(usize::MAX);
    assert_eq!(tcp.socket.received, stream(0, 1000));
}

/// A connection to a host that is full, its window of 64 KiB used up, and how many bytes were sent.
fn full() -> (Tcp, usize) {
    let mut tcp = Tcp::open_with(MODERN, |config| config.limits.tcp_window = 1 << 16);
    tcp.socket.room = 0;
    let (start, mut edge) = (tcp.seq, tcp.seq + 65_535);
    for _ in 0..200 {
        let sent = (tcp.seq - start) as usize;
        if tcp.seq == edge {
            assert_eq!(tcp.segments(), []);
            return (tcp, sent);
        }
        tcp.send(&stream(sent, 1000.min((edge - tcp.seq) as usize)));
        let header = tcp.segments().last().unwrap().header;
        assert_eq!(header.ack, tcp.seq, "what lies in the window is kept");
        let told = header.ack + (u32::from(header.window) << 1);
        assert!(!told.is_before(edge), "the right edge never moves left");
        edge = told;
    }
    panic!("the window of a full host stays open");
}

#[test]
fn a_full_host_closes_the_window_and_nothing_is_lost() {
    let (mut tcp, sent) = full();
    assert!((1 << 15..=1 << 17).contains(&sent), "{sent}");
    tcp.host_takes(usize::MAX);
    assert!(tcp.hears().header.window > 20_000, "the window opens again");
    assert_eq!(tcp.socket.received, stream(0, sent));
}

#[test]
fn a_window_that_opens_a_little_is_not_worth_telling() {
    let (mut tcp, _) = full();
    for _ in 0..10 {
        tcp.host_takes(100);
        tcp.hears_nothing();
    }
    tcp.host_takes(10_000);
    assert!(tcp.hears().header.window > 1460);
}

#[test]
fn a_probe_of_a_closed_window_is_answered_and_not_taken() {
    let (mut tcp, sent) = full();
    tcp.send_ahead(0, b"?");
    let answer = tcp.hears().header;
    assert_eq!((answer.ack, answer.window), (tcp.seq, 0));
    tcp.host_takes(usize::MAX);
    assert_eq!(tcp.socket.received.len(), sent);
}

#[test]
fn segments_out_of_order_are_kept_and_reported_the_latest_first() {
    let mut tcp = Tcp::open();
    let block = |tcp: &Tcp, at: u32| Some((tcp.seq + at, tcp.seq + at + 10));
    let at = |from: usize| stream(from, 10);
    tcp.send_ahead(10, &at(10));
    assert_eq!(tcp.hears().header.options.sack, [block(&tcp, 10), None, None]);
    tcp.send_ahead(50, &at(50));
    assert_eq!(
        tcp.hears().header.options.sack,
        [block(&tcp, 50), block(&tcp, 10), None]
    );
    tcp.send_ahead(30, &at(30));
    let answer = tcp.hears().header;
    assert_eq!(
        answer.options.sack,
        [block(&tcp, 30), block(&tcp, 10), block(&tcp, 50)]
    );
    assert_eq!(answer.ack, tcp.seq);
    tcp.send(&at(0));
    let answer = tcp.segments().last().unwrap().header;
    assert_eq!(answer.ack, Seq(ISS + 21));
    assert_eq!(tcp.socket.received, stream(0, 20));
}

#[test]
fn overlapping_segments_give_every_byte_once() {
    let mut tcp = Tcp::open();
    for (from, len) in [(40, 30), (10, 20), (25, 20), (60, 20), (0, 15), (0, 80)] {
        tcp.send_ahead(u32::try_from(from).unwrap(), &stream(from, len));
    }
    assert_eq!(tcp.socket.received, stream(0, 80));
    assert_eq!(tcp.segments().last().unwrap().header.ack, tcp.seq + 80);
}

#[test]
fn a_segment_that_was_heard_is_acknowledged_again() {
    let mut tcp = Tcp::open();
    tcp.send(b"hello");
    let first = tcp.hears().header;
    tcp.seq = Seq(tcp.seq.0 - 5);
    tcp.send(b"hello");
    assert_eq!(tcp.hears().header.ack, first.ack);
    assert_eq!(tcp.socket.received, b"hello");
}

#[test]
fn bytes_beyond_the_window_are_cut_off() {
    let mut tcp = Tcp::open_with(
        Options {
            window_scale: None,
            ..MODERN
        },
        |_| (),
    );
    let edge = 65_535;
    tcp.send_ahead(edge - 10, &stream(0, 30));
    let sack = tcp.hears().header.options.sack;
    assert_eq!(sack[0], Some((tcp.seq + (edge - 10), tcp.seq + edge)));
    tcp.send_ahead(edge, &stream(0, 30));
    assert_eq!(tcp.hears().header.options.sack, sack);
    assert_eq!(tcp.net.counter("tcp_unacceptable"), 1);
}

#[test]
fn sequence_numbers_wrap() {
    let mut tcp = Tcp::connecting(Net::new(), A, syn(u32::MAX - 500, MODERN));
    tcp.net.event(Event::TcpConnected(tcp.flow));
    tcp.finish_handshake();
    tcp.send_ahead(400, &stream(400, 400));
    tcp.send_ahead(900, &stream(900, 100));
    tcp.send_ahead(0, &stream(0, 400));
    tcp.send_ahead(800, &stream(800, 100));
    assert_eq!(tcp.socket.received, stream(0, 1000));
    assert_eq!(tcp.segments().last().unwrap().header.ack, tcp.seq + 1000);
    tcp.seq += 1000;
    tcp.send_fin();
    assert!(tcp.socket.shut_down);
}

#[test]
fn the_window_is_what_the_host_can_still_take() {
    let mut tcp = Tcp::open();
    tcp.send(b"x");
    let whole = window_of(&tcp.hears().header);
    assert_eq!(whole, 1 << 20);
    tcp.socket.room = 0;
    tcp.send(&stream(0, 64_000));
    assert!(window_of(&tcp.hears().header) <= whole - 63_000);
}

#[test]
fn a_flood_of_single_bytes_costs_a_bounded_number_of_segments_and_loses_none() {
    let mut tcp = Tcp::open();
    tcp.socket.room = 0;
    let mut sent = 0;
    while sent < 6000 {
        let byte = stream(sent, 1);
        tcp.send_ahead(0, &byte);
        let ack = tcp.segments().last().unwrap().header.ack;
        if ack == tcp.seq {
            break;
        }
        tcp.seq = ack;
        sent += 1;
    }
    assert!((1000..6000).contains(&sent), "{sent} segments were kept");
    tcp.host_takes(usize::MAX);
    tcp.segments();
    tcp.send(&stream(sent, 1000));
    assert_eq!(tcp.socket.received, stream(0, sent + 1000));
}

#[test]
fn a_window_smaller_than_two_segments_opens_again() {
    let options = Options {
        mss: Some(u16::MAX),
        window_scale: None,
        ..MODERN
    };
    let mut tcp = Tcp::open_with(options, |config| config.mtu = 65_520);
    tcp.socket.room = 0;
    tcp.send(&stream(0, 60_000));
    assert_eq!(tcp.hears().header.window, u16::MAX - 60_000);
    tcp.host_takes(usize::MAX);
    assert_eq!(tcp.hears().header.window, u16::MAX);
}

#[test]
fn a_guest_that_does_not_scale_windows_hears_of_a_slow_host_without_repetitions() {
    let mut tcp = Tcp::open_with(
        Options {
            window_scale: None,
            ..MODERN
        },
        |_| (),
    );
    tcp.socket.room = 0;
    for part in 0..8 {
        tcp.send(&stream(part * 1000, 1000));
    }
    tcp.segments();
    for _ in 0..20 {
        tcp.host_takes(100);
    }
    // Nothing new to acknowledge and no window that opened: three of these would be a report of loss.
    assert_eq!(tcp.segments(), []);
}

#[test]
fn a_wide_window_that_grows_is_told_with_the_next_acknowledgement_only() {
    let mut tcp = Tcp::open();
    tcp.socket.room = 0;
    for part in 0..20 {
        tcp.send(&stream(part * 1000, 1000));
    }
    tcp.segments();
    for _ in 0..4 {
        tcp.host_takes(4000);
    }
    tcp.hears_nothing();
}

#[test]
fn what_lies_after_a_fin_that_came_early_is_not_passed_on() {
    let mut tcp = Tcp::open();
    let fin = Header {
        seq: tcp.seq + 10,
        ..tcp.header(Flags::FIN_ACK)
    };
    tcp.send_raw(&fin, &stream(10, 10));
    tcp.send_ahead(20, b"beyond the end");
    tcp.send(&stream(0, 10));
    assert_eq!(tcp.socket.received, stream(0, 20));
    assert!(tcp.socket.shut_down);
}

/// What the guest hears when one read brings ten full segments and the host takes them.
fn acknowledgements(tcp: &mut Tcp) -> Vec<u32> {
    let start = tcp.seq;
    for number in 0..10 {
        let header = tcp.header(Flags::ACK);
        tcp.net
            .send_tcp(A, tcp.remote, &header, &stream(1460 * number, 1460));
        tcp.seq += 1460;
    }
    tcp.hears_nothing();
    tcp.run();
    let segments = tcp.segments();
    segments
        .iter()
        .map(|segment| segment.header.ack - start)
        .collect()
}

#[test]
fn one_read_is_acknowledged_once_on_a_link_that_loses_nothing() {
    let mut tcp = Tcp::open();
    assert_eq!(acknowledgements(&mut tcp), [14_600]);
}

#[test]
fn after_disorder_one_read_is_acknowledged_in_steps_for_a_while() {
    let mut tcp = Tcp::open();
    tcp.send_ahead(10, &stream(10, 10));
    tcp.send(&stream(0, 20));
    tcp.segments();
    assert_eq!(acknowledgements(&mut tcp), [3650, 7300, 10_950, 14_600]);
    tcp.wait(Duration::from_secs(2));
    assert_eq!(acknowledgements(&mut tcp), [14_600]);
}

#[test]
fn a_segment_that_comes_once_more_is_a_sign_of_a_lost_acknowledgement() {
    let mut tcp = Tcp::open();
    tcp.send(&stream(0, 20));
    let mut again = tcp.header(Flags::ACK);
    again.seq = Seq(again.seq.0 - 20);
    tcp.send_raw(&again, &stream(0, 20));
    tcp.segments();
    assert!(acknowledgements(&mut tcp).len() > 1);
}
