//! Compression: told by a file's first bytes, whatever its name says, and taken off with bounds.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// Enough bytes to tell every format known here.
const MAGIC_LEN: usize = 6;

impl Compression {
    /// Tells from a file's first bytes.
    #[must_use]
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// How a file is compressed.
///
/// # Errors
/// When the file cannot be read.
pub fn compression(path: &Path) -> io::Result<Compression> {
    Ok(Compression::of(&magic(&mut File::open(path)?)?))
}

fn magic(file: &mut File) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(MAGIC_LEN);
    Read::by_ref(file)
        .take(MAGIC_LEN.try_into().unwrap_or(u64::MAX))
        .read_to_end(&mut start)?;
    Ok(start)
}

/// The file's content with its compression taken off; concatenated streams are read to the end of the last.
///
/// # Errors
/// When the file cannot be opened; reading reports what is wrong with the compressed data.
pub fn reader(path: &Path) -> io::Result<Box<dyn Read>> {
    decoder(BufReader::new(File::open(path)?))
}

/// The same for bytes from anywhere.
///
/// # Errors
/// When nothing can be read.
pub fn decoder<'a>(mut packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match Compression::of(packed.fill_buf()?) {
        Compression::None => Box::new(packed),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(packed, true)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(packed)?),
    })
}

/// All of a file's content with its compression taken off.
///
/// # Errors
/// When it cannot be read.
pub fn read_all(path: &Path) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    reader(path)?.read_to_end(&mut data)?;
    Ok(data)
}

/// No disk is larger; a small file that unpacks to more is made to fill disks.
pub const LARGEST: u64 = 2 << 40;

/// Why content did not get into its file.
#[derive(Debug)]
pub enum SpreadError {
    /// The source failed, is broken, or is larger than [`LARGEST`].
    Read(io::Error),
    /// The file cannot be written.
    Write(io::Error),
}

/// Writes all that a reader yields to `file`, whole and on stable storage. Blocks of zeros, of which raw disks mostly
/// consist, become holes.
///
/// # Errors
/// When one side fails.
pub fn spread(reader: &mut dyn Read, file: &Path) -> Result<(), SpreadError> {
    spread_within(LARGEST, reader, file)
}

fn spread_within(largest: u64, reader: &mut dyn Read, file: &Path) -> Result<(), SpreadError> {
    const BLOCK: u64 = 1 << 16;
    let mut target = File::create(file).map_err(SpreadError::Write)?;
    let mut block = Vec::new();
    let mut end = 0_u64;
    loop {
        block.clear();
        Read::take(&mut *reader, BLOCK)
            .read_to_end(&mut block)
            .map_err(SpreadError::Read)?;
        if block.is_empty() {
            break;
        }
        write_block(&mut target, end, &block).map_err(SpreadError::Write)?;
        end = end.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
        if end > largest {
            return Err(SpreadError::Read(io::Error::other("it is larger than any disk")));
        }
    }
    target
        .set_len(end)
        .and_then(|()| target.sync_all())
        .map_err(SpreadError::Write)
}

fn write_block(file: &mut File, at: u64, block: &[u8]) -> io::Result<()> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    file.seek(SeekFrom::Start(at))?;
    file.write_all(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_without_end_is_given_up_at_the_bound() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let end = spread_within(1 << 20, &mut io::repeat(0), file.path());
        assert!(matches!(end, Err(SpreadError::Read(_))), "{end:?}");
        spread_within(1 << 20, &mut io::repeat(0).take(1 << 20), file.path()).unwrap();
        assert_eq!(file.path().metadata().unwrap().len(), 1 << 20);
    }
}
