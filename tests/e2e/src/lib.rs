//! What the end-to-end tests stand on: the real `atoll` binary, real QEMU micro guests under TCG.
//!
//! A test starts with [`Kit::find`]. Where something that it needs is missing, the test prints why and
//! is skipped; with `ATOLL_E2E=required` in the environment, as in `make test`, it fails instead.
//!
//! - [`Exec`] is one `atoll net exec`, which needs neither QEMU nor images;
//! - [`Net`] is one `atoll net run`, its socket in a temporary folder;
//! - [`Guest`] is one micro guest, driven by a shell on its serial console, so that the way of the
//!   commands is not the network under test;
//! - [`Debian`] is one guest from the Debian image, started as people start it by hand and driven by ssh;
//! - [`World`] and [`Lan`] are networks of the host's, in namespaces;
//! - [`Cluster`] is one `atoll.yaml` and its machines, by `atoll up`;
//! - every wait has a deadline, every process is killed by its own id when its owner is dropped.
//!
//! | variable | meaning |
//! |---|---|
//! | `ATOLL_BIN` | the binary to test; otherwise the one beside the tests in cargo's target folder |
//! | `ATOLL_MICRO` | a folder with a built micro image; otherwise `atoll image build micro` is run |
//! | `ATOLL_E2E` | `required`: nothing is skipped |

#![forbid(unsafe_code)]

mod answer;
mod cluster;
mod debian;
mod exec;
mod frames;
mod gap;
mod group;
mod guest;
mod host;
mod kit;
mod lan;
mod lan_host;
mod net;
mod output;
mod peer;
mod raw;
mod resolver;
pub mod stand_in;
mod transfer;
mod user;
mod web;
mod who;
mod world;
mod zone;

pub use answer::answer;
pub use cluster::Cluster;
pub use debian::{ByHand, Debian, debian_disk};
pub use exec::{AS_WEB, Ended, Exec, WEB, WEB6, with_namespaces};
pub use frames::Frames;
pub use gap::longest_gap;
pub use group::{hear_one, join_group, tell_group};
pub use guest::{Answer, Attach, Guest, Running};
pub use host::{TcpEcho, UdpEcho, closed_tcp_port};
pub use kit::Kit;
pub use lan::{HostSide, INTERNET, INTERNET6, Lan, Who};
pub use lan_host::{Acceptor, LanClient, LanHost};
pub use net::{Net, Options, left_behind};
pub use peer::{Step, digest_of, play, steps};
pub use raw::{RawGuest, ip_frame, picture, syn, udp};
pub use resolver::Resolver;
pub use transfer::{checksum, make_data, transfer};
pub use user::Unprivileged;
pub use web::{Files, Web};
pub use who::{ask_who, tell_who};
pub use world::{BEYOND, BEYOND6, NOBODY, THERE, THERE6, UNREACHABLE, UNREACHABLE6, World};
pub use zone::{Heard, LONG, Zone};

use std::time::Duration;

/// For what ends in a moment on an idle machine, and in a while on one that builds something else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// For ten megabytes between emulated machines.
pub const LONG_PATIENCE: Duration = Duration::from_secs(240);

/// For a Debian that boots, under TCG, beside another one: a minute or two where nothing else runs.
pub const BOOT_PATIENCE: Duration = Duration::from_secs(480);
