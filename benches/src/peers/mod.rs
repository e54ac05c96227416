//! The networks that are compared, each behind the same small face: how it is started with guests on it.
//!
//! | peer | what stands between the guest's kernel and the back end |
//! |---|---|
//! | `loopback` | nothing: client and server share a namespace. The ceiling of the machine |
//! | `direct` | two shims, one at the other: the ceiling of guest to guest |
//! | `atoll`, `passt`, `gvproxy` | the shim, by QEMU's stream protocol |
//! | `atoll-vhost` | the shim, by vhost-user |
//! | `atoll-tap`, `pasta`, `slirp4netns` | the back end's own TAP in the guest's namespace |
//! | `tap-direct`, `bridged-…` | see [`bridged`]: a TAP in a bridge of the host's, directly or behind atoll |
//! | `vm-bare`, `vm-atoll` | see [`machine`]: a VM on such a TAP |
//! | `…-before`, `…-policy` | see [`variant`]: an earlier atoll, or one with a policy |

mod adopt;
mod atoll;
mod atoll_tap;
mod bridged;
mod direct;
mod gvproxy;
mod loopback;
mod machine;
mod passt;
mod pasta;
mod slirp4netns;
mod variant;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::error::BenchError;
use crate::lab::{Addressing, Attach, Guest, GuestSpec, Host, Process, Scratch};

pub(crate) use atoll::{Atoll, NAME as ATOLL, SHARED_NAME as ATOLL_VHOST};
pub(crate) use atoll_tap::{AtollTap, NAME as ATOLL_TAP};
pub(crate) use bridged::{
    Attached, BRIDGED_STREAM, BRIDGED_TAP, BRIDGED_VHOST, Bridged, TAP_DIRECT, TapDirect,
};
pub(crate) use direct::{Direct, NAME as DIRECT};
pub(crate) use gvproxy::{Gvproxy, NAME as GVPROXY};
pub(crate) use loopback::{Loopback, NAME as LOOPBACK};
pub(crate) use machine::{ADDRESS as MACHINE_ADDRESS, BARE as VM_BARE, BY_ATOLL as VM_ATOLL, Machine};
pub(crate) use passt::{NAME as PASST, Passt};
pub(crate) use pasta::{NAME as PASTA, Pasta};
pub(crate) use slirp4netns::{NAME as SLIRP4NETNS, Slirp4netns};
pub(crate) use variant::{
    ATOLL_BEFORE, ATOLL_POLICY, ATOLL_TAP_BEFORE, ATOLL_TAP_POLICY, BRIDGED_TAP_BEFORE, POLICY, Variant,
};

/// How a peer's guests are attached, which decides what can be compared with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Loopback,
    Direct,
    Stream,
    Tap,
    /// On a bridge of the host's.
    Bridged,
    /// A VM on a bridge of the host's.
    Machine,
    /// Atoll once more: measured where what a change or a policy costs would be seen.
    Variant,
}

/// What a measurement needs of a peer.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) mtu: u32,
    pub(crate) guests: u8,
    /// Of each million frames on the guest's link, how many are lost, each way.
    pub(crate) lost_per_million: u32,
    /// Length of the TAP's queue; without it a long one, or the choice of the back end that owns the TAP.
    pub(crate) queue: Option<u32>,
    pub(crate) congestion: String,
}

impl Request {
    pub(crate) fn guest(&self, index: u8, addressing: Addressing) -> GuestSpec<'_> {
        GuestSpec {
            index,
            addressing,
            mtu: self.mtu,
            congestion: &self.congestion,
            lost_per_million: self.lost_per_million,
            queue: self.queue,
        }
    }
}

/// A back end with its host and its guests. What is dropped first is declared first.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) guests: Vec<Guest>,
    pub(crate) backend: Option<Process>,
    pub(crate) host: Host,
    /// Atoll's API, where it has one.
    pub(crate) api: Option<PathBuf>,
    /// From the start of the back end's process until it said that it is ready, where it says so.
    pub(crate) ready_ms: Option<f64>,
}

impl Cell {
    /// The guest that most measurements are about.
    pub(crate) fn guest(&self) -> Result<&Guest, BenchError> {
        self.guests
            .first()
            .ok_or_else(|| BenchError::Unfit("there is no guest".to_owned()))
    }

    /// The back end's process, where there is one.
    pub(crate) fn backend_pid(&self) -> Option<u32> {
        self.backend.as_ref().map(Process::pid)
    }
}

/// One of the compared networks.
pub(crate) trait Peer {
    fn name(&self) -> &'static str;
    fn kind(&self) -> Kind;
    /// What it says of itself, on one line; an error when it cannot be measured here.
    fn version(&self) -> Result<String, BenchError>;
    /// How many guests it takes.
    fn most_guests(&self) -> u8 {
        1
    }
    fn start(&self, request: &Request, scratch: &Scratch) -> Result<Cell, BenchError>;
}

/// The first line of what `program` prints about its version.
fn first_line(program: &Path, argument: &str) -> Result<String, BenchError> {
    let unfit = |words: &str| BenchError::Unfit(format!("{}: {words}", program.display()));
    let output = Command::new(program)
        .arg(argument)
        .output()
        .map_err(|cause| unfit(&cause.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        Err(unfit("it does not tell its version"))
    } else {
        Ok(line.to_owned())
    }
}

/// The version that the package manager knows for a program that does not know its own.
fn package_version(program: &Path) -> Option<String> {
    let found = Command::new("dpkg-query").arg("-S").arg(program).output().ok()?;
    let found = String::from_utf8(found.stdout).ok()?;
    let package = found.split(':').next()?.trim().to_owned();
    let version = Command::new("dpkg-query")
        .args(["-W", "-f", "${Version}", &package])
        .output()
        .ok()?;
    let version = String::from_utf8(version.stdout).ok()?;
    (!version.is_empty()).then_some(version)
}

/// Guests for a back end that listens on a socket.
fn stream_guests(
    request: &Request,
    addressing: Addressing,
    socket: &Path,
    scratch: &Scratch,
) -> Result<Vec<Guest>, BenchError> {
    socket_guests(request, addressing, Attach::Connect(socket), scratch)
}

/// The same in any way of attaching.
fn socket_guests(
    request: &Request,
    addressing: Addressing,
    attach: Attach<'_>,
    scratch: &Scratch,
) -> Result<Vec<Guest>, BenchError> {
    (0..request.guests)
        .map(|index| Guest::attach(&request.guest(index, addressing), attach, scratch))
        .collect()
}

/// An error for a request that only a switch can meet.
fn one_guest_only(name: &str, request: &Request) -> Result<(), BenchError> {
    if request.guests <= 1 {
        return Ok(());
    }
    Err(BenchError::Unfit(format!("{name} serves one guest")))
}

fn milliseconds_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

/// A program by its path, or by its name in the search path.
fn find(given: Option<&PathBuf>, name: &str) -> PathBuf {
    let search = std::env::var_os("PATH").unwrap_or_default();
    given.cloned().unwrap_or_else(|| {
        std::env::split_paths(&search)
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
            .unwrap_or_else(|| PathBuf::from(name))
    })
}
