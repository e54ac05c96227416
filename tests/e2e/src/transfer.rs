//! Bytes from one micro guest to another over TCP, by busybox's `nc`.

use crate::{Guest, LONG_PATIENCE};
use std::time::{Duration, Instant};

/// Makes `/tmp/data` of so many random megabytes; gives its checksum.
///
/// # Panics
/// When the guest cannot.
pub fn make_data(guest: &mut Guest, megabytes: u32) -> String {
    guest.ok(&format!(
        "dd if=/dev/urandom of=/tmp/data bs=1M count={megabytes} 2>/dev/null"
    ));
    checksum(guest, "/tmp/data")
}

/// The checksum of a file.
///
/// # Panics
/// When the guest cannot read it.
pub fn checksum(guest: &mut Guest, path: &str) -> String {
    let text = guest.ok(&format!("sha256sum {path}"));
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Sends `/tmp/data` over TCP and gives the checksum of what arrived, and how long it took.
///
/// busybox's `nc` ends when the other side has sent FIN, so the receiver's own input stays open.
///
/// # Panics
/// When one of the two fails or does not end in time.
pub fn transfer(from: &mut Guest, to: &mut Guest, port: u16) -> (String, Duration) {
    to.ok("rm -f /tmp/got /tmp/idle; mkfifo /tmp/idle");
    to.ok(&format!(
        "nc -l -p {port} <>/tmp/idle >/tmp/got 2>/dev/null & receiver=$!"
    ));
    to.ok(&format!(
        "until grep -q ':{port:04X} 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; do :; done"
    ));
    let begun = Instant::now();
    let send = format!("nc -w 10 {} {port} </tmp/data", to.address());
    let sent = from.begin(&send).wait(from, LONG_PATIENCE);
    let took = begun.elapsed();
    assert_eq!(sent.status, 0, "{} to {}: {}", from.name, to.name, sent.text);
    let received = to.begin("wait $receiver").wait(to, LONG_PATIENCE);
    assert_eq!(
        received.status, 0,
        "{} from {}: {}",
        to.name, from.name, received.text
    );
    (checksum(to, "/tmp/got"), took)
}
