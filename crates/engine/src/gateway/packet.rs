//! A packet of a guest's on its way through the gateway.

use std::net::IpAddr;

use atoll_wire::vlan::Vlan;
use atoll_wire::{Checksum, IpProtocol, Mac, Offload, packet};
use bytes::Bytes;

use super::icmp::Quote;
use crate::PortId;
use crate::lan::DEFAULT_TTL;
use crate::switch::Station;

/// How a frame came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// The port it came from.
    pub(crate) ingress: PortId,
    /// Whose it is.
    pub(crate) mac: Mac,
    /// The VLAN of which it is.
    pub(crate) vlan: Vlan,
    /// To our own MAC address, not to a group's.
    pub(crate) for_us: bool,
}

impl Arrival {
    /// Its sender, as the switch knows it.
    pub(super) fn station(&self) -> Station {
        let (mac, vlan) = (self.mac, self.vlan);
        Station { mac, vlan }
    }
}

/// An IP packet of a guest's that passed the header checks.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
    pub(crate) protocol: IpProtocol,
    /// The port it came from.
    pub(crate) ingress: PortId,
    /// All of it, header included, and nothing behind it.
    pub(super) bytes: Bytes,
    /// Where the transport's header begins.
    pub(super) header_len: usize,
    /// The byte of an IPv6 header that says what the transport is.
    pub(super) next_header_at: usize,
    pub(super) offload: Offload,
}

impl Packet {
    /// As an ICMP error quotes it.
    pub(crate) fn quote(&self) -> Quote {
        Quote::packet(self.src, self.dst, &self.bytes)
    }

    /// How many routers behind us it may cross, where its sender wants fewer than is usual: who looks for the routers on the way
    /// sends such packets. What has the usual hop limit or more leaves with the host's own.
    pub(crate) fn hops(&self) -> Option<u8> {
        (self.ttl < DEFAULT_TTL).then(|| self.ttl.saturating_sub(1))
    }

    pub(super) fn checksum_is_known(&self) -> bool {
        self.offload.checksum != Checksum::Unverified
    }

    /// Whether the checksum of the transport's first `len` bytes is right, or another's business.
    pub(super) fn checksum_is_right(&self, protocol: IpProtocol, len: usize) -> bool {
        let transport = self.transport();
        self.checksum_is_known()
            || transport.get(..len).is_some_and(|transport| {
                packet::transport_checksum_is_right(self.src, self.dst, protocol, transport)
            })
    }

    pub(super) fn transport(&self) -> &[u8] {
        &self.bytes[self.header_len..]
    }

    /// The bytes after `header` bytes of transport header, shared with the frame.
    pub(super) fn payload(&self, header: usize) -> Bytes {
        self.part(header, self.transport().len())
    }

    /// The bytes of the transport's packet from one to another, as far as they are there, shared with the frame.
    pub(super) fn part(&self, from: usize, to: usize) -> Bytes {
        let end = (self.header_len + to).min(self.bytes.len());
        self.bytes.slice((self.header_len + from).min(end)..end)
    }
}
