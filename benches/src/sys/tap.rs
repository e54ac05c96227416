//! TAP devices that carry a `virtio_net_hdr` with each frame.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::OpenOptionsExt;

/// What the device may hand over unfinished: checksums, and TCP segments larger than the MTU.
const OFFLOADS: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;

/// Makes (or attaches to) TAP device `name` of the calling thread's namespace: non-blocking, no packet information,
/// 10-byte vnet headers in the host's byte order, TSO and checksum offload.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let mut request = request(name)?;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is and outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    // SAFETY: TUNSETOFFLOAD takes its flags by value.
    check(unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            libc::TUNSETOFFLOAD,
            libc::c_ulong::from(OFFLOADS),
        )
    })?;
    Ok(file)
}

/// Lets headers have `len` bytes: 12, as between a guest and its device from virtio 1.0 on.
pub(crate) fn set_header_len(file: &File, len: libc::c_int) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one int, which outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) })
}

/// Gives the device to the program that this process becomes, at descriptor `number`, over whatever is open there.
pub(crate) fn hand_down(file: File, number: libc::c_int) -> io::Result<()> {
    // It is the program's from here on.
    let own = file.into_raw_fd();
    if own == number {
        // SAFETY: F_SETFD takes its flags by value.
        return check(unsafe { libc::fcntl(own, libc::F_SETFD, 0) });
    }
    // SAFETY: dup2 takes two numbers; `own` is open. What was at `number` belongs to nobody here: the process has only opened this device.
    check(unsafe { libc::dup2(own, number) })
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is plain old data, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the device's name is too long",
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(io::Error::other)?;
    Ok(request)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
