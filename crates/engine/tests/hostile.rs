//! A guest that sends anything, and a host that does anything: the engine neither panics nor grows, and stays deterministic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{
    AcceptId, Action, Command, Config, Engine, Event, FlowId, ForwardId, ForwardTarget, HostError, Instant,
    Limits, PortConfig, PortId, Prefix, Subnet,
};
use atoll_wire::ipv6::{self, Ipv6Header};
use atoll_wire::packet::{self, Ipv4Header};
use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{EthernetProtocol, Frame, FrameBuf, Icmpv4Message, IpProtocol, Mac, Offload, Seq, ndp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const GATEWAY_MAC: Mac = Mac([0x52, 0x55, 0x0a, 0x4d, 0x00, 0x01]);

/// One thing that happens to the engine.
#[derive(Clone, Debug)]
enum Step {
    Frame(u32, Vec<u8>),
    Wait(u64),
    /// Something of the host's about one of the flows that were opened.
    Host(u8, u16),
    Accept(u16),
    Detach(u32),
    Drain(u32, usize),
}

fn address() -> BoxedStrategy<Ipv4Addr> {
    let known = [
        "10.77.0.1",
        "10.77.0.254",
        "10.77.0.2",
        "10.77.0.3",
        "10.77.0.255",
        "169.254.169.254",
        "127.0.0.1",
    ];
    let others = ["198.51.100.7", "224.0.0.251", "255.255.255.255", "0.0.0.0"];
    let all: Vec<Ipv4Addr> = known
        .into_iter()
        .chain(others)
        .map(|text| text.parse().expect("it is one"))
        .collect();
    prop_oneof![9 => select(all), 1 => any::<u32>().prop_map(Ipv4Addr::from_bits)].boxed()
}

fn address6() -> BoxedStrategy<Ipv6Addr> {
    let known = [
        "fd77:77::1",
        "fd77:77::fe",
        "fd77:77::2",
        "fd77:77::3",
        "fd77:77::",
        "fe80::1",
        "fe80::2",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
    ];
    let others = [
        "2001:db8::7",
        "ff02::1",
        "ff02::2",
        "ff02::1:2",
        "ff02::1:ff00:1",
        "ff02::1:ff00:2",
    ];
    let all: Vec<Ipv6Addr> = known
        .into_iter()
        .chain(others)
        .map(|text| text.parse().expect("it is one"))
        .collect();
    prop_oneof![9 => select(all), 1 => any::<u128>().prop_map(Ipv6Addr::from_bits)].boxed()
}

fn port() -> BoxedStrategy<u16> {
    prop_oneof![select(vec![22u16, 53, 67, 68, 80, 547, 4000, 4001]), any::<u16>()].boxed()
}

fn mac() -> BoxedStrategy<Mac> {
    let known = vec![
        GATEWAY_MAC,
        Mac::BROADCAST,
        Mac([2, 0, 0, 0, 0, 1]),
        Mac([2, 0, 0, 0, 0, 2]),
    ];
    prop_oneof![6 => select(known), 1 => any::<[u8; 6]>().prop_map(Mac)].boxed()
}

/// A transport segment and its protocol number.
fn transport(src: IpAddr, dst: IpAddr) -> BoxedStrategy<(IpProtocol, FrameBuf)> {
    let payload = vec(any::<u8>(), 0..200);
    let tcp = (
        port(),
        port(),
        any::<[bool; 5]>(),
        0u32..40,
        0u32..40,
        any::<u16>(),
        payload.clone(),
    );
    let tcp = tcp.prop_map(
        move |(src_port, dst_port, [syn, ack, fin, rst, psh], seq, acked, window, payload)| {
            let flags = Flags {
                syn,
                ack,
                fin,
                rst,
                psh,
            };
            let options = Options {
                mss: Some(window),
                window_scale: Some(3),
                sack_permitted: psh,
                ..Options::default()
            };
            let header = Header {
                src_port,
                dst_port,
                seq: Seq(seq),
                ack: Seq(acked),
                flags,
                window,
                options,
            };
            let mut buf = FrameBuf::copy_from(&payload);
            header.push(&mut buf, src, dst);
            (IpProtocol::Tcp, buf)
        },
    );
    let udp = (port(), port(), payload.clone()).prop_map(move |(src_port, dst_port, payload)| {
        let mut buf = FrameBuf::copy_from(&payload);
        packet::push_udp(
            &mut buf,
            SocketAddr::new(src, src_port),
            SocketAddr::new(dst, dst_port),
        );
        (IpProtocol::Udp, buf)
    });
    let kind = prop_oneof![3 => Just(128_u8), 4 => 133_u8..138, 1 => any::<u8>()];
    let icmp = (kind, any::<[u8; 4]>(), payload.clone()).prop_map(move |(kind, rest, payload)| {
        let mut buf = FrameBuf::copy_from(&payload);
        if let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) {
            packet::push_icmpv6(&mut buf, (src, dst), (kind, 0), rest);
            return (IpProtocol::Icmpv6, buf);
        }
        packet::push_icmpv4(&mut buf, Icmpv4Message::EchoRequest, 0, rest);
        (IpProtocol::Icmp, buf)
    });
    let other = (any::<u8>(), payload)
        .prop_map(|(protocol, payload)| (protocol.into(), FrameBuf::copy_from(&payload)));
    prop_oneof![4 => tcp, 3 => udp, 1 => icmp, 1 => other].boxed()
}

