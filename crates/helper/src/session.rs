//! The client's side: a session with a helper, which ends when it is dropped.
//!
//! The helper's end of a socket is its standard input, however it was started: `sudo` closes all else. What the helper or
//! `sudo` write to standard error is kept for the sentence that says why there is no session.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::find::PROGRAM;
use crate::message::{Channel, Received, pair};
use crate::{Grant, HelperPath, NamesRequest, Refusal, Reply, Request};

/// How long an answer may take: the kernel may load modules, and a busy machine may be slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a helper may take to undo what it did.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why there is no TAP.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// There is no helper that this user could use.
    #[error("no atoll-helper is installed: looked for {}", .looked.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(", "))]
    Missing {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// A helper that others could change is not run with rights.
    #[error("{path} is not run: {cause}")]
    Untrusted {
        /// The program.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// It cannot be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// What was to be started.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended without an answer.
    #[error("{program} ended without an answer{}", if .words.is_empty() { String::new() } else { format!(": {}", .words) })]
    Ended {
        /// What was started.
        program: String,
        /// What it said on standard error.
        words: String,
    },
    /// It gives no answer.
    #[error("{program} gave no answer for {} seconds", PATIENCE.as_secs())]
    Silent {
        /// What was started.
        program: String,
    },
    /// What came is no answer.
    #[error("{program} gave an answer that is none: {cause}")]
    Nonsense {
        /// What was started.
        program: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The helper said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl HelperError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let word = match self {
            Self::Missing { .. } => {
                "ask the administrator to install atoll-helper, and see `atoll setup sudoers` and `atoll setup policy`"
            }
            Self::Untrusted { .. } => {
                "it must belong to root, as must the folders above it, and nobody else may write there"
            }
            Self::Ended { .. } | Self::Start { .. } => {
                "`atoll setup sudoers --check` says what is missing for this user to start it"
            }
            Self::Silent { .. } | Self::Nonsense { .. } => "atoll and atoll-helper should be of one version",
            Self::Refused(refusal) => return refusal.hint.clone(),
        };
        Some(word.to_owned())
    }
}

/// What was granted, and the TAP.
#[derive(Debug)]
pub struct Granted {
    /// What the helper says of it.
    pub grant: Grant,
    /// A TAP whose frames follow a virtio_net_hdr, non-blocking.
    pub tap: OwnedFd,
}

/// A session with a helper. Dropping it ends it, and with it all that was granted.
#[derive(Debug)]
pub struct Session {
    channel: Channel,
    program: String,
    child: Option<Child>,
    /// Somebody else has it now.
    is_handed_over: bool,
}

impl Session {
    /// Start a helper, or connect to one.
    ///
    /// # Errors
    /// It cannot be started or reached.
    pub fn open(path: &HelperPath) -> Result<Self, HelperError> {
        let program = path.to_string();
        let failed = |source: io::Error| HelperError::Start {
            program: program.clone(),
            source,
        };
        if let HelperPath::Socket(socket) = path {
            let channel = connect(socket).map_err(failed)?;
            return Ok(Self {
                channel,
                program,
                child: None,
                is_handed_over: false,
            });
        }
        let (channel, theirs) = pair().map_err(failed)?;
        let child = path
            .command()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            channel,
            program,
            child: Some(child),
            is_handed_over: false,
        })
    }

    /// Give the session to another process, which [adopts](Self::adopt) the descriptor. The helper goes on when this process ends.
    ///
    /// # Errors
    /// No descriptor is left; the session has ended.
    pub fn hand_over(mut self) -> io::Result<OwnedFd> {
        let fd = self.channel.as_fd().try_clone_to_owned()?;
        self.is_handed_over = true;
        Ok(fd)
    }

    /// Hold a session that another process began.
    ///
    /// # Errors
    /// The descriptor is none of a session's.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            channel: Channel::new(fd)?,
            program: PROGRAM.to_owned(),
            child: None,
            is_handed_over: false,
        })
    }

    /// Ask, and wait for the answer.
    ///
    /// # Errors
    /// The helper refuses, or there is no helper any more.
    pub fn ask(&mut self, request: &Request) -> Result<Granted, HelperError> {
        match self.answer(request)? {
            (Reply::Granted(grant), Some(tap)) => Ok(Granted { grant, tap }),
            (Reply::Granted(_), None) => Err(self.nonsense("it came without the TAP")),
            (Reply::Refused(refusal), _) => Err(refusal.into()),
        }
    }

    /// Ask for a network's names, and wait for the answer. They are known for as long as the session is held.
    ///
    /// # Errors
    /// The helper refuses, or there is no helper any more.
    pub fn ask_for_names(&mut self, request: NamesRequest) -> Result<Grant, HelperError> {
        match self.answer(&Request::Names(request))?.0 {
            Reply::Granted(grant) => Ok(grant),
            Reply::Refused(refusal) => Err(refusal.into()),
        }
    }

    fn answer(&mut self, request: &Request) -> Result<(Reply, Option<OwnedFd>), HelperError> {
        // A helper that has ended already may have said why: that is read below.
        let _ = self.channel.send(&request.encode(), None);
        self.wait_until_readable()?;
        let received = self.channel.receive_with_fd();
        let (message, tap) = match received {
            Ok(Received::Message(message, tap)) => (message, tap),
            Ok(Received::TooLong) => return Err(self.nonsense("it is too long")),
            Ok(Received::End) | Err(_) => return Err(self.ended()),
        };
        let reply: Reply =
            serde_json::from_slice(&message).map_err(|error| self.nonsense(&error.to_string()))?;
        Ok((reply, tap))
    }

    fn wait_until_readable(&self) -> Result<(), HelperError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).ok();
            let mut fds = [PollFd::new(&self.channel, PollFlags::IN)];
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => {
                    return Err(HelperError::Silent {
                        program: self.program.clone(),
                    });
                }
                Ok(_) | Err(_) if !fds[0].revents().is_empty() => return Ok(()),
                Err(Errno::INTR) | Ok(_) => {}
                Err(_) => return Ok(()),
            }
        }
    }

    fn nonsense(&self, cause: &str) -> HelperError {
        HelperError::Nonsense {
            program: self.program.clone(),
            cause: cause.to_owned(),
        }
    }

    /// What a helper that is no more has said on standard error: its last line.
    fn ended(&mut self) -> HelperError {
        let mut words = String::new();
        if let Some(stderr) = self.child.as_mut().and_then(|child| child.stderr.take()) {
            // Its end is closed, or will be: nobody else has it.
            let _ = stderr.take(4096).read_to_string(&mut words);
        }
        let last = words.lines().rev().find(|line| !line.trim().is_empty());
        HelperError::Ended {
            program: self.program.clone(),
            words: last.unwrap_or_default().trim().to_owned(),
        }
    }
}

