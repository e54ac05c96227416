//! States of a disk that are kept inside its own file: qcow2's internal snapshots.
//!
//! Making one costs a table, not a copy: clusters that the guest writes afterwards go elsewhere in the file. Going back to one makes it what the
//! disk holds, and leaves the state there, so that it can be gone back to again. Each is one step of `qemu-img`, after whose being killed the
//! disk holds what it held, and at worst clusters that nobody uses.
//!
//! Here no QEMU may have the disk open; a machine that runs is asked itself, over QMP. Source: QEMU `docs/interop/qcow2.rst`, "Snapshots".

use crate::overlay::{OverlayError, QEMU_IMG};
use crate::tool;
use serde::Deserialize;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(default)]
    snapshots: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

/// The names of a disk's states; the disk may be in use.
///
/// # Errors
/// When there is no `qemu-img`, or it cannot read the file.
pub fn names(disk: &Path) -> Result<Vec<String>, OverlayError> {
    let mut command = QEMU_IMG.command()?;
    command
        .args(["info", "-U", "-f", "qcow2", "--output=json"])
        .arg(disk);
    let json = tool::run(&mut command)?;
    let listed: Listed = serde_json::from_slice(&json).map_err(|source| OverlayError::Info {
        path: disk.to_owned(),
        source,
    })?;
    Ok(listed.snapshots.into_iter().map(|it| it.name).collect())
}

/// Keeps what a disk holds under a name that it has not yet.
///
/// # Errors
/// When there is no `qemu-img`, or it fails: the disk is in use, or full.
pub fn create(disk: &Path, name: &str) -> Result<(), OverlayError> {
    snapshot("-c", disk, name)
}

/// Makes the disk hold again what it held then; what it held before is gone. Doing it twice does no harm.
///
/// # Errors
/// As [`create`]; when there is no state of that name.
pub fn apply(disk: &Path, name: &str) -> Result<(), OverlayError> {
    snapshot("-a", disk, name)
}

/// Forgets a state; the disk holds what it held.
///
/// # Errors
/// As [`apply`].
pub fn delete(disk: &Path, name: &str) -> Result<(), OverlayError> {
    snapshot("-d", disk, name)
}

fn snapshot(what: &str, disk: &Path, name: &str) -> Result<(), OverlayError> {
    let mut command = QEMU_IMG.command()?;
    command.args(["snapshot", "-q", "--image-opts", what, name]);
    command.arg(options(disk));
    tool::run(&mut command)?;
    Ok(())
}

/// The disk in words that leave no format to be guessed.
fn options(disk: &Path) -> OsString {
    let mut words = b"driver=qcow2,file.driver=file,file.filename=".to_vec();
    for byte in disk.as_os_str().as_bytes() {
        words.extend(std::iter::repeat_n(*byte, if *byte == b',' { 2 } else { 1 }));
    }
    OsString::from_vec(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::DiskFormat;
    use crate::overlay;
    use std::fs::File;

    fn grow(disk: &Path, bytes: u64) -> Result<(), OverlayError> {
        let mut command = QEMU_IMG.command()?;
        command.args(["resize", "-q", "--image-opts"]);
        command.arg(options(disk)).arg(bytes.to_string());
        tool::run(&mut command)?;
        Ok(())
    }

    #[test]
    fn a_disk_goes_back_to_its_states_however_large_it_became() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base.img");
        File::create(&base).unwrap().set_len(1 << 20).unwrap();
        let disk = folder.path().join("a, disk.qcow2");
        overlay::create(&base, DiskFormat::Raw, &disk, None).unwrap();
        create(&disk, "first").unwrap();
        grow(&disk, 4 << 20).unwrap();
        create(&disk, "second").unwrap();
        assert_eq!(names(&disk).unwrap(), ["first", "second"]);
        let size = || overlay::info_of(&disk, "qcow2").unwrap().virtual_size;
        assert_eq!(size(), 4 << 20);
        apply(&disk, "first").unwrap();
        apply(&disk, "first").unwrap();
        assert_eq!(size(), 1 << 20);
        apply(&disk, "second").unwrap();
        assert_eq!(size(), 4 << 20);
        delete(&disk, "first").unwrap();
        assert_eq!(names(&disk).unwrap(), ["second"]);
        assert!(apply(&disk, "first").unwrap_err().to_string().contains("first"));
        assert!(grow(&disk, 1 << 20).unwrap_err().to_string().contains("shrink"));
    }
}
