//! The helper on Linux.
//!
//! It is one session: standard input is a socket, at the other end is who asks. In this order:
//!
//! 1. With all rights: find out who asks, read the policy, open what needs rights (journals, the folder of the settings);
//! 2. go on in two processes, each of which gives up all that it does not need ([`privileges`]): this one, which may change the
//!    network and nothing else, and one that opens device files ([`opener`]);
//! 3. undo what a helper that died has left ([`journal`]);
//! 4. answer requests, one at a time, until the other end closes or SIGTERM comes;
//! 5. undo all, last to first.
//!
//! Of the environment one variable is read, which can only take rights away ([`identity`]). No program is run.

mod address;
mod calls;
mod dbus;
mod host;
mod identity;
mod journal;
mod link;
mod names;
mod netlink;
mod nft;
mod opener;
mod privileges;
mod resolved;
mod routes;
mod settings;
mod work;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::message::{Channel, Received};
use crate::{Asker, BridgeAcl, MAX_MESSAGE, MAX_REQUESTS, Policy, Refusal, RefusalKind, Reply, Request};
use host::Host;
use journal::Journal;
use opener::{Devices, Opener};
use settings::Settings;

/// Received descriptors close when another program is run.
pub(crate) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
/// That the other end is gone is an error, not a signal.
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;

/// Be the helper.
pub(super) fn serve() -> ExitCode {
    calls::close_others();
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let Ok(channel) = stdin.and_then(session) else {
        return super::usage();
    };
    let mut channel = Some(channel);
    match Helper::prepare(&mut channel) {
        Ok(Some(helper)) => helper.run(),
        // The second process is done.
        Ok(None) => ExitCode::SUCCESS,
        Err(sentence) => {
            if let Some(channel) = channel {
                refuse_all(channel, &sentence);
            }
            ExitCode::FAILURE
        }
    }
}

fn session(fd: OwnedFd) -> io::Result<Channel> {
    match rustix::net::sockopt::socket_domain(&fd)? {
        rustix::net::AddressFamily::UNIX => Channel::new(fd),
        _ => Err(Errno::AFNOSUPPORT.into()),
    }
}

/// Why the helper cannot work is the answer to every request.
fn refuse_all(mut channel: Channel, sentence: &str) {
    let reply = Reply::Refused(Refusal::new(RefusalKind::Failed, sentence)).encode();
    for _ in 0..MAX_REQUESTS {
        match channel.receive() {
            Ok(Received::Message(..) | Received::TooLong) if channel.send(&reply, None).is_ok() => {}
            _ => return,
        }
    }
}

/// The first process, once it has given up what it does not need.
struct Helper {
    channel: Channel,
    termination: OwnedFd,
    law: Law,
    host: Host,
    /// Of dead ones, until they are undone.
    dead: Vec<Journal>,
    second: Pid,
}

/// Who asks, and what they may ask for.
struct Law {
    asker: Asker,
    policy: Result<Policy, Refusal>,
    acl: BridgeAcl,
}

impl Law {
    fn judge(&self, request: &Request) -> Result<(), Refusal> {
        match &self.policy {
            Ok(policy) => policy.judge(&self.asker, &self.acl, request),
            Err(_) if self.asker.uid == 0 => Ok(()),
            Err(refusal) => Err(refusal.clone()),
        }
    }
}

/// What is opened with all rights.
struct Opened {
    termination: OwnedFd,
    settings: Settings,
    journal: Journal,
    dead: Vec<Journal>,
    devices: Devices,
}

impl Opened {
    fn new() -> io::Result<Self> {
        let termination = calls::termination()?;
        let folder = journal::folder()?;
        let namespace = namespace()?;
        Ok(Self {
            termination,
            settings: Settings::open(&folder, namespace)?,
            dead: Journal::of_the_dead(&folder, namespace),
            journal: Journal::create(&folder, namespace)?,
            devices: Devices::new(folder)?,
        })
    }
}

/// A number of this network namespace: its cookie, or before Linux 5.14 its inode.
fn namespace() -> io::Result<u64> {
    let socket = netlink::Socket::open(None)?;
    calls::namespace_cookie(socket.fd()).or_else(|_| {
        let status = rustix::fs::stat("/proc/self/ns/net")?;
        Ok(status.st_ino)
    })
}

