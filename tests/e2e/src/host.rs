//! Servers on the host's loopback, or where a test has a socket, in threads of the test.

use rustix::fd::OwnedFd;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Mutex, PoisonError};
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

/// A TCP port of 127.0.0.1 on which nothing listens, and which the system gives to nobody who asks for any port, until the test's
/// process ends: tests beside this one do. Who asks for this one by SO_REUSEADDR, as servers do, gets it, for the socket that keeps it
/// never listens.
///
/// # Errors
/// When the loopback gives no port.
pub fn closed_tcp_port() -> io::Result<u16> {
    static KEPT: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::closed_tcp_port;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_closed_port_refuses_and_is_there_for_who_asks_for_it() {
        let port = closed_tcp_port().unwrap();
        let refused = TcpStream::connect(("127.0.0.1", port)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
