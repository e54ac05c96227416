//! The crate against the QEMU that is installed here, and against scripts where a version is not.

mod arguments;
mod common;
mod machine;
mod memory;
mod probe;
mod qmp_lines;
