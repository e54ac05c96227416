//! What a file is, by its content: the formats that disks and whole machines come in.
//!
//! | format | mark |
//! |---|---|
//! | qcow2 | `QFI\xfb` at 0 |
//! | VMDK | `KDMV` at 0 (sparse, stream-optimised); a descriptor alone begins with `# Disk DescriptorFile` |
//! | VDI | 0xbeda107f, little-endian, at 64 |
//! | VHDX | `vhdxfile` at 0 |
//! | VHD | `conectix` at 0 (a copy of the footer) or 512 bytes before the end |
//! | OVA, any tar | `ustar` at 257 |
//! | ISO 9660 | `CD001` at 32769; many are disks for BIOSes, too, so this is asked before the boot record |
//! | raw | a boot record's 0x55aa at 510, or nothing that is known in a whole number of sectors |
//!
//! Nothing is opened but the file itself, and at most [`HEAD_LEN`] bytes and the last sector are read.

use super::ImportError;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

const SECTOR: u64 = 512;
/// To the end of the volume descriptor of ISO 9660 that carries the mark.
const HEAD_LEN: u64 = 34 * 1024;

/// What a file that is not compressed holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// QEMU copy-on-write.
    Qcow2,
    /// A VMware disk, all in one file.
    Vmdk,
    /// A VMware descriptor, which names other files.
    VmdkDescriptor,
    /// A VirtualBox disk.
    Vdi,
    /// A Hyper-V disk.
    Vhdx,
    /// A Virtual PC disk.
    Vhd,
    /// A tar archive: a machine with its description.
    Tar,
    /// An optical medium.
    Iso9660,
    /// The disk's sectors and nothing else.
    Raw,
    /// None of these.
    Unknown,
}

impl Format {
    /// Tells from a file's first bytes, its last sector and its length.
    #[must_use]
    pub fn tell(head: &[u8], last: &[u8], length: u64) -> Self {
        let at = |at: usize, mark: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(mark));
        const MARKS: [(usize, &[u8], Format); 9] = [
            (0, b"QFI\xfb", Format::Qcow2),
            (0, b"KDMV", Format::Vmdk),
            (0, b"COWD", Format::VmdkDescriptor),
            (0, b"# Disk DescriptorFile", Format::VmdkDescriptor),
            (64, &0xbeda_107f_u32.to_le_bytes(), Format::Vdi),
            (0, b"vhdxfile", Format::Vhdx),
            (0, b"conectix", Format::Vhd),
            (257, b"ustar", Format::Tar),
            (32769, b"CD001", Format::Iso9660),
        ];
        if let Some((_, _, format)) = MARKS.iter().find(|(offset, mark, _)| at(*offset, mark)) {
            return *format;
        }
        if last.starts_with(b"conectix") {
            return Self::Vhd;
        }
        let is_text = head
            .iter()
            .take(512)
            .all(|byte| matches!(byte, 9 | 10 | 13 | 32..=126));
        let whole_sectors = length > 0 && length.is_multiple_of(SECTOR);
        if at(510, &[0x55, 0xaa]) || (whole_sectors && !is_text) {
            Self::Raw
        } else {
            Self::Unknown
        }
    }

    /// Of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let (mut head, mut last) = (Vec::new(), Vec::new());
        (&mut file).take(HEAD_LEN).read_to_end(&mut head)?;
        file.seek(SeekFrom::Start(length.saturating_sub(SECTOR)))?;
        file.take(SECTOR).read_to_end(&mut last)?;
        Ok(Self::tell(&head, &last, length))
    }

    /// QEMU's name of a disk's format; `None` for what is no disk.
    pub(super) const fn qemu(self) -> Option<&'static str> {
        match self {
            Self::Qcow2 => Some("qcow2"),
            Self::Vmdk => Some("vmdk"),
            Self::Vdi => Some("vdi"),
            Self::Vhdx => Some("vhdx"),
            Self::Vhd => Some("vpc"),
            Self::Raw => Some("raw"),
            Self::VmdkDescriptor | Self::Tar | Self::Iso9660 | Self::Unknown => None,
        }
    }
}

