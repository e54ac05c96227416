//! The code name of a Debian release, as it stands in package sources.

use std::fmt;
use std::str::FromStr;

/// A release's code name (`trixie`) or standing (`stable`, `testing`, `sid`); one word that is safe in a source's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release(String);

/// A word that can be no release's code name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no code name of a Debian release; write one like trixie")]
pub struct NotARelease(pub String);

impl Release {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether it is the one where packages arrive, which has neither updates nor security fixes beside it.
    pub(crate) fn is_rolling(&self) -> bool {
        matches!(self.name(), "sid" | "unstable")
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Release {
    type Err = NotARelease;

    fn from_str(word: &str) -> Result<Self, NotARelease> {
        let is_name = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
        if is_name {
            Ok(Self(word.to_owned()))
        } else {
            Err(NotARelease(word.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_one_word_of_small_letters() {
        assert_eq!("trixie".parse::<Release>().unwrap().name(), "trixie");
        for word in ["", "13", "trixie-updates", "Trixie", "trixie main", "../x"] {
            word.parse::<Release>().unwrap_err();
        }
    }
}
