//! QEMU: capability probe, argument builder, QMP, process control.
//!
//! The way of a machine: [`model::Capabilities`] say what the installed QEMU can do, [`launch::Launch`] says what the
//! machine should be, [`args::CommandLine`] joins the two into words, and [`qmp::Qmp`] talks to the process that
//! came of it. Synchronous throughout: a supervisor waits for processes, with deadlines, and has nothing else to do.

pub mod accel;
pub mod args;
mod cache;
mod error;
pub mod firmware;
pub mod launch;
pub mod memory;
pub mod model;
mod options;
pub mod probe;
pub mod process;
pub mod qmp;
mod run;
pub mod vmnet;

pub use accel::{AccelChoice, Chosen, Refusal};
pub use args::CommandLine;
pub use cache::Cache;
pub use error::{ErrorKind, QemuError};
pub use firmware::FirmwareFiles;
pub use launch::{Attach, Console, Disk, DiskFormat, Firmware, Kernel, Launch, Nic, SEED_LABEL};
pub use memory::MemoryFile;
pub use model::{Accel, Arch, Capabilities, Reconnect, UnknownName, Version};
pub use options::shell_line;
pub use process::{Process, Stopped};
pub use qmp::Qmp;
pub use vmnet::{Vmnet, VmnetAddresses};
