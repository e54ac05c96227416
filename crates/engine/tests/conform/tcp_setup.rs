//! How connections of guests to the world begin.

use std::net::SocketAddr;
use std::time::Duration;

use atoll_engine::{Action, Event, HostError};
use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{ArpOperation, Icmpv4Message, IpProtocol, Seq};

use crate::bench::{A, ALIAS, B, GATEWAY, Guest, METADATA, Net, WORLD};
use crate::connection::{ISS, MODERN, PORT, SERVER, Tcp, stream, syn};

fn connecting() -> Tcp {
    Tcp::connecting(Net::new(), A, syn(ISS, MODERN))
}

/// A SYN from A to `to`, and what is asked of the host.
fn syn_to(net: &mut Net, to: SocketAddr) -> Vec<Action> {
    let header = Header {
        dst_port: to.port(),
        ..syn(ISS, MODERN)
    };
    net.send_tcp(A, to, &header, &[]);
    net.actions()
}

#[test]
fn syn_is_answered_when_the_host_connected_and_not_before() {
    let mut tcp = connecting();
    tcp.wait(Duration::from_secs(30));
    tcp.hears_nothing();
    tcp.net.event(Event::TcpConnected(tcp.flow));
    let syn_ack = tcp.finish_handshake();
    assert_eq!((syn_ack.src, syn_ack.dst), (SERVER, A.at(PORT)));
    assert_eq!(tcp.net.flows(), [("tcp", "ESTABLISHED")]);
}

#[test]
fn a_repeated_syn_is_one_connection() {
    let mut tcp = connecting();
    for _ in 0..3 {
        tcp.wait(Duration::from_secs(1));
        tcp.net.send_tcp(A, SERVER, &syn(ISS, MODERN), &[]);
        tcp.net.asks_nothing();
    }
    tcp.net.event(Event::TcpConnected(tcp.flow));
    let first = tcp.hears();
    tcp.net.send_tcp(A, SERVER, &syn(ISS, MODERN), &[]);
    assert_eq!(tcp.hears().header, first.header);
    tcp.net.asks_nothing();
    assert_eq!(tcp.net.counter("tcp_opened"), 1);
}

#[test]
fn a_refused_connection_is_reset_at_once() {
    let mut tcp = connecting();
    tcp.host_fails(HostError::Refused);
    let reset = tcp.hears();
    assert_eq!(reset.header.flags, Flags::RST_ACK);
    assert_eq!(reset.header.ack, Seq(ISS + 1));
    assert_eq!(reset.src, SERVER);
    assert_eq!(tcp.socket.closed, Some(false));
    assert!(tcp.net.flows().is_empty());
}

#[test]
fn an_unreachable_host_is_an_icmp_error_that_quotes_the_syn() {
    let codes = [
        (HostError::HostUnreachable, 1),
        (HostError::NetUnreachable, 0),
        (HostError::Prohibited, 13),
    ];
    for (error, code) in codes {
        let mut tcp = connecting();
        tcp.host_fails(error);
        let icmp = tcp.net.hears_icmp(A);
        assert_eq!(
            (icmp.src, icmp.message, icmp.code),
            (GATEWAY, Icmpv4Message::DstUnreachable, code)
        );
        let (src, dst, protocol, first) = icmp.quote();
        assert_eq!((src, dst, protocol), (A.ip, WORLD, IpProtocol::Tcp));
        let ports = [PORT.to_be_bytes(), SERVER.port().to_be_bytes()].concat();
        assert_eq!((&first[..4], &first[4..]), (&ports[..], &ISS.to_be_bytes()[..]));
        assert!(tcp.net.flows().is_empty());
    }
}

#[test]
fn a_host_that_does_not_answer_is_silence() {
    let mut tcp = connecting();
    tcp.host_fails(HostError::TimedOut);
    tcp.hears_nothing();
    assert!(tcp.net.flows().is_empty());
}

#[test]
fn syn_ack_is_repeated_with_back_off_and_given_up() {
    let mut tcp = connecting();
    tcp.net.event(Event::TcpConnected(tcp.flow));
    let first = tcp.hears();
    for seconds in [1, 2, 4, 8, 16] {
        let (again, took) = tcp.wait_for_segment();
        assert_eq!((again.header, took), (first.header, Duration::from_secs(seconds)));
    }
    tcp.wait(Duration::from_secs(200));
    assert_eq!(tcp.socket.closed, Some(true));
    assert!(tcp.net.flows().is_empty());
}

