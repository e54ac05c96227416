//! Forwards: sockets of the host whose connections and datagrams go to a guest.
//!
//! A socket hears one family, whatever the guest's is, or is a unix socket: its file has mode 0600, a stale one is replaced and one at which
//! somebody listens never taken. The host's port is bound before the engine hears of the forward, so a forward that exists works. A connection that was
//! accepted waits here under its [`AcceptId`] until the engine adopts or refuses it; it is watched from the adoption on.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use atoll_engine::{AcceptId, Command, Event, Family};
use atoll_ports::{ListenError, Listener, SocketFile};
use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};

use crate::core::{Core, Readiness};
use crate::outbox::{Datagram, Outbox};
use crate::owner::port_owner;
use crate::spare::Spare;
use crate::sys;
use crate::tokens::Source;
use crate::udp::{Owner, UdpSocket};
use crate::{ForwardError, ForwardId, ForwardInfo, ForwardSpec, ListenAt, Protocol};

/// Connections accepted by one forward in one turn.
const BATCH: usize = 64;

/// Connections that may wait to be accepted: what a burst of clients makes while the loop is busy. Linux takes as many as `net.core.somaxconn`
/// permits, 4096 by default; std asks for 128 only, and a client beyond them waits a second to try again.
const BACKLOG: i32 = 4096;

/// All of them.
#[derive(Debug)]
pub(crate) struct Forwards {
    forwards: BTreeMap<u32, Forward>,
    accepted: HashMap<AcceptId, OwnedFd>,
    last_id: u32,
    /// Datagrams of guests that leave when the engine asks for nothing more.
    outbox: Outbox<u32>,
    events: Vec<Event>,
}

#[derive(Debug)]
struct Forward {
    info: ForwardInfo,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// Removed with the forward.
        _file: SocketFile,
    },
    Udp(UdpSocket),
}

impl Forwards {
    pub(crate) fn new() -> Self {
        Self {
            forwards: BTreeMap::new(),
            accepted: HashMap::new(),
            last_id: 0,
            outbox: Outbox::default(),
            events: Vec::new(),
        }
    }

    /// Bind the host's port and tell the engine.
    pub(crate) fn add(&mut self, core: &mut Core, spec: ForwardSpec) -> Result<ForwardInfo, ForwardError> {
        self.check_clash(&spec)?;
        let id = self.last_id + 1;
        let (socket, listen) = Socket::bind_or_renumber(&spec, id)?;
        let command = Command::AddForward {
            forward: atoll_engine::ForwardId(id),
            guest: spec.guest.clone().into(),
            port: spec.guest_port,
        };
        let now = core.now();
        let applied = core.engine.apply(now, command);
        applied.map_err(|error| ForwardError::Guest(error.to_string()))?;
        if spec.manner.keep_source {
            let kept = core
                .engine
                .apply(now, Command::KeepSource(atoll_engine::ForwardId(id)));
            kept.map_err(|error| ForwardError::Guest(error.to_string()))?;
        }
        self.last_id = id;
        let watched = match &socket {
            Socket::Tcp(listener) => core.watch(listener, Source::Forward(id)),
            Socket::Unix { listener, .. } => core.watch(listener, Source::Forward(id)),
            Socket::Udp(socket) => core.watch_reading(socket, Source::Forward(id)),
        };
        if let Err(error) = watched {
            forget(core, id);
            return Err(match listen {
                ListenAt::Address(listen) => bind_error(spec.protocol, listen, error),
                ListenAt::Socket(path) => ListenError::Io { path, source: error }.into(),
            });
        }
        let info = ForwardInfo {
            id: ForwardId(id),
            protocol: spec.protocol,
            wanted_port: listen.other_port_than(&spec.listen),
            listen,
            guest: spec.guest,
            guest_port: spec.guest_port,
            manner: spec.manner,
            automatic: false,
        };
        let forward = Forward {
            info: info.clone(),
            socket,
        };
        self.forwards.insert(id, forward);
        Ok(info)
    }

