//! Programs of the host's that do work for us: found, run, and quoted when they fail.

use crate::error::Kind;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where administration programs lie that an ordinary user's `PATH` often leaves out.
const ADMIN_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program could not be run, or did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// One or more programs are not installed.
    #[error("missing on this machine: {}", .0.iter().map(|t| t.program).collect::<Vec<_>>().join(", "))]
    Missing(Vec<Tool>),
    /// The program is there but did not start.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The program ran and failed; its own words say why.
    #[error("{program} failed ({status}): {words}")]
    Failed {
        /// The program and its first argument.
        program: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The last lines of its standard error.
        words: String,
    },
}

impl ToolError {
    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Missing(_) => Kind::Configuration,
            Self::Start { .. } | Self::Failed { .. } => Kind::Environment,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let Self::Missing(tools) = self else {
            return None;
        };
        let mut packages: Vec<_> = tools.iter().map(|tool| tool.package).collect();
        packages.sort_unstable();
        packages.dedup();
        Some(format!("install them: apt-get install {}", packages.join(" ")))
    }
}

/// A program, and the Debian package that brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// The program's name.
    pub program: &'static str,
    /// The package's name.
    pub package: &'static str,
}

impl Tool {
    /// A program and its package.
    #[must_use]
    pub const fn new(program: &'static str, package: &'static str) -> Self {
        Self { program, package }
    }

    /// Where the program lies: in `PATH`, or in one of the folders for administration programs.
    #[must_use]
    pub fn find(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(ADMIN_FOLDERS.iter().map(PathBuf::from))
            .map(|folder| folder.join(self.program))
            .find(|file| file.is_file())
    }

    /// The program as a command without arguments.
    ///
    /// # Errors
    /// [`ToolError::Missing`] when it is not installed.
    pub fn command(&self) -> Result<Command, ToolError> {
        self.find()
            .map(Command::new)
            .ok_or_else(|| ToolError::Missing(vec![*self]))
    }
}

/// Checks for several programs at once, so that one error names all that are missing.
///
/// # Errors
/// [`ToolError::Missing`] with each that is not installed.
pub fn require(tools: &[Tool]) -> Result<(), ToolError> {
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| tool.find().is_none())
        .copied()
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(ToolError::Missing(missing))
    }
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// [`ToolError::Start`] when it cannot be run, [`ToolError::Failed`] when its status is not 0.
pub fn run(command: &mut Command) -> Result<Vec<u8>, ToolError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ToolError::Start {
            program: program_of(command),
            source,
        })?;
    check(command, output)
}

/// Runs a command to its end, telling each line of its standard error as it comes.
///
/// # Errors
/// As [`run`].
pub fn run_watched(command: &mut Command, line: &mut dyn FnMut(&str)) -> Result<(), ToolError> {
    let start = |source, command: &Command| ToolError::Start {
        program: program_of(command),
        source,
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| start(source, command))?;
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for bytes in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            line(String::from_utf8_lossy(&bytes).trim_end());
            said.extend(bytes);
            said.push(b'\n');
        }
    }
    let status = child.wait().map_err(|source| start(source, command))?;
    check(
        command,
        Output {
            status,
            stdout: Vec::new(),
            stderr: said,
        },
    )
    .map(drop)
}

/// One word for a POSIX shell.
pub(crate) fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The output when the command succeeded, else its own words.
pub(crate) fn check(command: &Command, output: Output) -> Result<Vec<u8>, ToolError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(ToolError::Failed {
        program: program_of(command),
        status: output.status,
        words: last_lines(&output.stderr),
    })
}

pub(crate) fn program_of(command: &Command) -> String {
    let name = Path::new(command.get_program())
        .file_name()
        .map(OsStr::to_string_lossy)
        .unwrap_or_default();
    command
        .get_args()
        .next()
        .map_or_else(|| name.to_string(), |first| format!("{name} {}", first.display()))
}

/// The end of what a program said, on one line: it is where programs put their reason.
pub(crate) fn last_lines(stderr: &[u8]) -> String {
    const LINES: usize = 5;
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let first = lines.len().saturating_sub(LINES);
    let words = lines.get(first..).unwrap_or_default().join("; ");
    if words.is_empty() {
        "it gave no reason".to_owned()
    } else {
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_names_every_missing_program_and_its_package() {
        let tools = [
            Tool::new("sh", "dash"),
            Tool::new("no-such-a", "pkg-a"),
            Tool::new("no-such-b", "pkg-b"),
        ];
        let error = require(&tools).unwrap_err();
        assert_eq!(error.to_string(), "missing on this machine: no-such-a, no-such-b");
        assert_eq!(error.hint().unwrap(), "install them: apt-get install pkg-a pkg-b");
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh -c failed (exit status: 3): why");
    }

    #[test]
    fn a_watched_program_is_heard_while_it_runs_and_quoted_when_it_fails() {
        let mut heard = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one >&2; echo two >&2; exit 1"]);
        let error = run_watched(&mut command, &mut |line| heard.push(line.to_owned())).unwrap_err();
        assert_eq!(heard, ["one", "two"]);
        assert_eq!(error.to_string(), "sh -c failed (exit status: 1): one; two");
    }

    #[test]
    fn a_quote_stays_inside_its_shell_word() {
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
    }
}