#[test]
fn data_with_the_handshakes_last_acknowledgement_is_not_lost() {
    let mut tcp = connecting();
    tcp.net.event(Event::TcpConnected(tcp.flow));
    tcp.ack = tcp.hears().header.seq + 1;
    tcp.send(b"GET /");
    assert_eq!(tcp.socket.received, b"GET /");
    assert_eq!(tcp.hears().header.ack, tcp.seq);
}

#[test]
fn data_and_fin_with_the_handshakes_last_acknowledgement_are_not_lost() {
    let mut tcp = connecting();
    tcp.net.event(Event::TcpConnected(tcp.flow));
    tcp.ack = tcp.hears().header.seq + 1;
    tcp.send_raw(&tcp.header(Flags::FIN_ACK), b"all of it");
    assert_eq!(tcp.socket.received, b"all of it");
    assert!(tcp.socket.shut_down);
    assert_eq!(tcp.hears().header.ack, tcp.seq + 10);
}

#[test]
fn data_that_overtakes_the_handshakes_last_acknowledgement_completes_it() {
    let mut tcp = connecting();
    tcp.net.event(Event::TcpConnected(tcp.flow));
    tcp.ack = tcp.hears().header.seq + 1;
    tcp.send_ahead(5, b"later");
    tcp.send(b"first");
    tcp.seq += 5;
    assert_eq!(tcp.socket.received, b"firstlater");
    assert_eq!(tcp.segments().last().unwrap().header.ack, tcp.seq);
}

#[test]
fn what_the_host_says_before_the_handshake_is_complete_waits_for_it() {
    let mut tcp = connecting();
    tcp.net.event(Event::TcpConnected(tcp.flow));
    tcp.host_sends(b"banner");
    assert_eq!(tcp.socket.peeks, []);
    tcp.finish_handshake();
    assert_eq!(tcp.hears().payload, b"banner");
}

#[test]
fn options_that_the_guest_gave_are_answered() {
    let mut tcp = connecting();
    tcp.net.event(Event::TcpConnected(tcp.flow));
    let options = tcp.finish_handshake().header.options;
    assert_eq!((options.mss, options.sack_permitted), (Some(1460), true));
    assert_eq!(
        options.window_scale,
        Some(5),
        "a window of 1 MiB needs a shift of five"
    );
}

#[test]
fn options_that_the_guest_did_not_give_are_not_used() {
    let mut tcp = Tcp::connecting(Net::new(), A, syn(ISS, Options::default()));
    tcp.net.event(Event::TcpConnected(tcp.flow));
    let options = tcp.finish_handshake().header.options;
    assert_eq!((options.window_scale, options.sack_permitted), (None, false));
    tcp.send_ahead(100, b"out of order");
    assert_eq!(tcp.hears().header.options, Options::default());
}

#[test]
fn a_guest_without_options_gets_536_bytes_a_segment_and_never_more_than_its_window() {
    let mut tcp = Tcp::connecting(Net::new(), A, syn(ISS, Options::default()));
    tcp.net.event(Event::TcpConnected(tcp.flow));
    tcp.window = 2000;
    tcp.finish_handshake();
    tcp.host_sends(&stream(0, 10_000));
    let segments = tcp.segments();
    assert!(segments.iter().all(|segment| segment.payload.len() <= 536));
    let sent: usize = segments.iter().map(|segment| segment.payload.len()).sum();
    assert_eq!(sent, 3 * 536, "a fourth segment would not fit a window of 2000");
}

#[test]
fn the_guests_mss_and_window_scale_are_honoured() {
    let options = Options {
        mss: Some(1000),
        window_scale: Some(2),
        ..MODERN
    };
    let mut tcp = Tcp::connecting(Net::new(), A, syn(ISS, options));
    tcp.net.event(Event::TcpConnected(tcp.flow));
    tcp.window = 1500;
    tcp.finish_handshake();
    tcp.host_sends(&stream(0, 100_000));
    let lengths: Vec<usize> = tcp
        .segments()
        .iter()
        .map(|segment| segment.payload.len())
        .collect();
    assert_eq!(lengths, [1000; 6]);
}

#[test]
fn an_mss_larger_than_the_link_or_absurdly_small_is_not_believed() {
    for (mss, expected) in [(9000, 1460), (0, 64)] {
        let mut tcp = Tcp::open_with(
            Options {
                mss: Some(mss),
                ..MODERN
            },
            |_| (),
        );
        tcp.host_sends(&stream(0, 5000));
        assert_eq!(tcp.segments()[0].payload.len(), expected);
    }
}

#[test]
fn a_larger_link_carries_larger_segments() {
    let mut tcp = Tcp::open_with(
        Options {
            mss: Some(8960),
            ..MODERN
        },
        |config| config.mtu = 9000,
    );
    tcp.host_sends(&stream(0, 20_000));
    assert_eq!(tcp.segments()[0].payload.len(), 8960);
}

