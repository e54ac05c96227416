//! The steps by which machines wait for each other, and outputs are taken.
//!
//! Every thread of a command puts up what it brought about ([`Board`]): a row the starting, the being ready, the outputs and the stopping
//! of its machine, a look what it looked for. A row that ends, well or not, leaves nothing that others would wait for in vain.

use std::sync::atomic::Ordering;

use atoll_qemu::Process;
use atoll_runtime::{GuestTarget, Handle};
use atoll_spec as spec;
use atoll_spec::{Condition, Dependency};

use crate::board::{Board, Fact, GaveUp, Missed};
use crate::look::{Eye, INTERVAL};
use crate::networks::forward_target;
use crate::outputs::{self, Values};
use crate::plan::{Row, Step};
use crate::problem::{Kind, Problem};
use crate::progress::Stage;
use crate::ready::NotReady;
use crate::steps::{Failure, Job, at};

impl Job<'_> {
    /// Puts up what is so of a machine before its row begins.
    pub(crate) fn put_what_is_so(&self, row: &Row) {
        let name = || row.machine.clone();
        let has = |step| row.steps.contains(&step);
        if has(Step::Stop) || has(Step::Delete) {
            return;
        }
        self.board.put(Fact::Stopped(name()), Ok(()));
        if has(Step::Start) || has(Step::Wake) || !self.is_alive(&row.machine) {
            return;
        }
        self.board.put(Fact::Started(name()), Ok(()));
        if !has(Step::Await) {
            self.is_ready(row);
        }
    }

    /// Puts up what a step has brought about.
    pub(crate) fn put_done(&self, step: Step, row: &Row) {
        let name = || row.machine.clone();
        match step {
            Step::Start => self.board.put(Fact::Started(name()), Ok(())),
            Step::Wake => {
                self.board.put(Fact::Started(name()), Ok(()));
                if !row.steps.contains(&Step::Await) {
                    self.is_ready(row);
                }
            }
            Step::Await => self.is_ready(row),
            Step::Outputs => self.board.put(Fact::Outputs(name()), Ok(())),
            Step::Stop => self.board.put(Fact::Stopped(name()), Ok(())),
            _ => {}
        }
    }

    fn is_ready(&self, row: &Row) {
        self.board.put(Fact::Ready(row.machine.clone()), Ok(()));
        if !row.steps.contains(&Step::Outputs) {
            self.board.put(Fact::Outputs(row.machine.clone()), Ok(()));
        }
    }

    /// Waits until all holds that a machine is started after.
    pub(crate) fn hold(&self, row: &Row) -> Result<(), Failure> {
        let name = row.machine.as_str();
        let facts: Vec<Fact> = row.waits.iter().map(Fact::from).collect();
        let tell = |missing: &[usize]| {
            let words: Vec<String> = missing
                .iter()
                .filter_map(|place| row.waits.get(*place))
                .map(ToString::to_string)
                .collect();
            let detail = words.join(", ");
            self.host.shared().waiting.insert(name.to_owned(), words);
            self.tell(name, Stage::Wait, detail);
        };
        let waited = self.board.wait(&facts, &self.host.cancelled, tell);
        self.host.shared().waiting.remove(name);
        let (place, missed) = match waited {
            Ok(()) => return Ok(()),
            Err(GaveUp::Cancelled) => return Err(called_off()),
            Err(GaveUp::Missed(place, missed)) => (place, missed),
        };
        let Some(wait) = row.waits.get(place) else {
            return Ok(());
        };
        Err(missed_failure(wait, missed))
    }

    /// Lets those that depend on a machine stop before it.
    pub(crate) fn give_way(&self, row: &Row) -> Result<(), Failure> {
        let facts: Vec<Fact> = row.dependents.iter().cloned().map(Fact::Stopped).collect();
        let tell = |_: &[usize]| {
            let detail = format!("after {}", row.dependents.join(", "));
            self.tell(&row.machine, Stage::Stop, detail);
        };
        let waited = self.board.wait(&facts, &self.host.cancelled, tell);
        waited.map_err(|_| called_off())
    }

    /// Looks for what some of these rows wait for, until it is so or none of them waits for it any more.
    pub(crate) fn look_for(&self, wait: &Dependency, rows: &[Row]) {
        let (name, fact) = (wait.machine.as_str(), Fact::Looked(wait.clone()));
        let started = [Fact::Started(name.to_owned())];
        if self.board.wait(&started, &self.host.cancelled, |_| {}).is_err() {
            return self.board.put(fact, Err(Missed::MachineFailed));
        }
        let is_off = || {
            let waiting = rows.iter().filter(|row| row.waits.contains(wait));
            self.is_cancelled() || waiting.into_iter().all(|row| self.board.is_past(&row.machine))
        };
        let times = (
            wait.interval.map_or(INTERVAL, spec::Period::duration),
            wait.deadline.map_or(self.deadline, spec::Period::duration),
        );
        let seen = self.with_eye(name, &is_off, |eye| {
            eye.until(times, |until| eye.look(wait, until))
        });
        self.board.put(fact, seen.map_err(Missed::Looked));
    }

    /// Takes the outputs of a machine, all or none.
    pub(crate) fn take_outputs(&self, machine: &spec::Machine) -> Result<(), Failure> {
        let name = machine.name.as_str();
        let mut values = Values::new();
        for (output, source) in &machine.outputs {
            self.tell(name, Stage::Outputs, output.as_str());
            let times = (
                source.interval.map_or(INTERVAL, spec::Period::duration),
                source.deadline.map_or(self.deadline, spec::Period::duration),
            );
            let mut taken = None;
            let seen = self.with_eye(name, &|| self.is_cancelled(), |eye| {
                eye.until(times, |until| {
                    outputs::take(eye, &source.source, until, &mut taken)
                })
            });
            seen.map_err(|why| {
                let problem = Problem::new(Kind::Guest, format!("machine {name}: output {output}: {why}"));
                at(Stage::Outputs)(problem.with_hint(format!(
                    "`atoll up` tries again; `atoll ssh {name}` shows why not"
                )))
            })?;
            values.extend(taken.map(|value| (output.to_string(), value)));
        }
        outputs::save(&self.host.paths, name, &values).map_err(|error| at(Stage::Outputs)(error.into()))
    }

    fn with_eye<T>(
        &self,
        name: &str,
        is_off: &(dyn Fn() -> bool + Sync),
        look: impl FnOnce(&Eye<'_>) -> T,
    ) -> T {
        let eye = Eye {
            paths: &self.host.paths,
            machine: name,
            is_off,
            is_alive: &|| self.is_alive(name),
            network: &|| self.network_of(name),
        };
        look(&eye)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.host.cancelled.load(Ordering::Relaxed)
    }

    fn is_alive(&self, name: &str) -> bool {
        let shared = self.host.shared();
        let known = shared.state.machines.get(name);
        known
            .and_then(|known| known.process.as_ref())
            .is_some_and(Process::is_alive)
    }

    /// A machine's network, and its place there.
    fn network_of(&self, name: &str) -> Option<(Handle, GuestTarget)> {
        let (network, guest) = forward_target(&self.cluster, self.cluster.machine(name)?)?;
        let handle = self.host.shared().networks.handle(network.as_str()).ok()?;
        Some((handle, guest))
    }
}

fn called_off() -> Failure {
    at(Stage::Stop)(Problem::environment(NotReady::Cancelled.to_string()))
}

fn missed_failure(wait: &Dependency, missed: Missed) -> Failure {
    let machine = wait.machine.as_str();
    let mut console_of = None;
    let problem = match missed {
        Missed::MachineFailed => {
            let which = match wait.condition {
                Condition::Ready => format!("waits for {machine}, which failed"),
                _ => format!("waits for {wait}, but {machine} failed"),
            };
            Problem::new(Kind::Guest, which).with_hint(format!("`atoll up` goes on once {machine} can"))
        }
        Missed::Looked(why) => {
            console_of = Some(machine.to_owned());
            Problem::new(Kind::Guest, format!("waits for {wait}: {why}"))
                .with_hint("`atoll up` looks again; deadline: says how long")
        }
    };
    Failure {
        console_of,
        ..at(Stage::Wait)(problem)
    }
}

impl Board {
    /// Whether a machine's row waits for no others any more.
    pub(crate) fn is_past(&self, machine: &str) -> bool {
        self.is_put(&Fact::Ready(machine.to_owned()))
    }
}
