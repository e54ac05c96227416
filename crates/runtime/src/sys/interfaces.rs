//! The addresses of the host's interfaces, by `getifaddrs(3)`, which Linux and macOS have alike.

#![expect(
    unsafe_code,
    reason = "the list is the C library's: raw pointers, and addresses whose type their family tells"
)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// Every address of either family that an interface of this host has.
pub(crate) fn host_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: the pointer is to a place for a pointer.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first;
    // SAFETY: the list ends with a null pointer, and lives until it is freed below.
    while let Some(entry) = unsafe { next.as_ref() } {
        addresses.extend(address(entry.ifa_addr));
        next = entry.ifa_next;
    }
    // SAFETY: the list came from getifaddrs, and nothing refers to it any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

/// The address in an entry of the list; `None` for one without, or of another family.
fn address(socket: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: an entry's address is null or a whole socket address.
    let family = i32::from(unsafe { socket.as_ref() }?.sa_family);
    match family {
        libc::AF_INET => {
            // SAFETY: the family says that it is one of IPv4; the C library gives no promise of alignment.
            let socket = unsafe { socket.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from(socket.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is one of IPv6; the C library gives no promise of alignment.
            let socket = unsafe { socket.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(Ipv6Addr::from(socket.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_among_the_hosts_addresses() {
        let addresses = host_addresses().unwrap();
        assert!(addresses.contains(&Ipv4Addr::LOCALHOST.into()), "{addresses:?}");
    }
}
