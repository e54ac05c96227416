//! One `atoll net run`.

use crate::output::Output;
use crate::{Kit, PATIENCE};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The subnet of every test: its gateway is .1, its host alias .254.
pub(crate) const SUBNET: &str = "10.77.0.0/24";

/// What a test says about its network.
#[derive(Debug, Default, Clone)]
pub struct Options<'a> {
    /// More arguments for `atoll net run`; `{folder}` in one stands for the network's own folder.
    pub arguments: &'a [&'a str],
}

/// A running network. Killed and its folder removed when dropped.
#[derive(Debug)]
pub struct Net {
    child: Child,
    stdout: Output,
    stderr: Output,
    folder: TempDir,
}

impl Net {
    /// Starts a network in a new folder and waits until it says that it is ready.
    ///
    /// # Panics
    /// With what it said, when it does not become ready.
    #[must_use]
    pub fn start(kit: &Kit, options: &Options<'_>) -> Self {
        Self::start_in(kit, options, new_folder())
    }

    /// The same in the folder of an earlier one: on the same socket paths.
    ///
    /// # Panics
    /// With what it said, when it does not become ready.
    #[must_use]
    pub fn start_in(kit: &Kit, options: &Options<'_>, folder: TempDir) -> Self {
        Self::launch(Self::command(kit, options, folder.path()), folder)
    }

    /// Starts a network in a network namespace.
    ///
    /// # Panics
    /// With what it said, when it does not become ready.
    #[must_use]
    pub fn start_inside(kit: &Kit, options: &Options<'_>, namespace: &str) -> Self {
        let folder = new_folder();
        let plain = Self::command(kit, options, folder.path());
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", namespace])
            .arg(plain.get_program())
            .args(plain.get_args());
        command.env("HOME", folder.path().join("home"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self::launch(command, folder)
    }

    fn launch(mut command: Command, folder: TempDir) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let stdout = Output::collect(child.stdout.take().expect("stdout is piped"));
        let stderr = Output::collect(child.stderr.take().expect("stderr is piped"));
        let net = Self {
            child,
            stdout,
            stderr,
            folder,
        };
        let ready = net.stdout.wait(PATIENCE, |text| ready_line(text).map(drop));
        assert!(
            ready.is_ok(),
            "`atoll net run` did not become ready:\n{}",
            net.words()
        );
        net
    }

    /// The command that [`Net::start_in`] runs, for tests that want it to fail.
    #[must_use]
    pub fn command(kit: &Kit, options: &Options<'_>, folder: &Path) -> Command {
        let mut command = Command::new(&kit.atoll);
        command.args(["net", "run"]);
        let has_addresses = |it: &&str| matches!(*it, "--subnet" | "--mode");
        if !options.arguments.iter().any(has_addresses) {
            command.args(["--subnet", SUBNET]);
        }
        command.arg("--qemu");
        command.arg(format!("unix:{}", socket_in(folder).display()));
        let place = folder.display().to_string();
        command.args(options.arguments.iter().map(|it| it.replace("{folder}", &place)));
        // A home of its own: no state of an earlier run, none left for a later one.
        command
            .env("HOME", folder.join("home"))
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_RUNTIME_DIR");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The socket at which guests attach.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket_in(self.folder.path())
    }

    /// The socket for `-netdev dgram`, where its arguments ask for it: `--qemu-dgram unix:{folder}/dgram.sock`.
    #[must_use]
    pub fn dgram_socket(&self) -> PathBuf {
        self.folder.path().join("dgram.sock")
    }

    /// The socket for `-netdev vhost-user`, where its arguments ask for it: `--vhost-user unix:{folder}/shared.sock`.
    #[must_use]
    pub fn vhost_user_socket(&self) -> PathBuf {
        self.folder.path().join("shared.sock")
    }

    /// The folder in which it keeps all its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How many descriptors it has open.
    ///
    /// # Errors
    /// When it has ended.
    pub fn descriptors(&self) -> std::io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// Where the host listens for each `--forward`, in their order.
    ///
    /// # Panics
    /// When the line that says that it is ready does not tell.
    #[must_use]
    pub fn forwards(&self) -> Vec<SocketAddr> {
        let ready = ready_line(&self.stdout.text()).expect("it was ready when it was started");
        let forwards = ready["forwards"].as_array().expect("a list of forwards");
        let listen = |forward: &serde_json::Value| forward["listen"].as_str()?.parse().ok();
        forwards
            .iter()
            .map(|forward| listen(forward).expect("an address and a port"))
            .collect()
    }

    /// Ends it with SIGTERM and waits; gives back its exit status and its folder.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn terminate(self) -> (ExitStatus, TempDir) {
        self.end(Signal::TERM)
    }

    /// Ends it with SIGKILL and waits; gives back its exit status and its folder.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn kill(self) -> (ExitStatus, TempDir) {
        self.end(Signal::KILL)
    }

    fn end(mut self, signal: Signal) -> (ExitStatus, TempDir) {
        send(&self.child, signal).expect("the network runs until it is told to end");
        let status = wait(&mut self.child, PATIENCE);
        let status = status.unwrap_or_else(|| panic!("`atoll net run` does not end:\n{}", self.words()));
        (status, std::mem::replace(&mut self.folder, new_folder()))
    }

    /// All it said so far, for a failed test to show.
    #[must_use]
    pub fn words(&self) -> String {
        format!("stdout:\n{}stderr:\n{}", self.stdout.text(), self.stderr.text())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // It has ended already when these fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not below a long TMPDIR: the address of a unix socket holds 108 bytes.
fn new_folder() -> TempDir {
    TempDir::with_prefix_in("atoll-e2e-", "/tmp").expect("a folder in /tmp")
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("net.sock")
}

/// The line on stdout that says that everything listens.
fn ready_line(text: &str) -> Option<serde_json::Value> {
    let complete = text.lines().take(text.matches('\n').count());
    let mut events = complete.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    events.find(|event| event["event"] == "ready")
}

/// Files that are left in the folder of a network that ended, without its home.
///
/// # Errors
/// When the folder cannot be read.
pub fn left_behind(folder: &Path) -> std::io::Result<Vec<String>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<std::io::Result<Vec<_>>>()?;
    Ok(names.into_iter().filter(|name| name != "home").collect())
}

pub(crate) fn send(child: &Child, signal: Signal) -> rustix::io::Result<()> {
    kill_process(Pid::from_child(child), signal)
}

/// The exit status, or `None` when the deadline passes first.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            _ => return None,
        }
    }
}
