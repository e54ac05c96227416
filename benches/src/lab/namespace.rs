//! One network namespace, held by one process.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::sockopt::socket_peercred;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{BenchError, Trying};
use crate::lab::process::start;
use crate::lab::{Output, Process, Scratch};
use crate::sys::spawn::{Network, prepare};

/// What keeps a namespace while this process wants it.
#[derive(Debug)]
#[expect(dead_code, reason = "they are kept for what dropping them does")]
enum Keeper {
    /// Another part of the program.
    Another,
    /// A holder that is our child.
    Child(Process),
    /// A holder that another program started, which waits for the end of this connection.
    Connection(UnixStream),
}

/// A namespace. It ends when this is dropped and nothing else runs in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    keeper: Keeper,
    pid: u32,
    link: File,
}

impl Namespace {
    /// A new namespace with nothing in it.
    pub(crate) fn new(name: &str, scratch: &Scratch) -> Result<Self, BenchError> {
        let mut command = own_command()?;
        command.arg("hold");
        let holder = start(name, command, Network::New, Output::Log, scratch)?;
        let mut namespace = Self::of(holder.pid())?;
        namespace.keeper = Keeper::Child(holder);
        namespace.quieten()?;
        Ok(namespace)
    }

    /// The namespace that process `pid` is in.
    pub(crate) fn of(pid: u32) -> Result<Self, BenchError> {
        let path = format!("/proc/{pid}/ns/net");
        let link = File::open(&path).trying(|| format!("cannot open {path}"))?;
        Ok(Self {
            keeper: Keeper::Another,
            pid,
            link,
        })
    }

    /// The namespace of a holder that connected here, which it keeps as long as `connection` is open.
    pub(crate) fn of_holder(connection: UnixStream) -> Result<Self, BenchError> {
        let what = || "cannot tell who holds the namespace".to_owned();
        let peer = socket_peercred(&connection).trying(what)?;
        let mut namespace = Self::of(u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or(0))?;
        namespace.keeper = Keeper::Connection(connection);
        Ok(namespace)
    }

    /// Turns off what makes noise in an idle namespace, and widens what would run out in a busy one.
    pub(crate) fn quieten(&self) -> Result<(), BenchError> {
        self.within(|| {
            // A kernel without IPv6 has no such file.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            // Above the ports that servers listen at.
            let ports = "/proc/sys/net/ipv4/ip_local_port_range";
            std::fs::write(ports, "10000 65535").trying(|| format!("cannot write {ports}"))
        })
    }

    /// A process in the namespace.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn network(&self) -> Network<'_> {
        Network::Of(self.link.as_fd())
    }

    /// Runs `work` with the namespace as its thread's own.
    pub(crate) fn within<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, BenchError> + Send,
    ) -> Result<T, BenchError> {
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                move_into_link_name_space(self.link.as_fd(), Some(LinkNameSpaceType::Network))
                    .trying(|| format!("cannot enter the namespace of process {}", self.pid))?;
                work()
            });
            entered
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` commands, one a line.
    pub(crate) fn ip(&self, batch: &str) -> Result<(), BenchError> {
        self.run("ip", &["-batch", "-"], batch).map(drop)
    }

    /// What `ip` says to a question, as JSON.
    pub(crate) fn ip_json(&self, question: &[&str]) -> Result<serde_json::Value, BenchError> {
        let mut arguments = vec!["-json"];
        arguments.extend(question);
        let answer = self.run("ip", &arguments, "")?;
        serde_json::from_slice(&answer).trying(|| "cannot read what ip says".to_owned())
    }

    /// Runs `nft` commands, one a line.
    pub(crate) fn nft(&self, rules: &str) -> Result<(), BenchError> {
        self.run("nft", &["-f", "-"], rules).map(drop)
    }

    fn run(&self, name: &str, arguments: &[&str], input: &str) -> Result<Vec<u8>, BenchError> {
        let mut command = Command::new(name);
        command.args(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        prepare(&mut command, self.network());
        let what = || format!("cannot run {name}");
        let mut child = command.spawn().trying(what)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).trying(what)?;
        }
        let output = child.wait_with_output().trying(what)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(BenchError::Program {
            program: name.to_owned(),
            words: String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
        })
    }

    /// A file of `/proc/net`, as seen in the namespace.
    pub(crate) fn proc_net(&self, name: &str) -> Result<String, BenchError> {
        let path = format!("/proc/{}/net/{name}", self.pid);
        std::fs::read_to_string(&path).trying(|| format!("cannot read {path}"))
    }
}

/// A command for another role of this very program.
pub(crate) fn own_command() -> Result<Command, BenchError> {
    let path = std::env::current_exe().trying(|| "cannot tell where this program is".to_owned())?;
    Ok(Command::new(path))
}

/// The holder's whole life: wait until its owner lets go. With `socket` the owner is who listens there, and learns this
/// process's id from the connection; without it the owner has the other end of standard input.
pub(crate) fn hold(socket: Option<&Path>) -> Result<(), BenchError> {
    let mut byte = [0];
    let what = || "cannot wait for the owner".to_owned();
    match socket {
        Some(path) => UnixStream::connect(path)
            .and_then(|mut owner| owner.read(&mut byte))
            .trying(what)?,
        None => std::io::stdin().read(&mut byte).trying(what)?,
    };
    Ok(())
}
