//! What the user means by an `image:`.
//!
//! - with `http://` or `https://` in front: a URL, optionally with `#sha256:…` or `#sha512:…` behind it, the digest that
//!   the file must have;
//! - with a `/` in it, or `.` or `~` in front: a file on this machine;
//! - else a name: of an image built or fetched here, or of the [`crate::catalogue`].

use crate::checksum::{Digest, NotADigest};
use std::path::{Path, PathBuf};

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An image of the store's, or of the catalogue.
    Name(String),
    /// A file on a web server.
    Url {
        /// Its address, without the digest.
        url: String,
        /// What it must hash to.
        digest: Option<Digest>,
    },
    /// A file on this machine.
    Path(PathBuf),
}

impl Source {
    /// Reads what the user wrote; a relative path is meant below `folder`, `~/` below `home`.
    ///
    /// # Errors
    /// When the text behind a URL's `#` is no digest.
    pub fn parse(text: &str, folder: &Path, home: Option<&Path>) -> Result<Self, NotADigest> {
        if text.starts_with("http://") || text.starts_with("https://") {
            let (url, digest) = text
                .split_once('#')
                .map_or((text, None), |(url, digest)| (url, Some(digest)));
            let digest = digest.map(str::parse).transpose()?;
            return Ok(Self::Url {
                url: url.to_owned(),
                digest,
            });
        }
        if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), home) {
            return Ok(Self::Path(home.join(rest)));
        }
        if text.contains('/') || text.starts_with('.') {
            return Ok(Self::Path(folder.join(text)));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Source {
        Source::parse(text, Path::new("/here"), Some(Path::new("/home/you"))).unwrap()
    }

    #[test]
    fn names_paths_and_urls_are_told_apart() {
        assert_eq!(parse("debian-13"), Source::Name("debian-13".to_owned()));
        assert_eq!(parse("./a.img"), Source::Path("/here/./a.img".into()));
        assert_eq!(parse("images/a.img"), Source::Path("/here/images/a.img".into()));
        assert_eq!(parse("/a.img"), Source::Path("/a.img".into()));
        assert_eq!(parse("~/a.img"), Source::Path("/home/you/a.img".into()));
        assert_eq!(
            parse("https://h/a"),
            Source::Url {
                url: "https://h/a".to_owned(),
                digest: None
            }
        );
    }

    #[test]
    fn a_url_can_carry_its_digest() {
        let digest: Digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        let source = parse(&format!("https://h/a#{digest}"));
        assert_eq!(
            source,
            Source::Url {
                url: "https://h/a".to_owned(),
                digest: Some(digest)
            }
        );
        Source::parse("https://h/a#sha256:1", Path::new("/"), None).unwrap_err();
    }
}