/// The sequence number of SYN|ACK to a SYN from this guest and port.
fn iss_of(seed: [u8; 32], guest: Guest, port: u16) -> Seq {
    let mut net = Net::seeded(seed, |_| ());
    net.introduce(guest);
    let header = Header {
        src_port: port,
        ..syn(ISS, MODERN)
    };
    let mut tcp = Tcp::connecting(net, guest, header);
    tcp.net.event(Event::TcpConnected(tcp.flow));
    tcp.hears().header.seq
}

#[test]
fn the_initial_sequence_number_depends_on_who_talks_and_on_the_seed() {
    let first = iss_of([7; 32], A, 1);
    assert_eq!(iss_of([7; 32], A, 1), first);
    assert_ne!(iss_of([7; 32], A, 2), first);
    assert_ne!(iss_of([7; 32], B, 1), first);
    assert_ne!(iss_of([8; 32], A, 1), first);
}

#[test]
fn a_window_of_the_handshake_is_not_scaled() {
    let mut tcp = connecting();
    tcp.net.event(Event::TcpConnected(tcp.flow));
    assert_eq!(tcp.hears().header.window, u16::MAX);
}

#[test]
fn the_gateway_and_metadata_address_refuse_what_they_do_not_serve() {
    let mut net = Net::new();
    for (own, port) in [
        (GATEWAY, 22),
        (GATEWAY, 80),
        (METADATA, 80),
        (METADATA, 53),
        (ALIAS, 53),
    ] {
        assert_eq!(syn_to(&mut net, SocketAddr::new(own, port)), []);
        let reset = net.hears_tcp(A);
        assert_eq!(reset.header.flags, Flags::RST_ACK, "{own}:{port}");
        assert_eq!(
            (reset.header.ack, reset.src),
            (Seq(ISS + 1), SocketAddr::new(own, port))
        );
    }
    assert!(net.flows().is_empty());
}

#[test]
fn the_host_alias_is_the_hosts_loopback_when_allowed() {
    let mut net = Net::with(|config| config.host_loopback = true);
    let asked = syn_to(&mut net, SocketAddr::new(ALIAS, 8000));
    let Action::TcpConnect { flow, to, .. } = asked[0] else {
        panic!("{asked:?}")
    };
    assert_eq!(to, "127.0.0.1:8000".parse().unwrap());
    net.event(Event::TcpConnected(flow));
    assert_eq!(net.hears_tcp(A).src, SocketAddr::new(ALIAS, 8000));
}

#[test]
fn a_segment_of_no_connection_is_reset_as_the_rfc_says() {
    let mut net = Net::new();
    let header = |flags| Header {
        src_port: PORT,
        dst_port: 8000,
        seq: Seq(100),
        ack: Seq(200),
        flags,
        ..Header::default()
    };
    net.send_tcp(A, SERVER, &header(Flags::ACK), b"stale");
    let reset = net.hears_tcp(A).header;
    assert_eq!((reset.flags, reset.seq), (Flags::RST, Seq(200)));
    net.send_tcp(A, SERVER, &header(Flags::SYN_ACK), &[]);
    assert_eq!(net.hears_tcp(A).header.flags, Flags::RST);
    net.send_tcp(A, SERVER, &header(Flags::RST), &[]);
    net.send_tcp(A, SERVER, &header(Flags::RST_ACK), &[]);
    net.hears_nothing(A);
    net.asks_nothing();
}

#[test]
fn nonsense_flags_open_nothing_end_nothing_and_are_counted() {
    let all = |bits: [bool; 4]| Flags {
        syn: bits[0],
        fin: bits[1],
        rst: bits[2],
        ack: bits[3],
        psh: false,
    };
    let nonsense = [
        [true, true, false, false],
        [true, true, false, true],
        [true, false, true, false],
        [true, false, true, true],
        [false, true, false, false],
        [false, true, true, true],
        [false, false, false, false],
        [true, true, true, true],
    ];
    let mut net = Net::new();
    for bits in nonsense {
        net.send_tcp(
            A,
            SERVER,
            &Header {
                flags: all(bits),
                ..syn(ISS, MODERN)
            },
            &[],
        );
    }
    net.hears_nothing(A);
    net.asks_nothing();
    assert_eq!(net.counter("tcp_nonsense_flags"), 8);
    let mut tcp = Tcp::open();
    for bits in nonsense {
        tcp.send_flags(all(bits));
    }
    tcp.hears_nothing();
    assert_eq!((tcp.socket.closed, tcp.net.flows().len()), (None, 1));
}

