//! The engine's hot paths, one at a time, for counting instructions: `hot_paths PATH FRAMES`.
//!
//! Two runs that differ in FRAMES differ by what so many frames cost; `cargo xtask count` makes them under callgrind. What
//! the runtime would do between two calls costs nothing here, but for a copy of the payload where the kernel makes one.
#![expect(clippy::expect_used, reason = "a bench of fixed steps")]

use std::net::{Ipv4Addr, SocketAddrV4};

use atoll_engine::{Action, Config, Engine, Event, FlowId, Instant, PortConfig, PortId, Subnet};
use atoll_wire::packet::{self, Ipv4Header};
use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{
    ArpOperation, Checksum, EthernetProtocol, Frame, FrameBuf, Gso, IpProtocol, Mac, Offload, Offloads, Seq,
    TcpPacket,
};

const PLAIN: PortId = PortId(1);
const LARGE: PortId = PortId(2);
const GUEST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 9), 40_000);
const REMOTE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 80);
const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 9]);
const OTHER: Mac = Mac([0x52, 0x54, 0, 0, 0, 10]);
/// Frames between two settlings, as one large read brings them.
const BATCH: usize = 64;
const SEGMENT: usize = 1460;
const LARGE_SEGMENT: usize = 44 * SEGMENT;

struct Bench {
    engine: Engine,
    gateway: Mac,
    now: Instant,
    port: PortId,
    flow: Option<FlowId>,
    seq: Seq,
    ack: Seq,
    queue: usize,
}

impl Bench {
    fn new(port: PortId) -> Self {
        let subnet = Subnet {
            address: Ipv4Addr::new(10, 77, 0, 0),
            prefix_len: 24,
        };
        let config = Config::new(subnet);
        let mut bench = Self {
            engine: Engine::new(&config, [7; 32]),
            gateway: config.gateway_mac,
            now: Instant::ZERO,
            port,
            flow: None,
            seq: Seq(1000),
            ack: Seq(0),
            queue: 0,
        };
        bench.attach(PLAIN, Offloads::default());
        bench.attach(LARGE, Offloads::ALL);
        for (mac, port) in [(MAC, port), (OTHER, PLAIN)] {
            let target = (Mac::default(), *GUEST.ip());
            let mut arp = packet::arp(ArpOperation::Request, (mac, *GUEST.ip()), target);
            packet::push_ethernet(&mut arp, mac, Mac::BROADCAST, EthernetProtocol::Arp);
            bench.frame(port, arp.freeze(Offload::default()));
        }
        bench.now = bench.now + std::time::Duration::from_micros(10);
        let mut arp = packet::arp(
            ArpOperation::Request,
            (MAC, *GUEST.ip()),
            (Mac::default(), *GUEST.ip()),
        );
        packet::push_ethernet(&mut arp, MAC, Mac::BROADCAST, EthernetProtocol::Arp);
        bench.frame(port, arp.freeze(Offload::default()));
        bench.settle();
        bench
    }

    fn attach(&mut self, port: PortId, offloads: Offloads) {
        let port_config = PortConfig {
            offloads,
            ..PortConfig::default()
        };
        self.engine
            .handle_event(self.now, Event::PortAttached { port, port_config });
    }

    fn connected(mut self) -> Self {
        let options = Options {
            mss: Some(1460),
            window_scale: Some(10),
            sack_permitted: true,
            ..Options::default()
        };
        self.send_tcp(Flags::SYN, options, 0);
        self.settle();
        let flow = self.flow.expect("a connection was asked for");
        self.engine.handle_event(self.now, Event::TcpConnected(flow));
        self.settle();
        self.send_tcp(Flags::ACK, Options::default(), 0);
        self.settle();
        self
    }

    fn frame(&mut self, port: PortId, frame: Frame) {
        self.engine.handle_frame(self.now, port, frame);
    }

    /// A segment of the guest; a large one when it does not fit the link.
    fn send_tcp(&mut self, flags: Flags, options: Options, payload: usize) {
        let header = Header {
            src_port: GUEST.port(),
            dst_port: REMOTE.port(),
            seq: self.seq,
            ack: self.ack,
            flags,
            window: u16::MAX,
            options,
        };
        let mut buf = FrameBuf::zeroed(payload);
        let is_large = payload > SEGMENT;
        let offload = if is_large {
            header.push_partial(&mut buf, *GUEST.ip(), *REMOTE.ip());
            Offload {
                checksum: Checksum::Partial {
                    start: 34,
                    offset: 16,
                },
                gso: Gso::Tcp4 { size: 1460 },
            }
        } else {
            header.push(&mut buf, *GUEST.ip(), *REMOTE.ip());
            Offload::default()
        };
        self.seq += u32::try_from(payload).expect("a frame") + u32::from(flags.syn);
        let frame = self.wrap(buf, IpProtocol::Tcp, offload, self.gateway);
        self.frame(self.port, frame);
    }

    fn wrap(&self, mut buf: FrameBuf, protocol: IpProtocol, offload: Offload, dst: Mac) -> Frame {
        let header = Ipv4Header {
            src: *GUEST.ip(),
            dst: *REMOTE.ip(),
            protocol,
            ttl: 64,
            ident: 0,
            dont_fragment: true,
        };
        packet::push_ipv4(&mut buf, &header);
        packet::push_ethernet(&mut buf, MAC, dst, EthernetProtocol::Ipv4);
        buf.freeze(offload)
    }

