//! Looking whether something is so in a machine that runs: what `depends-on` waits for, and outputs.
//!
//! Nothing tells of a port that is opened or a file that is written, so each is looked for again and again: by a command over ssh, or by a
//! connection through the machine's network, which no other program of the host can use. A look ends when it is so, when its deadline has
//! passed, when the machine stops, or when the command is called off.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use atoll_runtime::{GuestTarget, Handle};
use atoll_spec::{Condition, Dependency};

use crate::paths::ClusterPaths;
use crate::ready::{AWAIT_CLOUD_INIT, one_line};
use crate::ssh::{self, Attempt, SshError};

/// Between two looks unless the file says otherwise.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// A connection that is neither taken nor refused after this is tried again: the guest may not have been on the network yet.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a long pause is broken to see whether there is a reason to end it.
const BREATH: Duration = Duration::from_millis(200);

/// An answer of the proxy is shorter.
const ANSWER_MAX: usize = 4096;

/// What one look showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is so.
    Yes,
    /// Not yet: what stands against it.
    NotYet(String),
    /// It never will be: why.
    Never(String),
}

/// A machine to look into.
#[derive(Clone, Copy)]
pub(crate) struct Eye<'a> {
    pub(crate) paths: &'a ClusterPaths,
    pub(crate) machine: &'a str,
    /// Whether nobody wants to know any more.
    pub(crate) is_off: &'a (dyn Fn() -> bool + Sync),
    /// Whether its QEMU still runs.
    pub(crate) is_alive: &'a (dyn Fn() -> bool + Sync),
    /// The machine's network and its place there, as long as there is one.
    pub(crate) network: &'a (dyn Fn() -> Option<(Handle, GuestTarget)> + Sync),
}

