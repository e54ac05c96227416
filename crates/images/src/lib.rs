//! Images: catalogue, fetch, verify, unpack, cache, overlay, build, and the NoCloud documents.
//!
//! The way from a word in a cluster file to something QEMU can boot:
//!
//! ```text
//! "debian-13" ── Source::parse ──> Source ── Store::pull ──> Image ── overlay::create ──> a machine's own disk
//!                                    │                         ▲
//!                                    │ catalogue, download,    │ build::micro, build::debian
//!                                    │ checksum, unpack        │ (from Debian packages, no network images)
//!                                    └─────────────────────────┘
//! ```
//!
//! The vendors' servers are out of reach where this is built: fetching and signatures are tested against a web server on
//! loopback and keys of the tests' own, and the catalogue's addresses and keyrings are as the vendors document them.
//!
//! Nothing here knows a clock, an event loop or a network of ours. All calls block; progress is told through a
//! callback. Every error says its [`Kind`] (whose fault it is) and, where one can act, a hint.
//!
//! | module | does | effects |
//! |---|---|---|
//! | [`catalogue`] | names of vendor images, where they and their checksums lie | none |
//! | [`source`] | what a user's `image:` means | none |
//! | [`archive`] | tar archives as streams, read as if from an enemy | none |
//! | [`checksum`] | digests, and the vendors' checksum file formats | none |
//! | [`signature`] | whether a checksum file is its vendor's | `gpgv`, `gpg` or `sqv` |
//! | [`download`] | one URL into one file: resume, retry, bounds | HTTP, files |
//! | [`unpack`] | compression and disk format by magic number | files |
//! | [`store`] | the cache: locks, verification, visibility by rename | files |
//! | [`import`] | disks and machines from elsewhere | `qemu-img`, files |
//! | [`qcow2`] | whether a disk leads to other files | reads one file |
//! | [`overlay`] | qcow2 overlays | `qemu-img` |
//! | [`disk_state`] | states of a disk inside its file | `qemu-img` |
//! | [`nocloud`] | the documents cloud-init asks for | none |
//! | [`cpio`] | the archive format of an initramfs | none |
//! | [`build`] | images from Debian packages | `apt-get`, `mmdebstrap`, … |

#![forbid(unsafe_code)]

pub mod arch;
pub mod archive;
pub mod build;
pub mod catalogue;
pub mod checksum;
pub mod cpio;
pub mod disk_state;
pub mod download;
pub mod error;
mod files;
pub mod image;
pub mod import;
pub mod nocloud;
pub mod overlay;
pub mod qcow2;
pub mod signature;
pub mod source;
pub mod store;
pub mod tool;
pub mod unpack;

pub use arch::Arch;
pub use catalogue::Catalogue;
pub use error::Kind;
pub use image::{Boot, DiskFormat, Image};
pub use source::Source;
pub use store::{Store, StoreError};
