//! What one guest may do: `bandwidth=100M,flows=1000`.
//!
//! | word | what |
//! |---|---|
//! | `bandwidth` | bits a second, each way |
//! | `upload`, `download` | bits a second from the guest, to the guest |
//! | `packets` | packets a second from the guest |
//! | `flows` | flows at a time |
//! | `new-flows` | flows begun in a second |
//!
//! A number may end in k, M or G, which are powers of 1000 as always with rates.

use std::fmt;
use std::str::FromStr;

use crate::text::{Hint, text_type};

/// Units from the largest.
const UNITS: [(char, u64); 3] = [('G', 1_000_000_000), ('M', 1_000_000), ('k', 1_000)];

/// A number, or so many in a second: `100M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity(u64);

/// What one guest may do; `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct GuestLimits {
    /// Bits a second from the guest.
    pub upload: Option<Quantity>,
    /// Bits a second to the guest.
    pub download: Option<Quantity>,
    /// Packets a second from the guest.
    pub packets: Option<Quantity>,
    /// Flows at a time.
    pub flows: Option<Quantity>,
    /// Flows begun in a second.
    pub new_flows: Option<Quantity>,
}

/// Why a text is no list of limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum LimitsError {
    #[error("{0:?} is no limit")]
    Syntax(String),
    #[error("{0:?} cannot be limited")]
    Unknown(String),
    #[error("{0:?} is limited twice")]
    Twice(&'static str),
    #[error("{0:?} is no quantity")]
    Quantity(String),
    #[error("a limit of zero is none that a guest could live with")]
    Zero,
    #[error("{0:?} is more than can be counted")]
    TooLarge(String),
}

impl Hint for LimitsError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax(_) => "write NAME=QUANTITY, as in bandwidth=100M,flows=1000".to_owned(),
            Self::Unknown(_) => {
                "what can be is bandwidth, upload, download, packets, flows and new-flows".to_owned()
            }
            Self::Twice(_) => "give each once; bandwidth is upload and download".to_owned(),
            Self::Quantity(_) | Self::TooLarge(_) => {
                "write a whole number, with k, M or G for thousands, millions and billions: 100M".to_owned()
            }
            Self::Zero => "use internal networks or rules to forbid".to_owned(),
        })
    }
}

impl Quantity {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Quantity {
    type Err = LimitsError;

    fn from_str(text: &str) -> Result<Self, LimitsError> {
        let unit = UNITS.iter().find(|(unit, _)| text.ends_with(*unit));
        let (digits, factor) = unit.map_or((text, 1), |(unit, factor)| {
            (text.strip_suffix(*unit).unwrap_or(text), *factor)
        });
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(LimitsError::Quantity(text.to_owned()));
        }
        let number = digits.parse::<u64>().ok();
        match number.and_then(|number| number.checked_mul(factor)) {
            Some(0) => Err(LimitsError::Zero),
            Some(number) => Ok(Self(number)),
            None => Err(LimitsError::TooLarge(text.to_owned())),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, factor)| self.0.is_multiple_of(*factor));
        match unit {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => self.0.fmt(f),
        }
    }
}

impl GuestLimits {
    /// These, and those of `others` that are missing here.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            upload: self.upload.or(others.upload),
            download: self.download.or(others.download),
            packets: self.packets.or(others.packets),
            flows: self.flows.or(others.flows),
            new_flows: self.new_flows.or(others.new_flows),
        }
    }

    /// Limit one thing. `bandwidth` is two.
    ///
    /// # Errors
    /// There is no such limit, or it was set before.
    pub fn set(&mut self, word: &str, quantity: Quantity) -> Result<(), LimitsError> {
        match word {
            "bandwidth" => {
                once(&mut self.upload, quantity, "upload")?;
                once(&mut self.download, quantity, "download")
            }
            "upload" => once(&mut self.upload, quantity, "upload"),
            "download" => once(&mut self.download, quantity, "download"),
            "packets" => once(&mut self.packets, quantity, "packets"),
            "flows" => once(&mut self.flows, quantity, "flows"),
            "new-flows" => once(&mut self.new_flows, quantity, "new-flows"),
            _ => Err(LimitsError::Unknown(word.to_owned())),
        }
    }
}

fn once(limit: &mut Option<Quantity>, quantity: Quantity, word: &'static str) -> Result<(), LimitsError> {
    match limit.replace(quantity) {
        None => Ok(()),
        Some(_) => Err(LimitsError::Twice(word)),
    }
}

impl FromStr for GuestLimits {
    type Err = LimitsError;

    fn from_str(text: &str) -> Result<Self, LimitsError> {
        let mut limits = Self::default();
        for part in text.split(',') {
            let pair = part.split_once('=');
            let (word, quantity) = pair.ok_or_else(|| LimitsError::Syntax(part.to_owned()))?;
            limits.set(word, quantity.parse()?)?;
        }
        Ok(limits)
    }
}

text_type!(
    Quantity,
    expected: "a quantity like 1000 or 100M",
    pattern: "^[0-9]+[kMG]?$",
    about: "A whole number, with k, M or G for powers of 1000."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named_once_each() {
        let limits: GuestLimits = "bandwidth=100M,flows=1k,new-flows=50".parse().unwrap();
        assert_eq!(limits.upload, limits.download);
        let quantities = [limits.upload, limits.flows, limits.new_flows];
        assert_eq!(
            quantities.map(|quantity| quantity.unwrap().get()),
            [100_000_000, 1000, 50]
        );
        assert_eq!(limits.packets, None);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, sentence) in [
            ("", "\"\" is no limit"),
            ("flows", "\"flows\" is no limit"),
            ("flow=1", "\"flow\" cannot be limited"),
            ("flows=1,flows=2", "\"flows\" is limited twice"),
            ("bandwidth=1M,upload=1M", "\"upload\" is limited twice"),
            ("flows=0", "a limit of zero is none that a guest could live with"),
            ("flows=-1", "\"-1\" is no quantity"),
            ("bandwidth=100m", "\"100m\" is no quantity"),
            (
                "bandwidth=99999999999G",
                "\"99999999999G\" is more than can be counted",
            ),
        ] {
            let error = text.parse::<GuestLimits>().unwrap_err();
            assert_eq!(error.to_string(), sentence);
        }
    }

    #[test]
    fn a_quantity_is_written_with_its_largest_unit() {
        for (text, written) in [("1000", "1k"), ("1500k", "1500k"), ("2000M", "2G"), ("7", "7")] {
            assert_eq!(text.parse::<Quantity>().unwrap().to_string(), written);
        }
    }
}
