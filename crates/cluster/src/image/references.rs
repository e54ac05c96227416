//! Who needs which image, so that nobody takes it away.
//!
//! A machine's disk names the file it lies on: that is the strongest tie, and is read from the disk itself. A machine
//! without a disk of its own (a kernel's image) needs the image that its name leads to the next time it starts; the
//! cluster's state says which. Both count for every cluster that was brought up and not removed, running or not. What cannot
//! be read holds nothing; a disk that cannot be read is not one that QEMU could start from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use atoll_images::{Image, Store, image::Boot, qcow2};

use super::source;
use crate::files;
use crate::launch::image_arch;
use crate::paths::Places;
use crate::state::State;

/// The files that machines need, and the machines, `CLUSTER/MACHINE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References(BTreeMap<PathBuf, Vec<String>>);

impl References {
    /// Of all clusters below `places`.
    pub fn of(places: &Places, store: &Store) -> Self {
        let mut found = Self::default();
        for cluster in subfolders(&places.state.join("clusters")) {
            let folder = cluster
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            // NAME-HASH.
            let name = folder
                .rsplit_once('-')
                .map_or(&*folder, |(name, _)| name)
                .to_owned();
            found.add_disks(&cluster, &name);
            found.add_state(&cluster, &name, store);
        }
        found
    }

    /// The machines that need an image.
    #[must_use]
    pub fn to(&self, image: &Image) -> &[String] {
        let file = match &image.boot {
            Boot::Disk { path, .. } => path,
            Boot::Kernel { kernel, .. } => kernel,
        };
        self.0.get(file).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, file: PathBuf, machine: String) {
        let machines = self.0.entry(file).or_default();
        if !machines.contains(&machine) {
            machines.push(machine);
        }
    }

    fn add_disks(&mut self, cluster: &Path, name: &str) {
        for machine in subfolders(&cluster.join("machines")) {
            let Ok(Some(base)) = qcow2::backing_file(&machine.join("disk.qcow2")) else {
                continue;
            };
            let machine = machine.file_name().unwrap_or_default().to_string_lossy();
            self.add(base.canonicalize().unwrap_or(base), format!("{name}/{machine}"));
        }
    }

    fn add_state(&mut self, cluster: &Path, name: &str, store: &Store) {
        let Ok(Some(state)) = files::read_json::<State>(&cluster.join("state.json")) else {
            return;
        };
        let folder = state.file.parent().unwrap_or(Path::new("/"));
        for (machine, it) in &state.machines {
            let Some(started) = &it.started else { continue };
            let Some(wanted) = &started.machine.image else {
                continue;
            };
            let image = source(wanted, folder)
                .ok()
                .and_then(|source| store.get(&source, image_arch(started.machine.arch)).ok()?);
            if let Some(Image {
                boot: Boot::Kernel { kernel, .. },
                ..
            }) = image
            {
                self.add(kernel, format!("{name}/{machine}"));
            }
        }
    }
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}
