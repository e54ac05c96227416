//! One guest on QEMU's `-netdev stream`.
//!
//! Reading takes one large read a call, so that a guest that sends without pause cannot keep others from being read;
//! [`Progress`] says whether to come back. Writing hands the kernel many frames at once, each behind its length, and
//! remembers how far it came within the first one. Both fit edge-triggered readiness: after `Drained` or `blocked` the
//! kernel reports the next change.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use atoll_wire::Frame;

use crate::decoder::{Decoder, LengthError, Read};

/// Frames in one `writev`: two slices each, and the kernel takes 1024 (`IOV_MAX`).
const BATCH: usize = 512;

/// Batches in one call, so that one guest's queue does not hold up the others.
const BATCHES: usize = 8;

const PREFIX: usize = 4;

/// Bytes that the kernel may hold for a guest: enough to be busy while the other side is.
const SEND_BUFFER: usize = 1 << 20;

/// A connected guest.
#[derive(Debug)]
pub struct StreamPort {
    socket: UnixStream,
    decoder: Decoder,
    /// Bytes of the first waiting frame and its length that the kernel has taken already.
    taken: usize,
}

/// Whether to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more at once.
    More,
    /// The kernel has no more; it tells when it has.
    Drained,
    /// The guest closed.
    Closed,
}

/// Why a guest can no longer be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It does not keep to the framing.
    #[error(transparent)]
    Length(#[from] LengthError),
    /// What the system said.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Frames that are gone in full.
    pub frames: usize,
    /// The kernel takes no more now, and tells when it does. Otherwise the queue is empty or a turn is over.
    pub blocked: bool,
}

impl StreamPort {
    /// A guest on this connection, which must be non-blocking.
    #[must_use]
    pub fn new(socket: UnixStream) -> Self {
        // The system may grant less. Refusing costs speed and nothing else.
        let granted = rustix::net::sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
        if let Err(error) = granted {
            tracing::debug!("a guest's send buffer stays as it is: {error}");
        }
        Self {
            socket,
            decoder: Decoder::default(),
            taken: 0,
        }
    }

    /// Read once and append the frames that are whole. Frames before an error are appended too.
    ///
    /// # Errors
    /// The connection broke, or a length is impossible: the guest is to be dropped.
    pub fn read(&mut self, frames: &mut Vec<Frame>) -> Result<Progress, ReadError> {
        let progress = match self.decoder.read(&self.socket) {
            Ok(Read::Full) => Progress::More,
            Ok(Read::Drained) => Progress::Drained,
            Ok(Read::End) => return Ok(Progress::Closed),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Progress::More,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Progress::Closed),
            Err(error) => return Err(error.into()),
        };
        while let Some(frame) = self.decoder.next_frame()? {
            frames.push(Frame::plain(frame));
        }
        Ok(progress)
    }

    /// Write frames from the front of `queue`. The caller removes as many as are reported before it writes again.
    ///
    /// # Errors
    /// The connection broke.
    pub fn write(&mut self, queue: &VecDeque<Frame>) -> io::Result<Written> {
        let mut written = Written::default();
        for _ in 0..BATCHES {
            if written.frames == queue.len() {
                break;
            }
            let Some((asked, sent)) = self.write_batch(queue, written.frames)? else {
                written.blocked = true;
                break;
            };
            written.frames += self.advance(queue, written.frames, sent);
            if sent < asked {
                written.blocked = true;
                break;
            }
        }
        Ok(written)
    }

    /// One `writev` of the frames from `first` on: bytes offered and bytes taken.
    fn write_batch(&self, queue: &VecDeque<Frame>, first: usize) -> io::Result<Option<(usize, usize)>> {
        let batch = queue.range(first..).take(BATCH);
        let prefixes: Vec<[u8; PREFIX]> = batch
            .clone()
            .map(|frame| u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes())
            .collect();
        let mut slices = Vec::with_capacity(2 * prefixes.len());
        for (prefix, frame) in prefixes.iter().zip(batch) {
            slices.push(IoSlice::new(prefix));
            slices.push(IoSlice::new(&frame.bytes));
        }
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, self.taken);
        let asked = rest.iter().map(|slice| slice.len()).sum();
        match (&self.socket).write_vectored(rest) {
            Ok(sent) => Ok(Some((asked, sent))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Some((0, 0))),
            Err(error) => Err(error),
        }
    }

    /// Frames that are complete now that `sent` more bytes are gone.
    fn advance(&mut self, queue: &VecDeque<Frame>, first: usize, sent: usize) -> usize {
        self.taken += sent;
        let mut complete = 0;
        for frame in queue.range(first..) {
            let Some(rest) = self.taken.checked_sub(PREFIX + frame.len()) else {
                break;
            };
            self.taken = rest;
            complete += 1;
        }
        complete
    }
}

