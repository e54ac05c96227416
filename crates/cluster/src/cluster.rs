//! A cluster as its daemon holds it.
//!
//! One [`Cluster`] owns the state folder (by its lock), the networks, and the knowledge of the QEMU processes. Commands
//! come from any thread. `up`, `down`, `restart` and `rm` take turns: each makes a plan from the file and from
//! what is found ([`crate::plan`]), then carries its rows out side by side (`steps`). `down` and `rm` call off
//! whatever is under way, an image's download included, instead of waiting for it. Questions and forwards do not wait for a turn.
//!
//! QEMU does not end with the daemon. [`Cluster::open`] takes over what still runs: it starts the networks those machines
//! are on with the same sockets, addresses, documents and forwards, and their QEMUs connect again by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atoll_qemu::Process;
use atoll_spec as spec;
use serde::{Deserialize, Serialize};

use crate::board::Board;
use crate::direct::{self, Sessions};
use crate::events::Journal;
use crate::files;
use crate::hypervisor::Hypervisor;
use crate::lock::{self, FileLock};
use crate::networks::Networks;
use crate::outputs;
use crate::paths::ClusterPaths;
use crate::plan::{self, Desired, Goal, Observed, Up};
use crate::problem::{Kind, Problem};
use crate::progress::{Progress, Sink, Stage};
use crate::project::{Input, Project};
use crate::ssh;
use crate::state::{State, new_instance_id};
use crate::steps::Job;

/// How long a machine may take to become ready unless told otherwise: software translation on a busy host is slow.
pub const DEADLINE: Duration = Duration::from_secs(600);

/// How long a daemon that is about to end is waited for.
const HANDOVER: Duration = Duration::from_secs(10);

/// What is asked of [`Cluster::up`] and [`Cluster::restart`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpRequest {
    /// What messages call the file.
    pub shown: String,
    /// The file's text.
    pub text: String,
    /// What it is read with.
    #[serde(default)]
    pub input: Input,
    /// Machines, or all when empty.
    pub machines: BTreeSet<String>,
    /// How long each may take to become ready, in seconds.
    pub deadline_secs: Option<u64>,
    /// Whether machines may be restarted for what the file changes.
    #[serde(default)]
    pub restart: bool,
    /// Whether machines that the file no longer has are deleted.
    #[serde(default)]
    pub prune: bool,
}

impl UpRequest {
    fn deadline(&self) -> Duration {
        self.deadline_secs.map_or(DEADLINE, Duration::from_secs)
    }
}

/// What is asked of the other commands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machines {
    /// Machines, or all when empty.
    pub machines: BTreeSet<String>,
}

/// A cluster and all that is known of it.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) paths: ClusterPaths,
    pub(crate) folder: PathBuf,
    pub(crate) hypervisor: Hypervisor,
    pub(crate) cancelled: Arc<AtomicBool>,
    shared: Mutex<Shared>,
    turn: Mutex<()>,
    lock: Mutex<Option<FileLock>>,
    removed: AtomicBool,
}

/// What changes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: State,
    pub(crate) networks: Networks,
    /// What keeps directly attached NICs on the host's LAN.
    pub(crate) sessions: Sessions,
    /// Where machines are on their way up.
    pub(crate) stages: BTreeMap<String, Stage>,
    /// What machines wait for before they are started.
    pub(crate) waiting: BTreeMap<String, Vec<String>>,
}

