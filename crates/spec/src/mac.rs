//! Ethernet addresses of NICs.

use std::fmt;
use std::str::FromStr;

use crate::text::{Hint, text_type};

/// A unicast Ethernet address, written `52:54:00:12:34:56`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

/// Why a text is no NIC's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum MacError {
    #[error("{0:?} is no MAC address")]
    Syntax(String),
    #[error("{0:?} is a group address, which no NIC can have")]
    Group(String),
    #[error("{0:?} is the zero address, which no NIC can have")]
    Zero(String),
}

impl Hint for MacError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax(_) => "write six hexadecimal pairs like 52:54:00:12:34:56".to_owned(),
            Self::Group(_) | Self::Zero(_) => {
                "take one that begins with 52:54:00, QEMU's own prefix".to_owned()
            }
        })
    }
}

impl Mac {
    /// The address in QEMU's own prefix, `52:54:00`, with these last three octets.
    pub const fn qemu(low: [u8; 3]) -> Self {
        Self([0x52, 0x54, 0x00, low[0], low[1], low[2]])
    }

    /// The six octets, in the order of the wire.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut octets = [0; 6];
        let mut pairs = text.split(':');
        for octet in &mut octets {
            let pair = pairs
                .next()
                .filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
            let value = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
            *octet = value.ok_or_else(|| MacError::Syntax(text.to_owned()))?;
        }
        if pairs.next().is_some() {
            return Err(MacError::Syntax(text.to_owned()));
        }
        if octets == [0; 6] {
            return Err(MacError::Zero(text.to_owned()));
        }
        if octets[0] & 1 == 1 {
            return Err(MacError::Group(text.to_owned()));
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

text_type!(
    Mac,
    expected: "a MAC address like 52:54:00:12:34:56",
    pattern: "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$",
    about: "A unicast Ethernet address."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_case_is_read_and_lower_case_written() {
        assert_eq!(
            "52:54:00:AB:CD:EF".parse::<Mac>().unwrap().to_string(),
            "52:54:00:ab:cd:ef"
        );
    }

    #[test]
    fn what_no_nic_can_have_is_refused() {
        let wrong = [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:ef:00",
            "+5:54:00:ab:cd:ef",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ];
        for wrong in wrong {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }
}
