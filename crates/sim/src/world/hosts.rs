//! The world's hosts: what becomes of the engine's actions on them, and what they are told to do.

use std::net::SocketAddr;
use std::time::Duration;

use atoll_engine::{AcceptId, Action, Command, Event, FlowId, ForwardId, ForwardTarget, HostError};

use super::{Arrival, World};
use crate::guest::Guest;
use crate::host::{Answer, Server, Socket};

/// How often a blocked host socket takes more.
const REFILL: Duration = Duration::from_millis(1);

/// How soon after there is room more of what a host sent comes.
const FILL: Duration = Duration::from_micros(20);

impl<G: Guest> World<G> {
    /// A host listens.
    pub fn add_server(&mut self, address: impl Into<SocketAddr>, server: Server) {
        self.servers.insert(address.into(), server);
    }

    /// A forward to a guest, to which a client connects at once that behaves as `client`.
    ///
    /// # Panics
    /// When the guest's address is none.
    pub fn connect_through_forward(&mut self, guest: impl Into<SocketAddr>, client: Server) {
        let guest = guest.into();
        let (forward, accept) = (ForwardId(self.accepted), AcceptId(u64::from(self.accepted)));
        self.accepted += 1;
        let added = self.engine.apply(
            self.now,
            Command::AddForward {
                forward,
                guest: ForwardTarget::Address(guest.ip()),
                port: guest.port(),
            },
        );
        added.expect("the guest has an address of the subnet");
        self.accepting.insert(accept, client);
        self.event(Event::TcpAccepted {
            forward,
            accept,
            peer: ([127, 0, 0, 1], 50_000).into(),
        });
    }

    /// Whether there is a host that hesitates.
    #[must_use]
    pub fn is_hesitating(&self) -> bool {
        !self.hesitating.is_empty()
    }

    /// A host that hesitates says what it says: it accepts, or the attempt fails. Nothing when no host hesitates.
    pub fn host_answers(&mut self, refusal: Option<HostError>) {
        let Some((flow, server)) = self.hesitating.pop_first() else {
            return;
        };
        match refusal {
            None => self.connected(flow, server),
            Some(error) => self.event(Event::TcpFailed { flow, error }),
        }
    }

    /// A host that waits sends so many bytes more.
    pub fn host_sends(&mut self, flow: FlowId, bytes: u64) {
        self.tell(flow, |socket| socket.send(bytes));
    }

    /// A host that waits closes its side.
    pub fn host_closes(&mut self, flow: FlowId) {
        self.tell(flow, Socket::finish);
    }

    /// The host resets the connection.
    pub fn host_resets(&mut self, flow: FlowId) {
        let Some(socket) = self.sockets.get_mut(&flow).filter(|socket| socket.is_open()) else {
            return;
        };
        socket.broken = true;
        let error = HostError::Reset;
        self.event(Event::TcpFailed { flow, error });
    }

    /// From now on the host takes so many bytes a millisecond.
    pub fn host_takes(&mut self, flow: FlowId, takes: Option<usize>) {
        if let Some(socket) = self.sockets.get_mut(&flow) {
            socket.set_takes(takes);
            self.write(flow);
        }
    }

    fn tell(&mut self, flow: FlowId, what: impl FnOnce(&mut Socket)) {
        if let Some(socket) = self.sockets.get_mut(&flow).filter(|socket| socket.is_open()) {
            what(socket);
            self.event(Event::TcpReadable(flow));
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "an action is carried out once")]
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::TcpConnect { flow, to, .. } => self.connect(flow, to),
            Action::TcpAdopt { accept, flow } => {
                let client = self.accepting.remove(&accept);
                let client = client.expect("only what was accepted is adopted");
                self.watch(flow, Socket::new(client));
            }
            Action::TcpSend(flow) => self.write(flow),
            Action::TcpPeek {
                flow,
                offset,
                segment,
                count,
            } => self.peek(flow, offset, (segment, count)),
            Action::TcpAgain(flow) => self.event(Event::TcpReadable(flow)),
            Action::TcpDiscard { flow, bytes } => self.discard(flow, bytes),
            Action::TcpShutdown(flow) => {
                if let Some(socket) = self.sockets.get_mut(&flow) {
                    socket.shut_down = true;
                }
            }
            Action::Close(flow) => self.close(flow, false),
            Action::TcpReset(flow) => self.close(flow, true),
            _ => {}
        }
    }

    fn connect(&mut self, flow: FlowId, to: SocketAddr) {
        let refused = Answer::Refuses(HostError::Refused);
        let server = self.servers.get(&to).cloned();
        match (server.as_ref().map_or(refused, |server| server.answers), server) {
            (Answer::Hesitates, Some(server)) => {
                self.hesitating.insert(flow, server);
            }
            (Answer::Accepts, Some(server)) => self.connected(flow, server),
            (Answer::Refuses(error), _) => self.event(Event::TcpFailed { flow, error }),
            (_, None) => {}
        }
    }

    fn connected(&mut self, flow: FlowId, server: Server) {
        self.event(Event::TcpConnected(flow));
        self.watch(flow, Socket::new(server));
    }

    /// What the peer said before is told now.
    fn watch(&mut self, flow: FlowId, socket: Socket) {
        let speaks = socket.has_spoken();
        self.sockets.insert(flow, socket);
        if speaks {
            self.event(Event::TcpReadable(flow));
        }
    }

    fn peek(&mut self, flow: FlowId, offset: u32, (segment, count): (u16, u16)) {
        let Some(socket) = self.sockets.get_mut(&flow) else {
            return;
        };
        let (segments, end) = socket.peek(offset, segment, count);
        self.event(Event::TcpPeeked {
            flow,
            offset,
            segments,
            end,
        });
    }

    fn discard(&mut self, flow: FlowId, bytes: u32) {
        if let Some(socket) = self.sockets.get_mut(&flow) {
            socket.discard(bytes);
            if socket.has_more() {
                self.later(self.now + FILL, Arrival::Fill(flow));
            }
        }
    }

    pub(super) fn fill(&mut self, flow: FlowId) {
        let socket = self.sockets.get_mut(&flow);
        if socket.is_some_and(|socket| socket.is_open() && socket.fill()) {
            self.event(Event::TcpReadable(flow));
        }
    }

    pub(super) fn refill(&mut self, flow: FlowId) {
        if let Some(socket) = self.sockets.get_mut(&flow) {
            socket.refill();
        }
        self.write(flow);
    }

    /// Write what the engine has for the host, until the socket takes no more.
    fn write(&mut self, flow: FlowId) {
        let Some(socket) = self.sockets.get_mut(&flow).filter(|socket| socket.is_open()) else {
            return;
        };
        let mut offered = false;
        let mut bytes = 0;
        for slice in self.engine.tcp_outgoing(flow) {
            offered = true;
            bytes += socket.write(slice);
            if socket.blocked {
                break;
            }
        }
        if !offered {
            return;
        }
        let goes_on = socket.blocked && socket.will_take();
        let resets = socket.wants_reset();
        self.event(Event::TcpSent { flow, bytes });
        if resets {
            self.host_resets(flow);
        } else if goes_on {
            self.later(self.now + REFILL, Arrival::Refill(flow));
        }
    }

    fn close(&mut self, flow: FlowId, reset: bool) {
        self.hesitating.remove(&flow);
        if let Some(socket) = self.sockets.get_mut(&flow) {
            socket.close(reset);
        }
    }
}
