//! How connections end.

use std::time::Duration;

use atoll_engine::{Action, Event, HostError};
use atoll_wire::Seq;
use atoll_wire::tcp::{Flags, Header};

use crate::bench::{A, B, Net};
use crate::connection::{ISS, MODERN, PORT, SERVER, Tcp, stream, syn};

#[test]
fn fin_with_data_passes_on_both() {
    let mut tcp = Tcp::open();
    tcp.send_raw(&tcp.header(Flags::FIN_ACK), b"goodbye");
    assert_eq!(tcp.socket.received, b"goodbye");
    assert!(tcp.socket.shut_down);
    assert_eq!(tcp.hears().header.ack, tcp.seq + 8);
}

#[test]
fn fin_waits_for_the_bytes_before_it() {
    let mut tcp = Tcp::open();
    let fin = Header {
        seq: tcp.seq + 5,
        ..tcp.header(Flags::FIN_ACK)
    };
    tcp.send_raw(&fin, b"later");
    assert!(!tcp.socket.shut_down);
    assert_eq!(tcp.hears().header.ack, tcp.seq);
    tcp.send(b"first");
    assert_eq!(tcp.socket.received, b"firstlater");
    assert!(tcp.socket.shut_down);
    assert_eq!(tcp.hears().header.ack, tcp.seq + 6);
}

#[test]
fn fin_waits_until_a_full_host_has_all_bytes_before_it() {
    let mut tcp = Tcp::open();
    tcp.socket.room = 3;
    tcp.send(b"goodbye");
    tcp.send_fin();
    assert!(!tcp.socket.shut_down);
    tcp.host_takes(100);
    assert_eq!(tcp.socket.received, b"goodbye");
    assert!(tcp.socket.shut_down);
}

#[test]
fn a_guest_that_closed_its_side_goes_on_hearing() {
    let mut tcp = Tcp::open();
    tcp.send_fin();
    assert_eq!(tcp.hears().header.ack, tcp.seq);
    assert_eq!(tcp.net.flows(), [("tcp", "CLOSE-WAIT")]);
    tcp.wait(Duration::from_secs(600));
    for part in 0..5 {
        tcp.host_sends(&stream(part * 1000, 1000));
        assert_eq!(tcp.receive_all(), stream(part * 1000, 1000));
    }
    assert_eq!(tcp.socket.closed, None);
    tcp.host_closes();
    tcp.receive_all();
    assert_eq!(tcp.socket.closed, Some(false));
}

#[test]
fn a_host_that_closed_its_side_goes_on_receiving() {
    let mut tcp = Tcp::open();
    tcp.host_closes();
    let fin = tcp.hears();
    assert_eq!(
        (fin.header.flags, fin.header.seq, fin.payload.len()),
        (Flags::FIN_ACK, tcp.ack, 0)
    );
    tcp.ack += 1;
    tcp.send_ack();
    tcp.wait(Duration::from_secs(600));
    for part in 0..5 {
        tcp.send(&stream(part * 1000, 1000));
        assert_eq!(tcp.hears().header.ack, tcp.seq);
    }
    assert_eq!(tcp.socket.received, stream(0, 5000));
    tcp.send_fin();
    assert_eq!(tcp.hears().header.ack, tcp.seq);
    assert!(tcp.socket.shut_down);
    assert_eq!(tcp.socket.closed, Some(false));
}

#[test]
fn the_hosts_last_bytes_come_before_its_fin() {
    let mut tcp = Tcp::open();
    tcp.socket.queue = stream(0, 4000);
    tcp.host_closes();
    assert_eq!(tcp.receive_all(), stream(0, 4000));
    assert_eq!(tcp.net.flows(), [("tcp", "FIN-WAIT")]);
    assert_eq!(tcp.discarded(), 4000);
}

#[test]
fn a_lost_fin_is_sent_again_with_back_off() {
    let mut tcp = Tcp::open();
    tcp.host_closes();
    let fin = tcp.hears();
    for millis in [60, 200, 400, 800] {
        let (again, took) = tcp.wait_for_segment();
        assert_eq!((again.header, took), (fin.header, Duration::from_millis(millis)));
    }
    tcp.ack += 1;
    tcp.send_ack();
    tcp.wait(Duration::from_secs(60));
    tcp.hears_nothing();
}

