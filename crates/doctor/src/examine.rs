//! Asks everything at once and puts the answers together.

use std::path::PathBuf;
use std::time::Duration;

use atoll_qemu::Arch;
use atoll_runtime::namespace::Refused;

use crate::bounded::{Asked, Late};
use crate::check::{Area, Check, Need, Report, Status};
use crate::judge;
use crate::judge::lan::Lan;
use crate::judge::machines::Qemu;
use crate::judge::namespaces::Namespaces;
use crate::look;

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

/// What becomes of a question that is being asked: waited for, then judged.
type Later = Box<dyn FnOnce() -> Vec<Check>>;

/// Ask this host everything.
#[must_use]
pub fn examine(settings: &Settings) -> Report {
    // All of them are being asked before the first answer is waited for.
    let asked: Vec<Later> = [machines, files, network, images, by_trial, helper, mac]
        .iter()
        .flat_map(|ask| ask(settings))
        .collect();
    let mut checks: Vec<Check> = asked.into_iter().flat_map(|answer| answer()).collect();
    checks.retain(|check| settings.wants(check.area));
    Report::of(checks)
}

/// Begin to ask.
fn question<T: Send + 'static>(
    area: Area,
    patience: Duration,
    look: impl FnOnce() -> T + Send + 'static,
    judge: impl FnOnce(&T) -> Vec<Check> + 'static,
) -> Later {
    let asked = Asked::begin(patience, look);
    Box::new(move || told(area, asked, judge))
}

/// The checks that an answer makes, or the one that it was late.
fn told<T: Send + 'static>(area: Area, asked: Asked<T>, judge: impl FnOnce(&T) -> Vec<Check>) -> Vec<Check> {
    match asked.answer() {
        Ok(facts) => judge(&facts),
        Err(Late(patience)) => vec![late(area, patience)],
    }
}

/// What does not answer cannot be relied on: a failure.
fn late(area: Area, patience: Duration) -> Check {
    let words = format!(
        "no answer within {} s: a device, a file system or a program hangs",
        patience.as_secs()
    );
    let check = Check::new(area, area.name(), Status::Fail, words);
    match area {
        Area::Machines | Area::Files => check.needed_for(&[Need::Up]),
        _ => check,
    }
}

/// Architectures in one thread after each other: they share a file, and trials would slow each other down.
fn machines(settings: &Settings) -> Vec<Later> {
    if !settings.wants(Area::Machines) {
        return Vec::new();
    }
    let (cache, is_fresh) = (settings.qemu_cache.clone(), settings.is_fresh);
    let mut archs = vec![Arch::X86_64, Arch::Aarch64];
    archs.sort_by_key(|arch| Arch::host() != Some(*arch));
    let qemus = move || -> Vec<Qemu> {
        let one = |arch| look::machines::qemu(arch, &cache, is_fresh);
        archs.into_iter().map(one).collect()
    };
    let judge_all = |all: &Vec<Qemu>| all.iter().flat_map(judge::machines::judge_qemu).collect();
    let programs = look::machines::programs;
    vec![
        question(Area::Machines, QEMU, qemus, judge_all),
        question(Area::Machines, SLOWER, programs, judge::machines::judge_programs),
    ]
}

fn files(settings: &Settings) -> Vec<Later> {
    let ask = |settings: Settings| {
        let folders = move || look::files::folders(&settings);
        question(Area::Files, SOON, folders, judge::files::judge)
    };
    let wanted = settings.wants(Area::Files).then(|| settings.clone());
    wanted.map(ask).into_iter().collect()
}

fn network(settings: &Settings) -> Vec<Later> {
    let ask = || question(Area::Network, SOON, look::network::network, judge::network::judge);
    settings.wants(Area::Network).then(ask).into_iter().collect()
}

fn images(settings: &Settings) -> Vec<Later> {
    let ask = || question(Area::Images, SOON, look::images::images, judge::images::judge);
    settings.wants(Area::Images).then(ask).into_iter().collect()
}

fn helper(settings: &Settings) -> Vec<Later> {
    let ask = || question(Area::Lan, SLOWER, look::helper::helper, judge::helper::judge);
    settings.wants(Area::Lan).then(ask).into_iter().collect()
}

fn mac(settings: &Settings) -> Vec<Later> {
    if std::env::consts::OS != "macos" {
        return Vec::new();
    }
    let own = settings.program.clone();
    let look = move || look::macos::macos(&own);
    vec![question(Area::Lan, SLOWER, look, judge::macos::judge)]
}

/// What a process in namespaces of its own tells belongs to two areas.
fn by_trial(settings: &Settings) -> Vec<Later> {
    let wants_namespaces = settings.wants(Area::Namespaces);
    let wants_lan = settings.wants(Area::Lan);
    if std::env::consts::OS != "linux" || !(wants_namespaces || wants_lan) {
        return Vec::new();
    }
    let (program, arguments) = (settings.program.clone(), settings.trial.clone());
    let trial = Asked::begin(SLOWER, move || look::trial::hear(&program, &arguments));
    let device = Asked::begin(SOON, look::namespaces::device);
    let lan = Asked::begin(SOON, look::lan::lan);
    let later = move || {
        let silent = |Late(patience)| Err(format!("no answer within {} s", patience.as_secs()));
        let told_all = trial.answer().unwrap_or_else(silent);
        let kernel = told_all.as_ref().ok().and_then(|told| told.kernel.clone());
        let judge_device = |device: &Result<(), Refused>| {
            judge::namespaces::judge(&Namespaces {
                trial: told_all.map(|told| told.namespaces),
                device: device.clone(),
            })
        };
        let judge_lan = |lan: &Lan| {
            let lan = Lan {
                kernel,
                ..lan.clone()
            };
            judge::lan::judge(&lan)
        };
        let mut checks = told(Area::Namespaces, device, judge_device);
        checks.extend(told(Area::Lan, lan, judge_lan));
        checks
    };
    vec![Box::new(later)]
}
