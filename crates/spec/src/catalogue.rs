//! The catalogue file `images.yaml`: images by name, where each lies, and how it is known to be the right one.
//!
//! ```yaml
//! images:
//!   debian-13:
//!     also: [debian]                     # further names
//!     user: debian                       # whom its cloud-init sets up
//!     arch: [x86_64, aarch64]            # both when left out
//!     url: https://cloud.debian.org/images/cloud/trixie/latest/debian-13-generic-{debian-arch}.qcow2
//!     checksums: https://cloud.debian.org/images/cloud/trixie/latest/SHA512SUMS     # or sha256: / sha512:
//!     signature: https://cloud.debian.org/images/cloud/trixie/latest/SHA512SUMS.sign   # or inline
//!     keyrings: [/usr/share/keyrings/debian-role-keys.gpg]     # the first that is there
//!     mirrors: [https://mirror.example.org]                    # in place of the scheme and host, in this order
//! ```
//!
//! Addresses may hold `{arch}` (`x86_64`, `aarch64`), `{debian-arch}` (`amd64`, `arm64`) and `{firmware}` (`bios`,
//! `uefi`). The built-in catalogue and the user's are read alike. Bounds are those of `yaml`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::diagnostic::{Diagnostic, Diagnostics, Report, Span};
use crate::hardware::Arch;
use crate::image::{Checksum, Sha256Hex, Sha512Hex, is_fetchable};
use crate::read::{Entries, FromYaml, Keys, Noun, Spot};
use crate::scalar::UserName;
use crate::text::{Hint, Text, nearest};
use crate::yaml::{self, Node};

/// What an address may hold, to be filled in for each architecture.
pub const PLACEHOLDERS: [&str; 3] = ["arch", "debian-arch", "firmware"];

/// The longest name: it becomes part of file names, which hold 255 bytes.
const NAME_MAX: usize = 100;

/// An image that can be fetched by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueImage {
    /// Its full name.
    pub name: ImageName,
    /// Further names.
    pub also: Vec<ImageName>,
    /// The architectures that there is one for; not empty.
    pub archs: Vec<Arch>,
    /// The user that its cloud-init sets up.
    pub user: Option<String>,
    /// Its address, with placeholders.
    pub url: String,
    /// How the right file is known, if at all.
    pub digest: Option<PublishedDigest>,
    /// How the checksum file is known to be the vendor's, if at all.
    pub signature: Option<PublishedSignature>,
    /// Where the vendor's keys may lie on this host; the first that is there counts.
    pub keyrings: Vec<PathBuf>,
    /// What may stand in for the scheme and host of its addresses.
    pub mirrors: Vec<String>,
}

/// What a catalogue knows of a file's digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishedDigest {
    /// The address of a checksum file, with placeholders.
    File(String),
    /// The digest itself.
    Given(Checksum),
}

/// Where the signature of a checksum file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishedSignature {
    /// Round the text itself (RFC 9580, section 7).
    Inline,
    /// In a file of its own, whose address this is, with placeholders.
    Detached(String),
}

/// The name of an image: letters in lower case, digits, `.`, `-`, `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

/// A text that cannot be an image's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of an image")]
pub struct ImageNameError(pub String);

impl Hint for ImageNameError {
    fn hint(&self) -> Option<String> {
        Some(format!(
            "use up to {NAME_MAX} lower-case letters, digits, '.', '-' and '_', a letter or digit first, and no ending of a disk's file"
        ))
    }
}

impl ImageName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    /// Takes what `image:` of a cluster file takes for a name.
    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        match text.parse() {
            Ok(crate::Image::Catalogue(name)) if name.len() <= NAME_MAX && !name.contains(':') => {
                Ok(Self(name))
            }
            _ => Err(ImageNameError(text.to_owned())),
        }
    }
}

impl Text for ImageName {
    const EXPECTED: &'static str = "a name like debian-13";
}

impl Text for PublishedSignature {
    const EXPECTED: &'static str = "an https:// address or the word inline";
}

/// A text that leads to no signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} leads to no signature")]
pub struct SignatureError(pub String);

impl Hint for SignatureError {
    fn hint(&self) -> Option<String> {
        Some(
            "write the address of a detached signature, or inline where the checksum file carries it"
                .to_owned(),
        )
    }
}

impl FromStr for PublishedSignature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        match text {
            "inline" => Ok(Self::Inline),
            url if is_fetchable(url) => Ok(Self::Detached(url.to_owned())),
            other => Err(SignatureError(other.to_owned())),
        }
    }
}

/// An entry as it is written.
#[derive(Debug)]
struct EntryFile {
    also: Vec<Spot<ImageName>>,
    image: CatalogueImage,
}

impl Noun for Option<EntryFile> {
    const NOUN: &'static str = "catalogue image";
}

