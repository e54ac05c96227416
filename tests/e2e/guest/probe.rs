//! A program for the guest: what busybox cannot say. Compiled by the harness without dependencies and
//! linked statically, so that it runs in the initramfs.
//!
//! - `probe udp-echo PORT`: sends every datagram back, for ever
//! - `probe udp-ask ADDRESS:PORT COUNT`: sends COUNT datagrams of growing size and wants each back;
//!   prints how many came
//! - `probe connect ADDRESS:PORT`: connects by TCP; prints `connected` or why not

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::exit;
use std::time::Duration;

/// A datagram may be lost where a port's queue is full; each is asked for again this often.
const TRIES: usize = 5;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["udp-echo", port] => udp_echo(port),
        ["udp-ask", server, count] => udp_ask(server, count),
        ["connect", server] => connect(server),
        _ => Err("usage: probe udp-echo PORT | udp-ask ADDRESS:PORT COUNT | connect ADDRESS:PORT".to_owned()),
    };
    match outcome {
        Ok(words) => println!("{words}"),
        Err(words) => {
            println!("{words}");
            exit(1);
        }
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn udp_echo(port: &str) -> Result<String, String> {
    let socket = UdpSocket::bind(format!("0.0.0.0:{port}")).map_err(told)?;
    let mut buffer = [0; 65_536];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).map_err(told)?;
        socket.send_to(&buffer[..len], from).map_err(told)?;
    }
}

fn udp_ask(server: &str, count: &str) -> Result<String, String> {
    let count: usize = count.parse().map_err(told)?;
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(told)?;
    socket.connect(server).map_err(told)?;
    socket.set_read_timeout(Some(Duration::from_secs(2))).map_err(told)?;
    let echoed = (0..count).filter(|number| asked(&socket, *number, count)).count();
    if echoed == count { Ok(format!("{echoed} echoed")) } else { Err(format!("{echoed} of {count} echoed")) }
}

/// Sends one datagram, its number in its bytes, until it comes back.
fn asked(socket: &UdpSocket, number: usize, count: usize) -> bool {
    let len = 8 + number * 1464 / count.max(1);
    let mut datagram = vec![u8::try_from(number % 251).unwrap_or(0); len];
    datagram[..8].copy_from_slice(&number.to_be_bytes());
    let mut buffer = [0; 2048];
    for _ in 0..TRIES {
        if socket.send(&datagram).is_err() {
            continue;
        }
        while let Ok(len) = socket.recv(&mut buffer) {
            if buffer[..len] == datagram[..] {
                return true;
            }
        }
    }
    false
}

fn connect(server: &str) -> Result<String, String> {
    let server: SocketAddr = server.parse().map_err(told)?;
    match TcpStream::connect_timeout(&server, Duration::from_secs(20)) {
        Ok(_) => Ok("connected".to_owned()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Err("refused".to_owned()),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err("timed out".to_owned()),
        Err(error) => Err(told(error)),
    }
}
