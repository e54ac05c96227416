//! DNS messages in a TCP stream: each with its length in two octets before it (RFC 1035 section 4.2.2).
//!
//! A guest's questions are short. A message longer than [`MESSAGE_MAX`], an empty one, or more bytes waiting than
//! [`BUFFER_MAX`] end the connection, so a connection never costs more memory than that.

use bytes::{Buf, Bytes, BytesMut};

/// The longest question taken, in bytes; a question with every option in use stays under 1 KiB.
const MESSAGE_MAX: usize = 4096;
/// Bytes that may wait when nobody takes the messages.
const BUFFER_MAX: usize = 64 << 10;

/// Cuts one direction of a connection into messages.
#[derive(Debug, Default)]
pub(crate) struct TcpFraming {
    buffer: BytesMut,
}

/// The stream is not DNS, or too much of it: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FramingError {
    /// A message of a length that no question has.
    #[error("a DNS message of {0} bytes")]
    Length(usize),
    /// More questions at once than a client has.
    #[error("more than {BUFFER_MAX} bytes of DNS questions at once")]
    Flooded,
}

impl TcpFraming {
    /// Nothing received.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Bytes came.
    pub(crate) fn handle_data(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        if self.buffer.len().saturating_add(bytes.len()) > BUFFER_MAX {
            return Err(FramingError::Flooded);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole message.
    pub(crate) fn poll_message(&mut self) -> Result<Option<Bytes>, FramingError> {
        let Some(&prefix) = self.buffer.first_chunk::<2>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(prefix));
        if length == 0 || length > MESSAGE_MAX {
            return Err(FramingError::Length(length));
        }
        if self.buffer.len() - prefix.len() < length {
            return Ok(None);
        }
        self.buffer.advance(prefix.len());
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// A message with its length before it; `None` for one that is too long for a DNS message.
    pub(crate) fn frame(message: &[u8]) -> Option<Vec<u8>> {
        let length = u16::try_from(message.len()).ok()?;
        Some([&length.to_be_bytes(), message].concat())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_that_no_question_has_ends_the_connection() {
        for length in [0u16, 4097, 65535] {
            let mut framing = TcpFraming::new();
            framing.handle_data(&length.to_be_bytes()).unwrap();
            assert_eq!(
                framing.poll_message(),
                Err(FramingError::Length(usize::from(length)))
            );
        }
    }

    #[test]
    fn a_client_that_floods_is_cut_off() {
        let mut framing = TcpFraming::new();
        framing.handle_data(&[0; BUFFER_MAX]).unwrap();
        assert_eq!(framing.handle_data(&[0]), Err(FramingError::Flooded));
    }

    #[test]
    fn what_is_longer_than_a_length_can_say_is_not_framed() {
        assert_eq!(TcpFraming::frame(&[0; 65536]), None);
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_wherever_the_stream_is_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..8),
            cut in 1usize..64,
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|m| TcpFraming::frame(m).unwrap()).collect();
            let mut framing = TcpFraming::new();
            let mut out = Vec::new();
            for piece in stream.chunks(cut) {
                framing.handle_data(piece).unwrap();
                while let Some(message) = framing.poll_message().unwrap() {
                    out.push(message.to_vec());
                }
            }
            prop_assert_eq!(out, messages);
        }
    }
}
