//! TAP devices.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::{on_interface, request_for, with_int, with_number};

/// Set in the flags of every TAP of ours.
const KIND: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// The interface of a TAP was deleted (`tun_chr_read_iter` in drivers/net/tun.c).
pub(crate) const DELETED: Errno = Errno::BADFD;

/// Turn an open `/dev/net/tun` into a new TAP of this name in the current network namespace.
pub(crate) fn create(fd: impl AsFd, name: &str) -> io::Result<()> {
    let mut request = request_for(name);
    request.ifr_ifru.ifru_flags = i16::try_from(KIND).unwrap_or(0);
    on_interface(fd, libc::TUNSETIFF, &mut request)
}

/// The name of a TAP with a virtio_net_hdr and nothing else before its frames; `None` for another kind of device.
pub(crate) fn name(fd: impl AsFd) -> io::Result<Option<String>> {
    let mut request = request_for("");
    on_interface(fd, libc::TUNGETIFF, &mut request)?;
    // SAFETY: TUNGETIFF fills in the flags.
    let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    let bytes = request.ifr_name.iter().map(|byte| byte.to_ne_bytes()[0]);
    let name: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    Ok((flags & KIND == KIND).then(|| String::from_utf8_lossy(&name).into_owned()))
}

/// The device's MAC address.
pub(crate) fn mac(fd: impl AsFd) -> io::Result<[u8; 6]> {
    let mut request = request_for("");
    on_interface(fd, libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: SIOCGIFHWADDR fills in the address.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    let mut mac = [0; 6];
    for (place, byte) in mac.iter_mut().zip(address.sa_data) {
        *place = byte.to_ne_bytes()[0];
    }
    Ok(mac)
}

/// Frames are preceded by a virtio_net_hdr of `len` bytes, little-endian.
pub(crate) fn set_header(fd: impl AsFd, len: usize) -> io::Result<()> {
    with_int(&fd, libc::TUNSETVNETHDRSZ, i32::try_from(len).unwrap_or(0))?;
    with_int(fd, libc::TUNSETVNETLE, 1)
}

/// Let the kernel hand over frames with unfinished checksums and large segments of TCP, and of UDP where it knows these: since Linux
/// 6.2, for both families or for none. Whether it does; a kernel that hands them over takes them, too.
pub(crate) fn set_offloads(fd: impl AsFd) -> io::Result<bool> {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    if with_number(&fd, libc::TUNSETOFFLOAD, tcp | udp).is_ok() {
        return Ok(true);
    }
    with_number(fd, libc::TUNSETOFFLOAD, tcp).map(|()| false)
}
