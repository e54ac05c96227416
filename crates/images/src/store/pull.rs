//! From a URL to an image in the store: download, verify, unpack, publish; each step under the key's lock.

use super::{DISK, Store, StoreError, checked_format, hash_of, key_of};
use crate::arch::Arch;
use crate::catalogue::{Entry, Place, Signed, Sums};
use crate::checksum::{self, Digest};
use crate::download::{self, FetchError, Progress};
use crate::files;
use crate::image::{Boot, DiskFormat, Image, Origin};
use crate::signature::{self, Signature};
use crate::unpack::{self, Compression, SpreadError};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// An image that is to be fetched.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) key: String,
    pub(super) name: String,
    arch: Arch,
    origin: Origin,
    places: Vec<Place>,
    keyrings: Vec<PathBuf>,
    ssh_user: Option<String>,
}

impl Wanted {
    pub(super) fn of_entry(entry: Entry) -> Self {
        Self {
            key: key_of(&entry.name, entry.arch),
            name: entry.name,
            arch: entry.arch,
            origin: Origin::Catalogue,
            places: entry.places,
            keyrings: entry.keyrings,
            ssh_user: entry.ssh_user,
        }
    }

    /// A URL with another digest is another image.
    pub(super) fn of_url(url: &str, digest: Option<&Digest>, arch: Arch) -> Self {
        let meant = digest.map_or_else(|| url.to_owned(), |digest| format!("{url}#{digest}"));
        Self {
            key: key_of(&format!("url-{}", hash_of(&meant)), arch),
            name: url.to_owned(),
            arch,
            origin: Origin::Url,
            places: vec![Place {
                url: url.to_owned(),
                digest: Sums::Given(digest.cloned()),
                signature: None,
            }],
            keyrings: Vec::new(),
            ssh_user: None,
        }
    }
}

/// What an image must hash to, and how that is known to be the vendor's word.
struct Vouched {
    digest: Option<Digest>,
    signature: Signature,
}

/// A disk as it came out of its download.
struct Unpacked {
    of_disk: DiskFormat,
    /// Whether it was compressed, so that the download's digest is not the disk's.
    is_packed: bool,
}

/// The last part of a URL's path, as checksum files name it.
fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}

