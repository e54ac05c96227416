//! What a machine's screen shows, as a PNG: QEMU's own (QMP `screendump`, with the format since QEMU 7.1).
//!
//! QEMU writes the file into the machine's folder, since it may have another idea of relative paths, and the picture is taken from there.

use std::fs;
use std::time::Duration;

use atoll_qemu::qmp::QmpError;
use atoll_qemu::{QemuError, Qmp};
use serde_json::json;

use crate::files;
use crate::paths::ClusterPaths;
use crate::problem::Problem;

/// How long QEMU may take to greet.
const GREETING: Duration = Duration::from_secs(5);

/// The picture of a machine that runs.
///
/// # Errors
/// The machine has no screen, or its QEMU does not answer.
pub fn take(paths: &ClusterPaths, machine: &str) -> Result<Vec<u8>, Problem> {
    let file = paths
        .machine(machine)
        .join(format!("screen.{}.png", std::process::id()));
    let failed = |cause| Problem::environment(format!("cannot read {}: {cause}", file.display()));
    let mut qmp =
        Qmp::connect(&paths.qmp_socket(machine), GREETING).map_err(|error| no_picture(machine, &error))?;
    let arguments = json!({ "filename": file.display().to_string(), "format": "png" });
    let taken = qmp.execute("screendump", Some(arguments));
    let picture = taken
        .map_err(|error| no_picture(machine, &error))
        .and_then(|_| fs::read(&file).map_err(failed));
    let _ = files::remove(&file);
    picture
}

fn no_picture(machine: &str, error: &QemuError) -> Problem {
    let words = match error {
        QemuError::Qmp {
            source: QmpError::Refused { description, .. },
            ..
        } => description.clone(),
        error => error.to_string(),
    };
    let hint = if words.contains("no console") || words.contains("no graphical") {
        Some(format!(
            "it has no screen; `atoll logs {machine}` shows its serial console"
        ))
    } else if words.contains("libpng") {
        Some("this QEMU was built without libpng".to_owned())
    } else {
        None
    };
    Problem::environment(format!("no picture of {machine}: {words}")).with_hint_if(hint)
}
