//! What the guests and the host do to a back end.

pub(crate) mod descriptors;
pub(crate) mod echo;
pub(crate) mod iperf;
pub(crate) mod requests;
pub(crate) mod shell;