impl Cluster {
    /// Takes the state folder of the cluster of this file, and takes over what runs of it.
    pub fn open(file: &Path, paths: ClusterPaths) -> Result<Self, Problem> {
        files::make_private(&paths.state)?;
        if let Some(root) = paths.run.parent() {
            files::make_private_and_check(root)?;
        }
        files::make_private_and_check(&paths.run)?;
        let lock = lock::take(&paths.lock_file(), HANDOVER)?;
        let state = State::load(&paths)?.unwrap_or_else(|| State::new(file.to_owned()));
        let shared = Shared {
            state,
            networks: Networks::default(),
            sessions: Sessions::default(),
            stages: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        let cluster = Self {
            hypervisor: Hypervisor::new(&paths),
            paths,
            folder: file.parent().unwrap_or(Path::new("/")).to_owned(),
            cancelled: Arc::default(),
            shared: Mutex::new(shared),
            turn: Mutex::new(()),
            lock: Mutex::new(Some(lock)),
            removed: AtomicBool::new(false),
        };
        cluster.adopt();
        Ok(cluster)
    }

    /// Where its files are.
    pub fn paths(&self) -> &ClusterPaths {
        &self.paths
    }

    pub(crate) fn shared(&self) -> MutexGuard<'_, Shared> {
        // What a panicking thread left is still the best knowledge there is.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and writes it down.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, Problem> {
        let mut shared = self.shared();
        let result = change(&mut shared.state);
        shared.state.save(&self.paths)?;
        Ok(result)
    }

    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.cancelled.store(false, Ordering::Relaxed);
        turn
    }

    /// A turn at once: whatever is under way is called off.
    pub(crate) fn turn_now(&self) -> MutexGuard<'_, ()> {
        self.cancelled.store(true, Ordering::Relaxed);
        self.turn()
    }

    /// Brings machines up as the file says.
    pub fn up(&self, request: UpRequest, sink: &dyn Sink) -> Result<(), Problem> {
        let _turn = self.turn();
        let deadline = request.deadline();
        let up = Up {
            machines: request.machines.clone(),
            restart: request.restart,
            prune: request.prune,
        };
        let cluster = self.take_file(request)?;
        self.carry_out(&Goal::Up(up), cluster, deadline, sink)
    }

    /// Stops machines and starts them again as the file says.
    pub fn restart(&self, request: UpRequest, sink: &dyn Sink) -> Result<(), Problem> {
        let _turn = self.turn();
        let deadline = request.deadline();
        let machines = request.machines.clone();
        let cluster = self.take_file(request)?;
        self.carry_out(&Goal::Restart(machines), cluster, deadline, sink)
    }

    /// The cluster of a file that is now the one that counts, unless what runs stands against it.
    fn take_file(&self, request: UpRequest) -> Result<spec::Cluster, Problem> {
        let file = self.shared().state.file.clone();
        let project = Project::parse(&file, &request.shown, request.text, request.input)?;
        let (cluster, choices) = (project.cluster, project.input.choices);
        let is_meant = |name: &str| request.machines.is_empty() || request.machines.contains(name);
        for machine in &cluster.machines {
            if is_meant(machine.name.as_str()) {
                direct::check_system(machine, std::env::consts::OS)?;
            }
        }
        for arch in cluster
            .machines
            .iter()
            .map(|machine| machine.arch)
            .collect::<BTreeSet<_>>()
        {
            self.hypervisor.capabilities(arch)?;
        }
        self.take_networks(&cluster)?;
        self.keep_networks_of_suspended(&cluster)?;
        self.change(|state| {
            state.cluster = Some(cluster.clone());
            state.choices = choices;
        })?;
        Ok(cluster)
    }

    /// Stops machines; with none named also the networks.
    pub fn down(&self, machines: BTreeSet<String>, sink: &dyn Sink) -> Result<(), Problem> {
        let _turn = self.turn_now();
        self.end(Goal::Down, machines, sink)
    }

    /// Stops machines and deletes their disks and all that is known of them.
    pub fn remove(&self, machines: BTreeSet<String>, sink: &dyn Sink) -> Result<(), Problem> {
        let _turn = self.turn_now();
        let all = machines.is_empty();
        self.end(Goal::Remove, machines, sink)?;
        let nothing_left = all && self.shared().state.machines.is_empty();
        self.removed.store(nothing_left, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn end(
        &self,
        goal: impl FnOnce(BTreeSet<String>) -> Goal,
        machines: BTreeSet<String>,
        sink: &dyn Sink,
    ) -> Result<(), Problem> {
        let all = machines.is_empty();
        let cluster = self.shared().state.cluster.clone();
        let Some(cluster) = cluster else { return Ok(()) };
        let result = self.carry_out(&goal(machines), cluster, DEADLINE, sink);
        if all && !self.runs_anything() {
            self.shared().networks.stop();
        }
        result
    }

    /// Networks that run otherwise than the file says are started anew, which is possible only while nothing is on them.
    fn take_networks(&self, cluster: &spec::Cluster) -> Result<(), Problem> {
        let changed = self.shared().networks.changed(cluster);
        if changed.is_empty() {
            return Ok(());
        }
        if self.runs_anything() {
            let message = format!(
                "the file changes network {}, which machines are on",
                changed.join(", ")
            );
            return Err(
                Problem::new(Kind::Configuration, message).with_hint("`atoll down` first, then `atoll up`")
            );
        }
        self.shared().networks.stop();
        Ok(())
    }

    pub(crate) fn carry_out(
        &self,
        goal: &Goal,
        cluster: spec::Cluster,
        deadline: Duration,
        sink: &dyn Sink,
    ) -> Result<(), Problem> {
        let began = Instant::now();
        let sink = &Journal::new(&self.paths, sink);
        let rows = plan::plan(goal, &desired(&cluster), &self.observed())?;
        let key = ssh::ensure_key(&self.paths)?;
        let job = Job {
            host: self,
            cluster,
            key,
            deadline,
            sink,
            board: Board::default(),
        };
        job.end_old_forwards(&rows);
        std::thread::scope(|scope| {
            for row in &rows {
                scope.spawn(|| job.run(row));
            }
            for wait in plan::looks(&rows) {
                scope.spawn(|| job.look_for(wait, &rows));
            }
        });
        sink.tell(Progress::done(
            rows.into_iter().map(|row| row.machine).collect(),
            began.elapsed(),
        ));
        Ok(())
    }

    /// What is found of each machine.
    fn observed(&self) -> BTreeMap<String, Observed> {
        observed(&self.shared().state, &self.paths)
    }

    /// Whether any machine runs.
    pub fn runs_anything(&self) -> bool {
        let shared = self.shared();
        shared
            .state
            .machines
            .values()
            .any(|known| known.process.as_ref().is_some_and(Process::is_alive))
    }

    /// Ends the networks and gives up the lock; machines that run keep running and wait for the next daemon. What was
    /// removed as a whole leaves no folder behind.
    pub fn close(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shared = self.shared();
        shared.networks.stop();
        shared.sessions.leave_to_machines();
        drop(shared);
        if !self.runs_anything() {
            log_error("remove", &self.paths.run, remove_folder(&self.paths.run));
            // Shared with other clusters of this user; only an empty one goes.
            let _ = self.paths.run.parent().map(std::fs::remove_dir);
        }
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        if self.removed.load(Ordering::Relaxed) {
            log_error("remove", &self.paths.state, remove_folder(&self.paths.state));
        }
        drop(lock);
    }

    /// Takes over the machines that run. What cannot be restored is noted at the machine; the others come first.
    fn adopt(&self) {
        let mut shared = self.shared();
        let names: Vec<String> = shared.state.machines.keys().cloned().collect();
        for name in names {
            let known = shared.state.machine(&name);
            if known.process.is_none() && known.started.is_some() {
                // The last daemon may have died between starting it and writing that down.
                let found = Process::adopt(&name, &self.paths.pid_file(&name), &self.paths.qmp_socket(&name));
                known.process = found.unwrap_or_else(|error| {
                    tracing::warn!(%error, machine = %name, "it could not be recognised");
                    None
                });
            }
            known.process = known.process.take().filter(Process::is_alive);
        }
        drop(shared);
        self.settle();
        self.finish_snapshots();
        let shared = self.shared();
        let Some(cluster) = shared.state.cluster.clone() else {
            return;
        };
        drop(shared);
        let key = match ssh::ensure_key(&self.paths) {
            Ok(key) => key,
            Err(error) => return tracing::error!(%error, "the running machines cannot be taken over"),
        };
        let job = Job {
            host: self,
            cluster,
            key,
            deadline: DEADLINE,
            sink: &|_| {},
            board: Board::default(),
        };
        for machine in self.running() {
            if let Err(problem) = job.join_again(&machine) {
                tracing::error!(machine = %machine.name, %problem, "not all of it could be taken over");
                self.shared().state.machine(machine.name.as_str()).problem = Some(problem);
            }
        }
        if let Err(error) = self.shared().state.save(&self.paths) {
            tracing::error!(%error, "the state could not be written");
        }
    }

    /// The machines that run, as they were started.
    fn running(&self) -> Vec<spec::Machine> {
        let shared = self.shared();
        let running = shared
            .state
            .machines
            .values()
            .filter(|known| known.process.is_some());
        running
            .filter_map(|known| Some(known.started.as_ref()?.machine.clone()))
            .collect()
    }

    /// Deletes what is known of a machine, which does not run.
    pub(crate) fn forget(&self, machine: &str) -> Result<(), Problem> {
        self.forget_in_snapshots(machine)?;
        let folder = self.paths.machine(machine);
        let removed = remove_folder(&folder);
        removed
            .map_err(|error| Problem::environment(format!("cannot delete {}: {error}", folder.display())))?;
        ssh::forget(&self.paths, machine)?;
        self.change(|state| {
            state.machines.remove(machine);
            state.forwards.retain(|forward| forward.machine != machine);
        })
    }

    /// A disk was made anew: the machine sets itself up again, with a new host key.
    pub(crate) fn begin_anew(&self, machine: &str) -> Result<(), Problem> {
        ssh::forget(&self.paths, machine)?;
        self.change(|state| state.machine(machine).instance_id = new_instance_id(machine))
    }
}

fn remove_folder(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn log_error(what: &str, path: &Path, result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, path = %path.display(), "could not {what}");
    }
}

