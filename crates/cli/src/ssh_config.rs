//! `ssh-config`: the machines for everything that reads ssh's configuration.

use std::io::{self, Write};
use std::path::PathBuf;

use atoll_control::cluster::problem::Problem;
use atoll_control::cluster::ssh_config::{self, Outcome};
use clap::Args;

use crate::failure::{Failure, say};
use crate::project::FileArgs;

/// Arguments of `ssh-config`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll ssh-config --install && ssh web && rsync -a site/ web:/srv/\n  atoll ssh-config > hosts && scp -F hosts file web:\n\nIt changes nothing for other hosts, and follows the cluster's ports."
)]
pub(crate) struct SshConfigArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Add one line to ~/.ssh/config that includes it
    #[arg(long, conflicts_with = "uninstall")]
    install: bool,
    /// Take that line out again
    #[arg(long)]
    uninstall: bool,
}

pub(crate) fn ssh_config(args: &SshConfigArgs) -> Result<(), Failure> {
    let paths = args.file.load()?.paths;
    if args.uninstall {
        let outcome = ssh_config::uninstall(&paths, &home()?).map_err(Problem::from)?;
        say(match outcome {
            Outcome::Changed => "~/.ssh/config does not include the cluster any more",
            Outcome::Unchanged => "~/.ssh/config did not include the cluster",
        });
        return Ok(());
    }
    let fragment = ssh_config::fragment_path(&paths);
    let text = std::fs::read(&fragment).map_err(|_| {
        Problem::environment("no machine of this cluster has been up yet").with_hint("`atoll up` starts them")
    })?;
    if args.install {
        let outcome = ssh_config::install(&paths, &home()?).map_err(Problem::from)?;
        say(match outcome {
            Outcome::Changed => "~/.ssh/config includes the cluster now",
            Outcome::Unchanged => "~/.ssh/config includes the cluster already",
        });
        return Ok(());
    }
    Ok(io::stdout().write_all(&text)?)
}

fn home() -> Result<PathBuf, Failure> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    home.filter(|path| path.is_absolute()).ok_or_else(|| {
        Failure::environment(
            "HOME is not set to an absolute path",
            Some("set it to the folder in which .ssh is".to_owned()),
        )
    })
}
