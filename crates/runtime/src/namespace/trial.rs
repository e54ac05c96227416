//! Whether a command could have a namespace here: all of it is made, and goes with the process.
//!
//! The steps are those of the inside, taken by one process alone, each told apart, because each is refused by somebody else: users
//! by a setting of the kernel, the network by a security module that takes the new user's capabilities away (Ubuntu's AppArmor),
//! the TAP by the mode of its device.

use std::fs;
use std::io;

use atoll_ports::{Interface, TapPort, create_tap};
use serde::{Deserialize, Serialize};

use super::NamespaceError;
use super::inside::{INTERFACE, refused};
use crate::sys::namespace as sys;

/// What came of trying. A step that another one stands in the way of is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// A user namespace, in which this user is root.
    pub users: Result<(), Refused>,
    /// A network namespace in that, whose loopback can be brought up.
    pub network: Option<Result<(), Refused>>,
    /// A TAP in that, and whether it is handed UDP in large segments.
    pub tap: Option<Result<bool, Refused>>,
}

/// Why a step was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What the system said, as a sentence without its full stop.
    pub reason: String,
    /// What the reader can do about it.
    pub hint: Option<String>,
}

impl From<NamespaceError> for Refused {
    fn from(error: NamespaceError) -> Self {
        Self {
            reason: error.to_string(),
            hint: error.hint(),
        }
    }
}

/// Make a user and a network namespace and a TAP. The process is in these namespaces afterwards, so it should be one that
/// ends soon; it must have one thread.
#[must_use]
pub fn try_out() -> Trial {
    let users = make_users().map_err(|error| Refused::from(refused(error)));
    let network = users
        .is_ok()
        .then(|| make_network().map_err(|error| refused(error).into()));
    let tap = matches!(network, Some(Ok(()))).then(|| make_tap().map_err(Refused::from));
    Trial { users, network, tap }
}

fn make_users() -> io::Result<()> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    sys::leave_users()?;
    fs::write("/proc/self/uid_map", format!("0 {} 1\n", user.as_raw()))?;
    fs::write("/proc/self/setgroups", "deny\n")?;
    fs::write("/proc/self/gid_map", format!("0 {} 1\n", group.as_raw()))
}

fn make_network() -> io::Result<()> {
    sys::leave_network()?;
    Interface::of("lo")?.set_up()
}

fn make_tap() -> Result<bool, NamespaceError> {
    let port = TapPort::new(create_tap(INTERFACE)?)?;
    Ok(port.offloads().udp4 && port.offloads().udp6)
}
