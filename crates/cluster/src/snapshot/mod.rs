//! Snapshots: machines as they were at one instant, disk and memory, to go back to.
//!
//! ```text
//! STATE/snapshots/NAME/snapshot.json     what was saved, and the tag by which disks know it
//!                     /MACHINE/memory    memory and devices, of machines that ran or were suspended
//!                     /MACHINE/…         what else belongs to the machine: outputs, the firmware's variables
//! STATE/machines/MACHINE/disk.qcow2      the disk's state of then is inside it, under the tag
//! ```
//!
//! **The instant.** All machines stand still before any of them is saved, and none goes on before all are saved. So whatever one machine knows
//! of another, the other knows, too: no message is in a snapshot that was not sent in it. What was under way between them is lost as a
//! packet may be lost; connections between machines of the snapshot go on after it was restored. How long they stand still is told; it is the
//! time that it takes to write their memory, and next to nothing without.
//!
//! **Whole or absent.** A snapshot is made in a folder with a name that no snapshot can have (`.new-TAG`) and gets its own by one rename,
//! after all of it is synced. Deleting one begins by the rename away (`.gone-TAG`). A daemon that finds such folders was killed in the middle:
//! it takes the tag out of the disks, and the folder away. Going back is written down first (`Journal`); who finds that does it again from
//! its beginning, which does no harm.
//!
//! **What it is not.** No backup: the disk's states live in the disk's own file and go with the machine (`atoll rm`).

mod restore;
mod take;
mod tidy;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use atoll_spec as spec;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::paths::ClusterPaths;
use crate::problem::Problem;
use crate::state::Started;

pub use restore::RestoreRequest;
pub use take::SnapshotRequest;
pub use tidy::OldSnapshot;

/// A snapshot as it lies there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The name by which disks know it: no two have the same, whatever they are called.
    pub tag: String,
    /// When, in seconds since 1970.
    pub created: u64,
    /// The cluster then.
    pub cluster: spec::Cluster,
    /// Its machines.
    pub machines: BTreeMap<String, Saved>,
}

/// A machine in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// What it did.
    pub was: Was,
    /// QEMU's machine type by its full name, where its memory was saved.
    pub machine_type: Option<String>,
    /// Whether it has a disk.
    pub disk: bool,
    /// cloud-init's id of it.
    pub instance_id: String,
    /// Who logs in.
    pub ssh_user: Option<String>,
    /// How it was started last.
    pub started: Option<Started>,
    /// Stands for what its disk held.
    pub run: String,
}

/// What a machine did when the snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Was {
    /// It ran.
    Running,
    /// Its CPUs stood still.
    Paused,
    /// Its memory was in a file.
    Suspended,
    /// It did not run.
    Stopped,
}

/// A going back that is under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// The snapshot's name.
    pub(crate) snapshot: String,
    /// Which of its machines.
    pub(crate) machines: Vec<String>,
}

/// A snapshot in a list. The JSON of `snapshot ls --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// When it was taken, in seconds since 1970.
    pub created: u64,
    /// Its machines, in the order of their names.
    pub machines: Vec<ListedMachine>,
    /// The bytes of memory in it; what it holds of disks is not known apart from them.
    pub memory_bytes: u64,
}

/// A machine of a snapshot in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedMachine {
    /// Its name.
    pub name: String,
    /// What it did.
    pub was: Was,
    /// Whether its memory is in it.
    pub memory: bool,
    /// Whether its disk is in it.
    pub disk: bool,
}

impl ClusterPaths {
    /// The folder of all snapshots.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.state.join("snapshots")
    }

    /// The folder of one of them.
    pub(crate) fn snapshot(&self, name: &str) -> PathBuf {
        self.snapshots().join(name)
    }

    /// The going back that is under way.
    pub(crate) fn journal(&self) -> PathBuf {
        self.state.join("restoring.json")
    }
}

/// The snapshots of a cluster, the oldest first. Needs no daemon.
///
/// # Errors
/// One cannot be read.
pub fn list(paths: &ClusterPaths) -> Result<Vec<Listed>, Problem> {
    let mut listed = Vec::new();
    for name in names(paths) {
        // One that goes at this moment is no snapshot any more.
        let Some(snapshot) = files::read_json::<Snapshot>(&paths.snapshot(&name).join("snapshot.json"))?
        else {
            continue;
        };
        let memory = |machine: &String| fs::metadata(paths.snapshot(&name).join(machine).join("memory"));
        let machines = snapshot.machines.iter().map(|(machine, saved)| ListedMachine {
            name: machine.clone(),
            was: saved.was,
            memory: saved.machine_type.is_some(),
            disk: saved.disk,
        });
        listed.push(Listed {
            created: snapshot.created,
            machines: machines.collect(),
            memory_bytes: snapshot
                .machines
                .keys()
                .filter_map(|it| Some(memory(it).ok()?.len()))
                .sum(),
            name,
        });
    }
    listed.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    Ok(listed)
}

/// The names of whole snapshots.
fn names(paths: &ClusterPaths) -> Vec<String> {
    let entries = fs::read_dir(paths.snapshots()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// A snapshot by its name.
fn find(paths: &ClusterPaths, name: &str) -> Result<Snapshot, Problem> {
    let known = names(paths);
    let found = match known.iter().any(|it| it == name) {
        true => files::read_json(&paths.snapshot(name).join("snapshot.json"))?,
        false => None,
    };
    found.ok_or_else(|| {
        let hint = match known.as_slice() {
            [] => "there are none: `atoll snapshot create` takes one".to_owned(),
            known => format!("there are: {}", known.join(", ")),
        };
        Problem::usage(format!("there is no snapshot {name:?}")).with_hint(hint)
    })
}

/// What belongs to a machine besides disk and memory, by the names of the files in its folder.
const BELONGINGS: [&str; 3] = ["outputs.json", "given.json", "firmware-vars.fd"];