#[test]
fn fin_is_sent_again_with_the_last_bytes_when_both_were_lost() {
    let mut tcp = Tcp::open();
    tcp.socket.queue = b"last".to_vec();
    tcp.host_closes();
    assert_eq!(tcp.segments().len(), 2);
    tcp.wait(Duration::from_secs(1));
    let again = tcp.segments();
    assert_eq!(again[0].payload, b"last");
    assert_eq!(
        (again[1].header.flags, again[1].header.seq),
        (Flags::FIN_ACK, tcp.ack + 4)
    );
}

#[test]
fn a_repeated_fin_is_acknowledged_and_passed_on_once() {
    let mut tcp = Tcp::open();
    tcp.send_fin();
    tcp.hears();
    tcp.seq = Seq(tcp.seq.0 - 1);
    tcp.send_fin();
    assert_eq!(tcp.hears().header.ack, tcp.seq);
    assert_eq!(tcp.net.flows(), [("tcp", "CLOSE-WAIT")]);
}

#[test]
fn both_sides_may_close_at_once() {
    let mut tcp = Tcp::open();
    tcp.host_closes();
    assert_eq!(tcp.hears().header.flags, Flags::FIN_ACK);
    // The guest's FIN crossed ours: it does not acknowledge it.
    tcp.send_fin();
    assert_eq!(tcp.hears().header.ack, tcp.seq);
    assert_eq!((tcp.socket.shut_down, tcp.socket.closed), (true, None));
    tcp.ack += 1;
    tcp.send_ack();
    assert_eq!(tcp.socket.closed, Some(false));
    assert_eq!(tcp.net.flows(), [("tcp", "TIME-WAIT")]);
}

/// A connection that both sides closed, the guest last.
fn closed() -> Tcp {
    let mut tcp = Tcp::open();
    tcp.host_closes();
    tcp.hears();
    tcp.ack += 1;
    tcp.send_fin();
    tcp.hears();
    assert_eq!(tcp.socket.closed, Some(false));
    tcp
}

#[test]
fn time_wait_answers_a_repeated_fin_and_ends() {
    let mut tcp = closed();
    tcp.seq = Seq(tcp.seq.0 - 1);
    tcp.send_fin();
    let answer = tcp.hears().header;
    assert_eq!(
        (answer.flags, answer.seq, answer.ack),
        (Flags::ACK, tcp.ack, tcp.seq)
    );
    tcp.wait(Duration::from_secs(10));
    assert!(tcp.net.flows().is_empty());
    tcp.hears_nothing();
}

#[test]
fn a_new_syn_takes_the_place_of_time_wait() {
    let mut tcp = closed();
    tcp.net.send_tcp(A, SERVER, &syn(ISS + 100_000, MODERN), &[]);
    assert!(matches!(tcp.net.action(), Action::TcpConnect { flow, .. } if flow != tcp.flow));
}

#[test]
fn a_guests_reset_is_a_reset_to_the_host() {
    for flags in [Flags::RST, Flags::RST_ACK] {
        let mut tcp = Tcp::open();
        tcp.send_flags(flags);
        assert_eq!(tcp.socket.closed, Some(true));
        assert!(tcp.net.flows().is_empty());
        tcp.hears_nothing();
    }
}

#[test]
fn a_hosts_reset_is_a_reset_to_the_guest_where_it_expects_one() {
    let mut tcp = Tcp::open();
    tcp.host_sends(b"some");
    tcp.ack += 4;
    tcp.hears();
    tcp.host_fails(HostError::Reset);
    let reset = tcp.hears().header;
    assert_eq!((reset.flags.rst, reset.seq, reset.ack), (true, tcp.ack, tcp.seq));
    assert_eq!(tcp.socket.closed, Some(false));
    assert!(tcp.net.flows().is_empty());
}

#[test]
fn a_reset_before_the_handshake_is_complete_resets_the_host() {
    let mut tcp = Tcp::connecting(Net::new(), A, syn(ISS, MODERN));
    tcp.net.event(Event::TcpConnected(tcp.flow));
    tcp.hears();
    tcp.send_flags(Flags::RST);
    assert_eq!(tcp.socket.closed, Some(true));
}

