//! macOS's own virtual network interfaces: a port that leads to the host's LAN, or to the host itself.
//!
//! vmnet.framework makes an interface beside the host's and hands its frames to the process that made it. What it promises is
//! written down once, in [`Vmnet`]; there are two of it, the framework ([`system`]) and, for tests on any system, a fake that
//! panics when the contract is broken. All that has a state lies above the contract, in [`VmnetPort`], and is the same for both:
//!
//! ```text
//!   runtime ── VmnetPort ──────────────── Vmnet: the framework, or the fake
//!   runtime ── RelayPort ══ datagrams ══ Relay ── VmnetPort ── Vmnet       where the framework is root's
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `options` | what an interface is to be; checked before the framework sees it |
//! | `contract` | what the framework promises |
//! | `events` | its callbacks, which come on threads of its own, as a descriptor that becomes readable |
//! | `port` | the life of an interface: starting, running, gone, back; reading and writing in batches |
//! | `batch` | frames as the packets of one call |
//! | `backoff` | what is done when a buffer is full and nobody says when it is not: try again for a bounded time, then drop |
//! | `relay` | frames over a datagram socket to a helper that may use the framework, and the helper's loop |
//! | `services` | keeping guests from a DHCP server of the system's that cannot be turned off |
//! | `sleep` | how a host that slept is noticed |
//!
//! **Permission.** Before macOS 26 the framework is root's, or that of programs to which Apple granted
//! `com.apple.vm.networking`. Since macOS 26 a program signed with `com.apple.security.virtualization` may use it (an ad-hoc
//! signature is enough). Nothing tells beforehand: [`VmnetError::is_forbidden`] says so afterwards.
//!
//! **Left out.** Port forwarding and DHCP reservations of the framework: ours do that. Networks shared with other processes.

mod backoff;
mod batch;
mod contract;
mod error;
mod events;
#[cfg(any(test, feature = "front-end"))]
pub mod fake;
mod options;
mod port;
mod relay;
mod services;
mod sleep;
#[cfg(test)]
mod tests;

pub use contract::{Features, Parameters, Status, Vmnet};
pub use error::VmnetError;
pub use events::Events;
pub use options::{NetworkId, OptionsError, VmnetMode, VmnetOptions, VmnetRange};
pub use port::{VmnetCounters, VmnetPort};
pub use relay::{Relay, RelayEnd, RelayPort, relay_pair};
pub use sleep::SleepWatch;

/// The framework of this system.
///
/// # Errors
/// [`VmnetError::Unsupported`]: there is none.
pub fn system() -> Result<Box<dyn Vmnet>, VmnetError> {
    crate::sys::vmnet::framework().ok_or(VmnetError::Unsupported)
}
