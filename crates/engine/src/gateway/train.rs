//! Segments that follow each other.
//!
//! One read of a port brings many segments of one connection. What the way through MAC table, address checks, policy, neighbours and flow
//! table found for the first of them holds for the next as long as nothing else happened in between: it comes at the same instant
//! from the same port, and its Ethernet header, addresses, ports, TTL or hop limit, fragment bits and flow label are the same, byte for byte.
//! What differs from segment to segment (lengths, numbers, flags, checksums) is looked at in each. (Van Jacobson's header prediction, one
//! layer below.) Frames from one station to another follow each other in the same way: what is looked at is their Ethernet header, with the
//! first tag if there is one.
//!
//! A segment that differs in any way, or that is not plain data or an acknowledgement, takes the ordinary way, which judges and counts it;
//! so does everything after it. The train also ends with every other input of the engine's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_wire::ipv6::IPV6_LEN;
use atoll_wire::packet::{self, ETHERNET_LEN, IPV4_LEN};
use atoll_wire::tcp::{self, TCP_LEN};
use atoll_wire::vlan;
use atoll_wire::{Checksum, EthernetProtocol, Frame, IpProtocol, checksum};
use bytes::Buf;

use crate::flow::tcp::Segment;
use crate::switch::Target;
use crate::{Engine, FlowId, Instant, PortId};

/// Where the IP header begins.
const IP: usize = ETHERNET_LEN;
/// Where TCP's header begins, and how long the head is: Ethernet and IP headers and the ports.
const TCP4: usize = ETHERNET_LEN + IPV4_LEN;
const TCP6: usize = ETHERNET_LEN + IPV6_LEN;
const HEAD4: usize = TCP4 + 4;
const HEAD6: usize = TCP6 + 4;
/// The protocol's number.
const TCP: u8 = 6;
/// Version 4, and a header without options.
const PLAIN_HEADER: u8 = 0x45;

/// The start of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head {
    V4([u8; HEAD4]),
    V6([u8; HEAD6]),
}

impl Head {
    /// That of a frame of which this is the EtherType, if TCP's header follows the IP header directly.
    pub(super) fn of(ethertype: EthernetProtocol, frame: &[u8]) -> Option<Self> {
        match ethertype {
            EthernetProtocol::Ipv4 => frame
                .first_chunk()
                .filter(|head| head[IP] == PLAIN_HEADER)
                .map(|head| Self::V4(*head)),
            EthernetProtocol::Ipv6 => frame
                .first_chunk()
                .filter(|head| head[IP + 6] == TCP)
                .map(|head| Self::V6(*head)),
            _ => None,
        }
    }

    /// Whether TCP is what follows.
    fn is_tcp(&self) -> bool {
        match self {
            Self::V4(head) => head[IP + 9] == TCP,
            Self::V6(head) => head[IP + 6] == TCP,
        }
    }

    /// Whether a frame with the same Ethernet header is TCP from the same address, as a whole packet or a part of one.
    fn is_of_same_source(&self, frame: &[u8]) -> bool {
        match (self, frame.first_chunk(), frame.first_chunk()) {
            (Self::V4(head), Some(frame), _) => {
                let frame: &[u8; HEAD4] = frame;
                let same = |from: usize, to: usize| head[from..to] == frame[from..to];
                same(IP, IP + 1) && same(IP + 9, IP + 10) && same(IP + 12, IP + 16)
            }
            (Self::V6(head), _, Some(frame)) => {
                let frame: &[u8; HEAD6] = frame;
                let same = |from: usize, to: usize| head[from..to] == frame[from..to];
                same(IP + 6, IP + 7) && same(IP + 8, IP + 24) && frame[IP] >> 4 == 6
            }
            _ => false,
        }
    }
}

/// What the frame before established.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Train {
    now: Instant,
    ingress: PortId,
    towards: Towards,
}

#[derive(Clone, Copy, Debug)]
enum Towards {
    /// A connection of the guest's with a host socket.
    Flow { flow: FlowId, head: Head },
    /// A station behind another port.
    Port {
        port: PortId,
        header: [u8; ETHERNET_LEN],
        /// The rest of the first tag, of a frame with tags.
        tci: Option<[u8; 2]>,
        /// Where guests may use their own addresses only: what says whose the packet is, too.
        source: Option<Head>,
    },
}