#[test]
fn a_blind_reset_inside_the_window_is_challenged() {
    let mut tcp = Tcp::open();
    tcp.send_raw(
        &Header {
            seq: tcp.seq + 1,
            ..tcp.header(Flags::RST)
        },
        &[],
    );
    let challenge = tcp.hears().header;
    assert_eq!(
        (challenge.flags, challenge.seq, challenge.ack),
        (Flags::ACK, tcp.ack, tcp.seq)
    );
    assert_eq!(tcp.socket.closed, None);
    assert_eq!(tcp.net.counter("tcp_challenge_ack"), 1);
}

#[test]
fn a_blind_syn_is_challenged_wherever_it_lies() {
    for distance in [0, 1, 60_000, 3_000_000, 0u32.wrapping_sub(1000)] {
        let mut tcp = Tcp::open();
        let header = Header {
            seq: tcp.seq + distance,
            ..syn(0, MODERN)
        };
        tcp.send_raw(&header, &[]);
        let challenge = tcp.hears().header;
        assert_eq!(
            (challenge.flags, challenge.seq, challenge.ack),
            (Flags::ACK, tcp.ack, tcp.seq)
        );
        tcp.net.asks_nothing();
        assert_eq!(tcp.net.flows(), [("tcp", "ESTABLISHED")]);
    }
}

#[test]
fn a_reset_outside_the_window_is_ignored() {
    let mut tcp = Tcp::open();
    for distance in [0u32.wrapping_sub(1), 3_000_000] {
        tcp.send_raw(
            &Header {
                seq: tcp.seq + distance,
                ..tcp.header(Flags::RST)
            },
            &[],
        );
    }
    tcp.hears_nothing();
    assert_eq!(
        (tcp.socket.closed, tcp.net.counter("tcp_unacceptable")),
        (None, 2)
    );
}

