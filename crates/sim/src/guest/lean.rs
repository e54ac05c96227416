//! A lean guest: one NIC, one address, and a small modern TCP.
//!
//! It knows its gateway's MAC address, answers ARP, checks every checksum, refuses what it does not know by RST, and takes and
//! sends large segments where its port does: those that arrive it cuts itself, as a NIC would. What the engine sends it is checked by
//! [`watch`] when it leaves the engine, whether it arrives or not.

mod program;
mod receiver;
mod sender;
mod tcp;
mod watch;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use atoll_engine::Instant;
use atoll_wire::packet::{self, Ipv4Header};
use atoll_wire::tcp::{Flags, Header};
use atoll_wire::{
    ArpOperation, ArpPacket, Checksum, EthernetFrame, EthernetProtocol, Frame, FrameBuf, Gso, IpProtocol,
    Ipv4Packet, Mac, Offload, Offloads, Seq, segment,
};

use super::Guest;
use crate::script::parse_tcp;
use crate::stream::Stream;
pub use program::Profile;
pub use tcp::Connection;
use tcp::Opening;

/// A guest with a TCP of ours.
#[derive(Debug)]
pub struct LeanGuest {
    mac: Mac,
    address: Ipv4Addr,
    gateway_mac: Mac,
    mtu: u16,
    offloads: Offloads,
    connections: Vec<Connection>,
    received: VecDeque<Frame>,
    sent: Vec<Frame>,
    next_port: u16,
    /// It does and hears nothing any more.
    vanished: bool,
}

impl LeanGuest {
    /// A guest with a fixed address. `offloads` is what it and its port take.
    #[must_use]
    pub fn new((mac, address): (Mac, Ipv4Addr), gateway_mac: Mac, mtu: u16, offloads: Offloads) -> Self {
        Self {
            mac,
            address,
            gateway_mac,
            mtu,
            offloads,
            connections: Vec::new(),
            received: VecDeque::new(),
            sent: Vec::new(),
            next_port: 40_000,
            vanished: false,
        }
    }

    /// Connect, and send `outgoing`; `expects` is what is to arrive. Returns the connection's number.
    pub fn connect(
        &mut self,
        to: SocketAddrV4,
        profile: Profile,
        outgoing: Stream,
        expects: Stream,
    ) -> usize {
        self.next_port += 1;
        self.add((self.next_port, Some(to)), profile, outgoing, expects)
    }

    /// Listen, and do the same with whoever connects first.
    pub fn listen(&mut self, port: u16, profile: Profile, outgoing: Stream, expects: Stream) -> usize {
        self.add((port, None), profile, outgoing, expects)
    }

    fn add(
        &mut self,
        (port, remote): (u16, Option<SocketAddrV4>),
        profile: Profile,
        outgoing: Stream,
        expects: Stream,
    ) -> usize {
        let opening = Opening {
            port,
            remote,
            outgoing,
            expects,
            link_mss: self.mtu - 40,
            large: self.offloads.tcp4,
        };
        self.connections.push(Connection::new(opening, profile));
        self.connections.len() - 1
    }

    /// One of its connections.
    #[must_use]
    pub fn connection(&self, index: usize) -> &Connection {
        &self.connections[index]
    }

    /// One of its connections, to let its program do something.
    pub fn connection_mut(&mut self, index: usize) -> &mut Connection {
        &mut self.connections[index]
    }

    /// Its power fails: it hears and says nothing any more.
    pub fn vanish(&mut self) {
        self.vanished = true;
    }

    /// It starts anew, and knows of no connection.
    pub fn restart(&mut self) {
        self.connections.iter_mut().for_each(Connection::forget);
    }

    fn handle_arp(&mut self, body: &[u8]) {
        let Ok(arp) = ArpPacket::new_checked(body) else {
            return;
        };
        if arp.operation() != ArpOperation::Request || arp.target_protocol_addr() != self.address.octets() {
            return;
        }
        let (Ok(mac), Ok(ip)) = (
            <[u8; 6]>::try_from(arp.source_hardware_addr()),
            <[u8; 4]>::try_from(arp.source_protocol_addr()),
        ) else {
            return;
        };
        let asker = (Mac(mac), Ipv4Addr::from(ip));
        let mut reply = packet::arp(ArpOperation::Reply, (self.mac, self.address), asker);
        packet::push_ethernet(&mut reply, self.mac, asker.0, EthernetProtocol::Arp);
        self.sent.push(reply.freeze(Offload::default()));
    }

