//! Randomness and keyed hashing, both from the seed.

use std::hash::{BuildHasher, Hasher};

use siphasher::sip::SipHasher13;

/// A keyed hash: guests choose table keys, so they must not be able to choose collisions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedHash {
    key: (u64, u64),
}

impl KeyedHash {
    /// A hash of its own for a part that has a seed of its own.
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(seed);
        let low = u64::try_from(key & u128::from(u64::MAX)).unwrap_or(0);
        let high = u64::try_from(key >> 64).unwrap_or(0);
        Self { key: (low, high) }
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.key.0, self.key.1)
    }
}

/// A stream of numbers that nobody without the seed can foresee: SipHash of a counter.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    key: (u64, u64),
    hash: KeyedHash,
    counter: u64,
}

impl Rng {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let [a, b, c, d] = words(&seed);
        Self {
            key: (a, b),
            hash: KeyedHash { key: (c, d) },
            counter: 0,
        }
    }

    /// The hash for tables and sequence numbers.
    pub(crate) fn keyed_hash(&self) -> KeyedHash {
        self.hash
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.counter += 1;
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        hasher.write_u64(self.counter);
        hasher.finish()
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u16) -> u16 {
        u16::try_from(self.next_u64() % u64::from(bound)).expect("a remainder is below its divisor")
    }

    /// A seed for a part that keeps its own stream.
    pub(crate) fn fork(&mut self) -> [u8; 16] {
        let mut seed = [0; 16];
        for chunk in seed.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes());
        }
        seed
    }
}

fn words(seed: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(seed.chunks_exact(8)) {
        *word = chunk
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    }
    words
}
