//! Bytes that are read before a socket's own: a request's head that a proxy wrote anew.
//!
//! They are peeked and discarded like what lies in the kernel behind them, and are gone, with their memory, when the guest has them.

use atoll_wire::FrameBuf;

use crate::tcp::PeekRequest;

/// What is left of them.
#[derive(Debug, Default)]
pub(crate) struct Prefix(Option<Box<[u8]>>, usize);

impl Prefix {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let bytes = Some(bytes.into_boxed_slice());
        Self(bytes.filter(|bytes| !bytes.is_empty()), 0)
    }

    fn rest(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |bytes| &bytes[self.1..])
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.rest().len()
    }

    /// What they have of what is asked for; `None` when that lies behind them.
    pub(crate) fn peek(&self, ask: PeekRequest) -> Option<Vec<FrameBuf>> {
        let offset = usize::try_from(ask.offset).ok()?;
        let rest = self.rest().get(offset..).filter(|rest| !rest.is_empty())?;
        let segments = rest.chunks(usize::from(ask.segment).max(1));
        Some(segments.take(ask.count.into()).map(FrameBuf::copy_from).collect())
    }

    /// Drop so many, of bytes that the guest has; how many of them were the socket's own.
    pub(crate) fn discard(&mut self, bytes: u32) -> u32 {
        let len = self.len();
        let wanted = usize::try_from(bytes).unwrap_or(usize::MAX);
        if wanted < len {
            self.1 += wanted;
            return 0;
        }
        *self = Self::default();
        u32::try_from(wanted - len).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(offset: u32, segment: u16, count: u16) -> PeekRequest {
        PeekRequest {
            offset,
            segment,
            count,
        }
    }

    fn peeked(prefix: &Prefix, ask: PeekRequest) -> Option<Vec<Vec<u8>>> {
        let segments = prefix.peek(ask)?;
        Some(
            segments
                .iter()
                .map(|segment| segment.payload().to_vec())
                .collect(),
        )
    }

    #[test]
    fn bytes_are_peeked_in_segments_and_dropped_before_the_sockets_own() {
        let mut prefix = Prefix::new(b"abcdefg".to_vec());
        assert_eq!(
            peeked(&prefix, ask(1, 4, 9)),
            Some(vec![b"bcde".to_vec(), b"fg".to_vec()])
        );
        assert_eq!(peeked(&prefix, ask(0, 2, 1)), Some(vec![b"ab".to_vec()]));
        assert_eq!(prefix.discard(3), 0);
        assert_eq!(peeked(&prefix, ask(0, 9, 1)), Some(vec![b"defg".to_vec()]));
        assert_eq!(peeked(&prefix, ask(4, 9, 1)), None, "behind it");
        assert_eq!(prefix.discard(6), 2);
        assert_eq!((prefix.len(), prefix.discard(5)), (0, 5));
        assert_eq!(peeked(&Prefix::new(Vec::new()), ask(0, 9, 1)), None);
    }
}
