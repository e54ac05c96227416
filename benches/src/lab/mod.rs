//! Where everything runs: network namespaces that belong to one measurement.
//!
//! A *host* namespace has its own loopback, with the address that stands for "a server out there" on it, and an uplink
//! that leads nowhere, since back ends copy addresses and routes from the interface with the default route. The back
//! end and the servers run there; its connections to the server never leave the loopback device. Each *guest* has a
//! namespace whose only way out is a TAP device. So no frame of a measurement crosses a veth or a bridge, but where a bridge is what
//! is measured.
//!
//! Namespaces have no names: each is held by one process of ours, which ends when this process ends, however it ends.
//! All children carry a parent death signal; SIGINT and SIGTERM also kill what is known to run and remove the scratch
//! folder. Nothing of the machine outside is changed.
//!
//! Congestion control is set by route, in each namespace, since a namespace other than the first may not choose a
//! default; what each sender really used is read from the measurement's own output.

mod guest;
mod host;
mod lan;
mod namespace;
mod process;
mod scratch;

pub(crate) use guest::{Addressing, Attach, Guest, GuestSpec};
pub(crate) use host::{Host, SERVER, SERVER_PORTS};
pub(crate) use lan::BRIDGE;
pub(crate) use namespace::{Namespace, hold, own_command};
pub(crate) use process::{Output, Process, Spawn, readable};
pub(crate) use scratch::Scratch;

/// The MTU of a network that only exists in user space.
pub(crate) const LARGE_MTU: u32 = 65520;

/// The MTU of Ethernet.
pub(crate) const ETHERNET_MTU: u32 = 1500;