fn ipv4_frame() -> BoxedStrategy<Vec<u8>> {
    let packet = (address(), address())
        .prop_flat_map(|(src, dst)| (Just(src), Just(dst), transport(src.into(), dst.into())));
    (packet, mac(), mac(), 0u8..4)
        .prop_map(|((src, dst, (protocol, mut buf)), from, to, ttl)| {
            let header = Ipv4Header {
                src,
                dst,
                protocol,
                ttl,
                ident: 0,
                dont_fragment: true,
            };
            packet::push_ipv4(&mut buf, &header);
            packet::push_ethernet(&mut buf, from, to, EthernetProtocol::Ipv4);
            buf.freeze(Offload::default()).bytes.to_vec()
        })
        .boxed()
}

/// A well-formed message of neighbor discovery, and from where to where.
fn discovery() -> BoxedStrategy<(Ipv6Addr, Ipv6Addr, (IpProtocol, FrameBuf))> {
    (address6(), address6(), address6(), mac(), any::<bool>())
        .prop_map(|(src, dst, target, mac, asks)| {
            let buf = if asks {
                ndp::neighbor_solicitation((src, mac), target)
            } else {
                ndp::neighbor_advertisement((target, mac), dst)
            };
            let (src, dst) = if asks {
                (src, ndp::solicited_node(target))
            } else {
                (target, dst)
            };
            (src, dst, (IpProtocol::Icmpv6, buf))
        })
        .boxed()
}

/// What stands before a transport: extension headers of any kind, well formed or not.
fn extended((protocol, buf): (IpProtocol, FrameBuf), headers: &[(u8, [u8; 7])]) -> (IpProtocol, FrameBuf) {
    let mut next = u8::from(protocol);
    let mut bytes = buf.payload().to_vec();
    for (kind, rest) in headers {
        bytes.splice(..0, rest.iter().copied());
        bytes.insert(0, next);
        next = *kind;
    }
    (next.into(), FrameBuf::copy_from(&bytes))
}

fn ipv6_frame() -> BoxedStrategy<Vec<u8>> {
    let ordinary = (address6(), address6())
        .prop_flat_map(|(src, dst)| (Just(src), Just(dst), transport(src.into(), dst.into())));
    let packet = prop_oneof![3 => ordinary, 1 => discovery()];
    let kind = prop_oneof![select(vec![0_u8, 43, 44, 59, 60]), any::<u8>()];
    let rest = prop_oneof![Just([0, 1, 4, 0, 0, 0, 0]), any::<[u8; 7]>()];
    let headers = prop_oneof![3 => Just(Vec::new()), 1 => vec((kind, rest), 0..5)];
    let to = prop_oneof![4 => Just(GATEWAY_MAC), 2 => Just(Mac([0x33, 0x33, 0, 0, 0, 1])), 1 => mac()];
    let hop_limit = prop_oneof![Just(255_u8), 0_u8..4];
    (packet, headers, mac(), to, hop_limit)
        .prop_map(|((src, dst, inner), headers, from, to, hop_limit)| {
            let (protocol, mut buf) = extended(inner, &headers);
            let header = Ipv6Header {
                src,
                dst,
                protocol,
                hop_limit,
            };
            ipv6::push_ipv6(&mut buf, &header);
            packet::push_ethernet(&mut buf, from, to, EthernetProtocol::Ipv6);
            buf.freeze(Offload::default()).bytes.to_vec()
        })
        .boxed()
}