impl AsFd for StreamPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pair() -> (StreamPort, UnixStream) {
        let (ours, guest) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (StreamPort::new(ours), guest)
    }

    fn frame(byte: u8, len: usize) -> Frame {
        Frame::plain(vec![byte; len].into())
    }

    #[test]
    fn a_slow_reader_gets_every_byte_in_order() {
        let (mut port, mut guest) = pair();
        let mut queue: VecDeque<Frame> = (0..2000_u16)
            .map(|n| frame(n.to_be_bytes()[1], 60 + usize::from(n)))
            .collect();
        let total: usize = queue.iter().map(|frame| PREFIX + frame.len()).sum();
        let sent = queue.clone();
        let mut blocked = 0;
        let mut received = Decoder::default();
        let (mut bytes, mut frames) = (0, Vec::new());
        let mut chunk = [0; 5000];
        while bytes < total {
            let written = port.write(&queue).unwrap();
            queue.drain(..written.frames);
            blocked += usize::from(written.blocked);
            let count = guest.read(&mut chunk).unwrap();
            bytes += count;
            received.extend(&chunk[..count]);
            while let Some(frame) = received.next_frame().unwrap() {
                frames.push(Frame::plain(frame));
            }
        }
        assert!(blocked > 1, "the queue is larger than a socket buffer");
        assert!(queue.is_empty());
        assert_eq!(VecDeque::from(frames), sent);
    }

    #[test]
    fn the_end_of_the_stream_is_told_after_the_last_frame() {
        let (mut port, mut guest) = pair();
        guest.write_all(&[0, 0, 0, 14]).unwrap();
        guest.write_all(&[9; 14]).unwrap();
        drop(guest);
        let mut frames = Vec::new();
        assert_eq!(port.read(&mut frames).unwrap(), Progress::Drained);
        assert_eq!(port.read(&mut frames).unwrap(), Progress::Closed);
        assert_eq!(frames, [frame(9, 14)]);
    }

    #[test]
    fn nothing_to_read_is_no_error() {
        let (mut port, _guest) = pair();
        assert_eq!(port.read(&mut Vec::new()).unwrap(), Progress::Drained);
    }

    #[test]
    fn frames_before_a_bad_length_are_delivered_with_the_error() {
        let (mut port, mut guest) = pair();
        guest.write_all(&[0, 0, 0, 14]).unwrap();
        guest.write_all(&[9; 14]).unwrap();
        guest.write_all(&[0xff; 8]).unwrap();
        let mut frames = Vec::new();
        let error = port.read(&mut frames).unwrap_err();
        assert!(
            matches!(error, ReadError::Length(LengthError { length: u32::MAX })),
            "{error}"
        );
        assert_eq!(frames.len(), 1);
    }

    #[test]
    fn a_guest_that_closed_is_an_error_of_the_write() {
        let (mut port, guest) = pair();
        drop(guest);
        let error = port.write(&VecDeque::from([frame(1, 60)])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
