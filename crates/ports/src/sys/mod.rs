//! What differs between systems, and what needs `unsafe`.
#![expect(
    unsafe_code,
    reason = "buffers filled by the kernel, and options that rustix does not know"
)]

use std::io;
use std::os::fd::AsFd;

use bytes::{BufMut, BytesMut};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::{interface, memory, tun};

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{interface, memory, tun};

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
pub(crate) use macos::vmnet;

/// vmnet is macOS's.
#[cfg(not(target_os = "macos"))]
pub(crate) mod vmnet {
    use crate::vmnet::Vmnet;

    /// There is none.
    pub(crate) fn framework() -> Option<Box<dyn Vmnet>> {
        None
    }
}

/// Received descriptors close when another program is run.
#[cfg(target_os = "linux")]
pub(crate) const CLOSE_ON_EXEC: rustix::net::RecvFlags = rustix::net::RecvFlags::CMSG_CLOEXEC;
/// There is no such flag.
#[cfg(not(target_os = "linux"))]
pub(crate) const CLOSE_ON_EXEC: rustix::net::RecvFlags = rustix::net::RecvFlags::empty();

/// Read once from `fd` behind what `buf` holds, into its spare capacity.
pub(crate) fn read_spare(fd: impl AsFd, buf: &mut BytesMut) -> io::Result<usize> {
    let (filled, _) = rustix::io::read(fd, buf.spare_capacity_mut())?;
    let count = filled.len();
    // SAFETY: the kernel wrote the first `count` bytes of the spare capacity.
    unsafe { buf.advance_mut(count) };
    Ok(count)
}

/// The process at the other end of a connected stream socket. For one that was connected to a listener it is the
/// process that called `listen`.
#[cfg(target_os = "linux")]
pub(crate) fn peer_pid(fd: impl AsFd) -> Option<u32> {
    let credentials = rustix::net::sockopt::socket_peercred(fd).ok()?;
    u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()
}

/// The process at the other end of a connected stream socket.
#[cfg(target_os = "macos")]
pub(crate) fn peer_pid(fd: impl AsFd) -> Option<u32> {
    use std::os::fd::AsRawFd;
    let mut pid: libc::pid_t = 0;
    let mut len = libc::socklen_t::try_from(size_of::<libc::pid_t>()).ok()?;
    // SAFETY: `pid` and `len` are valid for writes, and `len` holds the size of `pid`.
    let status = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_LOCAL,
            libc::LOCAL_PEERPID,
            (&raw mut pid).cast(),
            &raw mut len,
        )
    };
    (status == 0).then(|| u32::try_from(pid).ok()).flatten()
}

/// The name of a process's program.
#[cfg(target_os = "linux")]
pub(crate) fn command_of(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// The name of a process's program.
#[cfg(target_os = "macos")]
pub(crate) fn command_of(pid: u32) -> Option<String> {
    let mut name = [0_u8; 64];
    let size = u32::try_from(name.len()).ok()?;
    // SAFETY: `name` is valid for writes of `size` bytes.
    let written =
        unsafe { libc::proc_name(libc::pid_t::try_from(pid).ok()?, name.as_mut_ptr().cast(), size) };
    let written = usize::try_from(written).ok().filter(|&written| written > 0)?;
    Some(String::from_utf8_lossy(name.get(..written)?).into_owned())
}
