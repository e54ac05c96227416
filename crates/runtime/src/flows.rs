//! The host sockets of flows: the table, and the way of actions and readiness to them.
//!
//! The engine names a flow, readiness names a slot; both lead to the same entry. An entry goes when the engine says
//! `Close` or `TcpReset`; what comes for it afterwards finds nothing and is dropped.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use atoll_engine::{Event, Family, FlowId, HostError};
use bytes::Bytes;

use crate::core::{Core, Readiness};
use crate::errno::host_error_of;
use crate::icmp::{Echo, IcmpSocket};
use crate::outbox::{Datagram, Outbox};
use crate::prefix::Prefix;
use crate::tcp::{PeekRequest, Peeker, Phase, TcpSocket};
use crate::tokens::{Key, Slab, Source};
use crate::udp::UdpSocket;

/// Writes to one TCP socket in one turn, each of many slices.
const WRITES: usize = 16;

/// The largest ICMP message, its IPv4 header included.
const MAX_MESSAGE: usize = 65_535;

/// All of them.
#[derive(Debug)]
pub(crate) struct Flows {
    slots: Slab<Flow>,
    keys: HashMap<FlowId, Key>,
    peeker: Peeker,
    /// Datagrams of guests that leave when the engine asks for nothing more.
    outbox: Outbox<Key>,
    events: Vec<Event>,
    scratch: Vec<u8>,
    /// Unix sockets by the number of their service.
    services: Vec<Option<PathBuf>>,
}

#[derive(Debug)]
struct Flow {
    id: FlowId,
    host: HostSocket,
}

#[derive(Debug)]
enum HostSocket {
    Tcp(TcpSocket),
    /// Larger than the others, and fewer.
    Udp(Box<UdpSocket>),
    Icmp(IcmpSocket),
}

impl AsFd for HostSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Udp(udp) => udp.as_fd(),
            Self::Icmp(icmp) => icmp.as_fd(),
        }
    }
}

impl Flows {
    pub(crate) fn new(services: Vec<Option<PathBuf>>) -> Self {
        Self {
            slots: Slab::default(),
            keys: HashMap::new(),
            peeker: Peeker::new(),
            outbox: Outbox::default(),
            events: Vec::new(),
            scratch: vec![0; MAX_MESSAGE],
            services,
        }
    }

    /// `Action::TcpConnect`.
    pub(crate) fn tcp_connect(&mut self, core: &mut Core, flow: FlowId, to: (SocketAddr, Option<u8>)) {
        let (to, hops) = to;
        self.tcp_begin(core, flow, TcpSocket::connect(to, hops));
    }

    /// `Action::TcpConnectService`.
    pub(crate) fn tcp_connect_service(&mut self, core: &mut Core, flow: FlowId, service: u32) {
        let number = usize::try_from(service).unwrap_or(usize::MAX);
        let path = self.services.get(number).and_then(Option::as_deref);
        let socket = path.map_or(Err(HostError::Refused), TcpSocket::connect_unix);
        self.tcp_begin(core, flow, socket);
    }

    fn tcp_begin(&mut self, core: &mut Core, flow: FlowId, socket: Result<TcpSocket, HostError>) {
        let outcome = socket.and_then(|mut tcp| {
            let is_open = tcp.phase == Phase::Open;
            // That it can be written to is how a connection is known to be made.
            tcp.is_watched_for_writing = !is_open;
            self.insert(core, flow, HostSocket::Tcp(tcp)).map(|()| is_open)
        });
        match outcome {
            Ok(true) => core.tell(Event::TcpConnected(flow)),
            Ok(false) => {}
            Err(error) => core.tell(Event::TcpFailed { flow, error }),
        }
    }

    /// `Action::TcpAdopt`. What the socket is ready for is told at once, as it is watched from now on.
    /// `first` is read before what the socket has.
    pub(crate) fn tcp_adopt(&mut self, core: &mut Core, flow: FlowId, (accepted, first): (OwnedFd, Vec<u8>)) {
        let mut tcp = TcpSocket::adopt(accepted);
        let has_first = !first.is_empty();
        tcp.prefix = Prefix::new(first);
        match self.insert(core, flow, HostSocket::Tcp(tcp)) {
            Ok(()) if has_first => self.tcp_again(core, flow),
            Ok(()) => {}
            Err(error) => core.tell(Event::TcpFailed { flow, error }),
        }
    }

    /// `Action::UdpOpen`.
    pub(crate) fn udp_open(&mut self, core: &mut Core, flow: FlowId, family: Family) {
        let outcome = UdpSocket::open(flow, family)
            .and_then(|udp| self.insert(core, flow, HostSocket::Udp(Box::new(udp))));
        if let Err(error) = outcome {
            core.tell(Event::FlowFailed { flow, error });
        }
    }

    /// `Action::IcmpOpen`.
    pub(crate) fn icmp_open(&mut self, core: &mut Core, flow: FlowId, family: Family) {
        let outcome =
            IcmpSocket::open(family).and_then(|icmp| self.insert(core, flow, HostSocket::Icmp(icmp)));
        if let Err(error) = outcome {
            core.tell(Event::FlowFailed { flow, error });
        }
    }

