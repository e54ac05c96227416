//! Finding a QEMU and asking it what it can do.
//!
//! The version decides most (`-netdev stream` and `dgram` came with 7.2, the spelling of `reconnect` changed twice; see
//! [`Capabilities::reconnect`]); which accelerators are compiled in and where firmware lies is asked. That takes three
//! runs of some 50 ms, so the answers are kept in a [`Cache`](crate::Cache).

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{Access, access};

use crate::run::{self, Finished};
use crate::{Accel, Arch, Capabilities, QemuError, Version};

/// How long QEMU may take to print a help text; generous, because the first run reads it from disk.
const HELP_TIMEOUT: Duration = Duration::from_secs(30);

/// The QEMU to use: `chosen` when the user named one, else the first in the folders of `path` (the value of `PATH`).
///
/// # Errors
///
/// [`QemuError::NotRunnable`] for a chosen one that is not, [`QemuError::NotFound`] when there is none.
pub fn find_binary(arch: Arch, chosen: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf, QemuError> {
    if let Some(chosen) = chosen {
        return match check_executable(chosen) {
            Ok(()) => Ok(chosen.to_owned()),
            Err(source) => Err(QemuError::NotRunnable {
                path: chosen.to_owned(),
                source,
            }),
        };
    }
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    let candidates = folders.map(|folder| folder.join(arch.binary_name()));
    // A relative folder in PATH would mean another binary in another working folder.
    let mut candidates = candidates.filter(|candidate| candidate.is_absolute());
    candidates
        .find(|path| check_executable(path).is_ok())
        .ok_or(QemuError::NotFound { arch })
}

/// Whether the kernel can move a virtio card's frames itself: the device of vhost-net is there and this user may open it. It is QEMU
/// that opens it then.
#[must_use]
pub fn has_vhost_net() -> bool {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).open("/dev/vhost-net").is_ok()
}

fn check_executable(path: &Path) -> io::Result<()> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    Ok(access(path, Access::EXEC_OK)?)
}

/// Asks a binary for its capabilities.
///
/// # Errors
///
/// [`QemuError::NotRunnable`], [`QemuError::NotQemu`] or [`QemuError::TooOld`].
pub fn probe(binary: &Path, arch: Arch) -> Result<Capabilities, QemuError> {
    let output = ask(binary, &["--version"])?;
    let version = parse_version(&output.stdout).ok_or_else(|| {
        let said = if output.stdout.is_empty() {
            &output.stderr
        } else {
            &output.stdout
        };
        let output = said.lines().next().unwrap_or_default().to_owned();
        QemuError::NotQemu {
            path: binary.to_owned(),
            output,
        }
    })?;
    if version < Version::OLDEST {
        return Err(QemuError::TooOld {
            path: binary.to_owned(),
            version,
        });
    }
    let accelerators = parse_accelerators(&ask(binary, &["-accel", "help"])?.stdout);
    let data_dirs = parse_data_dirs(&ask(binary, &["-L", "help"])?.stdout);
    Ok(Capabilities {
        binary: binary.to_owned(),
        arch,
        version,
        accelerators,
        data_dirs,
    })
}

fn ask(binary: &Path, args: &[&str]) -> Result<Finished, QemuError> {
    let result = run::run(Command::new(binary).args(args), HELP_TIMEOUT);
    result.map_err(|source| QemuError::NotRunnable {
        path: binary.to_owned(),
        source,
    })
}

/// Reads `QEMU emulator version 10.0.2 (Debian 1:10.0.2…)`.
fn parse_version(text: &str) -> Option<Version> {
    let rest = text.split_once("QEMU emulator version ")?.1;
    let number = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut parts = number.split('.').map(str::parse::<u32>);
    let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
    let micro = parts.next().and_then(Result::ok).unwrap_or(0);
    Some(Version::new(major, minor, micro))
}

/// Reads the list of `-accel help`, skipping its heading and accelerators that are none of ours.
fn parse_accelerators(text: &str) -> Vec<Accel> {
    let has = |accel: &Accel| text.lines().any(|line| line.trim() == accel.to_string());
    [Accel::Hvf, Accel::Kvm, Accel::Tcg]
        .into_iter()
        .filter(has)
        .collect()
}

/// Reads the list of `-L help`: one folder a line.
fn parse_data_dirs(text: &str) -> Vec<PathBuf> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_print_them() {
        let cases = [
            (
                "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright",
                (7, 2, 22),
            ),
            (
                "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n",
                (10, 0, 2),
            ),
            ("QEMU emulator version 9.1.50 (v9.1.0-123-gabcdef)\n", (9, 1, 50)),
            ("QEMU emulator version 8.2\n", (8, 2, 0)),
        ];
        for (text, (major, minor, micro)) in cases {
            assert_eq!(
                parse_version(text),
                Some(Version::new(major, minor, micro)),
                "{text}"
            );
        }
        for text in [
            "",
            "busybox v1.36",
            "QEMU emulator version",
            "QEMU emulator version x.y",
            "1.2.3",
        ] {
            assert_eq!(parse_version(text), None, "{text}");
        }
    }

    #[test]
    fn accelerators_come_best_first() {
        let text = "Accelerators supported in QEMU binary:\ntcg\nxen\nkvm\n";
        assert_eq!(parse_accelerators(text), [Accel::Kvm, Accel::Tcg]);
    }
}
