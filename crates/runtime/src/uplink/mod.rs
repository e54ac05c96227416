//! The uplink: the way from a network to the host's own LAN, or to a bridge on which the host's kernel is.

mod spec;

pub use spec::{Mode, UplinkInfo, UplinkSpec, UplinkTap, Via};
