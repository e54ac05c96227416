//! Frames between two processes, of which one may use vmnet and the other may not.
//!
//! Root's helper makes a pair of unix datagram sockets ([`relay_pair`]), keeps one, on which it runs a [`Relay`], and hands the other to
//! the network, where it is a [`RelayPort`]. A datagram is a frame, as it is: no header, no length, checksums finished. That is
//! also what vfkit and QEMU's `dgram` speak.
//!
//! *Neither trusts the other's sizes.* What is longer than a frame, or shorter, is dropped and counted; the helper reads
//! nothing of a frame but its length, and the framework finds fault with the rest.
//!
//! *A full socket* is `ENOBUFS` on macOS, without an event when it drains, and `EAGAIN` on Linux; both are met by [`Backoff`].
//! In the relay frames wait nowhere but in two queues of at most [`QUEUE`] frames; while one is full, the side from which it is
//! filled is not read, so that the kernel and vmnet drop what comes, as a cable does.
//!
//! *The end.* A datagram socket does not tell on every system that its peer closed. So the relay also watches the connection
//! over which the helper was asked, and the port's owner that over which it asked: whose end is the end of both.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant, SystemTime};

use atoll_wire::Frame;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::backoff::{Backoff, Verdict};
use super::port::VmnetPort;
use super::sleep::SleepWatch;
use crate::decoder::{MAX_FRAME, MIN_FRAME};
use crate::stream::{Progress, Written};

/// Bytes asked for each socket's buffers. macOS takes no datagram larger than the sender's.
const BUFFER: usize = 1 << 20;

/// Datagrams in one turn, either way.
const BATCH: usize = 128;

/// Frames that wait in a relay, either way.
const QUEUE: usize = 256;

/// Two ends, for two processes.
///
/// # Errors
/// No descriptor is left.
pub fn relay_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (near, far) = UnixDatagram::pair()?;
    Ok((near.into(), far.into()))
}

/// The end of a relay at which there is no vmnet.
#[derive(Debug)]
pub struct RelayPort {
    socket: UnixDatagram,
    backoff: Backoff,
    /// One byte longer than any frame, so that a longer datagram shows.
    buf: Box<[u8]>,
    bad_size: u64,
    full: u64,
}

impl RelayPort {
    /// One of [`relay_pair`]'s ends.
    ///
    /// # Errors
    /// It cannot be made non-blocking: it is no socket.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let socket = UnixDatagram::from(fd);
        socket.set_nonblocking(true)?;
        for outcome in [
            rustix::net::sockopt::set_socket_send_buffer_size(&socket, BUFFER),
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, BUFFER),
        ] {
            if let Err(error) = outcome {
                tracing::debug!("a relay keeps small buffers: {error}");
            }
        }
        Ok(Self {
            socket,
            backoff: Backoff::default(),
            buf: vec![0; MAX_FRAME + 1].into_boxed_slice(),
            bad_size: 0,
            full: 0,
        })
    }

    /// Datagrams that came and were no frames, and frames that were to be written and found no room even as datagrams.
    #[must_use]
    pub fn bad_size(&self) -> u64 {
        self.bad_size
    }

    /// Frames that were dropped because the other end read nothing for too long.
    #[must_use]
    pub fn full(&self) -> u64 {
        self.full
    }

    /// When writing is to be tried again.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.backoff.until()
    }

    /// Read a bounded number of frames and append them.
    ///
    /// # Errors
    /// The socket broke.
    pub fn read(&mut self, frames: &mut Vec<Frame>) -> io::Result<Progress> {
        for _ in 0..BATCH {
            match self.socket.recv(&mut self.buf) {
                Ok(len) if (MIN_FRAME..=MAX_FRAME).contains(&len) => {
                    frames.push(Frame::plain(Bytes::copy_from_slice(&self.buf[..len])));
                }
                Ok(_) => self.bad_size += 1,
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => return Ok(Progress::Drained),
                    Some(Errno::INTR) => {}
                    Some(Errno::CONNRESET | Errno::NOTCONN | Errno::PIPE) => return Ok(Progress::Closed),
                    _ => return Err(error),
                },
            }
        }
        Ok(Progress::More)
    }

    /// Write frames from the front of `queue`; see [`VmnetPort::write`].
    ///
    /// # Errors
    /// The other end is no more, or the socket broke.
    pub fn write(&mut self, now: Duration, queue: &VecDeque<Frame>) -> io::Result<Written> {
        if self.backoff.holds(now) {
            return Ok(blocked(0));
        }
        let mut done = 0;
        for frame in queue.iter().take(BATCH) {
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.socket, &frame.bytes)) {
                Ok(_) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => return Ok(self.handle_full(now, done, queue.len())),
                Err(Errno::MSGSIZE) => self.bad_size += 1,
                Err(error) => return Err(error.into()),
            }
            done += 1;
        }
        self.backoff.handle_success();
        Ok(Written {
            frames: done,
            blocked: false,
        })
    }

    fn handle_full(&mut self, now: Duration, done: usize, waiting: usize) -> Written {
        match self.backoff.handle_full(now, done > 0) {
            Verdict::Wait => blocked(done),
            Verdict::Drop => {
                self.full += u64::try_from(waiting - done).unwrap_or(u64::MAX);
                Written {
                    frames: waiting,
                    blocked: false,
                }
            }
        }
    }
}