fn ip_frame() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![ipv4_frame(), ipv6_frame()].boxed()
}

fn frame() -> BoxedStrategy<Vec<u8>> {
    let bent = (ip_frame(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut frame, at, byte)| {
        let at = at.index(frame.len());
        frame[at] = byte;
        frame
    });
    let cut = (ip_frame(), any::<prop::sample::Index>()).prop_map(|(mut frame, at)| {
        frame.truncate(at.index(frame.len()));
        frame
    });
    let arp = (mac(), address(), address()).prop_map(|(from, sender, target)| {
        let mut buf = packet::arp(
            atoll_wire::ArpOperation::Request,
            (from, sender),
            (Mac::default(), target),
        );
        packet::push_ethernet(&mut buf, from, Mac::BROADCAST, EthernetProtocol::Arp);
        buf.freeze(Offload::default()).bytes.to_vec()
    });
    prop_oneof![4 => ipv4_frame(), 4 => ipv6_frame(), 2 => bent, 1 => cut, 2 => arp, 1 => vec(any::<u8>(), 0..80)].boxed()
}

fn step() -> BoxedStrategy<Step> {
    prop_oneof![
        12 => (0u32..3, frame()).prop_map(|(port, frame)| Step::Frame(port, frame)),
        2 => (0u64..100_000_000_000).prop_map(Step::Wait),
        4 => (any::<u8>(), any::<u16>()).prop_map(|(flow, what)| Step::Host(flow, what)),
        1 => any::<u16>().prop_map(Step::Accept),
        1 => (0u32..3).prop_map(Step::Detach),
        1 => (0u32..3, 0usize..10).prop_map(|(port, frames)| Step::Drain(port, frames)),
    ]
    .boxed()
}

struct Bench {
    engine: Engine,
    now: Instant,
    flows: Vec<FlowId>,
    accepts: u64,
    log: Vec<String>,
    /// Where host sockets went. Loopback is where the host alias leads, and this network allows it.
    reached: Vec<IpAddr>,
}

