//! How a network meets the host's: its mode, the host's interface, the way onto it. The words are vmnet's.

use std::fmt;
use std::str::FromStr;

use crate::hardware::{UnknownWord, word_list};
use crate::text::{Hint, Text, text_type};

word_list!(
    /// What a network is to the host's own.
    #[derive(Default)]
    Mode, what: "network mode", expected: "a mode like bridged",
    {
        /// Apart: the gateway translates to sockets of the host's. No privilege is needed.
        #[default]
        User = "user",
        /// A part of the host's LAN, whose DHCP server gives the machines their addresses.
        Bridged = "bridged",
        /// Routed and translated by the host's kernel; the host reaches the machines at their addresses.
        Shared = "shared",
        /// As shared, without a way beyond the host.
        Host = "host",
    }
);

word_list!(
    /// How a bridged network gets onto the LAN.
    Via, what: "way onto a LAN", expected: "a way onto the LAN like macvtap",
    {
        /// The interface is a bridge already: one more port in it.
        Bridge = "bridge",
        /// A bridge is made over the interface, whose addresses and routes move to it as long as the network runs.
        NewBridge = "new-bridge",
        /// The interface takes the machines' MACs as well; the host itself does not see them.
        Macvtap = "macvtap",
        /// The interface keeps its only MAC, and the host answers for the machines: where a LAN drops foreign MACs.
        ProxyArp = "proxy-arp",
    }
);

impl Mode {
    /// Whether the host's kernel, and not the network itself, takes the machines' packets further.
    #[must_use]
    pub fn is_of_the_host(self) -> bool {
        self != Self::User
    }
}

/// The name of an interface of the host: what Linux and macOS take for one, 1 to 15 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName(String);

/// Why a text is no name of an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum InterfaceNameError {
    #[error("{0:?} is no name of an interface")]
    Characters(String),
    #[error("{0:?} is too long for the name of an interface")]
    Length(String),
}

impl Hint for InterfaceNameError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Characters(_) => {
                "interfaces have names like eth0, enp3s0 or br0; `ip link` lists them".to_owned()
            }
            Self::Length(_) => "at most 15 characters; `ip link` lists the host's interfaces".to_owned(),
        })
    }
}

impl InterfaceName {
    /// The bytes that `IFNAMSIZ` leaves for a name.
    const MAX: usize = 15;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, InterfaceNameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if text.is_empty() || matches!(text, "." | "..") || !text.bytes().all(allowed) {
            return Err(InterfaceNameError::Characters(text.to_owned()));
        }
        if text.len() > Self::MAX {
            return Err(InterfaceNameError::Length(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_type!(
    InterfaceName,
    expected: "the name of an interface like eth0",
    pattern: "^[A-Za-z0-9._-]{1,15}$",
    about: "An interface of the host."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_interfaces_are_what_the_kernel_takes() {
        for name in ["eth0", "enp3s0", "br-lan", "wlan0.100", "a", "abcdefghijklmno"] {
            assert_eq!(name.parse::<InterfaceName>().unwrap().to_string(), name);
        }
        for name in ["", ".", "..", "a/b", "eth 0", "é0", "abcdefghijklmnop"] {
            assert!(name.parse::<InterfaceName>().is_err(), "{name}");
        }
    }

    #[test]
    fn every_word_parses_to_its_choice() {
        for mode in Mode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(*mode));
        }
        for via in Via::ALL {
            assert_eq!(via.as_str().parse(), Ok(*via));
        }
    }
}
