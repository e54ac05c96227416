//! Flows: guests' conversations, translated to host sockets.
//!
//! [`table`] holds them, [`policy`] says which address means what, [`tcp`], [`datagram`] do the work, each flow on its own.
//! [`Flows`] finds the flow of a packet or event, opens one where policy allows, and clears away those that are over.
//!
//! A flow that has bulk data for a guest whose port's queue is long waits in `waiting`, by port, and so does one that comes while
//! others wait. When the queue is short again all of them are called, each with an equal share of the room; so the flows of a
//! port are even with each other, and a guest that stops reading holds up nobody else.

mod context;
mod datagram;
mod delivery;
mod dial;
mod forward;
mod held;
mod host_ports;
mod permits;
pub(crate) mod policy;
mod recency;
mod table;
pub(crate) mod tcp;
mod wheel;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{Endpoint, Family, FrameBuf, IpProtocol, Offload, Seq};
use bytes::Bytes;

use crate::action::{Action, Notice};
use crate::config::{Config, Documents};
use crate::counters::Counter;
use crate::event::Event;
use crate::gateway::Packet;
use crate::gateway::icmp::{self, Quote, Unreachable};
use crate::lan::Lan;
use crate::policy::Transport;
use crate::rng::KeyedHash;
use crate::{AcceptId, Datagrams, FlowId, FlowSnapshot, ForwardId, Instant, Listening, PortId};
pub(crate) use context::{Cx, Shared};
use datagram::{EchoFlow, UdpFlow};
use dial::Dials;
use forward::Forward;
use held::Held;
use host_ports::{Destination, HostPorts};
use policy::{Policy, Route};
use table::{Key, Table};
use tcp::{Host, Segment, Service, TcpFlow};

/// One conversation.
#[derive(Debug)]
enum Flow {
    Tcp(Box<TcpFlow>),
    Udp(Box<UdpFlow>),
    Echo(Box<EchoFlow>),
}

/// All flows of a network.
#[derive(Debug)]
pub(crate) struct Flows {
    table: Table<Flow>,
    policy: Policy,
    forwards: BTreeMap<ForwardId, Forward>,
    /// Whether a forward of this run ever kept its clients' sources: then their addresses are looked up, too.
    keeps_sources: bool,
    /// The flow of each client of a UDP forward.
    forward_clients: HashMap<(ForwardId, SocketAddr), FlowId, KeyedHash>,
    shared: Shared,
    /// Connections to services that are over.
    gone: Vec<FlowId>,
    documents: BTreeMap<String, Documents>,
    /// Whether guests may report at which ports they listen.
    takes_reports: bool,
    dials: Dials,
    host_ports: HostPorts,
}

