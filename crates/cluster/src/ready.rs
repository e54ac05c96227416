//! Waiting until a machine is ready.
//!
//! What ready means follows from its image ([`ReadyRule`]). With cloud-init: `ssh` logs in, then `cloud-init status --wait`
//! says that it has finished; where no network of ours leads to the machine, cloud-init's last line on the console says it. With an
//! image of ours without cloud-init: a line on the console as well. All are looked for again and again,
//! since nothing tells of them; the waiting ends early when QEMU does, at the deadline, or when the command is called off.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::console;
use crate::paths::ClusterPaths;
use crate::progress::{Progress, Sink, Stage};
use crate::ssh::{self, Attempt, SshError};
use crate::state::ReadyRule;

/// What the micro image writes on its console when it has an address.
const MARKER: &str = "atoll-micro: ready ";

/// What cloud-init begins and ends its last line on the console with, unless user-data changes it (`final_message`).
const ANNOUNCED: [&str; 2] = ["Cloud-init v. ", " finished at "];

/// Lines of console in which the marker is looked for; the guest's shell follows it at once.
const MARKER_LINES: usize = 50;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Waits for cloud-init where it is installed, then shows how it went. Its exit status since 23.4: 0 done, 1 failed,
/// 2 done with complaints; 22.4 knows 0 and 1.
pub(crate) const AWAIT_CLOUD_INIT: &str = "command -v cloud-init >/dev/null 2>&1 || exit 0; \
    cloud-init status --wait >/dev/null 2>&1; status=$?; cloud-init status --long 2>&1 | tail -n 12; exit $status";

/// Why a machine did not become ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Its QEMU ended.
    #[error("it stopped while it was starting{}", words.as_ref().map(|words| format!(": {words}")).unwrap_or_default())]
    Stopped {
        /// QEMU's own words, if it left any.
        words: Option<String>,
    },
    /// The time is up.
    #[error("it was not ready within {} s; {last}", deadline.as_secs())]
    Deadline {
        /// How long it was given.
        deadline: Duration,
        /// What the last attempt showed.
        last: String,
    },
    /// cloud-init says that it failed.
    #[error("cloud-init failed: {0}")]
    CloudInit(String),
    /// ssh cannot be used at all.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// Another command called this one off.
    #[error("it was called off")]
    Cancelled,
}

impl NotReady {
    /// What can be done about it.
    pub fn hint(&self, machine: &str) -> Option<String> {
        match self {
            Self::Stopped { .. } => Some(format!("`atoll logs {machine}` shows its console")),
            Self::Deadline { .. } => Some(format!(
                "`atoll logs {machine}` shows its console; `atoll up` waits again, --timeout changes how long"
            )),
            Self::CloudInit(_) => Some(format!(
                "`atoll ssh {machine} -- sudo cat /var/log/cloud-init.log` has the details"
            )),
            Self::Ssh(error) => error.hint(),
            Self::Cancelled => None,
        }
    }
}

/// Everything the waiting depends on.
pub struct Waiting<'a> {
    /// Where its console log and ssh's configuration are.
    pub paths: &'a ClusterPaths,
    /// The machine.
    pub machine: &'a str,
    /// When it is ready.
    pub rule: ReadyRule,
    /// How long it has.
    pub deadline: Duration,
    /// Whether the command was called off.
    pub cancelled: &'a AtomicBool,
    /// What QEMU left behind, when it does not run any more.
    pub stopped: &'a (dyn Fn() -> Option<Option<String>> + Sync),
    /// Where progress goes.
    pub sink: &'a dyn Sink,
}

impl std::fmt::Debug for Waiting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting")
            .field("machine", &self.machine)
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}

