//! The image that a machine's file names, on this host: found, or fetched with progress.

mod references;

pub use references::References;

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use atoll_images::checksum::{Algorithm, Digest};
use atoll_images::{Arch, Catalogue, Image, Source, Store, StoreError};
use atoll_spec as spec;

use crate::convert::image_kind;
use crate::launch::resolve;
use crate::paths::ClusterPaths;
use crate::problem::{Kind, Problem};

/// Stands in for the vendors' hosts: a mirror that has their paths.
pub const MIRROR_VARIABLE: &str = "ATOLL_IMAGE_MIRROR";

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::new(image_kind(error.kind()), error.to_string()).with_hint_if(error.hint())
    }
}

/// What stands in for the vendors' hosts, if anything does.
#[must_use]
pub fn mirror() -> Option<String> {
    std::env::var(MIRROR_VARIABLE).ok().filter(|url| !url.is_empty())
}

/// The images that are known by name: the built-in ones, and those of the user's file if there is one.
///
/// # Errors
/// When that file is wrong, with its places, or cannot be read.
pub fn catalogue() -> Result<Catalogue, Problem> {
    let catalogue = Catalogue::default().with_base_url(mirror());
    let Some(file) = catalogue_file() else {
        return Ok(catalogue);
    };
    match std::fs::read_to_string(&file) {
        Ok(text) => match spec::parse_catalogue(&file.display().to_string(), &text) {
            Ok(images) => Ok(catalogue.with_users(images)),
            Err(mistakes) => Err(Problem::new(Kind::Configuration, mistakes.to_string())),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(catalogue),
        Err(error) => {
            let message = format!("cannot read {}: {error}", file.display());
            Err(Problem::new(Kind::Configuration, message))
        }
    }
}

/// `$XDG_CONFIG_HOME/atoll/images.yaml`, or `~/.config/atoll/images.yaml`.
#[must_use]
pub fn catalogue_file() -> Option<PathBuf> {
    let folder = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")));
    Some(config?.join("atoll").join("images.yaml"))
}

/// The host's image cache.
///
/// # Errors
/// When its folder cannot be made, or [`catalogue`] fails.
pub fn store(folder: &Path) -> Result<Store, Problem> {
    Ok(Store::open(folder)?.with_catalogue(catalogue()?))
}

/// The image, from `store`; `tell` hears how far a download is, in words and in percent.
pub(crate) fn have_image(
    wanted: &spec::Image,
    arch: Arch,
    store: &Store,
    folder: &Path,
    tell: &dyn Fn(String, Option<u8>),
) -> Result<Image, Problem> {
    let source = source(wanted, folder)?;
    let mut last = None;
    let image = store.pull(&source, arch, &mut |progress| {
        let percent = percent(progress.bytes, progress.total);
        let mebibytes = progress.bytes >> 20;
        // A download reports far more often than anybody wants to read.
        if last != Some((percent, mebibytes)) {
            last = Some((percent, mebibytes));
            tell(fetched(mebibytes, progress.total), percent);
        }
    })?;
    verify(wanted, folder)?;
    Ok(image)
}

/// The image if it is on this host.
pub(crate) fn find_image(
    wanted: &spec::Image,
    arch: Arch,
    paths: &ClusterPaths,
    folder: &Path,
) -> Result<Option<Image>, Problem> {
    Ok(store(&paths.images)?.get(&source(wanted, folder)?, arch)?)
}

fn percent(bytes: u64, total: Option<u64>) -> Option<u8> {
    let total = total.filter(|total| *total > 0)?;
    u8::try_from(bytes.saturating_mul(100) / total).ok()
}

fn fetched(mebibytes: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("fetched {mebibytes} of {} MiB", total >> 20),
        None => format!("fetched {mebibytes} MiB"),
    }
}

/// The file's words for an image as the store's.
fn source(wanted: &spec::Image, folder: &Path) -> Result<Source, Problem> {
    Ok(match wanted {
        spec::Image::Catalogue(name) => Source::Name(name.clone()),
        spec::Image::Built(name) => Source::Name(name.to_string()),
        spec::Image::File { path, .. } => Source::Path(resolve(folder, path)),
        spec::Image::Url { url, checksum } => Source::Url {
            url: url.clone(),
            digest: checksum.as_ref().map(digest).transpose()?,
        },
    })
}

fn digest(checksum: &spec::Checksum) -> Result<Digest, Problem> {
    let text = match checksum {
        spec::Checksum::Sha256(hex) => format!("sha256:{}", hex.as_str()),
        spec::Checksum::Sha512(hex) => format!("sha512:{}", hex.as_str()),
    };
    text.parse()
        .map_err(|_| Problem::new(Kind::Configuration, format!("{text} is no digest")))
}

/// The store verifies what it fetches; a file of the user's is verified here, each time since it can change.
fn verify(wanted: &spec::Image, folder: &Path) -> Result<(), Problem> {
    let spec::Image::File {
        path,
        checksum: Some(checksum),
    } = wanted
    else {
        return Ok(());
    };
    let path = resolve(folder, path);
    let expected = digest(checksum)?;
    let algorithm = match checksum {
        spec::Checksum::Sha256(_) => Algorithm::Sha256,
        spec::Checksum::Sha512(_) => Algorithm::Sha512,
    };
    let read = File::open(&path).and_then(|mut file| Digest::of(algorithm, &mut file));
    let actual =
        read.map_err(|error| Problem::environment(format!("cannot read {}: {error}", path.display())))?;
    if actual == expected {
        return Ok(());
    }
    let message = format!(
        "{} has the wrong checksum: expected {expected}, got {actual}",
        path.display()
    );
    Err(Problem::new(Kind::Configuration, message)
        .with_hint("the file is not the one that was meant, or is damaged"))
}
