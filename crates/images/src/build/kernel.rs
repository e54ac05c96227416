//! Takes the kernel out of an x86 bzImage.
//!
//! The setup header (Documentation/arch/x86/boot.rst, protocol 2.08 and later) says where in the protected-mode part
//! the packed ELF file lies: `payload_offset` and `payload_length`, counted from behind the setup sectors. The payload's
//! last four bytes are its unpacked size, not part of the compressed stream.

use crate::unpack::{self, Compression};

const SETUP_SECTORS_AT: usize = 0x1f1;
const SIGNATURE_AT: usize = 0x202;
const SIGNATURE: &[u8] = b"HdrS";
const PAYLOAD_OFFSET_AT: usize = 0x248;
const PAYLOAD_LENGTH_AT: usize = 0x24c;
const SECTOR: usize = 512;
const SIZE_LEN: usize = 4;
const ELF: &[u8] = b"\x7fELF";

/// The ELF file inside a bzImage; `None` for any other file, and for a compression not known here.
pub(crate) fn unpacked(image: &[u8]) -> Option<Vec<u8>> {
    if image.get(SIGNATURE_AT..)?.get(..SIGNATURE.len())? != SIGNATURE {
        return None;
    }
    let setup_sectors = usize::from(*image.get(SETUP_SECTORS_AT)?);
    let protected_mode = setup_sectors.checked_add(1)?.checked_mul(SECTOR)?;
    let start = protected_mode.checked_add(field(image, PAYLOAD_OFFSET_AT)?)?;
    let end = start
        .checked_add(field(image, PAYLOAD_LENGTH_AT)?)?
        .checked_sub(SIZE_LEN)?;
    let payload = image.get(start..end)?;
    if Compression::of(payload) == Compression::None {
        return None;
    }
    let mut kernel = Vec::new();
    unpack::decoder(payload).ok()?.read_to_end(&mut kernel).ok()?;
    kernel.starts_with(ELF).then_some(kernel)
}

fn field(image: &[u8], at: usize) -> Option<usize> {
    let bytes = image.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn bzimage(payload: &[u8]) -> Vec<u8> {
        const SETUP_SECTORS: u8 = 3;
        let mut image = vec![0; SECTOR * 4];
        image[SETUP_SECTORS_AT] = SETUP_SECTORS;
        image[SIGNATURE_AT..SIGNATURE_AT + 4].copy_from_slice(SIGNATURE);
        image[PAYLOAD_OFFSET_AT..PAYLOAD_OFFSET_AT + 4].copy_from_slice(&7_u32.to_le_bytes());
        let length = u32::try_from(payload.len() + SIZE_LEN).unwrap();
        image[PAYLOAD_LENGTH_AT..PAYLOAD_LENGTH_AT + 4].copy_from_slice(&length.to_le_bytes());
        image.extend([0xcc; 7]);
        image.extend(payload);
        image.extend([0xcc; 40]);
        image
    }

    #[test]
    fn the_elf_file_comes_out_of_a_bzimage() {
        let elf = b"\x7fELF the kernel".repeat(100);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&elf).unwrap();
        assert_eq!(unpacked(&bzimage(&gzip.finish().unwrap())).unwrap(), elf);
    }

    #[test]
    fn what_is_no_bzimage_is_left_alone() {
        assert_eq!(unpacked(b""), None);
        assert_eq!(unpacked(&[0; 4096]), None);
        assert_eq!(unpacked(&bzimage(b"lz4 or whatever")), None);
        assert_eq!(unpacked(&bzimage(&[0x1f, 0x8b, 1, 2, 3])), None);
    }
}