/// A segment of a train: where its TCP header begins and where it ends.
struct Place {
    tcp: usize,
    end: usize,
    src: IpAddr,
    dst: IpAddr,
}

impl Train {
    /// A segment with this head reached `flow`, a connection of the guest's with a host socket.
    pub(super) fn of(now: Instant, ingress: PortId, head: Head, flow: FlowId) -> Self {
        Self {
            now,
            ingress,
            towards: Towards::Flow { flow, head },
        }
    }

    /// A frame went to the station behind `port`.
    pub(super) fn switched(
        now: Instant,
        ingress: PortId,
        (ethertype, frame): (EthernetProtocol, &Frame),
        port: PortId,
        is_strict: bool,
    ) -> Option<Self> {
        let header = *frame.bytes.first_chunk()?;
        let tci = match ethertype {
            EthernetProtocol::Unknown(ethertype) if vlan::is_tag(ethertype) => Some(tci(&frame.bytes)?),
            _ => None,
        };
        let source = match is_strict {
            true => Some(Head::of(ethertype, &frame.bytes).filter(Head::is_tcp)?),
            false => None,
        };
        Some(Self {
            now,
            ingress,
            towards: Towards::Port {
                port,
                header,
                tci,
                source,
            },
        })
    }
}

/// What follows the EtherType of a tag.
fn tci(frame: &[u8]) -> Option<[u8; 2]> {
    frame.get(ETHERNET_LEN..)?.first_chunk().copied()
}

/// Where things are in a frame, if it is of the train with this head and its IP header is sound.
fn place(train: &Head, bytes: &[u8]) -> Option<Place> {
    match train {
        Head::V4(head) => place4(head, bytes.first_chunk()?),
        Head::V6(head) => place6(head, bytes.first_chunk()?),
    }
}

/// All but the length, the identification and the header's checksum is the same.
fn place4(train: &[u8; HEAD4], head: &[u8; HEAD4]) -> Option<Place> {
    let same = |from: usize, to: usize| train[from..to] == head[from..to];
    let len = usize::from(u16::from_be_bytes([head[IP + 2], head[IP + 3]]));
    let is_sound = same(0, IP + 2)
        && same(IP + 6, IP + 10)
        && same(IP + 12, HEAD4)
        && len >= IPV4_LEN + TCP_LEN
        && checksum::sum(&head[IP..TCP4]) == u16::MAX;
    let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
    is_sound.then(|| Place {
        tcp: TCP4,
        end: IP + len,
        src: address(IP + 12).into(),
        dst: address(IP + 16).into(),
    })
}

/// All but the length is the same.
fn place6(train: &[u8; HEAD6], head: &[u8; HEAD6]) -> Option<Place> {
    let same = |from: usize, to: usize| train[from..to] == head[from..to];
    let len = usize::from(u16::from_be_bytes([head[IP + 4], head[IP + 5]]));
    let is_sound = same(0, IP + 4) && same(IP + 6, HEAD6) && len >= TCP_LEN;
    let address = |at: usize| -> Option<Ipv6Addr> { Some((*head.get(at..)?.first_chunk::<16>()?).into()) };
    let (src, dst) = (address(IP + 8)?, address(IP + 24)?);
    is_sound.then(|| Place {
        tcp: TCP6,
        end: TCP6 + len,
        src: src.into(),
        dst: dst.into(),
    })
}

/// Take a frame that follows. The frame comes back when it is to take the ordinary way.
pub(crate) fn follow(engine: &mut Engine, now: Instant, ingress: PortId, frame: Frame) -> Result<(), Frame> {
    match &engine.train {
        Some(train) if train.now == now && train.ingress == ingress => match train.towards {
            Towards::Flow { flow, head } => follow_to_flow(engine, (now, ingress), (flow, &head), frame),
            Towards::Port {
                port,
                header,
                tci: of_train,
                source,
            } if frame.bytes.first_chunk() == Some(&header)
                && of_train.is_none_or(|of_train| tci(&frame.bytes) == Some(of_train))
                && source.is_none_or(|source| source.is_of_same_source(&frame.bytes))
                && super::is_plain(&engine.lan, ingress, &frame) =>
            {
                engine.lan.switch.received(ingress, frame.len());
                engine.lan.send_frame(Target::Port(port), frame);
                Ok(())
            }
            Towards::Port { .. } => Err(frame),
        },
        _ => Err(frame),
    }
}

