//! Connections of a forward's clients to guests.

use std::net::SocketAddr;
use std::time::Duration;

use atoll_engine::{AcceptId, Action, Command, Event, FlowId, ForwardId, ForwardTarget, HostError};
use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{ArpOperation, Seq};

use crate::bench::{A, B, GATEWAY, Guest, Heard, Net, Segment};
use crate::connection::{MODERN, Socket, Tcp, stream};

const FORWARD: ForwardId = ForwardId(1);
const ACCEPT: AcceptId = AcceptId(1);

fn forwarding(mut net: Net, guest: ForwardTarget) -> Net {
    net.command(Command::AddForward {
        forward: FORWARD,
        guest,
        port: 22,
    });
    net
}

fn to_a() -> Net {
    forwarding(Net::new(), ForwardTarget::Address(A.ip))
}

fn accepted(net: &mut Net, accept: u64, port: u16) {
    net.event(Event::TcpAccepted {
        forward: FORWARD,
        accept: AcceptId(accept),
        peer: SocketAddr::from(([127, 0, 0, 1], port)),
    });
}

fn adopted(net: &mut Net) -> FlowId {
    match net.action() {
        Action::TcpAdopt { accept: ACCEPT, flow } => flow,
        other => panic!("an adoption was expected: {other:?}"),
    }
}

fn refusal(accept: AcceptId) -> Action {
    Action::TcpRefuse {
        accept,
        why: HostError::HostUnreachable,
    }
}

/// The guest's end of a connection whose SYN it heard.
fn connection(net: Net, guest: Guest, flow: FlowId, syn: &Segment) -> Tcp {
    Tcp {
        net,
        guest,
        remote: syn.src,
        port: syn.dst.port(),
        flow,
        seq: Seq(7000),
        ack: syn.header.seq + 1,
        window: 64_000,
        socket: Socket {
            room: usize::MAX,
            ..Socket::default()
        },
        other: Vec::new(),
    }
}

/// A client connected to A; SYN was heard.
fn syn_sent() -> Tcp {
    let mut net = to_a();
    accepted(&mut net, 1, 50_000);
    let flow = adopted(&mut net);
    let syn = net.hears_tcp(A);
    connection(net, A, flow, &syn)
}

fn syn_ack(tcp: &Tcp) -> Header {
    Header {
        options: MODERN,
        ..tcp.header(Flags::SYN_ACK)
    }
}

fn open() -> Tcp {
    let mut tcp = syn_sent();
    tcp.send_raw(&syn_ack(&tcp), &[]);
    tcp.seq += 1;
    let ack = tcp.hears().header;
    assert_eq!((ack.flags, ack.seq, ack.ack), (Flags::ACK, tcp.ack, tcp.seq));
    tcp
}

#[test]
fn a_client_is_a_syn_to_the_guest_from_the_gateway_at_the_clients_port() {
    let mut net = to_a();
    accepted(&mut net, 1, 50_000);
    adopted(&mut net);
    let syn = net.hears_tcp(A);
    assert_eq!((syn.src, syn.dst), (SocketAddr::new(GATEWAY, 50_000), A.at(22)));
    assert_eq!((syn.header.flags, syn.header.window), (Flags::SYN, u16::MAX));
    let options = syn.header.options;
    assert_eq!(
        (options.mss, options.window_scale, options.sack_permitted),
        (Some(1460), Some(5), true)
    );
}

#[test]
fn the_guests_syn_ack_opens_the_connection() {
    let mut tcp = open();
    tcp.send(b"SSH-2.0");
    assert_eq!(tcp.socket.received, b"SSH-2.0");
    tcp.hears();
    tcp.host_sends(b"hello");
    assert_eq!(tcp.hears().payload, b"hello");
    assert_eq!(tcp.net.flows(), [("tcp", "ESTABLISHED")]);
}

#[test]
fn what_the_client_sent_while_the_guest_was_asked_is_delivered() {
    let mut tcp = syn_sent();
    tcp.host_sends(b"early");
    tcp.hears_nothing();
    tcp.send_raw(&syn_ack(&tcp), &[]);
    let payloads: Vec<Vec<u8>> = tcp
        .segments()
        .into_iter()
        .map(|segment| segment.payload)
        .collect();
    assert_eq!(payloads.concat(), b"early");
}

#[test]
fn a_client_that_has_left_already_is_a_fin() {
    let mut tcp = syn_sent();
    tcp.socket.queue = b"bye".to_vec();
    tcp.host_closes();
    tcp.send_raw(&syn_ack(&tcp), &[]);
    tcp.seq += 1;
    assert_eq!(tcp.receive_all(), b"bye");
    assert_eq!(tcp.net.flows(), [("tcp", "FIN-WAIT")]);
}