    /// Of two forwards at one place the person who asks for the second one learns which the first one is.
    fn check_clash(&self, spec: &ForwardSpec) -> Result<(), ForwardError> {
        let clashes =
            |info: &&ForwardInfo| info.protocol == spec.protocol && info.listen.conflicts_with(&spec.listen);
        let mut infos = self.forwards.values().map(|forward| &forward.info);
        let Some(there) = infos.find(clashes) else {
            return Ok(());
        };
        Err(ForwardError::Clash {
            protocol: spec.protocol,
            listen: spec.listen.clone(),
            there: format!("port {} of {}", there.guest_port, there.guest),
            wanted: format!("port {} of {}", spec.guest_port, spec.guest),
        })
    }

    /// Say of a forward that it appeared by itself, for this port.
    pub(crate) fn note_automatic(&mut self, id: ForwardId, port: u16) {
        if let Some(Forward { info, .. }) = self.forwards.get_mut(&id.0) {
            info.automatic = true;
            let at = info.listen.address().map(|address| address.port());
            info.wanted_port = Some(port).filter(|port| at != Some(*port));
        }
    }

    /// Free the host's port.
    pub(crate) fn remove(&mut self, core: &mut Core, id: ForwardId) -> Result<(), ForwardError> {
        self.forwards.remove(&id.0).ok_or(ForwardError::Unknown(id))?;
        forget(core, id.0);
        Ok(())
    }

    /// Every forward, in the order in which they were made.
    pub(crate) fn list(&self) -> Vec<ForwardInfo> {
        self.forwards
            .values()
            .map(|forward| forward.info.clone())
            .collect()
    }

    /// `Action::TcpAdopt`: the connection, to be a flow's from now on.
    pub(crate) fn take(&mut self, accept: AcceptId) -> Option<OwnedFd> {
        self.accepted.remove(&accept)
    }

    /// `Action::TcpRefuse`.
    pub(crate) fn refuse(&mut self, accept: AcceptId) {
        if let Some(stream) = self.accepted.remove(&accept) {
            reset(&stream);
        }
    }

    /// `Action::UdpForwardSend`: together with what else is sent in this turn.
    pub(crate) fn udp_send(
        &mut self,
        core: &mut Core,
        forward: atoll_engine::ForwardId,
        to: SocketAddr,
        (payload, segment): (Bytes, Option<u16>),
    ) {
        self.outbox.push(Datagram {
            socket: forward.0,
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
            if let Some(Forward {
                socket: Socket::Udp(socket),
                ..
            }) = self.forwards.get_mut(&socket)
            {
                socket.send(datagrams, &mut self.events);
            }
        });
        core.tell_all(&mut self.events);
        any
    }

    /// Accept or receive what waits.
    pub(crate) fn handle_readable(&mut self, core: &mut Core, spare: &mut Spare, id: u32) {
        let more = match self.forwards.get_mut(&id).map(|forward| &mut forward.socket) {
            Some(Socket::Tcp(_) | Socket::Unix { .. }) => (0..BATCH).all(|_| self.accept(core, spare, id)),
            Some(Socket::Udp(socket)) => socket.receive(&mut core.inbox, &mut self.events),
            None => false,
        };
        core.tell_all(&mut self.events);
        if !more {
            return;
        }
        core.ready.push(Source::Forward(id), Readiness::Readable);
    }

    /// Accept one connection; `false` when there is none.
    fn accept(&mut self, core: &mut Core, spare: &mut Spare, id: u32) -> bool {
        let Some(Forward { socket, info }) = self.forwards.get(&id) else {
            return false;
        };
        let accepted = socket.accept();
        match accepted {
            Ok((stream, peer)) => {
                let accept = core.next_accept();
                self.accepted.insert(accept, stream);
                let forward = atoll_engine::ForwardId(id);
                core.tell(Event::TcpAccepted {
                    forward,
                    accept,
                    peer,
                });
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if Spare::is_wanted(&error) => {
                let turned_away = spare.spend(|| socket.accept().map(|(stream, _)| reset(&stream)).is_ok());
                if turned_away {
                    tracing::warn!("a connection to {} was turned away: {error}", info.listen);
                }
                turned_away
            }
            // An error of the connection itself, such as its reset before it was accepted (accept(2)).
            Err(error) => {
                tracing::debug!("a connection to {} was lost: {error}", info.listen);
                true
            }
        }
    }
}

impl Socket {
    /// As asked; where that is not to be had and another number will do, there.
    fn bind_or_renumber(spec: &ForwardSpec, id: u32) -> Result<(Self, ListenAt), ForwardError> {
        let failure = match Self::bind(spec, id) {
            Err(failure @ (ForwardError::Forbidden { .. } | ForwardError::Taken { .. })) => failure,
            other => return other,
        };
        let higher = spec.listen.renumbered().filter(|_| spec.manner.renumber);
        let Some(listen) = higher else {
            return Err(failure);
        };
        let spec = ForwardSpec {
            listen,
            ..spec.clone()
        };
        // Of two reasons the one that concerns what was asked for.
        Self::bind(&spec, id).map_err(|_| failure)
    }

