//! One event loop: ports, host sockets, timers and the resolver around an engine.
//!
//! A [`Network`] is one thread that owns an engine and everything the engine asks for. The thread sleeps in `poll`
//! until a socket is ready, the engine's timer is due, or somebody used a [`Handle`]:
//!
//! ```text
//! guests ── listeners, guests ─┐                     ┌─ tcp, udp, icmp, dns: host sockets
//! people ── handle ────────────┼─ event_loop ─ engine ┼─ forwards: listeners on the host
//! timers ── poll_timeout ──────┘                     └─ capture, leases: files
//! ```
//!
//! Every other thread speaks to it through a [`Handle`], and sees owned values only: the engine does not leave the
//! loop. Work in one turn is bounded for each guest and socket; what is left over waits in a queue for the next turn.

pub mod abilities;
mod actions;
mod answers;
mod automatic;
mod capture;
mod core;
mod dns;
mod errno;
mod error;
mod event_loop;
mod files;
mod flows;
mod forwards;
mod guests;
mod handle;
mod hops;
mod host_addresses;
mod host_link;
mod icmp;
mod junction;
mod leases;
mod listen_at;
mod lock;
pub mod namespace;
mod network;
mod options;
mod outbox;
mod owner;
mod passing;
mod prefix;
mod proxy;
mod requests;
mod resolvers;
mod room;
mod services;
mod snapshot;
mod spare;
mod sys;
mod taps;
mod tcp;
mod tokens;
mod udp;
mod uplink;
mod vhost_user;

pub use atoll_engine::AGENT as PORTS_AGENT;
pub use atoll_engine::{
    Addresses, BootClient, DhcpOptions, DnsOptions, Documents, Family, NetBoot, Prefix, ServiceTarget,
    StaticLease, StaticRoute, Subnet, TimeServer,
};
pub use atoll_engine::{
    Destination, GuestLimits, GuestPolicy, NamePattern, Network as IpNetwork, Policy, Rule,
    Transport as RuleTransport, Verdict, Who,
};
pub use atoll_ports::{Listener, SocketFile, TapError};
pub use atoll_wire::Mac;
pub use error::{ForwardError, ListenError, RequestError, StartError};
pub use handle::Handle;
pub use host_link::{
    AskError, Asked, LinkAbout, LinkAddresses, LinkError, LinkInfo, LinkPlan, LinkSpec, LinkWish, Unlinked,
    ask as ask_for_link,
};
pub use junction::{JoinSpec, Junction};
pub use listen_at::{ListenAt, NoListenAt};
pub use lock::{FileLock, LockError};
pub use network::Network;
pub use options::{
    AutomaticSpec, ForwardSpec, GuestTarget, HostPortSpec, HostSide, ListenSpec, Manner, NetworkOptions,
    Protocol, Transport,
};
pub use passing::{receive_descriptor, send_descriptor};
pub use resolvers::parse_resolver;
pub use snapshot::{
    FlowInfo, ForwardId, ForwardInfo, LeaseInfo, ListenerInfo, NameInfo, NetworkSnapshot, PortInfo,
};
pub use taps::{AttachError, TapInfo, TapSpec};
pub use uplink::{Mode, UplinkInfo, UplinkSpec, UplinkTap, Via};
