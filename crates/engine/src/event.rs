//! What the runtime tells the engine.

use std::net::{IpAddr, SocketAddr};

use atoll_wire::{FrameBuf, Mac, Offloads};
use bytes::Bytes;

use crate::{
    AcceptId, ClockQuestion, ClockReading, FlowId, ForwardId, ForwardTarget, JoinId, PortId, QueryId,
    RoutedPacket, TransferId,
};

/// One thing that happened. Events about flows that are no more are ignored.
#[derive(Clone, Debug)]
pub enum Event {
    /// A guest is attached.
    PortAttached {
        /// Its port, never used before.
        port: PortId,
        /// What it can take.
        port_config: PortConfig,
    },
    /// The guest is gone; frames waiting for it are lost.
    PortDetached(PortId),
    /// The port took this many frames from the front of its egress queue.
    Transmitted {
        /// The port.
        port: PortId,
        /// How many.
        frames: usize,
    },

    /// The host connected.
    TcpConnected(FlowId),
    /// A connection came to a forward.
    TcpAccepted {
        /// The forward.
        forward: ForwardId,
        /// Name of the connection until a flow adopts it.
        accept: AcceptId,
        /// Who connected.
        peer: SocketAddr,
    },
    /// A program of the host asks for a guest, and waits for the outcome: `TcpAdopt` when the guest has answered, else `TcpRefuse`.
    TcpDialled {
        /// Name of its connection until a flow adopts it.
        accept: AcceptId,
        /// Who asks.
        peer: SocketAddr,
        /// Which guest.
        guest: ForwardTarget,
        /// Which port of the guest.
        port: u16,
    },
    /// Nobody waits for the outcome of `TcpDialled` any more.
    TcpWithdrawn(AcceptId),
    /// The host socket took this many of the bytes that are outgoing.
    TcpSent {
        /// The flow.
        flow: FlowId,
        /// How many.
        bytes: usize,
    },
    /// The host socket has something to be peeked: bytes, or the end of the stream. Told of each thing that comes, also of what
    /// came before the guest's side is open.
    TcpReadable(FlowId),
    /// The answer to `TcpPeek`.
    TcpPeeked {
        /// The flow.
        flow: FlowId,
        /// As asked.
        offset: u32,
        /// Payloads, each with headroom; all but the last as long as asked.
        segments: Vec<FrameBuf>,
        /// The stream ends after these bytes.
        end: bool,
    },
    /// The connection could not be made, or broke: what `connect`, `recv` or `send` reported.
    TcpFailed {
        /// The flow.
        flow: FlowId,
        /// Why.
        error: HostError,
    },

    /// Datagrams came to a flow's UDP socket.
    UdpReceived {
        /// The flow.
        flow: FlowId,
        /// From whom.
        from: SocketAddr,
        /// They, in order.
        datagrams: Vec<Datagrams>,
    },
    /// Datagrams came to a forward's UDP socket.
    UdpForwarded {
        /// The forward.
        forward: ForwardId,
        /// From whom.
        from: SocketAddr,
        /// They, in order.
        datagrams: Vec<Datagrams>,
    },
    /// The host's kernel had no room for datagrams and dropped them.
    UdpOverflow {
        /// Those that guests sent.
        sent: u64,
        /// Those for guests.
        received: u64,
    },
    /// An earlier datagram to `to` was refused or lost on its way, as the socket's error queue tells.
    UdpRefused {
        /// The flow.
        flow: FlowId,
        /// Where the datagram went.
        to: SocketAddr,
        /// Why.
        error: HostError,
    },
    /// An echo reply came.
    IcmpReceived {
        /// The flow.
        flow: FlowId,
        /// From whom.
        from: IpAddr,
        /// Sequence number.
        seq: u16,
        /// Data after the header.
        payload: FrameBuf,
    },
    /// An echo request was refused or lost on its way.
    IcmpRefused {
        /// The flow.
        flow: FlowId,
        /// Where the request went.
        to: IpAddr,
        /// Its sequence number.
        seq: u16,
        /// Why.
        error: HostError,
    },
    /// The flow's UDP or ICMP socket could not be opened.
    FlowFailed {
        /// The flow.
        flow: FlowId,
        /// Why.
        error: HostError,
    },

