//! The text files of the workspace, without build output and version control.

use super::CheckError;
use std::fs;
use std::path::Path;

/// Folders, by their path from the workspace root, that hold nothing we wrote.
const SKIPPED: [&str; 6] = [
    ".git",
    "target",
    "fuzz/target",
    "fuzz/corpus",
    "fuzz/artifacts",
    "fuzz/seeds",
];

/// A text file and its path from the workspace root, `/`-separated.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) path: String,
    pub(super) text: String,
}

impl SourceFile {
    pub(super) fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    }
}

/// Every UTF-8 file below `root`, in the order of their names.
pub(super) fn files(root: &Path) -> Result<Vec<SourceFile>, CheckError> {
    let mut found = Vec::new();
    collect(root, "", &mut found)?;
    found.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

fn collect(root: &Path, folder: &str, found: &mut Vec<SourceFile>) -> Result<(), CheckError> {
    let here = root.join(folder);
    let failed = |cause| CheckError::Read {
        path: here.clone(),
        cause,
    };
    for entry in fs::read_dir(&here).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = if folder.is_empty() {
            name
        } else {
            format!("{folder}/{name}")
        };
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() && !SKIPPED.contains(&path.as_str()) {
            collect(root, &path, found)?;
        } else if kind.is_file()
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            found.push(SourceFile { path, text });
        }
    }
    Ok(())
}
