//! Guests, and the sockets at which they attach.
//!
//! A connection to a stream listener is a guest from `accept` to its end. On a datagram socket every path that sends is
//! a guest, from its first datagram until sending to it says that nobody is there. Each gets a [`PortId`] of its own that
//! is never used again. A front end at a vhost-user listener is a guest in the same way (see [`crate::vhost_user`]). A TAP is a guest from when it is handed in (see [`crate::taps`]) until it closes or is taken out. The frames that wait for a guest are the engine's; [`Guests::flush`] hands the kernel as many as
//! it takes.
//!
//! One turn takes one large read from each guest (a bounded number of frames from a TAP), and a bounded number of datagrams and connections; the rest is pushed
//! to the ready queue, so that others come in between. A datagram guest whose queue is full is tried again after a while
//! that doubles; when it took nothing for [`PATIENCE`] tries its frames are dropped, for the kernel gives no sign when it reads again.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atoll_engine::{Event, Instant, PortConfig, PortId};
use atoll_ports::vhost_user::{VHOST_USER_SUPPORTED, VhostUserCounters};
use atoll_ports::vmnet::RelayPort;
use atoll_ports::{
    DgramPort, DgramSent, ListenError, Listener, MIN_FRAME, Progress, ReadError, StreamPort, TapPort,
    VhostUserPort,
};
use atoll_wire::Frame;

use crate::core::{Core, Readiness};
use crate::spare::Spare;
use crate::taps::TapRecords;
use crate::tokens::Source;
use crate::{ListenSpec, ListenerInfo, Transport};

/// Connections accepted, and datagrams received or sent, in one turn.
const BATCH: usize = 256;

/// Frames and bytes that wait for a guest no longer than until the thing that is looked at is done.
const MANY_FRAMES: usize = 32;
const MANY_BYTES: usize = 64 * 1024;

/// First wait before a datagram guest is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(1);

/// Tries without success before a datagram guest's frames are dropped; the last wait is 2^7 ms.
const PATIENCE: u32 = 8;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    sockets: BTreeMap<u32, Attachment>,
    pub(crate) guests: HashMap<PortId, Guest>,
    by_path: HashMap<(u32, PathBuf), PortId>,
    /// Guests for which frames came into an empty queue.
    dirty: Vec<PortId>,
    last_id: u32,
    /// Uplinks that were detached and of which nobody knows yet.
    closed_uplinks: Vec<PortId>,
    /// The uplink that is a relay, if it is one.
    relay: Option<PortId>,
    pub(crate) frames: Vec<Frame>,
    /// Counters of TAPs that are gone, and leases of those that are not.
    pub(crate) tap_records: TapRecords,
    /// Counters of vhost-user ports that are gone.
    pub(crate) vhost_user_records: VhostUserCounters,
}

/// A socket at which guests attach.
#[derive(Debug)]
struct Attachment {
    socket: Socket,
    label: Option<String>,
    /// A guest without a path was told about.
    warned: bool,
}

#[derive(Debug)]
enum Socket {
    Stream(Listener),
    VhostUser(Listener),
    Dgram(DgramPort),
}

#[derive(Debug)]
pub(crate) struct Guest {
    /// The socket at which it attached; a TAP attached at none.
    pub(crate) attached_at: Option<u32>,
    pub(crate) endpoint: String,
    pub(crate) link: Link,
    /// It is no guest, but the way to the host's LAN.
    pub(crate) is_uplink: bool,
    /// The loop is told when it takes more (see [`crate::room`]).
    pub(crate) awaits_room: bool,
}

#[derive(Debug)]
pub(crate) enum Link {
    Stream(StreamPort),
    Tap(TapPort),
    /// macOS's vmnet, at the other end of a relay.
    Relay(Box<RelayPort>),
    VhostUser(Box<VhostUserPort>),
    Dgram {
        path: PathBuf,
        retry: Option<Instant>,
        tries: u32,
    },
}

