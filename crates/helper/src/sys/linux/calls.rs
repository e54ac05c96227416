//! The calls that have no safe form elsewhere.
#![expect(unsafe_code, reason = "calls that rustix does not have")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// Go on in two processes: in the child, `None`.
///
/// The process must have one thread only, so that the child may go on as any program does.
pub(super) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: there is one thread, so no lock is held by another that would not be there in the child.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Pid::from_raw(pid))
}

/// A descriptor that is readable once SIGTERM came, which ends nothing any more. The other signals of a terminal are ignored:
/// who sent them sent them to the client, too, and the session ends with that.
pub(super) fn termination() -> io::Result<OwnedFd> {
    for signal in [
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGPIPE,
        libc::SIGTSTP,
    ] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // SAFETY: all zeros is a `sigset_t`, which `sigemptyset` then sets as it wants it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for writes.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: `set` is valid for writes.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGTERM) };
    // SAFETY: `set` is valid for reads; the old mask is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `set` is valid for reads, and -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Close every descriptor from the third on: whoever started this process may have left some open.
pub(super) fn close_others() {
    // SAFETY: called before any descriptor is opened, so that none is owned by anybody. When the call is not there (before Linux
    // 5.9) what is open stays open, and is not used.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

/// Read an option into `value`; how many bytes it has.
fn option<T: Copy>(fd: impl AsFd, name: libc::c_int, value: &mut [T]) -> io::Result<usize> {
    let mut len = libc::socklen_t::try_from(size_of_val(value)).unwrap_or(0);
    // SAFETY: `value` is valid for writes of `len` bytes, and any bytes are numbers, which is what the callers ask for.
    let status = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(len).unwrap_or(0))
}

/// All groups but the primary one of who made the other end of a socket.
pub(super) fn peer_groups(fd: impl AsFd) -> io::Result<Vec<u32>> {
    // NGROUPS_MAX of Linux (limits.h).
    let mut groups = vec![0_u32; 65536];
    let bytes = option(fd, libc::SO_PEERGROUPS, &mut groups)?;
    groups.truncate(bytes / size_of::<u32>());
    Ok(groups)
}

/// A number that no two network namespaces share until the machine is started again (Linux 5.14).
pub(super) fn namespace_cookie(fd: impl AsFd) -> io::Result<u64> {
    let mut cookie = [0_u64];
    option(fd, libc::SO_NETNS_COOKIE, &mut cookie)?;
    Ok(cookie[0])
}
