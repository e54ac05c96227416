//! NICs that are attached to the host's LAN directly: QEMU moves their frames, and no network of ours sees them.
//!
//! The helper opens the TAP and undoes it when its session ends. QEMU inherits the TAP and the session's socket, so a session
//! lasts until both this daemon and QEMU let go of it: a daemon that is killed takes no network from a machine, and a machine that is
//! killed leaves nothing on the host for longer than the daemon runs. `Sessions` is what this daemon holds of them.
//!
//! A daemon that took machines over holds no session. When such a machine stops, the helper undoes its TAP a moment later; the
//! names of TAPs are in the state, so that `down` can wait for that (`wait_gone`).

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use atoll_helper::{HelperError, HelperPath, Request, Session};
use atoll_spec as spec;

use crate::problem::{Kind, Problem};

/// How long the helper may take to undo a TAP whose QEMU has ended.
const UNDONE: Duration = Duration::from_secs(10);

/// Between two looks.
const POLL: Duration = Duration::from_millis(10);

/// Why a NIC has no TAP.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// The helper did not give one.
    #[error("network {network}: {cause}")]
    Helper {
        /// The network's name.
        network: String,
        /// Why.
        cause: HelperError,
    },
    /// A state file from elsewhere may say so; a cluster file cannot.
    #[error("network {0} names no interface of the host")]
    NoInterface(String),
}

/// Whatever the helper says is for the person who wrote the file or manages the host: nothing has started yet.
impl From<DirectError> for Problem {
    fn from(error: DirectError) -> Self {
        let hint = match &error {
            DirectError::Helper { cause, .. } => cause.hint(),
            DirectError::NoInterface(_) => None,
        };
        Self::new(Kind::Configuration, error.to_string()).with_hint_if(hint)
    }
}

/// A TAP for one NIC.
#[derive(Debug)]
pub(crate) struct DirectTap {
    tap: OwnedFd,
    interface: String,
    session: Session,
}

impl DirectTap {
    /// Has the helper open it.
    fn open(network: &spec::Network, nic: &spec::Nic) -> Result<Self, DirectError> {
        let failed = |cause| DirectError::Helper {
            network: network.name.to_string(),
            cause,
        };
        let request =
            request(network, nic).ok_or_else(|| DirectError::NoInterface(network.name.to_string()))?;
        let path = HelperPath::find().map_err(failed)?;
        let mut session = Session::open(&path).map_err(failed)?;
        let granted = session.ask(&request).map_err(failed)?;
        Ok(Self {
            tap: granted.tap,
            interface: granted.grant.interface,
            session,
        })
    }
}

/// The TAPs of the NICs of a machine that want one, in their order.
pub(crate) fn open_all(
    cluster: &spec::Cluster,
    machine: &spec::Machine,
) -> Result<Vec<DirectTap>, DirectError> {
    let direct = machine.nics.iter().filter(|nic| nic.attach.is_direct());
    let with_network = direct.filter_map(|nic| Some((cluster.network(nic.network.as_str())?, nic)));
    with_network
        .map(|(network, nic)| DirectTap::open(network, nic))
        .collect()
}

/// The numbers of the TAPs' descriptors, for the command line.
pub(crate) fn descriptors(taps: &[DirectTap]) -> Vec<RawFd> {
    taps.iter().map(|it| it.tap.as_raw_fd()).collect()
}

/// What QEMU is to inherit.
pub(crate) fn inherited(taps: &[DirectTap]) -> Vec<BorrowedFd<'_>> {
    taps.iter()
        .flat_map(|it| [it.tap.as_fd(), it.session.as_fd()])
        .collect()
}

/// What the host calls them.
pub(crate) fn interfaces(taps: &[DirectTap]) -> Vec<String> {
    taps.iter().map(|it| it.interface.clone()).collect()
}

/// What the file asks for, in the helper's words. Where it leaves the way open, the interface decides.
fn request(network: &spec::Network, nic: &spec::Nic) -> Option<Request> {
    let name = network.interface.as_ref()?.as_str();
    let interface = name.parse().ok()?;
    let is_bridge = || Path::new("/sys/class/net").join(name).join("bridge").is_dir();
    Some(match network.via {
        Some(spec::Via::Bridge) => Request::Bridge { bridge: interface },
        None if is_bridge() => Request::Bridge { bridge: interface },
        _ => Request::Macvtap {
            interface,
            mac: atoll_runtime::Mac(nic.mac.octets()),
        },
    })
}

/// The sessions that this daemon holds, by machine.
#[derive(Debug, Default)]
pub(crate) struct Sessions(BTreeMap<String, Vec<Session>>);

impl Sessions {
    /// Holds those of a machine that was started. QEMU has the TAPs; here they are closed.
    pub(crate) fn hold(&mut self, machine: &str, taps: Vec<DirectTap>) {
        let sessions = taps.into_iter().map(|it| it.session).collect();
        self.0.insert(machine.to_owned(), sessions);
    }

    /// Those of a machine that has ended, for the caller to drop, which waits until each is undone.
    pub(crate) fn take(&mut self, machine: &str) -> Vec<Session> {
        // What was made last is undone first.
        self.0.remove(machine).into_iter().flatten().rev().collect()
    }

    /// Lets go without ending them: the machines keep running. Dropping one would tell the helper that it is over.
    pub(crate) fn leave_to_machines(&mut self) {
        for session in std::mem::take(&mut self.0).into_values().flatten() {
            std::mem::forget(session);
        }
    }
}

/// Waits until the host has none of these interfaces, for a while.
pub(crate) fn wait_gone(interfaces: &[String]) {
    let deadline = Instant::now() + UNDONE;
    let is_there = |name: &String| Path::new("/sys/class/net").join(name).exists();
    while let Some(name) = interfaces.iter().find(|name| is_there(name)) {
        if Instant::now() >= deadline {
            return tracing::warn!(interface = %name, "it is still there");
        }
        std::thread::sleep(POLL);
    }
}