    /// A packet came from a network that this one is joined with.
    Routed {
        /// Which network.
        from: JoinId,
        /// The packet.
        packet: RoutedPacket,
    },
    /// The network that the packet of `Route` was for does not run.
    RouteLost(RoutedPacket),

    /// A resolver answered.
    DnsAnswered {
        /// The question.
        query: QueryId,
        /// The message as it came.
        message: Bytes,
    },
    /// A resolver refused, or could not be reached.
    DnsFailed(QueryId),

    /// A file is open.
    FileOpened {
        /// As asked.
        transfer: TransferId,
        /// Its size in bytes.
        size: u64,
    },
    /// Bytes of a file.
    FileRead {
        /// As asked.
        transfer: TransferId,
        /// Fewer than were asked for where the file ends.
        data: Bytes,
    },
    /// A file could not be opened, or not be read.
    FileFailed {
        /// As asked.
        transfer: TransferId,
        /// Why.
        error: FileError,
    },
    /// The answer to `ReadClock`.
    ClockRead {
        /// As asked.
        question: ClockQuestion,
        /// What the host's clock says.
        reading: ClockReading,
    },
}

/// The payload of a datagram, or of several of one size that came as one.
#[derive(Clone, Debug)]
pub struct Datagrams {
    /// It, with headroom.
    pub payload: FrameBuf,
    /// Bytes of each datagram, the last of which may be shorter. `None`: it is one datagram.
    pub segment: Option<u16>,
}

impl Datagrams {
    /// Bytes of the largest.
    #[must_use]
    pub fn largest(&self) -> usize {
        let len = self.payload.len();
        self.segment.map_or(len, |segment| len.min(segment.into()))
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> u64 {
        let count = self.payload.len().div_ceil(self.largest().max(1)).max(1);
        count.try_into().unwrap_or(u64::MAX)
    }
}

impl From<FrameBuf> for Datagrams {
    fn from(payload: FrameBuf) -> Self {
        Self {
            payload,
            segment: None,
        }
    }
}

/// What a port can take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortConfig {
    /// Which machine stands behind it, when the runtime knows: names the documents it may read.
    pub label: Option<String>,
    /// Which frames the port takes as they are. What it cannot take is cut and summed before it is queued.
    pub offloads: Offloads,
    /// What is behind it.
    pub side: Side,
}

/// What is behind a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// A guest.
    #[default]
    Guest,
    /// The host's LAN, or the bridge that the host is on.
    Uplink,
    /// The host's LAN, for the frames of one guest's MAC address and no other (macvtap).
    Pinned(Mac),
}

/// Why a file is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// There is none.
    NotFound,
    /// It is outside the folder, no regular file, or not for us to read.
    Forbidden,
    /// Anything else.
    Other,
}

/// Why the host's network could not do it, in terms of what a router or host would tell the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// ECONNREFUSED: nobody listens there.
    Refused,
    /// ECONNRESET, EPIPE: the connection was reset.
    Reset,
    /// ETIMEDOUT: nobody answered.
    TimedOut,
    /// EHOSTUNREACH.
    HostUnreachable,
    /// ENETUNREACH, EADDRNOTAVAIL for want of a route.
    NetUnreachable,
    /// EACCES, EPERM: forbidden by the host's firewall or policy.
    Prohibited,
    /// EMSGSIZE: larger than the path takes; the next hop's MTU when known.
    TooBig {
        /// Bytes of the largest IP packet that passes.
        mtu: Option<u16>,
    },
    /// ICMP time exceeded: the time to live ran out at this router.
    TimeExceeded {
        /// The router that said so, when known.
        router: Option<IpAddr>,
    },
    /// EMFILE, ENFILE, ENOBUFS, EADDRINUSE: the host has no descriptor or port left.
    Exhausted,
    /// Anything else.
    Other,
}
