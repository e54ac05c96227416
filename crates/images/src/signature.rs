//! Whether a vendor's checksum file is the vendor's: OpenPGP signatures, by the verifier that this host has.
//!
//! A signature is worth as much as the key it is checked with, so no key is ever fetched: the vendor's has to be in a
//! keyring that a package or the user has put where the catalogue says. A result is one of three things, and says which:
//!
//! - [`Signature::Verified`], by this key;
//! - [`Signature::NotChecked`], because of this: no signature, no keyring, no verifier, a key that is not in the keyring or has
//!   expired. The image is taken, its checksum file being as good as the connection, unless a signature is required;
//! - an error: the signature is there, its key is known, and it is wrong, or the key was revoked.
//!
//! Verifiers are `gpgv`, then `gpg`, told by their status lines (GnuPG's `doc/DETAILS`), then `sqv`, which knows detached
//! signatures only. Of a checksum file with its signature inside only the text that the signature covers is used further.

mod armor;

pub use armor::dearmored;

use crate::error::Kind;
use crate::tool::Tool;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const GPGV: Tool = Tool::new("gpgv", "gpgv");
const GPG: Tool = Tool::new("gpg", "gpg");
const SQV: Tool = Tool::new("sqv", "sqv");

/// What is known of an image's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    /// The vendor's, by the key with this fingerprint.
    Verified {
        /// The fingerprint of the primary key, in hexadecimal.
        key: String,
    },
    /// Nothing.
    NotChecked {
        /// Why, as the end of "not checked: …".
        why: String,
    },
}

impl Signature {
    /// Whether it was checked and is right.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        matches!(self, Self::Verified { .. })
    }

    pub(crate) fn unchecked(why: impl Into<String>) -> Self {
        Self::NotChecked { why: why.into() }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified { key } => write!(f, "verified by key {key}"),
            Self::NotChecked { why } => write!(f, "not checked: {why}"),
        }
    }
}

/// A signature that is wrong, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The text is not what the key's owner signed.
    #[error("{what} has a wrong signature of key {key}")]
    Bad {
        /// The checksum file.
        what: String,
        /// The key that it claims.
        key: String,
    },
    /// The key was revoked by its owner.
    #[error("{what} is signed by key {key}, which was revoked")]
    Revoked {
        /// The checksum file.
        what: String,
        /// The key.
        key: String,
    },
    /// A file in between cannot be written or read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl SignatureError {
    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Bad { .. } | Self::Revoked { .. } => Kind::Usage,
            Self::File { .. } => Kind::Environment,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Bad { .. } => Some("do not use this image: somebody changed its checksums".to_owned()),
            Self::Revoked { .. } => Some("install the vendor's current keyring".to_owned()),
            Self::File { .. } => None,
        }
    }
}

/// A checksum file as it was fetched.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// What messages call it.
    pub what: &'a str,
    /// Its bytes.
    pub sums: &'a [u8],
    /// The detached signature, when it is not inside.
    pub detached: Option<&'a [u8]>,
}

/// Checks a checksum file with the first of the keyrings that is there; `folder`, an empty one, is for files in between.
/// Returns what is known, and the text to use.
///
/// # Errors
/// When the signature is wrong, or `folder` cannot be used.
pub fn check(
    signed: Signed<'_>,
    keyrings: &[PathBuf],
    folder: &Path,
) -> Result<(Signature, String), SignatureError> {
    let whole = || String::from_utf8_lossy(signed.sums).into_owned();
    let Some(keyring) = keyrings.iter().find(|it| it.is_file()) else {
        let names: Vec<_> = keyrings.iter().map(|it| it.display().to_string()).collect();
        let why = format!("the vendor's keyring is not installed ({})", names.join(", "));
        return Ok((Signature::unchecked(why), whole()));
    };
    let bench = Bench::lay_out(signed, keyring, folder)?;
    let is_inline = signed.detached.is_none();
    let verifier = [Verifier::Gpgv, Verifier::Gpg, Verifier::Sqv]
        .into_iter()
        .find_map(|verifier| {
            bench
                .command(verifier, is_inline)
                .map(|command| (verifier, command))
        });
    let Some((verifier, mut command)) = verifier else {
        return Ok((Signature::unchecked("neither gpgv nor gpg is installed"), whole()));
    };
    let run = command.stdin(Stdio::null()).env("LC_ALL", "C").output();
    let output = run.map_err(bench.file_error(&bench.sums))?;
    let signature = verifier.judge(&output).result(signed.what, keyring)?;
    if is_inline && signature.is_verified() {
        let text = fs::read(&bench.text).map_err(bench.file_error(&bench.text))?;
        return Ok((signature, String::from_utf8_lossy(&text).into_owned()));
    }
    Ok((signature, whole()))
}

/// The files that a verifier reads and writes.
struct Bench {
    folder: PathBuf,
    keyring: PathBuf,
    sums: PathBuf,
    signature: PathBuf,
    text: PathBuf,
}

