//! Lengths of time: `500ms`, `2s`, `5m`, `1h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::text::{Hint, text_type};

/// Units in milliseconds, from the largest.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A day and more is a mistake: whatever is waited for, somebody waits.
const MOST: u64 = 24 * 3_600_000;

/// A length of time, whole milliseconds, more than none and at most a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period(u64);

/// Why a text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum PeriodError {
    #[error("{0:?} is no length of time")]
    Syntax(String),
    #[error("{0:?} has no unit")]
    NoUnit(String),
    #[error("{0:?} is no time at all")]
    Zero(String),
    #[error("{0:?} is more than a day")]
    TooLong(String),
}

impl Hint for PeriodError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoUnit(digits) => format!("did you mean \"{digits}s\"?"),
            Self::Syntax(_) | Self::Zero(_) | Self::TooLong(_) => {
                "write a whole number with ms, s, m or h: 500ms, 2s, 5m".to_owned()
            }
        })
    }
}

impl Period {
    /// So many milliseconds; none at all is taken for one.
    pub const fn milliseconds(count: u64) -> Self {
        Self(if count == 0 { 1 } else { count })
    }

    /// As the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let owned = || text.to_owned();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PeriodError::Syntax(owned()));
        }
        let unit = &text[digits.len()..];
        if unit.is_empty() {
            return Err(PeriodError::NoUnit(owned()));
        }
        let known = UNITS.iter().find(|(word, _)| *word == unit);
        let (_, factor) = known.ok_or_else(|| PeriodError::Syntax(owned()))?;
        let number = digits.parse::<u64>().ok();
        match number.and_then(|number| number.checked_mul(*factor)) {
            Some(0) => Err(PeriodError::Zero(owned())),
            Some(count) if count <= MOST => Ok(Self(count)),
            _ => Err(PeriodError::TooLong(owned())),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, factor)| self.0.is_multiple_of(*factor));
        let (unit, factor) = unit.unwrap_or(&("ms", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

text_type!(
    Period,
    expected: "a length of time like 2s",
    pattern: "^[0-9]+(ms|s|m|h)$",
    about: "A length of time up to a day: a whole number with ms, s, m or h."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_written_with_its_largest_unit() {
        for (text, written) in [
            ("500ms", "500ms"),
            ("2000ms", "2s"),
            ("90s", "90s"),
            ("120s", "2m"),
            ("24h", "24h"),
        ] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), written);
        }
        assert_eq!(
            "5m".parse::<Period>().unwrap().duration(),
            Duration::from_secs(300)
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, sentence) in [
            ("", "\"\" is no length of time"),
            ("s", "\"s\" is no length of time"),
            ("-1s", "\"-1s\" is no length of time"),
            ("2 s", "\"2 s\" is no length of time"),
            ("2d", "\"2d\" is no length of time"),
            ("é2s", "\"é2s\" is no length of time"),
            ("30", "\"30\" has no unit"),
            ("0s", "\"0s\" is no time at all"),
            ("25h", "\"25h\" is more than a day"),
            (
                "99999999999999999999h",
                "\"99999999999999999999h\" is more than a day",
            ),
        ] {
            assert_eq!(text.parse::<Period>().unwrap_err().to_string(), sentence);
        }
        assert_eq!(
            "30".parse::<Period>().unwrap_err().hint().unwrap(),
            "did you mean \"30s\"?"
        );
    }
}
