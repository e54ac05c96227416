//! Sizes of memory and disks: a whole number and a binary unit.

use std::fmt;
use std::str::FromStr;

use crate::text::{Hint, text_type};

/// Units from the largest, with the power of two each stands for.
const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// A number of bytes, written `512M`, `2G` or `10GiB`; units are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum SizeError {
    #[error("{0:?} is no size")]
    Syntax(String),
    #[error("{0:?} has no unit")]
    NoUnit(String),
    #[error("{0:?} is too large")]
    TooLarge(String),
    #[error("a size cannot be zero")]
    Zero,
}

impl Hint for SizeError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoUnit(text) => format!("write \"{text}M\" for MiB or \"{text}G\" for GiB"),
            Self::Syntax(_) | Self::TooLarge(_) | Self::Zero => {
                "write a whole number and a unit: 512M, 2G, 10GiB".to_owned()
            }
        })
    }
}

impl ByteSize {
    /// That many MiB.
    pub const fn mebibytes(count: u32) -> Self {
        Self((count as u64) << 20)
    }

    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// The number of whole MiB, the unit of QEMU's `-m`.
    pub fn whole_mebibytes(self) -> u64 {
        self.0 >> 20
    }
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        if number.is_empty() {
            return Err(SizeError::Syntax(text.to_owned()));
        }
        if unit.is_empty() {
            return Err(SizeError::NoUnit(text.to_owned()));
        }
        let letter = unit.strip_suffix("iB").unwrap_or(unit).to_ascii_uppercase();
        let shift = UNITS
            .iter()
            .find(|(name, _)| letter == name.to_string())
            .map(|(_, shift)| *shift);
        let shift = shift.ok_or_else(|| SizeError::Syntax(text.to_owned()))?;
        let number: u64 = number.parse().map_err(|_| SizeError::TooLarge(text.to_owned()))?;
        match number.checked_mul(1 << shift) {
            Some(0) => Err(SizeError::Zero),
            // QEMU and qemu-img take sizes as signed 64-bit numbers.
            Some(bytes) if i64::try_from(bytes).is_ok() => Ok(Self(bytes)),
            _ => Err(SizeError::TooLarge(text.to_owned())),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, shift)| self.0.trailing_zeros() >= *shift) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

text_type!(
    ByteSize,
    expected: "a size like 2G or 512M",
    pattern: "^[0-9]+([KMGTkmgt]|[KMGTkmgt]iB)$",
    about: "A size in powers of 1024: 512M, 2G, 10GiB."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        assert_eq!("2G".parse::<ByteSize>().unwrap().bytes(), 2 << 30);
        assert_eq!("10GiB".parse::<ByteSize>().unwrap().to_string(), "10G");
        assert_eq!("512m".parse(), Ok(ByteSize::mebibytes(512)));
        assert_eq!("1536M".parse::<ByteSize>().unwrap().to_string(), "1536M");
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for wrong in [
            "",
            "G",
            "2",
            "0G",
            "2Q",
            "2GB",
            "1.5G",
            "-1G",
            "99999999999999999999G",
            "9999999T",
        ] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