impl Bench {
    fn lay_out(signed: Signed<'_>, keyring: &Path, folder: &Path) -> Result<Self, SignatureError> {
        let bench = Self {
            folder: folder.to_owned(),
            keyring: folder.join("keyring.gpg"),
            sums: folder.join("sums"),
            signature: folder.join("signature"),
            text: folder.join("text"),
        };
        let keys = fs::read(keyring).map_err(bench.file_error(keyring))?;
        let keys = dearmored(&keys).unwrap_or(keys);
        let detached = signed.detached.unwrap_or_default();
        for (path, bytes) in [
            (&bench.keyring, &*keys),
            (&bench.sums, signed.sums),
            (&bench.signature, detached),
        ] {
            fs::write(path, bytes).map_err(bench.file_error(path))?;
        }
        Ok(bench)
    }

    #[expect(clippy::unused_self, reason = "it is about this folder's files")]
    fn file_error(&self, path: &Path) -> impl FnOnce(io::Error) -> SignatureError + use<> {
        let path = path.to_owned();
        move |source| SignatureError::File { path, source }
    }

    /// The verifier at work on these files, if it is installed and can do it.
    fn command(&self, verifier: Verifier, is_inline: bool) -> Option<Command> {
        let mut command = Command::new(verifier.tool().find()?);
        command.arg("--keyring").arg(&self.keyring);
        match verifier {
            Verifier::Gpgv => {
                command
                    .arg("--homedir")
                    .arg(&self.folder)
                    .args(["--status-fd", "1"]);
            }
            Verifier::Gpg => {
                command.args([
                    "--batch",
                    "--no-options",
                    "--no-default-keyring",
                    "--trust-model",
                    "always",
                ]);
                command
                    .arg("--homedir")
                    .arg(&self.folder)
                    .args(["--status-fd", "1"]);
            }
            Verifier::Sqv if is_inline => return None,
            Verifier::Sqv => {}
        }
        if is_inline {
            command.arg("--output").arg(&self.text);
        }
        if matches!(verifier, Verifier::Gpg) {
            command.arg("--verify");
        }
        if !is_inline {
            command.arg(&self.signature);
        }
        command.arg(&self.sums);
        Some(command)
    }
}

#[derive(Debug, Clone, Copy)]
enum Verifier {
    Gpgv,
    Gpg,
    Sqv,
}

/// What a verifier found.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Good(String),
    Bad(String),
    Revoked(String),
    Expired(String),
    Unknown(String),
    Nothing,
}

impl Verifier {
    const fn tool(self) -> Tool {
        match self {
            Self::Gpgv => GPGV,
            Self::Gpg => GPG,
            Self::Sqv => SQV,
        }
    }

    fn judge(self, output: &Output) -> Finding {
        let said = String::from_utf8_lossy(&output.stdout);
        match self {
            Self::Gpgv | Self::Gpg => finding(&said),
            Self::Sqv => match said.split_whitespace().next() {
                Some(key) if output.status.success() => Finding::Good(key.to_owned()),
                _ => sqv_finding(&String::from_utf8_lossy(&output.stderr)),
            },
        }
    }
}

/// `sqv` prints the fingerprints of the keys whose signatures are good, and has only words for the others.
fn sqv_finding(words: &str) -> Finding {
    if words.contains("manipulated") {
        return Finding::Bad("that is known".to_owned());
    }
    let key = words
        .split("Missing key ")
        .nth(1)
        .and_then(|rest| rest.split([',', ' ', '\n']).next());
    key.map_or(Finding::Nothing, |key| Finding::Unknown(key.to_owned()))
}

/// Reads status lines. Bad is worse than revoked, and both outweigh a good signature beside them.
fn finding(status: &str) -> Finding {
    let of = |keyword: &str| {
        status.lines().find_map(|line| {
            let mut words = line.strip_prefix("[GNUPG:] ")?.split_whitespace();
            (words.next()? == keyword).then(|| words.map(str::to_owned).collect::<Vec<_>>())
        })
    };
    let key = |words: Vec<String>| words.into_iter().next().unwrap_or_default();
    if let Some(words) = of("BADSIG") {
        return Finding::Bad(key(words));
    }
    if let Some(words) = of("REVKEYSIG") {
        return Finding::Revoked(key(words));
    }
    // GOODSIG alone stands for neither an expired key nor an expired signature; VALIDSIG ends with the primary key.
    if let Some((_, valid)) = of("GOODSIG").zip(of("VALIDSIG")) {
        return valid
            .into_iter()
            .next_back()
            .map_or(Finding::Nothing, Finding::Good);
    }
    if let Some(words) = of("EXPKEYSIG").or_else(|| of("EXPSIG")) {
        return Finding::Expired(key(words));
    }
    of("NO_PUBKEY").map_or(Finding::Nothing, |words| Finding::Unknown(key(words)))
}

impl Finding {
    fn result(self, what: &str, keyring: &Path) -> Result<Signature, SignatureError> {
        let what = what.to_owned();
        let keyring = keyring.display();
        Ok(match self {
            Self::Good(key) => Signature::Verified { key },
            Self::Bad(key) => return Err(SignatureError::Bad { what, key }),
            Self::Revoked(key) => return Err(SignatureError::Revoked { what, key }),
            Self::Expired(key) => Signature::unchecked(format!("key {key} in {keyring} has expired")),
            Self::Unknown(key) => {
                Signature::unchecked(format!("it is by key {key}, which is not in {keyring}"))
            }
            Self::Nothing => Signature::unchecked(format!("{what} has no signature that is understood")),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
