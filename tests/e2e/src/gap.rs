//! How long an address does not answer: datagrams to it, one after the other, and the longest time between two answers.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Between two datagrams.
const EVERY: Duration = Duration::from_millis(10);

/// Ask `address` for this long; the longest time without an answer, and how many answers came.
///
/// # Errors
/// When there is no socket to ask from.
pub fn longest_gap(address: SocketAddr, time: Duration) -> io::Result<(Duration, u32)> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_read_timeout(Some(EVERY))?;
    let begin = Instant::now();
    let (mut last, mut longest, mut answers) = (begin, Duration::ZERO, 0);
    let mut buffer = [0; 512];
    while begin.elapsed() < time {
        // Nobody has the address for a moment: an error to be waited out.
        let _ = socket.send_to(b"ask", address);
        if socket.recv_from(&mut buffer).is_ok() {
            answers += 1;
            longest = longest.max(last.elapsed());
            last = Instant::now();
            std::thread::sleep(EVERY);
        }
    }
    Ok((longest.max(last.elapsed()), answers))
}
