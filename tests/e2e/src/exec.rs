//! One `atoll net exec`.

use crate::net::{send, wait};
use crate::output::Output;
use crate::{LONG_PATIENCE, kit};
use rustix::process::Signal;
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The binary, where it can make namespaces with a TAP; `None` where it cannot: then the reason was printed.
///
/// # Panics
/// With the reason, where `ATOLL_E2E` is `required`.
#[expect(clippy::print_stderr, reason = "a skipped test says why")]
pub fn with_namespaces() -> Option<&'static PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match FOUND.get_or_init(find) {
        Ok(atoll) => Some(atoll),
        Err(reason) => {
            let required = env::var_os("ATOLL_E2E").is_some_and(|value| value == "required");
            assert!(!required, "end-to-end tests are required, but {reason}");
            eprintln!("skipped: {reason}");
            None
        }
    }
}

fn find() -> Result<PathBuf, String> {
    let atoll = kit::binary()?;
    let tried = Command::new(&atoll).args(["net", "exec", "--", "true"]).output();
    let tried = tried.map_err(|error| format!("{} cannot be run: {error}", atoll.display()))?;
    if tried.status.success() {
        Ok(atoll)
    } else {
        Err(String::from_utf8_lossy(&tried.stderr).into_owned())
    }
}

/// The addresses of [`AS_WEB`].
pub const WEB: &str = "10.77.0.9";
/// The other.
pub const WEB6: &str = "fd77:77::9";

/// The arguments by which the command is the guest `web` of a network with both families.
pub const AS_WEB: [&str; 8] = [
    "--ipv6",
    "fd77:77::/64",
    "--name",
    "web",
    "--address",
    WEB,
    "--address",
    WEB6,
];

/// A running one. Killed when dropped.
#[derive(Debug)]
pub struct Exec {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// How one ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status, if it was not killed.
    pub status: Option<i32>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Exec {
    /// Starts a bash script in a namespace.
    ///
    /// # Panics
    /// When the binary cannot be run.
    #[must_use]
    pub fn start(atoll: &PathBuf, arguments: &[&str], script: &str) -> Self {
        let mut command = Command::new(atoll);
        command.args(["net", "exec"]).args(arguments);
        command.args(["--", "bash", "-c", script]);
        Self::launch(command)
    }

    /// The same, with the network's own sockets in a network namespace.
    ///
    /// # Panics
    /// When the binary cannot be run.
    #[must_use]
    pub fn start_inside(atoll: &PathBuf, namespace: &str, arguments: &[&str], script: &str) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(atoll);
        command.args(["net", "exec"]).args(arguments);
        command.args(["--", "bash", "-c", script]);
        Self::launch(command)
    }

    /// An option with this value is refused by one sentence that begins with it, and a hint.
    ///
    /// # Panics
    /// When it is not.
    pub fn assert_refused(atoll: &PathBuf, arguments: [&str; 2]) {
        let ended = Self::start(atoll, &arguments, "true").end();
        assert_eq!(ended.status, Some(2), "{arguments:?}: {}", ended.stderr);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let [error, hint] = lines[..] else {
            panic!("{arguments:?}: {}", ended.stderr);
        };
        assert!(error.starts_with(&format!("error: {} ", arguments[0])), "{error}");
        assert!(hint.starts_with("hint: "), "{hint}");
    }

    /// Starts a command as it is.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn launch(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = Output::collect(child.stdout.take().expect("stdout is piped"));
        let stderr = Output::collect(child.stderr.take().expect("stderr is piped"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Waits until it has written a line that begins so; gives the rest of the line.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn says(&self, beginning: &str) -> String {
        let said = self.stdout.wait(LONG_PATIENCE, |text| {
            let complete = text.lines().take(text.matches('\n').count());
            let mut found = complete.filter_map(|line| line.strip_prefix(beginning));
            found.next().map(|rest| rest.trim().to_owned())
        });
        said.unwrap_or_else(|text| panic!("{beginning} was not said:\n{text}{}", self.stderr.text()))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        send(&self.child, signal).expect("it runs until it is told to end");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn end(mut self) -> Ended {
        let status = wait(&mut self.child, LONG_PATIENCE);
        let status = status.unwrap_or_else(|| panic!("`atoll net exec` does not end:\n{self:?}"));
        // Both end with the process, but for what a process that it left behind may say.
        let _ = self.stdout.wait(LONG_PATIENCE, |_| None::<()>);
        let _ = self.stderr.wait(LONG_PATIENCE, |_| None::<()>);
        assert_eq!(status.signal().is_none(), status.code().is_some());
        Ended {
            status: status.code(),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }

    /// Waits for its end, which is to be a good one; gives what it wrote.
    ///
    /// # Panics
    /// When it fails or says anything on its standard error.
    #[must_use]
    pub fn ok(self) -> String {
        let ended = self.end();
        assert_eq!(
            (ended.status, ended.stderr.as_str()),
            (Some(0), ""),
            "{}",
            ended.stdout
        );
        ended.stdout
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        // It has ended already when these fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
