//! The resolver's configuration inside: the network's own, whatever the host asks.
//!
//! `/etc/resolv.conf` is replaced where it leads to, in the mount namespace only. Programs that ask a daemon of the host by a
//! unix socket instead (nss-resolve, nscd) would get the host's view of names, so its socket is covered, too: they find
//! nobody there and read the file.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::TapInfo;
use crate::sys::namespace as sys;

const FILE: &str = "/etc/resolv.conf";

/// Where resolving daemons listen.
const DAEMONS: [&str; 3] = [
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/nscd/socket",
    "/var/run/nscd/socket",
];

/// Folders over which a file system is mounted for a moment, when nobody else is in the namespace.
const SCRATCH: [&str; 4] = ["/tmp", "/run", "/mnt", "/var"];

/// Show the network's resolver in the mount namespace.
pub(super) fn replace(tap: &TapInfo) -> io::Result<()> {
    let target = fs::canonicalize(FILE)?;
    sys::keep_mounts()?;
    let scratch = scratch_beside(&target).ok_or(io::ErrorKind::NotFound)?;
    sys::mount_memory(scratch)?;
    let shown = show(&scratch.join("resolv.conf"), &target, tap);
    sys::unmount_folder(scratch)?;
    shown
}

fn show(file: &Path, target: &Path, tap: &TapInfo) -> io::Result<()> {
    fs::write(file, text(tap))?;
    sys::mount_over(file, target)?;
    let daemons = DAEMONS.iter().map(Path::new).filter(|path| path.exists());
    for daemon in daemons {
        sys::mount_over(file, daemon)?;
    }
    Ok(())
}

/// IPv4 first, for the C library asks in this order.
fn text(tap: &TapInfo) -> String {
    let resolvers = tap.resolver.map(IpAddr::V4).into_iter();
    let mut text = String::new();
    for resolver in resolvers.chain(tap.resolver6.map(IpAddr::V6)) {
        text.push_str(&format!("nameserver {resolver}\n"));
    }
    text + &format!("search {}\n", tap.domain)
}

/// A folder in which none of the files lies that are to be replaced.
fn scratch_beside(target: &Path) -> Option<&'static Path> {
    let taken: Vec<PathBuf> = DAEMONS
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .chain([target.to_owned()])
        .collect();
    SCRATCH.iter().map(Path::new).find(|folder| {
        let is_folder = fs::symlink_metadata(folder).is_ok_and(|file| file.is_dir());
        is_folder && !taken.iter().any(|path| path.starts_with(folder))
    })
}
