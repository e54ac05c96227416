//! `cp`: files into machines, out of them, and between them.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use atoll_control::cluster::copy::{Copier, Place, Progress};
use atoll_control::cluster::problem::Problem;
use atoll_control::images::download;
use atoll_control::signals;
use clap::Args;

use crate::failure::{Failure, say, tell_problem};
use crate::meter::Meter;
use crate::project::{self, FileArgs};

/// Arguments of `cp`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll cp site web:/srv              a folder, as /srv/site\n  atoll cp web:/var/log/syslog .      back to here\n  atoll cp a:data.db b:               from machine to machine\n  atoll cp --sudo hosts web:/etc/     as root\n\nAs with `cp -r`, a folder that is there takes the copy under its own name, and is filled where it has a folder of that name; SOURCE/. is what a folder holds. Modes and times are copied, owners are not; symbolic links are followed at the top only. The copy is made beside its place and moved when it is whole: one that fails leaves the place as it was. A guest needs tar. A file of this host with a colon is written ./a:b."
)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Read and write as root in machines, by sudo
    #[arg(long)]
    sudo: bool,
    /// No progress on a terminal either
    #[arg(short, long)]
    quiet: bool,
    /// What to copy, PATH or MACHINE:PATH, and last where to; relative paths of a machine begin in the home of who logs in
    #[arg(value_name = "SOURCE> <DESTINATION", num_args = 2.., required = true, add = crate::complete::places())]
    places: Vec<String>,
}

pub(crate) fn copy(args: &CopyArgs) -> Result<(), Failure> {
    let places: Vec<Place> = args.places.iter().map(|word| Place::parse(word)).collect();
    let Some((destination, sources)) = places.split_last() else {
        return Err(Failure::usage("there is nothing to copy", None));
    };
    let project = args.file.load()?;
    let machines: Vec<String> = places
        .iter()
        .filter_map(Place::machine)
        .map(str::to_owned)
        .collect();
    project::reached_by_ssh(&project, &machines)?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    signals::watch(move |_| flag.store(true, Ordering::Relaxed))?;
    for (source, word) in sources.iter().zip(&args.places) {
        let meter = (!args.quiet && io::stderr().is_terminal()).then(|| Meter::new(word));
        let tell = |progress: Progress| {
            let Some(meter) = &meter else { return };
            meter.tell(download::Progress {
                bytes: progress.bytes,
                // Of a guest's files only their blocks are known before.
                total: progress.total.map(|total| total.max(progress.bytes)),
            });
        };
        let copier = Copier {
            paths: &project.paths,
            sudo: args.sudo,
            sized: meter.is_some(),
            tell: &tell,
            stop: &stop,
        };
        let copied = copier.copy(source, destination, sources.len() > 1);
        if let Some(meter) = &meter {
            meter.finish();
        }
        match copied {
            Ok(skipped) => skipped
                .iter()
                .for_each(|path| say(&format!("{word}: {path} is a device or a pipe and was left out"))),
            Err(error) if stop.load(Ordering::Relaxed) => {
                tell_problem(&Problem::from(error), "", None);
                return Err(Failure::Told(130));
            }
            Err(error) => return Err(Problem::from(error).into()),
        }
    }
    Ok(())
}
