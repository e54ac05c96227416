//! What the gateway itself offers guests: addresses (DHCP), names (DNS), the time (NTP), files (TFTP) and documents (HTTP).
//!
//! Each service is a state machine of its own that sees messages, never frames or sockets: the gateway unwraps what
//! comes to its ports 67, 547, 53, 69, 123 and 80, hands over the payload, and wraps what the service answers. None of them trusts
//! a guest: malformed input is dropped or refused, every table has a bound, nothing panics.

pub(crate) mod dhcp;
pub(crate) mod dhcp6;
pub(crate) mod dns;
pub(crate) mod http;
mod leases;
pub(crate) mod listening;
pub(crate) mod names;
pub(crate) mod ntp;
pub(crate) mod tftp;
