//! A process that tries namespaces, and what the kernel can do in them.
//!
//! A process that leaves its user namespace must have one thread and cannot come back, so that `atoll` runs itself again,
//! hidden, and reads from it a line of JSON. In the namespaces the process is root over a network of its own: bridges, macvtaps and
//! masquerading, which the host's own network lets only the helper make, can be made there for a trial by any user. All goes with the
//! process.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use atoll_runtime::namespace::{Trial, try_out};
use serde::{Deserialize, Serialize};

use crate::judge::lan::Kernel;
use crate::program::{self, find};

/// For one program in the trial, and for all of it.
const STEP: Duration = Duration::from_secs(3);
const ALL: Duration = Duration::from_secs(12);

/// A table that rewrites what goes out, as `shared` needs it, for both families.
const MASQUERADE: &str = "table inet atoll {
    chain out {
        type nat hook postrouting priority srcnat
        masquerade
    }
}
";

/// What the process has to tell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) namespaces: Trial,
    pub(crate) kernel: Option<Kernel>,
}

/// Be the process: try everything and give the line.
#[must_use]
pub fn run_trial() -> String {
    let namespaces = try_out();
    let kernel = matches!(namespaces.network, Some(Ok(()))).then(kernel);
    serde_json::to_string(&Told { namespaces, kernel }).unwrap_or_default()
}

fn kernel() -> Kernel {
    Kernel {
        bridge: ip(&[&["link", "add", "bridge0", "type", "bridge"]]),
        macvtap: ip(&[
            &["link", "add", "veth0", "type", "veth", "peer", "name", "veth1"],
            &[
                "link", "add", "link", "veth0", "name", "mac0", "type", "macvtap", "mode", "bridge",
            ],
        ]),
        masquerade: find("nft").map(|nft| {
            said(program::run_with(
                Command::new(nft).args(["-f", "-"]),
                MASQUERADE,
                STEP,
            ))
        }),
    }
}

fn ip(commands: &[&[&str]]) -> Option<Result<(), String>> {
    let program = find("ip")?;
    let mut ran = commands
        .iter()
        .map(|words| said(program::run(Command::new(&program).args(*words), STEP)));
    Some(ran.find(Result::is_err).unwrap_or(Ok(())))
}

fn said(ran: std::io::Result<program::Ran>) -> Result<(), String> {
    match ran {
        Ok(ran) if ran.is_good() => Ok(()),
        Ok(ran) => Err(ran.words()),
        Err(error) => Err(error.to_string()),
    }
}

/// Start the process and hear it. `arguments` make this program call [`run_trial`].
pub(crate) fn hear(program: &Path, arguments: &[String]) -> Result<Told, String> {
    let ran = program::run(Command::new(program).args(arguments), ALL).map_err(|error| error.to_string())?;
    if !ran.is_good() {
        return Err(ran.words());
    }
    serde_json::from_str(&ran.stdout).map_err(|error| format!("its answer is not understood: {error}"))
}