impl Eye<'_> {
    /// Looks until something is so: how it went wrong otherwise, as a sentence's end.
    pub(crate) fn until(
        &self,
        (interval, deadline): (Duration, Duration),
        mut look: impl FnMut(Instant) -> Result<Seen, SshError>,
    ) -> Result<(), String> {
        let until = Instant::now() + deadline;
        let mut last = "it has not answered".to_owned();
        loop {
            match look(until) {
                Ok(Seen::Yes) => return Ok(()),
                // One that was broken off shows nothing.
                Ok(Seen::NotYet(words)) if words.is_empty() => {}
                Ok(Seen::NotYet(words)) => last = words,
                Ok(Seen::Never(why)) => return Err(why),
                Err(error) => return Err(error.to_string()),
            }
            if let Some(why) = self.reason_to_end(until) {
                return Err(match why {
                    End::Deadline => format!(
                        "not so within {} s; the last look: {last}",
                        deadline.as_secs_f32()
                    ),
                    End::Stopped => format!("{} stopped meanwhile", self.machine),
                    End::Cancelled => "the command was called off".to_owned(),
                });
            }
            let next = (Instant::now() + interval).min(until);
            while Instant::now() < next && self.reason_to_end(until).is_none() {
                std::thread::sleep(BREATH.min(next.saturating_duration_since(Instant::now())));
            }
        }
    }

    fn reason_to_end(&self, until: Instant) -> Option<End> {
        if (self.is_off)() {
            return Some(End::Cancelled);
        }
        if !(self.is_alive)() {
            return Some(End::Stopped);
        }
        (Instant::now() >= until).then_some(End::Deadline)
    }

    /// One look at a condition.
    pub(crate) fn look(&self, wait: &Dependency, until: Instant) -> Result<Seen, SshError> {
        match &wait.condition {
            Condition::Port(port) => Ok(self.port(*port)),
            Condition::Ssh => self.command("true", until),
            Condition::Command(command) => self.command(command, until),
            Condition::File(path) => {
                let path = shell_quoted(path);
                // Not everything is for the eyes of the user that logs in.
                self.command(&format!("test -e {path} || sudo -n test -e {path}"), until)
            }
            Condition::CloudInit => self.cloud_init(until),
            Condition::Ready | Condition::Started | Condition::Outputs => Ok(Seen::Yes),
        }
    }

    /// Runs a command there; what it wrote when it succeeded. If it did not, `complaint` is what is told of what it wrote.
    pub(crate) fn run(
        &self,
        command: &str,
        until: Instant,
        complaint: impl Fn(&Attempt) -> String,
    ) -> Result<Result<Vec<u8>, Seen>, SshError> {
        let stop = || self.reason_to_end(until).is_some();
        Ok(match ssh::attempt(self.paths, self.machine, command, &stop)? {
            Attempt::Ran {
                status: 0, stdout, ..
            } => Ok(stdout),
            ran @ Attempt::Ran { status, .. } => Err(Seen::NotYet(format!(
                "exit status {status}, {}",
                shown(&complaint(&ran))
            ))),
            Attempt::NoLogin(_) if stop() => Err(Seen::NotYet(String::new())),
            Attempt::NoLogin(words) => {
                // cloud-init makes new host keys on first boot, which may be after a first login.
                if words.contains("IDENTIFICATION HAS CHANGED") {
                    ssh::forget(self.paths, self.machine)?;
                }
                Err(Seen::NotYet(format!("ssh said {}", shown(&words))))
            }
        })
    }

    fn command(&self, command: &str, until: Instant) -> Result<Seen, SshError> {
        Ok(match self.run(command, until, Attempt::complaint)? {
            Ok(_) => Seen::Yes,
            Err(seen) => seen,
        })
    }

    /// Its exit statuses are those that `ready` knows.
    fn cloud_init(&self, until: Instant) -> Result<Seen, SshError> {
        let stop = || self.reason_to_end(until).is_some();
        Ok(
            match ssh::attempt(self.paths, self.machine, AWAIT_CLOUD_INIT, &stop)? {
                Attempt::Ran { status: 0 | 2, .. } => Seen::Yes,
                ran @ Attempt::Ran { .. } => {
                    Seen::Never(format!("cloud-init failed: {}", shown(&ran.words())))
                }
                Attempt::NoLogin(_) if stop() => Seen::NotYet(String::new()),
                Attempt::NoLogin(words) => Seen::NotYet(format!("ssh said {}", shown(&words))),
            },
        )
    }

    /// Whether the guest takes a connection: asked of the network's proxy, which tells what the guest did, as a forward cannot.
    fn port(&self, port: u16) -> Seen {
        let Some((network, guest)) = (self.network)() else {
            return Seen::NotYet("it is on no network".to_owned());
        };
        let place = match guest {
            GuestTarget::Address(IpAddr::V6(address)) => format!("[{address}]"),
            GuestTarget::Address(address) => address.to_string(),
            _ => self.machine.to_owned(),
        };
        match ask_proxy(&network, &format!("{place}:{port}")) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => Seen::Yes,
            Ok(answer) => Seen::NotYet(shown(answer.rsplit("\r\n\r\n").next().unwrap_or(&answer))),
            Err(error) => Seen::NotYet(format!("no answer ({error})")),
        }
    }
}

/// Why a look ends that has not seen what it looks for.
#[derive(Clone, Copy, Debug)]
enum End {
    Deadline,
    Stopped,
    Cancelled,
}

/// What the proxy says to a wish for a connection (RFC 9110, section 9.3.6).
fn ask_proxy(network: &Handle, authority: &str) -> std::io::Result<String> {
    let (mut ours, theirs, peer) = loopback_pair()?;
    network
        .serve_proxy_client(theirs, peer)
        .map_err(std::io::Error::other)?;
    ours.set_read_timeout(Some(CONNECT))?;
    write!(ours, "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 512];
    // The head is all there is when the connection stands; words about why not end with the connection.
    while answer.len() < ANSWER_MAX && !(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"\r\n\r\n"))
    {
        match ours.read(&mut chunk)? {
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Two ends of a connection of this process with itself, and the address of the first.
fn loopback_pair() -> std::io::Result<(TcpStream, TcpStream, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let own = ours.local_addr()?;
    loop {
        let (theirs, peer) = listener.accept()?;
        // Whoever else found the port in this moment gets nothing of it.
        if peer == own {
            return Ok((ours, theirs, peer));
        }
    }
}

/// Enough of what a guest wrote, in one line and without anything that plays tricks on a terminal.
pub(crate) fn shown(words: &str) -> String {
    const MOST: usize = 200;
    let line: String = one_line(words)
        .chars()
        .filter(|c| !c.is_control())
        .take(MOST)
        .collect();
    line
}

/// The text as one word of a POSIX shell.
pub(crate) fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
