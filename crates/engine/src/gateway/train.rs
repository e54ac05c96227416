//! Segments that follow each other.
//!
//! One read of a port brings many segments of one connection. What the way through MAC table, address checks, policy, neighbours and flow
//! table found for the first of them holds for the next as long as nothing else happened in between: it comes at the same instant
//! from the same port, and its Ethernet header, addresses, ports, TTL and fragment bits are the same, byte for byte. What differs from
//! segment to segment (lengths, numbers, flags, both checksums) is looked at in each. (Van Jacobson's header prediction, one
//! layer below.)
//!
//! A segment that differs in any way, or that is not plain data or an acknowledgement, takes the ordinary way, which judges and counts it;
//! so does everything after it. The train also ends with every other input of the engine's.

use std::net::Ipv4Addr;

use atoll_wire::packet::{self, ETHERNET_LEN, IPV4_LEN};
use atoll_wire::tcp::{self, TCP_LEN};
use atoll_wire::{Checksum, Frame, IpProtocol, checksum};
use bytes::Buf;

use crate::flow::tcp::Segment;
use crate::{Engine, FlowId, Instant, PortId};

/// Ethernet and IPv4 headers and the ports.
const HEAD: usize = ETHERNET_LEN + IPV4_LEN + 4;
const IPV4: usize = ETHERNET_LEN;
const TCP: usize = ETHERNET_LEN + IPV4_LEN;
/// Version 4, and a header without options.
const PLAIN_HEADER: u8 = 0x45;

/// Bytes of the start of a frame.
pub(super) type Head = [u8; HEAD];

/// What the segment before established.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Train {
    now: Instant,
    ingress: PortId,
    flow: FlowId,
    head: Head,
}

impl Train {
    /// A segment with this head reached `flow`, a connection of the guest's with a host socket.
    pub(super) fn of(now: Instant, ingress: PortId, head: Head, flow: FlowId) -> Option<Self> {
        (head[IPV4] == PLAIN_HEADER).then_some(Self {
            now,
            ingress,
            flow,
            head,
        })
    }

    fn has(&self, head: &Head) -> bool {
        // All but the length, the identification and the header's checksum.
        let same = |from: usize, to: usize| self.head[from..to] == head[from..to];
        same(0, IPV4 + 2) && same(IPV4 + 6, IPV4 + 10) && same(IPV4 + 12, HEAD)
    }
}

/// Take a frame that follows. The frame comes back when it is to take the ordinary way.
pub(crate) fn follow(engine: &mut Engine, now: Instant, ingress: PortId, frame: Frame) -> Result<(), Frame> {
    let train = engine
        .train
        .filter(|train| train.now == now && train.ingress == ingress);
    let Some((flow, end, header, header_len)) = train.and_then(|train| judge(&train, &frame)) else {
        return Err(frame);
    };
    if !engine.flows.has(flow) {
        return Err(frame);
    }
    engine.lan.switch.received(ingress, frame.len());
    let mut payload = frame.bytes;
    payload.truncate(end);
    payload.advance(TCP + header_len);
    let segment = Segment { header, payload };
    engine.flows.handle_next(now, &mut engine.lan, flow, segment);
    Ok(())
}