#[test]
fn challenges_are_ten_a_second_at_most() {
    let mut tcp = Tcp::open();
    for _ in 0..1000 {
        tcp.send_raw(
            &Header {
                seq: tcp.seq + 1,
                ..tcp.header(Flags::RST)
            },
            &[],
        );
        tcp.wait(Duration::from_millis(1));
    }
    assert_eq!(tcp.segments().len(), 10);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_answered_and_changes_nothing() {
    let mut tcp = Tcp::open();
    tcp.send_raw(
        &Header {
            ack: tcp.ack + 1,
            ..tcp.header(Flags::ACK)
        },
        b"spoofed",
    );
    assert_eq!(tcp.hears().header.ack, tcp.seq);
    assert!(tcp.socket.received.is_empty());
}

#[test]
fn a_keep_alive_is_answered() {
    for payload in [&b""[..], b"\0"] {
        let mut tcp = Tcp::open();
        tcp.send_raw(
            &Header {
                seq: Seq(tcp.seq.0 - 1),
                ..tcp.header(Flags::ACK)
            },
            payload,
        );
        let answer = tcp.hears().header;
        assert_eq!(
            (answer.flags, answer.seq, answer.ack),
            (Flags::ACK, tcp.ack, tcp.seq)
        );
        assert!(tcp.socket.received.is_empty());
    }
}

#[test]
fn an_idle_guest_is_probed_after_two_hours_and_given_up_when_silent() {
    let mut tcp = Tcp::open();
    tcp.wait(Duration::from_secs(2 * 3600 - 1));
    tcp.hears_nothing();
    let (probe, _) = tcp.wait_for_segment();
    assert_eq!((probe.header.flags, probe.header.seq + 1), (Flags::ACK, tcp.ack));
    tcp.send_ack();
    tcp.wait(Duration::from_secs(2 * 3600 - 1));
    tcp.hears_nothing();
    tcp.wait(Duration::from_secs(700));
    assert_eq!(tcp.socket.closed, Some(true));
    assert!(tcp.segments().last().unwrap().header.flags.rst);
}

#[test]
fn the_flow_that_makes_room_is_reset_on_both_sides() {
    let mut tcp = Tcp::open_with(MODERN, |config| config.limits.flows = 2);
    let other = |port| Header {
        src_port: port,
        ..syn(ISS, MODERN)
    };
    tcp.net.send_tcp(A, SERVER, &other(PORT + 1), &[]);
    tcp.run();
    tcp.hears_nothing();
    tcp.net.send_tcp(B, SERVER, &other(PORT), &[]);
    tcp.run();
    let reset = tcp.hears();
    assert_eq!(reset.dst, A.at(PORT));
    assert_eq!((reset.header.flags.rst, reset.header.seq), (true, tcp.ack));
    assert_eq!(tcp.socket.closed, Some(true));
    assert_eq!((tcp.net.flows().len(), tcp.net.counter("flow_evicted")), (2, 1));
}

#[test]
fn data_after_a_reset_is_reset_again() {
    let mut tcp = Tcp::open();
    tcp.host_fails(HostError::Reset);
    tcp.hears();
    tcp.send(b"did you hear?");
    let reset = tcp.hears().header;
    assert_eq!((reset.flags, reset.seq), (Flags::RST, tcp.ack));
}

#[test]
fn data_after_fin_is_not_passed_on() {
    let mut tcp = Tcp::open();
    tcp.send_fin();
    tcp.send(b"afterthought");
    assert!(tcp.socket.received.is_empty());
    assert!(
        tcp.segments()
            .iter()
            .all(|segment| segment.header.ack == Seq(ISS + 2))
    );
}

#[test]
fn a_reset_by_a_guest_for_which_all_was_over_loses_nothing_at_a_slow_host() {
    let mut tcp = Tcp::open();
    tcp.socket.room = 0;
    tcp.send(b"the last words");
    tcp.host_closes();
    tcp.ack += 1;
    tcp.send_fin();
    tcp.send_flags(Flags::RST);
    assert_eq!(tcp.socket.closed, None);
    tcp.host_takes(100);
    assert_eq!(
        (&tcp.socket.received[..], tcp.socket.closed),
        (&b"the last words"[..], Some(false))
    );
}

#[test]
fn a_storm_of_empty_segments_outside_the_window_is_not_answered_one_by_one() {
    let mut tcp = Tcp::open();
    for _ in 0..1000 {
        tcp.send_raw(
            &Header {
                seq: tcp.seq + 3_000_000,
                ..tcp.header(Flags::ACK)
            },
            &[],
        );
        tcp.send_raw(
            &Header {
                seq: tcp.seq + 3_000_000,
                ..syn(0, MODERN)
            },
            &[],
        );
        tcp.wait(Duration::from_millis(1));
    }
    let answers = tcp.segments().len();
    assert!((1..=10).contains(&answers), "{answers} answers");
}

#[test]
fn fin_waits_for_the_window_as_data_does() {
    let mut tcp = Tcp::open();
    tcp.window = 0;
    tcp.send_ack();
    tcp.host_closes();
    tcp.hears_nothing();
    let (probe, _) = tcp.wait_for_segment();
    assert_eq!((probe.header.flags, probe.header.seq + 1), (Flags::ACK, tcp.ack));
    tcp.window = 1;
    tcp.send_ack();
    let fin = tcp.hears().header;
    assert_eq!((fin.flags, fin.seq), (Flags::FIN_ACK, tcp.ack));
}

#[test]
fn a_blind_syn_ack_with_data_is_challenged_and_its_data_is_not_taken() {
    let mut tcp = Tcp::open();
    tcp.send_raw(&tcp.header(Flags::SYN_ACK), b"spoofed");
    assert_eq!(tcp.hears().header.ack, tcp.seq);
    assert!(tcp.socket.received.is_empty());
    assert_eq!(tcp.net.counter("tcp_challenge_ack"), 1);
}

#[test]
fn an_old_syn_does_not_take_the_place_of_time_wait() {
    let mut tcp = closed();
    tcp.net.send_tcp(A, SERVER, &syn(ISS, MODERN), &[]);
    assert_eq!(tcp.net.flows(), [("tcp", "TIME-WAIT")]);
}

#[test]
fn a_guest_that_reset_what_is_in_time_wait_is_connected_anew_whatever_its_sequence_number() {
    let mut tcp = closed();
    let blind = Header {
        seq: tcp.seq + 1,
        ..tcp.header(Flags::RST)
    };
    tcp.send_raw(&blind, &[]);
    assert_eq!(tcp.net.flows(), [("tcp", "TIME-WAIT")]);
    tcp.send_flags(Flags::RST);
    assert!(tcp.net.flows().is_empty());
    tcp.hears_nothing();
    tcp.net
        .send_tcp(A, SERVER, &syn(ISS.wrapping_sub(100_000), MODERN), &[]);
    assert!(matches!(tcp.net.action(), Action::TcpConnect { flow, .. } if flow != tcp.flow));
}
