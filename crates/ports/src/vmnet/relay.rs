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
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread::JoinHandle;

    use super::super::contract::Status;
    use super::super::fake::{FRAME_1500, FakeSystem, fake};
    use super::super::{VmnetMode, VmnetOptions};
    use super::*;

    /// A relay on a thread of its own, the port at its other end, the system, and the session whose end is its end.
    struct Running {
        port: RelayPort,
        system: FakeSystem,
        session: UnixStream,
        relay: JoinHandle<RelayEnd>,
    }

    fn relay() -> Running {
        relay_that(|relay| relay)
    }

    fn relay_that(is_so: impl FnOnce(Relay) -> Relay) -> Running {
        let (vmnet, system) = fake();
        let options = VmnetOptions::new(VmnetMode::Host {
            range: None,
            identifier: None,
        });
        let origin = Instant::now();
        let mut vmnet = VmnetPort::start(vmnet, options, origin.elapsed()).unwrap();
        vmnet.wait_for_start(origin.elapsed()).unwrap();
        let (near, far) = relay_pair().unwrap();
        let relay = is_so(Relay::new(vmnet, RelayPort::new(near).unwrap()));
        let (session, theirs) = UnixStream::pair().unwrap();
        Running {
            port: RelayPort::new(far).unwrap(),
            system,
            session,
            relay: std::thread::spawn(move || relay.run(theirs, origin)),
        }
    }

    fn frame(number: u32) -> Frame {
        Frame::plain([&[0_u8; 20][..], &number.to_be_bytes()].concat().into())
    }

    fn number(bytes: &[u8]) -> u32 {
        u32::from_be_bytes(bytes[20..24].try_into().unwrap())
    }

    /// Read from the port until so many frames came.
    fn read(port: &mut RelayPort, count: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        while frames.len() < count {
            let patience = Timespec {
                tv_sec: 20,
                tv_nsec: 0,
            };
            let ready = poll(&mut [PollFd::new(port, PollFlags::IN)], Some(&patience));
            assert_eq!(ready, Ok(1), "nothing comes");
            port.read(&mut frames).unwrap();
        }
        frames
    }

    /// Wait until the system was told so much.
    fn eventually(mut is_so: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < end, "it did not come to be");
            std::thread::yield_now();
        }
    }

    #[test]
    fn frames_cross_both_ways_in_order() {
        let mut all = relay();
        let mut queue: VecDeque<Frame> = (0..2000).map(frame).collect();
        let origin = Instant::now();
        while !queue.is_empty() {
            let written = all.port.write(origin.elapsed(), &queue).unwrap();
            queue.drain(..written.frames);
        }
        eventually(|| all.system.world().outgoing.len() == 2000);
        let numbers: Vec<u32> = all
            .system
            .world()
            .outgoing
            .iter()
            .map(|bytes| number(bytes))
            .collect();
        assert!(numbers.is_sorted());
        for number in 0..2000 {
            all.system.send(frame(number).bytes.to_vec());
            if number % 100 == 99 {
                let frames = read(&mut all.port, 100);
                let first = number - 99;
                assert!(
                    frames
                        .iter()
                        .map(|frame| self::number(&frame.bytes))
                        .eq(first..=number)
                );
            }
        }
        drop(all.session);
        assert!(matches!(all.relay.join().unwrap(), RelayEnd::Closed));
        assert!(all.system.is_idle());
    }

    #[test]
    fn the_end_of_the_session_is_the_end_of_the_interface() {
        let all = relay();
        assert!(all.system.is_running());
        drop(all.session);
        assert!(matches!(all.relay.join().unwrap(), RelayEnd::Closed));
        assert!(all.system.is_idle());
    }

    #[test]
    fn what_is_no_frame_does_not_reach_vmnet() {
        let mut all = relay();
        for len in [0, 1, 13, FRAME_1500 + 1, MAX_FRAME + 1] {
            all.port.socket.send(&vec![0; len]).unwrap();
        }
        all.port.write(Duration::ZERO, &[frame(7)].into()).unwrap();
        eventually(|| !all.system.world().outgoing.is_empty());
        assert_eq!(all.system.world().outgoing, [frame(7).bytes.to_vec()]);
        drop(all.session);
        all.relay.join().unwrap();
        assert_eq!(all.port.bad_size(), 0);
        let mut frames = Vec::new();
        all.port.read(&mut frames).unwrap();
        assert!(frames.is_empty());
    }

    #[test]
    fn a_client_that_does_not_read_keeps_nothing_else_waiting() {
        let mut all = relay();
        for number in 0..50_000 {
            all.system.send(frame(number).bytes.to_vec());
        }
        let origin = Instant::now();
        let mut queue: VecDeque<Frame> = (0..500).map(frame).collect();
        while !queue.is_empty() {
            let written = all.port.write(origin.elapsed(), &queue).unwrap();
            queue.drain(..written.frames);
        }
        eventually(|| all.system.world().outgoing.len() == 500);
        drop(all.session);
        assert!(matches!(all.relay.join().unwrap(), RelayEnd::Closed));
    }

    #[test]
    fn an_interface_that_vanishes_comes_back_under_the_relay() {
        let mut all = relay();
        all.system.vanish(Status::Failure);
        let origin = Instant::now();
        all.port.write(origin.elapsed(), &[frame(1)].into()).unwrap();
        eventually(|| all.system.world().starts == 2 && all.system.is_running());
        eventually(|| {
            all.system.send(frame(2).bytes.to_vec());
            let mut frames = Vec::new();
            all.port.read(&mut frames).unwrap();
            frames.contains(&frame(2))
        });
        drop(all.session);
        all.relay.join().unwrap();
    }

    #[test]
    fn a_helper_without_rights_ends_with_its_interface() {
        let mut all = relay_that(Relay::ending_with_interface);
        all.system.vanish(Status::Failure);
        all.port.write(Duration::ZERO, &[frame(1)].into()).unwrap();
        assert!(matches!(all.relay.join().unwrap(), RelayEnd::Lost));
        assert!(all.system.is_idle());
        assert_eq!(all.system.world().starts, 1);
    }

    #[test]
    fn packets_whose_event_was_lost_in_sleep_cross_after_it() {
        let (vmnet, system) = fake();
        let options = VmnetOptions::new(VmnetMode::Host {
            range: None,
            identifier: None,
        });
        let mut now = Duration::from_secs(1);
        let mut vmnet = VmnetPort::start(vmnet, options, now).unwrap();
        vmnet.wait_for_start(now).unwrap();
        let (near, far) = relay_pair().unwrap();
        let mut port = RelayPort::new(far).unwrap();
        let mut relay = Relay::new(vmnet, RelayPort::new(near).unwrap());
        relay.handle_clocks(now, Duration::from_secs(1_000_000));
        assert_eq!(relay.turn(now).unwrap(), Some(false));
        system.vanish(Status::Failure);
        system.world().refuses = Some(Status::Failure);
        // Gone for so long that it is asked for seldom; then the lid is closed for a night.
        for _ in 0..40 {
            relay.turn(now).unwrap();
            now = relay.vmnet.deadline().unwrap();
            relay.handle_clocks(now, Duration::from_secs(1_000_000) + now);
        }
        system.world().refuses = None;
        relay.turn(now).unwrap();
        let starts = system.world().starts;
        relay.handle_clocks(now, Duration::from_secs(1_030_000));
        relay.turn(now).unwrap();
        assert_eq!(system.world().starts, starts + 1);
        system.send(frame(5).bytes.to_vec());
        relay.turn(now).unwrap();
        assert_eq!(read(&mut port, 1), [frame(5)]);
    }

    #[test]
    fn a_full_socket_costs_frames_and_no_more() {
        let (near, far) = relay_pair().unwrap();
        let (mut near, mut far) = (RelayPort::new(near).unwrap(), RelayPort::new(far).unwrap());
        let queue: VecDeque<Frame> = (0..100).map(frame).collect();
        let mut now = Duration::ZERO;
        let mut sent = 0;
        while near.full() == 0 {
            let written = near.write(now, &queue).unwrap();
            sent += written.frames;
            now = near.deadline().unwrap_or(now);
        }
        let lost = usize::try_from(near.full()).unwrap();
        let mut frames = Vec::new();
        while far.read(&mut frames).unwrap() == Progress::More {}
        assert_eq!(frames.len(), sent - lost);
        assert!(!near.write(now, &queue).unwrap().blocked);
    }

    #[test]
    fn a_closed_end_is_told() {
        let (near, far) = relay_pair().unwrap();
        let mut near = RelayPort::new(near).unwrap();
        drop(far);
        near.write(Duration::ZERO, &[frame(1)].into()).unwrap_err();
    }
}
