//! UDP and ICMP echo: flows without a connection.
//!
//! A guest's UDP port is one host socket, whoever it talks to, so that any peer that knows the socket's port may answer
//! (RFC 4787, endpoint-independent mapping). An echo identifier is one ping socket. A flow ends when nothing passed for a
//! while. Datagrams are never kept here: what the guest's port or the host has no room for is lost, as on any link. A flow whose
//! guest is far behind leaves them in its socket ([`Action::UdpPause`]), so that a flood takes no room from the guest's other traffic. A guest that
//! wants a packet to cross few routers only is heard ([`Action::UdpHops`]): so it finds the routers on the way.

use super::*;
use crate::event::HostError;

/// RFC 4787, REQ-5: at least two minutes, five by default.
const UDP_IDLE: Duration = Duration::from_secs(300);
/// Flows of one guest whose sockets may be full: what waits there is the host's memory.
const PAUSED: usize = 32;
/// RFC 5508, REQ-2: at least 60 seconds.
const ICMP_IDLE: Duration = Duration::from_secs(60);

/// Where a UDP flow's other side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// A socket of its own.
    Socket,
    /// A forward's socket and one client of it; the guest sees the client at `local`.
    Forward { forward: ForwardId, client: SocketAddr },
}

#[derive(Debug)]
pub(super) struct UdpFlow {
    id: FlowId,
    guest: Endpoint,
    peer: Endpoint,
    side: Side,
    used: Instant,
    /// How many routers the socket's datagrams may cross, where the guest wants fewer than is usual.
    hops: Option<u8>,
    /// The guest's port is far behind: the runtime leaves datagrams in the socket.
    paused: bool,
    over: bool,
}

impl UdpFlow {
    pub(super) fn guest(&self) -> Endpoint {
        self.guest
    }

    pub(super) fn last_peer(&self) -> Endpoint {
        self.peer
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn next_due(&self) -> Instant {
        self.used + UDP_IDLE
    }

    pub(super) fn forward_client(&self) -> Option<(ForwardId, SocketAddr)> {
        match self.side {
            Side::Socket => None,
            Side::Forward { forward, client } => Some((forward, client)),
        }
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        if cx.now.since(self.used) >= UDP_IDLE {
            self.close(cx);
        }
    }

    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        if self.side == Side::Socket {
            cx.lan.actions.push_back(Action::Close(self.id));
        }
        self.over = true;
    }

    /// Datagrams for the guest. While its port is far behind, further ones wait in the host's kernel, which drops what is too much;
    /// where that would be too many flows' they are dropped here.
    fn deliver(&mut self, cx: &mut Cx<'_>, src: Endpoint, datagrams: Vec<Datagrams>) {
        self.used = cx.now;
        cx.deliver(src, self.guest, datagrams);
        let guest = self.guest.ip;
        if self.side == Side::Socket
            && !self.paused
            && !cx.takes_datagrams(guest)
            && cx.waiting_for(guest) < PAUSED
            && cx.wait_for_room(guest, self.id).is_some()
        {
            self.paused = true;
            cx.lan.actions.push_back(Action::UdpPause(self.id));
        }
    }

    /// The guest's port has room.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>) {
        if std::mem::take(&mut self.paused) {
            cx.lan.actions.push_back(Action::UdpResume(self.id));
        }
    }
}

#[derive(Debug)]
pub(super) struct EchoFlow {
    id: FlowId,
    guest: IpAddr,
    ident: u16,
    peer: IpAddr,
    used: Instant,
    over: bool,
}

impl EchoFlow {
    /// The guest, with the identifier where others have a port.
    pub(super) fn guest(&self) -> Endpoint {
        Endpoint::new(self.guest, self.ident)
    }

    pub(super) fn last_peer(&self) -> Endpoint {
        Endpoint::new(self.peer, 0)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn next_due(&self) -> Instant {
        self.used + ICMP_IDLE
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        if cx.now.since(self.used) >= ICMP_IDLE {
            self.close(cx);
        }
    }

    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        cx.lan.actions.push_back(Action::Close(self.id));
        self.over = true;
    }
}

