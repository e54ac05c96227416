//! Lines of several machines on one terminal: each with its machine's name before it.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use atoll_control::cluster::paths::ClusterPaths;
use atoll_control::enter::{self, Stream};

use crate::failure::Failure;

/// Of ECMA-48, those that can be told apart on black and on white.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Writes lines with prefixes, one at a time.
#[derive(Debug)]
pub(crate) struct Prefixes {
    names: Vec<String>,
    turn: Mutex<()>,
}

impl Prefixes {
    /// For the lines of these machines.
    pub(crate) fn new(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            turn: Mutex::default(),
        }
    }

    /// Writes one to standard output, or to standard error.
    pub(crate) fn write(&self, name: &str, to_errors: bool, line: &[u8]) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if to_errors {
            let colours = crate::failure::colours();
            self.write_to(&mut io::stderr().lock(), name, colours, line)
        } else {
            let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let colours = io::stdout().is_terminal() && !no_color;
            self.write_to(&mut io::stdout().lock(), name, colours, line)
        }
    }

    fn write_to(&self, out: &mut dyn Write, name: &str, colours: bool, line: &[u8]) -> io::Result<()> {
        let width = self.names.iter().map(String::len).max().unwrap_or(0);
        let at = self.names.iter().position(|it| it == name).unwrap_or(0);
        let mut text = if colours {
            format!("\x1b[{}m{name:<width$} |\x1b[0m ", COLOURS[at % COLOURS.len()])
        } else {
            format!("{name:<width$} | ")
        }
        .into_bytes();
        text.extend_from_slice(line);
        text.push(b'\n');
        out.write_all(&text)?;
        out.flush()
    }
}

/// Runs a command in several machines side by side, each line `shown` behind its machine's name; the first exit status that is not 0.
pub(crate) fn run_in_all(
    paths: &ClusterPaths,
    machines: &[String],
    words: &[String],
    shown: impl Fn(&[u8]) -> Cow<'_, [u8]> + Sync,
) -> Result<u8, Failure> {
    let prefixes = Prefixes::new(machines);
    let tell = |machine: &str, stream: Stream, line: &[u8]| {
        // Where nobody reads any more the command goes on all the same.
        let _ = prefixes.write(machine, stream == Stream::Errors, &shown(line));
    };
    let statuses = enter::run_in_all(paths, machines, words, &tell)?;
    Ok(statuses.into_iter().find(|status| *status != 0).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_aligned_and_coloured_only_where_that_is_wanted() {
        let prefixes = Prefixes::new(&["a".to_owned(), "long".to_owned()]);
        let mut out = Vec::new();
        prefixes.write_to(&mut out, "a", false, b"x").unwrap();
        prefixes.write_to(&mut out, "long", true, b"y").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a    | x\n\x1b[33mlong |\x1b[0m y\n"
        );
    }
}
