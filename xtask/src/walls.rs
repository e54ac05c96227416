//! The walls between the crates, checked.
//!
//! `docs/architecture.md` says who may import whom and what each part must never touch. A rule that
//! only a reader enforces is not kept, so each is a function here, over `cargo metadata` or over the
//! source text, and each has a test that shows it fail:
//!
//! | module    | rule |
//! |-----------|------|
//! | `imports` | the direction between our crates; which crate may use which dependency; what the pure crates must not reach even through another dependency; platform-dependent dependencies; a line in `docs/dependencies.md` for each |
//! | `lints`   | the pure crates forbid the clocks, files, sockets and threads of `std` in a `clippy.toml` of their own |
//! | `tokens`  | `unsafe` and `cfg(target_os)` stay in their places |
//! | `features` | the tests that `docs/features.md` names exist |
//! | `text`    | `#![forbid(unsafe_code)]` in crate roots, length of files, no package mirror written down |
//!
//! The tables are in `rules`. What clippy itself enforces (the calls that the `clippy.toml` files
//! forbid) is not repeated here; only that those files say so.

mod features;
mod imports;
mod lints;
mod rules;
mod text;
mod tokens;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

/// How many kinds of rule [`check`] applies.
pub(crate) const RULES: usize = 11;

/// One broken rule: where, and what is wrong there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    place: String,
    problem: String,
}

impl Finding {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// Why the walls could not be checked at all.
#[derive(Debug)]
pub(crate) enum CheckError {
    /// A file or folder of the workspace could not be read.
    Read { path: PathBuf, cause: std::io::Error },
    /// `cargo metadata` could not be run, or failed with these words.
    Metadata { words: String },
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, cause } => write!(f, "cannot read {}: {cause}", path.display()),
            Self::Metadata { words } => write!(f, "cargo metadata failed: {words}"),
        }
    }
}

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Applies every rule to the workspace at `root`.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>, CheckError> {
    let imports = imports::load(root)?;
    let mut findings = imports::check(&imports);
    findings.extend(imports::undocumented(
        &imports,
        &read(&root.join(imports::DOCUMENT))?,
    ));
    findings.extend(lints::check(root)?);
    let files = tree::files(root)?;
    for file in &files {
        findings.extend(tokens::check(file));
        findings.extend(text::check(file));
    }
    findings.extend(features::check(&files));
    findings.extend(text::missing_roots(root));
    Ok(findings)
}

fn read(path: &Path) -> Result<String, CheckError> {
    std::fs::read_to_string(path).map_err(|cause| CheckError::Read {
        path: path.to_path_buf(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_workspace_keeps_its_walls() {
        let findings = super::check(&super::workspace_root()).unwrap();
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "broken walls:\n{}", lines.join("\n"));
    }
}