impl Flows {
    pub(crate) fn new(config: &Config, hash: KeyedHash) -> Self {
        Self {
            table: Table::new(config.limits.flows, hash),
            policy: Policy {
                mode: config.mode,
                addresses: config.addresses(),
                host_loopback: config.host_loopback,
            },
            forwards: BTreeMap::new(),
            keeps_sources: false,
            forward_clients: HashMap::with_hasher(hash),
            shared: Shared {
                tcp_window: config.limits.tcp_window.clamp(u32::from(u16::MAX), 1 << 29),
                dns_queries: Vec::new(),
                reports: Vec::new(),
                waiting: BTreeMap::new(),
                share: u32::MAX,
                bulk: HashMap::with_hasher(hash),
                held: Held::new(config.limits.held_bytes as u64),
                answered: Vec::new(),
                hash,
            },
            gone: Vec::new(),
            documents: config.documents.clone(),
            takes_reports: false,
            dials: Dials::default(),
            host_ports: HostPorts::new(&config.host_ports),
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        self.policy
    }

    pub(crate) fn set_documents(&mut self, label: String, documents: Documents) {
        if documents.is_empty() {
            self.documents.remove(&label);
        } else {
            self.documents.insert(label, documents);
        }
    }

    /// DNS messages that came over TCP since this was last asked.
    pub(crate) fn take_dns_queries(&mut self) -> Vec<(FlowId, Bytes)> {
        std::mem::take(&mut self.shared.dns_queries)
    }

    /// Whether guests may report at which ports they listen, from the next connection on.
    pub(crate) fn take_reports(&mut self, takes: bool) {
        self.takes_reports = takes;
    }

    /// What guests reported since this was last asked.
    pub(crate) fn poll_reports(&mut self) -> Vec<(FlowId, BTreeSet<Listening>)> {
        std::mem::take(&mut self.shared.reports)
    }

    /// Connections to services that ended since this was last asked.
    pub(crate) fn take_gone(&mut self) -> Vec<FlowId> {
        std::mem::take(&mut self.gone)
    }

    /// Whose flow this is.
    pub(crate) fn guest_of(&self, id: FlowId) -> Option<IpAddr> {
        self.table.get(id).map(|flow| match flow {
            Flow::Tcp(flow) => flow.guest().ip,
            Flow::Udp(flow) => flow.guest().ip,
            Flow::Echo(flow) => flow.guest().ip,
        })
    }

    pub(crate) fn outgoing(&self, id: FlowId) -> impl ExactSizeIterator<Item = &[u8]> {
        static NOTHING: VecDeque<Bytes> = VecDeque::new();
        let queue = match self.table.get(id) {
            Some(Flow::Tcp(flow)) => flow.outgoing(),
            _ => &NOTHING,
        };
        queue.iter().map(|bytes| &bytes[..])
    }

    /// Let one flow act, then see to what it wants: its timer, or its end.
    fn with(&mut self, now: Instant, lan: &mut Lan, id: FlowId, act: impl FnOnce(&mut Flow, &mut Cx<'_>)) {
        let Some(flow) = self.table.get_mut(id) else {
            return;
        };
        let mut cx = Cx {
            now,
            lan,
            shared: &mut self.shared,
        };
        act(flow, &mut cx);
        self.settle(id);
    }

    fn with_tcp(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        id: FlowId,
        act: impl FnOnce(&mut TcpFlow, &mut Cx<'_>),
    ) {
        self.with(now, lan, id, |flow, cx| {
            if let Flow::Tcp(flow) = flow {
                act(flow, cx);
            }
        });
    }

    fn settle(&mut self, id: FlowId) {
        let Some(flow) = self.table.get_mut(id) else {
            return;
        };
        let (over, due) = match flow {
            Flow::Tcp(flow) => {
                if let Some(is_bulk) = flow.note_bulk() {
                    self.shared.count_bulk(flow.guest().ip, is_bulk);
                }
                (flow.is_over(), flow.next_due())
            }
            Flow::Udp(flow) => (flow.is_over(), flow.next_due()),
            Flow::Echo(flow) => (flow.is_over(), flow.next_due()),
        };
        if over {
            self.forget(id);
        } else {
            self.table.schedule(id, due);
        }
    }

    fn forget(&mut self, id: FlowId) {
        for flows in self.shared.waiting.values_mut() {
            flows.remove(&id);
        }
        match self.table.remove(id) {
            Some(Flow::Udp(flow)) => {
                // The client may have another flow by now, to the guest that has the forward's name.
                if let Some(client) = flow.forward_client()
                    && self.forward_clients.get(&client) == Some(&id)
                {
                    self.forward_clients.remove(&client);
                }
            }
            Some(Flow::Tcp(flow)) => {
                if flow.is_bulk() {
                    self.shared.count_bulk(flow.guest().ip, false);
                }
                if let Some((port, bytes)) = flow.held() {
                    self.shared.held.change(port, bytes, 0);
                }
                if flow.is_served() {
                    self.gone.push(id);
                }
                if let Some((accept, why)) = flow.promise() {
                    self.dials.fail(accept, why);
                }
            }
            _ => {}
        }
    }

    /// Make room for one more flow and name it.
    fn admit(&mut self, now: Instant, lan: &mut Lan) -> FlowId {
        while let Some(victim) = self.table.victim() {
            lan.counters.count(Counter::FlowEvicted);
            lan.notice(
                now,
                Notice::TableFull {
                    table: "flow",
                    bound: self.table.bound(),
                },
            );
            self.evict(now, lan, victim);
        }
        self.table.next_id()
    }

    fn evict(&mut self, now: Instant, lan: &mut Lan, victim: FlowId) {
        self.with(now, lan, victim, |flow, cx| match flow {
            Flow::Tcp(flow) => flow.abort(cx),
            Flow::Udp(flow) => flow.close(cx),
            Flow::Echo(flow) => flow.close(cx),
        });
        self.forget(victim);
    }

    fn add_tcp(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        (id, port): (FlowId, PortId),
        make: impl FnOnce(&mut Cx<'_>) -> TcpFlow,
    ) {
        let mut cx = Cx {
            now,
            lan,
            shared: &mut self.shared,
        };
        let flow = make(&mut cx);
        cx.lan.counters.count(Counter::TcpOpened);
        let key = Key::Tcp {
            guest: flow.guest(),
            remote: flow.remote(),
        };
        self.table.insert(id, port, key, Flow::Tcp(Box::new(flow)));
        self.settle(id);
    }

    /// The port to whose guest a flow that the host began is counted.
    fn port_of(now: Instant, lan: &Lan, guest: IpAddr) -> PortId {
        let mac = lan.neighbors.mac_of(guest);
        let port = mac.and_then(|mac| lan.switch.port_of(now, mac));
        port.unwrap_or(PortId(u32::MAX))
    }

    /// Whether there is such a flow.
    pub(crate) fn has(&self, id: FlowId) -> bool {
        self.table.get(id).is_some()
    }

    /// A segment of a flow that is known.
    pub(crate) fn handle_next(&mut self, now: Instant, lan: &mut Lan, id: FlowId, segment: Segment) {
        self.with_tcp(now, lan, id, |flow, cx| flow.handle_segment(cx, segment));
    }

    /// A TCP segment of a guest's, header and checksum verified. The flow that it reached, if a host socket is its other end.
    pub(crate) fn handle_tcp(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        packet: &Packet,
        segment: Segment,
    ) -> Option<FlowId> {
        let guest = Endpoint::new(packet.src, segment.header.src_port);
        let remote = Endpoint::new(packet.dst, segment.header.dst_port);
        let key = Key::Tcp { guest, remote };
        if let Some(id) = self.table.find(&key) {
            let replaced = segment.header.flags == Flags::SYN
                && matches!(self.table.get(id), Some(Flow::Tcp(flow)) if flow.may_be_replaced(segment.header.seq));
            if !replaced {
                self.handle_next(now, lan, id, segment);
                return match self.table.get(id) {
                    Some(Flow::Tcp(flow)) if !flow.is_served() => Some(id),
                    _ => None,
                };
            }
            self.forget(id);
        }
        if segment.header.flags.rst {
            return None;
        }
        if segment.header.flags.ack || !segment.header.flags.syn {
            refuse_tcp(lan, now, guest, remote, &segment);
            return None;
        }
        // A listed port is open: whoever listed it said so, as with DNS at the gateway.
        if !self.is_listed_tcp(remote) && !self.permits(now, lan, packet.ingress, (Transport::Tcp, remote)) {
            refuse_tcp(lan, now, guest, remote, &segment);
            return None;
        }
        match self.tcp_host(lan, packet, remote) {
            Ok((host, to)) => {
                if !Self::may_begin(now, lan, packet.ingress) {
                    return None;
                }
                self.make_room(now, lan, packet.ingress);
                let id = self.admit(now, lan);
                let opening = tcp::setup::Opening {
                    id,
                    guest,
                    remote,
                    host,
                    hops: packet.hops().filter(|_| !lan.is_own(packet.dst)),
                };
                self.add_tcp(now, lan, (id, packet.ingress), |cx| {
                    TcpFlow::outbound(cx, opening, &segment.header, to)
                });
            }
            Err(Refusal::Reset) => refuse_tcp(lan, now, guest, remote, &segment),
            Err(Refusal::Unreachable(why)) => {
                lan.counters.count(Counter::Forbidden);
                icmp::send_unreachable(lan, now, &packet.quote(), why);
            }
            Err(Refusal::Silence) => lan.counters.count(Counter::Forbidden),
        }
        None
    }

    /// Who answers a connection to `remote`.
    fn tcp_host(&self, lan: &Lan, packet: &Packet, remote: Endpoint) -> Result<(Host, Destination), Refusal> {
        let metadata = || {
            let label = lan
                .switch
                .port(packet.ingress)
                .and_then(|port| port.config.label.as_ref());
            let documents = label.and_then(|label| self.documents.get(label)).cloned();
            (
                Host::Service(Service::http(documents, self.takes_reports)),
                Destination::Address(remote.into()),
            )
        };
        match (self.policy.route(remote.ip), remote.port) {
            (Route::Gateway, 53) => Ok((Host::Service(Service::dns()), Destination::Address(remote.into()))),
            (Route::Gateway | Route::Metadata, 80) if !self.documents.is_empty() || self.takes_reports => {
                Ok(metadata())
            }
            (Route::Gateway | Route::Metadata, _) => Err(Refusal::Reset),
            (Route::Neighbor, _) => Err(Refusal::Unreachable(Unreachable::Host)),
            (Route::Forbidden, _) => Err(Refusal::Unreachable(Unreachable::Prohibited)),
            (Route::Group, _) => Err(Refusal::Silence),
            (Route::HostAlias | Route::Outside, _) => {
                let to = self.tcp_destination(remote).ok_or(Refusal::Reset)?;
                Ok((Host::Socket, to))
            }
        }
    }

    /// Something happened to a flow's host side.
    pub(crate) fn handle_event(&mut self, now: Instant, lan: &mut Lan, event: Event) {
        match event {
            Event::TcpConnected(flow) => self.with_tcp(now, lan, flow, TcpFlow::handle_connected),
            Event::TcpSent { flow, bytes } => {
                self.with_tcp(now, lan, flow, |flow, cx| flow.handle_sent(cx, bytes));
            }
            Event::TcpReadable(flow) => self.with_tcp(now, lan, flow, TcpFlow::handle_readable),
            Event::TcpPeeked {
                flow, segments, end, ..
            } => {
                self.with_tcp(now, lan, flow, |flow, cx| flow.handle_peeked(cx, segments, end));
            }
            Event::TcpFailed { flow, error } => {
                self.with_tcp(now, lan, flow, |flow, cx| flow.handle_failed(cx, error));
            }
            Event::TcpAccepted { .. } | Event::UdpForwarded { .. } => {}
            other => self.handle_datagram_event(now, lan, other),
        }
    }

    /// The port's queue is short again: those who wait for it go on, each in turn.
    pub(crate) fn handle_room(&mut self, now: Instant, lan: &mut Lan, port: PortId) {
        let flows = self.shared.waiting.remove(&port).unwrap_or_default();
        let count = u32::try_from(flows.len()).unwrap_or(u32::MAX).max(1);
        // At least a byte, which stands for a segment.
        self.shared.share = (lan.switch.room(port) / count).max(1);
        for flow in flows {
            self.with(now, lan, flow, |flow, cx| match flow {
                Flow::Tcp(flow) => flow.handle_room(cx),
                Flow::Udp(flow) => flow.resume(cx),
                Flow::Echo(_) => {}
            });
        }
        self.shared.share = u32::MAX;
    }

    /// The answer to a DNS message that came over TCP.
    pub(crate) fn handle_dns_answer(&mut self, now: Instant, lan: &mut Lan, flow: FlowId, message: &[u8]) {
        self.with_tcp(now, lan, flow, |flow, cx| flow.handle_dns_answer(cx, message));
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let timeouts = [self.table.poll_timeout(), self.dials.poll_timeout()];
        timeouts.into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, lan: &mut Lan) {
        while let Some(id) = self.table.poll_fired(now) {
            self.with(now, lan, id, |flow, cx| match flow {
                Flow::Tcp(flow) => flow.handle_timeout(cx),
                Flow::Udp(flow) => flow.handle_timeout(cx),
                Flow::Echo(flow) => flow.handle_timeout(cx),
            });
        }
        self.handle_dial_timeouts(now, lan);
    }

    pub(crate) fn snapshot(&self) -> Vec<FlowSnapshot> {
        let picture = |(id, flow): (FlowId, &Flow)| {
            let (protocol, guest, host, state) = match flow {
                Flow::Tcp(flow) => ("tcp", flow.guest(), flow.remote(), flow.state_name()),
                Flow::Udp(flow) => ("udp", flow.guest(), flow.last_peer(), "open"),
                Flow::Echo(flow) => ("icmp", flow.guest(), flow.last_peer(), "open"),
            };
            FlowSnapshot {
                flow: id,
                protocol,
                guest: guest.into(),
                host: host.into(),
                state,
            }
        };
        self.table.iter().map(picture).collect()
    }
}

/// How a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Reset,
    Unreachable(Unreachable),
    Silence,
}

/// RST for a segment that belongs to no connection (RFC 9293, 3.10.7.1).
pub(crate) fn refuse_tcp(lan: &mut Lan, now: Instant, guest: Endpoint, remote: Endpoint, segment: &Segment) {
    let heard = &segment.header;
    let len = u32::try_from(segment.payload.len()).unwrap_or(0);
    let (flags, seq, ack) = if heard.flags.ack {
        (Flags::RST, heard.ack, Seq(0))
    } else {
        let control = u32::from(heard.flags.syn) + u32::from(heard.flags.fin);
        (Flags::RST_ACK, Seq(0), heard.seq + len + control)
    };
    let header = Header {
        src_port: remote.port,
        dst_port: guest.port,
        seq,
        ack,
        flags,
        window: 0,
        options: Options::default(),
    };
    let mut buf = FrameBuf::zeroed(0);
    header.push(&mut buf, remote.ip, guest.ip);
    let packet = (buf, Offload::default());
    lan.send_ip(now, (remote.ip, guest.ip), IpProtocol::Tcp, packet);
}