    fn insert(&mut self, core: &Core, flow: FlowId, host: HostSocket) -> Result<(), HostError> {
        let mut watched = Err(io::ErrorKind::Other.into());
        let key = self.slots.insert_with(|key| {
            let source = Source::Flow(key);
            watched = match &host {
                HostSocket::Tcp(tcp) => core.watch_stream(tcp, source, tcp.is_watched_for_writing),
                HostSocket::Udp(_) | HostSocket::Icmp(_) => core.watch_reading(&host, source),
            };
            Flow { id: flow, host }
        });
        if let Err(error) = watched {
            self.slots.remove(key);
            return Err(host_error_of(&error));
        }
        self.keys.insert(flow, key);
        Ok(())
    }

    fn tcp_mut(&mut self, flow: FlowId) -> Option<(&mut TcpSocket, &mut Peeker)> {
        let key = *self.keys.get(&flow)?;
        match &mut self.slots.get_mut(key)?.host {
            HostSocket::Tcp(tcp) => Some((tcp, &mut self.peeker)),
            _ => None,
        }
    }

    /// `Action::TcpSend`, and the same again when the socket becomes writable.
    pub(crate) fn tcp_send(&mut self, core: &mut Core, flow: FlowId) {
        let Some(&key) = self.keys.get(&flow) else {
            return;
        };
        let Some((tcp, _)) = self.tcp_mut(flow) else {
            return;
        };
        if tcp.phase != Phase::Open {
            return;
        }
        for _ in 0..WRITES {
            match tcp.send(core.engine.tcp_outgoing(flow)) {
                Ok(Some((0, _))) => return,
                Ok(Some((offered, bytes))) if bytes == offered => core.tell(Event::TcpSent { flow, bytes }),
                Ok(outcome) => {
                    let bytes = outcome.map_or(0, |(_, bytes)| bytes);
                    core.tell(Event::TcpSent { flow, bytes });
                    return await_room(core, flow, tcp, Source::Flow(key));
                }
                Err(error) => return fail(core, flow, tcp, error),
            }
        }
        core.ready.push(Source::Flow(key), Readiness::Writable);
    }

    /// `Action::TcpPeek`.
    pub(crate) fn tcp_peek(&mut self, core: &mut Core, flow: FlowId, ask: PeekRequest) {
        let Some((tcp, peeker)) = self.tcp_mut(flow) else {
            return;
        };
        if let Some(segments) = tcp.prefix.peek(ask) {
            // What lies behind it is asked for when this is on its way.
            core.tell(Event::TcpPeeked {
                flow,
                offset: ask.offset,
                segments,
                end: false,
            });
            return self.tcp_again(core, flow);
        }
        let event = match tcp.peek(peeker, ask) {
            Ok(peeked) => Event::TcpPeeked {
                flow,
                offset: ask.offset,
                segments: peeked.segments,
                end: peeked.end,
            },
            Err(error) => return fail(core, flow, tcp, error),
        };
        core.tell(event);
    }

    /// `Action::TcpAgain`.
    pub(crate) fn tcp_again(&mut self, core: &mut Core, flow: FlowId) {
        if let Some(&key) = self.keys.get(&flow) {
            core.ready.push(Source::Flow(key), Readiness::Readable);
        }
    }

    /// `Action::TcpDiscard`.
    pub(crate) fn tcp_discard(&mut self, core: &mut Core, discard: Option<(FlowId, u32)>) {
        let Some((flow, bytes)) = discard else { return };
        let Some((tcp, peeker)) = self.tcp_mut(flow) else {
            return;
        };
        if let Err(error) = tcp.discard(peeker, bytes) {
            fail(core, flow, tcp, error);
        } else if tcp.has_urgent {
            // A peek may have ended among the bytes that are gone now.
            self.tcp_again(core, flow);
        }
    }

    /// `Action::TcpShutdown`.
    pub(crate) fn tcp_shutdown(&mut self, flow: FlowId) {
        if let Some((tcp, _)) = self.tcp_mut(flow) {
            tcp.shutdown();
        }
    }

    /// `Action::TcpReset`.
    pub(crate) fn tcp_reset(&mut self, flow: FlowId) {
        if let Some(Flow {
            host: HostSocket::Tcp(tcp),
            ..
        }) = self.take(flow)
        {
            tcp.reset();
        }
    }

    /// `Action::Close`.
    pub(crate) fn close(&mut self, core: &mut Core, flow: FlowId) {
        if self.udp_mut(flow).is_some() {
            self.send_datagrams(core);
        }
        drop(self.take(flow));
    }

    fn take(&mut self, flow: FlowId) -> Option<Flow> {
        let key = self.keys.remove(&flow)?;
        self.slots.remove(key)
    }

    fn udp_mut(&mut self, flow: FlowId) -> Option<(Key, &mut UdpSocket)> {
        let key = *self.keys.get(&flow)?;
        match &mut self.slots.get_mut(key)?.host {
            HostSocket::Udp(udp) => Some((key, udp)),
            _ => None,
        }
    }

