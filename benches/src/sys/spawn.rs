//! Children that start in a network namespace and do not outlive their parent.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Where a child's network is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Network<'a> {
    /// Its parent's.
    Same,
    /// A new one, which ends with the last process in it.
    New,
    /// The one that this descriptor of `/proc/PID/ns/net` names.
    Of(BorrowedFd<'a>),
}

/// Prepares `command` to start in `network` and to be killed when the calling thread ends.
///
/// The kernel sends the death signal when the parent *thread* ends, so the thread that calls must be one that lives
/// as long as the child is wanted.
pub(crate) fn prepare(command: &mut Command, network: Network<'_>) {
    let network = match network {
        Network::Same => None,
        Network::New => Some(None),
        Network::Of(fd) => Some(Some(fd.as_raw_fd())),
    };
    let enter = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        match network {
            None => Ok(()),
            // SAFETY: the flag is not FILES; the calling process has one thread.
            Some(None) => Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?),
            Some(Some(fd)) => {
                // SAFETY: the descriptor is open in the parent until `spawn` has returned, and so in its copy here.
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                Ok(move_into_link_name_space(fd, Some(LinkNameSpaceType::Network))?)
            }
        }
    };
    // SAFETY: the closure makes three system calls, allocates nothing and takes no lock.
    unsafe { command.pre_exec(enter) };
}