impl Link {
    pub(crate) fn as_tap(&self) -> Option<&TapPort> {
        match self {
            Self::Tap(tap) => Some(tap),
            _ => None,
        }
    }
}

impl Socket {
    fn path(&self) -> &Path {
        match self {
            Self::Stream(listener) | Self::VhostUser(listener) => listener.path(),
            Self::Dgram(port) => port.path(),
        }
    }
}

impl Guests {
    /// Make a socket at which guests attach.
    pub(crate) fn listen(&mut self, core: &Core, spec: ListenSpec) -> Result<ListenerInfo, ListenError> {
        let id = self.next_id();
        let failed = |source| ListenError::Io {
            path: spec.path.clone(),
            source,
        };
        let socket = match spec.transport {
            Transport::Qemu => {
                let listener = Listener::bind(&spec.path)?;
                core.watch(&listener, Source::Listener(id)).map_err(failed)?;
                Socket::Stream(listener)
            }
            Transport::VhostUser if !VHOST_USER_SUPPORTED => {
                return Err(failed(io::ErrorKind::Unsupported.into()));
            }
            Transport::VhostUser => {
                let listener = Listener::bind(&spec.path)?;
                core.watch(&listener, Source::Listener(id)).map_err(failed)?;
                Socket::VhostUser(listener)
            }
            Transport::QemuDgram => {
                let port = DgramPort::bind(&spec.path)?;
                core.watch_reading(&port, Source::Dgram(id)).map_err(failed)?;
                Socket::Dgram(port)
            }
        };
        let attachment = Attachment {
            socket,
            label: spec.label,
            warned: false,
        };
        let info = attachment.info();
        self.sockets.insert(id, attachment);
        Ok(info)
    }

    /// Close the socket at `path` and detach its guests; `false` if there is none.
    pub(crate) fn unlisten(&mut self, core: &mut Core, path: &Path) -> bool {
        let Some(id) = self
            .sockets
            .iter()
            .find_map(|(id, attachment)| (attachment.socket.path() == path).then_some(*id))
        else {
            return false;
        };
        self.sockets.remove(&id);
        let leaving: Vec<PortId> = self
            .guests
            .iter()
            .filter_map(|(port, guest)| (guest.attached_at == Some(id)).then_some(*port))
            .collect();
        for port in leaving {
            self.detach(core, port, "its socket was closed");
        }
        true
    }

    /// Every socket at which guests attach.
    pub(crate) fn listeners(&self) -> Vec<ListenerInfo> {
        self.sockets.values().map(Attachment::info).collect()
    }

    /// Where a guest attached.
    pub(crate) fn endpoint(&self, port: PortId) -> &str {
        self.guests.get(&port).map_or("", |guest| guest.endpoint.as_str())
    }

    /// Which machine attaches at a socket, when it is only one.
    pub(crate) fn label_at(&self, id: u32) -> Option<String> {
        self.sockets.get(&id)?.label.clone()
    }

    /// Accept connections that wait.
    pub(crate) fn handle_listener(&mut self, core: &mut Core, spare: &mut Spare, id: u32) {
        for _ in 0..BATCH {
            let (listener, is_shared) = match self.sockets.get(&id).map(|attachment| &attachment.socket) {
                Some(Socket::Stream(listener)) => (listener, false),
                Some(Socket::VhostUser(listener)) => (listener, true),
                Some(Socket::Dgram(_)) | None => return,
            };
            match listener.accept() {
                Ok(Some(stream)) if is_shared => {
                    self.attach_socket(core, id, Link::VhostUser(Box::new(VhostUserPort::new(stream))));
                }
                Ok(Some(stream)) => self.attach_socket(core, id, Link::Stream(StreamPort::new(stream))),
                Ok(None) => return,
                Err(error) if Spare::is_wanted(&error) => {
                    if !spare.spend(|| matches!(listener.accept(), Ok(Some(_)))) {
                        return;
                    }
                    let path = listener.path().display();
                    tracing::warn!("a guest at {path} was turned away: {error}");
                }
                Err(error) => {
                    tracing::warn!("cannot accept a guest at {}: {error}", listener.path().display());
                    return;
                }
            }
        }
        core.ready.push(Source::Listener(id), Readiness::Readable);
    }