fn follow_to_flow(
    engine: &mut Engine,
    (now, ingress): (Instant, PortId),
    (flow, head): (FlowId, &Head),
    frame: Frame,
) -> Result<(), Frame> {
    let Some((place, header, header_len)) = judge(head, &frame) else {
        return Err(frame);
    };
    if !engine.flows.has(flow) {
        return Err(frame);
    }
    engine.lan.switch.received(ingress, frame.len());
    let mut payload = frame.bytes;
    payload.truncate(place.end);
    payload.advance(place.tcp + header_len);
    let segment = Segment { header, payload };
    engine.flows.handle_next(now, &mut engine.lan, flow, segment);
    Ok(())
}

/// Where the segment lies, its TCP header and the length of that, if the frame is of the train with this head, and sound.
fn judge(train: &Head, frame: &Frame) -> Option<(Place, tcp::Header, usize)> {
    let bytes = &frame.bytes[..];
    let place = place(train, bytes)?;
    let transport = bytes.get(place.tcp..place.end)?;
    let (header, header_len) = tcp::Header::parse(transport)?;
    let flags = header.flags;
    let is_plain = flags.ack && !flags.syn && !flags.fin && !flags.rst;
    let is_right = || packet::transport_checksum_is_right(place.src, place.dst, IpProtocol::Tcp, transport);
    let is_intact = is_plain && (frame.offload.checksum != Checksum::Unverified || is_right());
    is_intact.then_some((place, header, header_len))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use atoll_wire::ipv6::{Ipv6Header, push_ipv6};
    use atoll_wire::packet::{ETHERNET_LEN, Ipv4Header, ip_len};
    use atoll_wire::tcp::{Flags, Header, Options};
    use atoll_wire::{Endpoint, EthernetProtocol, Family, FrameBuf, Mac, Offload, Seq};
    use bytes::Bytes;
    use proptest::prelude::*;

    use crate::{Action, Command, Config, Engine, Event, Instant, PortConfig, PortId, Prefix, Subnet};

    const PORT: PortId = PortId(1);
    const PREFIX: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 0);
    const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

    fn guest(family: Family) -> Endpoint {
        match family {
            Family::V4 => (Ipv4Addr::new(10, 77, 0, 9), 40_000).into(),
            Family::V6 => (Prefix { address: PREFIX }.with(9), 40_000).into(),
        }
    }

    fn remote(family: Family) -> Endpoint {
        match family {
            Family::V4 => (Ipv4Addr::new(198, 51, 100, 1), 80).into(),
            Family::V6 => (REMOTE6, 80).into(),
        }
    }
    const ISS: u32 = 1000;

    /// A segment, and what is wrong with it.
    #[derive(Clone, Debug)]
    struct Sent {
        seq: u32,
        flags: Flags,
        payload: usize,
        ttl: u8,
        other_port: bool,
        /// A byte of the frame that is changed, and how.
        flip: Option<(usize, u8)>,
        /// Bytes that are cut off at the end, or added.
        cut: usize,
        add: usize,
    }

    /// An acknowledgement, and nothing wrong.
    const PLAIN: Sent = Sent {
        seq: 0,
        flags: Flags::ACK,
        payload: 0,
        ttl: 64,
        other_port: false,
        flip: None,
        cut: 0,
        add: 0,
    };

    fn frame(family: Family, gateway: Mac, sent: &Sent, ack: Seq) -> Bytes {
        let (guest, remote) = (guest(family), remote(family));
        let header = Header {
            src_port: guest.port + u16::from(sent.other_port),
            dst_port: remote.port,
            seq: Seq(ISS + sent.seq),
            ack: if sent.flags.ack { ack } else { Seq(0) },
            flags: sent.flags,
            window: 1000,
            options: Options::default(),
        };
        let mut buf = FrameBuf::zeroed(sent.payload);
        header.push(&mut buf, guest.ip, remote.ip);
        let protocol = atoll_wire::IpProtocol::Tcp;
        let ethertype = match (guest.ip, remote.ip) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let ip = Ipv4Header {
                    src,
                    dst,
                    protocol,
                    ttl: sent.ttl,
                    ident: 0,
                    dont_fragment: true,
                };
                atoll_wire::packet::push_ipv4(&mut buf, &ip);
                EthernetProtocol::Ipv4
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let ip = Ipv6Header {
                    src,
                    dst,
                    protocol,
                    hop_limit: sent.ttl,
                };
                push_ipv6(&mut buf, &ip);
                EthernetProtocol::Ipv6
            }
            _ => panic!("two families"),
        };
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        atoll_wire::packet::push_ethernet(&mut buf, mac, gateway, ethertype);
        let mut bytes = buf.freeze(Offload::default()).bytes.to_vec();
        if let Some((at, how)) = sent.flip {
            let at = at % bytes.len();
            bytes[at] ^= how;
        }
        bytes.truncate(bytes.len().saturating_sub(sent.cut));
        bytes.resize(bytes.len() + sent.add, 0xee);
        bytes.into()
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let flags = prop_oneof![
            12 => Just(Flags::ACK),
            1 => Just(Flags::FIN_ACK),
            1 => Just(Flags::RST),
            1 => Just(Flags::SYN),
        ];
        let flip = prop_oneof![
            8 => Just(None),
            1 => (0_usize..80, 1_u8..).prop_map(Some),
            1 => (any::<usize>(), 1_u8..).prop_map(Some),
        ];
        let shape = (0_u32..8, 0_usize..3, prop_oneof![9 => Just(64_u8), 1 => 0_u8..3]);
        let length = (
            prop_oneof![9 => Just(0_usize), 1 => 1_usize..80],
            prop_oneof![9 => Just(0_usize), 1 => 1_usize..80],
        );
        (flags, flip, shape, length, prop::bool::weighted(0.1)).prop_map(
            |(flags, flip, (seq, payload, ttl), (cut, add), other_port)| Sent {
                seq: 1 + 100 * seq,
                flags,
                payload: 100 * payload,
                ttl,
                other_port,
                flip,
                cut,
                add,
            },
        )
    }

    /// A guest with an open connection, and the acknowledgement it owes.
    fn open(family: Family) -> (Engine, Mac, Seq) {
        let subnet = Subnet {
            address: [10, 77, 0, 0].into(),
            prefix_len: 24,
        };
        let config = Config::new((subnet, Prefix { address: PREFIX }));
        let mut engine = Engine::new(&config, [7; 32]);
        let now = Instant::ZERO;
        let port_config = PortConfig::default();
        engine.handle_event(
            now,
            Event::PortAttached {
                port: PORT,
                port_config,
            },
        );
        let syn = Sent {
            flags: Flags::SYN,
            ..PLAIN
        };
        let plain = |bytes| atoll_wire::Frame::plain(bytes);
        engine.handle_frame(now, PORT, plain(frame(family, config.gateway_mac, &syn, Seq(0))));
        while let Some(action) = engine.poll_action() {
            if let Action::TcpConnect { flow, .. } = action {
                engine.handle_event(now, Event::TcpConnected(flow));
            }
        }
        let answer = engine.egress(PORT).back().expect("SYN|ACK").clone();
        let tcp = ETHERNET_LEN + ip_len(family);
        let (header, _) = Header::parse(&answer.bytes[tcp..]).expect("a segment");
        let ack = Sent { seq: 1, ..PLAIN };
        engine.handle_frame(
            now,
            PORT,
            plain(frame(family, config.gateway_mac, &ack, header.seq + 1)),
        );
        (engine, config.gateway_mac, header.seq + 1)
    }

    /// All that can be seen of an engine from outside.
    fn seen(engine: &mut Engine, now: Instant) -> String {
        let actions: Vec<Action> = std::iter::from_fn(|| engine.poll_action()).collect();
        let flows: Vec<_> = engine.snapshot(now).flows.iter().map(|flow| flow.flow).collect();
        let outgoing: Vec<Vec<u8>> = flows
            .iter()
            .flat_map(|&flow| engine.tcp_outgoing(flow).map(<[u8]>::to_vec))
            .collect();
        let (egress, snapshot) = (engine.egress(PORT), engine.snapshot(now));
        let timeout = engine.poll_timeout();
        format!("{actions:?} {outgoing:?} {egress:?} {snapshot:?} {timeout:?}")
    }

    proptest! {
        /// Whatever comes, the train changes nothing but how long it takes.
        #[test]
        fn a_train_does_what_the_ordinary_way_does(
            sent in proptest::collection::vec(sent(), 1..30),
            capture in prop::bool::weighted(0.1),
            family in prop::sample::select(&[Family::V4, Family::V6][..]),
        ) {
            let ((mut with, gateway, ack), (mut without, ..)) = (open(family), open(family));
            let now = Instant::ZERO + std::time::Duration::from_micros(5);
            for engine in [&mut with, &mut without] {
                engine.apply(now, Command::SetCapture(capture)).unwrap();
            }
            for sent in &sent {
                let bytes = frame(family, gateway, sent, ack);
                with.handle_frame(now, PORT, atoll_wire::Frame::plain(bytes.clone()));
                without.train = None;
                without.handle_frame(now, PORT, atoll_wire::Frame::plain(bytes));
            }
            prop_assert_eq!(seen(&mut with, now), seen(&mut without, now));
        }
    }

    /// A network of two ports, each with a station that was heard, and the MAC addresses that frames can have.
    fn switched() -> (Engine, [Mac; 5]) {
        let (mut engine, gateway, _) = open(Family::V4);
        let there = Mac([2, 0, 0, 0, 0, 7]);
        let (port, port_config) = (PortId(2), PortConfig::default());
        engine.handle_event(Instant::ZERO, Event::PortAttached { port, port_config });
        let here = Mac([2, 0, 0, 0, 0, 9]);
        engine.handle_frame(Instant::ZERO, port, plain(here, there, 60));
        (
            engine,
            [here, there, gateway, Mac::BROADCAST, Mac([2, 0, 0, 0, 0, 8])],
        )
    }

    fn plain(dst: Mac, src: Mac, len: usize) -> atoll_wire::Frame {
        let mut bytes = [&dst.0[..], &src.0, &[0x88, 0xb5]].concat();
        bytes.resize(len, 0);
        atoll_wire::Frame::plain(bytes.into())
    }

    proptest! {
        #[test]
        fn a_train_between_stations_does_what_the_ordinary_way_does(
            frames in proptest::collection::vec((0_usize..5, 0_usize..5, 12_usize..100, prop::bool::weighted(0.1)), 1..30),
            capture in prop::bool::weighted(0.1),
        ) {
            let ((mut with, macs), (mut without, _)) = (switched(), switched());
            let now = Instant::ZERO + std::time::Duration::from_micros(5);
            for engine in [&mut with, &mut without] {
                engine.apply(now, Command::SetCapture(capture)).unwrap();
            }
            for (dst, src, len, is_other) in frames {
                let port = if is_other { PortId(2) } else { PORT };
                let frame = plain(macs[dst], macs[src], len);
                with.handle_frame(now, port, frame.clone());
                without.train = None;
                without.handle_frame(now, port, frame);
            }
            let egress = |engine: &Engine| format!("{:?}", engine.egress(PortId(2)));
            prop_assert_eq!(egress(&with), egress(&without));
            prop_assert_eq!(seen(&mut with, now), seen(&mut without, now));
        }
    }

    #[test]
    fn segments_of_one_instant_make_a_train_and_other_inputs_end_it() {
        for family in [Family::V4, Family::V6] {
            makes_a_train(family);
        }
    }

    fn makes_a_train(family: Family) {
        let (mut engine, gateway, ack) = open(family);
        let data = |seq| {
            let sent = Sent {
                seq,
                payload: 100,
                ..PLAIN
            };
            atoll_wire::Frame::plain(frame(family, gateway, &sent, ack))
        };
        let now = Instant::ZERO + std::time::Duration::from_micros(5);
        assert_eq!(
            super::follow(&mut engine, now, PORT, data(1)),
            Err(data(1)),
            "another instant"
        );
        engine.handle_frame(now, PORT, data(1));
        assert_eq!(super::follow(&mut engine, now, PORT, data(101)), Ok(()));
        assert_eq!(
            super::follow(&mut engine, now, PortId(2), data(201)),
            Err(data(201))
        );
        engine.handle_timeout(now);
        assert_eq!(super::follow(&mut engine, now, PORT, data(201)), Err(data(201)));
    }
}
