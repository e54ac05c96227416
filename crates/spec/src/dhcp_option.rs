//! A DHCP option of the user's choice: its code or name, and what it says.
//!
//! A code that has a type of its own takes plain words (`66: tftp.example`, `ntp-servers: 10.77.0.9`); any code takes a value that says
//! its type (`224: "u16:7"`), which is needed where the code has none. Several values of one type stand with commas between them.
//! `off` means that guests are not told at all, also not what they are told by default.
//!
//! What the protocol itself needs, and what would contradict the network's other keys, is refused with the key to use instead.

mod table;
mod value;

use std::fmt;

use crate::text::{Hint, nearest};
use table::{Entry, Taken};
use value::Type;

/// The data of an option as it goes over the wire; `None` where guests are not told.
pub type OptionData = Option<Vec<u8>>;

/// Which DHCP an option is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DhcpVersion {
    /// DHCP for IPv4 (RFC 2132).
    V4,
    /// DHCP for IPv6 (RFC 8415).
    V6,
}

impl DhcpVersion {
    /// The option's name in atoll.yaml.
    const fn word(self) -> &'static str {
        match self {
            Self::V4 => "DHCP option",
            Self::V6 => "DHCPv6 option",
        }
    }

    const fn last_code(self) -> u16 {
        match self {
            Self::V4 => 254,
            Self::V6 => u16::MAX,
        }
    }

    /// The longest data: what a length can say, or what fits a message beside all else.
    const fn longest(self) -> usize {
        match self {
            Self::V4 => 255,
            Self::V6 => 512,
        }
    }

    fn entries(self) -> &'static [Entry] {
        match self {
            Self::V4 => table::V4,
            Self::V6 => table::V6,
        }
    }

    fn taken(self) -> &'static [Taken] {
        match self {
            Self::V4 => table::TAKEN4,
            Self::V6 => table::TAKEN6,
        }
    }
}

/// Which option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionCode {
    version: DhcpVersion,
    code: u16,
}

impl OptionCode {
    /// Reads a number, or one of the names that are known.
    ///
    /// # Errors
    /// There is no such option, or it is not for users to choose.
    pub fn read(version: DhcpVersion, text: &str) -> Result<Self, OptionError> {
        let numbered = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
        let code = if numbered {
            let read = text.parse().ok();
            read.filter(|code| (1..=version.last_code()).contains(code))
        } else {
            let named = |entry: &&Entry| entry.name == text;
            version.entries().iter().find(named).map(|entry| entry.code)
        };
        let taken = |code: u16| version.taken().iter().find(|taken| taken.code == code);
        let taken_name = || version.taken().iter().find(|taken| taken.name == text);
        let refused = code.map_or_else(taken_name, taken);
        match (refused, code) {
            (Some(taken), _) => Err(OptionError::Taken { version, taken }),
            (None, Some(code)) => Ok(Self { version, code }),
            (None, None) => {
                let text = text.to_owned();
                Err(OptionError::Unknown { version, text })
            }
        }
    }

    /// Which DHCP it is of.
    pub fn version(self) -> DhcpVersion {
        self.version
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.code
    }

    /// Reads what the option is to say.
    ///
    /// # Errors
    /// It is not of the option's type.
    pub fn value(self, text: &str) -> Result<OptionData, OptionError> {
        if text == "off" {
            return Ok(None);
        }
        let known = self
            .version
            .entries()
            .iter()
            .find(|entry| entry.code == self.code);
        let (kind, words) = match (value::split(text), known) {
            (Some(typed), _) => typed,
            (None, Some(entry)) => (entry.kind, text),
            (None, None) => return Err(OptionError::Untyped { code: self }),
        };
        let data = value::encode(kind, words, self.version).map_err(|what| OptionError::Value {
            code: self,
            kind,
            text: what,
        })?;
        if data.len() > self.version.longest() {
            return Err(OptionError::Long {
                code: self,
                len: data.len(),
            });
        }
        Ok(Some(data))
    }
}

impl fmt::Display for OptionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version.word(), self.code)
    }
}

/// Why an option cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is none of this number or name.
    #[error("there is no {} {text:?}", version.word())]
    Unknown {
        /// Which DHCP.
        version: DhcpVersion,
        /// What was written.
        text: String,
    },
    /// It is not for users to choose.
    #[error("{} {} ({}) is not for you to choose: {}", version.word(), taken.code, taken.name, taken.why)]
    Taken {
        /// Which DHCP.
        version: DhcpVersion,
        /// Which option.
        taken: &'static Taken,
    },
    /// Its type is not known.
    #[error("nothing is known of what {code} holds")]
    Untyped {
        /// Which option.
        code: OptionCode,
    },
    /// It is of another type.
    #[error("{code} holds {}, not {text:?}", kind.expected())]
    Value {
        /// Which option.
        code: OptionCode,
        /// Its type.
        kind: Type,
        /// What does not fit.
        text: String,
    },
    /// It is too long.
    #[error("{code} holds {} bytes at most, not {len}", code.version.longest())]
    Long {
        /// Which option.
        code: OptionCode,
        /// Bytes of what was written.
        len: usize,
    },
}

impl OptionError {
    /// Whether the code is wrong, and not the value.
    pub fn is_of_code(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Taken { .. })
    }
}

impl Hint for OptionError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { version, text } => {
                let names = version.entries().iter().map(|entry| entry.name);
                match nearest(text, names) {
                    Some(name) => format!("did you mean {name:?}?"),
                    None => format!(
                        "write a number from 1 to {}, or a name such as {}",
                        version.last_code(),
                        version.entries()[0].name
                    ),
                }
            }
            Self::Taken { taken, .. } => taken.hint.to_owned(),
            Self::Untyped { .. } => {
                "put the type before the value, as in text:WORDS, hex:01ff, ip:ADDRESS, u8:1, u16:1, u32:1 or domain:NAME"
                    .to_owned()
            }
            Self::Value { kind, .. } => format!("write {}", kind.example()),
            Self::Long { .. } => "make it shorter".to_owned(),
        })
    }
}
