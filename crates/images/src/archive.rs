//! Tar archives as streams: what a copy between machines is while it is under way.
//!
//! **Reading.** The writer is a program in a guest, so nothing of it is believed. Every path becomes a list of plain names: an absolute one, and one with
//! `..`, end the copy. Understood are POSIX ustar and pax headers (IEEE 1003.1, pax) and GNU's long names and base-256 numbers; devices and
//! pipes are told as [`Item::Special`], every other kind is an error. An archive that ends without its zeros was broken off. Bounds: an extended
//! header is at most `EXTENDED_MAX` bytes, what comes after the zeros at most `TRAILER_MAX`; a file's bytes are never held.
//!
//! **Writing.** GNU's long names and numbers, which the tar of GNU, of BusyBox and of BSD all read; BusyBox skips pax headers.

use std::io::{self, Read, Write};

/// Bytes of a header; a file's are filled up to as many.
pub(crate) const BLOCK: usize = 512;

/// The longest extended header: far more than the longest path of any system.
const EXTENDED_MAX: u64 = 1 << 20;

/// As much may follow the end; GNU tar fills up records of 10 KiB.
const TRAILER_MAX: u64 = 1 << 20;

/// The largest number of eleven octal digits.
const OCTAL_MAX: u64 = 0o777_7777_7777;

/// Where the fields lie: offset and length.
mod field {
    pub(super) const NAME: (usize, usize) = (0, 100);
    pub(super) const MODE: (usize, usize) = (100, 8);
    pub(super) const UID: (usize, usize) = (108, 8);
    pub(super) const GID: (usize, usize) = (116, 8);
    pub(super) const SIZE: (usize, usize) = (124, 12);
    pub(super) const MTIME: (usize, usize) = (136, 12);
    pub(super) const CHECKSUM: (usize, usize) = (148, 8);
    pub(super) const KIND: (usize, usize) = (156, 1);
    pub(super) const LINK: (usize, usize) = (157, 100);
    pub(super) const MAGIC: (usize, usize) = (257, 6);
    pub(super) const PREFIX: (usize, usize) = (345, 155);
}

/// A path of plain names, without `/` at its ends; empty for the top itself.
pub type RelativePath = Vec<u8>;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A plain file of so many bytes.
    File(u64),
    /// A symbolic link, with what it holds.
    Symlink(Vec<u8>),
    /// Another name of a file that came before.
    HardLink(RelativePath),
}

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: RelativePath,
    /// What it is.
    pub kind: Kind,
    /// Its permissions, the lowest nine bits.
    pub mode: u32,
    /// When it was changed, in seconds since 1970.
    pub mtime: u64,
}

/// What is found in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A file that can be copied.
    Entry(Entry),
    /// A device or a pipe.
    Special(RelativePath),
}

/// What extended headers say of the entry that follows.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<u64>,
}

/// An archive that is read from its beginning to its end. Reading gives the bytes of the file that came last.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Of the file's bytes.
    left: u64,
    /// Zeros that fill up its last block.
    padding: u64,
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(broken_off());
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

