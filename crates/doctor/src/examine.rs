//! Asks everything at once and puts the answers together.

use std::path::PathBuf;
use std::time::Duration;

use atoll_qemu::Arch;

use crate::bounded::{Asked, Late};
use crate::check::{Area, Check, Need, Report, Status};
use crate::judge;
use crate::judge::lan::Lan;
use crate::judge::machines::{Programs, Qemu};
use crate::judge::namespaces::Namespaces;
use crate::judge::network::Network;
use crate::look;
use crate::look::trial::Told;

/// For what only reads and opens.
const SOON: Duration = Duration::from_secs(5);

/// For the process that tries namespaces, which has its own deadline, and for macOS's programs.
const SLOWER: Duration = Duration::from_secs(15);

/// For QEMU: help texts read from a slow disk, and trials of accelerators, each with a deadline of its own.
const QEMU: Duration = Duration::from_secs(120);

/// What is to be known beforehand.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This program, which runs itself again to try namespaces.
    pub program: PathBuf,
    /// The arguments with which it calls [`run_trial`](crate::run_trial) and prints what that gives.
    pub trial: Vec<String>,
    /// The root of clusters' state.
    pub state: PathBuf,
    /// The root of clusters' sockets.
    pub runtime: PathBuf,
    /// The image cache.
    pub images: PathBuf,
    /// The file of QEMU's answers.
    pub qemu_cache: PathBuf,
    /// Try accelerators again, whatever is remembered.
    pub is_fresh: bool,
    /// One area only.
    pub area: Option<Area>,
}

impl Settings {
    fn wants(&self, area: Area) -> bool {
        self.area.is_none_or(|wanted| wanted == area)
    }
}

/// Ask this host everything.
#[must_use]
pub fn examine(settings: &Settings) -> Report {
    let is_linux = std::env::consts::OS == "linux";
    let machines = settings.wants(Area::Machines).then(|| Machines::ask(settings));
    let files = settings.wants(Area::Files).then(|| {
        let settings = settings.clone();
        Asked::begin(SOON, move || look::files::folders(&settings))
    });
    let network = settings
        .wants(Area::Network)
        .then(|| Asked::begin(SOON, look::network::network));
    let wants_trial = is_linux && (settings.wants(Area::Namespaces) || settings.wants(Area::Lan));
    let inside = wants_trial.then(|| Inside::ask(settings));
    let lan = (is_linux && settings.wants(Area::Lan)).then(|| Asked::begin(SOON, look::lan::lan));
    let images = settings
        .wants(Area::Images)
        .then(|| Asked::begin(SOON, look::images::images));
    let mac = (std::env::consts::OS == "macos").then(|| {
        let own = settings.program.clone();
        Asked::begin(SLOWER, move || look::macos::macos(&own))
    });

    let mut checks = Vec::new();
    checks.extend(
        files
            .map(|it| told(Area::Files, it, judge::files::judge))
            .into_iter()
            .flatten(),
    );
    checks.extend(
        network
            .map(|it| told(Area::Network, it, |it: &Network| judge::network::judge(it)))
            .into_iter()
            .flatten(),
    );
    checks.extend(
        images
            .map(|it| told(Area::Images, it, judge::images::judge))
            .into_iter()
            .flatten(),
    );
    let heard = inside.map(Inside::answer);
    if let Some(heard) = heard.as_ref().filter(|_| settings.wants(Area::Namespaces)) {
        checks.extend(judge::namespaces::judge(&heard.namespaces()));
    }
    let kernel = heard.and_then(|it| it.trial.ok()?.kernel);
    let judge_lan = |it: &Lan| {
        let lan = Lan { kernel, ..it.clone() };
        judge::lan::judge(&lan)
    };
    checks.extend(lan.map(|it| told(Area::Lan, it, judge_lan)).into_iter().flatten());
    checks.extend(machines.map(Machines::answer).into_iter().flatten());
    checks.extend(
        mac.map(|it| told(Area::Lan, it, judge::macos::judge))
            .into_iter()
            .flatten(),
    );
    checks.retain(|check| settings.wants(check.area));
    Report::of(checks)
}

/// The checks that an answer makes, or the one that it was late.
fn told<T: Send + 'static>(area: Area, asked: Asked<T>, judge: impl FnOnce(&T) -> Vec<Check>) -> Vec<Check> {
    match asked.answer() {
        Ok(facts) => judge(&facts),
        Err(Late(patience)) => vec![late(area, area.name(), patience)],
    }
}

/// What does not answer cannot be relied on: a failure.
fn late(area: Area, name: &str, patience: Duration) -> Check {
    let words = format!(
        "no answer within {} s: a device, a file system or a program hangs",
        patience.as_secs()
    );
    let check = Check::new(area, name, Status::Fail, words);
    match area {
        Area::Machines | Area::Files => check.needed_for(&[Need::Up]),
        _ => check,
    }
}

/// The questions about machines.
struct Machines {
    qemus: Asked<Vec<Qemu>>,
    programs: Asked<Programs>,
}

impl Machines {
    /// Architectures in one thread after each other: they share a file, and trials would slow each other down.
    fn ask(settings: &Settings) -> Self {
        let (cache, is_fresh) = (settings.qemu_cache.clone(), settings.is_fresh);
        let mut archs = vec![Arch::X86_64, Arch::Aarch64];
        archs.sort_by_key(|arch| Arch::host() != Some(*arch));
        let qemus = Asked::begin(QEMU, move || {
            let one = |arch| look::machines::qemu(arch, &cache, is_fresh);
            archs.into_iter().map(one).collect()
        });
        Self {
            qemus,
            programs: Asked::begin(SLOWER, look::machines::programs),
        }
    }

    fn answer(self) -> Vec<Check> {
        let judge_all = |all: &Vec<Qemu>| all.iter().flat_map(judge::machines::judge_qemu).collect();
        let mut checks = told(Area::Machines, self.qemus, judge_all);
        let programs = |it: &Programs| judge::machines::judge_programs(it);
        checks.extend(told(Area::Machines, self.programs, programs));
        checks
    }
}

/// The questions that a process in namespaces answers.
struct Inside {
    trial: Asked<Result<Told, String>>,
}

/// What it told.
struct Heard {
    trial: Result<Told, String>,
}

impl Inside {
    fn ask(settings: &Settings) -> Self {
        let (program, arguments) = (settings.program.clone(), settings.trial.clone());
        Self {
            trial: Asked::begin(SLOWER, move || look::trial::hear(&program, &arguments)),
        }
    }

    fn answer(self) -> Heard {
        let trial = self.trial.answer();
        Heard {
            trial: trial
                .unwrap_or_else(|Late(patience)| Err(format!("no answer within {} s", patience.as_secs()))),
        }
    }
}

impl Heard {
    fn namespaces(&self) -> Namespaces {
        Namespaces {
            trial: self
                .trial
                .as_ref()
                .map(|told| told.namespaces.clone())
                .map_err(Clone::clone),
            device: look::namespaces::device(),
        }
    }
}
