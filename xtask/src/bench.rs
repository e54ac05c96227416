//! `cargo xtask bench`: builds what is measured and what measures, in release mode, and runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;

/// Builds `atoll`, `atoll-helper` and `atoll-bench` and runs the comparison with `arguments`. An `--atoll` among them takes the place of
/// the one built here.
#[expect(clippy::print_stderr, reason = "what went wrong is told on stderr")]
pub(crate) fn run(root: &Path, arguments: &[&str]) -> ExitCode {
    match try_run(root, arguments) {
        Ok(status) => status,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(root: &Path, arguments: &[&str]) -> Result<ExitCode, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(&cargo)
        .current_dir(root)
        .args([
            "build",
            "--release",
            "--package",
            "atoll-cli",
            "--package",
            "atoll-helper",
            "--package",
            "atoll-bench",
        ])
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.success() {
        return Err("the build failed".to_owned());
    }
    let release = target_folder(root, &cargo)?.join("release");
    let mut command = Command::new(release.join("atoll-bench"));
    command.current_dir(root).arg("run");
    if !arguments
        .iter()
        .any(|argument| *argument == "--atoll" || argument.starts_with("--atoll="))
    {
        command.arg("--atoll").arg(release.join("atoll"));
    }
    let status = command
        .args(arguments)
        .status()
        .map_err(|error| format!("cannot run atoll-bench: {error}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Where cargo puts what it builds.
fn target_folder(root: &Path, cargo: &std::ffi::OsStr) -> Result<PathBuf, String> {
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .map_err(|error| format!("cannot run cargo metadata: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cannot read cargo metadata: {error}"))?;
    let folder = metadata["target_directory"].as_str();
    folder
        .map(PathBuf::from)
        .ok_or_else(|| "cargo metadata names no target folder".to_owned())
}
