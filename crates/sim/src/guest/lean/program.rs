//! What a guest's program sees of a connection and does with it.

use atoll_wire::FrameBuf;
use atoll_wire::tcp::{Flags, Options};

use super::tcp::{Connection, Phase};
use crate::stream::Sink;

/// How a guest's TCP is made and what its program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its initial sequence number.
    pub iss: u32,
    /// The MSS that it names, if it does.
    pub mss: Option<u16>,
    /// Its window scale, if it offers one.
    pub scale: Option<u8>,
    /// Whether it offers SACK.
    pub sack: bool,
    /// Its receive buffer in bytes.
    pub buffer: u64,
    /// Its program sends and closes when it is told to, not of its own.
    pub waits: bool,
}

impl Default for Profile {
    /// A modern guest on an Ethernet link, with a buffer of 1 MiB.
    fn default() -> Self {
        Self {
            iss: 1000,
            mss: Some(1460),
            scale: Some(7),
            sack: true,
            buffer: 1 << 20,
            waits: false,
        }
    }
}

impl Connection {
    /// What arrived.
    #[must_use]
    pub fn received(&self) -> &Sink {
        &self.receiver.sink
    }

    /// Bytes that the program sent.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.sender.written()
    }

    /// The other side's FIN arrived, and all before it.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.receiver.is_finished()
    }

    /// The handshake is through, and no reset came or went.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// It was reset or refused.
    #[must_use]
    pub fn was_reset(&self) -> bool {
        self.was_reset
    }

    /// The engine's initial sequence number.
    #[must_use]
    pub fn initial_of_engine(&self) -> u32 {
        self.irs
    }

    /// Retransmission timeouts of its own.
    #[must_use]
    pub fn timeouts(&self) -> u64 {
        self.sender.timeouts
    }

    /// The program writes so many bytes more.
    pub fn write(&mut self, bytes: u64) {
        self.sender.write(bytes);
    }

    /// The program closes its side.
    pub fn close(&mut self) {
        self.sender.close();
    }

    /// The program stops reading.
    pub fn stop_reading(&mut self) {
        self.receiver.reads = false;
    }

    /// The program goes on reading.
    pub fn resume_reading(&mut self) {
        self.ack_now |= self.receiver.resume();
    }

    /// The program resets the connection, or gives the attempt up.
    pub fn reset(&mut self) {
        match self.phase {
            Phase::Listening => {}
            Phase::SynSent => self.emit(Flags::RST, 1, FrameBuf::zeroed(0), Options::default()),
            _ => self.emit(
                Flags::RST_ACK,
                self.sender.next(),
                FrameBuf::zeroed(0),
                Options::default(),
            ),
        }
        self.phase = Phase::Closed;
    }
}
