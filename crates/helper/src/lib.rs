//! The one small privileged program, its protocol and its policy, and the client's side of it.
//!
//! Guests on the host's own LAN, or behind the host's own NAT, need interfaces that only an administrator can make. `atoll`
//! never has that right: it starts the helper, asks it over a socket, and is handed a TAP's descriptor. When the session ends,
//! whatever ended it, the helper undoes all it did and exits.
//!
//! - [`Request`] and [`Reply`] are the protocol, checked when they are read;
//! - [`Policy`] says who may ask for what;
//! - [`Session`] is the client's side, [`HelperPath`] the way to a helper;
//! - [`serve`] is the program itself, in `sys`, for it is made of what differs between systems.
//!
//! `docs/theory/helper.md` has the threat model, and what the program keeps of its privileges.

mod find;
mod link;
mod message;
mod names;
mod net;
mod policy;
mod request;
pub mod resolver;
mod session;
pub mod setup;
mod sys;
pub mod trusted;
mod vmnet;

pub use find::{HelperPath, PROGRAM, SOCKET};
pub use link::{DomainName, LinkRequest, NoDomain};
pub use names::NamesRequest;
pub use net::{InterfaceName, IpNet, Ipv4Net, Ipv6Net, NetworkName, WordError};
pub use policy::{Asker, BridgeAcl, EXAMPLE as POLICY_EXAMPLE, Names, PATH as POLICY, Policy, PolicyError};
pub use request::{
    Grant, MAX_ADDRESSES, MAX_MESSAGE, MAX_REQUESTS, Reach, Refusal, RefusalKind, Reply, Request,
};
pub use session::{Granted, HelperError, Session};
pub use sys::serve;
