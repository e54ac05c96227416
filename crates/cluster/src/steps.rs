//! The steps of a plan: what each one does to the host.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atoll_images::{Boot, Image, overlay};
use atoll_qemu::Stopped;
use atoll_runtime::ForwardSpec;
use atoll_spec as spec;

use crate::board::Board;
use crate::cluster::Cluster;
use crate::console;
use crate::direct;
use crate::documents::{self, documents};
use crate::files;
use crate::image::{have_image, store};
use crate::launch;
use crate::networks::{NetworkError, forward_target, ssh_forward};
use crate::outputs::Gifts;
use crate::plan::{Row, Step};
use crate::problem::Problem;
use crate::progress::{Progress, Sink, Stage};
use crate::ready::{NotReady, Waiting};
use crate::ssh::{self, Host};

/// How long a guest with a file system may take to shut down; slow under software translation.
const GRACE: Duration = Duration::from_secs(90);

/// How long one without a disk may take: it has nothing to lose.
const GRACE_WITHOUT_DISK: Duration = Duration::from_secs(3);

/// Console lines shown with a failure.
const CONSOLE_LINES: usize = 8;

/// Who logs in when neither the file nor the image says.
const SSH_USER: &str = "atoll";

/// One command's work on the cluster.
pub(crate) struct Job<'a> {
    pub(crate) host: &'a Cluster,
    pub(crate) cluster: spec::Cluster,
    /// The cluster's own public key.
    pub(crate) key: String,
    pub(crate) deadline: Duration,
    pub(crate) sink: &'a dyn Sink,
    /// What the threads of the command tell each other.
    pub(crate) board: Board,
}

/// A failure and where it happened.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) problem: Problem,
    /// Whose console may tell more, where it is not the machine's own.
    pub(crate) console_of: Option<String>,
}

/// A problem that happened at this stage.
pub(crate) fn at(stage: Stage) -> impl FnOnce(Problem) -> Failure {
    move |problem| Failure {
        stage,
        problem,
        console_of: None,
    }
}

