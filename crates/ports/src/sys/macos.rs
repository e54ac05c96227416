//! macOS, beyond what it has in common with other systems that are not Linux.

pub(crate) mod vmnet;
