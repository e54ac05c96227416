//! What machines gave for others, kept beside their disks: secrets, in files that only this user reads.
//!
//! Outputs of a machine lie in its folder, so that they go when it is removed. What a machine was given of others when it was started lies in
//! its own folder: a daemon that takes it over serves it the same documents again, whatever the others say now.
//!
//! A value is text of at most [`OUTPUT_MAX`] bytes, without line ends at its end, and not empty: an empty file is one that is still to
//! be written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use atoll_spec::OutputSource;
use atoll_spec::insert::Mention;
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};
use crate::look::{Eye, Seen, shell_quoted};
use crate::paths::ClusterPaths;
use crate::ssh::{Attempt, OUTPUT_MAX, SshError};

/// Values by name.
pub type Values = BTreeMap<String, String>;

/// What a machine was given of one other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    machine: String,
    output: String,
    value: String,
}

/// The outputs of a machine that are known.
pub fn load(paths: &ClusterPaths, machine: &str) -> Result<Values, FileError> {
    Ok(files::read_json(&paths.outputs(machine))?.unwrap_or_default())
}

/// Their names. What cannot be read is not known.
pub(crate) fn names(paths: &ClusterPaths, machine: &str) -> BTreeSet<String> {
    load(paths, machine).unwrap_or_default().into_keys().collect()
}

/// Keeps the outputs of a machine in place of those that were known.
pub(crate) fn save(paths: &ClusterPaths, machine: &str, values: &Values) -> Result<(), FileError> {
    files::make_private(&paths.machine(machine))?;
    files::write_json(&paths.outputs(machine), values)
}

/// What a machine is given of others.
#[derive(Debug)]
pub(crate) struct Gifts<'a> {
    paths: &'a ClusterPaths,
    /// What it was given before, where that counts.
    before: Option<Vec<Given>>,
}

impl<'a> Gifts<'a> {
    /// What others say now.
    pub(crate) fn now(paths: &'a ClusterPaths) -> Self {
        Self { paths, before: None }
    }

    /// What a machine that runs was given.
    pub(crate) fn as_before(paths: &'a ClusterPaths, machine: &str) -> Result<Self, FileError> {
        let before = files::read_json(&paths.given(machine))?;
        Ok(Self {
            paths,
            before: Some(before.unwrap_or_default()),
        })
    }

    /// The value of an output, if it is known.
    pub(crate) fn value(&self, mention: &Mention) -> Option<String> {
        match &self.before {
            None => load(self.paths, &mention.machine).ok()?.remove(&mention.output),
            Some(before) => {
                let is_it =
                    |given: &&Given| given.machine == mention.machine && given.output == mention.output;
                Some(before.iter().find(is_it)?.value.clone())
            }
        }
    }

    /// Keeps what a machine that is started is given.
    pub(crate) fn keep(&self, machine: &str, mentions: &[Mention]) -> Result<(), FileError> {
        if self.before.is_some() {
            return Ok(());
        }
        let path = self.paths.given(machine);
        if mentions.is_empty() {
            return files::remove(&path);
        }
        let given = |mention: &Mention| {
            Some(Given {
                machine: mention.machine.clone(),
                output: mention.output.clone(),
                value: self.value(mention)?,
            })
        };
        files::make_private(path.parent().unwrap_or(Path::new("/")))?;
        files::write_json(&path, &mentions.iter().filter_map(given).collect::<Vec<_>>())
    }
}

/// One try to take an output; the value goes to `taken`.
pub(crate) fn take(
    eye: &Eye<'_>,
    source: &OutputSource,
    until: Instant,
    taken: &mut Option<String>,
) -> Result<Seen, SshError> {
    let written = match source {
        OutputSource::Command(command) => eye.run(command, until, Attempt::errors)?,
        OutputSource::File(path) => {
            let path = shell_quoted(path);
            // A secret may be root's.
            let command = format!("cat {path} 2>/dev/null || sudo -n cat {path}");
            eye.run(&command, until, Attempt::errors)?
        }
    };
    Ok(match written {
        Ok(bytes) => value_of(bytes).map_or_else(
            |seen| seen,
            |value| {
                *taken = Some(value);
                Seen::Yes
            },
        ),
        Err(seen) => seen,
    })
}

/// The value that these bytes are.
fn value_of(bytes: Vec<u8>) -> Result<String, Seen> {
    if bytes.len() > OUTPUT_MAX {
        return Err(Seen::Never(format!("it is longer than {} KiB", OUTPUT_MAX >> 10)));
    }
    let Ok(mut value) = String::from_utf8(bytes) else {
        return Err(Seen::Never("it is no UTF-8 text".to_owned()));
    };
    value.truncate(value.trim_end_matches(['\n', '\r']).len());
    if value.contains('\0') {
        return Err(Seen::Never("it holds the character NUL".to_owned()));
    }
    if value.is_empty() {
        return Err(Seen::NotYet("it is empty".to_owned()));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use atoll_spec::insert::mentions;

    use super::*;

    fn paths(folder: &Path) -> ClusterPaths {
        ClusterPaths {
            state: folder.to_owned(),
            run: folder.to_owned(),
            images: folder.to_owned(),
        }
    }

    #[test]
    fn a_value_is_text_without_line_ends_at_its_end() {
        assert_eq!(value_of(b"a\n b \r\n\n".to_vec()), Ok("a\n b ".to_owned()));
        assert!(matches!(value_of(b"\n".to_vec()), Err(Seen::NotYet(_))));
        for wrong in [vec![0xff], b"a\0b".to_vec(), vec![b'a'; OUTPUT_MAX + 1]] {
            assert!(matches!(value_of(wrong), Err(Seen::Never(_))));
        }
        assert_eq!(value_of(vec![b'a'; OUTPUT_MAX]).unwrap().len(), OUTPUT_MAX);
    }

    #[test]
    fn only_this_user_reads_what_machines_gave() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        save(
            &paths,
            "a",
            &Values::from([("t".to_owned(), "secret".to_owned())]),
        )
        .unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&paths.outputs("a")), 0o600);
        assert_eq!(mode(&paths.machine("a")), 0o700);
        assert_eq!(names(&paths, "a"), BTreeSet::from(["t".to_owned()]));
        assert_eq!(names(&paths, "b"), BTreeSet::new());
    }

    #[test]
    fn a_machine_that_runs_keeps_what_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let mentions = mentions("${machine.a.outputs.t}", false).unwrap();
        let say =
            |value: &str| save(&paths, "a", &Values::from([("t".to_owned(), value.to_owned())])).unwrap();
        say("one");
        Gifts::now(&paths).keep("b", &mentions).unwrap();
        say("two");
        let before = Gifts::as_before(&paths, "b").unwrap();
        assert_eq!(before.value(&mentions[0]).as_deref(), Some("one"));
        assert_eq!(Gifts::now(&paths).value(&mentions[0]).as_deref(), Some("two"));
    }
}