/// Refuses a disk that leads to other files, or that only its owner can read. QEMU's drivers refuse parents of VDI and VHDX
/// themselves.
///
/// # Errors
/// When it does, or cannot be read.
pub(crate) fn stands_alone(path: &Path, format: Format) -> Result<(), ImportError> {
    let read = |result: io::Result<Option<&'static str>>| match result {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(ImportError::LeadsElsewhere {
            path: path.to_owned(),
            what,
        }),
        Err(source) => Err(ImportError::Read {
            path: path.to_owned(),
            source,
        }),
    };
    match format {
        Format::Qcow2 => read(crate::qcow2::Header::of(path).map(|header| match header {
            None => Some("has a header that is not understood"),
            Some(header) => header.leads_elsewhere(),
        })),
        Format::Vmdk => read(vmdk(path)),
        Format::Vhd => read(vhd(path)),
        _ => Ok(()),
    }
}

/// VMware's Virtual Disk Format 5.0: capacity at 12, the embedded descriptor's place, in sectors, at 28.
/// A header without capacity is QEMU's cue to look for extents in other files; a descriptor with a parent's CID names one.
fn vmdk(path: &Path) -> io::Result<Option<&'static str>> {
    /// QEMU takes no longer ones.
    const DESCRIPTOR_MAX: u64 = 20 * SECTOR;
    let mut file = File::open(path)?;
    let mut header = [0; 36];
    file.read_exact(&mut header)?;
    let long = |at: usize| {
        let bytes = header.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        u64::from_le_bytes(bytes.unwrap_or_default())
    };
    if long(12) == 0 {
        return Ok(Some("keeps its data in other files"));
    }
    // Where the header says, and where QEMU's driver looks for a parent whatever the header says.
    for at in [long(28).saturating_mul(SECTOR), SECTOR] {
        let mut descriptor = Vec::new();
        file.seek(SeekFrom::Start(at.min(1 << 62)))?;
        (&mut file).take(DESCRIPTOR_MAX).read_to_end(&mut descriptor)?;
        if has_parent(&descriptor) {
            return Ok(Some("is a snapshot that lies on another disk"));
        }
    }
    Ok(None)
}

fn has_parent(descriptor: &[u8]) -> bool {
    const HINT: &[u8] = b"parentfilenamehint";
    descriptor
        .to_ascii_lowercase()
        .windows(HINT.len())
        .any(|window| window == HINT)
}

/// The footer's disk type, big-endian at 60: 2 fixed, 3 dynamic, 4 differencing (Microsoft's VHD specification 1.0).
fn vhd(path: &Path) -> io::Result<Option<&'static str>> {
    const TYPE_AT: usize = 60;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SECTOR)))?;
    let mut footer = Vec::new();
    file.take(SECTOR).read_to_end(&mut footer)?;
    let kind = footer.get(TYPE_AT..TYPE_AT + 4);
    Ok((kind == Some(&[0, 0, 0, 4])).then_some("is a snapshot that lies on another disk"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_of_text_is_no_disk_even_in_whole_sectors() {
        let page = b"<html>not found</html> ".repeat(1024);
        assert_eq!(Format::tell(&page[..4096], b"", 4096), Format::Unknown);
        assert_eq!(Format::tell(&[0; 4096], &[0; 512], 4096), Format::Raw);
        assert_eq!(Format::tell(&[0; 4000], &[0; 512], 4000), Format::Unknown);
        assert_eq!(Format::tell(b"", b"", 0), Format::Unknown);
    }

    #[test]
    fn a_medium_that_also_boots_as_a_disk_is_a_medium() {
        let mut head = vec![0; 33 * 1024];
        head[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(Format::tell(&head, &[], 1 << 20), Format::Raw);
        head[32769..32774].copy_from_slice(b"CD001");
        assert_eq!(Format::tell(&head, &[], 1 << 20), Format::Iso9660);
    }

    proptest! {
        #[test]
        fn any_file_is_told_and_checked_without_a_panic(head in proptest::collection::vec(any::<u8>(), 0..600), mark in 0_usize..5) {
            let marks: [&[u8]; 5] = [b"", b"KDMV", b"QFI\xfb\0\0\0\x03", b"conectix", b"vhdxfile"];
            let bytes = [marks[mark], &head].concat();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            let format = Format::of(file.path()).unwrap();
            let _ = stands_alone(file.path(), format);
        }
    }
}
