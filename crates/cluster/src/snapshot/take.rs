//! Taking a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use atoll_images::disk_state;
use atoll_qemu::args::disk_node;
use atoll_qemu::{Capabilities, MemoryFile, Process, Qmp};
use atoll_spec as spec;
use serde::{Deserialize, Serialize};

use super::{BELONGINGS, Saved, Snapshot, Was, names};
use crate::clock::now;
use crate::cluster::Cluster;
use crate::files::{self, FileError};
use crate::plan::UnknownMachine;
use crate::problem::Problem;
use crate::progress::{Progress, Sink, Stage};
use crate::state::{MachineState, new_run};
use crate::suspend::{MEMORY_DEADLINE, can_be_saved};

/// What is asked of [`Cluster::take_snapshot`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// Its name; the next free of `snapshot-1`, `snapshot-2` and so on when left out.
    pub name: Option<String>,
    /// Machines, or all that were ever brought up when empty.
    pub machines: BTreeSet<String>,
    /// Whether memory is left out: machines that run are as after a power cut then.
    #[serde(default)]
    pub disk_only: bool,
}

/// A machine that runs, about to be saved. It goes on when this is dropped.
struct Standing {
    name: String,
    control: Qmp,
    capabilities: Capabilities,
    goes_on: bool,
}

impl Standing {
    fn go_on(&mut self) {
        if std::mem::take(&mut self.goes_on)
            && let Err(error) = self.control.cont()
        {
            tracing::error!(machine = %self.name, %error, "it does not go on after the snapshot");
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.go_on();
    }
}

impl Cluster {
    /// Saves machines as they are at one instant.
    pub fn take_snapshot(&self, request: &SnapshotRequest, sink: &dyn Sink) -> Result<(), Problem> {
        let _turn = self.turn();
        let began = Instant::now();
        let name = self.free_name(request.name.as_deref())?;
        let machines = self.known_machines(&request.machines)?;
        let cluster = self.shared().state.cluster.clone();
        let Some(cluster) = cluster.filter(|_| !machines.is_empty()) else {
            return Err(
                Problem::usage("there is nothing to take a snapshot of").with_hint("`atoll up` first")
            );
        };
        let mut snapshot = Snapshot {
            tag: format!("atoll-{}", new_run()),
            created: now(),
            cluster,
            machines: machines
                .iter()
                .map(|(name, known)| (name.clone(), self.saved(name, known)))
                .collect(),
        };
        let folder = self.paths.snapshots().join(format!(".new-{}", snapshot.tag));
        let made = self
            .make(&mut snapshot, &machines, (&folder, request.disk_only), sink)
            .and_then(|()| Ok(rename(&folder, &self.paths.snapshot(&name))?));
        if let Err(problem) = made {
            self.tidy(&folder);
            return Err(problem);
        }
        for machine in machines.keys() {
            sink.tell(Progress::stage(
                machine,
                Stage::Snapshot,
                format!("kept as {name}"),
            ));
        }
        sink.tell(Progress::done(machines.into_keys().collect(), began.elapsed()));
        Ok(())
    }

    fn free_name(&self, wanted: Option<&str>) -> Result<String, Problem> {
        let taken = names(&self.paths);
        let Some(wanted) = wanted else {
            let mut free = (1..).map(|number: u32| format!("snapshot-{number}"));
            return Ok(free.find(|name| !taken.contains(name)).unwrap_or_default());
        };
        let name: spec::Name = wanted
            .parse()
            .map_err(|error| Problem::usage(format!("a snapshot cannot be called {wanted:?}: {error}")))?;
        if taken.iter().any(|it| it == name.as_str()) {
            let problem = Problem::usage(format!("there is a snapshot {name} already"));
            return Err(problem.with_hint(format!("`atoll snapshot rm {name}` deletes it")));
        }
        Ok(name.to_string())
    }

    /// What is known of machines that were ever brought up.
    fn known_machines(&self, wanted: &BTreeSet<String>) -> Result<BTreeMap<String, MachineState>, Problem> {
        let known = self.shared().state.machines.clone();
        let known: BTreeMap<_, _> = known.into_iter().filter(|(_, it)| it.started.is_some()).collect();
        if let Some(machine) = wanted.iter().find(|name| !known.contains_key(*name)) {
            return Err(UnknownMachine {
                machine: machine.clone(),
                known: known.into_keys().collect(),
            }
            .into());
        }
        Ok(known
            .into_iter()
            .filter(|(name, _)| wanted.is_empty() || wanted.contains(name))
            .collect())
    }

    fn saved(&self, name: &str, known: &MachineState) -> Saved {
        let runs = known.process.as_ref().is_some_and(Process::is_alive);
        let suspended = known.suspended.as_ref().filter(|_| !runs);
        Saved {
            was: match (runs, known.paused, suspended) {
                (true, None, _) => Was::Running,
                (true, Some(_), _) => Was::Paused,
                (false, _, Some(_)) => Was::Suspended,
                (false, _, None) => Was::Stopped,
            },
            machine_type: suspended.map(|suspended| suspended.machine_type.clone()),
            disk: self.paths.disk(name).exists(),
            instance_id: known.instance_id.clone(),
            ssh_user: known.ssh_user.clone(),
            started: known.started.clone(),
            run: known.run.clone(),
        }
    }

