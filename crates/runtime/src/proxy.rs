//! The proxy: one listener on the host that speaks SOCKS 5 and HTTP and leads to guests.
//!
//! A client's head is read by peeking, so that all that follows it stays in the kernel; when it is whole the engine is asked for a guest
//! ([`Event::TcpDialled`]) and the client waits for the outcome:
//!
//! ```text
//! GREETING ─▶ REQUEST ─▶ DIALLING ─▶ the flow's socket, as if a forward had accepted it
//!     │          │           │
//!     └──────────┴───────────┴─────▶ DRAINING: told why not; what it still sends is thrown away, then closed
//! ```
//!
//! From the adoption on nothing here touches a byte. It is a way in only: names and addresses that are no guest's are refused, by
//! the engine, for which the proxy is one more program of the host.
//!
//! Bounds: [`CLIENTS`] of a proxy that have no guest yet, the oldest of which makes room; [`PATIENCE`] for a head, as long again for
//! what is thrown away; 8 KiB of a head. A dial lasts as long as the engine lets it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use atoll_engine::{AcceptId, Event, ForwardTarget, HostError, Instant};
use atoll_wire::proxy::http::{self, Answer};
use atoll_wire::proxy::socks5::{self, Reply};
use atoll_wire::proxy::{Host, Parsed, Target};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketType, recv, send, shutdown};

use crate::core::{Core, Readiness};
use crate::forwards::{bind, bind_error, reset};
use crate::spare::Spare;
use crate::tokens::{Key, Slab, Source};
use crate::{ForwardError, Protocol};

/// Clients without a guest at a time.
const CLIENTS: usize = 512;
/// Connections accepted in one turn.
const BATCH: usize = 64;
/// For a head, and for what is thrown away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are thrown away in one turn.
const DRAIN: usize = 64 * 1024;

/// All proxies of a network.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    doors: BTreeMap<u32, (TcpListener, SocketAddr)>,
    last_door: u32,
    clients: Slab<Client>,
    /// Those that wait for us, oldest first, and until when.
    hurried: Vec<(Instant, Key)>,
    dialling: HashMap<AcceptId, Key>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    phase: Phase,
    /// It will send no more than what lies there.
    has_ended: bool,
}

#[derive(Debug)]
enum Phase {
    /// Nothing is known of it yet.
    Greeting,
    /// SOCKS: its greeting was answered.
    Request,
    /// The engine looks for its guest.
    Dialling(AcceptId, Wants),
    Draining,
}

/// What a client hears when it has its guest, and what the guest is sent first.
#[derive(Debug)]
enum Wants {
    Socks,
    Tunnel,
    Origin(Vec<u8>),
}

/// What is to be done with a client after its bytes were looked at.
#[derive(Debug)]
enum Step {
    /// More has to come.
    Wait,
    /// This much was its greeting, which is answered so.
    Greeted(usize, [u8; 2]),
    /// It is a request for a guest, in so many bytes.
    Dial(usize, Target, Wants),
    /// It is told this, and that is all.
    Refuse(Vec<u8>),
}

impl Proxies {
    /// Listen at an address. Gives the address, with the port that the host chose when none was given.
    pub(crate) fn listen(&mut self, core: &Core, address: SocketAddr) -> Result<SocketAddr, ForwardError> {
        let failed = |error| bind_error(Protocol::Tcp, address, error);
        let listener = TcpListener::from(bind(address, SocketType::STREAM).map_err(failed)?);
        let bound = listener.local_addr().map_err(failed)?;
        self.last_door += 1;
        let source = Source::Proxy(self.last_door);
        core.watch_reading(&listener, source).map_err(failed)?;
        self.doors.insert(self.last_door, (listener, bound));
        Ok(bound)
    }

    /// Listen no longer; connections that were made go on. `false` when nobody listens there.
    pub(crate) fn close(&mut self, address: SocketAddr) -> bool {
        let before = self.doors.len();
        self.doors.retain(|_, (_, bound)| *bound != address);
        self.doors.len() < before
    }

    /// Where they listen.
    pub(crate) fn list(&self) -> Vec<SocketAddr> {
        self.doors.values().map(|(_, address)| *address).collect()
    }

