//! The engine with a host around it that tells the truth.
//!
//! Frames may be anything; the host side is ours, so it keeps the engine's contract: it connects or
//! fails once, never says that more was sent than was outgoing, answers a peek with bytes that it
//! has. In return it asserts the engine's side of the contract: actions come to an end, name flows
//! that live, discard no more than was peeked, and queues keep their bounds.

use super::guest::{GATEWAY_MAC, GUEST_MAC, OUTSIDE6, PREFIX, Peer};
use atoll_engine::{
    AcceptId, Action, ClockReading, ClockState, Config, Datagrams, Engine, Event, FileError, FlowId,
    HostError, HostPort, HostTarget, Instant, Leap, Limits, Mode, PortConfig, PortId, Prefix, QueryId,
    ServiceTarget, Side, StaticRoute, Subnet, TransferId,
};
use atoll_wire::{Frame, FrameBuf};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// More actions than one input of bounded length can rightly cause.
const MAX_ACTIONS: usize = 100_000;

/// Where the uplink of a network is that has one.
pub(super) const UPLINK: PortId = PortId(9);

/// The port of the host's loopback to which port 53 of the host alias leads.
pub(super) const LISTED_UDP: u16 = 5353;

/// The ports of uplinks that the engine asks for.
const FIRST_PINNED: u32 = 1000;

/// Bounds low enough for an input of a few hundred bytes to reach them.
pub(super) const LIMITS: Limits = Limits {
    mac_table: 8,
    egress_frames: 64,
    egress_bytes: 64 << 10,
    flows: 8,
    tcp_window: 8192,
    neighbors: 8,
    leases: 4,
    held_bytes: 32 << 10,
    dns_queries: 4,
};

/// The host socket of one TCP flow.
#[derive(Debug, Default)]
struct Stream {
    connected: bool,
    /// Bytes in the receive queue, and how many of them the engine has seen.
    queued: usize,
    peeked: usize,
    /// The peer sent FIN after what is queued.
    end: bool,
}

/// A running network.
#[derive(Debug)]
pub(super) struct World {
    engine: Engine,
    now: Instant,
    streams: BTreeMap<FlowId, Stream>,
    datagrams: Vec<FlowId>,
    queries: Vec<QueryId>,
    files: BTreeSet<TransferId>,
    accepts: u64,
    /// Connections that found a guest, or none.
    ended: BTreeSet<AcceptId>,
    /// Ports that do not read.
    stalled: Vec<PortId>,
    uplinks: BTreeMap<PortId, Side>,
    /// Who sent a SYN to a port of a guest, with or without ACK, by that port.
    peers: BTreeMap<u16, Peer>,
    /// Where host sockets were to connect or send to.
    pub(super) reached: BTreeSet<SocketAddr>,
    /// Kinds of action that came.
    #[cfg(test)]
    pub(super) seen: BTreeSet<String>,
}

impl World {
    /// A network with two guests attached, on ports 0 and 1.
    pub(super) fn new() -> Self {
        Self::with(|_| ())
    }

    /// The same in this mode, with an uplink at [`UPLINK`]: for all, or for the first guest.
    pub(super) fn with_uplinks(mode: Mode, pinned: bool, isolate: bool) -> Self {
        let mut world = Self::with(|config| {
            config.mode = mode;
            config.pinned_uplinks = pinned;
            config.isolate = isolate;
            config.routes = vec![StaticRoute {
                to: [192, 0, 2, 0].into(),
                prefix_len: 25,
                via: [10, 77, 0, 3].into(),
            }];
        });
        world.attach_uplink(
            UPLINK,
            if pinned {
                Side::Pinned(GUEST_MAC)
            } else {
                Side::Uplink
            },
        );
        world
    }

    fn attach_uplink(&mut self, port: PortId, side: Side) {
        let port_config = PortConfig {
            side,
            ..PortConfig::default()
        };
        self.uplinks.insert(port, side);
        self.event(Event::PortAttached { port, port_config });
    }