    /// Read once from a guest with a descriptor of its own.
    pub(crate) fn handle_readable(&mut self, core: &mut Core, id: u32) {
        let port = PortId(id);
        let outcome = match self.guests.get_mut(&port).map(|guest| &mut guest.link) {
            Some(Link::Stream(stream)) => stream.read(&mut self.frames),
            Some(Link::Tap(tap)) => tap.read(&mut self.frames).map_err(ReadError::Io),
            Some(Link::Relay(relay)) => relay.read(&mut self.frames).map_err(ReadError::Io),
            Some(Link::VhostUser(_)) => return self.handle_front_end(core, port),
            Some(Link::Dgram { .. }) | None => return,
        };
        let now = core.now();
        for frame in self.frames.drain(..) {
            core.engine.handle_frame(now, port, frame);
        }
        match outcome {
            Ok(Progress::More) => core.ready.push(Source::Guest(id), Readiness::Readable),
            Ok(Progress::Drained) => {}
            Ok(Progress::Closed) => self.detach(core, port, "it closed"),
            Err(ReadError::Length(error)) => {
                tracing::warn!(port = id, "a guest is closed: {error}");
                self.detach(core, port, "it broke the framing");
            }
            Err(ReadError::Io(error)) => self.detach(core, port, &error.to_string()),
        }
    }