    fn bind(spec: &ForwardSpec, id: u32) -> Result<(Self, ListenAt), ForwardError> {
        let listen = match &spec.listen {
            ListenAt::Address(listen) => *listen,
            ListenAt::Socket(_) if spec.protocol == Protocol::Udp => return Err(ForwardError::NoDatagrams),
            ListenAt::Socket(path) => {
                let (listener, file) = Listener::bind(path)?.into_parts();
                let socket = Self::Unix {
                    listener,
                    _file: file,
                };
                return Ok((socket, spec.listen.clone()));
            }
        };
        let bound = match spec.protocol {
            Protocol::Tcp => bind(listen, SocketType::STREAM).and_then(|fd| {
                let listener = TcpListener::from(fd);
                let address = listener.local_addr()?;
                Ok((Self::Tcp(listener), address.into()))
            }),
            Protocol::Udp => bind(listen, SocketType::DGRAM).and_then(|fd| {
                let socket = std::net::UdpSocket::from(fd);
                let address = socket.local_addr()?;
                let owner = Owner::Forward(atoll_engine::ForwardId(id));
                let mut socket = UdpSocket::adopt(socket.into(), owner);
                if address.ip().is_unspecified() {
                    socket = socket.answering_as_asked(Family::of(address.ip()));
                }
                Ok((Self::Udp(socket), address.into()))
            }),
        };
        bound.map_err(|error| bind_error(spec.protocol, listen, error))
    }

    /// A connection that waits, and who made it: of a unix socket somebody on this host, without a port.
    fn accept(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((stream.into(), peer))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((stream.into(), (Ipv4Addr::LOCALHOST, 0).into()))
            }
            Self::Udp(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// A socket at this address and no other: one at `::` does not hear IPv4.
pub(crate) fn bind(listen: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let fd = sys::open_socket(Family::of(listen.ip()), kind, None)?;
    if kind == SocketType::STREAM {
        // A port whose last connections are in TIME-WAIT is free (as the standard library has it).
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    rustix::net::bind(&fd, &listen)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&fd, BACKLOG)?;
    }
    Ok(fd)
}

pub(crate) fn bind_error(protocol: Protocol, listen: SocketAddr, source: io::Error) -> ForwardError {
    // What a kernel without IPv6 says has no kind of its own.
    if Errno::from_io_error(&source) == Some(Errno::AFNOSUPPORT) {
        return ForwardError::NoSuchAddress { listen };
    }
    match source.kind() {
        io::ErrorKind::AddrInUse => ForwardError::Taken {
            protocol,
            listen,
            owner: port_owner(protocol, listen),
        },
        io::ErrorKind::PermissionDenied => ForwardError::Forbidden { protocol, listen },
        io::ErrorKind::AddrNotAvailable => ForwardError::NoSuchAddress { listen },
        _ => ForwardError::Bind {
            protocol,
            listen,
            source,
        },
    }
}

fn forget(core: &mut Core, id: u32) {
    let now = core.now();
    let command = Command::RemoveForward(atoll_engine::ForwardId(id));
    if let Err(error) = core.engine.apply(now, command) {
        tracing::debug!("a forward was not removed: {error}");
    }
}

/// Let closing the connection send RST.
pub(crate) fn reset(stream: impl AsFd) {
    if let Err(error) = sockopt::set_socket_linger(stream, Some(Duration::ZERO)) {
        tracing::debug!("a connection is closed without RST: {error}");
    }
}