    /// What the runtime does until there is nothing left to do.
    fn settle(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::TcpConnect { flow, .. } | Action::UdpOpen { flow, .. } => self.flow = Some(flow),
                Action::TcpSend(flow) => {
                    let bytes = self.engine.tcp_outgoing(flow).map(<[u8]>::len).sum();
                    self.engine.handle_event(self.now, Event::TcpSent { flow, bytes });
                }
                Action::TcpPeek {
                    flow,
                    offset,
                    segment,
                    count,
                } => self.peek(flow, offset, (usize::from(segment), usize::from(count))),
                Action::TcpAgain(flow) => self.engine.handle_event(self.now, Event::TcpReadable(flow)),
                Action::TcpDiscard { bytes, .. } => self.queue -= bytes as usize,
                Action::Transmit(port) => self.transmit(port),
                _ => {}
            }
        }
    }

    fn peek(&mut self, flow: FlowId, offset: u32, (segment, count): (usize, usize)) {
        let mut left = (self.queue - offset as usize).min(segment * count);
        let mut segments = Vec::new();
        while left > 0 {
            let len = left.min(segment);
            segments.push(FrameBuf::zeroed(len));
            left -= len;
        }
        self.engine.handle_event(
            self.now,
            Event::TcpPeeked {
                flow,
                offset,
                segments,
                end: false,
            },
        );
    }

    /// The guest takes what waits, and remembers what it has to acknowledge.
    fn transmit(&mut self, port: PortId) {
        let queue = self.engine.egress(port);
        let frames = queue.len();
        for frame in queue {
            if port == self.port
                && let Ok(tcp) = TcpPacket::new_checked(&frame.bytes[34.min(frame.len())..])
                && tcp.src_port() == REMOTE.port()
            {
                let payload = u32::try_from(tcp.payload().len()).expect("a frame");
                self.ack = Seq(tcp.seq_number().0.cast_unsigned()) + (payload + u32::from(tcp.syn()));
            }
        }
        self.engine
            .handle_event(self.now, Event::Transmitted { port, frames });
    }

    fn up(mut self, frames: usize, payload: usize) {
        // The first window is not scaled.
        self.send_tcp(Flags::ACK, Options::default(), SEGMENT);
        self.settle();
        for number in 0..frames {
            self.send_tcp(Flags::ACK, Options::default(), payload);
            if number % BATCH == BATCH - 1 || payload > SEGMENT {
                self.settle();
            }
        }
    }

    fn down(mut self, frames: usize, payload: usize) {
        let batch = if payload > SEGMENT { 1 } else { BATCH };
        for _ in 0..frames / batch {
            self.queue += payload * batch;
            let flow = self.flow.expect("connected");
            self.engine.handle_event(self.now, Event::TcpReadable(flow));
            self.settle();
            self.send_tcp(Flags::ACK, Options::default(), 0);
            self.settle();
        }
    }

    fn switch(mut self, frames: usize) {
        for number in 0..frames {
            let frame = self.wrap(
                FrameBuf::zeroed(SEGMENT),
                IpProtocol::Tcp,
                Offload::default(),
                OTHER,
            );
            self.frame(self.port, frame);
            if number % BATCH == BATCH - 1 {
                self.settle();
            }
        }
    }

    fn udp_up(mut self, frames: usize) {
        for number in 0..frames {
            let mut buf = FrameBuf::zeroed(64);
            packet::push_udp(&mut buf, GUEST, REMOTE);
            let frame = self.wrap(buf, IpProtocol::Udp, Offload::default(), self.gateway);
            self.frame(self.port, frame);
            if number % BATCH == BATCH - 1 {
                self.settle();
            }
        }
    }

    fn udp_down(mut self, frames: usize) {
        let mut buf = FrameBuf::zeroed(64);
        packet::push_udp(&mut buf, GUEST, REMOTE);
        let frame = self.wrap(buf, IpProtocol::Udp, Offload::default(), self.gateway);
        self.frame(self.port, frame);
        self.settle();
        let flow = self.flow.expect("a socket was asked for");
        for _ in 0..frames / BATCH {
            let datagrams = (0..BATCH).map(|_| FrameBuf::zeroed(64).into()).collect();
            let from = REMOTE;
            let received = Event::UdpReceived {
                flow,
                from: from.into(),
                datagrams,
            };
            self.engine.handle_event(self.now, received);
            self.settle();
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("usage: hot_paths PATH FRAMES");
    let frames = arguments.next().and_then(|frames| frames.parse().ok());
    let frames: usize = frames.expect("usage: hot_paths PATH FRAMES");
    match path.as_str() {
        "tcp-up" => Bench::new(PLAIN).connected().up(frames, SEGMENT),
        "tcp-up-large" => Bench::new(LARGE).connected().up(frames, LARGE_SEGMENT),
        "tcp-down" => Bench::new(PLAIN).connected().down(frames, SEGMENT),
        "tcp-down-large" => Bench::new(LARGE).connected().down(frames, LARGE_SEGMENT),
        "switch" => Bench::new(LARGE).switch(frames),
        "udp-up" => Bench::new(PLAIN).udp_up(frames),
        "udp-down" => Bench::new(PLAIN).udp_down(frames),
        other => unreachable!("no path {other}"),
    }
}
