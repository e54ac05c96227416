//! What a qcow2 file says of itself before its data, read without opening anything else.
//!
//! A qcow2 can name two other files, which QEMU opens with the rights of whoever runs it: its backing file, and since
//! version 3 a file that holds the data. In an image from somewhere else that is a way to the host's files, so such images
//! are told apart here, before any program that would follow the names sees them. QEMU's `docs/interop/qcow2.rst` has the
//! layout: a header in big-endian of 72 bytes, from version 3 on with 32 more at least.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// What every qcow2 begins with.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";
/// The backing file's name has at most so many bytes.
const NAME_MAX: u32 = 1023;
/// As much of a header as is read here: what lies at 72 are version 3's incompatible features.
const HEADER_LEN: usize = 80;
const V2_LEN: usize = 72;
const EXTERNAL_DATA: u64 = 1 << 2;

/// A qcow2's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Where the backing file's name lies and its length, when there is one.
    backing: Option<(u64, u32)>,
    /// The size that the guest sees, in bytes.
    pub virtual_size: u64,
    /// Whether the guest's data are encrypted.
    pub is_encrypted: bool,
    /// Whether the guest's data lie in another file.
    pub has_external_data: bool,
}

impl Header {
    /// Reads a file's first bytes; `None` when they are no header of a version that QEMU has written, 2 or 3.
    #[must_use]
    pub fn parse(start: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_be_bytes(start.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_be_bytes(start.get(at..at + 8)?.try_into().ok()?));
        if !start.starts_with(&MAGIC) || start.len() < V2_LEN {
            return None;
        }
        let incompatible = match word(4)? {
            2 => 0,
            3 => long(V2_LEN)?,
            _ => return None,
        };
        let (at, length) = (long(8)?, word(16)?);
        Some(Self {
            backing: (at != 0 && length != 0).then_some((at, length)),
            virtual_size: long(24)?,
            is_encrypted: word(32)? != 0,
            has_external_data: incompatible & EXTERNAL_DATA != 0,
        })
    }

    /// What stands against taking it in, if anything does, as in "lies on a backing file".
    #[must_use]
    pub const fn leads_elsewhere(&self) -> Option<&'static str> {
        match self {
            Self { backing: Some(_), .. } => Some("lies on a backing file"),
            Self {
                has_external_data: true,
                ..
            } => Some("keeps its data in another file"),
            Self {
                is_encrypted: true, ..
            } => Some("is encrypted"),
            _ => None,
        }
    }

    /// Whether it lies on another file.
    #[must_use]
    pub const fn has_backing(&self) -> bool {
        self.backing.is_some()
    }

    /// Of a file; `None` when it is no qcow2.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        Self::read(&mut File::open(path)?)
    }

    fn read(file: &mut File) -> io::Result<Option<Self>> {
        let mut start = Vec::with_capacity(HEADER_LEN);
        file.take(HEADER_LEN as u64).read_to_end(&mut start)?;
        Ok(Self::parse(&start))
    }
}

/// The name of a qcow2's backing file, as it stands there; `None` when it has none or is no qcow2.
///
/// # Errors
/// When the file cannot be read.
pub fn backing_file(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut file = File::open(path)?;
    let Some(header) = Header::read(&mut file)? else {
        return Ok(None);
    };
    let Some((at, length)) = header.backing else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(at))?;
    let mut name = vec![0; usize::try_from(length.min(NAME_MAX)).unwrap_or_default()];
    file.read_exact(&mut name)?;
    Ok(Some(std::ffi::OsString::from_vec(name).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::DiskFormat;
    use crate::overlay;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn what_qemu_writes_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base.img");
        File::create(&base).unwrap().set_len(1 << 20).unwrap();
        let own = folder.path().join("own.qcow2");
        overlay::create(&base, DiskFormat::Raw, &own, Some(2 << 20)).unwrap();
        let header = Header::of(&own).unwrap().unwrap();
        assert_eq!((header.has_backing(), header.virtual_size), (true, 2 << 20));
        assert_eq!(backing_file(&own).unwrap(), Some(base.canonicalize().unwrap()));
        assert_eq!(
            (Header::of(&base).unwrap(), backing_file(&base).unwrap()),
            (None, None)
        );
    }

    #[test]
    fn data_in_another_file_show() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("qemu-img");
        command.current_dir(&folder).args([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "data_file=d.raw",
            "d.qcow2",
            "1M",
        ]);
        assert!(command.status().unwrap().success());
        let header = Header::of(&folder.path().join("d.qcow2")).unwrap().unwrap();
        assert_eq!((header.has_external_data, header.has_backing()), (true, false));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_none(version in 0_u32..5, rest in proptest::collection::vec(any::<u8>(), 0..100)) {
            let start = [&MAGIC[..], &version.to_be_bytes(), &rest].concat();
            let header = Header::parse(&start);
            prop_assert!(header.is_none() || matches!((version, start.len()), (2, V2_LEN..) | (3, HEADER_LEN..)));
        }
    }
}
