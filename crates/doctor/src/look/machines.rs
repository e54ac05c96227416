//! Asks QEMUs what they can do, and tries it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use atoll_qemu::accel::{AccelChoice, TRIAL_DEADLINE, choose};
use atoll_qemu::{Accel, Arch, Cache, Capabilities, QemuError, firmware, probe};

use crate::judge::machines::{Found, Missing, Programs, Qemu};
use crate::program::{self, find, find_in_path};

/// For a QEMU that prints a list or starts an empty machine; the first run reads it from disk.
const SOON: Duration = Duration::from_secs(10);

/// A machine without devices, with memory that others can map, that ends when its monitor is told to.
const SHARED_MEMORY: [&str; 10] = [
    "-machine",
    "none",
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-object",
    "memory-backend-memfd,id=shared,size=2M,share=on",
    "-monitor",
    "stdio",
];

/// The QEMU of one architecture: everything about it. `cache` is where its answers are kept; with `is_fresh` it is asked anew.
pub(crate) fn qemu(arch: Arch, cache: &Path, is_fresh: bool) -> Qemu {
    let mut cache = Cache::load(cache);
    if is_fresh {
        cache.forget_trials();
    }
    Qemu {
        arch,
        is_native: Arch::host() == Some(arch),
        found: ask(arch, &mut cache).map_err(|error| missing(&error)),
    }
}

fn ask(arch: Arch, cache: &mut Cache) -> Result<Found, QemuError> {
    let path = std::env::var_os("PATH");
    let binary = probe::find_binary(arch, None, path.as_deref())?;
    let capabilities = cache.probe(&binary, arch)?;
    let accels = candidates(&capabilities)
        .into_iter()
        .map(|accel| (accel, refusal(accel, &capabilities, cache)))
        .collect();
    Ok(Found {
        version: capabilities.version,
        reconnect: capabilities.reconnect(),
        backends: backends(&binary),
        accels,
        shared_memory: shared_memory(&binary),
        firmware: (arch == Arch::Aarch64).then(|| {
            let found = firmware::find_firmware(&capabilities);
            found.map(|files| files.code).map_err(|error| missing(&error))
        }),
        binary,
    })
}

/// Those that are compiled in, and the system's own even if it is not.
fn candidates(capabilities: &Capabilities) -> Vec<Accel> {
    let own = if std::env::consts::OS == "macos" {
        Accel::Hvf
    } else {
        Accel::Kvm
    };
    let mut all = vec![own];
    all.extend(capabilities.accelerators.iter().filter(|accel| **accel != own));
    all
}

fn refusal(accel: Accel, capabilities: &Capabilities, cache: &mut Cache) -> Option<String> {
    match choose(AccelChoice::Named(accel), capabilities, cache, TRIAL_DEADLINE) {
        Ok(_) => None,
        Err(QemuError::AccelRefused { reason, .. }) => Some(reason),
        Err(error) => Some(error.to_string()),
    }
}

/// `-netdev help`: a heading, then a name a line.
fn backends(binary: &Path) -> Option<Vec<String>> {
    let arguments = ["-machine", "none", "-netdev", "help"];
    let ran = program::run(Command::new(binary).args(arguments), SOON).ok()?;
    let names = ran.stdout.lines().skip(1).map(|line| line.trim().to_owned());
    ran.is_good().then(|| names.collect())
}

fn shared_memory(binary: &Path) -> Result<(), String> {
    match program::run_with(Command::new(binary).args(SHARED_MEMORY), "quit\n", SOON) {
        Ok(ran) if ran.is_good() => Ok(()),
        Ok(ran) => Err(ran.words()),
        Err(error) => Err(error.to_string()),
    }
}

fn missing(error: &QemuError) -> Missing {
    Missing {
        sentence: error.to_string(),
        hint: error.hint(),
    }
}

/// The programs beside QEMU.
pub(crate) fn programs() -> Programs {
    let qemu_img = find("qemu-img");
    let qemu_img_fault =
        qemu_img.as_ref().and_then(
            |path| match program::run(Command::new(path).arg("--version"), SOON) {
                Ok(ran) if ran.is_good() => None,
                Ok(ran) => Some(ran.words()),
                Err(error) => Some(error.to_string()),
            },
        );
    Programs {
        qemu_img,
        qemu_img_fault,
        ssh: find_in_path("ssh"),
        ssh_keygen: find_in_path("ssh-keygen"),
    }
}
