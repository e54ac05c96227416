//! Digests, and the files in which vendors publish them.
//!
//! | vendor | file | line |
//! |---|---|---|
//! | Debian | `SHA512SUMS` | `HEX  NAME` |
//! | Ubuntu | `SHA256SUMS` | `HEX *NAME` |
//! | Fedora | `Fedora-Cloud-…-CHECKSUM` | `SHA256 (NAME) = HEX`, inside a clear-signed message |
//! | an OVA | `NAME.mf` | `SHA256(NAME)= HEX` |
//! | Alpine | `NAME.sha512` | `HEX  NAME`, or `HEX` alone |
//!
//! One reader takes them all: the algorithm follows from the digest's length.

use sha2::{Sha256, Sha512};
use std::fmt;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::str::FromStr;

/// The hash functions in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// 64 hexadecimal digits.
    Sha256,
    /// 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn of_length(digits: usize) -> Option<Self> {
        match digits {
            64 => Some(Self::Sha256),
            128 => Some(Self::Sha512),
            _ => None,
        }
    }
}

/// A digest in lower-case hexadecimal, written `sha256:…` or `sha512:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// Of a bare hexadecimal word; its length tells the algorithm.
    #[must_use]
    pub fn from_hex(word: &str) -> Option<Self> {
        let algorithm = Algorithm::of_length(word.len())?;
        let hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| Self {
            algorithm,
            hex: word.to_ascii_lowercase(),
        })
    }

    /// Of all that a reader yields.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn of(algorithm: Algorithm, reader: &mut dyn Read) -> io::Result<Self> {
        let hex = match algorithm {
            Algorithm::Sha256 => hash::<Sha256>(reader)?,
            Algorithm::Sha512 => hash::<Sha512>(reader)?,
        };
        Ok(Self { algorithm, hex })
    }

    /// The hash function.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn hash<H: sha2::Digest>(reader: &mut dyn Read) -> io::Result<String> {
    const CHUNK: usize = 1 << 16;
    let mut hasher = H::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match reader.read(&mut chunk)? {
            0 => break,
            read => hasher.update(chunk.get(..read).unwrap_or_default()),
        }
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl From<&atoll_spec::Checksum> for Digest {
    fn from(checksum: &atoll_spec::Checksum) -> Self {
        let (algorithm, hex) = match checksum {
            atoll_spec::Checksum::Sha256(hex) => (Algorithm::Sha256, hex.as_str()),
            atoll_spec::Checksum::Sha512(hex) => (Algorithm::Sha512, hex.as_str()),
        };
        Self {
            algorithm,
            hex: hex.to_owned(),
        }
    }
}

/// A word that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest (sha256: and 64, or sha512: and 128 hexadecimal digits)")]
pub struct NotADigest(pub String);

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let (algorithm, hex) = text
            .split_once(':')
            .map_or((None, text), |(name, hex)| (Some(name), hex));
        Self::from_hex(hex)
            .filter(|digest| algorithm.is_none_or(|name| name == digest.algorithm.name()))
            .ok_or_else(|| NotADigest(text.to_owned()))
    }
}

/// The digest of `name` in a checksum file; the strongest when there are several.
#[must_use]
pub fn find(sums: &str, name: &str) -> Option<Digest> {
    sums.lines()
        .filter_map(|line| digest_in(line.trim(), name))
        .max_by_key(|digest| digest.algorithm.name())
}

fn digest_in(line: &str, name: &str) -> Option<Digest> {
    // `SHA256 (NAME) = HEX` as BSD's tools write it, `SHA256(NAME)= HEX` in an OVA.
    if let Some((start, hex)) = line.rsplit_once(')')
        && let Some(hex) = hex.trim_start().strip_prefix('=')
    {
        let (_, named) = start.split_once('(')?;
        return Digest::from_hex(hex.trim()).filter(|_| named == name);
    }
    let mut words = line.split_whitespace();
    let digest = Digest::from_hex(words.next()?)?;
    let Some(named) = words.next() else {
        return Some(digest);
    };
    let named = named.strip_prefix('*').unwrap_or(named);
    let named = named.strip_prefix("./").unwrap_or(named);
    (named == name).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digit: char, length: usize) -> String {
        std::iter::repeat_n(digit, length).collect()
    }

    #[test]
    fn every_vendors_format_is_read() {
        let (a, b) = (hex('a', 64), hex('B', 128));
        let debian = format!("{b}  debian-13-generic-amd64.qcow2\n{b}  debian-13-generic-amd64.raw\n");
        let ubuntu = format!("{} *other.img\n{a} *ubuntu-24.04.img\n", hex('c', 64));
        let fedora = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# F.qcow2: 5 bytes\nSHA256 (F.qcow2) = {a}\n-----BEGIN PGP"
        );
        assert_eq!(
            find(&debian, "debian-13-generic-amd64.qcow2")
                .unwrap()
                .to_string(),
            format!("sha512:{}", hex('b', 128))
        );
        assert_eq!(
            find(&ubuntu, "ubuntu-24.04.img").unwrap().to_string(),
            format!("sha256:{a}")
        );
        assert_eq!(
            find(&fedora, "F.qcow2").unwrap().to_string(),
            format!("sha256:{a}")
        );
        assert!(find(&format!("{b}\n"), "anything").is_some());
        assert_eq!(find(&ubuntu, "absent.img"), None);
        assert_eq!(find("<html>not found</html>", "F.qcow2"), None);
    }

    #[test]
    fn a_digest_hashes_what_it_says() {
        let digest = Digest::of(Algorithm::Sha256, &mut b"abc".as_slice()).unwrap();
        let known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest, known.parse().unwrap());
        assert_eq!(digest.to_string(), known);
    }

    #[test]
    fn a_digest_of_the_wrong_length_is_refused() {
        let wrong = format!("sha512:{}", hex('a', 64));
        assert_eq!(wrong.parse::<Digest>(), Err(NotADigest(wrong)));
    }
}