#[test]
fn an_unanswered_syn_is_sent_again_with_back_off_and_the_client_reset_at_last() {
    let mut tcp = syn_sent();
    for seconds in [1, 2, 4, 8, 16, 32] {
        let (again, took) = tcp.wait_for_segment();
        assert_eq!(
            (again.header.flags, again.header.seq + 1, took),
            (Flags::SYN, tcp.ack, Duration::from_secs(seconds))
        );
    }
    tcp.wait(Duration::from_secs(200));
    assert_eq!(tcp.socket.closed, Some(true));
    assert!(tcp.net.flows().is_empty());
}

#[test]
fn a_syn_ack_that_was_not_heard_to_be_answered_is_answered_again() {
    let mut tcp = open();
    let again = Header {
        seq: Seq(7000),
        ..syn_ack(&tcp)
    };
    tcp.send_raw(&again, &[]);
    let ack = tcp.hears().header;
    assert_eq!((ack.flags, ack.ack), (Flags::ACK, tcp.seq));
    assert_eq!(tcp.net.flows(), [("tcp", "ESTABLISHED")]);
}

#[test]
fn a_wrong_acknowledgement_of_our_syn_is_reset_and_opens_nothing() {
    for flags in [Flags::SYN_ACK, Flags::ACK] {
        let mut tcp = syn_sent();
        let wrong = Header {
            ack: tcp.ack + 1,
            ..tcp.header(flags)
        };
        tcp.send_raw(&wrong, &[]);
        let reset = tcp.hears().header;
        assert_eq!((reset.flags, reset.seq), (Flags::RST, tcp.ack + 1));
        assert_eq!(tcp.net.flows(), [("tcp", "SYN-SENT")]);
    }
}

#[test]
fn a_guest_that_opens_at_the_same_time_gets_one_connection() {
    let mut tcp = syn_sent();
    tcp.send_raw(
        &Header {
            ack: Seq(0),
            flags: Flags::SYN,
            ..syn_ack(&tcp)
        },
        &[],
    );
    tcp.seq += 1;
    let answer = tcp.hears().header;
    assert_eq!(
        (answer.flags, answer.seq + 1, answer.ack),
        (Flags::SYN_ACK, tcp.ack, tcp.seq)
    );
    tcp.send(b"SSH-2.0");
    assert_eq!(tcp.socket.received, b"SSH-2.0");
    tcp.hears();
    tcp.host_sends(b"hello");
    assert_eq!(tcp.hears().payload, b"hello");
}

#[test]
fn a_guest_that_refuses_resets_the_client_at_once() {
    let mut tcp = syn_sent();
    tcp.send_raw(
        &Header {
            ack: tcp.ack + 9,
            ..tcp.header(Flags::RST_ACK)
        },
        &[],
    );
    tcp.send_flags(Flags::RST);
    assert_eq!(
        tcp.socket.closed, None,
        "a reset that acknowledges nothing of ours is blind"
    );
    tcp.send_flags(Flags::RST_ACK);
    assert_eq!(tcp.socket.closed, Some(true));
    assert!(tcp.net.flows().is_empty());
    tcp.hears_nothing();
}

#[test]
fn a_client_that_is_reset_before_the_guest_answered_takes_its_syn_back() {
    let mut tcp = syn_sent();
    tcp.host_fails(HostError::Reset);
    let reset = tcp.hears().header;
    assert_eq!((reset.flags, reset.seq), (Flags::RST, tcp.ack));
    assert_eq!(tcp.socket.closed, Some(false));
}

#[test]
fn a_guest_that_is_not_known_is_asked_for_by_arp_first() {
    let mut net = forwarding(Net::of_strangers(|_| ()), ForwardTarget::Address(A.ip));
    accepted(&mut net, 1, 50_000);
    match net.hears(A) {
        Heard::Arp {
            operation,
            sender,
            target,
        } => {
            assert_eq!(
                (operation, sender.1, target.1),
                (ArpOperation::Request, GATEWAY, A.ip)
            );
        }
        other => panic!("ARP was expected: {other:?}"),
    }
    net.send_arp(A, ArpOperation::Reply, A.ip, GATEWAY);
    assert_eq!(net.hears_tcp(A).header.flags, Flags::SYN);
}

#[test]
fn a_client_of_a_guest_that_is_not_there_is_reset_within_twenty_seconds() {
    let mut net = forwarding(Net::of_strangers(|_| ()), ForwardTarget::Address(A.ip));
    accepted(&mut net, 1, 50_000);
    let flow = adopted(&mut net);
    for _ in 0..14 {
        net.wait(Duration::from_secs(1));
        assert_eq!(net.flows(), [("tcp", "SYN-SENT")], "it may be starting");
    }
    net.wait(Duration::from_secs(6));
    assert!(net.flows().is_empty());
    let is_reset = |action: &Action| matches!(action, Action::TcpReset(it) if *it == flow);
    assert!(net.actions().iter().any(is_reset));
}

