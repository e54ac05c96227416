//! A program that finds a TAP open at a descriptor of a certain number, as QEMU does with `-netdev tap,fd=N`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use crate::error::{BenchError, Trying};
use crate::sys::tap;

/// Which device, and for whom.
#[derive(Debug, Args)]
pub(crate) struct WithTapArguments {
    /// TAP device of this namespace to attach to.
    #[arg(long, value_name = "NAME")]
    tap: String,
    /// The number that its descriptor gets.
    #[arg(long, value_name = "N")]
    descriptor: i32,
    /// What to run.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the program.
pub(crate) fn run(arguments: &WithTapArguments) -> Result<(), BenchError> {
    let what = || format!("cannot open TAP device {}", arguments.tap);
    let device = tap::open(&arguments.tap).trying(what)?;
    tap::hand_down(device, arguments.descriptor).trying(what)?;
    let (program, words) = arguments
        .command
        .split_first()
        .ok_or_else(|| BenchError::Unfit("there is no program to run".to_owned()))?;
    // Only a failure comes back.
    let error = Command::new(program).args(words).exec();
    Err(error).trying(|| format!("cannot run {}", program.display()))
}
