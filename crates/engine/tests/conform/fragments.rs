//! Fragments of both families, towards the host and towards a guest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{Action, Event, Prefix};
use atoll_wire::ipv6::{IPV6_LEN, Ipv6Header};
use atoll_wire::packet::{self, ETHERNET_LEN, IPV4_LEN, Ipv4Header};
use atoll_wire::{EthernetProtocol, FrameBuf, Icmpv4Message, IpProtocol, Ipv4Packet, Offload, fragment, ndp};

use crate::bench::{A, GATEWAY, GATEWAY_MAC, Net, WORLD, echo, udp, v4};

const PREFIX: Prefix = Prefix {
    address: Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 0),
};
const A6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 2);
const WORLD6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
/// How long a packet may take to become whole.
const PATIENCE: Duration = Duration::from_secs(30);

fn net() -> Net {
    let mut net = Net::with(|config| config.ipv6 = Some(PREFIX));
    // The gateway learns where the guest is.
    net.send_frame(
        A,
        &frames(IpProtocol::Udp, both(A6, WORLD6), &datagram6_from(1, 9, b""))[0],
    );
    net.actions();
    net.heard(A);
    net
}

fn both(src: impl Into<IpAddr>, dst: impl Into<IpAddr>) -> (IpAddr, IpAddr) {
    (src.into(), dst.into())
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

/// Guest A's datagram, header included.
fn datagram(port: u16, payload: &[u8]) -> FrameBuf {
    udp(A.at(5000), SocketAddr::new(WORLD, port), payload)
}

fn datagram6(port: u16, payload: &[u8]) -> FrameBuf {
    datagram6_from(5000, port, payload)
}

fn datagram6_from(from: u16, port: u16, payload: &[u8]) -> FrameBuf {
    let mut buf = FrameBuf::copy_from(payload);
    let ends = (
        SocketAddr::new(A6.into(), from),
        SocketAddr::new(WORLD6.into(), port),
    );
    packet::push_udp(&mut buf, ends.0, ends.1);
    buf
}

/// The frames in which a guest with a link of 1280 bytes sends a packet.
pub(crate) fn frames(
    protocol: IpProtocol,
    (src, dst): (IpAddr, IpAddr),
    transport: &FrameBuf,
) -> Vec<Vec<u8>> {
    let (kind, packets): (_, Vec<FrameBuf>) = match (src, dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = Ipv6Header {
                src,
                dst,
                protocol,
                hop_limit: 64,
            };
            let parts = fragment::ipv6(transport.payload(), &header, 7, 1280);
            (EthernetProtocol::Ipv6, parts.collect())
        }
        _ => {
            let header = Ipv4Header {
                src: v4(src),
                dst: v4(dst),
                protocol,
                ttl: 64,
                ident: 7,
                dont_fragment: false,
            };
            let parts = fragment::ipv4(transport.payload(), &header, 1280);
            (EthernetProtocol::Ipv4, parts.collect())
        }
    };
    let frame = |mut packet| {
        packet::push_ethernet(&mut packet, A.mac, GATEWAY_MAC, kind);
        packet.freeze(Offload::default()).bytes.to_vec()
    };
    packets.into_iter().map(frame).collect()
}

fn sent(net: &mut Net) -> Vec<(SocketAddr, Vec<u8>)> {
    let actions = net.actions().into_iter();
    let sends = actions.filter_map(|action| match action {
        Action::UdpSend { to, payload, .. } => Some((to, payload.to_vec())),
        _ => None,
    });
    sends.collect()
}