/// What is found of each machine that is known.
pub(crate) fn observed(state: &State, paths: &ClusterPaths) -> BTreeMap<String, Observed> {
    let machines = state.machines.iter().map(|(name, known)| {
        let started = known.started.as_ref();
        let running = known.process.as_ref().is_some_and(Process::is_alive);
        let observed = Observed {
            running,
            // A suspended one goes on as it was.
            ready: (running || known.suspended.is_some()) && started.is_some_and(|started| started.ready),
            paused: running && known.paused.is_some(),
            suspended: known.suspended.is_some(),
            disk: paths.disk(name).exists(),
            fingerprint: started.map(|started| fingerprint(&started.machine)),
            adjustable: started.map(|started| adjustable(&started.machine)),
            outputs: outputs::names(paths, name),
        };
        (name.clone(), observed)
    });
    machines.collect()
}

/// The machines of the file, as far as a plan depends on them.
pub(crate) fn desired(cluster: &spec::Cluster) -> Vec<Desired> {
    let machines = cluster.machines.iter();
    let desired = machines.map(|machine| Desired {
        machine: machine.name.to_string(),
        has_disk: machine.image.is_some(),
        fingerprint: fingerprint(machine),
        adjustable: adjustable(machine),
        waits: machine.depends_on.clone(),
        outputs: machine.outputs.keys().map(ToString::to_string).collect(),
    });
    desired.collect()
}

/// Stands for all that a running machine cannot change. Forwards and outputs can be changed, documents are read at boot only, what it was
/// started after is past, and a disk is as it was made.
pub(crate) fn fingerprint(machine: &spec::Machine) -> String {
    let nothing = spec::Machine {
        forwards: Vec::new(),
        automatic: Vec::new(),
        loopback: None,
        user_data: None,
        template: None,
        depends_on: Vec::new(),
        outputs: BTreeMap::new(),
        ssh: spec::Ssh::default(),
        disk: None,
        ..machine.clone()
    };
    digest(&nothing)
}

/// Stands for what a running machine can be given.
fn adjustable(machine: &spec::Machine) -> String {
    digest(&(
        &machine.forwards,
        &machine.automatic,
        machine.loopback,
        &machine.user_data,
        &machine.template,
        &machine.ssh,
    ))
}

fn digest(value: &impl Serialize) -> String {
    use sha2::{Digest, Sha256};
    let text = serde_json::to_string(value).unwrap_or_default();
    Sha256::digest(text.as_bytes())[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