    /// When [`Proxies::handle_timeout`] is to be called.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.hurried.first().map(|(due, _)| *due)
    }

    /// Clients that let us wait too long go.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((due, key)) = self.hurried.first().copied()
            && due <= now
        {
            self.hurried.remove(0);
            self.clients.remove(key);
        }
    }

    /// Accept who waits at a door.
    pub(crate) fn handle_door(&mut self, core: &mut Core, spare: &mut Spare, id: u32) {
        for _ in 0..BATCH {
            let Some((listener, address)) = self.doors.get(&id) else {
                return;
            };
            match listener.accept() {
                Ok((stream, peer)) => self.welcome(core, stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if Spare::is_wanted(&error) => {
                    if !spare.spend(|| listener.accept().map(|(stream, _)| reset(&stream)).is_ok()) {
                        return;
                    }
                    tracing::warn!("a client of the proxy at {address} was turned away: {error}");
                }
                // An error of the connection itself, such as its reset before it was accepted (accept(2)).
                Err(error) => tracing::debug!("a client of the proxy at {address} was lost: {error}"),
            }
        }
        core.ready.push(Source::Proxy(id), Readiness::Readable);
    }

    /// Take in a client, which was accepted here or elsewhere.
    pub(crate) fn welcome(&mut self, core: &Core, stream: TcpStream, peer: SocketAddr) {
        if self.hurried.len() >= CLIENTS {
            let (_, oldest) = self.hurried.remove(0);
            self.clients.remove(oldest);
        }
        let mut watched = stream.set_nonblocking(true);
        let key = self.clients.insert_with(|key| {
            if watched.is_ok() {
                watched = core.watch_reading(&stream, Source::Client(key));
            }
            Client {
                stream,
                peer,
                phase: Phase::Greeting,
                has_ended: false,
            }
        });
        if let Err(error) = watched {
            tracing::warn!("a client of the proxy is lost: {error}");
            self.clients.remove(key);
            return;
        }
        self.hurried.push((core.now() + PATIENCE, key));
    }

    /// A client sent something, or is gone.
    pub(crate) fn handle_client(&mut self, core: &mut Core, key: Key, readiness: Readiness) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.has_ended |= readiness == Readiness::ReadClosed;
        match (&client.phase, readiness) {
            (Phase::Dialling(accept, _), Readiness::Error) => {
                let accept = *accept;
                self.dialling.remove(&accept);
                self.clients.remove(key);
                core.tell(Event::TcpWithdrawn(accept));
            }
            (_, Readiness::Error) => self.forget(key),
            (Phase::Draining, _) => self.drain(core, key),
            (Phase::Greeting | Phase::Request, _) => self.read_head(core, key),
            (Phase::Dialling(..), _) => {}
        }
    }

    fn forget(&mut self, key: Key) {
        self.hurried.retain(|(_, other)| *other != key);
        self.clients.remove(key);
    }

    fn read_head(&mut self, core: &mut Core, key: Key) {
        self.scratch.resize(http::HEAD_MAX, 0);
        loop {
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            let len = match recv(&client.stream, &mut self.scratch[..], RecvFlags::PEEK) {
                Ok((_, 0)) => return self.forget(key),
                Ok((_, len)) => len,
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(error) => {
                    tracing::debug!("a client of the proxy is lost: {error}");
                    return self.forget(key);
                }
            };
            match client.next_step(&self.scratch[..len]) {
                Step::Wait if client.has_ended => return self.forget(key),
                Step::Wait => return,
                Step::Greeted(length, answer) => {
                    client.take(length);
                    client.tell(&answer);
                    client.phase = Phase::Request;
                }
                Step::Dial(length, target, wants) => {
                    client.take(length);
                    return self.dial(core, key, target, wants);
                }
                Step::Refuse(words) => return self.refuse_client(core, key, &words),
            }
        }
    }

    fn dial(&mut self, core: &mut Core, key: Key, target: Target, wants: Wants) {
        self.hurried.retain(|(_, other)| *other != key);
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let accept = core.next_accept();
        client.phase = Phase::Dialling(accept, wants);
        self.dialling.insert(accept, key);
        let peer = client.peer;
        let guest = match target.host {
            Host::Address(address) => ForwardTarget::Address(address),
            Host::Name(name) => ForwardTarget::Name(name),
        };
        core.tell(Event::TcpDialled {
            accept,
            peer,
            guest,
            port: target.port,
        });
    }

    /// `Action::TcpAdopt`, if the connection is a proxy's: it, and what is to be read before its own bytes.
    pub(crate) fn take(&mut self, core: &Core, accept: AcceptId) -> Option<(OwnedFd, Vec<u8>)> {
        let key = self.dialling.remove(&accept)?;
        let client = self.clients.remove(key)?;
        let first = match &client.phase {
            Phase::Dialling(_, Wants::Origin(head)) => head.clone(),
            Phase::Dialling(_, Wants::Tunnel) => {
                client.tell(&Answer::Established.emit());
                Vec::new()
            }
            _ => {
                client.tell(&Reply::Succeeded.emit());
                Vec::new()
            }
        };
        if let Err(error) = core.unwatch(&client.stream) {
            tracing::debug!("a client of the proxy stays watched: {error}");
        }
        Some((client.stream.into(), first))
    }

    /// `Action::TcpRefuse`, if the connection is a proxy's.
    pub(crate) fn refuse(&mut self, core: &mut Core, accept: AcceptId, why: HostError) {
        let Some(key) = self.dialling.remove(&accept) else {
            return;
        };
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let words = match client.phase {
            Phase::Dialling(_, Wants::Socks) => reply_for(why).emit().to_vec(),
            _ => answer_for(why).emit(),
        };
        self.refuse_client(core, key, &words);
    }

    /// Say why not, and end the connection without a reset that would overtake the words: what the client still sends is read.
    fn refuse_client(&mut self, core: &mut Core, key: Key, words: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.tell(words);
        client.phase = Phase::Draining;
        if let Err(error) = shutdown(&client.stream, Shutdown::Write) {
            tracing::debug!("a client of the proxy is gone: {error}");
        }
        self.hurried.retain(|(_, other)| *other != key);
        self.hurried.push((core.now() + PATIENCE, key));
        self.drain(core, key);
    }

    fn drain(&mut self, core: &mut Core, key: Key) {
        self.scratch.resize(DRAIN, 0);
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match recv(&client.stream, &mut self.scratch[..], RecvFlags::empty()) {
            Err(Errno::AGAIN) => {}
            Ok((_, 0)) | Err(_) => self.forget(key),
            Ok(_) => core.ready.push(Source::Client(key), Readiness::Readable),
        }
    }
}

