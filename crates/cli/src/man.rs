//! Manual pages from clap's table: one for `atoll`, one for each subcommand.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::failure::Failure;

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll man cp | man -l -\n  atoll man --dir ~/.local/share/man/man1    every page, as atoll.1, atoll-cp.1, …"
)]
pub(crate) struct ManArgs {
    /// The subcommand whose page to print; that of atoll when left out
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write all pages into this folder
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let mut root = crate::Cli::command();
    if let Some(folder) = &args.dir {
        let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(root, folder));
        return written.map_err(|cause| {
            Failure::environment(format!("cannot write to {}: {cause}", folder.display()), None)
        });
    }
    root.build();
    let mut command = &root;
    for word in &args.command {
        command = command.find_subcommand(word).ok_or_else(|| {
            let below = command.get_subcommands().filter(|it| !it.is_hide_set());
            let names: Vec<&str> = below.map(clap::Command::get_name).collect();
            let hint = (!names.is_empty()).then(|| format!("there are: {}", names.join(", ")));
            Failure::usage(format!("there is no command {word:?}"), hint)
        })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    Ok(io::stdout().write_all(&page)?)
}
