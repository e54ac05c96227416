//! The Internet checksum (RFC 1071) over 32-bit words in the machine's own byte order: the sum does not depend on the
//! order as long as the result is stored in the same (section 2B).

/// The one's complement sum of `data`, not folded. All but the last part of a whole must be of even length.
pub(super) fn sum(data: &[u8]) -> u64 {
    let (chunks, rest) = data.as_chunks::<64>();
    let mut lanes = [0_u64; 16];
    for chunk in chunks {
        let (words, _) = chunk.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    lanes.iter().sum::<u64>() + short_sum(rest)
}

/// The same, for few bytes.
fn short_sum(data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<2>();
    let even: u64 = words
        .iter()
        .map(|word| u64::from(u16::from_ne_bytes(*word)))
        .sum();
    match rest {
        [last] => even + u64::from(u16::from_ne_bytes([*last, 0])),
        _ => even,
    }
}

/// A sum folded to 16 bits, not complemented.
pub(super) fn fold(mut sum: u64) -> u16 {
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    for _ in 0..3 {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // Three rounds leave at most 16 bits of what 33 bits can hold.
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// One 16-bit number as it lies in a packet, as part of a sum.
pub(super) fn word(number: u16) -> u64 {
    u64::from(u16::from_ne_bytes(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{fold, sum, word};

    /// RFC 1071, section 4.1, byte by byte.
    fn plain(data: &[u8]) -> u16 {
        let mut total = 0_u32;
        for pair in data.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            total += u32::from(u16::from_be_bytes([pair[0], low]));
        }
        while total > 0xffff {
            total = (total >> 16) + (total & 0xffff);
        }
        u16::try_from(total).unwrap()
    }

    #[test]
    fn any_length_sums_to_what_the_plain_way_sums_to() {
        let data: Vec<u8> = (0..3001_u32)
            .map(|i| u8::try_from((i * 193 + 7) % 256).unwrap())
            .collect();
        for length in [0, 1, 2, 3, 31, 63, 64, 65, 127, 128, 1459, 1460, 2999, 3001] {
            let fast = u16::from_be_bytes(fold(sum(&data[..length])).to_ne_bytes());
            assert_eq!(fast, plain(&data[..length]), "{length} bytes");
        }
    }

    #[test]
    fn carries_of_many_ones_are_folded_in() {
        assert_eq!(fold(sum(&[0xff; 65536])), 0xffff);
        assert_eq!(fold(u64::MAX), 0xffff);
    }

    #[test]
    fn a_word_counts_as_its_bytes_do() {
        assert_eq!(word(0x1234), sum(&[0x12, 0x34]));
    }
}
