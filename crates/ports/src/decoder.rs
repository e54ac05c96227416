//! From a byte stream to frames: QEMU's `stream` framing, free of any socket.
//!
//! Every frame follows its length, four bytes, big-endian. Bytes are read into one large buffer, and a frame is a slice
//! of it: nothing is copied. A buffer lives as long as the last frame cut from it, so its size bounds what a queued
//! frame can hold back.
//!
//! The length is the guest's word and is not trusted. Shorter than an Ethernet header, or longer than QEMU itself can
//! send, means that the stream is not what we think it is; there is no way to find the next frame, so the guest is to
//! be closed.

use std::io;
use std::os::fd::AsFd;

use bytes::{Buf, Bytes, BytesMut};

use crate::sys;

/// Shortest frame: an Ethernet header.
pub const MIN_FRAME: usize = 14;

/// Longest frame: the size of QEMU's own buffer, `NET_BUFSIZE` in include/net/net.h (4096 + 65536).
pub const MAX_FRAME: usize = 4096 + 65536;

/// Bytes of a new buffer: what one read can take.
const CHUNK: usize = 256 * 1024;

/// Read no less than this at a time, if there is as much.
const MIN_SPARE: usize = 64 * 1024;

const PREFIX: usize = 4;

/// The length prefix cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes was announced, outside {MIN_FRAME} to {MAX_FRAME}")]
pub struct LengthError {
    /// What the prefix said.
    pub length: u32,
}

/// What a read left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// There may be more.
    Full,
    /// Nothing: the kernel tells when there is more.
    Drained,
    /// The stream ended.
    End,
}

/// Turns chunks of a stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buf: BytesMut,
}

impl Decoder {
    /// Read once from a socket. A read that does not fill its room has drained a stream (epoll(7)), so nobody asks again in vain.
    pub(crate) fn read(&mut self, socket: impl AsFd) -> io::Result<Read> {
        if self.buf.capacity() - self.buf.len() < MIN_SPARE {
            self.buf.reserve(CHUNK);
        }
        let room = self.buf.capacity() - self.buf.len();
        match sys::read_spare(socket, &mut self.buf) {
            Ok(0) => Ok(Read::End),
            Ok(count) if count < room => Ok(Read::Drained),
            Ok(_) => Ok(Read::Full),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Read::Drained),
            Err(error) => Err(error),
        }
    }

    /// More bytes of the stream.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// The next whole frame, if its last byte came already.
    ///
    /// # Errors
    /// The next length is impossible. Every later call says so again.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, LengthError> {
        let Some(prefix) = self.buf.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes(*prefix);
        let length = usize::try_from(announced)
            .ok()
            .filter(|length| (MIN_FRAME..=MAX_FRAME).contains(length))
            .ok_or(LengthError { length: announced })?;
        if self.buf.len() < PREFIX + length {
            self.buf.reserve(PREFIX + length - self.buf.len());
            return Ok(None);
        }
        self.buf.advance(PREFIX);
        Ok(Some(self.buf.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for frame in frames {
            stream.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_be_bytes());
            stream.extend_from_slice(frame);
        }
        stream
    }

    fn decode(decoder: &mut Decoder, chunk: &[u8], frames: &mut Vec<Vec<u8>>) -> Result<(), LengthError> {
        decoder.extend(chunk);
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame.to_vec());
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), MIN_FRAME..3000), 1..8),
            cuts in proptest::collection::vec(1_usize..5000, 1..40),
        ) {
            let stream = encode(&frames);
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
                decode(&mut decoder, chunk, &mut got).expect("every length is possible");
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn no_stream_makes_it_panic_or_grow_without_bound(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..50),
        ) {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for chunk in chunks {
                if decode(&mut decoder, &chunk, &mut got).is_err() {
                    break;
                }
                prop_assert!(decoder.buf.capacity() <= CHUNK + 2 * MAX_FRAME);
            }
        }
    }

    #[test]
    fn impossible_lengths_are_refused_again_and_again() {
        for length in [0, 13, 69_633, u32::MAX] {
            let mut decoder = Decoder::default();
            decoder.extend(&length.to_be_bytes());
            assert_eq!(decoder.next_frame(), Err(LengthError { length }));
            decoder.extend(&[0; 100]);
            assert_eq!(decoder.next_frame(), Err(LengthError { length }));
        }
    }

    #[test]
    fn frames_before_an_impossible_length_are_not_lost() {
        let mut decoder = Decoder::default();
        decoder.extend(&encode(&[vec![7; 60]]));
        decoder.extend(&[0; 4]);
        assert_eq!(decoder.next_frame().unwrap().unwrap(), vec![7; 60]);
        assert_eq!(decoder.next_frame(), Err(LengthError { length: 0 }));
    }

    #[test]
    fn the_longest_and_the_shortest_frame_pass() {
        let frames = [vec![1; MAX_FRAME], vec![2; MIN_FRAME]];
        let mut got = Vec::new();
        decode(&mut Decoder::default(), &encode(&frames), &mut got).unwrap();
        assert_eq!(got, frames);
    }

    #[test]
    fn frames_of_one_read_share_its_buffer() {
        let mut decoder = Decoder::default();
        decoder.extend(&encode(&[vec![1; 60], vec![2; 60]]));
        let first = decoder.next_frame().unwrap().unwrap();
        let second = decoder.next_frame().unwrap().unwrap();
        assert_eq!(first.as_ptr().wrapping_add(60 + PREFIX), second.as_ptr());
    }
}