impl AsFd for Session {
    /// Readable when the helper has ended, and with it all that it granted.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Drop for Session {
    /// Ends the session, and waits until the helper has undone what it did.
    fn drop(&mut self) {
        if self.is_handed_over {
            return;
        }
        // The helper sees the end of its input, and closes its own end when it is done.
        let _ = rustix::net::shutdown(&self.channel, rustix::net::Shutdown::Write);
        let Some(child) = &mut self.child else {
            wait_for_the_end(&self.channel, Instant::now() + FAREWELL);
            return;
        };
        let end = Instant::now() + FAREWELL;
        wait_for_the_end(&self.channel, end);
        // A program of another user's cannot be killed; it ends with its input.
        while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn wait_for_the_end(channel: &Channel, end: Instant) {
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).ok();
        let mut fds = [PollFd::new(channel, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Err(Errno::INTR) => continue,
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let mut buf = [0; 64];
        match rustix::net::recv(channel, &mut buf[..], rustix::net::RecvFlags::empty()) {
            Ok((_, 1..)) => {}
            _ => return,
        }
    }
}

fn connect(path: &std::path::Path) -> io::Result<Channel> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let packets = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::empty(),
        None,
    );
    match packets {
        Ok(fd) => {
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
            connect(&fd, &SocketAddrUnix::new(path)?)?;
            Channel::new(fd)
        }
        Err(_) => Channel::new(UnixStream::connect(path)?.into()),
    }
}

impl HelperPath {
    /// The program to run, with nothing of our environment: what is root's to decide is not in it.
    fn command(&self) -> Command {
        let mut command = match self {
            Self::Sudo { sudo, helper } => {
                let mut command = Command::new(sudo);
                command.args(["-n", "--"]).arg(helper);
                command
            }
            Self::Run(helper) | Self::Socket(helper) => Command::new(helper),
        };
        command.env_clear().current_dir("/");
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_granted_without_a_descriptor_and_an_interface_is_not() {
        let (ours, theirs) = pair().unwrap();
        let mut theirs = Channel::new(theirs).unwrap();
        let mut session = Session::adopt(ours.as_fd().try_clone_to_owned().unwrap()).unwrap();
        drop(ours);
        let helper = std::thread::spawn(move || {
            let grant = Grant::of_names("/r/atoll.internal".as_ref(), "/r".as_ref());
            while let Ok(Received::Message(..)) = theirs.receive() {
                theirs
                    .send(&Reply::Granted(grant.clone()).encode(), None)
                    .unwrap();
            }
        });
        let names: NamesRequest = serde_json::from_str(
            r#"{"network":"lan","subnet":"10.1.2.0/24","domain":"atoll.internal","resolvers":["10.1.2.1"]}"#,
        )
        .unwrap();
        let grant = session.ask_for_names(names).unwrap();
        assert_eq!(
            (grant.interface.as_str(), grant.names.as_deref()),
            ("/r/atoll.internal", Some("/r"))
        );
        let bridge = Request::Bridge {
            bridge: "br0".parse().unwrap(),
        };
        assert!(matches!(session.ask(&bridge), Err(HelperError::Nonsense { .. })));
        drop(session);
        helper.join().unwrap();
    }
}
