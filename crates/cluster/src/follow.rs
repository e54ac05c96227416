//! Reading files that grow: logs and journals.
//!
//! A file is looked at again and again, since nothing tells of it on every system. One that is begun anew, or replaced, is read from its beginning; one
//! that is not there yet is waited for. A look reads at most `CHUNK` bytes, so that a guest that writes without an end keeps nobody from the others.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at files in which there was nothing new.
pub const PAUSE: Duration = Duration::from_millis(200);

/// Read by one look.
const CHUNK: u64 = 64 << 10;

/// A file, and how far it was read.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    inode: Option<u64>,
    at: u64,
    /// Of the file as it is when it is first seen.
    tail: Option<usize>,
}

impl Follow {
    /// From the file's beginning, or from its last `tail` lines on.
    #[must_use]
    pub fn new(path: &Path, tail: Option<usize>) -> Self {
        Self {
            path: path.to_owned(),
            inode: None,
            at: 0,
            tail,
        }
    }

    /// What is new, in order; nothing when there is nothing new now.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn look(&mut self) -> io::Result<Vec<u8>> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let found = file.metadata()?;
        if self.inode.replace(found.ino()) != Some(found.ino()) || found.len() < self.at {
            self.at = match self.tail.take() {
                Some(lines) => start_of_tail(&mut file, lines)?,
                None => 0,
            };
        }
        file.seek(SeekFrom::Start(self.at))?;
        let mut new = Vec::new();
        let count = file.take(CHUNK).read_to_end(&mut new)?;
        self.at += count as u64;
        Ok(new)
    }
}

/// Where the last lines begin; a line without an end is one, too.
fn start_of_tail(file: &mut File, lines: usize) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let (mut end, mut left) = (length, lines);
    let mut chunk = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(CHUNK);
        file.seek(SeekFrom::Start(begin))?;
        chunk.clear();
        (&mut *file).take(end - begin).read_to_end(&mut chunk)?;
        for (at, byte) in chunk.iter().enumerate().rev() {
            let at = begin + at as u64;
            // The end of the last line does not begin another.
            if *byte == b'\n' && at + 1 != length {
                if left <= 1 {
                    return Ok(if lines == 0 { length } else { at + 1 });
                }
                left -= 1;
            }
        }
        end = begin;
    }
    Ok(if lines == 0 { length } else { 0 })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn the_last_lines_come_first_and_then_what_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for (text, lines, expected) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\nb\n", 0, ""),
            ("", 3, ""),
            ("\n\n\n", 1, "\n"),
        ] {
            fs::write(&path, text).unwrap();
            let mut follow = Follow::new(&path, Some(lines));
            assert_eq!(follow.look().unwrap(), expected.as_bytes(), "{text:?} {lines}");
            fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap()
                .write_all(b"new")
                .unwrap();
            assert_eq!(follow.look().unwrap(), b"new");
            assert_eq!(follow.look().unwrap(), b"");
        }
    }

    #[test]
    fn the_tail_of_a_long_file_is_found_across_chunks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let line = format!("{}\n", "x".repeat(40_000));
        fs::write(&path, line.repeat(5)).unwrap();
        let mut follow = Follow::new(&path, Some(3));
        let mut all = Vec::new();
        loop {
            match follow.look().unwrap() {
                new if new.is_empty() => break,
                new => all.extend(new),
            }
        }
        assert_eq!(all, line.repeat(3).as_bytes());
    }

    #[test]
    fn a_file_that_is_begun_anew_or_not_there_yet_is_read_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut follow = Follow::new(&path, Some(1));
        assert_eq!(follow.look().unwrap(), b"");
        fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(follow.look().unwrap(), b"two\n");
        fs::write(&path, "new\n").unwrap();
        assert_eq!(follow.look().unwrap(), b"new\n");
        fs::write(folder.path().join("next"), "replaced, and longer than before\n").unwrap();
        fs::rename(folder.path().join("next"), &path).unwrap();
        assert_eq!(follow.look().unwrap(), b"replaced, and longer than before\n");
    }
}
