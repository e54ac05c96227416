//! A server of TCP and UDP that tells each client where it sees it.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

/// Listens at all of these, then tells whoever comes its address, for ever: `you are ADDRESS:PORT`.
///
/// # Errors
/// When one of the addresses cannot be had.
pub fn tell_who(addresses: &[SocketAddr]) -> io::Result<()> {
    for &address in addresses {
        let (tcp, udp) = (TcpListener::bind(address)?, UdpSocket::bind(address)?);
        thread::spawn(move || {
            while let Ok((mut stream, client)) = tcp.accept() {
                // A client that is gone is no reason to stop.
                let _ = stream.write_all(words(client).as_bytes());
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((_, client)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(words(client).as_bytes(), client);
            }
        });
    }
    Ok(())
}

/// Asks such a server from this address, over TCP and over UDP. What it said, each with what this end has for itself.
///
/// # Errors
/// When there is no answer.
pub fn ask_who(from: SocketAddr, server: SocketAddr) -> io::Result<String> {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

    let family = if from.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let stream: OwnedFd = socket(family, SocketType::STREAM, None)?;
    bind(&stream, &from)?;
    connect(&stream, &server)?;
    let mut stream = std::net::TcpStream::from(stream);
    let mut tcp = String::new();
    let own = stream.local_addr()?;
    stream.read_to_string(&mut tcp)?;
    let socket = UdpSocket::bind(from)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(crate::PATIENCE))?;
    socket.send(b"?")?;
    let mut buffer = [0; 2048];
    let len = socket.recv(&mut buffer)?;
    let udp = String::from_utf8_lossy(&buffer[..len]).into_owned();
    Ok(format!(
        "tcp {tcp} and is {own}; udp {udp} and is {}",
        socket.local_addr()?
    ))
}

fn words(client: SocketAddr) -> String {
    format!("you are {client}")
}
