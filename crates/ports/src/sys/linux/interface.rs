//! Interfaces of the current network namespace.

use std::ffi::CString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, socket};

pub(crate) use super::route::{add_address as add_address6, add_default_route as add_default_route6};
use super::{on_interface, on_route, request_for};

/// The socket by which interfaces are configured.
pub(crate) fn control() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::INET, SocketType::DGRAM, None)?)
}

/// Make an interface take part.
pub(crate) fn set_up(control: impl AsFd, name: &str) -> io::Result<()> {
    let mut request = request_for(name);
    on_interface(&control, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS fills in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let up = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    request.ifr_ifru.ifru_flags = flags | up;
    on_interface(control, libc::SIOCSIFFLAGS, &mut request)
}

/// Give an interface its MAC address.
pub(crate) fn set_mac(control: impl AsFd, name: &str, mac: [u8; 6]) -> io::Result<()> {
    let mut request = request_for(name);
    let mut address = libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data: [0; 14],
    };
    for (place, byte) in address.sa_data.iter_mut().zip(mac) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_hwaddr = address;
    on_interface(control, libc::SIOCSIFHWADDR, &mut request)
}

/// The largest IP packet.
pub(crate) fn set_mtu(control: impl AsFd, name: &str, mtu: u16) -> io::Result<()> {
    let mut request = request_for(name);
    request.ifr_ifru.ifru_mtu = i32::from(mtu);
    on_interface(control, libc::SIOCSIFMTU, &mut request)
}

/// An address and its netmask.
pub(crate) fn set_address(
    control: impl AsFd,
    name: &str,
    address: Ipv4Addr,
    netmask: Ipv4Addr,
) -> io::Result<()> {
    for (which, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, netmask)] {
        let mut request = request_for(name);
        request.ifr_ifru.ifru_addr = socket_address(value);
        on_interface(&control, which, &mut request)?;
    }
    Ok(())
}

/// A route to everywhere by way of `gateway`.
pub(crate) fn add_default_route(control: impl AsFd, name: &str, gateway: Ipv4Addr) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: all zeros is a route to 0.0.0.0/0 without flags.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    route.rt_dev = name.as_ptr().cast_mut();
    on_route(control, libc::SIOCADDRT, &route)
}

/// What a router says of addresses and routes is not followed, and no address is tried out before it is used
/// (`Documentation/networking/ip-sysctl.rst`).
pub(crate) fn configure_by_hand(name: &str) -> io::Result<()> {
    for setting in ["accept_ra", "accept_dad"] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/{setting}"), "0")?;
    }
    Ok(())
}

/// A `sockaddr_in` in the form of a `sockaddr`: port (2 bytes), address (4), zeros.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data: [libc::c_char; 14] = [0; 14];
    for (place, byte) in data[2..].iter_mut().zip(address.octets()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    libc::sockaddr {
        sa_family: u16::try_from(libc::AF_INET).unwrap_or(0),
        sa_data: data,
    }
}
