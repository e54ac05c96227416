//! Where a machine's disk, its first-boot configuration and its ssh keys come from.
//!
//! Paths are as written: relative to the cluster file's folder, `~` not yet expanded. Nothing is opened here.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::text::{Hint, Text, text_type};

/// A disk image to start from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Image {
    /// A name in the catalogue: `debian`, `ubuntu-24.04`.
    Catalogue(String),
    /// Made by `atoll image build NAME`.
    Built(Name),
    /// Fetched once and cached.
    Url {
        /// An `http://` or `https://` address.
        url: String,
        /// What the download must hash to.
        checksum: Option<Checksum>,
    },
    /// A file on this host, used as it is.
    File {
        /// As written.
        path: PathBuf,
        /// What the file must hash to.
        checksum: Option<Checksum>,
    },
}

/// A published digest of an image: `sha256:…` or `sha512:…`, lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// 64 hexadecimal digits.
    Sha256(Sha256Hex),
    /// 128 hexadecimal digits.
    Sha512(Sha512Hex),
}

/// A digest of `DIGITS` hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hex<const DIGITS: usize>(String);

/// A SHA-256 digest.
pub type Sha256Hex = Hex<64>;
/// A SHA-512 digest.
pub type Sha512Hex = Hex<128>;

/// Why a text names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum ImageError {
    #[error("{0:?} names no image")]
    Syntax(String),
    #[error("{0:?} names no built image")]
    Built(String),
    #[error("{0:?} is no address of an image: only http:// and https:// are fetched")]
    Scheme(String),
}

/// Why a text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no digest of {digits} hexadecimal digits")]
pub struct HexError {
    /// The text as written.
    pub text: String,
    /// How many digits it should have.
    pub digits: usize,
}

/// First-boot configuration of a machine, handed to the guest as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserData {
    /// A cloud-config or a script, in full.
    Text(String),
    /// A file that holds it.
    File(PathBuf),
}

/// A public key that may log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshKey {
    /// A line as in `authorized_keys`.
    Literal(String),
    /// A file that holds such a line.
    File(PathBuf),
}

impl Hint for ImageError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax(_) => {
                "write a catalogue name like debian, an https:// address, a path like ./disk.qcow2 or built:NAME"
                    .to_owned()
            }
            Self::Built(_) => "write built:debian for what `atoll image build debian` made".to_owned(),
            Self::Scheme(_) => "fetch it yourself and write its path".to_owned(),
        })
    }
}

impl Hint for HexError {
    fn hint(&self) -> Option<String> {
        Some("copy it from the publisher's checksum file".to_owned())
    }
}

impl FromStr for Image {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        if let Some(name) = text.strip_prefix("built:") {
            return name
                .parse()
                .map(Self::Built)
                .map_err(|_| ImageError::Built(text.to_owned()));
        }
        if text.contains("://") {
            return is_fetchable(text)
                .then(|| Self::Url {
                    url: text.to_owned(),
                    checksum: None,
                })
                .ok_or_else(|| ImageError::Scheme(text.to_owned()));
        }
        if is_path(text) {
            return Ok(Self::File {
                path: text.into(),
                checksum: None,
            });
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".:_-".contains(c);
        match text.chars().next() {
            Some(first) if first.is_ascii_alphanumeric() && text.chars().all(allowed) => {
                Ok(Self::Catalogue(text.to_owned()))
            }
            _ => Err(ImageError::Syntax(text.to_owned())),
        }
    }
}

/// Whether images are fetched from such an address.
pub(crate) fn is_fetchable(url: &str) -> bool {
    let host = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    host.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace))
}

fn is_path(text: &str) -> bool {
    const SUFFIXES: [&str; 5] = [".qcow2", ".img", ".raw", ".xz", ".zst"];
    text.contains('/') || text.starts_with('~') || SUFFIXES.iter().any(|suffix| text.ends_with(suffix))
}

impl<const DIGITS: usize> Hex<DIGITS> {
    /// The digits, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const DIGITS: usize> FromStr for Hex<DIGITS> {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        if text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(HexError {
                text: text.to_owned(),
                digits: DIGITS,
            })
        }
    }
}

impl<const DIGITS: usize> fmt::Display for Hex<DIGITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalogue(name) => f.write_str(name),
            Self::Built(name) => write!(f, "built:{name}"),
            Self::Url { url, .. } => f.write_str(url),
            Self::File { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

text_type!(
    Sha256Hex,
    expected: "a SHA-256 digest in hexadecimal",
    pattern: "^[0-9a-fA-F]{64}$",
    about: "A SHA-256 digest in hexadecimal."
);
text_type!(
    Sha512Hex,
    expected: "a SHA-512 digest in hexadecimal",
    pattern: "^[0-9a-fA-F]{128}$",
    about: "A SHA-512 digest in hexadecimal."
);

impl Text for SshKey {
    const EXPECTED: &'static str = "an ssh public key or the path of one";
}

/// A text that is neither a public key nor a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no ssh public key")]
pub struct SshKeyError(pub String);

impl Hint for SshKeyError {
    fn hint(&self) -> Option<String> {
        Some("write a path like ~/.ssh/id_ed25519.pub, or the line that such a file holds".to_owned())
    }
}

impl FromStr for SshKey {
    type Err = SshKeyError;

    fn from_str(text: &str) -> Result<Self, SshKeyError> {
        let text = text.trim();
        let is_key = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if text.is_empty() || text.contains(['\n', '\r']) || (!is_key && text.contains(" AAAA")) {
            Err(SshKeyError(text.to_owned()))
        } else if is_key && text.contains(' ') {
            Ok(Self::Literal(text.to_owned()))
        } else {
            Ok(Self::File(text.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_text_says_where_an_image_is() {
        let image = |text: &str| text.parse::<Image>().unwrap();
        assert_eq!(image("debian"), Image::Catalogue("debian".to_owned()));
        assert_eq!(image("ubuntu:24.04"), Image::Catalogue("ubuntu:24.04".to_owned()));
        assert_eq!(image("built:micro"), Image::Built("micro".parse().unwrap()));
        assert!(matches!(
            image("https://example.org/a.img"),
            Image::Url { checksum: None, .. }
        ));
        assert!(matches!(image("disk.qcow2"), Image::File { .. }));
        assert!(matches!(image("~/disk"), Image::File { .. }));
        for wrong in [
            "",
            "Debian 12",
            "ftp://example.org/a.img",
            "https://",
            "built:",
            "-a",
        ] {
            assert!(wrong.parse::<Image>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_told_from_a_path() {
        assert!(matches!(
            "ssh-ed25519 AAAAC3 me@host".parse(),
            Ok(SshKey::Literal(_))
        ));
        assert!(matches!("~/.ssh/id_ed25519.pub".parse(), Ok(SshKey::File(_))));
        "rsa AAAAB3".parse::<SshKey>().unwrap_err();
    }
}