    /// The same, configured otherwise.
    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let subnet = Subnet {
            address: Ipv4Addr::new(10, 77, 0, 0),
            prefix_len: 24,
        };
        let mut config = Config::new((subnet, Prefix { address: PREFIX }));
        config.gateway_mac = GATEWAY_MAC;
        config.host_loopback = true;
        config.tftp = true;
        config.resolvers = vec![([192, 0, 2, 53], 53).into()];
        config.names.insert("a".to_owned(), vec![[10, 77, 0, 2].into()]);
        config.dns.wildcards = true;
        let place = ServiceTarget {
            host: "a".to_owned(),
            port: 80,
        };
        config.dns.services.insert("_http._tcp".to_owned(), vec![place]);
        config.documents.insert(
            "a".to_owned(),
            [("meta-data".to_owned(), "instance-id: a\n".into())].into(),
        );
        config.limits = LIMITS;
        config.host_ports = vec![
            HostPort::Tcp {
                port: 2375,
                to: HostTarget::Service(0),
            },
            HostPort::Udp {
                port: 53,
                to: LISTED_UDP,
            },
        ];
        change(&mut config);
        let mut world = Self {
            engine: Engine::new(&config, [7; 32]),
            now: Instant::ZERO,
            streams: BTreeMap::new(),
            datagrams: Vec::new(),
            queries: Vec::new(),
            files: BTreeSet::new(),
            accepts: 0,
            ended: BTreeSet::new(),
            stalled: Vec::new(),
            uplinks: BTreeMap::new(),
            peers: BTreeMap::new(),
            reached: BTreeSet::new(),
            #[cfg(test)]
            seen: BTreeSet::new(),
        };
        for (port, label) in [(0, "a"), (1, "b")] {
            let port_config = PortConfig {
                label: Some(label.to_owned()),
                ..PortConfig::default()
            };
            world.event(Event::PortAttached {
                port: PortId(port),
                port_config,
            });
        }
        world
    }

    /// The engine, for commands and for looking.
    pub(super) fn engine(&mut self) -> (&mut Engine, Instant) {
        (&mut self.engine, self.now)
    }

    /// The other end of the connection at this port of a guest.
    pub(super) fn peer(&self, guest_port: u16) -> Option<Peer> {
        self.peers.get(&guest_port).copied()
    }

    pub(super) fn frame(&mut self, port: PortId, frame: Frame) {
        self.engine.handle_frame(self.now, port, frame);
        self.settle();
    }

    pub(super) fn event(&mut self, event: Event) {
        self.engine.handle_event(self.now, event);
        self.settle();
    }

    /// Lets time pass, with every timeout on the way.
    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1000 {
            let Some(due) = self.engine.poll_timeout().filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
        self.engine.handle_timeout(self.now);
        self.settle();
    }

    /// The port reads no more, or reads on.
    pub(super) fn stall(&mut self, port: PortId, stalled: bool) {
        self.stalled.retain(|other| *other != port);
        if stalled {
            self.stalled.push(port);
        } else {
            self.transmit(port);
        }
        self.settle();
    }

    /// A TCP flow's socket did something: which flow and what is for `which` and `how` to say.
    pub(super) fn stream_event(&mut self, which: u8, how: u8, bytes: u16) {
        let Some(flow) = nth(self.streams.keys().copied(), which) else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&flow) else {
            return;
        };
        let event = match (stream.connected, how % 4) {
            (false, 0) => Event::TcpFailed {
                flow,
                error: error(how),
            },
            (false, _) => {
                stream.connected = true;
                Event::TcpConnected(flow)
            }
            (true, 0) => Event::TcpFailed {
                flow,
                error: HostError::Reset,
            },
            (true, 1) => {
                stream.end = true;
                Event::TcpReadable(flow)
            }
            (true, _) => {
                stream.queued += if stream.end { 0 } else { usize::from(bytes) };
                Event::TcpReadable(flow)
            }
        };
        self.event(event);
    }

    /// A datagram or an error came to a UDP or ICMP socket.
    pub(super) fn datagram_event(&mut self, which: u8, how: u8, payload: &[u8]) {
        let Some(flow) = nth(self.datagrams.iter().copied(), which) else {
            return;
        };
        let from = if how & 0x40 == 0 {
            IpAddr::from([192, 0, 2, how])
        } else {
            OUTSIDE6.into()
        };
        let payload = FrameBuf::copy_from(payload);
        let seq = u16::from(how);
        self.event(match how % 5 {
            0 => Event::FlowFailed {
                flow,
                error: error(how),
            },
            1 => Event::UdpReceived {
                flow,
                from: SocketAddr::new(from, 53),
                datagrams: vec![Datagrams {
                    payload,
                    segment: (how > 127).then_some(seq),
                }],
            },
            2 => Event::UdpRefused {
                flow,
                to: SocketAddr::new(from, 53),
                error: error(how),
            },
            3 => Event::IcmpReceived {
                flow,
                from,
                seq,
                payload,
            },
            _ => Event::IcmpRefused {
                flow,
                to: from,
                seq,
                error: error(how),
            },
        });
    }

    /// A resolver answered the oldest question, or could not be reached.
    pub(super) fn answer(&mut self, message: Option<&[u8]>) {
        let Some(query) = self.queries.first().copied() else {
            return;
        };
        self.queries.remove(0);
        self.event(match message {
            Some(message) => Event::DnsAnswered {
                query,
                message: message.to_vec().into(),
            },
            None => Event::DnsFailed(query),
        });
    }

    /// A new name for a connection that a forward accepted.
    pub(super) fn next_accept(&mut self) -> AcceptId {
        self.accepts += 1;
        AcceptId(self.accepts)
    }

    fn settle(&mut self) {
        for _ in 0..MAX_ACTIONS {
            let Some(action) = self.engine.poll_action() else {
                return;
            };
            #[cfg(test)]
            self.note(&action);
            self.carry_out(&action);
        }
        panic!("one input caused more than {MAX_ACTIONS} actions");
    }

    #[cfg(test)]
    fn note(&mut self, action: &Action) {
        let words = format!("{action:?}");
        let kind = words.split(|c: char| !c.is_alphanumeric()).next();
        self.seen.insert(kind.unwrap_or_default().to_owned());
    }

    fn carry_out(&mut self, action: &Action) {
        match *action {
            Action::Transmit(port) => self.transmit(port),
            Action::TcpConnect { flow, to, .. } => {
                self.reached.insert(to);
                self.streams.insert(flow, Stream::default());
            }
            Action::TcpConnectService { flow, .. } => {
                self.streams.insert(flow, Stream::default());
            }
            Action::TcpAdopt { flow, accept } => {
                assert!(self.ended.insert(accept), "{accept:?} is answered twice");
                self.streams.insert(
                    flow,
                    Stream {
                        connected: true,
                        ..Stream::default()
                    },
                );
            }
            Action::TcpSend(flow) => self.send(flow),
            Action::TcpAgain(flow) => self.event(Event::TcpReadable(flow)),
            Action::TcpPeek {
                flow,
                offset,
                segment,
                count,
            } => self.peek(flow, offset, segment, count),
            Action::TcpDiscard { flow, bytes } => self.discard(flow, bytes),
            Action::TcpShutdown(flow) => {
                assert!(self.streams.contains_key(&flow), "{flow} shut down, but not open");
            }
            Action::Close(flow) | Action::TcpReset(flow) => {
                self.streams.remove(&flow);
                self.datagrams.retain(|other| *other != flow);
            }
            Action::UdpOpen { flow, .. } | Action::IcmpOpen { flow, .. } => self.datagrams.push(flow),
            Action::UdpHops { flow, .. } => assert!(self.datagrams.contains(&flow), "{flow} is not open"),
            Action::OpenUplink(mac) => {
                let port = PortId(FIRST_PINNED + u32::try_from(self.uplinks.len()).unwrap_or(0));
                self.attach_uplink(port, Side::Pinned(mac));
            }
            Action::CloseUplink(mac) => {
                let mut of_mac = self
                    .uplinks
                    .iter()
                    .filter(|(_, side)| **side == Side::Pinned(mac));
                if let Some(port) = of_mac.next().map(|(port, _)| *port) {
                    self.uplinks.insert(port, Side::Guest);
                    self.event(Event::PortDetached(port));
                }
            }
            Action::DnsAsk { query, .. } => self.queries.push(query),
            Action::FileOpen { transfer, ref path } => {
                assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")));
                assert!(self.files.insert(transfer), "{transfer:?} is opened twice");
                assert!(self.files.len() <= 64, "open files are bounded");
                let event = match path.len() {
                    1 => Event::FileFailed {
                        transfer,
                        error: FileError::NotFound,
                    },
                    len => Event::FileOpened {
                        transfer,
                        size: len as u64 * 1000,
                    },
                };
                self.event(event);
            }
            Action::FileRead {
                transfer,
                offset,
                len,
            } => {
                assert!(self.files.contains(&transfer) && len <= 49_152);
                let left = 3000_u64.saturating_sub(offset).min(len.into());
                let data = vec![7; usize::try_from(left).unwrap_or(0)].into();
                self.event(Event::FileRead { transfer, data });
            }
            Action::FileClose(transfer) => {
                self.files.remove(&transfer);
            }
            Action::ReadClock(question) => {
                let since_1970 = self.now.elapsed();
                let (state, leap) = (ClockState::Untold, Leap::None);
                let reading = ClockReading {
                    since_1970,
                    state,
                    leap,
                };
                self.event(Event::ClockRead { question, reading });
            }
            Action::DnsForget(query) => self.queries.retain(|other| *other != query),
            Action::UdpSend { flow, to, .. } => {
                self.reached.insert(to);
                assert!(self.datagrams.contains(&flow), "{flow} sends, but is not open");
            }
            Action::IcmpSend { flow, to, .. } => {
                self.reached.insert(SocketAddr::new(to, 0));
                assert!(self.datagrams.contains(&flow), "{flow} sends, but is not open");
            }
            Action::TcpRefuse { accept, .. } => {
                assert!(self.ended.insert(accept), "{accept:?} is answered twice");
            }
            Action::UdpForwardSend { .. }
            | Action::UdpPause(_)
            | Action::UdpResume(_)
            | Action::LeasesChanged
            | Action::Route { .. }
            | Action::Listening { .. }
            | Action::Captured(_)
            | Action::Notice(_) => {}
        }
    }

    fn transmit(&mut self, port: PortId) {
        let queue = self.engine.egress(port);
        let (frames, bytes) = (queue.len(), queue.iter().map(Frame::len).sum::<usize>());
        assert!(frames <= LIMITS.egress_frames, "{frames} frames wait for {port}");
        assert!(bytes <= LIMITS.egress_bytes, "{bytes} bytes wait for {port}");
        if self.uplinks.contains_key(&port) {
            let ours = queue.iter().find(|frame| frame.bytes[6..12] == GATEWAY_MAC.0);
            assert!(ours.is_none(), "this leaves by an uplink: {ours:?}");
        }
        if frames > 0 && !self.stalled.contains(&port) {
            self.peers.extend(queue.iter().filter_map(Peer::in_frame));
            self.engine
                .handle_event(self.now, Event::Transmitted { port, frames });
        }
    }

    fn send(&mut self, flow: FlowId) {
        assert!(
            self.streams.get(&flow).is_some_and(|stream| stream.connected),
            "{flow} sends, but is not connected"
        );
        let bytes = self.engine.tcp_outgoing(flow).map(<[u8]>::len).sum();
        if bytes > 0 {
            self.engine.handle_event(self.now, Event::TcpSent { flow, bytes });
        }
    }

    fn peek(&mut self, flow: FlowId, offset: u32, segment: u16, count: u16) {
        let Some(stream) = self.streams.get_mut(&flow) else {
            panic!("{flow} peeks, but is not open")
        };
        assert!(segment > 0 && count > 0, "{flow} peeks at nothing");
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rest = stream.queued.saturating_sub(skip);
        let mut segments = Vec::new();
        while rest > 0 && segments.len() < usize::from(count) {
            let len = rest.min(usize::from(segment));
            segments.push(FrameBuf::zeroed(len));
            rest -= len;
        }
        stream.peeked = stream.peeked.max(stream.queued.saturating_sub(rest));
        let end = stream.end && rest == 0;
        self.engine.handle_event(
            self.now,
            Event::TcpPeeked {
                flow,
                offset,
                segments,
                end,
            },
        );
    }

    fn discard(&mut self, flow: FlowId, bytes: u32) {
        let Some(stream) = self.streams.get_mut(&flow) else {
            panic!("{flow} discards, but is not open")
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        assert!(
            bytes <= stream.peeked,
            "{flow} discards {bytes} bytes, but saw {}",
            stream.peeked
        );
        stream.peeked -= bytes;
        stream.queued -= bytes;
    }
}

fn nth<T>(mut items: impl ExactSizeIterator<Item = T>, which: u8) -> Option<T> {
    let at = usize::from(which).checked_rem(items.len())?;
    items.nth(at)
}

fn error(how: u8) -> HostError {
    match how >> 4 {
        0 => HostError::Refused,
        1 => HostError::Reset,
        2 => HostError::TimedOut,
        3 => HostError::HostUnreachable,
        4 => HostError::NetUnreachable,
        5 => HostError::Prohibited,
        6 => HostError::TooBig {
            mtu: Some(u16::from(how)),
        },
        7 => HostError::TimeExceeded { router: None },
        8 => HostError::Exhausted,
        _ => HostError::Other,
    }
}
