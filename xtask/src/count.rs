//! Instructions that the engine's hot paths take, counted by callgrind.
//!
//! Seconds depend on what else a machine does; instructions do not. Each path runs twice, with few and with many frames, and the
//! difference is divided by the frames between them: what one frame costs, without the start. The example `hot_paths` of
//! `atoll-sim` makes the frames; what that takes is counted too, and is the same from one version to the next.

use std::path::Path;
use std::process::Command;

/// The paths, and what one frame carries.
const PATHS: &[(&str, &str)] = &[
    ("tcp-up", "1460 bytes from a guest to the host"),
    (
        "tcp-up-large",
        "64240 bytes from a guest whose port takes large segments",
    ),
    ("tcp-down", "1460 bytes from the host to a guest"),
    (
        "tcp-down-large",
        "64240 bytes to a guest whose port takes large segments",
    ),
    ("switch", "1460 bytes from guest to guest"),
    ("udp-up", "a datagram of 64 bytes from a guest to the host"),
    ("udp-down", "a datagram of 64 bytes from the host to a guest"),
];

const FEW: u64 = 1280;
const MANY: u64 = 7680;

/// Why nothing was counted.
#[derive(Debug)]
pub(crate) enum CountError {
    /// valgrind is not installed.
    NoValgrind,
    /// A command failed.
    Failed(String),
}

/// One row: the path, what its frame carries, instructions a frame.
pub(crate) type Row = (&'static str, &'static str, u64);

/// Build the example and count every path.
pub(crate) fn count(root: &Path) -> Result<Vec<Row>, CountError> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Err(CountError::NoValgrind);
    }
    let mut build = Command::new(env!("CARGO"));
    build
        .current_dir(root)
        .args(["build", "--quiet", "--release", "--package", "atoll-sim"]);
    let built = build.args(["--example", "hot_paths"]).status();
    if !built.is_ok_and(|status| status.success()) {
        return Err(CountError::Failed(
            "the example hot_paths does not build".to_owned(),
        ));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let example = target.join("release/examples/hot_paths");
    PATHS
        .iter()
        .map(|&(path, carries)| {
            let few = instructions(&example, path, FEW)?;
            let many = instructions(&example, path, MANY)?;
            Ok((path, carries, many.saturating_sub(few) / (MANY - FEW)))
        })
        .collect()
}

/// All instructions of one run.
fn instructions(example: &Path, path: &str, frames: u64) -> Result<u64, CountError> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(example)
        .args([path, &frames.to_string()])
        .output()
        .map_err(|error| CountError::Failed(format!("valgrind does not run: {error}")))?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = words.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, count)| count.trim().parse().ok())
        .ok_or_else(|| CountError::Failed(format!("no count of {path}: {words}")))
}
