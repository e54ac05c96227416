//! Real sockets on the loopback, for both ways in which a kernel takes datagrams.

use std::net::{SocketAddrV4, UdpSocket as Peer};

use atoll_engine::{Action, Config, Engine, Instant, PortConfig, PortId, Subnet};
use atoll_wire::packet::{self, Ipv4Header};
use atoll_wire::{EthernetProtocol, FrameBuf, IpProtocol, Mac, Offload};
use bytes::Bytes;

use super::*;

/// A name as the engine gives it to the flow of a guest's first datagram.
fn flow() -> FlowId {
    let config = Config::new(Subnet {
        address: Ipv4Addr::new(10, 77, 0, 0),
        prefix_len: 24,
    });
    let (guest, world) = (Ipv4Addr::new(10, 77, 0, 2), Ipv4Addr::new(198, 51, 100, 7));
    let mut engine = Engine::new(&config, [7; 32]);
    let (port, port_config) = (PortId(1), PortConfig::default());
    engine.handle_event(Instant::ZERO, Event::PortAttached { port, port_config });
    let mut buf = FrameBuf::copy_from(b"x");
    packet::push_udp(&mut buf, SocketAddrV4::new(guest, 9), SocketAddrV4::new(world, 9));
    let header = Ipv4Header {
        src: guest,
        dst: world,
        protocol: IpProtocol::Udp,
        ttl: 64,
        ident: 0,
        dont_fragment: true,
    };
    packet::push_ipv4(&mut buf, &header);
    packet::push_ethernet(&mut buf, Mac([2; 6]), config.gateway_mac, EthernetProtocol::Ipv4);
    engine.handle_frame(Instant::ZERO, port, buf.freeze(Offload::default()));
    match engine.poll_action() {
        Some(Action::UdpOpen { flow, .. }) => flow,
        other => panic!("a socket was expected: {other:?}"),
    }
}

