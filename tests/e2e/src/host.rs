//! Servers on the host's loopback, or where a test has a socket, in threads of the test.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

/// A TCP server that sends back what it gets when it has it all, any number of connections at a time.
#[derive(Debug)]
pub struct TcpEcho {
    /// Where it listens.
    pub address: SocketAddr,
}

impl TcpEcho {
    /// Listens on a port of the system's choice.
    ///
    /// # Errors
    /// When the loopback gives no port.
    pub fn start() -> io::Result<Self> {
        Self::serve(TcpListener::bind("127.0.0.1:0")?)
    }

    /// Listens there.
    ///
    /// # Errors
    /// When the system does not tell where that is.
    pub fn serve(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || echo(&stream));
            }
        });
        Ok(Self { address })
    }
}

/// Everything first, then back: a client that only writes before it reads must not meet a full buffer.
fn echo(mut stream: &TcpStream) {
    let mut bytes = Vec::new();
    // A client that resets the connection gets nothing back.
    let _ = stream
        .read_to_end(&mut bytes)
        .and_then(|_| stream.write_all(&bytes));
}

/// A UDP server that sends back what it gets.
#[derive(Debug)]
pub struct UdpEcho {
    /// Where it listens.
    pub address: SocketAddr,
}

impl UdpEcho {
    /// Listens on a port of the system's choice.
    ///
    /// # Errors
    /// When the loopback gives no port.
    pub fn start() -> io::Result<Self> {
        Self::serve(UdpSocket::bind("127.0.0.1:0")?)
    }

    /// Answers there.
    ///
    /// # Errors
    /// When the system does not tell where that is.
    pub fn serve(socket: UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                // A client that is gone is no reason to stop.
                let _ = socket.send_to(&buffer[..len], from);
            }
        });
        Ok(Self { address })
    }
}

/// A TCP port of the loopback on which nothing listens: one that was just given back.
///
/// # Errors
/// When the loopback gives no port.
pub fn closed_tcp_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
