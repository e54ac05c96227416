//! A guest that sends anything, and a host that does anything: the engine neither panics nor grows, and stays deterministic.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use atoll_engine::{
    AcceptId, Action, Command, Config, Engine, Event, FlowId, ForwardId, ForwardTarget, HostError, Instant,
    Limits, PortConfig, PortId, Subnet,
};
use atoll_wire::packet::{self, Ipv4Header};
use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{EthernetProtocol, Frame, FrameBuf, Icmpv4Message, IpProtocol, Mac, Offload, Seq};
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

fn port() -> BoxedStrategy<u16> {
    prop_oneof![select(vec![22u16, 53, 67, 68, 80, 4000, 4001]), any::<u16>()].boxed()
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
fn transport(src: Ipv4Addr, dst: Ipv4Addr) -> BoxedStrategy<(IpProtocol, FrameBuf)> {
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
            SocketAddrV4::new(src, src_port),
            SocketAddrV4::new(dst, dst_port),
        );
        (IpProtocol::Udp, buf)
    });
    let icmp = (any::<[u8; 4]>(), payload.clone()).prop_map(|(rest, payload)| {
        let mut buf = FrameBuf::copy_from(&payload);
        packet::push_icmpv4(&mut buf, Icmpv4Message::EchoRequest, 0, rest);
        (IpProtocol::Icmp, buf)
    });
    let other = (any::<u8>(), payload)
        .prop_map(|(protocol, payload)| (protocol.into(), FrameBuf::copy_from(&payload)));
    prop_oneof![4 => tcp, 3 => udp, 1 => icmp, 1 => other].boxed()
}

fn ipv4_frame() -> BoxedStrategy<Vec<u8>> {
    let packet =
        (address(), address()).prop_flat_map(|(src, dst)| (Just(src), Just(dst), transport(src, dst)));
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

fn frame() -> BoxedStrategy<Vec<u8>> {
    let bent = (ipv4_frame(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut frame, at, byte)| {
        let at = at.index(frame.len());
        frame[at] = byte;
        frame
    });
    let cut = (ipv4_frame(), any::<prop::sample::Index>()).prop_map(|(mut frame, at)| {
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
    prop_oneof![6 => ipv4_frame(), 2 => bent, 1 => cut, 2 => arp, 1 => vec(any::<u8>(), 0..80)].boxed()
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
}

impl Bench {
    fn new() -> Self {
        let mut config = Config::new(Subnet {
            address: Ipv4Addr::new(10, 77, 0, 0),
            prefix_len: 24,
        });
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
        let guest = ForwardTarget::Address(Ipv4Addr::new(10, 77, 0, 2).into());
        engine
            .apply(
                Instant::ZERO,
                Command::AddForward {
                    forward: ForwardId(0),
                    guest,
                    port: 22,
                },
            )
            .expect("the address is a guest's");
        Self {
            engine,
            now: Instant::ZERO,
            flows: Vec::new(),
            accepts: 0,
            log: Vec::new(),
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
                        forward: ForwardId(0),
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
        let from = SocketAddr::from((Ipv4Addr::new(198, 51, 100, 7), what));
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
        for line in &bench.log {
            for forbidden in ["to: 169.254", "to: 10.77.0", "to: 0.0", "to: 224.", "to: 255."] {
                prop_assert!(!line.contains(forbidden) || line.starts_with("UdpForwardSend"), "{}", line);
            }
        }
    }
}
