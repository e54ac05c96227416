//! ssh into machines: the system's own `ssh` with a configuration file and a key pair of the cluster's.
//!
//! Each machine is reached through a forward from a port of the host's loopback. Its host key is taken at first contact and
//! kept under the machine's name, so that a port which another machine had before does not look like an attack; a machine
//! whose disk is made anew is forgotten ([`forget`]).

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::files::{self, FileError};
use crate::paths::ClusterPaths;
use crate::ssh_config;

/// Machines are forgotten side by side, each by reading the file and writing it back.
static KNOWN_HOSTS: Mutex<()> = Mutex::new(());

/// Nobody is asked, and nothing is waited for in vain for long.
pub const UNATTENDED: [&str; 9] = [
    "-T",
    "-o",
    "BatchMode=yes",
    "-o",
    "ConnectTimeout=10",
    "-o",
    "ServerAliveInterval=5",
    "-o",
    "ServerAliveCountMax=3",
];

/// As much of what a command writes as is kept.
pub const OUTPUT_MAX: usize = 64 << 10;

/// How often a running `ssh` is looked at.
const POLL: Duration = Duration::from_millis(100);

/// How one machine is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The machine's name, which is what `ssh` is told.
    pub machine: String,
    /// Who logs in.
    pub user: String,
    /// The address on the host's loopback.
    pub address: IpAddr,
    /// The port there.
    pub port: u16,
}

impl Host {
    /// Its entry in a configuration file, without [`trust`].
    pub(crate) fn entry(&self) -> String {
        let Self {
            machine,
            user,
            address,
            port,
        } = self;
        format!(
            "\nHost {machine}\n  HostName {address}\n  Port {port}\n  User {user}\n  HostKeyAlias {machine}\n"
        )
    }
}

/// The lines by which a machine of the cluster knows who logs in, and is known.
pub(crate) fn trust(paths: &ClusterPaths) -> String {
    let (key, known_hosts) = (quoted(&paths.ssh_key()), quoted(&paths.known_hosts()));
    format!(
        "  IdentityFile {key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {known_hosts}\n  \
         GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking accept-new\n  CheckHostIP no\n"
    )
}

/// Why ssh cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A file could not be written or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The program cannot be started.
    #[error("cannot run {program}: {cause}")]
    Start {
        /// Its name.
        program: &'static str,
        /// The system's words.
        cause: io::Error,
    },
    /// ssh-keygen made no key.
    #[error("ssh-keygen made no key: {0}")]
    Keygen(String),
}

impl SshError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Start { .. } => Some("install OpenSSH's client (Debian: openssh-client)".to_owned()),
            Self::Keygen(_) => None,
        }
    }
}

/// Makes the key pair if it is not there, and gives the public key's line.
pub fn ensure_key(paths: &ClusterPaths) -> Result<String, SshError> {
    let key = paths.ssh_key();
    let public = key.with_extension("pub");
    if !public.exists() {
        files::make_private(key.parent().unwrap_or(&paths.state))?;
        files::remove(&key)?;
        let mut command = Command::new("ssh-keygen");
        command
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "atoll", "-f"])
            .arg(&key)
            .stdin(Stdio::null());
        let output = command.output().map_err(|cause| SshError::Start {
            program: "ssh-keygen",
            cause,
        })?;
        if !output.status.success() {
            return Err(SshError::Keygen(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
    }
    let line = fs::read_to_string(&public).map_err(|cause| FileError::Read { path: public, cause })?;
    Ok(line.trim().to_owned())
}

/// Writes the configuration file for these machines, and the fragment for the user's own.
pub fn write_config(paths: &ClusterPaths, hosts: &[Host]) -> Result<(), SshError> {
    let path = paths.ssh_config();
    files::make_private(path.parent().unwrap_or(&paths.state))?;
    files::write_atomic(&path, config(paths, hosts).as_bytes())?;
    let fragment = ssh_config::fragment(paths, hosts);
    files::write_atomic(&ssh_config::fragment_path(paths), fragment.as_bytes())?;
    Ok(())
}

fn config(paths: &ClusterPaths, hosts: &[Host]) -> String {
    let mut text = String::from("# Written by atoll; use it with: ssh -F FILE MACHINE\n");
    for host in hosts {
        text.push_str(&host.entry());
    }
    let _ = write!(text, "\nHost *\n{}  LogLevel ERROR\n", trust(paths));
    text
}

/// A path as ssh_config(5) takes it: in double quotes, `%` doubled since it begins a token.
pub(crate) fn quoted(path: &Path) -> String {
    let path = path
        .display()
        .to_string()
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%");
    format!("\"{path}\"")
}

/// Forgets the host key of a machine whose disk is made anew.
pub fn forget(paths: &ClusterPaths, machine: &str) -> Result<(), SshError> {
    let _turn = KNOWN_HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    let path = paths.known_hosts();
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(());
    };
    let others: String = text
        .lines()
        .filter(|line| line.split_whitespace().next() != Some(machine))
        .flat_map(|line| [line, "\n"])
        .collect();
    Ok(files::write_atomic(&path, others.as_bytes())?)
}