fn blocked(frames: usize) -> Written {
    Written {
        frames,
        blocked: true,
    }
}

impl AsFd for RelayPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why a relay ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// The connection over which it was asked for ended, or the socket's other end did.
    Closed,
    /// The interface is no more, and nobody here may ask for another.
    Lost,
    /// The socket broke.
    Broken(io::Error),
}

/// The helper's loop: frames from vmnet to the socket and from the socket to vmnet, until the end.
#[derive(Debug)]
pub struct Relay {
    vmnet: VmnetPort,
    socket: RelayPort,
    to_vmnet: VecDeque<Frame>,
    to_socket: VecDeque<Frame>,
    frames: Vec<Frame>,
    sleep: SleepWatch,
    ends_with_interface: bool,
}

impl Relay {
    /// Between an interface and one of [`relay_pair`]'s ends.
    #[must_use]
    pub fn new(vmnet: VmnetPort, socket: RelayPort) -> Self {
        Self {
            vmnet,
            socket,
            to_vmnet: VecDeque::new(),
            to_socket: VecDeque::new(),
            frames: Vec::new(),
            sleep: SleepWatch::default(),
            ends_with_interface: false,
        }
    }

    /// End when the interface is lost, instead of asking for it again: of a helper that gave away the right to.
    #[must_use]
    pub fn ending_with_interface(mut self) -> Self {
        self.ends_with_interface = true;
        self
    }

    /// Carry frames until `session` ends: it is readable at its end, and what else may be read from it is not.
    ///
    /// This is the whole of what the helper does after it gave its rights away. `origin` is the moment since which times are.
    pub fn run(mut self, session: impl AsFd, origin: Instant) -> RelayEnd {
        loop {
            let again = match self.turn(origin.elapsed()) {
                Ok(Some(again)) => again,
                Ok(None) => return RelayEnd::Closed,
                Err(error) => return RelayEnd::Broken(error),
            };
            if self.ends_with_interface && self.vmnet.parameters().is_none() {
                return RelayEnd::Lost;
            }
            match self.wait(&session, origin.elapsed(), again) {
                Ok(false) => {}
                Ok(true) => return RelayEnd::Closed,
                Err(error) => return RelayEnd::Broken(error.into()),
            }
            let wall = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            self.handle_clocks(origin.elapsed(), wall);
        }
    }

    /// Look after the interface when it is time, and after sleep.
    fn handle_clocks(&mut self, now: Duration, wall: Duration) {
        if self.sleep.handle_clocks(now, wall) {
            tracing::info!("the host slept, or its clock was set");
            self.vmnet.handle_wake(now);
        }
        if self.vmnet.deadline().is_some_and(|due| due <= now) {
            self.vmnet.handle_timeout(now);
        }
    }

    /// Do what can be done now. Whether more can be done at once; `None` at the end.
    fn turn(&mut self, now: Duration) -> io::Result<Option<bool>> {
        let mut again = false;
        if self.to_socket.len() < QUEUE {
            let progress = self.vmnet.read(now, &mut self.frames);
            self.to_socket.extend(self.frames.drain(..));
            again |= match progress {
                Progress::More => true,
                Progress::Drained => false,
                Progress::Closed => return Ok(None),
            };
        }
        if self.to_vmnet.len() < QUEUE {
            let progress = self.socket.read(&mut self.frames)?;
            self.to_vmnet.extend(self.frames.drain(..));
            again |= match progress {
                Progress::More => true,
                Progress::Drained => false,
                Progress::Closed => return Ok(None),
            };
        }
        let written = self.socket.write(now, &self.to_socket)?;
        self.to_socket.drain(..written.frames);
        again |= !written.blocked && !self.to_socket.is_empty();
        let written = self.vmnet.write(now, &self.to_vmnet);
        self.to_vmnet.drain(..written.frames);
        Ok(Some(again | (!written.blocked && !self.to_vmnet.is_empty())))
    }

    /// Wait until something can be done, not at all if so already. Whether the session ended.
    fn wait(&self, session: &impl AsFd, now: Duration, again: bool) -> Result<bool, Errno> {
        let timeout = if again {
            Some(Duration::ZERO)
        } else {
            let due = [self.vmnet.deadline(), self.socket.deadline()]
                .into_iter()
                .flatten()
                .min();
            due.map(|due| due.saturating_sub(now))
        };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // A side that is not read, because too much of what it said waits, is not looked at either.
        let interest = |queue: &VecDeque<Frame>| {
            if queue.len() < QUEUE {
                PollFlags::IN
            } else {
                PollFlags::empty()
            }
        };
        let mut fds = [
            PollFd::new(session, PollFlags::IN),
            PollFd::new(&self.vmnet, interest(&self.to_socket)),
            PollFd::new(&self.socket, interest(&self.to_vmnet)),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(!fds[0].revents().is_empty()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