impl<R: Read> Reader<R> {
    /// At the archive's beginning.
    pub fn new(input: R) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
        }
    }

    /// The next file, whose bytes are read then; what is left of those of the last one is skipped. `None` at the archive's end.
    ///
    /// # Errors
    /// The archive cannot be read, ends early, leads out of itself, or is none.
    pub fn next_item(&mut self) -> io::Result<Option<Item>> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let mut header = [0; BLOCK];
            self.input
                .read_exact(&mut header)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => broken_off(),
                    _ => error,
                })?;
            if header == [0; BLOCK] {
                return self.drain().map(|()| None);
            }
            check(&header)?;
            let size = number(&header, field::SIZE)?;
            let kind = header[field::KIND.0];
            self.left = size;
            self.padding = size.wrapping_neg() % BLOCK as u64;
            match kind {
                b'L' => extended.path = Some(without_zeros(self.extended()?)),
                b'K' => extended.link = Some(without_zeros(self.extended()?)),
                b'x' => records(&self.extended()?, &mut extended)?,
                b'g' => {}
                _ => return self.item(&header, kind, size, extended).map(Some),
            }
        }
    }

    fn item(&mut self, header: &[u8; BLOCK], kind: u8, size: u64, extended: Extended) -> io::Result<Item> {
        let path = plain(&extended.path.unwrap_or_else(|| full_name(header)))?;
        let link = extended.link.unwrap_or_else(|| text(header, field::LINK));
        let size = extended.size.unwrap_or(size);
        if !matches!(kind, 0 | b'0' | b'7') {
            // Some writers give links a size, which nothing follows.
            (self.left, self.padding) = (0, 0);
        } else {
            (self.left, self.padding) = (size, size.wrapping_neg() % BLOCK as u64);
        }
        let kind = match kind {
            0 | b'0' | b'7' => Kind::File(size),
            b'1' => Kind::HardLink(plain(&link)?),
            b'2' => Kind::Symlink(link),
            b'5' => Kind::Folder,
            b'3' | b'4' | b'6' => return Ok(Item::Special(path)),
            other => {
                return Err(invalid(format!(
                    "it has an entry of the unknown kind {:?}",
                    char::from(other)
                )));
            }
        };
        Ok(Item::Entry(Entry {
            path,
            kind,
            mode: u32::try_from(number(header, field::MODE)? & 0o777).unwrap_or_default(),
            mtime: extended.mtime.map_or_else(|| number(header, field::MTIME), Ok)?,
        }))
    }

    /// The body of an extended header.
    fn extended(&mut self) -> io::Result<Vec<u8>> {
        if self.left > EXTENDED_MAX {
            return Err(invalid("it has a path that is longer than any"));
        }
        let mut body = Vec::new();
        self.read_to_end(&mut body)?;
        Ok(body)
    }

    /// To the next header.
    fn skip(&mut self) -> io::Result<()> {
        let left = self.left.checked_add(self.padding);
        let left = left.ok_or_else(|| invalid("a file's size is beyond all bounds"))?;
        let skipped = io::copy(&mut (&mut self.input).take(left), &mut io::sink())?;
        if skipped < left {
            return Err(broken_off());
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads what follows the end, so that the writer ends by itself.
    fn drain(&mut self) -> io::Result<()> {
        let mut trailer = (&mut self.input).take(TRAILER_MAX + 1);
        match io::copy(&mut trailer, &mut io::sink())? {
            0..=TRAILER_MAX => Ok(()),
            _ => Err(invalid("it does not end where it says so")),
        }
    }
}

fn check(header: &[u8; BLOCK]) -> io::Result<()> {
    if number(header, field::CHECKSUM)? == u64::from(checksum(header)) {
        Ok(())
    } else {
        Err(invalid("a header's checksum is wrong"))
    }
}

/// A header's checksum: of the header with spaces in its own place.
pub(crate) fn checksum(header: &[u8; BLOCK]) -> u32 {
    let (from, length) = field::CHECKSUM;
    let bytes = header.iter().enumerate();
    bytes
        .map(|(at, byte)| {
            if (from..from + length).contains(&at) {
                b' '
            } else {
                *byte
            }
        })
        .map(u32::from)
        .sum()
}

/// What a field of a header says: octal digits, or with the first bit set GNU's big-endian bytes.
pub(crate) fn value(field: &[u8]) -> Option<u64> {
    if let Some((first @ 0x80.., rest)) = field.split_first() {
        let start = u64::from(first & 0x7f);
        return rest.iter().try_fold(start, |value, byte| {
            value.checked_mul(256)?.checked_add(u64::from(*byte))
        });
    }
    let digits = std::str::from_utf8(field).ok()?;
    match digits.trim_matches([' ', '\0']) {
        "" => Some(0),
        digits => u64::from_str_radix(digits, 8).ok(),
    }
}

fn number(header: &[u8; BLOCK], (from, length): (usize, usize)) -> io::Result<u64> {
    let field = &header[from..from + length];
    match value(field) {
        // A time before 1970 is written as a negative number.
        None if field[0] == 0xff => Ok(0),
        value => value.ok_or_else(|| invalid("a header has a number that is none")),
    }
}

fn text(header: &[u8; BLOCK], (from, length): (usize, usize)) -> Vec<u8> {
    without_zeros(header[from..from + length].to_vec())
}

fn without_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// The name, with POSIX's prefix before it; GNU's headers have other things in that place.
fn full_name(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(header, field::NAME);
    let prefix = text(header, field::PREFIX);
    let (from, length) = field::MAGIC;
    if prefix.is_empty() || header[from..from + length] != *b"ustar\0" {
        return name;
    }
    [prefix, name].join(&b'/')
}

/// The records of a pax header: `LENGTH KEYWORD=VALUE\n`, the length being that of all of it.
fn records(mut body: &[u8], extended: &mut Extended) -> io::Result<()> {
    let wrong = || invalid("an extended header is none");
    while !body.is_empty() {
        let space = body.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length = std::str::from_utf8(&body[..space])
            .ok()
            .and_then(|digits| digits.parse().ok());
        let length: usize = length.ok_or_else(wrong)?;
        let record = body.get(space + 1..length).ok_or_else(wrong)?;
        let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let (keyword, value) = (&record[..equals], &record[equals + 1..]);
        let decimal = || {
            let digits = std::str::from_utf8(value).ok()?;
            digits.split('.').next()?.parse::<i128>().ok()
        };
        match keyword {
            b"path" => extended.path = Some(without_zeros(value.to_vec())),
            b"linkpath" => extended.link = Some(without_zeros(value.to_vec())),
            b"size" => {
                let size = decimal().and_then(|size| size.try_into().ok());
                extended.size = Some(size.ok_or_else(wrong)?);
            }
            b"mtime" => extended.mtime = Some(u64::try_from(decimal().ok_or_else(wrong)?).unwrap_or(0)),
            _ => {}
        }
        body = &body[length..];
    }
    Ok(())
}

/// The path as plain names.
///
/// # Errors
/// It is absolute, or leads out of where it begins.
pub fn plain(path: &[u8]) -> io::Result<RelativePath> {
    let shown = || String::from_utf8_lossy(path).escape_debug().to_string();
    if path.starts_with(b"/") {
        return Err(invalid(format!("it has the absolute path {}", shown())));
    }
    let names = path
        .split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."));
    let names: Vec<&[u8]> = names.collect();
    if names.contains(&&b".."[..]) {
        return Err(invalid(format!(
            "it has a path that leads out of it: {}",
            shown()
        )));
    }
    Ok(names.join(&b'/'))
}

/// An archive that is written.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    /// Nothing is written yet.
    pub fn new(output: W) -> Self {
        Self { output }
    }

    /// Adds a file below `top`, with its bytes, of which there must be as many as it says.
    ///
    /// # Errors
    /// It cannot be written, or `body` is shorter.
    pub fn add(&mut self, top: &[u8], entry: &Entry, body: &mut dyn Read) -> io::Result<()> {
        let below = |path: &[u8]| match path {
            [] => top.to_vec(),
            path => [top, path].join(&b'/'),
        };
        let (kind, size, link) = match &entry.kind {
            Kind::Folder => (b'5', 0, Vec::new()),
            Kind::File(size) => (b'0', *size, Vec::new()),
            Kind::Symlink(target) => (b'2', 0, target.clone()),
            Kind::HardLink(target) => (b'1', 0, below(target)),
        };
        let path = below(&entry.path);
        self.long(b'K', &link)?;
        self.long(b'L', &path)?;
        let mut header = [0; BLOCK];
        put(&mut header, field::NAME, &path);
        put_number(&mut header, field::MODE, u64::from(entry.mode));
        put_number(&mut header, field::SIZE, size);
        put_number(&mut header, field::MTIME, entry.mtime);
        put(&mut header, field::LINK, &link);
        self.header(header, kind)?;
        let copied = io::copy(&mut body.take(size), &mut self.output)?;
        if copied < size {
            return Err(io::Error::other("a file became shorter while it was read"));
        }
        self.pad(size)
    }

    /// The end of the archive.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()
    }

    /// What it was written to.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.output
    }

    /// A name for which the next header has no room.
    fn long(&mut self, kind: u8, name: &[u8]) -> io::Result<()> {
        if name.len() <= field::NAME.1 {
            return Ok(());
        }
        let size = name.len() as u64 + 1;
        let mut header = [0; BLOCK];
        put(&mut header, field::NAME, b"././@LongLink");
        put_number(&mut header, field::SIZE, size);
        self.header(header, kind)?;
        self.output.write_all(name)?;
        self.output.write_all(&[0])?;
        self.pad(size)
    }

    fn header(&mut self, mut header: [u8; BLOCK], kind: u8) -> io::Result<()> {
        put_number(&mut header, field::UID, 0);
        put_number(&mut header, field::GID, 0);
        put(&mut header, field::KIND, &[kind]);
        // GNU's magic and version.
        put(&mut header, field::MAGIC, b"ustar ");
        header[263] = b' ';
        let sum = format!("{:06o}\0 ", checksum(&header));
        put(&mut header, field::CHECKSUM, sum.as_bytes());
        self.output.write_all(&header)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let zeros = size.wrapping_neg() % BLOCK as u64;
        let zeros = usize::try_from(zeros).unwrap_or_default();
        self.output.write_all(&[0; BLOCK][..zeros])
    }
}

/// The beginning of `bytes`, as much as the field holds.
fn put(header: &mut [u8; BLOCK], (from, length): (usize, usize), bytes: &[u8]) {
    let length = length.min(bytes.len());
    header[from..from + length].copy_from_slice(&bytes[..length]);
}

fn put_number(header: &mut [u8; BLOCK], (from, length): (usize, usize), value: u64) {
    if length == 12 && value > OCTAL_MAX {
        header[from] = 0x80;
        header[from + 4..from + 12].copy_from_slice(&value.to_be_bytes());
        return;
    }
    let digits = format!("{value:0width$o}", width = length - 1);
    put(header, (from, length), digits.as_bytes());
}

/// What is wrong with an archive.
pub fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it was broken off")
}

#[cfg(test)]
mod tests;
