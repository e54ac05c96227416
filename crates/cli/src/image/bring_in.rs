//! `image import` and `save`: files and machines' disks become images.

use std::path::PathBuf;

use atoll_control::cluster::launch::image_arch;
use atoll_control::cluster::problem::Problem;
use atoll_control::cluster::project::Project;
use atoll_control::cluster::questions::offline_status;
use atoll_control::images::store::NewImage;
use atoll_control::images::{Image, Store};
use atoll_control::spec::{Hint, ImageName};
use clap::Args;

use super::ArchArg;
use crate::failure::{Failure, say};
use crate::meter::mebibytes;
use crate::project::LongFileArgs;

/// Arguments of `image import`.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file
    file: PathBuf,
    /// What the image will be called; what the file's name begins with when left out
    #[arg(value_parser = parse_name)]
    name: Option<ImageName>,
    #[command(flatten)]
    arch: ArchArg,
    /// The user that its cloud-init sets up
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

/// Arguments of `image save`.
#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    #[command(flatten)]
    file: LongFileArgs,
    /// The machine; it does not run
    machine: String,
    /// What the image will be called
    #[arg(value_parser = parse_name)]
    name: ImageName,
}

fn parse_name(text: &str) -> Result<ImageName, String> {
    text.parse()
        .map_err(|error: atoll_control::spec::ImageNameError| {
            format!("{error}: {}", error.hint().unwrap_or_default())
        })
}

pub(super) fn import(store: &Store, args: &ImportArgs) -> Result<(), Failure> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.file)?,
    };
    let new = NewImage {
        name: name.to_string(),
        arch: args.arch.arch(),
        ssh_user: args.user.clone(),
    };
    tell(&store.import(&args.file, &new).map_err(Problem::from)?);
    Ok(())
}

/// `web` for `/tmp/Web.tar.gz`.
fn name_of(file: &std::path::Path) -> Result<ImageName, Failure> {
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let stem = name.split('.').next().unwrap_or_default();
    stem.parse().map_err(|_| {
        let problem = Problem::usage(format!("{} gives the image no name", file.display()));
        problem
            .with_hint("write one after it: atoll image import FILE NAME")
            .into()
    })
}

fn tell(image: &Image) {
    say(&format!("{} is here: {}", image.name, mebibytes(image.bytes)));
}

pub(super) fn save(store: &Store, args: &SaveArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let machine = args.machine.as_str();
    let disk = stopped_disk(&project, machine)?;
    let known = project
        .cluster
        .machines
        .iter()
        .find(|it| it.name.as_str() == machine);
    let new = NewImage {
        name: args.name.to_string(),
        arch: known.map_or_else(|| ArchArg { arch: None }.arch(), |it| image_arch(it.arch)),
        ssh_user: known.and_then(|it| it.ssh.user.clone()),
    };
    let from = format!("machine {machine} of {}", project.cluster.name);
    tell(&store.save(&disk, &from, &new).map_err(Problem::from)?);
    say(
        "machines made from it share what is in it: its host keys, its machine-id, its users and their keys;",
    );
    say(
        "cloud-init gives each new host keys; for the rest run, before you save it: sudo cloud-init clean --machine-id",
    );
    Ok(())
}

/// The machine's disk, which nobody writes to.
fn stopped_disk(project: &Project, machine: &str) -> Result<PathBuf, Failure> {
    let status = offline_status(project)?;
    let Some(found) = status.machines.iter().find(|it| it.name == machine) else {
        let known: Vec<&str> = status.machines.iter().map(|it| it.name.as_str()).collect();
        let problem = Problem::usage(format!("there is no machine {machine:?} in this cluster"));
        return Err(problem
            .with_hint(format!("there are: {}", known.join(", ")))
            .into());
    };
    if found.pid.is_some() {
        let problem = Problem::usage(format!("machine {machine} runs, so its disk is still written to"));
        return Err(problem
            .with_hint(format!("stop it first: atoll down {machine}"))
            .into());
    }
    let disk = project.paths.disk(machine);
    if !disk.is_file() {
        let problem = Problem::usage(format!("machine {machine} has no disk yet"));
        return Err(problem
            .with_hint("a machine gets its disk when it starts the first time, unless its image is a kernel")
            .into());
    }
    Ok(disk)
}
