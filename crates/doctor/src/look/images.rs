//! Looks for the programs that build images.

use std::fs;

use atoll_images::build;
use atoll_images::tool::Tool;

use crate::judge::images::{Images, Missing};
use crate::program::find;

/// Everything.
pub(crate) fn images() -> Images {
    Images {
        micro: missing(&build::micro::tools()),
        debian: missing(&build::debian::tools()),
        ids: ids(),
    }
}

fn missing(tools: &[Tool]) -> Vec<Missing> {
    let absent = tools.iter().filter(|tool| tool.find().is_none());
    absent
        .map(|tool| Missing {
            program: tool.program,
            package: tool.package,
        })
        .collect()
}

/// A user that is not root writes a map of many ids by `newuidmap`, which asks `/etc/subuid` (newuidmap(1)).
fn ids() -> Result<(), String> {
    let user = rustix::process::getuid();
    if user.is_root() {
        return Ok(());
    }
    if find("newuidmap").is_none() {
        return Err("there is no newuidmap, by which mmdebstrap works without root".to_owned());
    }
    let numbers = user.as_raw().to_string();
    let name = name_of(&numbers);
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut owners = text.lines().filter_map(|line| line.split(':').next());
        if !owners.any(|owner| owner == numbers || Some(owner) == name.as_deref()) {
            return Err(format!(
                "{file} gives this user no range of ids, by which mmdebstrap works without root"
            ));
        }
    }
    Ok(())
}

/// The name of a user in `/etc/passwd`.
fn name_of(number: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(number))?;
    line.split(':').next().map(str::to_owned)
}