impl Waiting<'_> {
    /// Waits. On failure also says in which stage.
    pub fn run(&self) -> Result<(), (Stage, NotReady)> {
        let until = Instant::now() + self.deadline;
        match self.rule {
            ReadyRule::Runs => Ok(()),
            ReadyRule::Marker => self
                .console_says(until, &[MARKER])
                .map_err(|error| (Stage::Boot, error)),
            ReadyRule::Announced => self
                .console_says(until, &ANNOUNCED)
                .map_err(|error| (Stage::Boot, error)),
            ReadyRule::CloudInit => {
                self.login(until).map_err(|error| (Stage::Boot, error))?;
                self.tell(Stage::CloudInit, "waiting for it to finish");
                self.cloud_init(until).map_err(|error| (Stage::CloudInit, error))
            }
        }
    }

    fn tell(&self, stage: Stage, detail: impl Into<String>) {
        self.sink.tell(Progress::stage(self.machine, stage, detail));
    }

    /// An error when there is a reason not to wait any longer.
    fn check(&self, until: Instant, last: &str) -> Result<(), NotReady> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(NotReady::Cancelled);
        }
        if let Some(words) = (self.stopped)() {
            return Err(NotReady::Stopped { words });
        }
        if Instant::now() >= until {
            return Err(NotReady::Deadline {
                deadline: self.deadline,
                last: last.to_owned(),
            });
        }
        Ok(())
    }

    /// Tells the console's last line when it is another one than before.
    fn watch_console(&self, stage: Stage, last: &mut String) {
        let line = console::tail(&self.paths.console_log(self.machine), 1)
            .pop()
            .unwrap_or_default();
        if line != *last {
            self.tell(stage, line.clone());
            *last = line;
        }
    }

    /// Waits for a line with all of these words.
    fn console_says(&self, until: Instant, words: &[&str]) -> Result<(), NotReady> {
        self.tell(Stage::Boot, "");
        let log = self.paths.console_log(self.machine);
        let mut line = String::new();
        loop {
            if console::tail(&log, MARKER_LINES)
                .iter()
                .any(|line| words.iter().all(|word| line.contains(word)))
            {
                return Ok(());
            }
            self.check(until, "its console has not said so")?;
            self.watch_console(Stage::Boot, &mut line);
            std::thread::sleep(PAUSE);
        }
    }

    fn login(&self, until: Instant) -> Result<(), NotReady> {
        self.tell(Stage::Boot, "");
        let mut line = String::new();
        loop {
            let last = match self.attempt("true", until)? {
                Attempt::Ran { .. } => break,
                Attempt::NoLogin(words) => words,
            };
            self.forget_changed_key(&last)?;
            self.check(until, &format!("ssh said: {}", one_line(&last)))?;
            self.watch_console(Stage::Boot, &mut line);
            std::thread::sleep(PAUSE);
        }
        self.tell(Stage::Ssh, "logged in");
        Ok(())
    }

    /// cloud-init makes new host keys on first boot, which may be after a first login.
    fn forget_changed_key(&self, words: &str) -> Result<(), SshError> {
        if words.contains("IDENTIFICATION HAS CHANGED") {
            ssh::forget(self.paths, self.machine)?;
        }
        Ok(())
    }

    fn attempt(&self, remote: &str, until: Instant) -> Result<Attempt, NotReady> {
        let stop = || self.check(until, "").is_err();
        Ok(ssh::attempt(self.paths, self.machine, remote, &stop)?)
    }

    fn cloud_init(&self, until: Instant) -> Result<(), NotReady> {
        loop {
            let last = match self.attempt(AWAIT_CLOUD_INIT, until)? {
                Attempt::Ran { status: 0 | 2, .. } => return Ok(()),
                ran @ Attempt::Ran { .. } => return Err(NotReady::CloudInit(one_line(&ran.words()))),
                Attempt::NoLogin(words) => words,
            };
            self.forget_changed_key(&last)?;
            self.check(until, &format!("ssh said: {}", one_line(&last)))?;
            std::thread::sleep(PAUSE);
        }
    }
}

/// Lines joined, for a sentence.
pub(crate) fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        "nothing".to_owned()
    } else {
        lines.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    fn wait(
        (rule, console): (ReadyRule, &str),
        stopped: Option<Option<String>>,
        cancelled: bool,
    ) -> Result<(), (Stage, NotReady)> {
        let folder = tempfile::tempdir().unwrap();
        let paths = ClusterPaths {
            state: folder.path().to_owned(),
            run: folder.path().to_owned(),
            images: folder.path().to_owned(),
        };
        files::make_private(&paths.machine("a")).unwrap();
        std::fs::write(paths.console_log("a"), console).unwrap();
        let waiting = Waiting {
            paths: &paths,
            machine: "a",
            rule,
            deadline: Duration::ZERO,
            cancelled: &AtomicBool::new(cancelled),
            stopped: &move || stopped.clone(),
            sink: &|_| {},
        };
        waiting.run()
    }

    #[test]
    fn the_marker_on_the_console_is_enough() {
        let console = "boot\r\natoll-micro: ready 10.77.0.2 eth0\r\n/ # ";
        wait((ReadyRule::Marker, console), None, false).unwrap();
    }

    #[test]
    fn cloud_inits_last_line_is_enough_where_nobody_can_log_in() {
        let console = "[   31.2] cloud-init[512]: Cloud-init v. 22.4.2 finished at Tue, 24 Nov 2026 09:30:00 +0000. Up 31 seconds\r\n";
        wait((ReadyRule::Announced, console), None, false).unwrap();
        let begun = "[   11.2] cloud-init[312]: Cloud-init v. 22.4.2 running 'init' at Tue, 24 Nov 2026\r\n";
        let (stage, error) = wait((ReadyRule::Announced, begun), None, false).unwrap_err();
        assert!(matches!((stage, error), (Stage::Boot, NotReady::Deadline { .. })));
    }

    #[test]
    fn a_machine_that_stops_is_not_waited_for() {
        let (stage, error) = wait(
            (ReadyRule::Marker, "boot\r\n"),
            Some(Some("no memory".to_owned())),
            false,
        )
        .unwrap_err();
        assert_eq!(stage, Stage::Boot);
        assert_eq!(error.to_string(), "it stopped while it was starting: no memory");
    }

    #[test]
    fn the_deadline_and_the_call_off_end_the_wait() {
        assert!(matches!(
            wait((ReadyRule::Marker, ""), None, false),
            Err((Stage::Boot, NotReady::Deadline { .. }))
        ));
        assert!(matches!(
            wait((ReadyRule::Marker, ""), None, true),
            Err((Stage::Boot, NotReady::Cancelled))
        ));
    }
}