impl FromYaml for Option<EntryFile> {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let also: Vec<Spot<ImageName>> = keys.take_list("also", "name").unwrap_or_default();
        let archs: Option<Vec<Arch>> = keys.take_list("arch", "architecture");
        let user: Option<UserName> = keys.take("user");
        let url = address(&mut keys, "url");
        let sums = address(&mut keys, "checksums").map(PublishedDigest::File);
        let sha256 = keys.take::<Sha256Hex>("sha256").map(Checksum::Sha256);
        let sha512 = keys.take::<Sha512Hex>("sha512").map(Checksum::Sha512);
        let signature: Option<PublishedSignature> = keys.take("signature");
        let keyrings = keys.take_list("keyrings", "keyring").unwrap_or_default();
        let mirrors = keys.take_list("mirrors", "mirror").unwrap_or_default();
        for (first, second) in [
            ("checksums", "sha256"),
            ("checksums", "sha512"),
            ("sha256", "sha512"),
        ] {
            keys.exclude(first, second);
        }
        check_signature(&mut keys, signature.as_ref(), what);
        check_mirrors(&mirrors, what, keys.report);
        if keys.span("url").is_none() {
            let title = format!("{what} does not say its url");
            keys.report.push(Diagnostic::new(title, node.span.clone()));
        }
        // A digest is of one file.
        if archs.as_ref().is_none_or(|archs| archs.len() != 1)
            && let Some(span) = keys.span("sha256").or(keys.span("sha512"))
        {
            let title = format!("{what} has one digest for several architectures");
            let hint = "write arch: [x86_64], or the address of a checksum file".to_owned();
            keys.report.push(Diagnostic::new(title, span).with_hint(hint));
        }
        if keys.finish() {
            return Some(None);
        }
        let archs = archs.filter(|archs| !archs.is_empty());
        Some(url.map(|url| EntryFile {
            image: CatalogueImage {
                // The key of the entry is put in where it is known.
                name: ImageName(String::new()),
                also: also.iter().map(|name| name.value.clone()).collect(),
                archs: archs.unwrap_or_else(|| vec![Arch::X86_64, Arch::Aarch64]),
                user: user.map(|user| user.0),
                url,
                digest: sums.or(sha256.or(sha512).map(PublishedDigest::Given)),
                signature,
                keyrings,
                mirrors: mirrors.into_iter().map(|mirror| mirror.value).collect(),
            },
            also,
        }))
    }
}

/// An address with placeholders that are known.
fn address(keys: &mut Keys<'_, '_>, key: &'static str) -> Option<String> {
    let found: Spot<String> = keys.take(key)?;
    match check_address(&found.value) {
        Ok(()) => Some(found.value),
        Err((reason, hint)) => {
            let title = format!("{key}: {:?} {reason}", found.value);
            keys.report
                .push(Diagnostic::new(title, found.span).with_hint(hint));
            None
        }
    }
}

fn check_address(url: &str) -> Result<(), (String, Option<String>)> {
    if !is_fetchable(url) {
        return Err(("is no http:// or https:// address".to_owned(), None));
    }
    for part in url.split('{').skip(1) {
        let word = part.split('}').next().unwrap_or_default();
        if !part.contains('}') || !PLACEHOLDERS.contains(&word) {
            let hint = match nearest(word, PLACEHOLDERS) {
                Some(known) => format!("did you mean {{{known}}}?"),
                None => format!("known are {{{}}}", PLACEHOLDERS.join("}, {")),
            };
            return Err((
                format!("has a placeholder that is not known, {{{word}}}"),
                Some(hint),
            ));
        }
    }
    Ok(())
}

/// A signature is of a checksum file, and says nothing without the vendor's key.
fn check_signature(keys: &mut Keys<'_, '_>, signature: Option<&PublishedSignature>, what: &str) {
    let Some(span) = keys.span("signature") else {
        return;
    };
    for needed in ["checksums", "keyrings"] {
        if keys.span(needed).is_none() {
            let title = format!("{what} has a signature but no {needed}");
            keys.report.push(Diagnostic::new(title, span.clone()));
        }
    }
    if let Some(PublishedSignature::Detached(url)) = signature
        && let Err((reason, hint)) = check_address(url)
    {
        let title = format!("signature: {url:?} {reason}");
        keys.report.push(Diagnostic::new(title, span).with_hint(hint));
    }
}

fn check_mirrors(mirrors: &[Spot<String>], what: &str, report: &mut Report) {
    for mirror in mirrors.iter().filter(|mirror| !is_fetchable(&mirror.value)) {
        let title = format!(
            "mirrors of {what}: {:?} is no http:// or https:// address",
            mirror.value
        );
        report.push(Diagnostic::new(title, mirror.span.clone()));
    }
}

/// Reads a catalogue file; messages call it `file`.
///
/// # Errors
///
/// Everything that is wrong with it, each mistake with its place in the text.
pub fn parse_catalogue(file: &str, text: &str) -> Result<Vec<CatalogueImage>, Diagnostics> {
    let mut report = Report::of(file, text);
    let images = match yaml::parse(text) {
        Ok(root) => read(&root, &mut report),
        Err(diagnostic) => {
            report.push(diagnostic);
            Vec::new()
        }
    };
    if report.is_empty() {
        Ok(images)
    } else {
        Err(report.into_diagnostics())
    }
}

fn read(root: &Node, report: &mut Report) -> Vec<CatalogueImage> {
    let Some(mut keys) = Keys::of(root, "the catalogue", report) else {
        return Vec::new();
    };
    let entries: Option<Entries<ImageName, Option<EntryFile>>> = keys.section("images");
    keys.finish();
    let mut names: Vec<(ImageName, Span)> = Vec::new();
    let mut images = Vec::new();
    for (name, entry) in entries.unwrap_or_default().0 {
        let Some(entry) = entry else { continue };
        images.push(CatalogueImage {
            name: name.value.clone(),
            ..entry.image
        });
        for name in std::iter::once(name).chain(entry.also) {
            if let Some((_, first)) = names.iter().find(|(other, _)| *other == name.value) {
                let title = format!("two images are called {:?}", name.value.as_str());
                let second = Diagnostic::new(title, name.span.clone()).label("called so again");
                report.push(second.and(first.clone(), "first called so"));
            }
            names.push((name.value, name.span));
        }
    }
    images
}
