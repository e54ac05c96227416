//! Bytes on their way from a host socket to a guest, when nothing is lost.

use std::time::Duration;

use atoll_engine::Event;
use atoll_wire::tcp::{Flags, Header};

use crate::bench::{A, B};
use crate::connection::{ISS, MODERN, Tcp, stream, syn};

#[test]
fn the_hosts_bytes_reach_the_guest_and_leave_the_socket_when_acknowledged() {
    let mut tcp = Tcp::open();
    tcp.host_sends(&stream(0, 3000));
    let segments = tcp.segments();
    let lengths: Vec<usize> = segments.iter().map(|segment| segment.payload.len()).collect();
    assert_eq!(lengths, [1460, 1460, 80]);
    assert_eq!(segments[1].header.seq, tcp.ack + 1460);
    assert_eq!(tcp.socket.discarded, 0);
    tcp.ack += 3000;
    tcp.send_ack();
    assert_eq!((tcp.discarded(), tcp.socket.queue.len()), (3000, 0));
    tcp.hears_nothing();
}

#[test]
fn acknowledged_bytes_leave_the_socket_many_at_a_time_and_soon() {
    let mut tcp = Tcp::open();
    for part in 0..100 {
        tcp.host_sends(&stream(part * 10, 10));
        assert_eq!(tcp.receive_all().len(), 10);
    }
    assert_eq!(tcp.socket.discards, 3, "32 acknowledgements each");
    assert_eq!(tcp.discarded(), 1000);
}

#[test]
fn acknowledged_bytes_never_keep_the_peers_window_closed() {
    let mut tcp = Tcp::open();
    for part in 0..100 {
        tcp.host_sends(&stream(part * 4380, 4380));
        assert_eq!(tcp.receive_all().len(), 4380);
        assert!(tcp.socket.queue.is_empty(), "part {part}");
    }
}

#[test]
fn a_long_stream_arrives_whole() {
    let mut tcp = Tcp::open();
    tcp.host_sends(&stream(0, 2_000_000));
    assert!(tcp.receive_all() == stream(0, 2_000_000));
    assert_eq!(tcp.socket.discarded, 2_000_000);
    assert_eq!(tcp.net.counter("tcp_retransmit"), 0);
}

#[test]
fn never_more_than_the_window_is_sent() {
    let mut tcp = Tcp::open();
    tcp.window = 20;
    tcp.send_ack();
    tcp.host_sends(&stream(0, 100_000));
    let sent: usize = tcp.segments().iter().map(|segment| segment.payload.len()).sum();
    assert!((1460..=20 << 7).contains(&sent), "{sent}");
}

#[test]
fn the_sender_waits_for_room_that_is_worth_a_segment() {
    let mut tcp = Tcp::open();
    tcp.window = 32;
    tcp.send_ack();
    tcp.host_sends(&stream(0, 100_000));
    let first = tcp.segments();
    // The guest reads slowly: what is free grows by a few bytes at a time.
    let mut sent = Vec::new();
    for segment in first {
        tcp.ack += u32::try_from(segment.payload.len()).unwrap();
        tcp.window = 1;
        tcp.send_ack();
        sent.extend(tcp.segments());
    }
    assert!(
        sent.iter().all(|segment| segment.payload.len() >= 128),
        "{sent:?}"
    );
}

#[test]
fn a_closed_window_is_probed_with_back_off_and_its_opening_resumes() {
    let mut tcp = Tcp::open();
    tcp.window = 0;
    tcp.send_ack();
    tcp.host_sends(b"waiting");
    tcp.hears_nothing();
    for millis in [200, 400, 800, 1600] {
        let (probe, took) = tcp.wait_for_segment();
        assert_eq!(took, Duration::from_millis(millis));
        assert!(probe.payload.is_empty(), "the window is closed");
        assert_eq!(probe.header.seq + 1, tcp.ack, "it must be answered");
        tcp.send_ack();
    }
    tcp.window = 1000;
    tcp.send_ack();
    assert_eq!(tcp.hears().payload, b"waiting");
}

#[test]
fn a_window_that_stays_closed_is_probed_as_long_as_the_guest_answers() {
    let mut tcp = Tcp::open();
    tcp.window = 0;
    tcp.send_ack();
    tcp.host_sends(b"waiting");
    let start = tcp.net.now;
    while tcp.net.now.since(start) < Duration::from_secs(3600) {
        tcp.wait_for_segment();
        tcp.send_ack();
    }
    tcp.window = 1000;
    tcp.send_ack();
    assert_eq!(tcp.hears().payload, b"waiting");
}

#[test]
fn a_window_that_shrinks_stops_the_sender_and_repeats_nothing() {
    let mut tcp = Tcp::open();
    tcp.host_sends(&stream(0, 1000));
    tcp.segments();
    tcp.window = 0;
    tcp.ack += 500;
    tcp.send_ack();
    tcp.host_sends(&stream(1000, 1000));
    tcp.hears_nothing();
    tcp.window = 1000;
    tcp.ack += 500;
    tcp.send_ack();
    assert_eq!(tcp.receive_all(), stream(1000, 1000));
}

#[test]
fn an_old_window_does_not_replace_a_newer_one() {
    let mut tcp = Tcp::open();
    let overtaken = Header {
        window: 0,
        ..tcp.header(Flags::ACK)
    };
    tcp.send_ahead(5, b"newer");
    tcp.send_raw(&overtaken, b"older");
    tcp.segments();
    tcp.host_sends(b"hello");
    assert_eq!(tcp.hears().payload, b"hello");
}

