//! What lies in front of a disk's one partition: the master boot record and GRUB, for a PC BIOS.
//!
//! The BIOS loads sector 0 (GRUB's `boot.img`), which loads sector 1 (the first of `core.img`), which loads the rest of
//! `core.img` from sector 2 on: the gap before the first partition, 1 MiB, has room for it. Both files carry the sector to
//! go on with at a fixed place (GRUB's `include/grub/i386/pc/boot.h` and `grub-core/boot/i386/pc/diskboot.S`); that is all
//! that an installer has to fill in, so none has to run.

use std::ops::Range;

/// Where the partition starts, in bytes; partitioning programs' usual alignment.
pub(crate) const PARTITION_START: u64 = 1 << 20;

const SECTOR: u64 = 512;
const SECTOR_LEN: usize = 512;
/// The part of sector 0 that is code; behind it lie the disk's signature and the partition table.
const BOOT_CODE: usize = 440;
const PARTITION_ENTRY: usize = 446;
const SIGNATURE: Range<usize> = 510..512;
/// In `boot.img`: the sector of `core.img`, 64 bits.
const CORE_SECTOR: Range<usize> = 0x5c..0x64;
/// In `core.img`'s first sector: the sector of the rest, 64 bits.
const REST_SECTOR: Range<usize> = 0x1f4..0x1fc;
const ACTIVE: u8 = 0x80;
const TYPE_LINUX: u8 = 0x83;
/// Cylinder, head and sector of an address they cannot express.
const NO_CHS: [u8; 3] = [0xfe, 0xff, 0xff];

/// The disk's bytes up to its partition; the partition reaches to the disk's end.
///
/// # Errors
/// Says what is missing when the files are not GRUB's or do not fit.
pub(crate) fn front(boot: &[u8], core: &[u8], disk_bytes: u64) -> Result<Vec<u8>, &'static str> {
    let gap = usize::try_from(PARTITION_START).map_err(|_| "room for core.img")?;
    let code = boot.get(..BOOT_CODE).ok_or("whole boot.img")?;
    if core.len() <= SECTOR_LEN || core.len() > gap.saturating_sub(SECTOR_LEN) {
        return Err("core.img that fits before the partition");
    }
    let mut front = vec![0; gap];
    front[..BOOT_CODE].copy_from_slice(code);
    front[CORE_SECTOR].copy_from_slice(&1_u64.to_le_bytes());
    front[PARTITION_ENTRY..PARTITION_ENTRY + 16].copy_from_slice(&partition(disk_bytes)?);
    front[SIGNATURE].copy_from_slice(&[0x55, 0xaa]);
    let (_, after) = front.split_at_mut(SECTOR_LEN);
    after[..core.len()].copy_from_slice(core);
    after[REST_SECTOR].copy_from_slice(&2_u64.to_le_bytes());
    Ok(front)
}

fn partition(disk_bytes: u64) -> Result<[u8; 16], &'static str> {
    let sectors =
        |bytes: u64| u32::try_from(bytes / SECTOR).map_err(|_| "disk that a partition table can describe");
    let start = sectors(PARTITION_START)?.to_le_bytes();
    let length = sectors(disk_bytes.saturating_sub(PARTITION_START))?.to_le_bytes();
    let mut entry = [0; 16];
    entry[0] = ACTIVE;
    entry[1..4].copy_from_slice(&NO_CHS);
    entry[4] = TYPE_LINUX;
    entry[5..8].copy_from_slice(&NO_CHS);
    entry[8..12].copy_from_slice(&start);
    entry[12..].copy_from_slice(&length);
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_code_finds_core_and_core_finds_its_rest() {
        let front = front(&[0xb0; 512], &[0xc0; 1500], 4 << 30).unwrap();
        assert_eq!(front[CORE_SECTOR], 1_u64.to_le_bytes());
        assert_eq!(front[512 + 0x1f4..512 + 0x1fc], 2_u64.to_le_bytes());
        assert_eq!((front[511 + 1500], front[512 + 1500]), (0xc0, 0));
        assert_eq!(front[510..512], [0x55, 0xaa]);
    }

    #[test]
    fn the_partition_reaches_from_one_mebibyte_to_the_end() {
        let entry = partition(4 << 30).unwrap();
        assert_eq!((entry[0], entry[4]), (0x80, 0x83));
        assert_eq!(entry[8..12], 2048_u32.to_le_bytes());
        assert_eq!(entry[12..16], (8_388_608_u32 - 2048).to_le_bytes());
    }

    #[test]
    fn files_that_are_not_grubs_are_refused() {
        assert_eq!(
            front(&[0; 100], &[0; 1500], 4 << 30).unwrap_err(),
            "whole boot.img"
        );
        assert_eq!(
            front(&[0; 512], &[0; 100], 4 << 30).unwrap_err(),
            "core.img that fits before the partition"
        );
        assert_eq!(
            front(&[0; 512], &vec![0; 1 << 20], 4 << 30).unwrap_err(),
            "core.img that fits before the partition"
        );
    }
}
