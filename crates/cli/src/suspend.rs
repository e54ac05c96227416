//! `pause`, `suspend`, `resume`: machines that stand still, and go on.

use atoll_control::cluster::suspend::ResumeRequest;
use clap::Args;

use crate::failure::{Failure, say};
use crate::lifecycle::{self, Which};
use crate::progress::{Renderer, Verb};
use crate::project;

/// Arguments of `pause`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll pause web     its processors stand still until `atoll resume web`; its memory stays with QEMU"
)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    which: Which,
}

/// Arguments of `suspend`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll suspend && sudo reboot     then, any time later:\n  atoll resume                     each machine goes on where it stood, `atoll up` does the same\n\nEach machine's memory is written to its folder of the state, and its QEMU ends. `atoll down` leaves suspended machines as they are; `atoll rm` deletes them with their memory."
)]
pub(crate) struct SuspendArgs {
    #[command(flatten)]
    which: Which,
}

/// Arguments of `resume`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll resume              all that are paused or suspended\n  atoll resume --cold web   web's memory is of no use any more: boot its disk, as after a power cut\n\nGuests that one can log in to get their clocks set; others ask a time server in their own time."
)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    which: Which,
    /// Give the memory of suspended machines up, and boot them
    #[arg(long)]
    cold: bool,
}

pub(crate) fn pause(args: &PauseArgs) -> Result<(), Failure> {
    stand_still(&args.which, "/v1/pause", Verb::Pause)
}

pub(crate) fn suspend(args: &SuspendArgs) -> Result<(), Failure> {
    stand_still(&args.which, "/v1/suspend", Verb::Suspend)
}

fn stand_still(which: &Which, path: &str, verb: Verb) -> Result<(), Failure> {
    let project = which.file.load()?;
    let Some(client) = project::daemon_if_needed(&project)? else {
        say("nothing runs");
        return Ok(());
    };
    lifecycle::end(&project.paths, &client, path, &which.machines, verb)
}

pub(crate) fn resume(args: &ResumeArgs) -> Result<(), Failure> {
    let project = args.which.file.load()?;
    let client = project::daemon(&project)?;
    let request = ResumeRequest {
        machines: args.which.machines.iter().cloned().collect(),
        cold: args.cold,
    };
    Renderer::new(Verb::Resume).follow(&client, "/v1/resume", &request)
}
