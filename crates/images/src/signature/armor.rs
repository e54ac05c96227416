//! ASCII armour taken off keys (RFC 9580, section 6.2): `gpgv` reads keyrings in binary only, vendors publish both.
//!
//! The checksum at an armour's end is not looked at (section 6.1 has it optional, and says to go on): a key that was damaged
//! verifies nothing.

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The keys of one or more armoured blocks; `None` when there is none, or one is not whole.
#[must_use]
pub fn dearmored(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut keys = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let (body, _) = block.split_once(END)?;
        let lines = body.lines().map(str::trim).skip(1);
        // Headers like `Comment: x` end with an empty line; where there are none, that line may be missing.
        let data = lines
            .skip_while(|line| line.contains(": "))
            .filter(|line| !line.is_empty());
        for line in data.take_while(|line| !line.starts_with('=')) {
            keys.extend(decoded(line)?);
        }
    }
    (!keys.is_empty()).then_some(keys)
}

/// Of one line of base64 (RFC 4648, section 4), whose length is a multiple of four.
fn decoded(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for group in line.as_bytes().chunks(4) {
        let padding = group.iter().rev().take_while(|byte| **byte == b'=').count();
        if group.len() != 4 || padding > 2 {
            return None;
        }
        let word = group
            .iter()
            .take(4 - padding)
            .try_fold(0_u32, |word, byte| Some(word << 6 | digit(*byte)?))?;
        let word = word << (6 * padding);
        let [_, whole @ ..] = word.to_be_bytes();
        bytes.extend(whole.iter().take(3 - padding));
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}
