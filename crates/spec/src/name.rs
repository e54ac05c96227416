//! Host names: one label ([`Name`]) and a dotted one ([`Domain`]), after RFC 1123 section 2.1.
//!
//! DNS compares names without case, so only lower case is taken: a name then has one spelling in files, sockets and URLs.

use std::fmt;
use std::str::FromStr;

use crate::text::{Hint, text_type};

/// The longest label of RFC 1035 section 2.3.4.
const LABEL_MAX: usize = 63;
/// The longest name that fits the 255 octets of its wire form (RFC 1035 section 2.3.4).
const DOMAIN_MAX: usize = 253;

/// One host name label: a machine, a network, the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// A dotted name such as `demo.internal`, without the final dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum NameError {
    #[error("a host name cannot be empty")]
    Empty,
    #[error("{0:?} is no host name: it has more than 63 characters between dots")]
    LabelTooLong(String),
    #[error("{0:?} is no host name: it has more than 253 characters")]
    TooLong(String),
    #[error("{name:?} is no host name: {found:?} is not allowed in it")]
    Character { name: String, found: char },
    #[error("{0:?} is no host name: it begins or ends with a hyphen")]
    Hyphen(String),
}

impl Hint for NameError {
    fn hint(&self) -> Option<String> {
        let usable = |name: &str| Name::from_lossy(name).map(|name| format!("use {:?}", name.as_str()));
        match self {
            Self::Empty => None,
            Self::LabelTooLong(_) | Self::TooLong(_) => Some("shorten it".to_owned()),
            Self::Character { name, .. } | Self::Hyphen(name) => usable(name),
        }
    }
}

impl Name {
    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The network of a cluster that names none.
    pub(crate) fn default_network() -> Self {
        Self("default".to_owned())
    }

    /// The cluster whose folder has no usable name.
    pub(crate) fn fallback() -> Self {
        Self("atoll".to_owned())
    }

    /// The nearest label to free text such as a folder's name; `None` when no letter or digit is left.
    pub fn from_lossy(text: &str) -> Option<Self> {
        let mut label = String::new();
        for c in text.chars().map(|c| c.to_ascii_lowercase()) {
            if label.len() == LABEL_MAX {
                break;
            }
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                label.push(c);
            } else if !label.is_empty() && !label.ends_with('-') {
                label.push('-');
            }
        }
        let label = label.trim_end_matches('-');
        (!label.is_empty()).then(|| Self(label.to_owned()))
    }
}

impl Domain {
    /// The dotted name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `NAME.internal`, the default domain of a cluster (`internal` is reserved for private use by ICANN).
    pub fn internal(name: &Name) -> Self {
        Self(format!("{name}.internal"))
    }
}

fn check_label(label: &str, whole: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::Empty);
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(found) = label.chars().find(|c| !allowed(*c)) {
        return Err(NameError::Character {
            name: whole.to_owned(),
            found,
        });
    }
    if label.len() > LABEL_MAX {
        return Err(NameError::LabelTooLong(whole.to_owned()));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Hyphen(whole.to_owned()));
    }
    Ok(())
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_label(text, text)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Domain {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.split('.').try_for_each(|label| check_label(label, text))?;
        if text.len() > DOMAIN_MAX {
            return Err(NameError::TooLong(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

text_type!(
    Name,
    expected: "a host name like node-1",
    pattern: "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    about: "A host name: lower-case letters, digits and hyphens, at most 63 (RFC 1123)."
);
text_type!(
    Domain,
    expected: "a domain name like demo.internal",
    pattern: "^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
    about: "A domain name in lower case, without the final dot."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_letters_digits_and_inner_hyphens() {
        assert_eq!("node-1".parse::<Name>().unwrap().as_str(), "node-1");
        for wrong in ["", "-a", "a-", "a.b", "A", "a_b", "é", &"a".repeat(64)] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hint_is_itself_a_name() {
        let error = "My_Box".parse::<Name>().unwrap_err();
        assert_eq!(error.hint().unwrap(), r#"use "my-box""#);
    }

    #[test]
    fn a_domain_is_labels_with_dots() {
        assert_eq!(
            "a.b-c.internal".parse::<Domain>().unwrap().as_str(),
            "a.b-c.internal"
        );
        for wrong in ["", ".", "a.", "a..b", "a.-b", &["a"; 128].join(".")] {
            assert!(wrong.parse::<Domain>().is_err(), "{wrong}");
        }
    }
}
