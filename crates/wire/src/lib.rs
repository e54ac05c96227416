//! Bytes to typed packets and back: thin over smoltcp's wire types, plus what they lack.
//!
//! This crate knows no clock, no socket and no configuration. It holds the [`Frame`], the currency of the whole
//! datapath, the checksum and offload vocabulary that travels with it, and builders for the packets that the
//! gateway itself sends. Views of Ethernet, ARP, IPv4, IPv6, TCP, UDP and ICMP are smoltcp's, re-exported by their names.

#![forbid(unsafe_code)]

pub mod checksum;
mod endpoint;
pub mod fragment;
mod frame;
pub mod ipv6;
pub mod join;
mod mac;
pub mod ndp;
pub mod packet;
pub mod pcapng;
pub mod proxy;
pub mod segment;
mod seq;
pub mod tcp;
pub mod vlan;
pub mod vnet;

pub use endpoint::{Endpoint, Family};
pub use frame::{Checksum, Frame, FrameBuf, Gso, HEADROOM, Offload};
pub use mac::Mac;
pub use segment::{BadOffload, Offloads};
pub use seq::Seq;
pub use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4DstUnreachable,
    Icmpv4Message, Icmpv4Packet, Icmpv4TimeExceeded, Icmpv6Message, IpProtocol, Ipv4Packet, Ipv6Packet,
    TcpOption, TcpPacket, UdpPacket,
};
