//! What vmnet.framework promises, and nothing that it does not.
//!
//! Sources: Apple's documentation of vmnet (`vmnet_start_interface`, `vmnet_read`, `vmnet_write`,
//! `vmnet_interface_set_event_callback`, `vmnet_stop_interface`, the keys), and where it is silent QEMU's `net/vmnet-common.m`,
//! which has lived with the framework for years.
//!
//! 1. Starting and stopping are asked for, and answered later on a thread of the framework's. A start that is refused at once
//!    gets no answer. One interface at a time: a start follows a stop, or one whose stop was not answered for long.
//! 2. A read lends buffers of at least `max_packet_size` bytes each, not more than `read_max_packets` of them, and says how
//!    large each is *before every read*, because the framework writes the packets' sizes into the same place. It never waits;
//!    no packet is no error.
//! 3. A write takes whole Ethernet frames of at most `max_packet_size` bytes, not more than `write_max_packets` at once. It
//!    may take the first few only, and says how many.
//! 4. Events are asked for when the interface is there. The number of packets in an event is an estimate. Whether there is another event for packets that were there before is
//!    not said: whoever is told reads until there is none.
//! 5. An interface can end by itself: the host's interface under it went, the service behind it was restarted, the host slept.
//!    Nothing announces it; calls fail from then on.
//! 6. No event and no answer comes after the stop was answered. Dropping a started one stops it, and waits for that.

use std::fmt;
use std::net::Ipv4Addr;

use atoll_wire::{Mac, vnet};

use super::events::Events;
use super::options::VmnetOptions;

/// Packets in one call where the interface does not say (before macOS 15).
pub(crate) const MAX_PACKETS: usize = 200;

/// Bytes in one call.
pub(crate) const MAX_BYTES: usize = 256 * 1024;

/// See the module.
pub trait Vmnet: fmt::Debug + Send {
    /// What it can do beyond its oldest release.
    fn features(&self) -> Features;

    /// The host's interfaces that can be bridged.
    fn interfaces(&self) -> Vec<String>;

    /// Whether the host has an interface of this name now. Cheap.
    fn has_interface(&self, name: &str) -> bool;

    /// Ask for an interface; [`Events::started`] answers.
    ///
    /// # Errors
    /// It was refused at once, and no answer comes.
    fn start(&mut self, options: &VmnetOptions, events: Events) -> Result<(), Status>;

    /// Ask to be told of packets by [`Events::packets`], of an interface that is there. Packets that came before are not announced.
    ///
    /// # Errors
    /// The interface is none any more.
    fn listen(&mut self) -> Result<(), Status>;

    /// Ask for its end; [`Events::stopped`] answers.
    ///
    /// # Errors
    /// It was refused at once, and no answer comes; the interface is none any more.
    fn stop(&mut self) -> Result<(), Status>;

    /// Take packets that came. `arena` consists of as many buffers of one size as there are `sizes`, each of which holds that
    /// size, and then that of the packet. How many came.
    ///
    /// # Errors
    /// The interface is none any more.
    fn read(&mut self, arena: &mut [u8], sizes: &mut [usize]) -> Result<usize, Status>;

    /// Hand over packets. How many of them were taken, from the first.
    ///
    /// # Errors
    /// None was, or it is not known how many.
    fn write(&mut self, packets: &[&[u8]]) -> Result<usize, Status>;
}

/// What a release of the framework can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// A virtio_net_hdr before each frame (macOS 15.4).
    pub virtio_header: bool,
    /// Networks whose services can be turned off (macOS 26).
    pub networks: bool,
}

/// What an interface turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The MAC address that the framework would give to a guest. Frames of others pass as well.
    pub mac: Option<Mac>,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// Largest frame that is read or written, in bytes, without a header before it.
    pub max_packet_size: usize,
    /// Packets in one read.
    pub read_max_packets: usize,
    /// Packets in one write.
    pub write_max_packets: usize,
    /// The host's address on it, in shared and host mode.
    pub host: Option<Ipv4Addr>,
    /// Mask of the network.
    pub mask: Option<Ipv4Addr>,
    /// Frames follow a virtio_net_hdr.
    pub has_header: bool,
}

impl Parameters {
    /// An interface of which nothing is known but these: no address, no header, and the documented number of packets a call.
    #[must_use]
    pub fn new(mtu: u16, max_packet_size: usize) -> Self {
        Self {
            mac: None,
            mtu,
            max_packet_size,
            read_max_packets: MAX_PACKETS,
            write_max_packets: MAX_PACKETS,
            host: None,
            mask: None,
            has_header: false,
        }
    }

    /// What a buffer for one packet holds. The header is counted beside the packet, which is enough whether or not the framework
    /// counts it within.
    #[must_use]
    pub fn buffer_size(&self) -> usize {
        self.max_packet_size + if self.has_header { vnet::LEN } else { 0 }
    }
}

/// The framework's words for what went wrong (`vmnet_return_t` other than success).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Status {
    /// 1001: for one of many reasons; a process without permission gets this one.
    #[error("it failed (VMNET_FAILURE), which is also its answer to who may not use it")]
    Failure,
    /// 1002
    #[error("it has no memory (VMNET_MEM_FAILURE)")]
    Memory,
    /// 1003
    #[error("it does not like what it was given (VMNET_INVALID_ARGUMENT)")]
    InvalidArgument,
    /// 1004
    #[error("the interface is not set up (VMNET_SETUP_INCOMPLETE)")]
    SetupIncomplete,
    /// 1005
    #[error("it denies access (VMNET_INVALID_ACCESS)")]
    InvalidAccess,
    /// 1006
    #[error("the packet is larger than the interface takes (VMNET_PACKET_TOO_BIG)")]
    PacketTooBig,
    /// 1007
    #[error("its buffers are full (VMNET_BUFFER_EXHAUSTED)")]
    BufferExhausted,
    /// 1008
    #[error("these are too many packets at once (VMNET_TOO_MANY_PACKETS)")]
    TooManyPackets,
    /// 1009
    #[error("the system's internet sharing is in use (VMNET_SHARING_SERVICE_BUSY)")]
    SharingServiceBusy,
    /// 1010
    #[error("it is not allowed to this program (VMNET_NOT_AUTHORIZED)")]
    NotAuthorized,
    /// Another number.
    #[error("it answered {0}, which is none of its words")]
    Unknown(u32),
}

impl Status {
    /// What a number of the framework's means.
    ///
    /// # Errors
    /// Anything but success (1000).
    pub fn check(number: u32) -> Result<(), Self> {
        Err(match number {
            1000 => return Ok(()),
            1001 => Self::Failure,
            1002 => Self::Memory,
            1003 => Self::InvalidArgument,
            1004 => Self::SetupIncomplete,
            1005 => Self::InvalidAccess,
            1006 => Self::PacketTooBig,
            1007 => Self::BufferExhausted,
            1008 => Self::TooManyPackets,
            1009 => Self::SharingServiceBusy,
            1010 => Self::NotAuthorized,
            other => Self::Unknown(other),
        })
    }
}