impl Store {
    /// Fetches an image whose lock is held and that is not here. Called off, it leaves what a later attempt goes on with.
    pub(super) fn fetch(
        &self,
        wanted: &Wanted,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Image, StoreError> {
        let result = self.fetch_all(wanted, progress);
        if result.is_err() {
            let staging = self.root.join("staging").join(&wanted.key);
            files::remove_folder(&staging).map_err(StoreError::file(&staging))?;
        }
        match result {
            Err(_) if self.is_called_off() => Err(FetchError::CalledOff.into()),
            result => result,
        }
    }

    /// Tries each place until one gives the image; the error is the first one's, which is the vendor's.
    fn fetch_all(&self, wanted: &Wanted, progress: &mut dyn FnMut(Progress)) -> Result<Image, StoreError> {
        let mut first = None;
        for place in &wanted.places {
            match self.fetch_from(wanted, place, progress) {
                Err(error) if error.is_the_servers() && !self.is_called_off() => {
                    tracing::info!(url = place.url, %error, "this place does not give the image");
                    first.get_or_insert(error);
                }
                result => return result,
            }
        }
        Err(first.unwrap_or_else(|| StoreError::NotHere(wanted.name.clone())))
    }

    fn fetch_from(
        &self,
        wanted: &Wanted,
        place: &Place,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Image, StoreError> {
        let Vouched {
            digest: expected,
            signature,
        } = self.expected(wanted, place)?;
        if self.signed_only && !signature.is_verified() {
            return Err(StoreError::Unsigned {
                name: wanted.name.clone(),
                signature,
            });
        }
        let part = self.root.join("downloads").join(format!("{}.part", wanted.key));
        self.downloader.fetch(&place.url, &part, progress)?;
        if let Some(expected) = &expected {
            self.verify(&place.url, &part, expected)?;
        }
        let staging = self.staging(&wanted.key)?;
        let disk = staging.join(DISK);
        let unpacked = self.unpack_into(&place.url, &part, &disk)?;
        download::discard(&part).map_err(StoreError::file(&part))?;
        let known = expected.as_ref().filter(|_| !unpacked.is_packed);
        let content = self.settle(&disk, known)?;
        let image = Image {
            name: wanted.name.clone(),
            arch: wanted.arch,
            origin: wanted.origin,
            from: place.url.clone(),
            boot: Boot::Disk {
                path: DISK.into(),
                format: unpacked.of_disk,
            },
            bytes: disk.metadata().map_err(StoreError::file(&disk))?.len(),
            digest: expected.map(|digest| digest.to_string()),
            signature: Some(signature),
            content: Some(content.to_string()),
            ssh_user: wanted.ssh_user.clone(),
            packages: Vec::new(),
        };
        self.publish(&wanted.key, &image)
    }

    /// The digest that the image must have, and what vouches for that.
    fn expected(&self, wanted: &Wanted, place: &Place) -> Result<Vouched, StoreError> {
        let sums_url = match &place.digest {
            Sums::Given(digest) => {
                return Ok(Vouched {
                    digest: digest.clone(),
                    signature: Signature::unchecked("no signature of it is known"),
                });
            }
            Sums::ListedAt(sums_url) => sums_url,
        };
        let fetched = self.downloader.fetch_bytes(sums_url)?;
        let (signature, sums) = self.vouched_for(wanted, place, sums_url, &fetched)?;
        let file = file_name(&place.url);
        let digest = checksum::find(&sums, file).ok_or_else(|| StoreError::NotListed {
            sums_url: sums_url.clone(),
            file: file.to_owned(),
        })?;
        Ok(Vouched {
            digest: Some(digest),
            signature,
        })
    }

    /// What is known of a checksum file's signature, and the text of it to use.
    fn vouched_for(
        &self,
        wanted: &Wanted,
        place: &Place,
        sums_url: &str,
        sums: &[u8],
    ) -> Result<(Signature, String), StoreError> {
        let unchecked = |why: String| {
            (
                Signature::unchecked(why),
                String::from_utf8_lossy(sums).into_owned(),
            )
        };
        let detached = match &place.signature {
            None => return Ok(unchecked("no signature of it is known".to_owned())),
            Some(Signed::Inline) => None,
            Some(Signed::At(url)) => match self.downloader.fetch_bytes(url) {
                Ok(bytes) => Some(bytes),
                Err(FetchError::Status { status, .. }) => {
                    return Ok(unchecked(format!("{url} is not there ({status})")));
                }
                Err(error) => return Err(error.into()),
            },
        };
        let signed = signature::Signed {
            what: sums_url,
            sums,
            detached: detached.as_deref(),
        };
        Ok(signature::check(
            signed,
            &wanted.keyrings,
            &self.staging(&wanted.key)?,
        )?)
    }

    /// A file that is not what it should be does not stay: a later attempt would only resume it.
    fn verify(&self, url: &str, part: &Path, expected: &Digest) -> Result<(), StoreError> {
        let file = File::open(part).map_err(StoreError::file(part))?;
        let mut file = self.until_called_off(file);
        let actual = Digest::of(expected.algorithm(), &mut file).map_err(StoreError::file(part))?;
        if actual == *expected {
            return Ok(());
        }
        download::discard(part).map_err(StoreError::file(part))?;
        Err(StoreError::WrongChecksum {
            url: url.to_owned(),
            expected: expected.clone(),
            actual,
        })
    }

    /// The disk itself, whatever it came packed in, whole and on stable storage.
    fn unpack_into(&self, url: &str, part: &Path, disk: &Path) -> Result<Unpacked, StoreError> {
        let is_packed = unpack::compression(part).map_err(StoreError::file(part))? != Compression::None;
        if !is_packed {
            fs::rename(part, disk).map_err(StoreError::file(disk))?;
        } else {
            let packed = unpack::reader(part).map_err(StoreError::file(part))?;
            let mut packed = self.until_called_off(packed);
            unpack::spread(&mut packed, disk).map_err(|error| match error {
                SpreadError::Read(source) => StoreError::Unpack {
                    url: url.to_owned(),
                    source,
                },
                SpreadError::Write(source) => StoreError::file(disk)(source),
            })?;
        }
        let of_disk = checked_format(disk, Path::new(url))?;
        Ok(Unpacked { of_disk, is_packed })
    }
}