#[test]
fn a_datagram_in_fragments_reaches_the_host_whole_in_whatever_order_they_come() {
    for len in [2000, 9000, 65_507] {
        let payload = data(len);
        for turned in [false, true] {
            let mut net = net();
            let mut parts = frames(IpProtocol::Udp, both(A.ip, WORLD), &datagram(9, &payload));
            let mut parts6 = frames(IpProtocol::Udp, both(A6, WORLD6), &datagram6(9, &payload));
            assert!(parts.len() > 1 && parts6.len() > 1);
            if turned {
                parts.reverse();
                parts6.reverse();
            }
            // One after the other, and mixed.
            for (part, part6) in parts.iter().zip(&parts6) {
                net.send_frame(A, part);
                net.send_frame(A, part6);
            }
            for part in parts
                .iter()
                .skip(parts6.len())
                .chain(parts6.iter().skip(parts.len()))
            {
                net.send_frame(A, part);
            }
            let mut expected = vec![
                (SocketAddr::new(WORLD, 9), payload.clone()),
                (SocketAddr::new(WORLD6.into(), 9), payload.clone()),
            ];
            let mut came = sent(&mut net);
            came.sort();
            expected.sort();
            assert!(came == expected, "{len} {turned}: {} came", came.len());
            assert_eq!(net.counter("reassembled"), 2);
            net.wait(PATIENCE);
            assert_eq!(net.counter("reassembly_timeout"), 0);
        }
    }
}

#[test]
fn a_broken_checksum_is_noticed_when_the_datagram_is_whole() {
    let mut net = net();
    let mut parts = frames(IpProtocol::Udp, both(A.ip, WORLD), &datagram(9, &data(3000)));
    *parts[1].last_mut().unwrap() ^= 1;
    parts.iter().for_each(|part| net.send_frame(A, part));
    assert_eq!(sent(&mut net), []);
    assert_eq!((net.counter("reassembled"), net.counter("bad_checksum")), (1, 1));
}

#[test]
fn a_long_datagram_of_the_hosts_reaches_the_guest_in_fragments_that_fit() {
    let payload = data(10_000);
    for (open, from) in [
        (
            frames(IpProtocol::Udp, both(A.ip, WORLD), &datagram(9, b"x")),
            SocketAddr::new(WORLD, 9),
        ),
        (
            frames(IpProtocol::Udp, both(A6, WORLD6), &datagram6(9, b"x")),
            SocketAddr::new(WORLD6.into(), 9),
        ),
    ] {
        let mut net = net();
        net.send_frame(A, &open[0]);
        let Some(Action::UdpOpen { flow, .. }) = net.next_action() else {
            panic!("a flow was to be opened")
        };
        net.stop(A);
        let datagrams = vec![FrameBuf::copy_from(&payload).into()];
        net.event(Event::UdpReceived {
            flow,
            from,
            datagrams,
        });
        let egress: Vec<Vec<u8>> = net
            .engine
            .egress(A.port)
            .iter()
            .map(|frame| frame.bytes.to_vec())
            .collect();
        assert_eq!(egress.len(), 7, "{from}");
        let header = ETHERNET_LEN + if from.is_ipv4() { IPV4_LEN } else { IPV6_LEN + 8 };
        assert!(egress.iter().all(|frame| frame.len() <= ETHERNET_LEN + 1500));
        let came: Vec<u8> = egress.iter().flat_map(|frame| frame[header..].to_vec()).collect();
        assert!(came[8..] == payload, "{from}");
    }
}

#[test]
fn the_longest_datagram_of_either_family_reaches_the_guest_and_a_longer_one_is_counted() {
    for (src, dst, open, longest) in [
        (A.ip, WORLD, datagram(9, b"x"), 65_507),
        (A6.into(), WORLD6.into(), datagram6(9, b"x"), 65_527),
    ] {
        let mut net = net();
        net.send_frame(A, &frames(IpProtocol::Udp, (src, dst), &open)[0]);
        let Some(Action::UdpOpen { flow, .. }) = net.next_action() else {
            panic!("a flow was to be opened")
        };
        net.stop(A);
        let mut come = |len| {
            net.event(Event::UdpReceived {
                flow,
                from: SocketAddr::new(dst, 9),
                datagrams: vec![FrameBuf::copy_from(&data(len)).into()],
            });
            let header = ETHERNET_LEN + if src.is_ipv4() { IPV4_LEN } else { IPV6_LEN + 8 };
            let parts = net.engine.egress(A.port).iter();
            parts.map(|frame| frame.bytes.len() - header).sum::<usize>()
        };
        assert_eq!(come(longest), 8 + longest, "{dst}");
        assert_eq!(come(longest + 1), 8 + longest, "{dst}: nothing is added");
        assert_eq!(net.counter("host_datagram_dropped"), 1);
    }
}

