//! The shim as the driver of a guest whose memory is shared with the back end.
//!
//! ```text
//!   guest's kernel ── TAP ── readv into a buffer of the transmit ring ──▶ back end
//!   guest's kernel ◀─ TAP ── writev from buffers of the receive ring ◀─── back end
//! ```
//!
//! Large segments and unfinished checksums cross as they are, since both sides speak virtio_net_hdr. Rings and buffers are of the sizes
//! that Linux's driver has in QEMU: 256 entries, pages to receive into. A loss is the loss of one frame in a ring, which may be
//! a large segment.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;

use atoll_ports::vhost_user::front_end::{FrontEnd, FrontEndOptions};

use super::loss::Loss;
use crate::sys::tap;

/// Frames to the TAP before it is read again.
const BATCH: usize = 64;

#[derive(Debug)]
pub(super) struct Bridge {
    front_end: FrontEnd,
    sent: u64,
    received: u64,
    refused: u64,
}

impl Bridge {
    /// Sets everything up at a back end that listens.
    pub(super) fn new(tap: &File, socket: &UnixStream) -> io::Result<Self> {
        let front_end = FrontEnd::new(socket.try_clone()?, FrontEndOptions::default())?;
        let len = i32::try_from(front_end.header_len()).map_err(io::Error::other)?;
        tap::set_header_len(tap, len)?;
        Ok(Self {
            front_end,
            sent: 0,
            received: 0,
            refused: 0,
        })
    }

    /// Moves frames until the back end closes.
    pub(super) fn run(&mut self, tap: &File, mut outgoing: Loss, mut incoming: Loss) -> io::Result<()> {
        loop {
            let front_end = &mut self.front_end;
            let (received, refused) = front_end.receive_to(tap, BATCH, || !incoming.takes_next())?;
            front_end.reclaim();
            let sent = front_end.send_from(tap, || !outgoing.takes_next())?;
            self.received += u64::try_from(received).unwrap_or(0);
            self.refused += u64::try_from(refused).unwrap_or(0);
            self.sent += u64::try_from(sent).unwrap_or(0);
            if received == 0 && sent == 0 && !self.front_end.wait(tap)? {
                return Ok(());
            }
        }
    }

    pub(super) fn counts(&self) -> serde_json::Value {
        serde_json::json!({
            "to_backend": { "frames": self.sent },
            "from_backend": { "frames": self.received, "refused": self.refused },
        })
    }
}