    fn handle_ipv4(&mut self, now: Instant, frame: &Frame) {
        for part in segment::plain(frame).expect("the engine's offloads fit its frames") {
            let ip = Ipv4Packet::new_unchecked(&part.bytes[packet::ETHERNET_LEN..]);
            let remote = ip.src_addr();
            let is_right =
                packet::transport_checksum_is_right(remote, ip.dst_addr(), IpProtocol::Tcp, ip.payload());
            let Some((header, payload)) = parse_tcp(&part) else {
                continue;
            };
            assert!(is_right, "the engine sent a wrong checksum");
            let from = SocketAddrV4::new(remote, header.src_port);
            match self.find(from, &header) {
                Some(connection) => connection.handle_segment(now, from, &header, payload),
                None => self.refuse(from, &header, payload.len()),
            }
        }
    }

    fn find(&mut self, from: SocketAddrV4, header: &Header) -> Option<&mut Connection> {
        self.connections
            .iter_mut()
            .find(|connection| connection.is_for(from, header))
    }

    /// RFC 9293, 3.10.7.1.
    fn refuse(&mut self, to: SocketAddrV4, header: &Header, payload: usize) {
        if header.flags.rst {
            return;
        }
        let len =
            u32::try_from(payload).unwrap_or(0) + u32::from(header.flags.syn) + u32::from(header.flags.fin);
        let (flags, seq, ack) = if header.flags.ack {
            (Flags::RST, header.ack, Seq(0))
        } else {
            (Flags::RST_ACK, Seq(0), header.seq + len)
        };
        let reset = Header {
            src_port: header.dst_port,
            dst_port: to.port(),
            seq,
            ack,
            flags,
            ..Header::default()
        };
        let frame = self.frame(to, &reset, FrameBuf::zeroed(0), 0);
        self.sent.push(frame);
    }

    /// A frame to the gateway with this segment, to be cut at `mss` if it is larger.
    fn frame(&self, to: SocketAddrV4, header: &Header, mut buf: FrameBuf, mss: u16) -> Frame {
        let payload = buf.len();
        let offload = if self.offloads.checksum {
            header.push_partial(&mut buf, self.address, *to.ip());
            let checksum = Checksum::Partial {
                start: 34,
                offset: 16,
            };
            let gso = if payload > usize::from(mss) {
                Gso::Tcp4 { size: mss }
            } else {
                Gso::None
            };
            Offload { checksum, gso }
        } else {
            header.push(&mut buf, self.address, *to.ip());
            Offload::default()
        };
        let ip = Ipv4Header {
            src: self.address,
            dst: *to.ip(),
            protocol: IpProtocol::Tcp,
            ttl: 64,
            ident: 0,
            dont_fragment: true,
        };
        packet::push_ipv4(&mut buf, &ip);
        packet::push_ethernet(&mut buf, self.mac, self.gateway_mac, EthernetProtocol::Ipv4);
        buf.freeze(offload)
    }
}

impl Guest for LeanGuest {
    fn inspect(&mut self, frame: &Frame) {
        assert!(
            self.offloads.take(frame.offload),
            "the port does not take such a frame"
        );
        let Some((header, payload)) = parse_tcp(frame) else {
            return;
        };
        let ip = Ipv4Packet::new_unchecked(&frame.bytes[packet::ETHERNET_LEN..]);
        let from = SocketAddrV4::new(ip.src_addr(), header.src_port);
        if let Some(connection) = self.find(from, &header) {
            connection.inspect(&header, &payload, frame.offload.gso);
        }
    }

    fn handle_frame(&mut self, frame: Frame) {
        if !self.vanished {
            self.received.push_back(frame);
        }
    }

    fn run(&mut self, now: Instant) -> Vec<Frame> {
        if self.vanished {
            return Vec::new();
        }
        while let Some(frame) = self.received.pop_front() {
            match EthernetFrame::new_unchecked(&frame.bytes[..]).ethertype() {
                EthernetProtocol::Arp => self.handle_arp(&frame.bytes[packet::ETHERNET_LEN..]),
                EthernetProtocol::Ipv4 => self.handle_ipv4(now, &frame),
                _ => {}
            }
        }
        let mut connections = std::mem::take(&mut self.connections);
        for connection in &mut connections {
            connection.run(now);
            let mss = connection.mss();
            for (to, header, buf) in connection.take_segments() {
                self.sent.push(self.frame(to, &header, buf, mss));
            }
        }
        self.connections = connections;
        std::mem::take(&mut self.sent)
    }

    fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let connections = self.connections.iter().filter(|_| !self.vanished);
        let due = connections.filter_map(Connection::next_due).min();
        due.map(|at| at.max(now))
    }
}
