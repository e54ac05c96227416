//! What programs send and receive: streams whose every byte follows from a seed and its place, so that a gigabyte is held by
//! nobody and each byte can be checked wherever it turns up.

use sha2::{Digest, Sha256};

/// A stream of so many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    seed: u64,
    len: u64,
}

impl Stream {
    /// The first `len` bytes of this seed's stream.
    #[must_use]
    pub fn new(seed: u64, len: u64) -> Self {
        Self { seed, len }
    }

    /// Bytes in all.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Splitmix64 in counter mode.
    fn word(&self, index: u64) -> [u8; 8] {
        let counter = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed.wrapping_add(counter);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }

    /// Write the bytes from `position` on.
    pub fn fill(&self, position: u64, bytes: &mut [u8]) {
        let skip = usize::try_from(position % 8).unwrap_or(0);
        let head = ((8 - skip) % 8).min(bytes.len());
        let mut index = position / 8;
        let (first, rest) = bytes.split_at_mut(head);
        if head > 0 {
            first.copy_from_slice(&self.word(index)[skip..skip + head]);
            index += 1;
        }
        for chunk in rest.chunks_mut(8) {
            chunk.copy_from_slice(&self.word(index)[..chunk.len()]);
            index += 1;
        }
    }

    /// Where `bytes` first differ from what lies at `position`, if they do or if the stream ends before them.
    #[must_use]
    pub fn first_difference(&self, position: u64, bytes: &[u8]) -> Option<u64> {
        let mut expected = [0; 1024];
        let mut at = position;
        for chunk in bytes.chunks(expected.len()) {
            let expected = &mut expected[..chunk.len()];
            self.fill(at, expected);
            if chunk != expected {
                let same = chunk.iter().zip(expected).take_while(|(a, b)| *a == *b);
                return Some(at + same.count() as u64);
            }
            at += chunk.len() as u64;
        }
        (at > self.len && !bytes.is_empty()).then_some(self.len)
    }

    /// SHA-256 of the whole.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut sha = Sha256::new();
        let mut chunk = vec![0; 64 * 1024];
        let mut at = 0;
        while at < self.len {
            let len = usize::try_from(self.len - at)
                .unwrap_or(usize::MAX)
                .min(chunk.len());
            self.fill(at, &mut chunk[..len]);
            sha.update(&chunk[..len]);
            at += len as u64;
        }
        sha.finalize().into()
    }
}

/// The end of a stream: takes its bytes in order.
#[derive(Clone, Debug)]
pub struct Sink {
    expected: Stream,
    position: u64,
    sha: Sha256,
}

impl Sink {
    /// The end of this stream.
    #[must_use]
    pub fn new(expected: Stream) -> Self {
        Self {
            expected,
            position: 0,
            sha: Sha256::new(),
        }
    }

    /// The next bytes.
    ///
    /// # Panics
    /// When they are not the stream's.
    pub fn push(&mut self, bytes: &[u8]) {
        if let Some(at) = self.expected.first_difference(self.position, bytes) {
            panic!("byte {at} of {:?} arrived wrong", self.expected);
        }
        self.sha.update(bytes);
        self.position += bytes.len() as u64;
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.position
    }

    /// Whether nothing came yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.position == 0
    }

    /// Whether all came.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.position == self.expected.len()
    }

    /// SHA-256 of what came.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.sha.clone().finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_byte_is_the_same_wherever_a_read_begins(seed: u64, from in 0u64..5000, len in 0usize..3000) {
            let stream = Stream::new(seed, 8000);
            let mut whole = vec![0; 8000];
            stream.fill(0, &mut whole);
            let mut part = vec![0; len];
            stream.fill(from, &mut part);
            let from_there = usize::try_from(from).unwrap();
            prop_assert_eq!(&part[..], &whole[from_there..from_there + len]);
            prop_assert_eq!(stream.first_difference(from, &part), None);
            if let Some(last) = part.last_mut() {
                *last ^= 1;
                prop_assert_eq!(stream.first_difference(from, &part), Some(from + len as u64 - 1));
            }
        }
    }

    #[test]
    fn bytes_after_the_end_differ() {
        let stream = Stream::new(1, 10);
        let mut bytes = [0; 12];
        stream.fill(0, &mut bytes);
        assert_eq!(stream.first_difference(0, &bytes), Some(10));
        assert_eq!(stream.first_difference(0, &bytes[..10]), None);
    }

    #[test]
    fn the_digest_at_both_ends_is_one() {
        let stream = Stream::new(7, 100_001);
        let mut bytes = vec![0; 100_001];
        stream.fill(0, &mut bytes);
        let mut sink = Sink::new(stream);
        bytes.chunks(777).for_each(|chunk| sink.push(chunk));
        assert_eq!(sink.digest(), stream.digest());
    }
}
