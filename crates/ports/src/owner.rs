//! Who holds a socket that is in our way.

use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use crate::sys;

/// A process, for an error message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its process id.
    pub pid: u32,
    /// The name of its program, if it could be read.
    pub command: Option<String>,
}

impl Owner {
    fn of_pid(pid: u32) -> Self {
        Self {
            pid,
            command: sys::command_of(pid),
        }
    }

    pub(crate) fn of_peer(socket: impl AsFd) -> Option<Self> {
        sys::peer_pid(socket).map(Self::of_pid)
    }

    /// Of a bound unix socket, by its path: for datagram sockets, whose peers have no credentials.
    pub(crate) fn of_path(path: &Path) -> Option<Self> {
        let path = path.to_str()?;
        let table = fs::read_to_string("/proc/net/unix").ok()?;
        let line = table.lines().find(|line| line.ends_with(&format!(" {path}")))?;
        owner_of_inode(line.split_ascii_whitespace().nth(6)?.parse().ok()?)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.command {
            Some(command) => write!(f, "{command} (process {})", self.pid),
            None => write!(f, "process {}", self.pid),
        }
    }
}

/// The process that holds the socket with this inode number, as far as /proc lets us see.
#[must_use]
pub fn owner_of_inode(inode: u64) -> Option<Owner> {
    let link = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(process.path().join("fd"))
            .ok()?
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == link.as_str()));
        holds.then(|| Owner::of_pid(pid))
    })
}
