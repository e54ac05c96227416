//! Images by name: where each lies, and how it is known to be the vendor's.
//!
//! The vendors' cloud images are data, `catalogue.yaml` beside this file; the user's own file, written in the same way
//! (see [`spec::parse_catalogue`]), adds to them, and an entry of one of its names stands before the built-in one.
//!
//! An [`Entry`] is one image for one architecture with its placeholders filled in. It has one or more [`Place`]s, which
//! are tried in turn: the vendor's, then the mirrors. A place is taken as a whole, image, checksums and signature from the
//! same server, since mirrors lag behind each in their own way; so what a mirror says is as good as its signature, or
//! else as that mirror.

use crate::arch::Arch;
use crate::checksum::Digest;
use atoll_spec::{self as spec, CatalogueImage, PublishedDigest, PublishedSignature};
use std::path::PathBuf;

const BUILT_IN: &str = include_str!("catalogue.yaml");

/// The images that can be fetched by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    images: Vec<Offer>,
    base_url: Option<String>,
}

/// An image of the catalogue, for whatever architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    image: CatalogueImage,
    is_users: bool,
}

/// An image for one architecture, and all that is needed to fetch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The full name: `debian-13` when `debian` was asked for.
    pub name: String,
    /// The architecture.
    pub arch: Arch,
    /// The user that the image's cloud-init sets up, where that is known.
    pub ssh_user: Option<String>,
    /// Where it lies, in the order of trying; not empty.
    pub places: Vec<Place>,
    /// Where the vendor's keys may lie on this host.
    pub keyrings: Vec<PathBuf>,
}

/// One server's files for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The image.
    pub url: String,
    /// How the right one is known.
    pub digest: Sums,
    /// How the checksum file is known to be the vendor's.
    pub signature: Option<Signed>,
}

/// How the right digest of an image is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sums {
    /// From the checksum file at this address.
    ListedAt(String),
    /// It is said here, or nowhere.
    Given(Option<Digest>),
}

/// Where the signature of a checksum file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// Round the text itself.
    Inline,
    /// At this address.
    At(String),
}

impl Default for Catalogue {
    /// The vendors' images.
    fn default() -> Self {
        let images = spec::parse_catalogue("catalogue.yaml", BUILT_IN)
            .expect("the text is part of the program, and a test of this module reads it");
        Self::of(images, false)
    }
}

impl Catalogue {
    /// These images alone.
    #[must_use]
    pub fn of(images: Vec<CatalogueImage>, is_users: bool) -> Self {
        let images = images.into_iter().map(|image| Offer { image, is_users });
        Self {
            images: images.collect(),
            base_url: None,
        }
    }

    /// The same with the user's images in front.
    #[must_use]
    pub fn with_users(self, images: Vec<CatalogueImage>) -> Self {
        let mut all = Self::of(images, true).images;
        all.extend(self.images);
        Self { images: all, ..self }
    }

    /// The same with a mirror in place of every vendor's `https://HOST`: one that has their paths.
    #[must_use]
    pub fn with_base_url(self, base_url: Option<String>) -> Self {
        Self { base_url, ..self }
    }

    /// The image of this name for this architecture.
    #[must_use]
    pub fn find(&self, name: &str, arch: Arch) -> Option<Entry> {
        let offer = self.offer(name)?;
        offer
            .archs()
            .any(|it| it == arch)
            .then(|| offer.entry(arch, self.base_url.as_deref()))
    }

    /// The image of this name, whatever its architectures.
    #[must_use]
    pub fn offer(&self, name: &str) -> Option<&Offer> {
        self.images.iter().find(|offer| offer.is_called(name))
    }

    /// Each image that a name of its own still leads to, those of the user first.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        let reached = |offer: &&Offer| self.offer(offer.name()) == Some(*offer);
        self.images.iter().filter(reached)
    }

    /// Every entry: each image for each of its architectures.
    pub fn entries(&self) -> impl Iterator<Item = (&Offer, Entry)> {
        self.offers().flat_map(move |offer| {
            let entry = move |arch| (offer, offer.entry(arch, self.base_url.as_deref()));
            offer.archs().map(entry)
        })
    }

    /// All names, full ones and short ones.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.offers().flat_map(Offer::names)
    }
}

