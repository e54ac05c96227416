//! What an option holds, from words to bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::DhcpVersion;
use crate::name::Domain;

/// What an option holds. All but text and bytes may be several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Words as they are, without a NUL at their end.
    Text,
    /// Bytes.
    Hex,
    /// Addresses of the option's family.
    Ip,
    /// Numbers of 8 bits.
    U8,
    /// Numbers of 16 bits.
    U16,
    /// Numbers of 32 bits.
    U32,
    /// Numbers of 32 bits, perhaps negative.
    I32,
    /// Domain names as DNS writes them (RFC 1035, 3.1), uncompressed.
    Domain,
}

const WORDS: &[(&str, Type)] = &[
    ("text", Type::Text),
    ("hex", Type::Hex),
    ("ip", Type::Ip),
    ("u8", Type::U8),
    ("u16", Type::U16),
    ("u32", Type::U32),
    ("i32", Type::I32),
    ("domain", Type::Domain),
];

impl Type {
    /// What the value must be.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Hex => "bytes",
            Self::Ip => "IP addresses",
            Self::U8 => "numbers up to 255",
            Self::U16 => "numbers up to 65535",
            Self::U32 => "numbers up to 4294967295",
            Self::I32 => "numbers of 32 bits",
            Self::Domain => "domain names",
        }
    }

    /// One that would be taken.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Text => "words, as in text:boot.example",
            Self::Hex => "pairs of hexadecimal digits, as in hex:01:0a:ff",
            Self::Ip => {
                "addresses of the option's family with commas between them, as in 10.77.0.9,10.77.0.10 or fd00::9"
            }
            Self::U8 | Self::U16 | Self::U32 => "a number, or several with commas between them",
            Self::I32 => "a number such as -3600",
            Self::Domain => "names with commas between them, as in lab.example,example.org",
        }
    }
}

/// The type that a value says, and the rest.
pub(super) fn split(text: &str) -> Option<(Type, &str)> {
    let (word, rest) = text.split_once(':')?;
    let (_, kind) = WORDS.iter().find(|(known, _)| *known == word)?;
    Some((*kind, rest))
}

/// The bytes of a value, or the part of it that does not fit.
pub(super) fn encode(kind: Type, text: &str, version: DhcpVersion) -> Result<Vec<u8>, String> {
    let each = |one: &dyn Fn(&str) -> Option<Vec<u8>>| {
        let parts = text.split(',').map(str::trim);
        let encoded: Result<Vec<Vec<u8>>, String> = parts
            .map(|part| one(part).ok_or_else(|| part.to_owned()))
            .collect();
        encoded.map(|parts| parts.concat())
    };
    match kind {
        Type::Text if text.is_empty() || text.contains('\0') => Err(text.to_owned()),
        Type::Text => Ok(text.as_bytes().to_vec()),
        Type::Hex => bytes(text).ok_or_else(|| text.to_owned()),
        Type::Ip => each(&|part| address(part, version)),
        Type::U8 => each(&|part| Some(vec![part.parse().ok()?])),
        Type::U16 => each(&|part| Some(part.parse::<u16>().ok()?.to_be_bytes().to_vec())),
        Type::U32 => each(&|part| Some(part.parse::<u32>().ok()?.to_be_bytes().to_vec())),
        Type::I32 => each(&|part| Some(part.parse::<i32>().ok()?.to_be_bytes().to_vec())),
        Type::Domain => each(&domain),
    }
}

/// Pairs of digits, with or without colons between them.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    let pair = |pair: &[u8; 2]| {
        let digit = |digit: u8| {
            char::from(digit)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        Some(digit(pair[0])? << 4 | digit(pair[1])?)
    };
    rest.is_empty().then(|| pairs.iter().map(pair).collect())?
}

fn address(text: &str, version: DhcpVersion) -> Option<Vec<u8>> {
    match version {
        DhcpVersion::V4 => Some(text.parse::<Ipv4Addr>().ok()?.octets().to_vec()),
        DhcpVersion::V6 => Some(text.parse::<Ipv6Addr>().ok()?.octets().to_vec()),
    }
}

fn domain(text: &str) -> Option<Vec<u8>> {
    let name: Domain = text.strip_suffix('.').unwrap_or(text).parse().ok()?;
    let mut bytes = Vec::new();
    for label in name.as_str().split('.') {
        bytes.push(u8::try_from(label.len()).ok()?);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    Some(bytes)
}
