//! A cluster file on disk: found, read, parsed, and the folders that belong to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use atoll_spec as spec;

use crate::paths::{ClusterPaths, NoPlace, Places};
use crate::problem::{Kind, Problem};

/// The file looked for when none is named.
pub const DEFAULT_FILE: &str = "atoll.yaml";

/// A cluster file that was read and understood.
#[derive(Clone, Debug)]
pub struct Project {
    /// The file's canonical path.
    pub file: PathBuf,
    /// What it says.
    pub text: String,
    /// What it means.
    pub cluster: spec::Cluster,
    /// Where the cluster's files are.
    pub paths: ClusterPaths,
}

/// Why there is no project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// No file was named and none was found.
    #[error("there is no {DEFAULT_FILE} in {folder} or a folder above it", folder = folder.display())]
    NotFound {
        /// Where the search began.
        folder: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {file}: {cause}", file = file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// The file is wrong, at these places.
    #[error("{0}")]
    Wrong(Box<spec::Diagnostics>),
    /// No folder for state or cache.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
}

impl ProjectError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => {
                Some("go to the folder of your cluster, or name the file with -f".to_owned())
            }
            Self::NoPlace(error) => Some(error.hint()),
            Self::Read { .. } | Self::Wrong(_) => None,
        }
    }
}

impl From<ProjectError> for Problem {
    fn from(error: ProjectError) -> Self {
        Self::new(Kind::Configuration, error.to_string()).with_hint_if(error.hint())
    }
}

/// The file that is meant: the one named, or the default one in this folder or the nearest above.
pub fn find(named: Option<&Path>, folder: &Path) -> Result<PathBuf, ProjectError> {
    let found = match named {
        Some(file) => Some(folder.join(file)),
        None => folder
            .ancestors()
            .map(|it| it.join(DEFAULT_FILE))
            .find(|file| file.is_file()),
    };
    let file = found.ok_or_else(|| ProjectError::NotFound {
        folder: folder.to_owned(),
    })?;
    file.canonicalize()
        .map_err(|cause| ProjectError::Read { file, cause })
}

impl Project {
    /// Reads and parses the file at this canonical path; messages call it by `shown`.
    pub fn load(file: &Path, shown: &str) -> Result<Self, ProjectError> {
        let read = fs::read_to_string(file);
        let text = read.map_err(|cause| ProjectError::Read {
            file: file.to_owned(),
            cause,
        })?;
        Self::parse(file, shown, text)
    }

    /// [`Project::load`] for a file whose text is here already.
    pub fn parse(file: &Path, shown: &str, text: String) -> Result<Self, ProjectError> {
        let folder = file
            .parent()
            .and_then(Path::file_name)
            .unwrap_or_default()
            .to_string_lossy();
        let host_arch = std::env::consts::ARCH.parse().unwrap_or(spec::Arch::X86_64);
        let host = crate::host::id();
        let source = spec::Source {
            file: shown,
            folder: &folder,
            host_arch,
            host: &host,
        };
        let cluster = spec::parse(&source, &text).map_err(|error| ProjectError::Wrong(Box::new(error)))?;
        let paths = Places::of_process()?.cluster(cluster.name.as_str(), file);
        Ok(Self {
            file: file.to_owned(),
            text,
            cluster,
            paths,
        })
    }

    /// The folder from which the file's relative paths go.
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_default_file_above_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let below = root.join("a/b");
        fs::create_dir_all(&below).unwrap();
        assert!(matches!(find(None, &below), Err(ProjectError::NotFound { .. })));
        fs::write(root.join(DEFAULT_FILE), "").unwrap();
        assert_eq!(find(None, &below).unwrap(), root.join(DEFAULT_FILE));
        fs::write(root.join("a").join(DEFAULT_FILE), "").unwrap();
        assert_eq!(find(None, &below).unwrap(), root.join("a").join(DEFAULT_FILE));
        assert_eq!(
            find(Some(Path::new("../../atoll.yaml")), &below).unwrap(),
            root.join(DEFAULT_FILE)
        );
    }

    #[test]
    fn a_wrong_file_is_shown_with_its_place() {
        let error = Project::parse(
            Path::new("/w/atoll.yaml"),
            "atoll.yaml",
            "machines: {a: {imag: x}}".to_owned(),
        );
        let problem = Problem::from(error.unwrap_err());
        assert_eq!(problem.kind, Kind::Configuration);
        assert!(problem.message.contains("atoll.yaml:1"), "{}", problem.message);
    }
}