#[test]
fn a_guest_that_starts_late_is_found_by_a_later_syn() {
    let mut net = forwarding(Net::of_strangers(|_| ()), ForwardTarget::Address(A.ip));
    accepted(&mut net, 1, 50_000);
    net.wait(Duration::from_secs(10));
    net.heard(A);
    net.introduce(A);
    net.wait(Duration::from_secs(10));
    assert_eq!(net.segments(A)[0].header.flags, Flags::SYN);
}

#[test]
fn a_forward_to_a_name_follows_the_name_and_refuses_while_there_is_none() {
    let mut net = forwarding(Net::new(), ForwardTarget::Name("web".into()));
    accepted(&mut net, 1, 50_000);
    assert_eq!(net.action(), refusal(ACCEPT));
    for (accept, guest) in [(2, A), (3, B)] {
        net.command(Command::SetName {
            name: "web".into(),
            addresses: vec![guest.ip],
        });
        accepted(&mut net, accept, 50_000);
        assert_eq!(net.hears_tcp(guest).dst, guest.at(22));
    }
    net.actions();
    net.command(Command::SetName {
        name: "web".into(),
        addresses: vec!["198.51.100.1".parse().unwrap()],
    });
    accepted(&mut net, 4, 50_000);
    assert_eq!(net.action(), refusal(AcceptId(4)));
}

#[test]
fn a_removed_forward_refuses_and_keeps_what_it_has() {
    let mut tcp = open();
    tcp.net.command(Command::RemoveForward(FORWARD));
    tcp.host_sends(b"still here");
    assert_eq!(tcp.hears().payload, b"still here");
    accepted(&mut tcp.net, 2, 50_001);
    assert_eq!(tcp.net.action(), refusal(AcceptId(2)));
}

#[test]
fn two_clients_with_one_port_are_two_connections() {
    let mut net = to_a();
    accepted(&mut net, 1, 50_000);
    accepted(&mut net, 2, 50_000);
    let ports: Vec<u16> = net.segments(A).iter().map(|segment| segment.src.port()).collect();
    assert_eq!((ports.len(), ports[0]), (2, 50_000));
    assert_ne!(ports[1], 50_000);
}

#[test]
fn a_guest_without_options_is_forwarded_to_in_small_segments_and_its_window() {
    let mut tcp = syn_sent();
    tcp.window = 2000;
    let plain = Header {
        options: Options::default(),
        ..syn_ack(&tcp)
    };
    tcp.send_raw(&plain, &[]);
    tcp.seq += 1;
    tcp.hears();
    tcp.host_sends(&stream(0, 10_000));
    let segments = tcp.segments();
    let sent: usize = segments.iter().map(|segment| segment.payload.len()).sum();
    assert!(segments.iter().all(|segment| segment.payload.len() <= 536));
    assert!((1072..=2000).contains(&sent), "{sent}");
    assert!(segments.iter().all(|segment| segment.header.window == u16::MAX));
}

#[test]
fn a_forward_leads_to_guests_only() {
    let mut net = Net::new();
    for address in [
        "10.77.0.1",
        "10.77.0.254",
        "10.77.0.0",
        "10.77.0.255",
        "198.51.100.1",
        "127.0.0.1",
    ] {
        let command = Command::AddForward {
            forward: FORWARD,
            guest: ForwardTarget::Address(address.parse().unwrap()),
            port: 22,
        };
        assert!(net.engine.apply(net.now, command).is_err(), "{address}");
    }
}

#[test]
fn a_client_whose_flow_makes_room_is_reset_and_so_is_its_guest() {
    let mut net = forwarding(
        Net::with(|config| config.limits.flows = 1),
        ForwardTarget::Address(A.ip),
    );
    accepted(&mut net, 1, 50_000);
    let flow = adopted(&mut net);
    let syn = net.hears_tcp(A);
    accepted(&mut net, 2, 50_001);
    let asked = net.actions();
    assert!(asked.contains(&Action::TcpReset(flow)), "{asked:?}");
    let segments = net.segments(A);
    assert_eq!((segments[0].header.flags, segments[0].src), (Flags::RST, syn.src));
    assert_eq!(segments[0].header.seq, syn.header.seq + 1);
    assert_eq!(
        (segments[1].header.flags, segments[1].src.port()),
        (Flags::SYN, 50_001)
    );
}
