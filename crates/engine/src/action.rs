//! What the engine asks of the runtime.
//!
//! Actions are carried out in the order in which they are polled. An action that names a flow holds for as long as
//! the flow lives; [`Action::Close`] ends it, and the runtime forgets the flow and whatever it still had to tell of it.

use std::net::{IpAddr, SocketAddr};

use atoll_wire::{Family, Frame, Mac};
use bytes::Bytes;

use crate::{
    AcceptId, ClockQuestion, FlowId, ForwardId, HostError, JoinId, Listening, PortId, QueryId, RoutedPacket,
    TransferId, WatchId,
};

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// [`Engine::egress`](crate::Engine::egress) of this port has frames where it had none. Write until it is empty
    /// or the port would block; after every write tell [`Event::Transmitted`](crate::Event::Transmitted); when the
    /// port can take more go on without being asked again.
    Transmit(PortId),

    /// Connect a non-blocking TCP socket, then tell `TcpConnected` or `TcpFailed`.
    TcpConnect {
        /// The flow whose host side this is.
        flow: FlowId,
        /// Where to.
        to: SocketAddr,
        /// How many routers the handshake may cross, where the guest wants fewer than is usual: the router at which it ends is
        /// told in `TcpFailed`. A connection that was made is one like any other.
        hops: Option<u8>,
    },
    /// Connect to a service of the runtime's that a port of the host alias leads to; then as `TcpConnect`.
    TcpConnectService {
        /// The flow whose host side this is.
        flow: FlowId,
        /// Its number, as in `HostTarget::Service`.
        service: u32,
    },
    /// The accepted connection is this flow's host side from now on.
    TcpAdopt {
        /// The connection, as named in `TcpAccepted` or `TcpDialled`.
        accept: AcceptId,
        /// Its flow.
        flow: FlowId,
    },
    /// Close the accepted connection with a reset: no flow can be made for it, or no guest answered.
    TcpRefuse {
        /// The connection, as named in `TcpAccepted` or `TcpDialled`.
        accept: AcceptId,
        /// Why, for who is told in words.
        why: HostError,
    },
    /// [`Engine::tcp_outgoing`](crate::Engine::tcp_outgoing) has bytes for the host socket. Write until it is empty or
    /// the socket would block; after every write, and with no bytes when it takes none, tell `TcpSent`; when the
    /// socket can take more go on without being asked again.
    TcpSend(FlowId),
    /// Copy bytes from the socket's receive queue, leaving them there, then tell `TcpPeeked` at once (with no segment when
    /// nothing lies there). Bytes are counted from the first one not yet discarded.
    TcpPeek {
        /// The flow.
        flow: FlowId,
        /// Bytes to skip.
        offset: u32,
        /// Payload bytes of one segment, at most.
        segment: u16,
        /// Segments at most. All but the last are full.
        count: u16,
    },
    /// There may be more to peek: tell `TcpReadable` when everything else that is ready has had its turn. What the guest
    /// acknowledges meanwhile makes room for the peer.
    TcpAgain(FlowId),
    /// Drop this many bytes from the front of the receive queue: the guest has them.
    TcpDiscard {
        /// The flow.
        flow: FlowId,
        /// How many; never more than were peeked.
        bytes: u32,
    },
    /// Send FIN after what was written: `shutdown(SHUT_WR)`.
    TcpShutdown(FlowId),
    /// Close the flow's socket, whatever its kind. A TCP socket whose both sides are finished ends in the ordinary way.
    Close(FlowId),
    /// Close the flow's TCP socket with a reset (`SO_LINGER` 0).
    TcpReset(FlowId),

    /// Open an unconnected UDP socket on any port. A failure is told by `FlowFailed`.
    UdpOpen {
        /// The flow whose host side this is.
        flow: FlowId,
        /// Of all that it sends to, and hears from.
        family: Family,
    },
    /// How many routers what the flow sends from now on may cross; `None`: as many as is usual.
    UdpHops {
        /// The flow whose socket sends.
        flow: FlowId,
        /// The hop limit of what leaves the host.
        hops: Option<u8>,
    },
    /// Send one datagram, or several of one size. The runtime may gather what one flow sends until the engine has no more
    /// to ask; the datagrams of a flow keep their order.
    UdpSend {
        /// The flow whose socket sends.
        flow: FlowId,
        /// Where to.
        to: SocketAddr,
        /// The payload: a slice of the guest's frame.
        payload: Bytes,
        /// Bytes of each datagram that the payload is to be cut into, the last of which may be shorter: at least one, and less
        /// than the payload has. `None`: it is one datagram.
        segment: Option<u16>,
    },
    /// The guest's port is far behind: leave what comes in the flow's socket, until `UdpResume` or the flow's end.
    UdpPause(FlowId),
    /// Receive again.
    UdpResume(FlowId),
    /// Send from a forward's own socket, in answer to what came there; else as `UdpSend`.
    UdpForwardSend {
        /// The forward.
        forward: ForwardId,
        /// Where to.
        to: SocketAddr,
        /// The payload.
        payload: Bytes,
        /// As in `UdpSend`.
        segment: Option<u16>,
    },

    /// Open an ICMP echo ("ping") socket. A failure is told by `FlowFailed`.
    IcmpOpen {
        /// The flow whose host side this is.
        flow: FlowId,
        /// Of all that it sends to, and hears from.
        family: Family,
    },
    /// Send an echo request. The identifier is the socket's own.
    IcmpSend {
        /// The flow whose socket sends.
        flow: FlowId,
        /// Where to.
        to: IpAddr,
        /// Sequence number.
        seq: u16,
        /// Data after the header.
        payload: Bytes,
        /// Time to live, or hop limit.
        ttl: u8,
    },

    /// Ask a resolver: from a fresh socket on a random port, by UDP or (length prefix added by the runtime) TCP. Tell
    /// `DnsFailed` at most once, or `DnsAnswered`: by UDP for all that comes until `DnsForget`, as it may be forged.
    DnsAsk {
        /// The question.
        query: QueryId,
        /// Whom to ask.
        server: SocketAddr,
        /// Over TCP.
        tcp: bool,
        /// The message.
        message: Bytes,
    },
    /// Nobody waits for this question any more: close its socket.
    DnsForget(QueryId),

    /// Open a file below the folder that is served, then tell `FileOpened` or `FileFailed` at once.
    FileOpen {
        /// Its name until `FileClose`.
        transfer: TransferId,
        /// Where it is from the folder: never empty, and without parts that lead up. The runtime makes sure of that itself.
        path: String,
    },
    /// Read from an open file, as many bytes as are asked for or as there are, then tell `FileRead` or `FileFailed` at once.
    FileRead {
        /// The file.
        transfer: TransferId,
        /// From this byte on.
        offset: u64,
        /// How many.
        len: u32,
    },
    /// The file is not needed any more, whether or not it was opened.
    FileClose(TransferId),
    /// A guest asks for the time: read the clock, then tell `ClockRead` at once.
    ReadClock(ClockQuestion),

    /// A guest's MAC address wants an uplink of its own: attach a port with [`Side::Pinned`](crate::Side::Pinned). Asked once for each
    /// MAC address, and again when its port was detached and the guest speaks.
    OpenUplink(Mac),
    /// The MAC address of [`Action::OpenUplink`] is not heard here any more: detach its uplink.
    CloseUplink(Mac),

    /// At which ports a guest listens now, as it says itself: all of them, in order, at most 128. Told when that changes, bounded in rate.
    Listening {
        /// The wish to know it.
        watch: WatchId,
        /// The ports.
        ports: Vec<Listening>,
    },

    /// Give a packet to a network that this one is joined with, as its `Routed`; where it does not run tell `RouteLost`.
    Route {
        /// Which network.
        to: JoinId,
        /// The packet.
        packet: RoutedPacket,
    },

    /// Leases changed: write [`Engine::leases`](crate::Engine::leases) and
    /// [`Engine::leases6`](crate::Engine::leases6) to the state.
    LeasesChanged,
    /// The frame passed the switch and capture is on.
    Captured(Frame),
    /// Something the owner of the network should read in the log. Bounded in rate by the engine.
    Notice(Notice),
}

/// What a notice is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// A table is full and its oldest entry went.
    #[error("the {table} table is full ({bound} entries): its least recently used entries go")]
    TableFull {
        /// Which.
        table: &'static str,
        /// Its bound.
        bound: usize,
    },
    /// The host gives no more sockets.
    #[error("the host has no descriptor or port left for another flow")]
    HostExhausted,
    /// No address is left to lease.
    #[error("no address of the subnet is left to lease")]
    PoolExhausted,
    /// An address that we lease answers for somebody else.
    #[error("{address} was declined by a client: somebody else uses it")]
    AddressDeclined {
        /// The address.
        address: IpAddr,
    },
}
