//! Completion in shells: the words of commands from clap's table, and names of machines from the cluster file.
//!
//! The script of `atoll completions` calls this program with the words so far, by the engine of `clap_complete` that is still named unstable; all that is
//! known of it is here. Nothing is started and nothing is said: where there is no file that can be read, there are no names.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;

use atoll_control::cluster::project::{self, Project};
use clap::CommandFactory;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{CompleteEnv, Shells};

/// Says that words are to be completed, and for which shell.
const VARIABLE: &str = "ATOLL_COMPLETE";

/// Completes, if that is what this process was started for, and ends it then.
pub(crate) fn complete() {
    CompleteEnv::with_factory(crate::Cli::command)
        .var(VARIABLE)
        .bin("atoll")
        .complete();
}

/// The script that makes a shell ask.
pub(crate) fn script(shell: &str) -> io::Result<()> {
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(shell) else {
        return Err(io::Error::other("this shell is not known"));
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "atoll", "atoll", "atoll", &mut script)?;
    io::stdout().write_all(&script)
}

/// Completes with names of machines.
pub(crate) fn machines() -> ArgValueCandidates {
    ArgValueCandidates::new(|| names().into_iter().map(CompletionCandidate::new).collect())
}

/// Completes with `MACHINE:` and with paths of this host.
pub(crate) fn places() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let mut found = PathCompleter::any().complete(current);
        let begun = current.to_string_lossy();
        let names = names().into_iter().map(|name| format!("{name}:"));
        let fitting = names.filter(|name| name.starts_with(&*begun));
        found.splice(0..0, fitting.map(CompletionCandidate::new));
        found
    })
}

fn names() -> Vec<String> {
    let named = named_file(std::env::args_os().skip(1));
    let read = || {
        let here = std::env::current_dir().ok()?;
        let file = project::find(named.as_deref(), &here).ok()?;
        let choices = project::last_choices(&file);
        Project::load(&file, "", choices).ok()
    };
    let machines = read().into_iter().flat_map(|project| project.cluster.machines);
    machines.map(|machine| machine.name.to_string()).collect()
}

/// The cluster file that the words so far name.
fn named_file(words: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let words: Vec<OsString> = words.collect();
    let at = words.iter().rposition(|word| word == "-f" || word == "--file")?;
    words.get(at + 1).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_is_named_is_the_one() {
        let of = |words: &[&str]| named_file(words.iter().map(OsString::from));
        assert_eq!(
            of(&["--", "atoll", "ssh", "-f", "x.yaml", ""]),
            Some("x.yaml".into())
        );
        assert_eq!(of(&["--", "atoll", "ssh", ""]), None);
    }
}
