//! `screenshot`: what a machine's screen shows.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use atoll_control::cluster::files;
use atoll_control::cluster::problem::Problem;
use atoll_control::cluster::screenshot;
use clap::Args;

use crate::failure::Failure;
use crate::project::{self, FileArgs};

/// Arguments of `screenshot`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll screenshot web web.png\n  atoll screenshot web - > web.png\n\nMachines of x86_64 have a screen; most images use the serial console once they have booted."
)]
pub(crate) struct ScreenshotArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The machine
    #[arg(add = crate::complete::machines())]
    machine: String,
    /// Where the picture goes, a PNG; - is standard output
    #[arg(value_name = "FILE")]
    picture: PathBuf,
}

pub(crate) fn screenshot(args: &ScreenshotArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let is_stdout = args.picture.as_os_str() == "-";
    if is_stdout && io::stdout().is_terminal() {
        return Err(Failure::usage(
            "a picture is not written to a terminal",
            Some("name a file".to_owned()),
        ));
    }
    let machine = project::running_machine(&project, &args.machine)?.name;
    let picture = screenshot::take(&project.paths, &machine)?;
    if is_stdout {
        return Ok(io::stdout().write_all(&picture)?);
    }
    Ok(files::write_atomic(&args.picture, &picture).map_err(Problem::from)?)
}