/// The flow, where the packet ends, its TCP header and the length of that, if the frame is of the train and sound.
fn judge(train: &Train, frame: &Frame) -> Option<(FlowId, usize, tcp::Header, usize)> {
    let bytes = &frame.bytes[..];
    let head = bytes.first_chunk::<HEAD>()?;
    let len = usize::from(u16::from_be_bytes([head[IPV4 + 2], head[IPV4 + 3]]));
    let is_sound =
        train.has(head) && len >= IPV4_LEN + TCP_LEN && checksum::sum(&bytes[IPV4..TCP]) == u16::MAX;
    if !is_sound {
        return None;
    }
    let transport = bytes.get(TCP..IPV4 + len)?;
    let (header, header_len) = tcp::Header::parse(transport)?;
    let flags = header.flags;
    let is_plain = flags.ack && !flags.syn && !flags.fin && !flags.rst;
    let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
    let is_right = || {
        let (src, dst) = (address(IPV4 + 12), address(IPV4 + 16));
        packet::transport_checksum_is_right(src, dst, IpProtocol::Tcp, transport)
    };
    let is_intact = is_plain && (frame.offload.checksum != Checksum::Unverified || is_right());
    is_intact.then_some((train.flow, IPV4 + len, header, header_len))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use atoll_wire::packet::Ipv4Header;
    use atoll_wire::tcp::{Flags, Header, Options};
    use atoll_wire::{EthernetProtocol, FrameBuf, Mac, Offload, Seq};
    use bytes::Bytes;
    use proptest::prelude::*;

    use crate::{Action, Command, Config, Engine, Event, Instant, PortConfig, PortId, Subnet};

    const PORT: PortId = PortId(1);
    const GUEST: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(10, 77, 0, 9), 40_000);
    const REMOTE: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(198, 51, 100, 1), 80);
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

    fn frame(gateway: Mac, sent: &Sent, ack: Seq) -> Bytes {
        let header = Header {
            src_port: GUEST.port() + u16::from(sent.other_port),
            dst_port: REMOTE.port(),
            seq: Seq(ISS + sent.seq),
            ack: if sent.flags.ack { ack } else { Seq(0) },
            flags: sent.flags,
            window: 1000,
            options: Options::default(),
        };
        let mut buf = FrameBuf::zeroed(sent.payload);
        header.push(&mut buf, *GUEST.ip(), *REMOTE.ip());
        let ip = Ipv4Header {
            src: *GUEST.ip(),
            dst: *REMOTE.ip(),
            protocol: atoll_wire::IpProtocol::Tcp,
            ttl: sent.ttl,
            ident: 0,
            dont_fragment: true,
        };
        atoll_wire::packet::push_ipv4(&mut buf, &ip);
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        atoll_wire::packet::push_ethernet(&mut buf, mac, gateway, EthernetProtocol::Ipv4);
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
            1 => (0_usize..60, 1_u8..).prop_map(Some),
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
    fn open() -> (Engine, Mac, Seq) {
        let config = Config::new(Subnet {
            address: [10, 77, 0, 0].into(),
            prefix_len: 24,
        });
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
        engine.handle_frame(now, PORT, plain(frame(config.gateway_mac, &syn, Seq(0))));
        while let Some(action) = engine.poll_action() {
            if let Action::TcpConnect { flow, .. } = action {
                engine.handle_event(now, Event::TcpConnected(flow));
            }
        }
        let answer = engine.egress(PORT).back().expect("SYN|ACK").clone();
        let (header, _) = Header::parse(&answer.bytes[super::TCP..]).expect("a segment");
        let ack = Sent { seq: 1, ..PLAIN };
        engine.handle_frame(now, PORT, plain(frame(config.gateway_mac, &ack, header.seq + 1)));
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
        ) {
            let ((mut with, gateway, ack), (mut without, ..)) = (open(), open());
            let now = Instant::ZERO + std::time::Duration::from_micros(5);
            for engine in [&mut with, &mut without] {
                engine.apply(now, Command::SetCapture(capture)).unwrap();
            }
            for sent in &sent {
                let bytes = frame(gateway, sent, ack);
                with.handle_frame(now, PORT, atoll_wire::Frame::plain(bytes.clone()));
                without.train = None;
                without.handle_frame(now, PORT, atoll_wire::Frame::plain(bytes));
            }
            prop_assert_eq!(seen(&mut with, now), seen(&mut without, now));
        }
    }

    #[test]
    fn segments_of_one_instant_make_a_train_and_other_inputs_end_it() {
        let (mut engine, gateway, ack) = open();
        let data = |seq| {
            let sent = Sent {
                seq,
                payload: 100,
                ..PLAIN
            };
            atoll_wire::Frame::plain(frame(gateway, &sent, ack))
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
