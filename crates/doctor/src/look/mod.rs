//! From the host to facts: attempts, and what the kernel's files say.

pub(crate) mod files;
pub(crate) mod helper;
pub(crate) mod images;
pub(crate) mod lan;
pub(crate) mod machines;
pub(crate) mod macos;
pub(crate) mod namespaces;
pub(crate) mod network;
pub(crate) mod procfs;
pub(crate) mod trial;