impl Flows {
    /// A guest's datagram, or several that are to be cut at `segment`, for no service of ours.
    pub(crate) fn handle_udp(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        packet: &Packet,
        ports: (u16, u16),
        (payload, segment): (Bytes, Option<u16>),
    ) {
        let guest = Endpoint::new(packet.src, ports.0);
        let remote = Endpoint::new(packet.dst, ports.1);
        // A forward's clients are seen at the gateway's address, or at their own where a forward keeps that.
        if (lan.is_gateway(packet.dst) || self.keeps_sources)
            && let Some(id) = self.table.find(&Key::UdpForward { guest, local: remote })
        {
            return self.answer_forward(now, lan, id, (payload, segment));
        }
        let listed = self.listed_udp(remote);
        let to = listed.or_else(|| {
            let address = self.host_address_or_tell(now, lan, packet)?;
            Some(SocketAddr::new(address, remote.port))
        });
        let Some(to) = to else { return };
        let key = Key::Udp { guest };
        let known = self.table.find(&key);
        let is_permitted =
            listed.is_some() || self.permits_datagram(now, lan, packet, (known, Transport::Udp, remote));
        if !is_permitted || (known.is_none() && !Self::may_begin(now, lan, packet.ingress)) {
            return;
        }
        let id = known.unwrap_or_else(|| {
            self.make_room(now, lan, packet.ingress);
            self.open_udp(now, lan, (key, packet.ingress), (guest, remote), Side::Socket)
        });
        // What is on this host is behind no router.
        let hops = packet.hops().filter(|_| !lan.is_own(packet.dst));
        self.with(now, lan, id, |flow, cx| {
            let Flow::Udp(flow) = flow else { return };
            flow.used = cx.now;
            flow.peer = remote;
            if flow.hops != hops {
                flow.hops = hops;
                cx.lan.actions.push_back(Action::UdpHops { flow: id, hops });
            }
            if flow.paused && cx.takes_datagrams(guest.ip) {
                // It has room at another port than the one we wait for.
                flow.resume(cx);
            }
            cx.lan.actions.push_back(Action::UdpSend {
                flow: id,
                to,
                payload,
                segment,
            });
        });
    }

    /// The host's address for a packet's destination. Where there is none the guest is told, as far as an error is due.
    fn host_address_or_tell(&self, now: Instant, lan: &mut Lan, packet: &Packet) -> Option<IpAddr> {
        let refusal = match self.refusal(packet.dst) {
            Ok(address) => return Some(address),
            Err(refusal) => refusal,
        };
        lan.counters.count(Counter::Forbidden);
        if let Some(why) = refusal {
            icmp::send_unreachable(lan, now, &packet.quote(), why);
        }
        None
    }

    /// The host's address of a destination, or the ICMP error with which it is refused; none for groups.
    fn refusal(&self, dst: IpAddr) -> Result<IpAddr, Option<Unreachable>> {
        self.policy.host_address(dst).ok_or(match self.policy.route(dst) {
            Route::Gateway | Route::HostAlias | Route::Metadata => Some(Unreachable::Port),
            Route::Neighbor => Some(Unreachable::Host),
            Route::Forbidden => Some(Unreachable::Prohibited),
            Route::Group | Route::Outside => None,
        })
    }

    fn open_udp(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        (key, port): (Key, PortId),
        (guest, peer): (Endpoint, Endpoint),
        side: Side,
    ) -> FlowId {
        let id = self.admit(now, lan);
        if side == Side::Socket {
            let family = guest.family();
            lan.actions.push_back(Action::UdpOpen { flow: id, family });
        }
        lan.counters.count(Counter::UdpOpened);
        self.table.insert(
            id,
            port,
            key,
            Flow::Udp(Box::new(UdpFlow {
                id,
                guest,
                peer,
                side,
                used: now,
                hops: None,
                paused: false,
                over: false,
            })),
        );
        self.settle(id);
        id
    }

    fn answer_forward(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        id: FlowId,
        (payload, segment): (Bytes, Option<u16>),
    ) {
        self.with(now, lan, id, |flow, cx| {
            let Flow::Udp(flow) = flow else { return };
            flow.used = cx.now;
            if let Some((forward, to)) = flow.forward_client() {
                cx.lan.actions.push_back(Action::UdpForwardSend {
                    forward,
                    to,
                    payload,
                    segment,
                });
            }
        });
    }

    /// The guest to which a client's datagrams went last.
    pub(super) fn forwarded_to(&self, forward: ForwardId, client: SocketAddr) -> Option<Endpoint> {
        match self.table.get(*self.forward_clients.get(&(forward, client))?)? {
            Flow::Udp(flow) => Some(flow.guest),
            Flow::Tcp(_) | Flow::Echo(_) => None,
        }
    }

    /// Datagrams for a guest came to a forward, whose socket serves others too and is never paused.
    pub(super) fn deliver_forwarded(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        (forward, client): (ForwardId, SocketAddr),
        guest: Endpoint,
        datagrams: Vec<Datagrams>,
    ) {
        let known = self.forward_clients.get(&(forward, client)).copied();
        // The name that the forward leads to may have moved to another address.
        let known =
            known.filter(|id| matches!(self.table.get(*id), Some(Flow::Udp(flow)) if flow.guest == guest));
        let id = known.or_else(|| {
            let local = self.client_view(lan, guest, (Some(forward), client), |local| Key::UdpForward {
                guest,
                local,
            })?;
            let key = Key::UdpForward { guest, local };
            let port = Self::port_of(now, lan, guest.ip);
            let id = self.open_udp(
                now,
                lan,
                (key, port),
                (guest, local),
                Side::Forward { forward, client },
            );
            self.forward_clients.insert((forward, client), id);
            Some(id)
        });
        let Some(id) = id else { return };
        self.with(now, lan, id, |flow, cx| {
            let Flow::Udp(flow) = flow else { return };
            flow.deliver(cx, flow.peer, datagrams);
        });
    }