impl Offer {
    /// Its full name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.image.name.as_str()
    }

    /// Its further names.
    pub fn also(&self) -> impl Iterator<Item = &str> {
        self.image.also.iter().map(spec::ImageName::as_str)
    }

    /// Whether it is from the user's file.
    #[must_use]
    pub const fn is_users(&self) -> bool {
        self.is_users
    }

    /// The architectures that there is one for.
    pub fn archs(&self) -> impl Iterator<Item = Arch> {
        self.image.archs.iter().map(|arch| match arch {
            spec::Arch::X86_64 => Arch::X86_64,
            spec::Arch::Aarch64 => Arch::Aarch64,
        })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name()).chain(self.also())
    }

    fn is_called(&self, name: &str) -> bool {
        self.names().any(|it| it == name)
    }

    fn entry(&self, arch: Arch, base_url: Option<&str>) -> Entry {
        let bases: Vec<Option<&str>> = match base_url {
            Some(base) if !self.is_users => vec![Some(base)],
            _ => std::iter::once(None)
                .chain(self.image.mirrors.iter().map(|mirror| Some(mirror.as_str())))
                .collect(),
        };
        Entry {
            name: self.name().to_owned(),
            arch,
            ssh_user: self.image.user.clone(),
            places: bases.into_iter().map(|base| self.place(arch, base)).collect(),
            keyrings: self.image.keyrings.clone(),
        }
    }

    fn place(&self, arch: Arch, base: Option<&str>) -> Place {
        let at = |url: &str| moved(&filled_in(url, arch), base);
        let digest = match &self.image.digest {
            Some(PublishedDigest::File(url)) => Sums::ListedAt(at(url)),
            Some(PublishedDigest::Given(checksum)) => Sums::Given(Some(Digest::from(checksum))),
            None => Sums::Given(None),
        };
        let signature = self.image.signature.as_ref().map(|signature| match signature {
            PublishedSignature::Inline => Signed::Inline,
            PublishedSignature::Detached(url) => Signed::At(at(url)),
        });
        Place {
            url: at(&self.image.url),
            digest,
            signature,
        }
    }
}

fn filled_in(url: &str, arch: Arch) -> String {
    let firmware = match arch {
        Arch::X86_64 => "bios",
        Arch::Aarch64 => "uefi",
    };
    let words = [arch.name(), arch.debian(), firmware];
    spec::PLACEHOLDERS
        .iter()
        .zip(words)
        .fold(url.to_owned(), |url, (placeholder, word)| {
            url.replace(&format!("{{{placeholder}}}"), word)
        })
}

/// The same path at another server.
fn moved(url: &str, base: Option<&str>) -> String {
    let Some(base) = base else {
        return url.to_owned();
    };
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
    format!("{}{path}", base.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    #[test]
    fn every_name_leads_to_its_vendors_files() {
        let catalogue = Catalogue::default();
        let mut table = String::new();
        for name in catalogue.names() {
            for arch in [Arch::X86_64, Arch::Aarch64] {
                let entry = catalogue.find(name, arch).unwrap();
                let place = entry.places.first().unwrap();
                let Sums::ListedAt(sums_url) = &place.digest else {
                    panic!("{place:?}");
                };
                let user = entry.ssh_user.as_deref().unwrap();
                let _ = writeln!(table, "{name} {arch} {user}\n  {}\n  {sums_url}", place.url);
            }
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn no_name_is_given_twice() {
        let catalogue = Catalogue::default();
        assert_eq!(
            catalogue.names().collect::<BTreeSet<_>>().len(),
            catalogue.names().count()
        );
    }

    #[test]
    fn a_mirror_for_all_replaces_the_vendors_host_only() {
        let catalogue = Catalogue::default().with_base_url(Some("http://127.0.0.1:8/m/".to_owned()));
        let entry = catalogue.find("debian", Arch::X86_64).unwrap();
        assert_eq!(entry.name, "debian-13");
        let urls: Vec<_> = entry.places.iter().map(|place| place.url.as_str()).collect();
        assert_eq!(
            urls,
            ["http://127.0.0.1:8/m/images/cloud/trixie/latest/debian-13-generic-amd64.qcow2"]
        );
        assert_eq!(catalogue.find("plan9", Arch::X86_64), None);
    }

    #[test]
    fn an_entry_of_the_users_stands_before_the_built_in_one_and_keeps_its_own_servers() {
        let text = "images:\n  debian:\n    arch: [aarch64]\n    url: https://own.example/d-{arch}.img\n    mirrors: [http://second.example/m/]\n";
        let users = spec::parse_catalogue("images.yaml", text).unwrap();
        let catalogue = Catalogue::default()
            .with_users(users)
            .with_base_url(Some("http://127.0.0.1:8".to_owned()));
        let entry = catalogue.find("debian", Arch::Aarch64).unwrap();
        let urls: Vec<_> = entry.places.iter().map(|place| place.url.as_str()).collect();
        assert_eq!(
            urls,
            [
                "https://own.example/d-aarch64.img",
                "http://second.example/m/d-aarch64.img"
            ]
        );
        assert_eq!(catalogue.find("debian", Arch::X86_64), None);
        assert!(catalogue.find("debian-13", Arch::X86_64).is_some());
    }
}