#[test]
fn a_long_echo_request_to_the_gateway_is_answered_in_full() {
    let mut net = net();
    let request = echo(1, 2, &data(5000));
    net.stop(A);
    for part in frames(IpProtocol::Icmp, both(A.ip, GATEWAY), &request) {
        net.send_frame(A, &part);
    }
    let parts = net.engine.egress(A.port).iter();
    let reply: Vec<u8> = parts
        .flat_map(|frame| frame.bytes[ETHERNET_LEN + IPV4_LEN..].to_vec())
        .collect();
    assert_eq!(reply[0], u8::from(Icmpv4Message::EchoReply));
    assert!(reply[8..] == data(5000));
}

#[test]
fn who_sent_a_first_fragment_only_is_told_after_a_while_and_nobody_else_is() {
    let mut net = Net::new();
    let parts = frames(IpProtocol::Udp, both(A.ip, WORLD), &datagram(9, &data(3000)));
    net.send_frame(A, &parts[0]);
    net.wait(PATIENCE);
    let told = net.hears_icmp(A);
    assert_eq!(
        (told.src, told.message, told.code),
        (WORLD, Icmpv4Message::TimeExceeded, 1)
    );
    assert_eq!(Ipv4Packet::new_unchecked(&told.data[..]).src_addr(), v4(A.ip));
    net.send_frame(A, &parts[1]);
    net.wait(PATIENCE);
    net.hears_nothing(A);
    assert_eq!(net.counter("reassembly_timeout"), 2);
    assert_eq!(sent(&mut net), []);
}

#[test]
fn fragments_of_a_guest_that_left_are_gone() {
    let mut net = net();
    let parts = frames(IpProtocol::Udp, both(A.ip, WORLD), &datagram(9, &data(2000)));
    net.send_frame(A, &parts[0]);
    net.event(Event::PortDetached(A.port));
    net.wait(PATIENCE);
    assert_eq!(net.counter("reassembly_timeout"), 0);
}

#[test]
fn fragments_in_anothers_name_are_not_kept() {
    let mut net = net();
    for src in [WORLD, Ipv4Addr::UNSPECIFIED.into()] {
        for part in frames(IpProtocol::Udp, both(src, GATEWAY), &datagram(9, &data(2000))) {
            net.send_frame(A, &part);
        }
    }
    assert_eq!(net.counter("bad_source_address"), 4);
    net.wait(PATIENCE);
    assert_eq!(net.counter("reassembly_timeout"), 0);
}

#[test]
fn neighbor_discovery_in_fragments_is_not_heard() {
    let mut net = net();
    let question = ndp::neighbor_solicitation((A6, A.mac), PREFIX.gateway());
    let ask = |net: &mut Net, fragment_header: bool| {
        let header = Ipv6Header {
            src: A6,
            dst: ndp::solicited_node(PREFIX.gateway()),
            protocol: if fragment_header {
                IpProtocol::Ipv6Frag
            } else {
                IpProtocol::Icmpv6
            },
            hop_limit: 255,
        };
        let mut buf = FrameBuf::copy_from(question.payload());
        if fragment_header {
            buf.push_header(8)[0] = IpProtocol::Icmpv6.into();
        }
        atoll_wire::ipv6::push_ipv6(&mut buf, &header);
        packet::push_ethernet(&mut buf, A.mac, GATEWAY_MAC, EthernetProtocol::Ipv6);
        net.send_frame(A, &buf.freeze(Offload::default()).bytes);
        net.heard(A).len()
    };
    assert_eq!(ask(&mut net, true), 0);
    assert_eq!(ask(&mut net, false), 1);
}
