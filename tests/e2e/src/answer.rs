//! A server of TCP and UDP that says at which of its addresses it was asked.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

/// Listens at all of these, then answers what comes, for ever: `WORDS at ADDRESS:PORT`.
///
/// # Errors
/// When one of the addresses cannot be had.
pub fn answer(addresses: &[SocketAddr]) -> io::Result<()> {
    for &address in addresses {
        let (tcp, udp) = (TcpListener::bind(address)?, UdpSocket::bind(address)?);
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                // A client that is gone is no reason to stop.
                let _ = answer_stream(&stream, address);
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((len, from)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(&words(&buffer[..len], address), from);
            }
        });
    }
    Ok(())
}

fn answer_stream(mut stream: &TcpStream, address: SocketAddr) -> io::Result<()> {
    let mut asked = Vec::new();
    stream.read_to_end(&mut asked)?;
    stream.write_all(&words(&asked, address))
}

fn words(asked: &[u8], address: SocketAddr) -> Vec<u8> {
    [asked, b" at ", address.to_string().as_bytes()].concat()
}
