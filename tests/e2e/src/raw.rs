//! A guest that sends what frames it likes: the other end of `-netdev stream`, without a machine behind it.

use atoll_wire::ipv6::{self, Ipv6Header};
use atoll_wire::packet::{self, Ipv4Header};
use atoll_wire::tcp::{Flags, Header};
use atoll_wire::{EthernetProtocol, FrameBuf, IpProtocol, Mac, Offload};
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long nothing may come before a guest has heard all.
const SILENCE: Duration = Duration::from_millis(300);

/// The guest.
#[derive(Debug)]
pub struct RawGuest {
    stream: UnixStream,
    /// Its MAC address.
    pub mac: Mac,
    /// The gateway's.
    pub gateway: Mac,
}

impl RawGuest {
    /// Attach to a network's socket for `-netdev stream`.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn attach(socket: &Path, mac: Mac, gateway: Mac) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Self { stream, mac, gateway })
    }

    /// Send a frame as it is.
    ///
    /// # Errors
    /// When the network is gone.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let len = u32::try_from(frame.len()).map_err(io::Error::other)?;
        self.stream.write_all(&[&len.to_be_bytes(), frame].concat())
    }

    /// Send a packet to the gateway.
    ///
    /// # Errors
    /// When the network is gone.
    pub fn send_ip(
        &mut self,
        (src, dst): (IpAddr, IpAddr),
        protocol: IpProtocol,
        buf: FrameBuf,
    ) -> io::Result<()> {
        let frame = ip_frame((self.mac, self.gateway), (src, dst), protocol, buf);
        self.send(&frame)
    }

    /// All that comes until nothing does.
    ///
    /// # Errors
    /// When the network is gone.
    pub fn hear(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut heard = Vec::new();
        loop {
            let mut len = [0; 4];
            match self.stream.read_exact(&mut len) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            let mut frame = vec![0; usize::try_from(u32::from_be_bytes(len)).map_err(io::Error::other)?];
            self.stream.read_exact(&mut frame)?;
            heard.push(frame);
        }
    }
}

/// An IP packet in a frame from one station to another.
#[must_use]
pub fn ip_frame(
    (from, to): (Mac, Mac),
    (src, dst): (IpAddr, IpAddr),
    protocol: IpProtocol,
    mut buf: FrameBuf,
) -> Vec<u8> {
    let ethertype = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let header = Ipv4Header {
                src,
                dst,
                protocol,
                ttl: 64,
                ident: 7,
                dont_fragment: false,
            };
            packet::push_ipv4(&mut buf, &header);
            EthernetProtocol::Ipv4
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = Ipv6Header {
                src,
                dst,
                protocol,
                hop_limit: 64,
            };
            ipv6::push_ipv6(&mut buf, &header);
            EthernetProtocol::Ipv6
        }
        _ => return Vec::new(),
    };
    packet::push_ethernet(&mut buf, from, to, ethertype);
    buf.freeze(Offload::default()).bytes.to_vec()
}

/// A SYN.
#[must_use]
pub fn syn(from: SocketAddr, to: SocketAddr) -> FrameBuf {
    let header = Header {
        src_port: from.port(),
        dst_port: to.port(),
        flags: Flags::SYN,
        window: 1000,
        ..Header::default()
    };
    let mut buf = FrameBuf::zeroed(0);
    header.push(&mut buf, from.ip(), to.ip());
    buf
}

/// A datagram.
#[must_use]
pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> FrameBuf {
    let mut buf = FrameBuf::copy_from(payload);
    packet::push_udp(&mut buf, from, to);
    buf
}

/// What the API of a network says of it.
///
/// # Errors
/// When it does not answer, or not with JSON.
pub fn picture(api: &Path) -> io::Result<Value> {
    let mut stream = UnixStream::connect(api)?;
    stream.write_all(b"GET /v1/network HTTP/1.1\r\nHost: atoll\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(io::Error::other)
}