impl Client {
    fn next_step(&self, input: &[u8]) -> Step {
        match (&self.phase, input.first()) {
            (Phase::Request, _) => self.read_request(input),
            (_, Some(&socks5::VERSION)) => match socks5::greeting(input) {
                Parsed::Whole(true, length) => Step::Greeted(length, socks5::choice(true)),
                Parsed::Whole(false, _) => Step::Refuse(socks5::choice(false).to_vec()),
                Parsed::Partial => Step::Wait,
                Parsed::Bad => Step::Refuse(Vec::new()),
            },
            (_, Some(first)) if !first.is_ascii_uppercase() => Step::Refuse(Vec::new()),
            _ => read_http(input),
        }
    }

    fn read_request(&self, input: &[u8]) -> Step {
        let refuse = |reply: Reply| Step::Refuse(reply.emit().to_vec());
        match socks5::request(input) {
            Parsed::Whole(socks5::Request::Connect(target), length) => {
                Step::Dial(length, target, Wants::Socks)
            }
            Parsed::Whole(socks5::Request::Other, _) => refuse(Reply::CommandNotSupported),
            Parsed::Whole(socks5::Request::UnknownAddress, _) => refuse(Reply::AddressNotSupported),
            Parsed::Partial => Step::Wait,
            Parsed::Bad => refuse(Reply::Failure),
        }
    }

    /// Take the head, which was looked at, from the kernel's queue.
    fn take(&self, length: usize) {
        let mut head = vec![0; length];
        match recv(&self.stream, &mut head[..], RecvFlags::empty()) {
            Ok((_, taken)) if taken == length => {}
            other => tracing::debug!("a head of {length} bytes was taken as {other:?}"),
        }
    }

    /// The socket's buffer is empty before this, so that the few bytes find room. Rust's runtime ignores SIGPIPE.
    fn tell(&self, words: &[u8]) {
        match send(&self.stream, words, SendFlags::empty()) {
            Ok(sent) if sent == words.len() => {}
            other => tracing::debug!(
                "a client of the proxy was told {other:?} of {} bytes",
                words.len()
            ),
        }
    }
}

fn read_http(input: &[u8]) -> Step {
    match http::request(input) {
        Parsed::Whole(http::Request::Connect(target), length) => Step::Dial(length, target, Wants::Tunnel),
        Parsed::Whole(http::Request::Forward(target, head), length) => {
            Step::Dial(length, target, Wants::Origin(head))
        }
        Parsed::Partial => Step::Wait,
        Parsed::Bad if input.len() >= http::HEAD_MAX => Step::Refuse(Answer::TooLarge.emit()),
        Parsed::Whole(http::Request::NoProxyRequest, _) | Parsed::Bad => {
            Step::Refuse(Answer::BadRequest.emit())
        }
    }
}

fn reply_for(why: HostError) -> Reply {
    match why {
        HostError::Refused | HostError::Reset => Reply::Refused,
        HostError::Prohibited => Reply::NotAllowed,
        HostError::NetUnreachable => Reply::NetworkUnreachable,
        HostError::HostUnreachable => Reply::HostUnreachable,
        HostError::TimedOut => Reply::Expired,
        _ => Reply::Failure,
    }
}

fn answer_for(why: HostError) -> Answer {
    match why {
        HostError::Refused | HostError::Reset => Answer::BadGateway("the guest refuses the connection"),
        HostError::Prohibited => Answer::Forbidden,
        HostError::TimedOut => Answer::Timeout,
        HostError::HostUnreachable | HostError::NetUnreachable => {
            Answer::BadGateway("there is no such guest now")
        }
        _ => Answer::BadGateway("the network cannot take another connection"),
    }
}
