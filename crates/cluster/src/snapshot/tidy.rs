//! Deleting snapshots, and what is left of them after a daemon was killed.

use std::fs;
use std::path::Path;
use std::time::Instant;

use atoll_images::disk_state;
use atoll_qemu::Process;
use atoll_qemu::args::disk_node;
use serde::{Deserialize, Serialize};

use super::take::rename;
use super::{Snapshot, find, names};
use crate::cluster::Cluster;
use crate::files::{self, FileError};
use crate::problem::Problem;
use crate::progress::{Progress, Sink};

/// A snapshot to delete.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OldSnapshot {
    /// Its name.
    pub name: String,
}

impl Cluster {
    /// Deletes a snapshot.
    pub fn remove_snapshot(&self, name: &str, sink: &dyn Sink) -> Result<(), Problem> {
        let _turn = self.turn();
        let began = Instant::now();
        let snapshot = find(&self.paths, name)?;
        let gone = self.paths.snapshots().join(format!(".gone-{}", snapshot.tag));
        rename(&self.paths.snapshot(name), &gone)?;
        self.tidy(&gone);
        sink.tell(Progress::done(
            snapshot.machines.into_keys().collect(),
            began.elapsed(),
        ));
        Ok(())
    }

    /// Finishes what a daemon before this one was killed in: goes back where that was begun, and takes away what is no snapshot.
    pub(crate) fn finish_snapshots(&self) {
        if let Err(problem) = self.go_back_again() {
            tracing::error!(%problem, "a snapshot could not be gone back to");
        }
        let entries = fs::read_dir(self.paths.snapshots())
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries {
            let name = entry.file_name();
            if [".new-", ".gone-"]
                .iter()
                .any(|it| name.to_string_lossy().starts_with(it))
            {
                self.tidy(&entry.path());
            }
        }
    }

    /// Takes away what is no snapshot yet, or no more. What cannot be done now is tried again by the next daemon.
    pub(super) fn tidy(&self, folder: &Path) {
        if let Err(problem) = self.try_tidy(folder) {
            tracing::warn!(folder = %folder.display(), %problem, "a snapshot is not wholly gone");
        }
    }

    fn try_tidy(&self, folder: &Path) -> Result<(), Problem> {
        // Killed before that was written, nothing else was done.
        if let Some(snapshot) = files::read_json::<Snapshot>(&folder.join("snapshot.json"))? {
            for (machine, _) in snapshot.machines.iter().filter(|(_, saved)| saved.disk) {
                self.untag(machine, &snapshot.tag)?;
            }
        }
        remove_folder(folder)
    }

    /// Takes a tag out of a machine's disk, if it is there.
    fn untag(&self, machine: &str, tag: &str) -> Result<(), Problem> {
        let disk = self.paths.disk(machine);
        if !disk.exists() || !disk_state::names(&disk)?.iter().any(|name| name == tag) {
            return Ok(());
        }
        let process = self
            .shared()
            .state
            .machines
            .get(machine)
            .and_then(|it| it.process.clone());
        match process.filter(Process::is_alive) {
            Some(process) => Ok(process.control()?.delete_disk_snapshot(&disk_node(0), tag)?),
            None => Ok(disk_state::delete(&disk, tag)?),
        }
    }

    /// Takes a machine that is deleted with its disk out of every snapshot; one without machines goes.
    pub(crate) fn forget_in_snapshots(&self, machine: &str) -> Result<(), Problem> {
        for name in names(&self.paths) {
            let folder = self.paths.snapshot(&name);
            let Some(mut snapshot) = files::read_json::<Snapshot>(&folder.join("snapshot.json"))? else {
                continue;
            };
            if snapshot.machines.remove(machine).is_none() {
                continue;
            }
            if snapshot.machines.is_empty() {
                let gone = self.paths.snapshots().join(format!(".gone-{}", snapshot.tag));
                rename(&folder, &gone)?;
                self.tidy(&gone);
            } else {
                files::write_json(&folder.join("snapshot.json"), &snapshot)?;
                remove_folder(&folder.join(machine))?;
            }
        }
        Ok(())
    }
}

fn remove_folder(folder: &Path) -> Result<(), Problem> {
    fs::remove_dir_all(folder).map_err(|cause| {
        FileError::Write {
            path: folder.to_owned(),
            cause,
        }
        .into()
    })
}