    /// Receive from a datagram socket.
    pub(crate) fn handle_datagrams(&mut self, core: &mut Core, id: u32) {
        for _ in 0..BATCH {
            let Some(Attachment {
                socket: Socket::Dgram(socket),
                warned,
                ..
            }) = self.sockets.get_mut(&id)
            else {
                return;
            };
            let datagram = match socket.receive() {
                Ok(Some(datagram)) => datagram,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!("cannot receive at {}: {error}", socket.path().display());
                    return;
                }
            };
            let Some(path) = datagram.guest else {
                if !std::mem::replace(warned, true) {
                    let socket = socket.path().display();
                    tracing::warn!("a guest at {socket} has no path of its own and cannot be answered");
                }
                continue;
            };
            let port = self.dgram_guest(core, id, path);
            if datagram.bytes.len() >= MIN_FRAME {
                let now = core.now();
                core.engine.handle_frame(now, port, Frame::plain(datagram.bytes));
            }
        }
        core.ready.push(Source::Dgram(id), Readiness::Readable);
    }

    /// The engine has frames for this guest.
    pub(crate) fn mark_dirty(&mut self, port: PortId) {
        self.dirty.push(port);
    }

    /// Whether so much waits for one of those that were marked that it is to be written to now.
    pub(crate) fn much_waits(&self, core: &Core) -> bool {
        self.dirty.iter().any(|&port| {
            let queue = core.engine.egress(port);
            queue.len() >= MANY_FRAMES || queue.iter().map(Frame::len).sum::<usize>() >= MANY_BYTES
        })
    }

    /// Write to the guests that were marked; `false` if there were none.
    pub(crate) fn flush_dirty(&mut self, core: &mut Core) -> bool {
        let dirty = std::mem::take(&mut self.dirty);
        for &port in &dirty {
            self.flush(core, port);
        }
        !dirty.is_empty()
    }

    /// Whether frames wait for any guest.
    pub(crate) fn any_wait(&self, core: &Core) -> bool {
        self.guests
            .keys()
            .any(|port| !core.engine.egress(*port).is_empty())
    }

    /// Write what waits for a guest, as far as it takes it now.
    pub(crate) fn flush(&mut self, core: &mut Core, port: PortId) {
        let Some(guest) = self.guests.get_mut(&port) else {
            return;
        };
        let queue = core.engine.egress(port);
        // A relay that was full is told of an empty queue, too: then it waits for nothing any more.
        if queue.is_empty() && !matches!(guest.link, Link::Relay(_)) {
            if let Err(error) = guest.needs_no_room(core, port) {
                self.detach(core, port, &error.to_string());
            }
            return;
        }
        let outcome = match &mut guest.link {
            Link::Stream(stream) => stream.write(queue),
            Link::Tap(tap) => tap.write(queue),
            Link::Relay(relay) => relay.write(core.now().elapsed(), queue),
            Link::VhostUser(shared) => shared.write(queue).map_err(io::Error::other),
            Link::Dgram { retry: Some(_), .. } => return,
            Link::Dgram { .. } => return self.flush_dgram(core, port),
        };
        let outcome = outcome.and_then(|written| {
            if written.blocked {
                guest.await_room(core, port)?;
            }
            Ok(written)
        });
        match outcome {
            Ok(written) => {
                if !written.blocked && written.frames < queue.len() {
                    core.ready.push(Source::Guest(port.0), Readiness::Writable);
                }
                told(core, port, written.frames);
            }
            Err(error) => self.detach(core, port, &error.to_string()),
        }
    }

    fn flush_dgram(&mut self, core: &mut Core, port: PortId) {
        let Some(Guest {
            attached_at,
            link: Link::Dgram { path, retry, tries },
            ..
        }) = self.guests.get_mut(&port)
        else {
            return;
        };
        let Some(Attachment {
            socket: Socket::Dgram(socket),
            ..
        }) = attached_at.and_then(|id| self.sockets.get(&id))
        else {
            return;
        };
        let queue = core.engine.egress(port);
        let mut frames = 0;
        let mut gone = false;
        for frame in queue.iter().take(BATCH) {
            match socket.send(path, &frame.bytes) {
                DgramSent::Sent | DgramSent::Lost => frames += 1,
                DgramSent::Gone => {
                    gone = true;
                    break;
                }
                DgramSent::Busy => {
                    *tries = if frames == 0 { *tries + 1 } else { 1 };
                    *retry = Some(core.now() + FIRST_RETRY * (1 << (*tries - 1).min(PATIENCE)));
                    break;
                }
            }
        }
        if retry.is_none() {
            *tries = 0;
        } else if *tries >= PATIENCE {
            frames = queue.len();
        }
        if retry.is_none() && frames < queue.len() {
            core.ready.push(Source::Guest(port.0), Readiness::Writable);
        }
        if gone {
            self.detach(core, port, "its socket is no more");
        } else {
            told(core, port, frames);
        }
    }

    /// When a busy datagram guest, or a relay that was full, is to be tried again.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        let ports = self.by_path.values().chain(&self.relay);
        ports
            .filter_map(|port| match &self.guests.get(port)?.link {
                Link::Dgram { retry, .. } => *retry,
                Link::Relay(relay) => relay.deadline().map(Instant::since_origin),
                Link::Stream(_) | Link::Tap(_) | Link::VhostUser(_) => None,
            })
            .min()
    }

    /// Try the datagram guests again whose time has come.
    pub(crate) fn handle_timeout(&mut self, core: &mut Core) {
        let now = core.now();
        let due: Vec<PortId> = self
            .guests
            .iter_mut()
            .filter_map(|(port, guest)| match &mut guest.link {
                Link::Dgram { retry, .. } if retry.is_some_and(|at| at <= now) => {
                    *retry = None;
                    Some(*port)
                }
                _ => None,
            })
            .collect();
        for port in due {
            self.flush_dgram(core, port);
        }
        if let Some(port) = self.relay {
            self.flush(core, port);
        }
    }

    /// A guest with a connection of its own.
    fn attach_socket(&mut self, core: &mut Core, id: u32, link: Link) {
        let port = PortId(self.next_id());
        let watched = match &link {
            Link::Stream(stream) => core.watch_reading(stream, Source::Guest(port.0)),
            Link::VhostUser(shared) => core.watch(&**shared, Source::Guest(port.0)),
            Link::Tap(_) | Link::Relay(_) | Link::Dgram { .. } => Ok(()),
        };
        match watched {
            Ok(()) => self.attach(core, port, id, link),
            Err(error) => tracing::warn!("cannot watch a guest: {error}"),
        }
    }

    fn dgram_guest(&mut self, core: &mut Core, id: u32, path: PathBuf) -> PortId {
        let key = (id, path);
        if let Some(port) = self.by_path.get(&key) {
            return *port;
        }
        let port = PortId(self.next_id());
        let link = Link::Dgram {
            path: key.1.clone(),
            retry: None,
            tries: 0,
        };
        self.by_path.insert(key, port);
        self.attach(core, port, id, link);
        port
    }

    fn attach(&mut self, core: &mut Core, port: PortId, attached_at: u32, link: Link) {
        let Some(attachment) = self.sockets.get(&attached_at) else {
            return;
        };
        let mut endpoint = attachment.socket.path().display().to_string();
        if let Link::Dgram { path, .. } = &link {
            endpoint = format!("{endpoint} {}", path.display());
        }
        let label = attachment.label.clone();
        let guest = Guest {
            attached_at: Some(attached_at),
            endpoint,
            link,
            is_uplink: false,
            awaits_room: false,
        };
        let config = PortConfig {
            label,
            ..PortConfig::default()
        };
        self.insert(core, port, guest, config);
    }

    pub(crate) fn insert(&mut self, core: &mut Core, port: PortId, guest: Guest, port_config: PortConfig) {
        let (endpoint, label) = (&guest.endpoint, &port_config.label);
        let who = if guest.is_uplink { "an uplink" } else { "a guest" };
        tracing::info!(port = port.0, label, "{who} attached at {endpoint}");
        if matches!(guest.link, Link::Relay(_)) {
            self.relay = Some(port);
        }
        self.guests.insert(port, guest);
        core.tell(Event::PortAttached { port, port_config });
    }

    pub(crate) fn detach(&mut self, core: &mut Core, port: PortId, why: &str) {
        let Some(guest) = self.guests.remove(&port) else {
            return;
        };
        let who = if guest.is_uplink { "uplink" } else { "guest" };
        if guest.is_uplink {
            self.closed_uplinks.push(port);
        }
        if self.relay == Some(port) {
            self.relay = None;
        }
        match (guest.link, guest.attached_at) {
            (Link::Dgram { path, .. }, Some(id)) => {
                self.by_path.remove(&(id, path));
            }
            (Link::Tap(tap), _) => self.end_tap(core, port, &tap),
            (Link::VhostUser(shared), _) => self.end_front_end(core, *shared),
            _ => {}
        }
        tracing::info!(
            port = port.0,
            "the {who} at {} is detached: {why}",
            guest.endpoint
        );
        core.tell(Event::PortDetached(port));
    }

    /// Call where a guest attached by another name.
    pub(crate) fn rename(&mut self, port: PortId, endpoint: String) {
        if let Some(guest) = self.guests.get_mut(&port) {
            guest.endpoint = endpoint;
        }
    }

    /// Uplinks that were detached since this was last asked.
    pub(crate) fn take_closed_uplinks(&mut self) -> Vec<PortId> {
        std::mem::take(&mut self.closed_uplinks)
    }

    pub(crate) fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.checked_add(1).expect("nobody attaches 2^32 times");
        self.last_id
    }
}

impl Attachment {
    fn info(&self) -> ListenerInfo {
        ListenerInfo {
            transport: match self.socket {
                Socket::Stream(_) => Transport::Qemu,
                Socket::VhostUser(_) => Transport::VhostUser,
                Socket::Dgram(_) => Transport::QemuDgram,
            },
            path: self.socket.path().to_owned(),
            label: self.label.clone(),
        }
    }
}

fn told(core: &mut Core, port: PortId, frames: usize) {
    if frames > 0 {
        core.tell(Event::Transmitted { port, frames });
    }
}