    /// `Action::UdpHops`: for what comes after what waits.
    pub(crate) fn udp_hops(&mut self, core: &mut Core, flow: FlowId, hops: Option<u8>) {
        self.send_datagrams(core);
        if let Some((_, udp)) = self.udp_mut(flow) {
            udp.set_hops(hops);
        }
    }

    /// `Action::UdpSend`: together with what else is sent in this turn.
    pub(crate) fn udp_send(
        &mut self,
        core: &mut Core,
        flow: FlowId,
        to: SocketAddr,
        (payload, segment): (Bytes, Option<u16>),
    ) {
        let Some(&socket) = self.keys.get(&flow) else {
            return;
        };
        self.outbox.push(Datagram {
            socket,
            to,
            payload,
            segment,
        });
        if self.outbox.is_full() {
            self.send_datagrams(core);
        }
    }

    /// Send the datagrams that wait; `false` when there were none.
    pub(crate) fn send_datagrams(&mut self, core: &mut Core) -> bool {
        let any = self.outbox.drain(|socket, datagrams| {
            if let Some(Flow {
                host: HostSocket::Udp(udp),
                ..
            }) = self.slots.get_mut(socket)
            {
                udp.send(datagrams, &mut self.events);
            }
        });
        core.tell_all(&mut self.events);
        any
    }

    /// `Action::UdpPause` and `Action::UdpResume`.
    pub(crate) fn udp_pause(&mut self, core: &mut Core, flow: FlowId, pause: bool) {
        if let Some((key, udp)) = self.udp_mut(flow) {
            udp.paused = pause;
            if !pause {
                core.ready.push(Source::Flow(key), Readiness::Readable);
            }
        }
    }

    /// `Action::IcmpSend`.
    pub(crate) fn icmp_send(&mut self, core: &mut Core, flow: FlowId, echo: &Echo) {
        if let Some(key) = self.keys.get(&flow)
            && let Some(Flow {
                host: HostSocket::Icmp(icmp),
                ..
            }) = self.slots.get_mut(*key)
        {
            icmp.send(core, flow, echo);
        }
    }

    /// A socket is ready.
    pub(crate) fn handle_ready(&mut self, core: &mut Core, key: Key, readiness: Readiness) {
        let Some(Flow { id, host }) = self.slots.get_mut(key) else {
            return;
        };
        let flow = *id;
        match (host, readiness) {
            (HostSocket::Tcp(tcp), _) => {
                let writable = handle_tcp(core, flow, tcp, readiness);
                if writable {
                    self.tcp_send(core, flow);
                }
            }
            (HostSocket::Udp(udp), Readiness::Error) => {
                udp.handle_errors(&mut self.events);
                core.tell_all(&mut self.events);
            }
            (HostSocket::Icmp(icmp), Readiness::Error) => {
                icmp.handle_errors(core, flow);
            }
            (_, Readiness::Writable | Readiness::ReadClosed | Readiness::Urgent) => {}
            (HostSocket::Udp(udp), Readiness::Readable) => {
                if !udp.paused && udp.receive(&mut core.inbox, &mut self.events) {
                    core.ready.push(Source::Flow(key), readiness);
                }
                core.tell_all(&mut self.events);
            }
            (HostSocket::Icmp(icmp), Readiness::Readable) => {
                if icmp.receive(core, flow, &mut self.scratch) {
                    core.ready.push(Source::Flow(key), readiness);
                }
            }
        }
    }
}

/// The kernel took less than it was offered: be told when it takes more.
fn await_room(core: &mut Core, flow: FlowId, tcp: &mut TcpSocket, source: Source) {
    if tcp.is_watched_for_writing {
        return;
    }
    match core.watch_writing_too(&*tcp, source) {
        Ok(()) => tcp.is_watched_for_writing = true,
        Err(error) => fail(core, flow, tcp, host_error_of(&error)),
    }
}

fn fail(core: &mut Core, flow: FlowId, tcp: &mut TcpSocket, error: HostError) {
    tcp.phase = Phase::Failed;
    core.tell(Event::TcpFailed { flow, error });
}

/// Readiness of a TCP socket; `true` when what is outgoing may be written.
fn handle_tcp(core: &mut Core, flow: FlowId, tcp: &mut TcpSocket, readiness: Readiness) -> bool {
    if tcp.phase == Phase::Failed {
        return false;
    }
    // A connection that failed is an error, too.
    if readiness == Readiness::Error
        && let Some(error) = tcp.take_error()
    {
        fail(core, flow, tcp, error);
        return false;
    }
    match (readiness, tcp.phase) {
        (Readiness::Writable, Phase::Connecting) => {
            tcp.open();
            core.tell(Event::TcpConnected(flow));
            true
        }
        (Readiness::Writable, _) => true,
        (Readiness::Urgent, _) => {
            tcp.has_urgent = true;
            false
        }
        (Readiness::ReadClosed, _) => {
            tcp.read_closed = true;
            core.tell(Event::TcpReadable(flow));
            false
        }
        (Readiness::Readable, Phase::Open) => {
            core.tell(Event::TcpReadable(flow));
            false
        }
        _ => false,
    }
}
