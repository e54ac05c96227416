//! Asks macOS by its own programs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use atoll_qemu::Arch;

use crate::judge::macos::MacOs;
use crate::program::{self, find_in_path};

const SOON: Duration = Duration::from_secs(5);

/// Everything; `own` is the path of `atoll` itself.
pub(crate) fn macos(own: &Path) -> MacOs {
    let version = program::run(Command::new("sw_vers").arg("-productVersion"), SOON);
    let qemu = Arch::host().and_then(|arch| find_in_path(arch.binary_name()));
    MacOs {
        version: version
            .ok()
            .filter(program::Ran::is_good)
            .map(|ran| ran.stdout.trim().to_owned()),
        is_root: rustix::process::geteuid().is_root(),
        own: Some(entitlements(own)),
        qemu: qemu.as_deref().map(entitlements),
    }
}

/// What a program was signed with; of one that is not signed, nothing.
fn entitlements(program: &Path) -> Result<String, String> {
    let mut command = Command::new("codesign");
    command
        .args(["--display", "--entitlements", "-", "--xml"])
        .arg(program);
    match program::run(&mut command, SOON) {
        Ok(ran) if ran.is_good() || ran.stderr.contains("not signed") => Ok(ran.stdout),
        Ok(ran) => Err(ran.words()),
        Err(error) => Err(error.to_string()),
    }
}
