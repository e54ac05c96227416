//! The two ways through the shim, with their buffers.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;

use super::loss::Loss;
use super::merge::{Merger, Sink};
use super::split::{PREFIX, finish};
use super::vnet::{LENGTH, Vnet};

/// The largest frame that a TAP hands over, or that a stream may announce.
const MAX_FRAME: usize = 65_536 + 14 + 4;

/// Room that one frame may need once it is cut: headers and lengths for segments of 536 bytes and up.
const MAX_CUT: usize = 2 * MAX_FRAME;

/// Frames are gathered up to this many bytes before they are written.
const GATHERED: usize = 256 << 10;

/// The most that one read takes from the socket.
const CHUNK: usize = 512 << 10;

/// From the TAP to the socket.
#[derive(Debug)]
pub(super) struct Outgoing {
    buffer: Vec<u8>,
    /// What is not written yet.
    waiting: Range<usize>,
    loss: Loss,
    frames: u64,
    large: u64,
}

impl Outgoing {
    pub(super) fn new(loss: Loss) -> Self {
        Self {
            buffer: vec![0; GATHERED + MAX_CUT],
            waiting: 0..0,
            loss,
            frames: 0,
            large: 0,
        }
    }

    /// Whether the socket must take something before the TAP is read again.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes what the TAP has, until it has no more or the buffer is full.
    pub(super) fn fill(&mut self, tap: &File) -> io::Result<()> {
        self.waiting = 0..0;
        while self.waiting.end < GATHERED {
            let room = self.buffer.get_mut(self.waiting.end..).unwrap_or_default();
            let mut header = [0; LENGTH];
            let frame = room.get_mut(PREFIX..MAX_FRAME).unwrap_or_default();
            let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(frame)];
            let length = match (&*tap).read_vectored(&mut parts) {
                Ok(length) => length.saturating_sub(LENGTH),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let done = finish(room, length, Vnet::parse(header), &mut self.loss);
            self.waiting.end += done.bytes;
            self.frames += done.frames;
            self.large += 1;
        }
        Ok(())
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn write(&mut self, mut socket: &UnixStream) -> io::Result<()> {
        while let Some(bytes) = self.buffer.get(self.waiting.clone())
            && !bytes.is_empty()
        {
            match socket.write(bytes) {
                Ok(written) => self.waiting.start += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn counts(&self) -> serde_json::Value {
        serde_json::json!({ "frames": self.frames, "segments": self.large, "lost": self.loss.lost })
    }
}

/// From the socket to the TAP.
#[derive(Debug)]
pub(super) struct Incoming {
    buffer: Vec<u8>,
    /// Bytes that wait for the rest of their frame; always at the buffer's start.
    held: usize,
    merger: Merger,
    loss: Loss,
    frames: u64,
    large: u64,
    refused: u64,
}

struct TapSink<'a> {
    tap: &'a File,
    sent: u64,
    refused: u64,
}

impl Sink for TapSink<'_> {
    fn send(&mut self, parts: &[IoSlice<'_>]) {
        // A frame that the kernel will not have is a frame lost, as on any NIC.
        let taken = self.tap.write_vectored(parts).is_ok();
        self.sent += u64::from(taken);
        self.refused += u64::from(!taken);
    }
}

impl Incoming {
    pub(super) fn new(loss: Loss) -> Self {
        Self {
            buffer: vec![0; CHUNK],
            held: 0,
            merger: Merger::new(),
            loss,
            frames: 0,
            large: 0,
            refused: 0,
        }
    }

    /// Moves what one read brings. False when the other side has closed.
    pub(super) fn drain(&mut self, mut socket: &UnixStream, tap: &File) -> io::Result<bool> {
        let room = self.buffer.get_mut(self.held..).unwrap_or_default();
        let read = match socket.read(room) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(true);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => return Err(error),
        };
        let end = self.held + read;
        let mut sink = TapSink {
            tap,
            sent: 0,
            refused: 0,
        };
        let used = self.deliver(end, &mut sink)?;
        self.buffer.copy_within(used..end, 0);
        self.held = end - used;
        self.large += sink.sent;
        self.refused += sink.refused;
        Ok(true)
    }

    /// Hands on all whole frames before `end` and returns where the first that is not whole begins.
    fn deliver(&mut self, end: usize, sink: &mut TapSink<'_>) -> io::Result<usize> {
        let bytes = self.buffer.get(..end).unwrap_or_default();
        let mut at = 0;
        while let Some(prefix) = bytes.get(at..).and_then(|rest| rest.first_chunk::<PREFIX>()) {
            let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
            if length > MAX_FRAME {
                let problem = format!("the back end announced a frame of {length} bytes");
                return Err(io::Error::new(ErrorKind::InvalidData, problem));
            }
            let frame = at + PREFIX..at + PREFIX + length;
            if frame.end > end {
                break;
            }
            at = frame.end;
            self.frames += 1;
            if !self.loss.takes_next() {
                self.merger.push(bytes, frame, sink);
            }
        }
        self.merger.flush(bytes, sink);
        Ok(at)
    }

    pub(super) fn counts(&self) -> serde_json::Value {
        serde_json::json!({
            "frames": self.frames, "segments": self.large, "lost": self.loss.lost, "refused": self.refused,
        })
    }
}
