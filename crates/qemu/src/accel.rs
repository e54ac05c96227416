//! Choosing an accelerator by trying it.
//!
//! That `/dev/kvm` exists says little: it may be closed to this user; nested virtualisation may be broken; or the
//! module behind it may interpret guests that were not made for it. The last was measured: on a host whose kvm is
//! `kvm_pvm` (no VMX or SVM underneath), QEMU aborts with `-cpu host` ("failed to set MSR 0x10a"), and with `-cpu
//! qemu64` each guest instruction costs about 0.6 µs, so that BIOS and kernel need minutes. Nothing that only creates a
//! virtual machine sees this. So a trial runs guest code (module `guest`): 50 million turns of a loop, memory traffic,
//! and a thousand exits, with the CPU model that machines will get, and within a deadline. tcg was measured to need
//! 0.16 s for it; the interpreter above did not end within 20 s and would need about 60 s.
//!
//! The verdict is remembered for this binary, this kernel, and this boot; refusals that show at once (no device
//! file, no right to open it) are looked at each time, because they are what users repair.

mod guest;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::fs::{Access, access};

use crate::cache::{Cache, Verdict};
use crate::run::{self, Finished};
use crate::{Accel, Arch, Capabilities, QemuError};

/// Thirty times what tcg needs on an idle host, a tenth of what an interpreting kvm needs.
pub const TRIAL_DEADLINE: Duration = Duration::from_secs(5);

/// tcg is given longer: nothing comes after it, and a loaded host is no reason to refuse.
const TCG_PATIENCE: u32 = 12;

/// Changes with the trial, so that verdicts of an older one are not believed.
const TRIAL: &str = "trial 1";

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccelChoice {
    /// The best that works.
    #[default]
    Auto,
    /// This one or none.
    Named(Accel),
}

/// The accelerator to use and the better ones that do not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The accelerator.
    pub accel: Accel,
    /// Why others were passed over, best first.
    pub refused: Vec<Refusal>,
}

/// An accelerator that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The accelerator.
    pub accel: Accel,
    /// Why, as a clause such as "/dev/kvm is not there".
    pub reason: String,
}

/// Chooses an accelerator for machines on this QEMU, trying those not yet known.
///
/// `deadline` bounds one trial of hardware; [`TRIAL_DEADLINE`] unless there is a reason.
///
/// # Errors
///
/// [`QemuError::AccelRefused`] when the named one does not work, [`QemuError::NoAccel`] when none does.
pub fn choose(
    choice: AccelChoice,
    capabilities: &Capabilities,
    cache: &mut Cache,
    deadline: Duration,
) -> Result<Chosen, QemuError> {
    if let AccelChoice::Named(accel) = choice {
        return match assess(accel, capabilities, cache, deadline) {
            None => Ok(Chosen {
                accel,
                refused: Vec::new(),
            }),
            Some(reason) => Err(QemuError::AccelRefused { accel, reason }),
        };
    }
    let mut refused = Vec::new();
    for &accel in &capabilities.accelerators {
        match assess(accel, capabilities, cache, deadline) {
            None => return Ok(Chosen { accel, refused }),
            Some(reason) => refused.push(Refusal { accel, reason }),
        }
    }
    let clauses: Vec<String> = refused
        .iter()
        .map(|r| format!("{}: {}", r.accel, r.reason))
        .collect();
    Err(QemuError::NoAccel {
        path: capabilities.binary.clone(),
        reasons: clauses.join("; "),
    })
}

/// `None` if the accelerator works, else why not.
fn assess(
    accel: Accel,
    capabilities: &Capabilities,
    cache: &mut Cache,
    deadline: Duration,
) -> Option<String> {
    if let Some(reason) = refused_at_sight(accel, capabilities) {
        return Some(reason);
    }
    let host = host_key();
    if let Some(verdict) = cache.verdict(&capabilities.binary, accel, &host) {
        return verdict.refused.clone();
    }
    let deadline = if accel.is_hardware() {
        deadline
    } else {
        deadline * TCG_PATIENCE
    };
    let refused = try_accel(accel, capabilities, deadline).err();
    tracing::debug!(%accel, ?refused, "accelerator tried");
    // A tcg that failed is worth another try each time: there is nothing else.
    if accel.is_hardware() || refused.is_none() {
        cache.remember(
            &capabilities.binary,
            accel,
            Verdict {
                host,
                refused: refused.clone(),
            },
        );
    }
    refused
}

fn refused_at_sight(accel: Accel, capabilities: &Capabilities) -> Option<String> {
    if !capabilities.accelerators.contains(&accel) {
        return Some("this QEMU was built without it".to_owned());
    }
    if accel.is_hardware() && Arch::host() != Some(capabilities.arch) {
        return Some(format!("the host cannot run {} code itself", capabilities.arch));
    }
    let device = Path::new("/dev/kvm");
    if accel != Accel::Kvm {
        None
    } else if !device.exists() {
        Some("/dev/kvm is not there".to_owned())
    } else if access(device, Access::READ_OK | Access::WRITE_OK).is_err() {
        Some("/dev/kvm may not be opened by this user (is it in the group kvm?)".to_owned())
    } else {
        None
    }
}

/// What must be the same for a verdict to hold: kernel and boot, because modules are loaded per boot.
fn host_key() -> String {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    // macOS has no such file; there a new kernel is a new release, and hvf is part of it.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{TRIAL}, {release}, {}", boot.trim())
}

/// Runs the trial guest; the error is a clause that says why the accelerator is of no use.
fn try_accel(accel: Accel, capabilities: &Capabilities, deadline: Duration) -> Result<(), String> {
    let image = guest::Image::write(capabilities.arch)
        .map_err(|error| format!("the trial guest could not be written: {error}"))?;
    let mut command = Command::new(&capabilities.binary);
    command.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-net",
        "none",
        "-m",
        "64",
    ]);
    command.args([
        "-machine",
        capabilities.arch.default_machine(),
        "-accel",
        &accel.to_string(),
    ]);
    command.args(["-cpu", accel.default_cpu(capabilities.arch), "-serial", "stdio"]);
    match capabilities.arch {
        Arch::X86_64 => command.args(["-device", "isa-debug-exit,iobase=0xf4", "-bios"]),
        Arch::Aarch64 => command.arg("-kernel"),
    };
    let finished = run::run(command.arg(image.path()), deadline)
        .map_err(|error| format!("QEMU could not be run: {error}"))?;
    judge(&finished, deadline)
}

fn judge(finished: &Finished, deadline: Duration) -> Result<(), String> {
    if finished.stdout.contains(guest::PASSED) {
        tracing::debug!(took = ?finished.took, "trial guest passed");
        return Ok(());
    }
    match finished.status {
        None => Err(format!(
            "a trial guest did not finish its work within {} s",
            deadline.as_secs_f32()
        )),
        Some(status) => Err(format!(
            "a trial guest failed ({status}): {}",
            run::words(&finished.stderr)
        )),
    }
}