impl Helper {
    /// `None` in the second process, when it is done.
    fn prepare(channel: &mut Option<Channel>) -> Result<Option<Self>, String> {
        let sudo_uid = std::env::var_os("SUDO_UID").map(|word| word.to_string_lossy().into_owned());
        let asker = match &channel {
            Some(channel) => identity::of(channel, sudo_uid.as_deref())?,
            None => return Ok(None),
        };
        let law = Law {
            policy: super::load_policy(),
            acl: BridgeAcl::load(&asker),
            asker,
        };
        let divided = Self::divide(channel, &law).map_err(|error| start_sentence(&error))?;
        let (Some((opened, second, opener)), Some(channel)) = (divided, channel.take()) else {
            return Ok(None);
        };
        let host = Host::new(opened.settings, opener, opened.journal);
        Ok(Some(Self {
            channel,
            termination: opened.termination,
            law,
            host: host.map_err(|error| format!("atoll-helper cannot reach the kernel: {error}"))?,
            dead: opened.dead,
            second,
        }))
    }

    /// Go on in two processes with what each needs.
    fn divide(channel: &mut Option<Channel>, law: &Law) -> io::Result<Option<(Opened, Pid, Opener)>> {
        let opened = Opened::new()?;
        let (ours, theirs) = crate::message::pair()?;
        let Some(second) = calls::fork()? else {
            // The journals' locks are the first process's: held here, too, they would outlive it.
            drop((
                ours,
                opened.journal,
                opened.dead,
                opened.settings,
                opened.termination,
            ));
            // The session ends with the first process.
            drop(channel.take());
            release_standard_streams()?;
            privileges::drop_to_devices()?;
            opened
                .devices
                .serve(Channel::new(theirs)?, &|request| law.judge(request));
            return Ok(None);
        };
        drop(theirs);
        rustix::process::chroot(journal::FOLDER)?;
        rustix::process::chdir("/")?;
        privileges::drop_to_network()?;
        Ok(Some((opened, second, Opener::new(ours))))
    }

    fn run(mut self) -> ExitCode {
        self.host.undo_dead(std::mem::take(&mut self.dead));
        for _ in 0..MAX_REQUESTS {
            let Some(message) = self.next() else { break };
            if !self.answer(&message) {
                break;
            }
        }
        let outcome = self.host.undo_to(0);
        // The second process ends when the other end of its socket is closed.
        drop(self.host);
        let _ = waitpid(Some(self.second), WaitOptions::empty());
        if outcome.is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    /// The next message; `None` at the end of the session. What is too long becomes a message that is refused.
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut fds = [
                PollFd::new(&self.channel, PollFlags::IN),
                PollFd::new(&self.termination, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                Err(_) => return None,
                Ok(_) if !fds[1].revents().is_empty() => return None,
                Ok(_) => {}
            }
            return match self.channel.receive() {
                Ok(Received::Message(message, _)) => Some(message),
                Ok(Received::TooLong) => Some(vec![b' '; MAX_MESSAGE + 1]),
                Ok(Received::End) | Err(_) => None,
            };
        }
    }

    /// Whether the other end still listens.
    fn answer(&mut self, message: &[u8]) -> bool {
        let mark = self.host.mark();
        let outcome = self
            .judged(message)
            .and_then(|request| work::carry_out(&mut self.host, &request));
        let sent = match &outcome {
            Ok((grant, tap)) => {
                let reply = Reply::Granted(grant.clone()).encode();
                self.channel.send(&reply, Some(tap.as_fd()))
            }
            Err(refusal) => {
                // What cannot be undone now stays in the journal.
                let _ = self.host.undo_to(mark);
                self.channel.send(&Reply::Refused(refusal.clone()).encode(), None)
            }
        };
        sent.is_ok()
    }

    fn judged(&self, message: &[u8]) -> Result<Request, Refusal> {
        let request = Request::decode(message)?;
        self.law.judge(&request)?;
        Ok(request)
    }
}

fn start_sentence(error: &io::Error) -> String {
    let cause = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "it does not run as root",
        _ => return format!("atoll-helper cannot start: {error}"),
    };
    format!("atoll-helper cannot start: {cause} ({error})")
}

/// Nobody waits for the second process: not for its output, nor for the end of its input.
fn release_standard_streams() -> io::Result<()> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
