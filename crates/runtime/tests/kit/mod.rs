//! A guest whose network stack is smoltcp, attached at a QEMU `stream` or `dgram` socket.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

use atoll_ports::Decoder;
use atoll_runtime::{ListenSpec, NetworkOptions, Subnet, Transport};
use bytes::Bytes;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium};
use smoltcp::socket::{dhcpv4, tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

pub(crate) const SUBNET: Subnet = Subnet {
    address: Ipv4Addr::new(10, 77, 0, 0),
    prefix_len: 24,
};
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const ALIAS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// A network with one stream socket in `folder`, whose guests reach the host's loopback.
pub(crate) fn options(folder: &Path) -> (NetworkOptions, PathBuf) {
    let path = folder.join("net.sock");
    let mut options = NetworkOptions::new(SUBNET);
    options.host_loopback = true;
    options.listeners.push(ListenSpec {
        transport: Transport::Qemu,
        path: path.clone(),
        label: None,
    });
    (options, path)
}

/// How frames leave and enter the guest.
pub(crate) enum Wire {
    Stream(UnixStream, Decoder),
    Dgram(UnixDatagram, PathBuf),
}

pub(crate) struct Nic {
    wire: Wire,
    received: VecDeque<Bytes>,
    pub(crate) closed: bool,
}

pub(crate) struct Rx(Bytes);
pub(crate) struct Tx<'a>(&'a mut Nic);

impl smoltcp::phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl smoltcp::phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.send(&frame);
        result
    }
}

impl Device for Nic {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Rx(frame), Tx(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl Nic {
    /// Blocks when the network does not read: the test is then at fault, or the network.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        let outcome = match &mut self.wire {
            Wire::Stream(stream, _) => {
                let mut bytes = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
                bytes.extend_from_slice(frame);
                stream.write_all(&bytes)
            }
            Wire::Dgram(socket, path) => socket.send_to(frame, path).map(|_| ()),
        };
        self.closed |= outcome.is_err();
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        let Wire::Stream(stream, _) = &mut self.wire else {
            panic!("only a stream has bytes");
        };
        stream.write_all(bytes).unwrap();
    }

    /// Every frame that came, which the guest's stack then does not see; waits for one, but no longer than a millisecond.
    pub(crate) fn receive_some(&mut self) -> std::collections::vec_deque::Drain<'_, Bytes> {
        self.receive();
        self.received.drain(..)
    }

    fn receive(&mut self) {
        let mut buf = [0; 65536];
        let outcome = match &mut self.wire {
            Wire::Stream(stream, decoder) => stream.read(&mut buf).inspect(|&count| {
                decoder.extend(&buf[..count]);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    self.received.push_back(frame);
                }
            }),
            Wire::Dgram(socket, _) => socket.recv(&mut buf).inspect(|&count| {
                self.received.push_back(Bytes::copy_from_slice(&buf[..count]));
            }),
        };
        match outcome {
            Ok(0) => self.closed = true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.closed = true,
        }
    }
}

pub(crate) struct Guest {
    pub(crate) nic: Nic,
    interface: Interface,
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) address: Option<Ipv4Addr>,
    dhcp: SocketHandle,
    next_port: u16,
}

const TICK: std::time::Duration = std::time::Duration::from_millis(1);

impl Guest {
    pub(crate) fn stream(path: &Path, last: u8) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(TICK)).unwrap();
        Self::new(Wire::Stream(stream, Decoder::default()), last)
    }

    pub(crate) fn dgram(path: &Path, own: &Path, last: u8) -> Self {
        let socket = UnixDatagram::bind(own).unwrap();
        socket.set_read_timeout(Some(TICK)).unwrap();
        Self::new(Wire::Dgram(socket, path.to_owned()), last)
    }

    fn new(wire: Wire, last: u8) -> Self {
        let mut nic = Nic {
            wire,
            received: VecDeque::new(),
            closed: false,
        };
        let mac = EthernetAddress([0x52, 0x54, 0, 0, 0, last]);
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = u64::from(last);
        let interface = Interface::new(config, &mut nic, Instant::now());
        let mut sockets = SocketSet::new(Vec::new());
        let dhcp = sockets.add(dhcpv4::Socket::new());
        Self {
            nic,
            interface,
            sockets,
            address: None,
            dhcp,
            next_port: 40_000,
        }
    }

    /// Let the stack work once.
    pub(crate) fn step(&mut self) {
        self.interface
            .poll(Instant::now(), &mut self.nic, &mut self.sockets);
        self.nic.receive();
        self.interface
            .poll(Instant::now(), &mut self.nic, &mut self.sockets);
        let event = self.sockets.get_mut::<dhcpv4::Socket<'_>>(self.dhcp).poll();
        if let Some(dhcpv4::Event::Configured(config)) = event {
            let address = config.address;
            let router = config.router;
            self.address = Some(address.address());
            self.interface.update_ip_addrs(|addresses| {
                addresses.clear();
                addresses.push(IpCidr::Ipv4(address)).unwrap();
            });
            if let Some(router) = router {
                self.interface
                    .routes_mut()
                    .add_default_ipv4_route(router)
                    .unwrap();
            }
        }
    }

    /// Let the stack work until `done` says so. Whoever runs the tests sets the time limit.
    pub(crate) fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        loop {
            if let Some(value) = done(self) {
                return value;
            }
            self.step();
        }
    }

    pub(crate) fn configured(mut self) -> Self {
        self.until(|guest| guest.address);
        self
    }

    pub(crate) fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(crate) fn connect(&mut self, to: (Ipv4Addr, u16)) -> SocketHandle {
        let handle = self.add_tcp();
        self.next_port += 1;
        let port = self.next_port;
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.connect(self.interface.context(), to, port).unwrap();
        handle
    }

    pub(crate) fn listen(&mut self, port: u16) -> SocketHandle {
        let handle = self.add_tcp();
        self.tcp(handle).listen(port).unwrap();
        handle
    }

    fn add_tcp(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 256 * 1024]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    pub(crate) fn bind_udp(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; 65536]);
        let handle = self.sockets.add(udp::Socket::new(buffer(), buffer()));
        self.udp(handle).bind(port).unwrap();
        handle
    }

    /// Send `data`, then FIN, and gather what comes until the peer's FIN.
    pub(crate) fn exchange(&mut self, handle: SocketHandle, data: &[u8]) -> Vec<u8> {
        let (mut sent, mut got, mut chunk) = (0, Vec::new(), [0; 65536]);
        self.until(|guest| {
            let socket = guest.tcp(handle);
            assert_ne!(socket.state(), tcp::State::Closed, "after {} bytes", got.len());
            if socket.can_send() && sent < data.len() {
                sent += socket.send_slice(&data[sent..]).unwrap();
                if sent == data.len() {
                    socket.close();
                }
            }
            while socket.can_recv() {
                let count = socket.recv_slice(&mut chunk).unwrap();
                got.extend_from_slice(&chunk[..count]);
            }
            let over = !socket.may_recv() && sent == data.len();
            over.then_some(())
        });
        got
    }
}