    /// A guest's echo request to the world.
    pub(crate) fn handle_echo(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        packet: &Packet,
        echo: (u16, u16),
        payload: Bytes,
    ) {
        let (ident, seq) = echo;
        let Some(address) = self.host_address_or_tell(now, lan, packet) else {
            return;
        };
        let key = Key::Icmp {
            guest: packet.src,
            ident,
        };
        let known = self.table.find(&key);
        let remote = Endpoint::new(packet.dst, 0);
        if !self.permits_datagram(now, lan, packet, (known, Transport::Icmp, remote))
            || (known.is_none() && !Self::may_begin(now, lan, packet.ingress))
        {
            return;
        }
        let id = known.unwrap_or_else(|| {
            self.make_room(now, lan, packet.ingress);
            let id = self.admit(now, lan);
            let family = Family::of(address);
            lan.actions.push_back(Action::IcmpOpen { flow: id, family });
            lan.counters.count(Counter::IcmpOpened);
            let flow = EchoFlow {
                id,
                guest: packet.src,
                ident,
                peer: packet.dst,
                used: now,
                over: false,
            };
            self.table
                .insert(id, packet.ingress, key, Flow::Echo(Box::new(flow)));
            id
        });
        self.with(now, lan, id, |flow, cx| {
            let Flow::Echo(flow) = flow else { return };
            flow.used = cx.now;
            flow.peer = packet.dst;
            let ttl = packet.ttl.saturating_sub(1);
            cx.lan.actions.push_back(Action::IcmpSend {
                flow: id,
                to: address,
                seq,
                payload,
                ttl,
            });
        });
    }

    pub(super) fn handle_datagram_event(&mut self, now: Instant, lan: &mut Lan, event: Event) {
        let policy = self.policy;
        if let Event::UdpReceived { flow, .. } | Event::IcmpReceived { flow, .. } = &event {
            self.table.touch(*flow);
        }
        match event {
            Event::UdpReceived {
                flow,
                from,
                datagrams,
            } => {
                let listed = self.listed_view(from);
                let src = listed.or_else(|| self.udp_view(from));
                self.with(now, lan, flow, |flow, cx| {
                    let Flow::Udp(flow) = flow else { return };
                    let count = || datagrams.iter().map(Datagrams::count).sum();
                    let Some(src) = src else {
                        return cx.lan.counters.add(Counter::HostDatagramDropped, count());
                    };
                    let guest = flow.guest.ip;
                    if listed.is_some()
                        || src == flow.peer
                        || cx.permits_reply(guest, (Transport::Udp, src), count())
                    {
                        flow.deliver(cx, src, datagrams);
                    }
                });
            }
            Event::UdpRefused { flow, to, error } => {
                let dst = self.listed_view(to).or_else(|| self.udp_view(to));
                self.with(now, lan, flow, |flow, cx| {
                    if let (Flow::Udp(flow), Some(dst)) = (flow, dst) {
                        let quote = Quote::udp(flow.guest, dst);
                        icmp::send_error_for_flow(cx.lan, cx.now, &quote, error);
                    }
                });
            }
            Event::IcmpReceived {
                flow,
                from,
                seq,
                payload,
            } => self.with(now, lan, flow, |flow, cx| {
                let Flow::Echo(flow) = flow else { return };
                let Some(src) = policy.guest_view(from) else {
                    return;
                };
                let peer = Endpoint::new(src, 0);
                if src == flow.peer || cx.permits_reply(flow.guest, (Transport::Icmp, peer), 1) {
                    icmp::send_echo_reply(cx.lan, cx.now, src, flow.guest, (flow.ident, seq, payload));
                }
            }),
            Event::IcmpRefused { flow, to, seq, error } => self.with(now, lan, flow, |flow, cx| {
                if let (Flow::Echo(flow), Some(dst)) = (flow, policy.guest_view(to)) {
                    let quote = Quote::echo(flow.guest, dst, flow.ident, seq);
                    icmp::send_error_for_flow(cx.lan, cx.now, &quote, error);
                }
            }),
            Event::FlowFailed { flow, error } => self.with(now, lan, flow, |flow, cx| fail(flow, cx, error)),
            _ => {}
        }
    }
}

/// The flow's socket could not be opened: tell the guest of its last packet, and forget the flow.
fn fail(flow: &mut Flow, cx: &mut Cx<'_>, error: HostError) {
    let quote = match flow {
        Flow::Tcp(_) => return,
        Flow::Udp(flow) => {
            flow.over = true;
            Quote::udp(flow.guest, flow.peer)
        }
        Flow::Echo(flow) => {
            flow.over = true;
            Quote::echo(flow.guest, flow.peer, flow.ident, 0)
        }
    };
    if error == HostError::Exhausted {
        cx.lan.notice(cx.now, Notice::HostExhausted);
    }
    icmp::send_error_for_flow(cx.lan, cx.now, &quote, error);
}
