//! Starting a machine's QEMU: to boot, or to go on with memory that was saved.

use std::fs;
use std::path::Path;
use std::time::Duration;

use atoll_images::{Boot, Image};
use atoll_qemu::{Accel, Capabilities, Firmware, Launch, Process, firmware};
use atoll_spec as spec;

use crate::cluster::fingerprint;
use crate::direct::{self, DirectTap};
use crate::files;
use crate::launch::{self, launch};
use crate::problem::Problem;
use crate::progress::{Progress, Stage};
use crate::state::{ReadyRule, Started, new_run};
use crate::steps::Job;

/// How long QEMU may take until its guest runs.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A QEMU that is about to be started.
pub(crate) struct Prepared {
    pub(crate) launch: Launch,
    pub(crate) capabilities: Capabilities,
    pub(crate) accel: Accel,
    taps: Vec<DirectTap>,
}

impl Job<'_> {
    /// Boots a machine.
    pub(crate) fn start(&self, machine: &spec::Machine, image: Option<&Image>) -> Result<(), Problem> {
        let name = machine.name.as_str();
        self.tell(name, Stage::Start, "");
        let prepared = self.prepare(machine, image)?;
        let accel = prepared.accel;
        rotate(&self.host.paths.console_log(name))?;
        let started = Started {
            machine: machine.clone(),
            fingerprint: fingerprint(machine),
            accel: accel.to_string(),
            rule: rule(machine, image),
            ready: false,
        };
        self.host.change(|state| {
            let known = state.machine(name);
            known.started = Some(started);
            known.paused = None;
            known.run = new_run();
        })?;
        self.begin(name, prepared)?;
        self.sink
            .tell(Progress::stage(name, Stage::Start, format!("QEMU with {accel}")));
        Ok(())
    }

    /// All that its QEMU needs, and nothing in its way.
    pub(crate) fn prepare(
        &self,
        machine: &spec::Machine,
        image: Option<&Image>,
    ) -> Result<Prepared, Problem> {
        let name = machine.name.as_str();
        let paths = &self.host.paths;
        let capabilities = self.host.hypervisor.capabilities(machine.arch)?;
        let chosen = self.host.hypervisor.accel(machine.accel, &capabilities)?;
        // One that ended by itself may have left some.
        let old = self.host.shared().state.machine(name).taps.clone();
        self.undo_taps(name, &old);
        let taps = direct::open_all(&self.cluster, machine)?;
        let descriptors = direct::descriptors(&taps);
        let ground = launch::Ground {
            taps: &descriptors,
            cluster: &self.cluster,
            paths,
            folder: &self.host.folder,
            image,
            accel: chosen.accel,
        };
        files::make_private(&paths.machine(name))?;
        let mut launch = launch(machine, &ground)?;
        if launch::needs_firmware(&launch) {
            launch.firmware = Some(self.firmware(machine, &capabilities)?);
        }
        for stale in [
            paths.console_socket(name),
            paths.qmp_socket(name),
            paths.pid_file(name),
        ] {
            files::remove(&stale)?;
        }
        Ok(Prepared {
            launch,
            capabilities,
            accel: chosen.accel,
            taps,
        })
    }

    /// Starts what was prepared, and writes it down.
    pub(crate) fn begin(&self, name: &str, prepared: Prepared) -> Result<Process, Problem> {
        let taps = prepared.taps;
        self.host.change(|state| {
            let known = state.machine(name);
            known.problem = None;
            known.taps = direct::interfaces(&taps);
        })?;
        let inherited = direct::inherited(&taps);
        let log = self.host.paths.qemu_log(name);
        let (launch, capabilities) = (&prepared.launch, &prepared.capabilities);
        let process = Process::start(launch, capabilities, &log, &inherited, START_DEADLINE)?;
        self.host.shared().sessions.hold(name, taps);
        let known = process.clone();
        self.host
            .change(|state| state.machine(name).process = Some(known))?;
        Ok(process)
    }

    fn firmware(&self, machine: &spec::Machine, capabilities: &Capabilities) -> Result<Firmware, Problem> {
        let found = firmware::find_firmware(capabilities)?;
        let template = found.vars_template.clone();
        let firmware = launch::firmware(machine, &self.host.paths, found);
        if let (Some(template), Some(own)) = (template, &firmware.vars)
            && !own.exists()
        {
            fs::copy(template, own).map_err(|cause| files::FileError::Write {
                path: own.clone(),
                cause,
            })?;
        }
        Ok(firmware)
    }
}

/// Images of ours without cloud-init say on the console when they are up; of a kernel of the user's nothing is known.
fn rule(machine: &spec::Machine, image: Option<&Image>) -> ReadyRule {
    match image.map(|image| &image.boot) {
        _ if machine.nics.is_empty() => ReadyRule::Runs,
        Some(Boot::Disk { .. }) if machine.served_nic().is_none() => ReadyRule::Announced,
        Some(Boot::Disk { .. }) => ReadyRule::CloudInit,
        Some(Boot::Kernel { .. }) if machine.boot.is_none() => ReadyRule::Marker,
        Some(Boot::Kernel { .. }) | None => ReadyRule::Runs,
    }
}

/// Keeps the console of the last run beside the new one.
fn rotate(log: &Path) -> Result<(), Problem> {
    match fs::rename(log, log.with_extension("log.1")) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(files::FileError::Write {
            path: log.to_owned(),
            cause,
        }
        .into()),
        _ => Ok(()),
    }
}
