//! A home of its own for one test: nothing of the user's is read or written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_atoll");

/// A folder with a cluster file, and folders for state, cache and sockets beside it.
pub(crate) struct Home {
    root: TempDir,
}

impl Home {
    /// Without a cluster file.
    pub(crate) fn new() -> Self {
        // Short, since sockets lie in it.
        let root = tempfile::Builder::new()
            .prefix("a")
            .rand_bytes(6)
            .tempdir_in("/tmp")
            .unwrap();
        let home = Self { root };
        home.make_folder("demo");
        home
    }

    /// With this text as its cluster file.
    pub(crate) fn with_file(text: &str) -> Self {
        let home = Self::new();
        home.write("atoll.yaml", text.as_bytes());
        home
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Makes a folder in it.
    pub(crate) fn make_folder(&self, name: &str) {
        fs::create_dir(self.path(name)).unwrap();
    }

    /// Writes a file beside the cluster file.
    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path("demo").join(name), content).unwrap();
    }

    /// The binary with these arguments, in the cluster file's folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut words = vec![BINARY];
        words.extend(arguments);
        self.wrapped(&words)
    }

    /// Any program in the same surroundings.
    pub(crate) fn wrapped(&self, words: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(self.path("demo"))
            .env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", self.path("home"))
            .env("ATOLL_HOME", self.path("state"));
        command
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_RUNTIME_DIR", self.root.path());
        command
    }

    /// Runs the binary, which must end with this status and say nothing on standard output; gives what it said.
    pub(crate) fn fails(&self, arguments: &[&str], status: i32) -> String {
        self.fails_with(self.command(arguments), status)
    }

    /// [`Home::fails`] for a command that was made already.
    pub(crate) fn fails_with(&self, mut command: Command, status: i32) -> String {
        let Output {
            status: ended,
            stdout,
            stderr,
        } = command.output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(ended.code(), Some(status), "{said}");
        assert_eq!(String::from_utf8(stdout).unwrap(), "");
        self.redacted(&said)
    }

    fn redacted(&self, said: &str) -> String {
        let said = said.replace(
            &self.root.path().canonicalize().unwrap().display().to_string(),
            "[HOME]",
        );
        let said = said.replace(&self.root.path().display().to_string(), "[HOME]");
        let said = said.replace(&format!("{} (process", own_name()), "[PROGRAM] (process");
        ["(process ", "of process ", "end process ", "after ", "needed, "]
            .iter()
            .fold(said, |said, before| numbers_after(&said, before))
    }

    /// No daemon, socket or lock is left.
    pub(crate) fn leaves_nothing_running(&self) {
        let clusters = self.path("state/clusters");
        // What was refused before anything was begun has none.
        let folders = fs::read_dir(&clusters)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path());
        for folder in folders.collect::<Vec<_>>() {
            wait_gone(&folder.join("lock"));
        }
        let runtime = self.path("atoll");
        assert!(!runtime.exists(), "{} is left", runtime.display());
    }
}

/// The daemon ends when the last command has its answer, not before.
fn wait_gone(path: &Path) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while path.exists() {
        assert!(std::time::Instant::now() < until, "{} is left", path.display());
        std::thread::yield_now();
    }
}

/// What the system calls this process, as the owner of a port.
fn own_name() -> String {
    fs::read_to_string("/proc/self/comm")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The text with every number that follows `word` as `[N]`.
fn numbers_after(text: &str, word: &str) -> String {
    let mut parts = text.split(word);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let mark = if rest.len() < part.len() { "[N]" } else { "" };
        out.push_str(word);
        out.push_str(mark);
        out.push_str(rest);
    }
    out
}

impl Drop for Home {
    /// A test that failed half-way leaves no machine behind.
    fn drop(&mut self) {
        if self.path("atoll").exists() {
            let _ = self.command(&["rm"]).output();
        }
    }
}
