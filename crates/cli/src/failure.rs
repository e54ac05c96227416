//! How a command ends when it does not succeed: what is said on standard error, and the exit status.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use atoll_control::CallError;
use atoll_control::cluster::problem::Problem;
use atoll_control::cluster::project::ProjectError;
use atoll_control::spec::Diagnostics;

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One sentence, perhaps a hint.
    Problem(Problem),
    /// The cluster file is wrong, at places that can be shown.
    File(Box<Diagnostics>),
    /// All is said already; only the exit status is left.
    Told(u8),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Self {
        match error {
            ProjectError::Wrong(diagnostics) => Self::File(diagnostics),
            error => Self::Problem(error.into()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The reader of our output has seen enough: `atoll ls | head -1`.
            io::ErrorKind::BrokenPipe => Self::Told(0),
            _ => Self::environment(error, None),
        }
    }
}

impl Failure {
    /// The exit status of what was run, of which all has been told.
    pub(crate) fn of_status(status: u8) -> Result<(), Self> {
        match status {
            0 => Ok(()),
            status => Err(Self::Told(status)),
        }
    }

    /// The command line is wrong: status 2.
    pub(crate) fn usage(sentence: impl Display, hint: Option<String>) -> Self {
        Self::Problem(Problem::usage(sentence.to_string()).with_hint_if(hint))
    }

    /// Something around us failed: status 1.
    pub(crate) fn environment(sentence: impl Display, hint: Option<String>) -> Self {
        Self::Problem(Problem::environment(sentence.to_string()).with_hint_if(hint))
    }

    /// Tells it on standard error, and gives the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Told(status) => ExitCode::from(*status),
            Self::Problem(problem) => {
                tell_problem(problem, "", None);
                ExitCode::from(problem.kind.exit_status())
            }
            Self::File(diagnostics) => {
                say(&if colours() {
                    diagnostics.styled()
                } else {
                    diagnostics.to_string()
                });
                ExitCode::from(2)
            }
        }
    }
}

/// `error: …` and `hint: …`, with `place` in front of the sentence and the line of a file below it.
pub(crate) fn tell_problem(problem: &Problem, place: &str, line: Option<String>) {
    // The rendering of a wrong cluster file begins with the word itself.
    let message = problem
        .message
        .strip_prefix("error: ")
        .unwrap_or(&problem.message);
    say(&format!("error: {place}{message}"));
    if let Some(line) = line {
        say(&format!(" --> {line}"));
    }
    if let Some(hint) = &problem.hint {
        say(&format!("hint: {hint}"));
    }
}

/// Whether standard error takes colours (<https://no-color.org>).
pub(crate) fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// One line on standard error; when nobody reads it, nothing can be said about that either.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
