//! What neither `std` nor `rustix` offers without `unsafe`: TAP devices, children that start in another namespace,
//! and waiting for a signal.

pub(crate) mod signals;
pub(crate) mod spawn;
pub(crate) mod tap;
