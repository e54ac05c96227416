//! A cluster file on disk: found, read with all that it includes, and the folders that belong to it.
//!
//! What was read once goes to the daemon as it is ([`Input`]), so that both understand the same: the daemon looks neither at the files nor
//! at its own environment. A machine that was brought up keeps its addresses, which the state folder knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use atoll_spec as spec;
use serde::{Deserialize, Serialize};

use crate::launch::resolve;
use crate::paths::{ClusterPaths, NoPlace, Places};
use crate::problem::{Kind, Problem};
use crate::state::State;

/// The file looked for when none is named.
pub const DEFAULT_FILE: &str = "atoll.yaml";

/// A cluster file that was read and understood.
#[derive(Clone, Debug)]
pub struct Project {
    /// The file's canonical path.
    pub file: PathBuf,
    /// What it says.
    pub text: String,
    /// What it was read with.
    pub input: Input,
    /// What it means.
    pub cluster: spec::Cluster,
    /// What it says when nothing is left to say.
    pub resolved: spec::Resolved,
    /// Where the cluster's files are.
    pub paths: ClusterPaths,
}

/// What a cluster file is read with besides its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Input {
    /// What the file leaves to who brings the cluster up.
    pub choices: spec::Choices,
    /// The texts of the files that it includes, by their paths from its folder.
    pub included: BTreeMap<PathBuf, String>,
}

/// What this process is started with for variables and profiles: as its arguments say, and its environment.
pub fn choices(variables: BTreeMap<String, String>, profiles: BTreeSet<String>) -> spec::Choices {
    let environment = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let name = name.strip_prefix(spec::ENVIRONMENT_PREFIX)?.to_owned();
        Some((name, value.into_string().ok()?))
    });
    spec::Choices {
        variables,
        environment: environment.collect(),
        profiles,
    }
}

/// The choices with which the cluster of this file was brought up last, for commands that only look at what is there; none if it never
/// was, or several clusters were made of this file by different names.
pub fn last_choices(file: &Path) -> spec::Choices {
    let Ok(places) = Places::of_process() else {
        return spec::Choices::default();
    };
    let mut found = places.clusters().into_iter().filter_map(|paths| {
        let state = State::load(&paths).ok()??;
        (state.file == file).then_some(state.choices)
    });
    match (found.next(), found.next()) {
        (Some(only), None) => only,
        _ => spec::Choices::default(),
    }
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
    pub fn load(file: &Path, shown: &str, choices: spec::Choices) -> Result<Self, ProjectError> {
        let read = fs::read_to_string(file);
        let text = read.map_err(|cause| ProjectError::Read {
            file: file.to_owned(),
            cause,
        })?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        let mut included = BTreeMap::new();
        let read = &mut |path: &Path| {
            let text = fs::read_to_string(resolve(folder, path)).map_err(|cause| cause.to_string())?;
            included.insert(path.to_owned(), text.clone());
            Ok(text)
        };
        let mut project = Self::read(file, shown, text, choices, read)?;
        project.input.included = included;
        Ok(project)
    }

    /// [`Project::load`] for a file whose text is here already, with all that it includes.
    pub fn parse(file: &Path, shown: &str, text: String, input: Input) -> Result<Self, ProjectError> {
        let Input { choices, included } = input;
        let read = &mut |path: &Path| {
            let text = included.get(path);
            text.cloned().ok_or_else(|| "it was not there before".to_owned())
        };
        let mut project = Self::read(file, shown, text, choices, read)?;
        project.input.included = included;
        Ok(project)
    }

    fn read(
        file: &Path,
        shown: &str,
        text: String,
        choices: spec::Choices,
        read: &mut spec::IncludeReader<'_>,
    ) -> Result<Self, ProjectError> {
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
        let mut context = spec::Context {
            choices,
            kept: Vec::new(),
        };
        let wrong = |error| ProjectError::Wrong(Box::new(error));
        let mut resolved = spec::resolve(&source, &text, &context, read).map_err(wrong)?;
        let paths = Places::of_process()?.cluster(resolved.cluster.name.as_str(), file);
        // A state that cannot be read is told by whoever needs it.
        let known = State::load(&paths).ok().flatten();
        context.kept = known.map(|state| state.kept()).unwrap_or_default();
        if !context.kept.is_empty() {
            resolved = spec::resolve(&source, &text, &context, read).map_err(wrong)?;
        }
        Ok(Self {
            file: file.to_owned(),
            text,
            input: Input {
                choices: context.choices,
                included: BTreeMap::new(),
            },
            cluster: resolved.cluster.clone(),
            resolved,
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
    fn what_was_read_is_enough_to_read_it_again() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(DEFAULT_FILE);
        fs::create_dir(root.path().join("base")).unwrap();
        fs::write(root.path().join("base/a.yaml"), "include: b.yaml\n").unwrap();
        fs::write(
            root.path().join("base/b.yaml"),
            "defaults: {image: debian, memory: '${m}'}\n",
        )
        .unwrap();
        fs::write(
            &file,
            "include: base/a.yaml\nvariables: {m: }\nmachines: {a: {}}\n",
        )
        .unwrap();
        let choices = spec::Choices {
            variables: [("m".to_owned(), "3G".to_owned())].into(),
            ..spec::Choices::default()
        };
        let first = Project::load(&file, "atoll.yaml", choices).unwrap();
        assert_eq!(first.input.included.len(), 2);
        let again = Project::parse(&file, "atoll.yaml", first.text, first.input.clone()).unwrap();
        assert_eq!(again.cluster, first.cluster);
        assert_eq!(again.input, first.input);
    }

    #[test]
    fn a_wrong_file_is_shown_with_its_place() {
        let error = Project::parse(
            Path::new("/w/atoll.yaml"),
            "atoll.yaml",
            "machines: {a: {imag: x}}".to_owned(),
            Input::default(),
        );
        let problem = Problem::from(error.unwrap_err());
        assert_eq!(problem.kind, Kind::Configuration);
        assert!(problem.message.contains("atoll.yaml:1"), "{}", problem.message);
    }
}
