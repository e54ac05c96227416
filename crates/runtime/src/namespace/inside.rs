//! The process that leaves the starter's namespaces and becomes the command.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use atoll_ports::{Interface, TapError, create_tap};
use atoll_wire::Mac;
use rustix::io::Errno;

use super::{MAPPED, UNSHARED, resolver};
use crate::passing::send_descriptor;
use crate::sys::namespace as sys;
use crate::{Prefix, TapInfo};

/// The interface inside.
pub(super) const INTERFACE: &str = "tap0";

/// The status of a shell for a command that is not there, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Why the command does not run.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The system does not give a user namespace.
    #[error("cannot make a user namespace: {source}")]
    Namespace {
        /// What the system said.
        source: io::Error,
        /// What the reader can do about it.
        hint: Option<String>,
    },
    /// There is no TAP.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// The interfaces cannot be configured.
    #[error("cannot configure the namespace's interface: {0}")]
    Interface(#[source] io::Error),
    /// The starter is gone, or has told why it goes no further.
    #[error("the starter is gone")]
    Alone,
    /// There is no such command.
    #[error("{} was not found", .0.display())]
    NotFound(OsString),
    /// The command cannot be run.
    #[error("cannot run {}: {source}", command.display())]
    NotExecutable {
        /// Which.
        command: OsString,
        /// What the system said.
        source: io::Error,
    },
}

impl NamespaceError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Namespace { hint, .. } => hint.clone(),
            Self::Tap(error) => error.hint().map(str::to_owned),
            _ => None,
        }
    }

    /// The status with which the process ends.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::NotFound(_) => NOT_FOUND,
            Self::NotExecutable { .. } => NOT_EXECUTABLE,
            _ => 1,
        }
    }
}

/// Become the command, in namespaces of its own. `channel` is the number of the socket that the starter left open, `mac`
/// the MAC address of the TAP, `command` a program and its arguments. Returns only when that fails. The process must have one
/// thread.
#[must_use]
pub fn run_inside(channel: RawFd, mac: Option<Mac>, command: &[OsString]) -> NamespaceError {
    match prepare(channel, mac) {
        Ok(()) => become_command(command),
        Err(error) => error,
    }
}

fn prepare(channel: RawFd, mac: Option<Mac>) -> Result<(), NamespaceError> {
    let channel = sys::inherited(channel).map_err(|_| NamespaceError::Alone)?;
    let mut starter = UnixStream::from(channel);
    sys::leave().map_err(refused)?;
    starter
        .write_all(&[UNSHARED])
        .map_err(|_| NamespaceError::Alone)?;
    let mut said = [0];
    starter.read_exact(&mut said).map_err(|_| NamespaceError::Alone)?;
    if said != [MAPPED] || sys::end_with_starter().is_err() {
        return Err(NamespaceError::Alone);
    }
    make_tap(&starter, mac)?;
    let mut line = String::new();
    let read = BufReader::new(&starter).read_line(&mut line);
    read.map_err(|_| NamespaceError::Alone)?;
    let tap: TapInfo = serde_json::from_str(&line).map_err(|_| NamespaceError::Alone)?;
    configure(&tap).map_err(NamespaceError::Interface)?;
    if let Err(error) = resolver::replace(&tap) {
        tracing::warn!("the command sees the host's /etc/resolv.conf, for it cannot be replaced: {error}");
    }
    Ok(())
}

/// Why there are no namespaces, and who may change that.
pub(super) fn refused(source: io::Error) -> NamespaceError {
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok();
    let hint = Errno::from_io_error(&source).and_then(|error| hint(error, setting));
    NamespaceError::Namespace { source, hint }
}

/// The settings that keep users from making namespaces (user_namespaces(7); Debian's and Ubuntu's own).
fn hint(error: Errno, setting: impl Fn(&str) -> Option<String>) -> Option<String> {
    let is = |name: &str, value: &str| setting(name).is_some_and(|text| text.trim() == value);
    let set = |assignment: &str| Some(format!("ask the administrator: sysctl -w {assignment}"));
    if is("user/max_user_namespaces", "0") || error == Errno::NOSPC {
        set("user.max_user_namespaces=15000")
    } else if is("kernel/unprivileged_userns_clone", "0") {
        set("kernel.unprivileged_userns_clone=1")
    } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        set(
            "kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile that allows userns for atoll",
        )
    } else if error == Errno::PERM {
        Some("a container's seccomp profile or a chroot may forbid it".to_owned())
    } else {
        None
    }
}

fn make_tap(starter: &UnixStream, mac: Option<Mac>) -> Result<(), NamespaceError> {
    let tap = create_tap(INTERFACE)?;
    if let Some(mac) = mac {
        let interface = Interface::of(INTERFACE).map_err(NamespaceError::Interface)?;
        interface.set_mac(mac).map_err(NamespaceError::Interface)?;
    }
    send_descriptor(starter, &tap).map_err(|_| NamespaceError::Alone)
}

fn configure(tap: &TapInfo) -> io::Result<()> {
    Interface::of("lo")?.set_up()?;
    let interface = Interface::of(INTERFACE)?;
    interface.set_mtu(tap.mtu)?;
    if let Some(address) = tap.address {
        interface.set_address(address, tap.prefix_len)?;
    }
    if tap.address6.is_some() {
        // It would say the same: a second route and the same address, with an end to it.
        if let Err(error) = interface.configure_by_hand() {
            tracing::debug!("router advertisements are followed: {error}");
        }
    }
    interface.set_up()?;
    if let Some(gateway) = tap.gateway {
        interface.add_default_route(gateway)?;
    }
    if let Some(address) = tap.address6 {
        interface.add_address6(address, Prefix::LEN)?;
        if let Some(gateway) = tap.gateway6 {
            interface.add_default_route6(gateway)?;
        }
    }
    Ok(())
}

fn become_command(command: &[OsString]) -> NamespaceError {
    let Some((program, arguments)) = command.split_first() else {
        return NamespaceError::NotFound(OsString::new());
    };
    let source = Command::new(program).args(arguments).exec();
    match source.kind() {
        io::ErrorKind::NotFound => NamespaceError::NotFound(program.clone()),
        _ => NamespaceError::NotExecutable {
            command: program.clone(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: Errno, name: &str, value: &str) -> String {
        hint(error, |asked| (asked == name).then(|| format!("{value}\n"))).unwrap_or_default()
    }

    #[test]
    fn the_setting_that_forbids_namespaces_is_named() {
        for (error, name, value, assignment) in [
            (
                Errno::NOSPC,
                "user/max_user_namespaces",
                "0",
                "user.max_user_namespaces=15000",
            ),
            (
                Errno::PERM,
                "kernel/unprivileged_userns_clone",
                "0",
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                Errno::PERM,
                "kernel/apparmor_restrict_unprivileged_userns",
                "1",
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
        ] {
            let hint = told(error, name, value);
            assert!(hint.contains(assignment), "{hint}");
        }
    }

    #[test]
    fn settings_that_allow_namespaces_are_not_blamed() {
        let hint = told(Errno::PERM, "kernel/unprivileged_userns_clone", "1");
        assert!(hint.contains("seccomp"), "{hint}");
    }

    #[test]
    fn a_command_that_is_not_there_is_told_from_one_that_cannot_be_run() {
        let missing = become_command(&["/nonexistent/program".into()]);
        assert_eq!(missing.exit_status(), 127);
        let folder = become_command(&["/".into()]);
        assert_eq!(folder.exit_status(), 126);
    }
}
