//! The "newc" cpio archive, the one format the kernel unpacks as an initramfs
//! (Documentation/driver-api/early-userspace/buffer-format.rst): for each entry a header of 110 ASCII bytes, the name
//! with a NUL, the data, each of the two padded to four bytes; at the end an entry named `TRAILER!!!`.
//!
//! Owners are root and times are zero, so the same entries give the same bytes. Parent folders are the caller's to
//! write first: the kernel makes none.

use std::io::{self, Write};

const MAGIC: &str = "070701";
const HEADER_LEN: usize = 110;
const TRAILER: &str = "TRAILER!!!";

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;

/// Writes an archive entry by entry; [`Writer::finish`] ends it.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    next_inode: u32,
}

/// What an entry's header says beside its name.
#[derive(Default)]
struct Entry {
    inode: u32,
    mode: u32,
    links: u32,
    device: (u32, u32),
}

impl<W: Write> Writer<W> {
    /// An empty archive.
    pub const fn new(out: W) -> Self {
        Self { out, next_inode: 1 }
    }

    /// A folder.
    ///
    /// # Errors
    /// Those of the writer underneath.
    pub fn directory(&mut self, path: &str, permissions: u32) -> io::Result<()> {
        self.add(path, S_IFDIR | permissions, (0, 0), &[])
    }

    /// A regular file.
    ///
    /// # Errors
    /// Those of the writer underneath; a file of 4 GiB or more does not fit the format.
    pub fn file(&mut self, path: &str, permissions: u32, data: &[u8]) -> io::Result<()> {
        self.add(path, S_IFREG | permissions, (0, 0), data)
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// Those of the writer underneath.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.add(path, S_IFLNK | 0o777, (0, 0), target.as_bytes())
    }

    /// A character device with its major and minor number.
    ///
    /// # Errors
    /// Those of the writer underneath.
    pub fn character_device(&mut self, path: &str, permissions: u32, device: (u32, u32)) -> io::Result<()> {
        self.add(path, S_IFCHR | permissions, device, &[])
    }

    /// Writes the end mark and gives the writer back.
    ///
    /// # Errors
    /// Those of the writer underneath.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_entry(
            TRAILER,
            &Entry {
                links: 1,
                ..Entry::default()
            },
            &[],
        )?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), data: &[u8]) -> io::Result<()> {
        let inode = self.next_inode;
        self.next_inode = self.next_inode.wrapping_add(1);
        self.write_entry(
            path,
            &Entry {
                inode,
                mode,
                links: 1,
                device,
            },
            data,
        )
    }

    fn write_entry(&mut self, path: &str, entry: &Entry, data: &[u8]) -> io::Result<()> {
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let size = u32::try_from(data.len()).map_err(too_large)?;
        let name_size = u32::try_from(path.len().saturating_add(1)).map_err(too_large)?;
        let Entry {
            inode,
            mode,
            links,
            device: (major, minor),
        } = *entry;
        let (uid, gid, mtime, dev, check) = (0, 0, 0, (0, 0), 0);
        self.out.write_all(MAGIC.as_bytes())?;
        for field in [
            inode, mode, uid, gid, links, mtime, size, dev.0, dev.1, major, minor, name_size, check,
        ] {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(path.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(HEADER_LEN.saturating_add(path.len()).saturating_add(1))?;
        self.out.write_all(data)?;
        self.pad(data.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        const ZEROS: [u8; 3] = [0; 3];
        let missing = written.wrapping_neg() % 4;
        self.out.write_all(&ZEROS[..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::process::{Command, Stdio};

    /// Runs cpio in `folder` with the archive on its standard input.
    fn cpio(arguments: &[&str], folder: &Path, archive: &[u8]) -> String {
        let mut child = Command::new("cpio")
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(archive).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn cpio_reads_back_what_was_written(
            files in proptest::collection::btree_map(
                "[a-z]{1,9}", proptest::collection::vec(any::<u8>(), 0..2000), 0..9),
        ) {
            let files: BTreeMap<String, Vec<u8>> = files;
            let mut archive = Writer::new(Vec::new());
            for (name, data) in &files {
                archive.file(name, 0o640, data).unwrap();
            }
            let archive = archive.finish().unwrap();
            prop_assert_eq!(archive.len() % 4, 0);
            let folder = tempfile::tempdir().unwrap();
            let listed = cpio(&["-t", "--quiet"], folder.path(), &archive);
            prop_assert_eq!(listed.lines().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>());
            cpio(&["-i", "--quiet"], folder.path(), &archive);
            for (name, data) in &files {
                prop_assert_eq!(&std::fs::read(folder.path().join(name)).unwrap(), data);
            }
        }
    }

    #[test]
    fn every_kind_of_entry_keeps_its_type_and_mode() {
        let mut archive = Writer::new(Vec::new());
        archive.directory("dev", 0o755).unwrap();
        archive.character_device("dev/console", 0o600, (5, 1)).unwrap();
        archive.symlink("init", "bin/sh").unwrap();
        archive.file("run", 0o755, b"#!").unwrap();
        let archive = archive.finish().unwrap();
        let listed = cpio(&["-tvn", "--quiet"], Path::new("/"), &archive);
        let words: Vec<Vec<&str>> = listed
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let first: Vec<&str> = words.iter().map(|line| line[0]).collect();
        assert_eq!(first, ["drwxr-xr-x", "crw-------", "lrwxrwxrwx", "-rwxr-xr-x"]);
        assert!(listed.contains("init -> bin/sh"), "{listed}");
        assert_eq!(&words[1][4..6], ["5,", "1"], "{listed}");
    }
}