#[test]
fn a_port_of_zero_is_no_connection() {
    let mut net = Net::new();
    net.send_tcp(
        A,
        SERVER,
        &Header {
            src_port: 0,
            ..syn(ISS, MODERN)
        },
        &[],
    );
    net.send_tcp(
        A,
        SERVER,
        &Header {
            dst_port: 0,
            ..syn(ISS, MODERN)
        },
        &[],
    );
    net.hears_nothing(A);
    net.asks_nothing();
    assert_eq!(net.counter("malformed"), 2);
}

#[test]
fn a_handshake_acknowledgement_of_something_else_is_reset_and_completes_nothing() {
    let mut tcp = connecting();
    tcp.net.event(Event::TcpConnected(tcp.flow));
    let iss = tcp.hears().header.seq;
    tcp.ack = iss;
    tcp.send_ack();
    let reset = tcp.hears().header;
    assert_eq!((reset.flags, reset.seq), (Flags::RST, iss));
    tcp.ack = iss + 5000;
    tcp.send_ack();
    let reset = tcp.hears().header;
    assert_eq!((reset.flags, reset.seq), (Flags::RST, iss + 5000));
    assert_eq!(tcp.net.flows(), [("tcp", "SYN-RECEIVED")]);
    tcp.ack = iss + 1;
    tcp.send(b"x");
    assert_eq!(tcp.socket.received, b"x");
}

#[test]
fn a_guest_that_takes_its_syn_back_closes_the_attempt() {
    let mut tcp = connecting();
    let wrong = Header {
        seq: Seq(ISS + 2),
        ..tcp.header(Flags::RST)
    };
    tcp.send_raw(&wrong, &[]);
    assert_eq!(tcp.socket.closed, None);
    tcp.send_flags(Flags::RST);
    assert_eq!(tcp.socket.closed, Some(false));
    assert!(tcp.net.flows().is_empty());
}

#[test]
fn a_guest_that_restarted_gets_a_new_connection_after_the_old_one_is_reset() {
    let mut tcp = Tcp::open();
    tcp.net.send_tcp(A, SERVER, &syn(ISS + 5_000_000, MODERN), &[]);
    tcp.run();
    let challenge = tcp.hears().header;
    assert_eq!((challenge.flags, challenge.ack), (Flags::ACK, tcp.seq));
    // A stack in SYN-SENT answers an acknowledgement of what it never sent with a reset.
    tcp.send_raw(
        &Header {
            seq: challenge.ack,
            ..tcp.header(Flags::RST)
        },
        &[],
    );
    assert_eq!(tcp.socket.closed, Some(true));
    assert!(matches!(
        syn_to(&mut tcp.net, SERVER)[..],
        [Action::TcpConnect { .. }]
    ));
}

#[test]
fn a_guest_that_arp_does_not_know_yet_is_answered_once_it_is() {
    let mut net = Net::of_strangers(|_| ());
    net.send_tcp(A, SERVER, &syn(ISS, MODERN), &[]);
    let Action::TcpConnect { flow, .. } = net.action() else {
        panic!("a connection was expected")
    };
    net.event(Event::TcpConnected(flow));
    net.send_arp(A, ArpOperation::Request, A.ip, GATEWAY);
    assert_eq!(net.heard(A).len(), 2, "SYN|ACK and the ARP reply");
}

#[test]
fn a_host_that_never_answers_at_all_is_silence_too_and_given_up() {
    let mut tcp = connecting();
    tcp.wait(Duration::from_secs(300));
    tcp.hears_nothing();
    assert!(tcp.socket.closed.is_some());
    assert!(tcp.net.flows().is_empty());
}

#[test]
fn data_with_syn_is_left_to_be_sent_again() {
    let mut net = Net::new();
    net.send_tcp(A, SERVER, &syn(ISS, MODERN), b"early");
    let Action::TcpConnect { flow, .. } = net.action() else {
        panic!("a connection was expected")
    };
    net.event(Event::TcpConnected(flow));
    assert_eq!(net.hears_tcp(A).header.ack, Seq(ISS + 1));
    assert_eq!(net.engine.tcp_outgoing(flow).count(), 0);
}

#[test]
fn a_host_that_breaks_before_the_handshake_is_complete_resets_the_guest() {
    let mut tcp = connecting();
    tcp.net.event(Event::TcpConnected(tcp.flow));
    let syn_ack = tcp.hears().header;
    tcp.host_fails(HostError::Reset);
    let reset = tcp.hears().header;
    assert_eq!(
        (reset.flags, reset.seq, reset.ack),
        (Flags::RST_ACK, syn_ack.seq + 1, tcp.seq)
    );
    assert!(tcp.net.flows().is_empty());
}