    /// Makes a snapshot in a folder of its own, whole and synced.
    fn make(
        &self,
        snapshot: &mut Snapshot,
        machines: &BTreeMap<String, MachineState>,
        (folder, disk_only): (&Path, bool),
        sink: &dyn Sink,
    ) -> Result<(), Problem> {
        for machine in machines.keys() {
            files::make_private(&folder.join(machine))?;
        }
        // By this a later daemon finds out what to undo.
        files::write_json(&folder.join("snapshot.json"), snapshot)?;
        let mut standing = Vec::new();
        for (name, known) in machines {
            let saved = snapshot.machines.get_mut(name);
            if let (Some(process), Some(saved)) = (known.process.as_ref().filter(|it| it.is_alive()), saved) {
                standing.push(self.about_to_stand(name, process, (saved, disk_only))?);
            }
        }
        let since = Instant::now();
        for machine in &mut standing {
            // Set before: one whose answer is lost may stand all the same.
            machine.goes_on = snapshot.machines[&machine.name].was == Was::Running;
            machine.control.stop()?;
        }
        self.save_all(snapshot, &mut standing, folder, sink)?;
        let renewed = self.change(|state| {
            for machine in &standing {
                state.machine(&machine.name).run = new_run();
            }
        });
        standing.iter_mut().for_each(Standing::go_on);
        let stood = since.elapsed();
        renewed?;
        for machine in &standing {
            let detail = format!("stood still for {:.1} s", stood.as_secs_f32());
            sink.tell(Progress::stage(&machine.name, Stage::Snapshot, detail));
        }
        files::write_json(&folder.join("snapshot.json"), snapshot)?;
        Ok(self.sync_all(snapshot, folder)?)
    }

    /// Reaches a machine that runs, and makes sure that it can be saved.
    fn about_to_stand(
        &self,
        name: &str,
        process: &Process,
        (saved, disk_only): (&mut Saved, bool),
    ) -> Result<Standing, Problem> {
        let mut control = process.control()?;
        let Some(started) = &saved.started else {
            return Err(Problem::environment(format!("machine {name} was never started")));
        };
        if !disk_only {
            can_be_saved(name, &mut control)?;
            saved.machine_type = Some(control.machine_type()?);
        }
        Ok(Standing {
            capabilities: self.hypervisor.capabilities(started.machine.arch)?,
            name: name.to_owned(),
            control,
            goes_on: false,
        })
    }

    /// Saves every machine, side by side; all stand still.
    fn save_all(
        &self,
        snapshot: &Snapshot,
        standing: &mut [Standing],
        folder: &Path,
        sink: &dyn Sink,
    ) -> Result<(), Problem> {
        let mut running: BTreeMap<String, &mut Standing> =
            standing.iter_mut().map(|it| (it.name.clone(), it)).collect();
        let work = snapshot
            .machines
            .iter()
            .map(|(name, saved)| (name, saved, running.remove(name)));
        let work: Vec<_> = work.collect();
        std::thread::scope(|scope| {
            let save = |(name, saved, running): (&String, &Saved, Option<&mut Standing>)| {
                sink.tell(Progress::stage(name, Stage::Snapshot, ""));
                self.save(name, (saved, &snapshot.tag), running, &folder.join(name))
            };
            let threads: Vec<_> = work.into_iter().map(|it| scope.spawn(move || save(it))).collect();
            let results = threads.into_iter().map(|thread| {
                let panicked = |_| {
                    Err(Problem::environment(
                        "a machine could not be saved: a thread ended",
                    ))
                };
                thread.join().unwrap_or_else(panicked)
            });
            // All are waited for, then the first failure counts.
            results.collect::<Vec<_>>().into_iter().collect()
        })
    }

    fn save(
        &self,
        name: &str,
        (saved, tag): (&Saved, &str),
        running: Option<&mut Standing>,
        folder: &Path,
    ) -> Result<(), Problem> {
        for file in BELONGINGS {
            copy(&self.paths.machine(name).join(file), &folder.join(file))?;
        }
        let memory = folder.join("memory");
        let Some(standing) = running else {
            if saved.machine_type.is_some() {
                // It is written once and never changed; two names for it are enough.
                link(&self.paths.memory(name), &memory)?;
            }
            return match saved.disk {
                true => Ok(disk_state::create(&self.paths.disk(name), tag)?),
                false => Ok(()),
            };
        };
        let nodes: Vec<String> = saved.disk.then(|| disk_node(0)).into_iter().collect();
        standing.control.snapshot_disks(&nodes, tag)?;
        if saved.machine_type.is_none() {
            return Ok(());
        }
        let file = MemoryFile {
            path: &memory,
            deadline: MEMORY_DEADLINE,
            is_off: &|| self.cancelled.load(std::sync::atomic::Ordering::Relaxed),
        };
        Ok(standing.control.save_memory(file, &standing.capabilities)?)
    }

    /// Has all of it on the medium before it gets its name.
    fn sync_all(&self, snapshot: &Snapshot, folder: &Path) -> Result<(), FileError> {
        for (name, saved) in &snapshot.machines {
            let own = folder.join(name);
            let files = fs::read_dir(&own).into_iter().flatten().flatten();
            for path in files.map(|entry| entry.path()) {
                sync(&path)?;
            }
            sync(&own)?;
            if saved.disk {
                sync(&self.paths.disk(name))?;
            }
        }
        sync(folder)
    }
}

fn sync(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(write_error(path))
}

fn write_error(path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
    let path = path.to_owned();
    move |cause| FileError::Write { path, cause }
}

/// A folder gets another name, also after a crash.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(write_error(to))?;
    sync(to.parent().unwrap_or(Path::new("/")))
}

/// Another name for a file, in place of what had it.
pub(super) fn link(from: &Path, to: &Path) -> Result<(), FileError> {
    files::remove(to)?;
    fs::hard_link(from, to).map_err(write_error(to))
}

/// Copies a file if it is there; else there is none at the other place, either.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    match fs::copy(from, to) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => files::remove(to),
        result => result.map(drop).map_err(write_error(to)),
    }
}
