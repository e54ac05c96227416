//! The Internet checksum (RFC 1071), fast: one's complement sums of 16-bit words.
//!
//! A sum does not depend on the width it is made with, nor, but for a swap at the end, on the order of bytes (RFC 1071, 2).
//! So the bytes are added as native 64-bit words, in lanes that do not wait for each other. A carry is worth one in any lane, so it
//! goes to the next lane, as processors do it at no cost (add with carry); the lanes are folded once at the end.

/// 64-bit words that are added side by side.
const LANES: usize = 4;
const BLOCK: usize = 8 * LANES;

/// Sum of `bytes` as big-endian 16-bit words, an odd byte at the end padded with zero; not complemented.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    let mut lanes = [0_u64; LANES];
    let mut last_carries = 0_u64;
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        let mut carry = false;
        for (lane, word) in lanes.iter_mut().zip(words) {
            let (sum, of_word) = lane.overflowing_add(u64::from_ne_bytes(*word));
            let (sum, of_carry) = sum.overflowing_add(u64::from(carry));
            *lane = sum;
            carry = of_word | of_carry;
        }
        last_carries += u64::from(carry);
    }
    lanes[0] = add(lanes[0], last_carries);
    let (words, tail) = rest.as_chunks::<8>();
    for word in words {
        lanes[0] = add(lanes[0], u64::from_ne_bytes(*word));
    }
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    lanes[1] = add(lanes[1], u64::from_ne_bytes(last));
    u16::from_be(fold(lanes.into_iter().fold(0, add)))
}

/// One's complement addition: the carry comes back.
fn add(sum: u64, word: u64) -> u64 {
    let (sum, carry) = sum.overflowing_add(word);
    sum.wrapping_add(u64::from(carry))
}

/// One's complement sum of sums.
#[must_use]
pub fn combine(sums: &[u16]) -> u16 {
    fold(sums.iter().map(|&sum| u64::from(sum)).sum())
}

/// Add the carries until 16 bits hold the sum.
#[inline]
pub(crate) fn fold(sum: u64) -> u16 {
    let [a, b, c, d] = [sum, sum >> 16, sum >> 32, sum >> 48].map(|part| part & 0xffff);
    let mut sum = a + b + c + d;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded to 16 bits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_word_by_word(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let words = bytes.chunks(2).map(|word| {
                u64::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]))
            });
            let mut expected: u64 = words.sum();
            while expected > 0xffff {
                expected = (expected & 0xffff) + (expected >> 16);
            }
            prop_assert_eq!(u64::from(sum(&bytes)), expected);
        }

        #[test]
        fn parts_of_even_length_combine(bytes in proptest::collection::vec(any::<u8>(), 0..600), cut in 0usize..300) {
            let (left, right) = bytes.split_at((2 * cut).min(bytes.len() & !1));
            prop_assert_eq!(combine(&[sum(left), sum(right)]), sum(&bytes));
        }
    }
}
