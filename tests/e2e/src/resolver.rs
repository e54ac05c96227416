//! A resolver for a network to ask: it knows one name, says that another has no address, and that no other exists.

use std::io;
use std::net::{SocketAddr, UdpSocket};

/// The name it knows, as its labels stand in a message.
const KNOWN: &[u8] = b"\x05known\x07example\x00";
/// A name that exists without an address.
const EMPTY: &[u8] = b"\x05empty\x07example\x00";
/// A name for which it fails.
const BROKEN: &[u8] = b"\x06broken\x07example\x00";

/// It answers until the test's process ends.
#[derive(Debug)]
pub struct Resolver {
    /// Where it listens, on the host's loopback.
    pub address: SocketAddr,
}

impl Resolver {
    /// Start it.
    ///
    /// # Errors
    /// When there is no port for it.
    pub fn start() -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?;
        std::thread::spawn(move || {
            let mut message = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut message) {
                if let Some(answer) = answer(&message[..len]) {
                    // A client that is gone misses nothing.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(Self { address })
    }
}

/// The answer to a question (RFC 1035, 4.1): its header and question again, and for the known name 192.0.2.77.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let name = question.get(12..)?;
    let end = 12 + name.iter().position(|byte| *byte == 0)? + 5;
    let is = |known: &[u8]| name.starts_with(known);
    let asks_for_a = question.get(end - 4..end)? == [0, 1, 0, 1];
    let rcode = match () {
        () if is(KNOWN) || is(EMPTY) => 0,
        () if is(BROKEN) => 2,
        () => 3,
    };
    let has_answer = is(KNOWN) && asks_for_a;
    let mut message = question[..2].to_vec();
    message.extend([0x81, 0x80 | rcode, 0, 1, 0, u8::from(has_answer), 0, 0, 0, 0]);
    message.extend(&question[12..end]);
    if has_answer {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 77]);
    }
    Some(message)
}
