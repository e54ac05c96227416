//! The host's QEMU: which binary, what it can do, which accelerator works. Asked once, remembered beside the image cache.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use atoll_qemu::accel::{self, AccelChoice, Chosen, TRIAL_DEADLINE};
use atoll_qemu::{Accel, Cache, Capabilities, QemuError, probe};
use atoll_spec as spec;

use crate::launch::qemu_arch;
use crate::paths::ClusterPaths;

/// What is known of the host's QEMU.
#[derive(Debug)]
pub struct Hypervisor {
    cache: Mutex<Cache>,
}

impl Hypervisor {
    /// With what was remembered.
    pub fn new(paths: &ClusterPaths) -> Self {
        let folder = paths.images.parent().unwrap_or(Path::new("/"));
        Self {
            cache: Mutex::new(Cache::load(&folder.join("qemu.json"))),
        }
    }

    /// The QEMU for this architecture.
    pub fn capabilities(&self, arch: spec::Arch) -> Result<Capabilities, QemuError> {
        let path = std::env::var_os("PATH");
        let binary = probe::find_binary(qemu_arch(arch), None, path.as_deref())?;
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .probe(&binary, qemu_arch(arch))
    }

    /// The accelerator for a machine. Machines that start together wait for one trial.
    pub fn accel(&self, wanted: spec::Accel, capabilities: &Capabilities) -> Result<Chosen, QemuError> {
        let choice = match wanted {
            spec::Accel::Auto => AccelChoice::Auto,
            spec::Accel::Kvm => AccelChoice::Named(Accel::Kvm),
            spec::Accel::Hvf => AccelChoice::Named(Accel::Hvf),
            spec::Accel::Tcg => AccelChoice::Named(Accel::Tcg),
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        accel::choose(choice, capabilities, &mut cache, TRIAL_DEADLINE)
    }
}
