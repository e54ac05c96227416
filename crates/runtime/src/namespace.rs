//! A command in a user, network and mount namespace of its own, with a TAP on a network.
//!
//! Two processes. The *outside* has the network, or reaches one; it starts its own program again as the *inside*, with one end
//! of a socket. The inside has one thread, so it may leave the namespaces, and in the end becomes the command:
//!
//! | step | who | says |
//! |---|---|---|
//! | 1 | inside leaves the starter's namespaces | `u` |
//! | 2 | outside writes which users and groups it has there | `m` |
//! | 3 | inside makes the TAP | the TAP's descriptor |
//! | 4 | outside attaches it to the network | [`TapInfo`] as one line of JSON |
//! | 5 | inside configures interfaces and resolver, and becomes the command | |
//!
//! Whoever fails tells it in its own words, and the other sees the socket close. The user that started it is root
//! inside, as with pasta and `unshare -r`: it has every capability over the namespace and none outside. When the starter
//! is root, every user is itself inside, so that files keep their owners.
//!
//! Nothing is written to a disk: the resolver's configuration lies in a file system in memory that only the namespace sees,
//! and all of it goes when its last process ends.

mod inside;
mod resolver;
mod trial;

pub use inside::{NamespaceError, run_inside};
pub use trial::{Refused, Trial, try_out};

use std::fs;
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use atoll_wire::Mac;
use siphasher::sip::SipHasher13;

use crate::TapInfo;
use crate::passing::receive_descriptor;

/// Said when the namespaces are there.
const UNSHARED: u8 = b'u';

/// Said when users and groups are there.
const MAPPED: u8 = b'm';

/// The outside's end of the socket.
#[derive(Debug)]
pub struct Outside {
    socket: UnixStream,
}

/// The inside's end, to be inherited by the process that becomes it.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// The number under which the process that becomes the inside finds it.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Outside {
    /// Both ends. The inside's end is inherited by every process that is started while it lives.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn pair() -> io::Result<(Self, Channel)> {
        let (socket, inside) = UnixStream::pair()?;
        rustix::io::fcntl_setfd(&inside, rustix::io::FdFlags::empty())?;
        Ok((Self { socket }, Channel(inside.into())))
    }

    /// Give the inside its users, and take its TAP. `None` when it ended, for a reason that it told.
    ///
    /// # Errors
    /// The system does not let it have users.
    pub fn receive_tap(&mut self, inside: u32) -> Result<Option<OwnedFd>, NamespaceError> {
        let mut said = [0];
        if !self.socket.read(&mut said).is_ok_and(|count| count > 0) || said != [UNSHARED] {
            return Ok(None);
        }
        map_users(inside).map_err(inside::refused)?;
        if self.socket.write_all(&[MAPPED]).is_err() {
            return Ok(None);
        }
        Ok(receive_descriptor(&self.socket).unwrap_or_default())
    }

    /// Tell the inside how its TAP is to be configured, and let it become the command.
    ///
    /// # Errors
    /// It is gone.
    pub fn configure(mut self, tap: &TapInfo) -> io::Result<()> {
        let mut line = serde_json::to_vec(tap)?;
        line.push(b'\n');
        self.socket.write_all(&line)
    }
}

/// A MAC address that is the same for the same name, so that DHCP gives it the same address each time. It is locally
/// administered, and not of the range that QEMU's users take theirs from.
#[must_use]
pub fn mac_for(name: &str) -> Mac {
    let mut hasher = SipHasher13::new();
    hasher.write(name.as_bytes());
    let [a, b, c, d, ..] = hasher.finish().to_be_bytes();
    Mac([0x52, 0x56, a, b, c, d])
}

/// Root of the namespace is who we are; when we are root, all users are themselves (user_namespaces(7)).
fn map_users(inside: u32) -> io::Result<()> {
    let write = |file: &str, text: &str| fs::write(format!("/proc/{inside}/{file}"), text);
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if user.is_root()
        && write("uid_map", &identity(&fs::read_to_string("/proc/self/uid_map")?)).is_ok()
        && write("gid_map", &identity(&fs::read_to_string("/proc/self/gid_map")?)).is_ok()
    {
        return Ok(());
    }
    write("uid_map", &format!("0 {} 1\n", user.as_raw()))?;
    write("setgroups", "deny\n")?;
    write("gid_map", &format!("0 {} 1\n", group.as_raw()))
}

/// A map that gives every id of a namespace to itself.
fn identity(map: &str) -> String {
    let lines = map.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace();
        let (first, count) = (numbers.next()?, numbers.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_mac_address_that_a_station_may_have() {
        assert_eq!(mac_for("exec"), mac_for("exec"));
        assert_ne!(mac_for("exec"), mac_for("probe"));
        assert!(mac_for("exec").is_station());
    }

    #[test]
    fn every_id_of_a_namespace_is_itself() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(identity(map), "0 0 1\n1 1 65536\n");
    }
}