/// Those that the host's loopback has.
fn families() -> impl Iterator<Item = Family> {
    let has_v6 = Peer::bind((loopback(Family::V6), 0)).is_ok();
    [Some(Family::V4), has_v6.then_some(Family::V6)]
        .into_iter()
        .flatten()
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

fn socket() -> UdpSocket {
    socket_of(Family::V4)
}

fn socket_of(family: Family) -> UdpSocket {
    UdpSocket::open(flow(), family).unwrap()
}

fn peer() -> (Peer, SocketAddr) {
    peer_of(Family::V4)
}

fn peer_of(family: Family) -> (Peer, SocketAddr) {
    let peer = Peer::bind((loopback(family), 0)).unwrap();
    let address = peer.local_addr().unwrap();
    (peer, address)
}

/// Where the socket is reached.
fn address(socket: &UdpSocket) -> SocketAddr {
    let any: SocketAddr = rustix::net::getsockname(socket).unwrap().try_into().unwrap();
    (loopback(Family::of(any.ip())), any.port()).into()
}

fn to(to: SocketAddr, payload: impl Into<Bytes>) -> Datagram<()> {
    Datagram {
        socket: (),
        to,
        payload: payload.into(),
        segment: None,
    }
}

fn send(socket: &mut UdpSocket, datagrams: &[Datagram<()>]) -> Vec<Event> {
    let mut events = Vec::new();
    socket.send(datagrams, &mut events);
    events
}

/// All that lies in the socket, one by one, and what else was told.
fn received(socket: &mut UdpSocket) -> (Vec<(SocketAddr, Vec<u8>)>, Vec<Event>) {
    let (mut inbox, mut events) = (Inbox::new(), Vec::new());
    while socket.receive(&mut inbox, &mut events) {}
    let (mut datagrams, mut others) = (Vec::new(), Vec::new());
    for event in events {
        let Event::UdpReceived {
            from, datagrams: run, ..
        } = event
        else {
            others.push(event);
            continue;
        };
        for Datagrams { payload, segment } in run {
            let payload = payload.payload();
            match segment {
                Some(size) => datagrams.extend(payload.chunks(size.into()).map(|part| (from, part.to_vec()))),
                None => datagrams.push((from, payload.to_vec())),
            }
        }
    }
    (datagrams, others)
}

/// Payloads that make runs, end runs, and make none.
fn payloads() -> Vec<Vec<u8>> {
    let sizes = [
        100, 100, 100, 40, 100, 0, 1400, 1400, 1400, 1401, 60_000, 60_000, 1,
    ];
    (0_u8..).zip(sizes).map(|(byte, size)| vec![byte; size]).collect()
}

fn arrives_in_order(family: Family, change: impl FnOnce(&mut UdpSocket)) -> UdpSocket {
    let (mut sender, (peer, there)) = (socket_of(family), peer_of(family));
    change(&mut sender);
    let datagrams: Vec<_> = payloads().into_iter().map(|payload| to(there, payload)).collect();
    assert!(send(&mut sender, &datagrams).is_empty());
    let mut buf = vec![0; 65_536];
    for payload in payloads() {
        let len = peer.recv(&mut buf).unwrap();
        assert!(buf[..len] == payload, "{len} bytes in place of {}", payload.len());
    }
    sender
}

#[test]
fn a_batch_arrives_in_order() {
    for family in families() {
        arrives_in_order(family, |_| ());
    }
}

#[test]
fn a_batch_arrives_in_order_without_the_kernels_help() {
    for family in families() {
        arrives_in_order(family, |sender| sender.cuts = false);
    }
}

#[test]
fn a_kernel_that_refuses_to_cut_is_not_asked_again_and_nothing_is_lost() {
    let sender = arrives_in_order(Family::V4, |sender| sys::forbid_batches(&sender.fd));
    assert!(!sender.cuts);
}

#[test]
fn what_a_guest_sent_as_one_arrives_as_several() {
    for cuts in [true, false] {
        let (mut sender, (peer, there)) = (socket(), peer());
        sender.cuts &= cuts;
        let datagram = Datagram {
            segment: Some(1000),
            ..to(there, vec![7; 2500])
        };
        assert!(send(&mut sender, &[datagram]).is_empty());
        let mut buf = [0; 3000];
        let lens: Vec<usize> = (0..3).map(|_| peer.recv(&mut buf).unwrap()).collect();
        assert_eq!(lens, [1000, 1000, 500], "cut by the kernel: {cuts}");
    }
}

#[test]
fn a_refusal_is_told_of_its_destination_and_costs_no_other_datagram() {
    let ways = families().flat_map(|family| [(family, true), (family, false)]);
    for (family, cuts) in ways {
        let (mut sender, (open, there)) = (socket_of(family), peer_of(family));
        sender.cuts &= cuts;
        let (closed, nowhere) = peer_of(family);
        drop(closed);
        assert!(send(&mut sender, &[to(nowhere, "x")]).is_empty());
        let events = send(&mut sender, &[to(there, "first"), to(there, "other")]);
        assert!(
            matches!(events[..], [Event::UdpRefused { to, error: HostError::Refused, .. }] if to == nowhere),
            "{events:?}"
        );
        let mut buf = [0; 10];
        for expected in [b"first", b"other"] {
            let len = open.recv(&mut buf).unwrap();
            assert_eq!(&buf[..len], expected);
        }
        assert_eq!(sender.cuts, cuts, "a refusal says nothing of the kernel");
    }
}

#[test]
fn a_datagram_that_no_path_takes_is_told() {
    let (mut sender, (_peer, there)) = (socket(), peer());
    let events = send(&mut sender, &[to(there, vec![0; 65_508])]);
    let is_told = |event: &Event| matches!(event, Event::UdpRefused { to, error: HostError::TooBig { .. }, .. } if *to == there);
    assert!(events.iter().any(is_told), "{events:?}");
}

#[test]
fn datagrams_of_any_size_are_received_whole_and_in_order() {
    for family in families() {
        let (mut receiver, (peer, from)) = (socket_of(family), peer_of(family));
        let here = address(&receiver);
        for payload in payloads() {
            peer.send_to(&payload, here).unwrap();
        }
        let sent: Vec<_> = payloads().into_iter().map(|payload| (from, payload)).collect();
        assert!(received(&mut receiver).0 == sent);
    }
}

#[test]
fn a_batch_between_two_of_ours_is_the_same_at_the_other_end() {
    let (mut sender, mut receiver) = (socket(), socket());
    let here = address(&receiver);
    let datagrams: Vec<_> = payloads().into_iter().map(|payload| to(here, payload)).collect();
    assert!(send(&mut sender, &datagrams).is_empty());
    let got: Vec<_> = received(&mut receiver)
        .0
        .into_iter()
        .map(|(_, payload)| payload)
        .collect();
    assert!(got == payloads());
}

#[test]
fn one_event_tells_what_one_peer_sent_in_a_row() {
    let mut receiver = socket();
    let ((one, _), (other, _)) = (peer(), peer());
    let here = address(&receiver);
    for peer in [&one, &one, &other, &one] {
        peer.send_to(b"x", here).unwrap();
    }
    let mut events = Vec::new();
    receiver.receive(&mut Inbox::new(), &mut events);
    let runs: Vec<usize> = events
        .iter()
        .map(|event| match event {
            Event::UdpReceived { datagrams, .. } => datagrams.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(runs, [2, 1, 1]);
}

#[test]
fn one_call_takes_a_bounded_number() {
    let (mut receiver, (peer, _)) = (socket(), peer());
    let here = address(&receiver);
    for _ in 0..100 {
        peer.send_to(b"x", here).unwrap();
    }
    receiver.expected.count = usize::MAX;
    let mut events = Vec::new();
    assert!(receiver.receive(&mut Inbox::new(), &mut events), "there is more");
    let Event::UdpReceived { datagrams, .. } = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(datagrams.len(), MAX_MESSAGES);
}

#[test]
fn an_error_in_the_queue_does_not_hide_what_lies_behind_it() {
    let (mut socket, (peer, _)) = (socket(), peer());
    let (closed, nowhere) = self::peer();
    drop(closed);
    send(&mut socket, &[to(nowhere, "x")]);
    peer.send_to(b"hello", address(&socket)).unwrap();
    let (datagrams, events) = received(&mut socket);
    assert_eq!(datagrams.len(), 1);
    assert!(matches!(events[..], [Event::UdpRefused { .. }]), "{events:?}");
}

/// A forward's socket at every address of the family.
fn forward_at_any(family: Family) -> UdpSocket {
    let any: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let fd = sys::open_socket(family, SocketType::DGRAM, None).unwrap();
    bind(&fd, &SocketAddr::new(any, 0)).unwrap();
    UdpSocket::adopt(fd, Owner::Forward(ForwardId(1))).answering_as_asked(family)
}

fn clients(events: &[Event]) -> Vec<SocketAddr> {
    let peers = events.iter().filter_map(|event| match event {
        Event::UdpForwarded { from, .. } => Some(*from),
        _ => None,
    });
    peers.collect()
}

#[test]
fn a_client_is_answered_from_the_address_that_it_spoke_to() {
    // All of 127.0.0.0/8 is the host's; by itself it would answer from the client's own address.
    let spoken_to = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    let mut forward = forward_at_any(Family::V4);
    if forward.answers.is_none() {
        return;
    }
    let port = address(&forward).port();
    for local in spoken_to {
        let (peer, _) = peer();
        peer.set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        peer.connect((local, port)).unwrap();
        for _ in 0..3 {
            peer.send(b"question").unwrap();
        }
        let (mut inbox, mut events) = (Inbox::new(), Vec::new());
        while forward.receive(&mut inbox, &mut events) {}
        let client = clients(&events)[0];
        // One that is sent alone, and a run that the kernel cuts: a connected peer takes neither from another address.
        assert!(send(&mut forward, &[to(client, "answer")]).is_empty());
        let run = [to(client, vec![1; 900]), to(client, vec![2; 900])];
        assert!(send(&mut forward, &run).is_empty());
        let mut buf = [0; 2048];
        let lens: Vec<_> = (0..3).map(|_| peer.recv(&mut buf).unwrap()).collect();
        assert_eq!(lens, [6, 900, 900]);
    }
}

#[test]
fn an_address_that_the_host_has_lost_costs_no_answer() {
    for family in families() {
        let mut forward = forward_at_any(family);
        let (peer, client) = peer_of(family);
        peer.set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        let gone = match family {
            Family::V4 => IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        };
        let local = sys::Local {
            address: gone,
            link: 0,
        };
        let Some(answers) = &mut forward.answers else {
            return;
        };
        answers.remember(client, local);
        assert!(send(&mut forward, &[to(client, "answer")]).is_empty());
        assert_eq!(peer.recv(&mut [0; 16]).unwrap(), 6);
        assert!(
            forward.cuts == socket_of(family).cuts,
            "the kernel cuts as before"
        );
    }
}
