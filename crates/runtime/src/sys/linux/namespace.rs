//! What a process does to have a user, network and mount namespace of its own.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// The descriptor that the starter left open under this number; nobody else may use it in this process.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: it is borrowed for this one call, which tells whether it is open.
    rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) })?;
    // SAFETY: it is open, and by what the starter and this process agreed on it is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Leave the starter's namespaces. The process must have one thread.
pub(crate) fn leave() -> io::Result<()> {
    let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWNS;
    // SAFETY: `FILES` is not among the flags, so descriptors stay what they are.
    Ok(unsafe { unshare_unsafe(flags) }?)
}

/// Leave the starter's user namespace only. The process must have one thread.
pub(crate) fn leave_users() -> io::Result<()> {
    // SAFETY: `FILES` is not among the flags, so descriptors stay what they are.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }?)
}

/// Leave the starter's network namespace only.
pub(crate) fn leave_network() -> io::Result<()> {
    // SAFETY: `FILES` is not among the flags, so descriptors stay what they are.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// Get SIGTERM when the starter ends, however it does.
pub(crate) fn end_with_starter() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
}

/// What is mounted from now on is seen here only; what the host mounts is still seen here.
pub(crate) fn keep_mounts() -> io::Result<()> {
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

/// An empty file system in memory.
pub(crate) fn mount_memory(folder: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("tmpfs", folder, "tmpfs", flags, c"mode=0755,size=64k")?)
}

/// Show `source` in the place of `target`.
pub(crate) fn mount_over(source: &Path, target: &Path) -> io::Result<()> {
    Ok(mount_bind(source, target)?)
}

/// Take a file system out of sight; what is still shown of it elsewhere stays.
pub(crate) fn unmount_folder(folder: &Path) -> io::Result<()> {
    Ok(unmount(folder, UnmountFlags::DETACH)?)
}
