//! Linux: network interfaces by `ioctl` (netdevice(7), `Documentation/networking/tuntap.rst`), and by netlink what that cannot; memory
//! of guests.
//!
//! Every ioctl goes through one of the few functions here, each for one type of argument; the modules below give them names.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, c_uint, ifreq, rtentry};

pub(crate) mod interface;
pub(crate) mod memory;
mod route;
mod sigbus;
pub(crate) mod tun;

fn outcome(status: c_int) -> io::Result<()> {
    if status < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// A request about a named interface. `request` must be one that takes an `ifreq`.
fn on_interface(fd: impl AsFd, request: libc::Ioctl, argument: &mut ifreq) -> io::Result<()> {
    // SAFETY: `argument` is valid for reads and writes of an `ifreq`, which is what the callers' requests take.
    outcome(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, &raw mut *argument) })
}

/// A request that takes an `int` by reference.
fn with_int(fd: impl AsFd, request: libc::Ioctl, value: c_int) -> io::Result<()> {
    // SAFETY: `value` is valid for reads of an `int`, which is what the callers' requests take.
    outcome(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, &raw const value) })
}

/// A request that takes a number by value.
fn with_number(fd: impl AsFd, request: libc::Ioctl, value: c_uint) -> io::Result<()> {
    // SAFETY: the callers' requests take a number and no pointer.
    outcome(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, libc::c_ulong::from(value)) })
}

/// A request about a route. Its device name must be a live C string or null.
fn on_route(fd: impl AsFd, request: libc::Ioctl, route: &rtentry) -> io::Result<()> {
    // SAFETY: `route` is valid for reads, and so is the name that it points to, by what the caller keeps.
    outcome(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, &raw const *route) })
}

/// An `ifreq` that names an interface. A name that is too long is cut, and then names none.
fn request_for(name: &str) -> ifreq {
    // SAFETY: all zeros is an `ifreq` with an empty name.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    let places = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (place, byte) in places.zip(name.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    request
}
