//! The daemon of a cluster: started in the background by `atoll up`, ended by `atoll down`.
//!
//! The starter runs its own binary again with a hidden subcommand and reads one line from its standard output: `ready`, or the
//! problem as JSON. Before that line the daemon has made a session of its own, taken the cluster's lock, taken over
//! what runs, and listens; after it nothing connects it with the terminal it came from. Its log is `daemon.log`.
//!
//! It ends when a command leaves nothing running, and on SIGTERM or SIGINT: then machines keep running and the next daemon takes
//! them over.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use atoll_cluster::Cluster;
use atoll_cluster::files;
use atoll_cluster::paths::ClusterPaths;
use atoll_cluster::problem::Problem;
use atoll_cluster::project::Project;
use rustix::process::{Pid, test_kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{CallError, Client};
use crate::server::{ServeError, serve_cluster};

/// What a daemon says when it serves.
const READY: &str = "ready";

/// How long a daemon that was told to end is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl From<ServeError> for Problem {
    fn from(error: ServeError) -> Self {
        Self::environment(error.to_string()).with_hint_if(error.hint())
    }
}

/// Reaches the project's daemon, and starts it when it does not run.
///
/// `arguments` are those with which this program runs [`run`] for the project's file.
///
/// # Errors
/// The daemon does not start, for the reason it gives.
pub fn reach_or_start(project: &Project, arguments: &[&OsStr]) -> Result<Client, Problem> {
    match Client::connect(&project.paths.api_socket()) {
        Err(CallError::NotRunning { .. }) => start(project, arguments)?,
        other => return Ok(other?),
    }
    Ok(Client::connect(&project.paths.api_socket())?)
}

fn start(project: &Project, arguments: &[&OsStr]) -> Result<(), Problem> {
    let failed =
        |cause: io::Error| Problem::environment(format!("cannot start the cluster's daemon: {cause}"));
    files::make_private(&project.paths.state)?;
    let log = open_log(&project.paths).map_err(failed)?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut child = command.spawn().map_err(failed)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
    }
    if line.trim_end() == READY {
        // A daemon that ends before its starter does would else stay behind as a zombie, and look alive.
        std::thread::spawn(move || child.wait());
        return Ok(());
    }
    let _ = child.wait();
    Err(serde_json::from_str(&line).unwrap_or_else(|_| {
        let log = project.paths.daemon_log();
        Problem::environment("the cluster's daemon ended at once").with_hint(format!("see {}", log.display()))
    }))
}

fn open_log(paths: &ClusterPaths) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = paths.daemon_log();
    let _ = fs::rename(&path, path.with_extension("log.1"));
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// Runs the daemon of the cluster of this file until its end.
///
/// # Errors
/// Why it did not start; also told to the starter.
pub fn run(file: &Path, name: &str) -> Result<(), Problem> {
    // Fails only for a process that leads its group already, which is as good.
    let _ = rustix::process::setsid();
    let opened = open(file, name);
    let told = match &opened {
        Ok(_) => READY.to_owned(),
        Err(problem) => serde_json::to_string(problem).unwrap_or_default(),
    };
    let _ = writeln!(io::stdout(), "{told}");
    let (cluster, server, ended) = opened?;
    if let Err(error) = detach_stdout() {
        tracing::warn!(%error, "standard output could not be given up");
    }
    let _ = ended.recv();
    tracing::info!("ending");
    drop(server);
    cluster.close();
    Ok(())
}

type Opened = (Arc<Cluster>, crate::Server, mpsc::Receiver<()>);

fn open(file: &Path, name: &str) -> Result<Opened, Problem> {
    let places = atoll_cluster::paths::Places::of_process();
    let places = places.map_err(|error| Problem::environment(error.to_string()).with_hint(error.hint()))?;
    let paths = places.cluster(name, file);
    let cluster = Arc::new(Cluster::open(file, paths.clone())?);
    let (end, ended) = mpsc::channel();
    end_on_signals(end.clone())
        .map_err(|error| Problem::environment(format!("cannot watch signals: {error}")))?;
    let server = serve_cluster(&paths.api_socket(), Arc::clone(&cluster), end)?;
    Ok((cluster, server, ended))
}

/// SIGTERM and SIGINT end the daemon as if it had nothing left to do; SIGHUP does not reach a session without terminal.
fn end_on_signals(end: mpsc::Sender<()>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let guard = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(guard);
    std::thread::Builder::new()
        .name("atoll-signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
            let _ = end.send(());
        })?;
    Ok(())
}

/// The starter's pipe ends here; whoever waits for its end must not wait for the daemon's.
fn detach_stdout() -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(null)?)
}

/// Waits until a daemon that was told to end is gone.
///
/// # Errors
/// It is not in good time.
pub fn wait_gone(paths: &ClusterPaths, daemon: Option<u32>) -> Result<(), Problem> {
    let until = Instant::now() + PATIENCE;
    let pid = daemon
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    while paths.lock_file().exists() || pid.is_some_and(|pid| test_kill_process(pid).is_ok()) {
        if Instant::now() >= until {
            let hint = format!("see {}", paths.daemon_log().display());
            return Err(Problem::environment("the cluster's daemon does not end").with_hint(hint));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