impl Bench {
    fn new() -> Self {
        let subnet = Subnet {
            address: Ipv4Addr::new(10, 77, 0, 0),
            prefix_len: 24,
        };
        let prefix = Prefix {
            address: Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 0),
        };
        let mut config = Config::new((subnet, prefix));
        config.host_loopback = true;
        config.limits = Limits {
            flows: 8,
            neighbors: 4,
            egress_frames: 16,
            mac_table: 4,
            ..Limits::default()
        };
        let mut engine = Engine::new(&config, [9; 32]);
        for port in 0..3 {
            let port_config = PortConfig {
                label: Some(format!("m{port}")),
                ..PortConfig::default()
            };
            engine.handle_event(
                Instant::ZERO,
                Event::PortAttached {
                    port: PortId(port),
                    port_config,
                },
            );
        }
        for (number, guest) in [
            (0, Ipv4Addr::new(10, 77, 0, 2).into()),
            (1, prefix.with(2).into()),
        ] {
            let added = Command::AddForward {
                forward: ForwardId(number),
                guest: ForwardTarget::Address(guest),
                port: 22,
            };
            let added = engine.apply(Instant::ZERO, added);
            added.expect("the address is a guest's");
        }
        Self {
            engine,
            now: Instant::ZERO,
            flows: Vec::new(),
            accepts: 0,
            log: Vec::new(),
            reached: Vec::new(),
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Frame(port, frame) => {
                self.engine
                    .handle_frame(self.now, PortId(*port), Frame::plain(frame.clone().into()));
            }
            Step::Wait(nanos) => {
                self.now = self.now + Duration::from_nanos(*nanos);
                self.engine.handle_timeout(self.now);
            }
            Step::Host(flow, what) => self.host(*flow, *what),
            Step::Accept(port) => {
                self.accepts += 1;
                let accept = AcceptId(self.accepts);
                let peer = ([127, 0, 0, 1], *port).into();
                self.engine.handle_event(
                    self.now,
                    Event::TcpAccepted {
                        forward: ForwardId(u32::from(port % 2)),
                        accept,
                        peer,
                    },
                );
            }
            Step::Detach(port) => self
                .engine
                .handle_event(self.now, Event::PortDetached(PortId(*port))),
            Step::Drain(port, frames) => {
                let event = Event::Transmitted {
                    port: PortId(*port),
                    frames: *frames,
                };
                self.engine.handle_event(self.now, event);
            }
        }
        while let Some(action) = self.engine.poll_action() {
            self.log.push(format!("{action:?}"));
            match &action {
                Action::TcpConnect { to, .. } | Action::UdpSend { to, .. } => self.reached.push(to.ip()),
                Action::IcmpSend { to, .. } => self.reached.push(*to),
                _ => {}
            }
            match action {
                Action::TcpConnect { flow, .. }
                | Action::UdpOpen { flow, .. }
                | Action::IcmpOpen { flow, .. } => {
                    self.flows.push(flow);
                }
                Action::TcpAdopt { flow, .. } => self.flows.push(flow),
                _ => {}
            }
        }
        let snapshot = self.engine.snapshot(self.now);
        assert!(snapshot.flows.len() <= 8, "the flow table is bounded");
        assert!(
            snapshot
                .ports
                .iter()
                .all(|port| port.queued <= 16 && port.macs.len() <= 4),
            "port tables are bounded"
        );
    }

    fn host(&mut self, flow: u8, what: u16) {
        let Some(&flow) = self.flows.get(usize::from(flow) % self.flows.len().max(1)) else {
            return;
        };
        let from = if what % 16 < 8 {
            SocketAddr::from((Ipv4Addr::new(198, 51, 100, 7), what))
        } else {
            SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7), what))
        };
        let payload = FrameBuf::zeroed(usize::from(what));
        let event = match what % 8 {
            0 | 1 => Event::TcpConnected(flow),
            2 => Event::TcpSent {
                flow,
                bytes: usize::from(what),
            },
            3 => Event::TcpReadable(flow),
            4 => Event::TcpPeeked {
                flow,
                offset: 0,
                segments: vec![FrameBuf::zeroed(usize::from(what / 64))],
                end: what > 9999,
            },
            5 => Event::TcpFailed {
                flow,
                error: HostError::Reset,
            },
            6 => Event::UdpReceived {
                flow,
                from,
                datagrams: vec![payload.into()],
            },
            _ => Event::FlowFailed {
                flow,
                error: HostError::Prohibited,
            },
        };
        self.engine.handle_event(self.now, event);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nothing_a_guest_or_host_does_panics_or_grows(steps in vec(step(), 1..120)) {
        let mut bench = Bench::new();
        for step in &steps {
            bench.run(step);
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_actions(steps in vec(step(), 1..60)) {
        let (mut first, mut second) = (Bench::new(), Bench::new());
        for step in &steps {
            first.run(step);
            second.run(step);
        }
        prop_assert_eq!(first.log, second.log);
    }

    #[test]
    fn no_host_socket_ever_goes_where_none_may(steps in vec(step(), 1..120)) {
        let mut bench = Bench::new();
        for step in &steps {
            bench.run(step);
        }
        for to in &bench.reached {
            let allowed = match to {
                IpAddr::V4(to) => {
                    let [first, second, third, _] = to.octets();
                    *to == Ipv4Addr::LOCALHOST
                        || first > 0 && first < 224 && first != 127
                            && (first, second) != (169, 254)
                            && (first, second, third) != (10, 77, 0)
                }
                IpAddr::V6(to) => {
                    let segments = to.segments();
                    let is_special = segments[..5] == [0; 5] && matches!(segments[5], 0 | 0xffff);
                    *to == Ipv6Addr::LOCALHOST
                        || !is_special && !to.is_multicast() && !to.is_unicast_link_local()
                            && segments[..4] != [0xfd77, 0x77, 0, 0]
                }
            };
            prop_assert!(allowed, "{}", to);
        }
    }
}
