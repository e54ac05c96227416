//! What a file is, by its first bytes: compression and disk format, whatever its name says.

use crate::image::DiskFormat;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
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

/// The format of a disk image, by its first bytes: what is not qcow2 is taken for raw.
///
/// # Errors
/// When the file cannot be read.
pub fn disk_format(path: &Path) -> io::Result<DiskFormat> {
    let start = magic(&mut File::open(path)?)?;
    Ok(if start.starts_with(b"QFI\xfb") {
        DiskFormat::Qcow2
    } else {
        DiskFormat::Raw
    })
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
    file.by_ref()
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
