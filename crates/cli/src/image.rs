//! `image`: the cache of images on this host.

mod bring_in;
mod housekeeping;

use std::path::{Path, PathBuf};

use atoll_control::cluster::image::{catalogue, store};
use atoll_control::cluster::paths::Places;
use atoll_control::cluster::problem::Problem;
use atoll_control::images::build::{Release, Target};
use atoll_control::images::catalogue::{Entry, Offer, Signed, Sums};
use atoll_control::images::image::Origin;
use atoll_control::images::{Arch, Source, Store, build};
use bring_in::{ImportArgs, SaveArgs};
use clap::{Args, Subcommand, ValueEnum};
use housekeeping::PruneArgs;
use serde::Serialize;

use crate::failure::{Failure, say};
use crate::meter::{Meter, mebibytes};
use crate::shape::Shape;
use crate::table::{or_dash, print};

/// Arguments of `image`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  atoll image build micro\n  atoll image pull debian\n  atoll image ls")]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the images on this host, or those that can be fetched by name
    #[command(
        after_help = "Example:\n  atoll image ls                what is here\n  atoll image ls --catalogue    what `atoll image pull` and `image:` know by name"
    )]
    Ls {
        /// The catalogue of the vendors' cloud images instead: names, architectures, sources
        #[arg(long)]
        catalogue: bool,
        #[command(flatten)]
        shape: Shape,
    },
    /// Fetch an image: a name of the catalogue or an address. `atoll up` does so by itself
    #[command(
        after_help = "Example:\n  atoll image pull ubuntu-24.04\n  atoll image pull fedora --arch aarch64\n  atoll image pull https://example.org/disk.qcow2.xz"
    )]
    Pull {
        /// A name in `atoll image ls --catalogue`, or https://…
        image: String,
        #[command(flatten)]
        arch: ArchArg,
        /// Ask no server: say whether the image is here
        #[arg(long)]
        offline: bool,
        /// Take only an image whose vendor's signature can be verified here
        #[arg(long)]
        require_signature: bool,
    },
    /// Build an image from Debian packages
    #[command(
        after_help = "Example:\n  atoll image build micro\n  atoll image build debian --with iperf3 --with tcpdump\n  atoll image build debian --release trixie     image: built:debian-trixie\n  atoll image build micro --arch aarch64"
    )]
    Build {
        /// What to build
        what: Buildable,
        #[command(flatten)]
        arch: ArchArg,
        /// Code name of the Debian release, and then part of the image's name; this machine's own when left out
        #[arg(long, value_name = "NAME")]
        release: Option<Release>,
        /// Further Debian package in a `debian` image. Repeatable
        #[arg(long, value_name = "PACKAGE")]
        with: Vec<String>,
    },
    /// Take a disk in from a file: raw, qcow2, vmdk, vdi, vhdx, vhd or ova, also compressed
    #[command(
        after_help = "Example:\n  atoll image import appliance.ova                image: appliance\n  atoll image import disk.vmdk.gz own --user admin\n\nWhat the file is says its content. A disk that would make QEMU open other files of this host is refused."
    )]
    Import(ImportArgs),
    /// Take a stopped machine's disk in as an image of its own
    #[command(after_help = "Example:\n  atoll down web && atoll image save web golden    image: golden")]
    Save(SaveArgs),
    /// Remove an image by its name
    #[command(after_help = "Example:\n  atoll image rm debian-12")]
    Rm {
        /// Its name in `atoll image ls`
        image: String,
    },
    /// Remove images that newer ones stand in for and no machine uses, and what interrupted work left
    #[command(
        after_help = "Example:\n  atoll image prune          images that were replaced\n  atoll image prune --all    every image that no machine uses\n  atoll image prune --all --older-than 30d --dry-run"
    )]
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
struct ArchArg {
    /// The guest's architecture; the host's when left out
    #[arg(long, value_parser = parse_arch)]
    arch: Option<Arch>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Buildable {
    /// A kernel with busybox; boots in seconds, has no disk and no ssh
    Micro,
    /// A Debian disk with cloud-init and ssh
    Debian,
}

fn parse_arch(text: &str) -> Result<Arch, String> {
    text.parse()
        .map_err(|error: atoll_control::images::arch::UnknownArch| error.to_string())
}

impl ArchArg {
    fn arch(&self) -> Arch {
        self.arch
            .or_else(|| std::env::consts::ARCH.parse().ok())
            .unwrap_or(Arch::X86_64)
    }
}

fn places() -> Result<Places, Failure> {
    Places::of_process().map_err(|error| {
        Problem::environment(error.to_string())
            .with_hint(error.hint())
            .into()
    })
}

pub(crate) fn image(args: ImageArgs) -> Result<(), Failure> {
    if let Action::Ls {
        catalogue: true,
        shape,
    } = &args.action
    {
        return list_catalogue(shape);
    }
    let places = places()?;
    let store = store(&places.images)?;
    match args.action {
        Action::Ls { shape, .. } => housekeeping::list(&store, &shape, &places),
        Action::Pull {
            image,
            arch,
            offline,
            require_signature,
        } => {
            let store = store.offline(offline).signed_only(require_signature);
            pull(&store, &image, arch.arch())
        }
        Action::Build {
            what,
            arch,
            release,
            with,
        } => {
            let target = Target {
                arch: arch.arch(),
                release: release.as_ref(),
            };
            build(&store, what, target, &with)
        }
        Action::Import(args) => bring_in::import(&store, &args),
        Action::Save(args) => bring_in::save(&store, &args),
        Action::Rm { image } => housekeeping::remove(&store, &image, &places),
        Action::Prune(args) => housekeeping::prune(&store, &args, &places),
    }
}

/// An image of the catalogue as it is listed.
#[derive(Debug, Serialize)]
struct Offered {
    name: String,
    also: Vec<String>,
    arch: Arch,
    ssh_user: Option<String>,
    source: String,
    mirrors: Vec<String>,
    checksums: Option<String>,
    digest: Option<String>,
    signature: Option<String>,
    keyrings: Vec<PathBuf>,
    /// From the user's own file.
    own: bool,
}

impl Offered {
    fn of(offer: &Offer, entry: Entry) -> Option<Self> {
        let mut places = entry.places.into_iter();
        let place = places.next()?;
        let (checksums, digest) = match place.digest {
            Sums::ListedAt(url) => (Some(url), None),
            Sums::Given(digest) => (None, digest.map(|digest| digest.to_string())),
        };
        Some(Self {
            name: entry.name,
            also: offer.also().map(str::to_owned).collect(),
            arch: entry.arch,
            ssh_user: entry.ssh_user,
            source: place.url,
            mirrors: places.map(|place| place.url).collect(),
            checksums,
            digest,
            signature: place.signature.map(|signature| match signature {
                Signed::Inline => "inline".to_owned(),
                Signed::At(url) => url,
            }),
            keyrings: entry.keyrings,
            own: offer.is_users(),
        })
    }
}

fn list_catalogue(shape: &Shape) -> Result<(), Failure> {
    let catalogue = catalogue()?;
    let offered: Vec<Offered> = catalogue
        .entries()
        .filter_map(|(offer, entry)| Offered::of(offer, entry))
        .collect();
    if shape.print(&offered, &offered)? {
        return Ok(());
    }
    let row = |image: &Offered| {
        let also = (!image.also.is_empty()).then(|| image.also.join(", "));
        vec![
            image.name.clone(),
            or_dash(also),
            image.arch.to_string(),
            image.source.clone(),
        ]
    };
    let rows: Vec<_> = offered.iter().map(row).collect();
    Ok(print(&["NAME", "ALSO", "ARCH", "SOURCE"], &rows)?)
}

fn pull(store: &Store, image: &str, arch: Arch) -> Result<(), Failure> {
    let source = source(image)?;
    let meter = Meter::new(image);
    let pulled = store.pull(&source, arch, &mut |progress| meter.tell(progress));
    meter.finish();
    let pulled = pulled.map_err(Problem::from)?;
    say(&format!("{} is here: {}", pulled.name, mebibytes(pulled.bytes)));
    // Of a URL nobody expects a signature.
    if let (Some(signature), Origin::Catalogue) = (&pulled.signature, pulled.origin) {
        say(&format!("its signature was {signature}"));
    }
    Ok(())
}

/// What the user means by an image.
fn source(image: &str) -> Result<Source, Failure> {
    let here = std::env::current_dir()?;
    let home = std::env::var_os("HOME");
    let source = Source::parse(image, &here, home.as_deref().map(Path::new));
    source.map_err(|error| Problem::usage(error.to_string()).into())
}

fn build(store: &Store, what: Buildable, target: Target<'_>, with: &[String]) -> Result<(), Failure> {
    let progress = &mut |line: &str| say(line);
    let arch = target.arch;
    let built = match what {
        Buildable::Micro if !with.is_empty() => {
            return Err(Problem::usage("a micro image takes no further packages").into());
        }
        Buildable::Micro => store.build(&target.image_name("micro"), arch, |folder| {
            build::micro::build(target, folder, progress)
        }),
        Buildable::Debian => store.build(&target.image_name("debian"), arch, |folder| {
            build::debian::build(target, with, folder, progress)
        }),
    };
    let built = built.map_err(Problem::from)?;
    say(&format!(
        "{} is built: {} MiB",
        built.name,
        built.bytes.div_ceil(1 << 20)
    ));
    Ok(())
}
