//! Members of a multicast group, and who speaks to it: what mDNS, VRRP and cluster software do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// How long a question to a group waits for an answer before it is asked again: a member may not have joined yet.
const AGAIN: Duration = Duration::from_millis(200);
const TRIES: u32 = 300;

/// A member of a group on an interface, by its number.
///
/// # Errors
/// When it cannot join.
pub fn join_group(group: SocketAddr, interface: u32) -> io::Result<UdpSocket> {
    let any: IpAddr = match group.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, group.port()))?;
    match group.ip() {
        // On the interface by which the default route leads.
        IpAddr::V4(group) => socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?,
        IpAddr::V6(group) => socket.join_multicast_v6(&group, interface)?,
    }
    Ok(socket)
}

/// Answer with the same words, and tell them: the first message that a member hears.
///
/// # Errors
/// When nothing can be heard or said.
pub fn hear_one(socket: &UdpSocket) -> io::Result<String> {
    let mut buffer = [0; 2048];
    let (len, from) = socket.recv_from(&mut buffer)?;
    socket.send_to(&buffer[..len], from)?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

/// Say words to a group until a member answers; who that was.
///
/// # Errors
/// When nobody does.
pub fn tell_group(group: SocketAddr, interface: u32, words: &str) -> io::Result<SocketAddr> {
    let (any, to): (IpAddr, SocketAddr) = match group {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), group),
        SocketAddr::V6(mut to) => {
            to.set_scope_id(interface);
            (Ipv6Addr::UNSPECIFIED.into(), to.into())
        }
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(AGAIN))?;
    for _ in 0..TRIES {
        socket.send_to(words.as_bytes(), to)?;
        if let Ok((_, from)) = socket.recv_from(&mut [0; 2048]) {
            return Ok(from);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}