#[test]
fn a_guest_whose_port_is_full_makes_the_flow_wait_until_it_takes_frames() {
    let mut tcp = Tcp::open_with(MODERN, |config| config.limits.egress_bytes = 100_000);
    tcp.net.stop(A);
    tcp.host_sends(&stream(0, 500_000));
    let queued: usize = tcp
        .net
        .engine
        .egress(A.port)
        .iter()
        .map(|frame| frame.len())
        .sum();
    assert!(
        (10_000..30_000).contains(&queued),
        "{queued} bytes wait for the port"
    );
    assert_eq!(tcp.net.counter("egress_dropped"), 0);
    tcp.net.resume(A);
    tcp.run();
    assert!(tcp.receive_all() == stream(0, 500_000));
    assert_eq!(
        (
            tcp.net.counter("egress_dropped"),
            tcp.net.counter("tcp_retransmit")
        ),
        (0, 0)
    );
}

#[test]
fn a_port_that_stopped_holds_up_no_other_guests_flow() {
    let mut tcp = Tcp::open_with(MODERN, |config| config.limits.egress_bytes = 100_000);
    tcp.net.stop(A);
    tcp.host_sends(&stream(0, 500_000));
    let mut second = Tcp::connecting(tcp.net, B, syn(ISS, MODERN));
    second.net.event(Event::TcpConnected(second.flow));
    second.finish_handshake();
    second.host_sends(&stream(0, 500_000));
    assert!(second.receive_all() == stream(0, 500_000));
}

#[test]
fn a_flow_goes_on_when_its_guest_comes_back_on_another_port() {
    let mut tcp = Tcp::open_with(MODERN, |config| config.limits.egress_bytes = 100_000);
    tcp.net.stop(A);
    tcp.host_sends(&stream(0, 300_000));
    tcp.net.event(Event::PortDetached(A.port));
    tcp.run();
    let back = crate::bench::Guest {
        port: atoll_engine::PortId(9),
        ..A
    };
    tcp.net.attach(back.port);
    tcp.net.introduce(back);
    tcp.guest = back;
    tcp.send_ack();
    let (first, _) = tcp.wait_for_segment();
    assert_eq!(first.header.seq, tcp.ack);
    tcp.ack += u32::try_from(first.payload.len()).unwrap();
    tcp.send_ack();
    let rest = tcp.receive_all();
    assert!([first.payload, rest].concat() == stream(0, 300_000));
    assert_eq!(tcp.socket.closed, None);
}

#[test]
fn what_the_guest_reported_is_not_sent_again() {
    let mut tcp = Tcp::open();
    tcp.host_sends(&stream(0, 1460 * 6));
    tcp.segments();
    tcp.send_sack(&[(tcp.ack + 1460, tcp.ack + 1460 * 6)]);
    let again = tcp.hears();
    assert_eq!((again.header.seq, again.payload), (tcp.ack, stream(0, 1460)));
}

#[test]
fn a_guest_with_a_full_buffer_and_a_silent_host_stay_connected() {
    let mut tcp = Tcp::open();
    tcp.host_sends(b"all there is");
    tcp.hears();
    tcp.ack += 12;
    tcp.window = 0;
    tcp.send_ack();
    tcp.wait(Duration::from_secs(3600));
    assert_eq!(tcp.socket.closed, None);
    tcp.hears_nothing();
    assert_eq!(tcp.net.counter("tcp_timeout"), 0);
}

#[test]
fn both_directions_flow_at_once_and_no_segment_outgrows_the_link() {
    let mut tcp = Tcp::open();
    // A hole makes every acknowledgement carry SACK, also those that ride on data. The bench checks every frame's length.
    tcp.send_ahead(10, b"b");
    tcp.send_ahead(20, b"c");
    tcp.send_ahead(30, b"d");
    tcp.segments();
    tcp.host_sends(&stream(0, 10_000));
    let segments = tcp.segments();
    assert_eq!(
        segments
            .iter()
            .map(|segment| segment.payload.len())
            .sum::<usize>(),
        10_000
    );
}

#[test]
fn a_flow_goes_on_when_its_guest_moves_away_from_a_port_that_stopped() {
    let mut tcp = Tcp::open_with(MODERN, |config| config.limits.egress_bytes = 100_000);
    tcp.net.stop(A);
    tcp.host_sends(&stream(0, 300_000));
    let moved = crate::bench::Guest {
        port: atoll_engine::PortId(9),
        ..A
    };
    tcp.net.attach(moved.port);
    tcp.net.introduce(moved);
    tcp.guest = moved;
    tcp.send_ack();
    let mut received = Vec::new();
    for _ in 0..5 {
        received.extend(tcp.receive_all());
        tcp.wait(Duration::from_secs(2));
    }
    received.extend(tcp.receive_all());
    assert_eq!(received.len(), 300_000);
}

#[test]
fn a_peek_that_finds_nothing_asks_again_only_when_told() {
    let mut tcp = Tcp::open();
    let before = tcp.socket.peeks.len();
    tcp.net.event(Event::TcpReadable(tcp.flow));
    tcp.run();
    assert_eq!(tcp.socket.peeks.len(), before + 1);
    tcp.send(b"x");
    assert_eq!(tcp.socket.peeks.len(), before + 1);
}

#[test]
fn an_answer_to_a_peek_that_comes_after_the_end_is_ignored() {
    let mut tcp = Tcp::open();
    tcp.net.event(Event::TcpReadable(tcp.flow));
    let asked = tcp.net.action();
    assert!(matches!(asked, atoll_engine::Action::TcpPeek { offset: 0, .. }));
    let reset = tcp.header(Flags::RST);
    tcp.net.send_tcp(A, tcp.remote, &reset, &[]);
    tcp.net.event(Event::TcpPeeked {
        flow: tcp.flow,
        offset: 0,
        segments: vec![atoll_wire::FrameBuf::copy_from(b"late")],
        end: false,
    });
    tcp.hears_nothing();
}
