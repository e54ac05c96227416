//! smoltcp's whole stack behind one port, and connections that send and receive a stream.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use atoll_engine::{Addresses, Instant, Prefix};
use atoll_wire::{Frame, Mac};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use super::Guest;
use crate::stream::{Sink, Stream};

/// One connection of a guest and what its program does with it.
#[derive(Debug)]
pub struct Connection {
    socket: SocketHandle,
    /// What the guest sends before it closes its side, and how much of it the stack has.
    outgoing: Stream,
    sent: u64,
    /// What arrived.
    pub received: Sink,
    /// The program reads at most this many bytes each time it is called; zero while it does not read.
    pub reads: usize,
    closes: bool,
}

/// A guest with smoltcp's stack.
pub struct StackGuest {
    interface: Interface,
    sockets: SocketSet<'static>,
    wire: Wire,
    connections: Vec<Connection>,
    next_port: u16,
}

impl std::fmt::Debug for StackGuest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StackGuest")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl StackGuest {
    /// A guest with a fixed address of a network with these addresses, and a default route to its gateway.
    ///
    /// # Panics
    /// When the network has no addresses of that family, or the stack no room for one address and one route, which it has.
    #[must_use]
    pub fn new(mac: Mac, address: IpAddr, network: &Addresses, seed: u64) -> Self {
        let gateway = network.gateway(address).expect("a network of this family");
        let prefix_len = match address {
            IpAddr::V4(_) => network.subnet.map_or(32, |subnet| subnet.prefix_len),
            IpAddr::V6(_) => Prefix::LEN,
        };
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(IpAddress::from(address), prefix_len))
                .expect("there is room for one address");
        });
        let routes = interface.routes_mut();
        let added = match gateway {
            IpAddr::V4(gateway) => routes.add_default_ipv4_route(gateway),
            IpAddr::V6(gateway) => routes.add_default_ipv6_route(gateway),
        };
        added.expect("there is room for one route");
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            wire,
            connections: Vec::new(),
            next_port: 40_000,
        }
    }

    fn add(&mut self, outgoing: Stream, expects: Stream) -> (usize, &mut tcp::Socket<'static>) {
        let buffer = || tcp::SocketBuffer::new(vec![0; 64 * 1024]);
        let socket = self.sockets.add(tcp::Socket::new(buffer(), buffer()));
        let connection = Connection {
            socket,
            outgoing,
            sent: 0,
            received: Sink::new(expects),
            reads: usize::MAX,
            closes: true,
        };
        self.connections.push(connection);
        (self.connections.len() - 1, self.sockets.get_mut(socket))
    }

    /// Connect, send `outgoing`, close that side, and read `expects` to the end.
    ///
    /// # Panics
    /// When `to` has port zero.
    pub fn connect(&mut self, to: impl Into<SocketAddr>, outgoing: Stream, expects: Stream) -> usize {
        let to = to.into();
        self.next_port += 1;
        let port = self.next_port;
        let (index, _) = self.add(outgoing, expects);
        let socket = self
            .sockets
            .get_mut::<tcp::Socket<'_>>(self.connections[index].socket);
        socket
            .connect(self.interface.context(), (to.ip(), to.port()), port)
            .expect("the port is not zero");
        index
    }

    /// Listen, and do the same with whoever connects.
    ///
    /// # Panics
    /// When `port` is zero.
    pub fn listen(&mut self, port: u16, outgoing: Stream, expects: Stream) -> usize {
        let (index, socket) = self.add(outgoing, expects);
        socket.listen(port).expect("the port is not zero");
        index
    }

    /// One of its connections.
    #[must_use]
    pub fn connection(&self, index: usize) -> &Connection {
        &self.connections[index]
    }

    /// One of its connections, to change what its program does.
    pub fn connection_mut(&mut self, index: usize) -> &mut Connection {
        &mut self.connections[index]
    }

    /// The connection's state.
    #[must_use]
    pub fn state(&self, index: usize) -> tcp::State {
        self.sockets
            .get::<tcp::Socket<'_>>(self.connections[index].socket)
            .state()
    }

    /// Reset the connection.
    pub fn abort(&mut self, index: usize) {
        self.sockets
            .get_mut::<tcp::Socket<'_>>(self.connections[index].socket)
            .abort();
    }
}

impl Guest for StackGuest {
    fn handle_frame(&mut self, frame: Frame) {
        self.wire.received.push_back(frame);
    }

    fn run(&mut self, now: Instant) -> Vec<Frame> {
        let now = stack_time(now);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        for connection in &mut self.connections {
            connection.run(self.sockets.get_mut(connection.socket));
        }
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        let sent = self.wire.sent.drain(..);
        sent.map(|bytes| Frame::plain(bytes.into())).collect()
    }

    fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(stack_time(now), &self.sockets)?;
        let at = std::time::Duration::from_micros(u64::try_from(at.total_micros()).unwrap_or(0));
        // The stack counts whole microseconds: never call it again at the same one.
        Some(Instant::since_origin(at).max(now + std::time::Duration::from_micros(1)))
    }
}

impl Connection {
    fn run(&mut self, socket: &mut tcp::Socket<'_>) {
        while socket.can_recv() && self.reads > 0 {
            let room = self.reads;
            let taken = socket.recv(|bytes| {
                let len = bytes.len().min(room);
                self.received.push(&bytes[..len]);
                (len, len)
            });
            if taken.unwrap_or(0) == 0 || self.reads != usize::MAX {
                break;
            }
        }
        while socket.can_send() && self.sent < self.outgoing.len() {
            let sent = socket.send(|room| {
                let left = usize::try_from(self.outgoing.len() - self.sent).unwrap_or(usize::MAX);
                let len = left.min(room.len());
                self.outgoing.fill(self.sent, &mut room[..len]);
                (len, len)
            });
            self.sent += sent.unwrap_or(0) as u64;
        }
        let is_open = socket.may_send() && socket.state() != tcp::State::SynReceived;
        if self.sent == self.outgoing.len() && self.closes && is_open {
            self.closes = false;
            socket.close();
        }
    }
}

fn stack_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.elapsed().as_micros()).unwrap_or(i64::MAX))
}

/// The guest's NIC.
#[derive(Debug, Default)]
struct Wire {
    received: VecDeque<Frame>,
    sent: VecDeque<Vec<u8>>,
}

struct Received(Frame);
struct Sent<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_it: F) -> R {
        use_it(&self.0.bytes)
    }
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, use_it: F) -> R {
        let mut frame = vec![0; len];
        let result = use_it(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sent<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sent<'_>> {
        Some(Sent(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}
