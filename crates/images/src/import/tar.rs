//! The index of a tar archive, as far as OVA needs it: where each plain file's bytes lie.
//!
//! Nothing is ever written to where an archive's names say: who wants a file asks for it by its name, and gets its bytes. So
//! names with `..`, links and devices have no way to do harm; entries that are no plain files are skipped. Read are POSIX
//! ustar headers (IEEE 1003.1, pax) and GNU's base-256 sizes; an entry with an extended header (`x`, `g`, `L`, `K`) keeps
//! the name of its plain header, which for an OVA's short names is the same. Bounds: [`MAX_ENTRIES`] headers.

use std::io::{self, Read, Seek, SeekFrom};

use crate::archive::{BLOCK as BLOCK_LEN, checksum, value};

const BLOCK: u64 = BLOCK_LEN as u64;
/// An OVA holds a description, its checksums, a certificate and a few disks.
pub const MAX_ENTRIES: usize = 256;

/// A plain file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name as it stands there.
    pub name: String,
    /// Where its bytes begin in the archive.
    pub offset: u64,
    /// How many there are.
    pub length: u64,
}

/// Lists the plain files of an archive; what does not lie in the archive whole is an error.
///
/// # Errors
/// When it cannot be read, ends early, or is no tar.
pub fn members(archive: &mut (impl Read + Seek)) -> io::Result<Vec<Member>> {
    let end = archive.seek(SeekFrom::End(0))?;
    let mut at = 0_u64;
    let mut found = Vec::new();
    for _ in 0..MAX_ENTRIES {
        let mut header = [0; BLOCK_LEN];
        archive.seek(SeekFrom::Start(at))?;
        // The archive ends with zeros; some writers leave them out.
        if at >= end || archive.read_exact(&mut header).is_err() || header == [0; BLOCK_LEN] {
            return Ok(found);
        }
        let (kind, member) = parse(&header, at)?;
        let after = member.offset.checked_add(member.length);
        if after.is_none_or(|after| after > end) {
            return Err(broken("it ends within a file"));
        }
        at = member
            .length
            .checked_next_multiple_of(BLOCK)
            .and_then(|length| member.offset.checked_add(length))
            .ok_or_else(|| broken("a file's size is beyond all bounds"))?;
        if matches!(kind, b'0' | 0) {
            found.push(member);
        }
    }
    Err(broken("it has too many entries"))
}

/// The kind of an entry, and where it lies.
fn parse(header: &[u8; BLOCK_LEN], at: u64) -> io::Result<(u8, Member)> {
    let field = |from: usize, len: usize| header.get(from..from + len).unwrap_or_default();
    let sum = value(field(148, 8)).ok_or_else(|| broken("a header's checksum is no number"))?;
    if sum != u64::from(checksum(header)) {
        return Err(broken("a header's checksum is wrong"));
    }
    let length = value(field(124, 12)).ok_or_else(|| broken("a file's size is no number"))?;
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
    };
    let member = Member {
        name: text(field(0, 100)),
        offset: at.saturating_add(BLOCK),
        length,
    };
    Ok((field(156, 1).first().copied().unwrap_or_default(), member))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    #[test]
    fn what_tar_writes_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("a.ovf"), "abc").unwrap();
        std::fs::write(folder.path().join("b.vmdk"), [7; 1000]).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("l.vmdk")).unwrap();
        for format in ["ustar", "gnu", "pax"] {
            let mut tar = std::process::Command::new("tar");
            tar.current_dir(&folder).arg(format!("--format={format}"));
            let output = tar
                .args(["-cf", "-", "a.ovf", "b.vmdk", "l.vmdk", "sub"])
                .output()
                .unwrap();
            let found = members(&mut Cursor::new(&output.stdout)).unwrap();
            let names: Vec<_> = found.iter().map(|it| (it.name.as_str(), it.length)).collect();
            assert_eq!(names, [("a.ovf", 3), ("b.vmdk", 1000)], "{format}");
            let at = usize::try_from(found[0].offset).unwrap();
            assert_eq!(&output.stdout[at..at + 3], b"abc");
        }
    }

    proptest! {
        #[test]
        fn members_lie_inside_whatever_the_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..3000), size in "[0-7]{0,12}", fix in any::<bool>()) {
            if fix && bytes.len() >= BLOCK_LEN {
                bytes[124..124 + size.len()].copy_from_slice(size.as_bytes());
                bytes[148..156].fill(b' ');
                let sum: u64 = bytes[..BLOCK_LEN].iter().map(|byte| u64::from(*byte)).sum();
                bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            let end = bytes.len() as u64;
            if let Ok(found) = members(&mut Cursor::new(bytes)) {
                for member in found {
                    prop_assert!(member.offset + member.length <= end);
                }
            }
        }
    }
}