/// The command that logs in to a machine and runs `remote` there, or a shell when that is empty.
pub fn command(paths: &ClusterPaths, machine: &str, options: &[&str], remote: &[String]) -> Command {
    let mut command = Command::new("ssh");
    command
        .arg("-F")
        .arg(paths.ssh_config())
        .args(options)
        .arg("--")
        .arg(machine)
        .args(remote);
    command
}

/// What came of a command run on a machine while it starts.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// ssh itself did not get in, for this reason.
    NoLogin(String),
    /// The command ran and ended with this status and output.
    Ran {
        /// Its exit status.
        status: i32,
        /// The beginning of what it wrote: at most one byte more than [`OUTPUT_MAX`].
        stdout: Vec<u8>,
        /// The same of what it wrote to its standard error, and that of ssh.
        stderr: Vec<u8>,
    },
}

impl Attempt {
    /// What was said to standard error, or else to standard output.
    pub(crate) fn complaint(&self) -> String {
        let errors = self.errors();
        if errors.is_empty() { self.words() } else { errors }
    }

    /// What was said to standard error alone: where a secret is asked for, standard output may hold a part of it.
    pub(crate) fn errors(&self) -> String {
        match self {
            Self::NoLogin(words) => words.clone(),
            Self::Ran { stderr, .. } => String::from_utf8_lossy(stderr).trim().to_owned(),
        }
    }

    /// What was said, wherever it was said: to standard output if anything was.
    pub fn words(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match self {
            Self::NoLogin(words) => words.clone(),
            Self::Ran { stdout, stderr, .. } => {
                let words = text(stdout);
                if words.is_empty() { text(stderr) } else { words }
            }
        }
    }
}

/// Runs a command on a machine without asking anything, once, until `stop` says to give up. What it writes beyond [`OUTPUT_MAX`] is
/// thrown away.
///
/// `ssh` exits with 255 when it did not get in (ssh(1)); a dead connection is noticed within 15 s.
pub fn attempt(
    paths: &ClusterPaths,
    machine: &str,
    remote: &str,
    stop: &dyn Fn() -> bool,
) -> Result<Attempt, SshError> {
    let failed = |cause| SshError::Start {
        program: "ssh",
        cause,
    };
    let mut command = command(paths, machine, &UNATTENDED, &[remote.to_owned()]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let (out, err) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break Some(status);
        }
        if stop() {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(POLL);
    };
    // Both end with the process.
    let (stdout, stderr) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    let Some(status) = status else {
        return Ok(Attempt::NoLogin("given up".to_owned()));
    };
    Ok(match status.code() {
        Some(255) | None => Attempt::NoLogin(String::from_utf8_lossy(&stderr).trim().to_owned()),
        Some(status) => Attempt::Ran {
            status,
            stdout,
            stderr,
        },
    })
}

/// Reads all that is written, and keeps the beginning.
fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            let most = u64::try_from(OUTPUT_MAX).unwrap_or(u64::MAX).saturating_add(1);
            let read = pipe.by_ref().take(most).read_to_end(&mut kept);
            let _ = read.and_then(|_| io::copy(&mut pipe, &mut io::sink()));
        }
        kept
    })
}

/// The files that hold state of ssh, for `rm`.
pub fn folder(paths: &ClusterPaths) -> PathBuf {
    paths.state.join("ssh")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn paths(folder: &Path) -> ClusterPaths {
        ClusterPaths {
            state: folder.join("a 100% \"state\""),
            run: folder.join("run"),
            images: folder.join("images"),
        }
    }

    #[test]
    fn ssh_itself_reads_the_configuration_back() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let host = Host {
            machine: "a".to_owned(),
            address: Ipv4Addr::LOCALHOST.into(),
            user: "debian".to_owned(),
            port: 40022,
        };
        write_config(&paths, &[host]).unwrap();
        let output = Command::new("ssh")
            .arg("-G")
            .arg("-F")
            .arg(paths.ssh_config())
            .arg("a")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in [
            "hostname 127.0.0.1",
            "port 40022",
            "user debian",
            "stricthostkeychecking accept-new",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in:\n{text}"
            );
        }
    }

    #[test]
    fn what_a_command_says_of_a_failure_can_be_told_without_what_it_was_asked_for() {
        let ran = |stderr: &str| Attempt::Ran {
            status: 1,
            stdout: b"secret".to_vec(),
            stderr: stderr.into(),
        };
        for (stderr, complaint) in [("", "secret"), ("not yet\n", "not yet")] {
            assert_eq!(ran(stderr).complaint(), complaint);
            assert_eq!(ran(stderr).errors(), stderr.trim());
        }
    }

    #[test]
    fn a_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        let first = ensure_key(&paths).unwrap();
        assert!(first.starts_with("ssh-ed25519 "), "{first}");
        assert_eq!(ensure_key(&paths).unwrap(), first);
    }

    #[test]
    fn only_the_machine_itself_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        files::make_private(&self::folder(&paths)).unwrap();
        fs::write(paths.known_hosts(), "a ssh-ed25519 AAAA\naa ssh-ed25519 BBBB\n").unwrap();
        forget(&paths, "a").unwrap();
        assert_eq!(
            fs::read_to_string(paths.known_hosts()).unwrap(),
            "aa ssh-ed25519 BBBB\n"
        );
    }
}
