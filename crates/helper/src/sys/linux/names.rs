//! Names of the links that are made here: `atoll`, a letter for the kind, and eight hexadecimal digits; 14 bytes.

use std::fmt;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::NetworkName;

const BEGIN: &str = "atoll";

/// A link of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Name(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bridge,
    Tap,
    Macvtap,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Self::Bridge => 'b',
            Self::Tap => 't',
            Self::Macvtap => 'm',
        }
    }
}

/// Random bytes of the kernel's.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // It fails only for too many bytes at once, or before the machine's first entropy, for which it waits.
    let _ = getrandom(&mut bytes[..], GetRandomFlags::empty());
    bytes
}

impl Name {
    pub(super) fn new(kind: Kind) -> Self {
        let number = u32::from_ne_bytes(random());
        Self(format!("{BEGIN}{}{number:08x}", kind.letter()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits, by which what belongs together is named.
    pub(super) fn digits(&self) -> &str {
        self.0.get(BEGIN.len() + 1..).unwrap_or_default()
    }

    pub(super) fn parse_macvtap(word: &str) -> Option<Self> {
        Self::parse(word).filter(|name| name.0.as_bytes().get(BEGIN.len()) == Some(&b'm'))
    }

    fn parse(word: &str) -> Option<Self> {
        let rest = word.strip_prefix(BEGIN)?;
        let digits = rest.strip_prefix(['b', 't', 'm'])?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (digits.len() == 8 && digits.bytes().all(is_digit)).then(|| Self(word.to_owned()))
    }
}

/// The host's own link to a network, which people see and name: `atoll-` and the beginning of the network's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct LinkName(String);

/// Bytes of an interface's name without its NUL (IFNAMSIZ).
const LONGEST: usize = 15;

impl LinkName {
    const BEGIN: &str = "atoll-";

    /// What it may be called, the best first: with a number where another network's name begins so.
    pub(super) fn candidates(network: &NetworkName) -> impl Iterator<Item = Self> {
        let cut = |most: usize| network.as_str().chars().take(most).collect::<String>();
        let room = LONGEST - Self::BEGIN.len();
        let whole = format!("{}{}", Self::BEGIN, cut(room));
        let counted = (2..=9).map(move |number| format!("{}{}-{number}", Self::BEGIN, cut(room - 2)));
        std::iter::once(whole).chain(counted).map(Self)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        let rest = word.strip_prefix(Self::BEGIN)?;
        let is_ours = word.len() <= LONGEST && rest.parse::<NetworkName>().is_ok();
        is_ours.then(|| Self(word.to_owned()))
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<LinkName> for String {
    fn from(name: LinkName) -> Self {
        name.0
    }
}

impl TryFrom<String> for LinkName {
    type Error = String;
    fn try_from(word: String) -> Result<Self, String> {
        Self::parse(&word).ok_or_else(|| format!("{word:?} is no link of ours"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;
    fn try_from(word: String) -> Result<Self, String> {
        Self::parse(&word).ok_or_else(|| format!("{word:?} is no link of ours"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_called_after_its_network_as_far_as_that_fits() {
        let names = |network: &str| -> Vec<String> {
            let network = network.parse().unwrap();
            LinkName::candidates(&network).map(String::from).collect()
        };
        assert_eq!(names("lan")[..2], ["atoll-lan", "atoll-lan-2"]);
        assert_eq!(
            names("a-long-network")[..2],
            ["atoll-a-long-ne", "atoll-a-long--2"]
        );
        for name in names("a-long-network") {
            let _ = LinkName::try_from(name).unwrap();
        }
        for word in [
            "atoll-",
            "atoll-a/b",
            "atoll-0123456789",
            "atollt01234567",
            "eth0",
        ] {
            assert_eq!(LinkName::parse(word), None, "{word}");
        }
    }

    #[test]
    fn a_name_fits_an_interface_and_is_known_again() {
        for kind in [Kind::Bridge, Kind::Tap, Kind::Macvtap] {
            let name = Name::new(kind);
            assert!(name.as_str().len() <= 15);
            assert_eq!(Name::try_from(name.as_str().to_owned()), Ok(name.clone()));
            assert_eq!(
                Name::parse_macvtap(name.as_str()).is_some(),
                kind == Kind::Macvtap
            );
        }
        for word in [
            "atollm",
            "atollm0123456",
            "atollm0123456g",
            "../lm01234567",
            "atollm012345678",
            "eth0",
        ] {
            assert_eq!(Name::parse_macvtap(word), None);
        }
    }
}