impl Job<'_> {
    /// Carries out one row. A failure is told and noted; it ends this row, and those that wait for it.
    pub(crate) fn run(&self, row: &Row) {
        let name = row.machine.as_str();
        let mut image = None;
        self.put_what_is_so(row);
        let result = row.steps.iter().try_for_each(|step| {
            self.step(*step, row, &mut image)?;
            self.put_done(*step, row);
            Ok(())
        });
        self.host.shared().stages.remove(name);
        match result {
            Ok(())
                if row.steps.iter().any(|step| {
                    matches!(step, Step::Await | Step::Wake | Step::Continue | Step::Outputs)
                }) =>
            {
                self.sink.tell(Progress::stage(name, Stage::Ready, ""));
            }
            Ok(()) => {}
            Err(failure) => self.fail(name, failure),
        }
        // After the failure is told: it comes before those of who waited.
        self.board.close(name);
    }

    fn fail(&self, name: &str, failure: Failure) {
        let Failure {
            stage,
            problem,
            console_of,
        } = failure;
        let noted = self.host.change(|state| {
            let known = match stage {
                // Nothing else may be known of a machine yet that waited in vain.
                Stage::Wait => Some(state.machine(name)),
                _ => state.machines.get_mut(name),
            };
            if let Some(known) = known {
                known.problem = Some(problem.clone());
            }
        });
        if let Err(problem) = noted {
            tracing::error!(%problem, "the state could not be written");
        }
        let owner = console_of.as_deref().unwrap_or(name);
        let console = match stage {
            Stage::Boot | Stage::CloudInit | Stage::Ssh | Stage::Outputs => {
                console::tail(&self.host.paths.console_log(owner), CONSOLE_LINES)
            }
            Stage::Wait if console_of.is_some() => {
                console::tail(&self.host.paths.console_log(owner), CONSOLE_LINES)
            }
            _ => Vec::new(),
        };
        self.sink.tell(Progress::Failed {
            machine: name.to_owned(),
            stage,
            problem,
            console,
            console_of,
        });
    }

    pub(crate) fn tell(&self, machine: &str, stage: Stage, detail: impl Into<String>) {
        self.host.shared().stages.insert(machine.to_owned(), stage);
        self.sink.tell(Progress::stage(machine, stage, detail));
    }

    fn step(&self, step: Step, row: &Row, image: &mut Option<Image>) -> Result<(), Failure> {
        let name = row.machine.as_str();
        if self.host.cancelled.load(Ordering::Relaxed) {
            let problem = Problem::environment(NotReady::Cancelled.to_string());
            return Err(at(Stage::Stop)(problem));
        }
        match step {
            Step::Yield => return self.give_way(row),
            Step::Stop => return self.stop(name).map_err(at(Stage::Stop)),
            Step::Leave => return self.leave(name).map_err(at(Stage::Stop)),
            Step::Delete => return self.host.forget(name).map_err(at(Stage::Stop)),
            Step::Hold => return self.hold(row),
            Step::Await => return self.wait(name),
            Step::Pause => return self.pause(name).map_err(at(Stage::Suspend)),
            Step::Continue => return self.go_on(name).map_err(at(Stage::Resume)),
            Step::Suspend => return self.suspend(name).map_err(at(Stage::Suspend)),
            Step::Wake => return self.wake(name).map_err(at(Stage::Resume)),
            Step::TellGone => {
                let detail =
                    format!("not in the file, or of a profile not in use; `atoll rm {name}` deletes it");
                self.sink.tell(Progress::stage(name, Stage::Ready, detail));
                return Ok(());
            }
            _ => {}
        }
        let Some(machine) = self.cluster.machine(name) else {
            return Ok(());
        };
        match step {
            Step::Image => self.image(machine, image).map_err(at(Stage::Image)),
            Step::Disk => self.disk(machine, image.as_ref()).map_err(at(Stage::Disk)),
            Step::Outputs => self.take_outputs(machine),
            Step::Join => {
                self.tell(name, Stage::Network, "");
                self.join_anew(machine).map_err(at(Stage::Network))
            }
            Step::Start => self.start(machine, image.as_ref()).map_err(at(Stage::Start)),
            Step::TellChanged => {
                let detail = format!("runs otherwise than the file says; `atoll restart {name}` applies it");
                self.sink.tell(Progress::stage(name, Stage::Ready, detail));
                Ok(())
            }
            Step::Adjust => {
                self.tell(name, Stage::Network, "");
                self.adjust(machine).map_err(at(Stage::Network))
            }
            Step::Yield
            | Step::Stop
            | Step::Leave
            | Step::Delete
            | Step::Hold
            | Step::Await
            | Step::Pause
            | Step::Continue
            | Step::Suspend
            | Step::Wake
            | Step::TellGone => Ok(()),
        }
    }

    pub(crate) fn image(&self, machine: &spec::Machine, image: &mut Option<Image>) -> Result<(), Problem> {
        let name = machine.name.as_str();
        let Some(wanted) = &machine.image else {
            return Ok(());
        };
        self.tell(name, Stage::Image, wanted.to_string());
        let arch = launch::image_arch(machine.arch);
        let store = store(&self.host.paths.images)?.until(Arc::clone(&self.host.cancelled));
        let found = have_image(wanted, arch, &store, &self.host.folder, &|detail, percent| {
            let stage = Stage::Image;
            self.sink.tell(Progress::Stage {
                machine: name.to_owned(),
                stage,
                detail,
                percent,
            });
        })?;
        let user = machine.ssh.user.clone().or_else(|| found.ssh_user.clone());
        self.host.change(|state| state.machine(name).ssh_user = user)?;
        *image = Some(found);
        Ok(())
    }

    fn disk(&self, machine: &spec::Machine, image: Option<&Image>) -> Result<(), Problem> {
        let name = machine.name.as_str();
        let Some(Boot::Disk { path, format }) = image.map(|image| &image.boot) else {
            return Ok(());
        };
        self.tell(name, Stage::Disk, "");
        files::make_private(&self.host.paths.machine(name))?;
        let disk = self.host.paths.disk(name);
        let new = disk.with_extension("new");
        files::remove(&new)?;
        overlay::create(path, *format, &new, machine.disk.map(spec::ByteSize::bytes))?;
        self.host.begin_anew(name)?;
        fs::rename(&new, &disk).map_err(|cause| files::FileError::Write { path: disk, cause })?;
        Ok(())
    }

    /// Lets a machine that is to be started onto its networks, with what others say now.
    pub(crate) fn join_anew(&self, machine: &spec::Machine) -> Result<(), Problem> {
        let mentions = documents::mentions(machine, &self.host.folder)?;
        let gifts = Gifts::now(&self.host.paths);
        self.join(machine, &gifts)?;
        Ok(gifts.keep(machine.name.as_str(), &mentions)?)
    }

    /// Lets a machine that runs onto its networks again, as it was there before.
    pub(crate) fn join_again(&self, machine: &spec::Machine) -> Result<(), Problem> {
        let gifts = Gifts::as_before(&self.host.paths, machine.name.as_str())?;
        self.join(machine, &gifts)
    }

    /// With forwards and ssh. Does no harm when it is there already.
    fn join(&self, machine: &spec::Machine, gifts: &Gifts<'_>) -> Result<(), Problem> {
        let name = machine.name.as_str();
        let known = self.host.shared().state.machine(name).clone();
        let ssh_user = machine
            .ssh
            .user
            .clone()
            .or(known.ssh_user)
            .unwrap_or_else(|| SSH_USER.to_owned());
        let ground = documents::Ground {
            folder: &self.host.folder,
            key: &self.key,
            instance_id: &known.instance_id,
            ssh_user: &ssh_user,
            services: machine
                .served_nic()
                .and_then(|nic| self.cluster.network(nic.network.as_str())?.services()),
            values: &|mention| gifts.value(mention),
        };
        let documents = documents(machine, &ground)?;
        if documents::seed(machine) == documents::Seed::Drive {
            documents::write(&self.host.paths.seed(name), &documents)?;
        }
        let mut shared = self.host.shared();
        shared
            .networks
            .ensure(&self.cluster, machine, (&self.host.folder, &self.host.paths))?;
        shared.networks.join(machine, &documents, &self.host.paths)?;
        drop(shared);
        self.forwards(machine)?;
        self.ssh_host(machine, known.ssh_port, &ssh_user)?;
        if let Some((network, guest)) = forward_target(&self.cluster, machine) {
            let shared = self.host.shared();
            shared.networks.set_automatic(network.as_str(), &guest, machine)?;
        }
        Ok(())
    }

    /// The forward for ssh, at the port it had before unless somebody took it meanwhile.
    fn ssh_host(&self, machine: &spec::Machine, port: Option<u16>, user: &str) -> Result<(), Problem> {
        let Some((network, guest)) = forward_target(&self.cluster, machine) else {
            return Ok(());
        };
        let network = network.as_str();
        let forward = |port, own| -> ForwardSpec { ssh_forward(port, guest.clone(), own) };
        let mut shared = self.host.shared();
        let own = machine.loopback.map(|own| forward(0, Some(own)));
        let wanted = own.into_iter().chain(port.map(|port| forward(port, None)));
        let mut kept = wanted.filter_map(|wanted| shared.networks.forward(network, wanted).ok());
        let made = match kept.next() {
            Some(kept) => kept,
            None => shared.networks.forward(network, forward(0, None))?,
        };
        let known = shared.state.machine(machine.name.as_str());
        let address = made.listen.address();
        known.ssh_port = address.map(|address| address.port());
        let is_own = |address: &IpAddr| *address != IpAddr::V4(Ipv4Addr::LOCALHOST);
        known.ssh_address = address.map(|address| address.ip()).filter(is_own);
        known.ssh_user = Some(user.to_owned());
        shared.state.save(&self.host.paths)?;
        let machines = shared.state.machines.iter();
        let hosts = machines.filter_map(|(name, known)| {
            let (port, user) = (known.ssh_port?, known.ssh_user.clone()?);
            Some(Host {
                machine: name.clone(),
                address: known.ssh_address.unwrap_or(Ipv4Addr::LOCALHOST.into()),
                user,
                port,
            })
        });
        // Under the lock: of two machines that join at once, the later one's file has both.
        Ok(ssh::write_config(&self.host.paths, &hosts.collect::<Vec<_>>())?)
    }

    fn wait(&self, name: &str) -> Result<(), Failure> {
        let known = self.host.shared().state.machine(name).clone();
        let (Some(started), Some(process)) = (known.started, known.process) else {
            return Ok(());
        };
        let log = self.host.paths.qemu_log(name);
        let stopped = || (!process.is_alive()).then(|| last_words(&log));
        let note_stage = |event: Progress| {
            if let Progress::Stage { machine, stage, .. } = &event {
                self.host.shared().stages.insert(machine.clone(), *stage);
            }
            self.sink.tell(event);
        };
        let waiting = Waiting {
            paths: &self.host.paths,
            machine: name,
            rule: started.rule,
            deadline: self.deadline,
            cancelled: &self.host.cancelled,
            stopped: &stopped,
            sink: &note_stage,
        };
        waiting.run().map_err(|(stage, error)| {
            let message = format!("machine {name}: {error}");
            let problem = Problem::new(crate::problem::Kind::Guest, message);
            at(stage)(problem.with_hint_if(error.hint(name)))
        })?;
        let noted = self.host.change(|state| {
            let known = state.machine(name);
            known.problem = None;
            if let Some(started) = &mut known.started {
                started.ready = true;
            }
        });
        noted.map_err(at(Stage::Ready))
    }

    fn stop(&self, name: &str) -> Result<(), Problem> {
        let known = self.host.shared().state.machine(name).clone();
        let Some(process) = known.process else {
            return Ok(());
        };
        self.tell(name, Stage::Stop, "");
        if known.paused.is_some() {
            // A guest whose CPUs stand still does not notice its power button.
            process.control()?.cont()?;
        }
        let has_disk = self.host.paths.disk(name).exists();
        let stopped = process.stop(if has_disk { GRACE } else { GRACE_WITHOUT_DISK })?;
        let detail = match stopped {
            Stopped::AlreadyGone | Stopped::PoweredDown => "powered down",
            Stopped::Quit => "QEMU was ended: the guest did not react to its power button",
            Stopped::Killed => "QEMU was killed: it did not react",
        };
        files::remove(&self.host.paths.console_socket(name))?;
        self.undo_taps(name, &known.taps);
        self.host.change(|state| {
            let known = state.machine(name);
            known.process = None;
            known.paused = None;
            known.taps.clear();
            known.problem = None;
        })?;
        self.tell(name, Stage::Stop, detail);
        Ok(())
    }

    /// Has the TAPs of a machine that has ended undone.
    pub(crate) fn undo_taps(&self, name: &str, interfaces: &[String]) {
        let sessions = self.host.shared().sessions.take(name);
        drop(sessions);
        direct::wait_gone(interfaces);
    }

    fn leave(&self, name: &str) -> Result<(), Problem> {
        let shared = self.host.shared();
        let started = shared
            .state
            .machines
            .get(name)
            .and_then(|known| known.started.as_ref());
        if let Some(started) = started {
            shared.networks.leave(&started.machine, &self.host.paths);
        }
        Ok(())
    }
}

/// A forward's failure with the machine it is for.
pub(crate) fn named(machine: &spec::Machine, error: NetworkError) -> Problem {
    let mut problem = Problem::from(error);
    problem.message = format!("machine {}: {}", machine.name, problem.message);
    problem
}

/// The last of what a QEMU said.
pub(crate) fn last_words(log: &Path) -> Option<String> {
    let words = console::tail(log, 4).join("; ");
    (!words.is_empty()).then_some(words)
}
