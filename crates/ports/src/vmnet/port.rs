//! The life of one interface, and its frames.
//!
//! ```text
//!            started              stop(), a call failed, the host's interface went
//!  Starting ────────▶ Running ─────────────────▶ Stopping ──▶ Stopped   (stop() was called)
//!     ▲  │ refused                                   │
//!     │  └──────────────────▶ Waiting ◀──────────────┘                  (to come back)
//!     └───────────────────────┘ the wait is over, and the host's interface is there
//! ```
//!
//! *An interface that vanishes is a cable that was pulled, not the end of the port.* Guests keep their port and each other; what
//! is sent meanwhile is dropped and counted, as a cable does. It is asked for again after a wait that doubles up to
//! [`LONGEST_WAIT`]; and one that leads to an interface of the host's only when the host has that. Whether it still does is
//! looked at every [`PRESENCE`], because the framework does not tell and may go on to take frames that reach nobody.
//!
//! *Nothing waits here.* Starts and stops are answered by the framework as [`Events`](super::Events); an answer that does not come
//! within [`ANSWER`] is taken for a refusal. Times are arguments, since any moment that the caller fixed.
//!
//! *Bounds.* A turn reads one batch and writes [`WRITES`] frames. The buffers for reading are one batch, at most
//! [`MAX_BYTES`] and at least one packet; frames are copied out of them, so that none holds back more than itself.
//!
//! *A full interface* is met by [`Backoff`]: a few tries, then what waits is dropped.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use atoll_wire::{Frame, Offloads};

use super::backoff::{Backoff, Verdict};
use super::batch::{Limits, Packet, parse};
use super::contract::{MAX_BYTES, Parameters, Status, Vmnet};
use super::error::VmnetError;
use super::events::Inbox;
use super::options::VmnetOptions;
use crate::decoder::{MAX_FRAME, MIN_FRAME};
use crate::stream::{Progress, Written};

/// Packets of one read: more are no gain, and hold up the other ports.
const READS: usize = 128;

/// Frames in one turn of writing.
const WRITES: usize = 256;

/// The first wait before an interface that went is asked for again, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// How long an interface must have been there for the next wait to be the first again.
const STEADY: Duration = Duration::from_secs(10);

/// How often it is looked whether the host's interface is there.
const PRESENCE: Duration = Duration::from_secs(2);

/// How long an answer of the framework's is waited for.
pub(super) const ANSWER: Duration = Duration::from_secs(15);

/// What was dropped, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmnetCounters {
    /// To be written while there was no interface.
    pub while_down: u64,
    /// To be written, and larger or smaller than a frame of this interface.
    pub bad_size: u64,
    /// To be written, but the interface took nothing for too long.
    pub full: u64,
    /// To be written, and for a DHCP server of the system's that cannot be turned off.
    pub for_dhcp: u64,
    /// To be written, and refused by the framework.
    pub refused: u64,
    /// Read, and no frame, or its virtio_net_hdr did not go with it.
    pub bad_packets: u64,
    /// How often the interface came back.
    pub restarts: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Starting {
        until: Duration,
    },
    Running {
        since: Duration,
        parameters: Parameters,
        look_at: Duration,
    },
    Stopping {
        until: Duration,
        for_good: bool,
    },
    Waiting {
        until: Duration,
    },
    Stopped,
}

/// An interface as a port.
#[derive(Debug)]
pub struct VmnetPort {
    vmnet: Box<dyn Vmnet>,
    options: VmnetOptions,
    /// The system serves DHCP although it should not.
    keeps_dhcp_off: bool,
    inbox: Inbox,
    state: State,
    /// The next wait before a start.
    wait: Duration,
    backoff: Backoff,
    arena: Vec<u8>,
    sizes: Vec<usize>,
    /// The last refusal of a start.
    refusal: Option<Status>,
    counters: VmnetCounters,
}

impl VmnetPort {
    /// Ask for an interface. [`Self::read`] tells what becomes of it; [`Self::wait_for_start`] waits.
    ///
    /// # Errors
    /// It cannot be as it is asked for, or was refused at once.
    pub fn start(
        mut vmnet: Box<dyn Vmnet>,
        options: VmnetOptions,
        now: Duration,
    ) -> Result<Self, VmnetError> {
        options.check()?;
        let keeps_dhcp_off =
            !options.services && !options.is_without_services() && !vmnet.features().networks;
        if let Some(name) = options.host_interface() {
            let others = vmnet.interfaces();
            if !others.iter().any(|other| other == name) {
                let name = name.to_owned();
                return Err(VmnetError::NoInterface { name, others });
            }
        }
        let inbox = Inbox::new().map_err(|error| {
            let errno = rustix::io::Errno::from_io_error(&error);
            VmnetError::Listen(errno.unwrap_or(rustix::io::Errno::MFILE))
        })?;
        vmnet
            .start(&options, inbox.next_start())
            .map_err(VmnetError::Refused)?;
        Ok(Self {
            vmnet,
            options,
            keeps_dhcp_off,
            inbox,
            state: State::Starting { until: now + ANSWER },
            wait: FIRST_WAIT,
            backoff: Backoff::default(),
            arena: Vec::new(),
            sizes: Vec::new(),
            refusal: None,
            counters: VmnetCounters::default(),
        })
    }

    /// Wait until the interface is there: for who starts a network and wants to know. Then read once: what came already is not
    /// announced.
    ///
    /// # Errors
    /// It was refused, or nobody answered.
    pub fn wait_for_start(&mut self, now: Duration) -> Result<&Parameters, VmnetError> {
        let timeout = rustix::event::Timespec::try_from(ANSWER).ok();
        let mut fds = [rustix::event::PollFd::new(
            &self.inbox,
            rustix::event::PollFlags::IN,
        )];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, timeout.as_ref()))
            .map_err(VmnetError::Listen)?;
        self.handle_news(now);
        match (&self.state, self.refusal) {
            (State::Running { parameters, .. }, _) => Ok(parameters),
            (_, Some(status)) => Err(VmnetError::Refused(status)),
            _ => Err(VmnetError::Silent),
        }
    }

    /// What the interface is; `None` while there is none.
    #[must_use]
    pub fn parameters(&self) -> Option<&Parameters> {
        match &self.state {
            State::Running { parameters, .. } => Some(parameters),
            _ => None,
        }
    }

    /// Which frames it takes as they are. This does not change when the interface comes back, though a larger frame may then
    /// find no room.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        let has_header = self.parameters().is_some_and(|parameters| parameters.has_header);
        Offloads {
            checksum: has_header,
            tcp4: has_header,
            tcp6: has_header,
            ..Offloads::default()
        }
    }

    /// What was dropped.
    #[must_use]
    pub fn counters(&self) -> VmnetCounters {
        self.counters
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let of_state = match &self.state {
            State::Starting { until } | State::Stopping { until, .. } | State::Waiting { until } => {
                Some(*until)
            }
            State::Running { look_at, .. } => Some(*look_at),
            State::Stopped => None,
        };
        of_state.into_iter().chain(self.backoff.until()).min()
    }

    /// Hear what the framework has to say, and read one batch.
    pub fn read(&mut self, now: Duration, frames: &mut Vec<Frame>) -> Progress {
        self.handle_news(now);
        let parameters = match &self.state {
            State::Running { parameters, .. } => parameters,
            State::Stopped => return Progress::Closed,
            _ => return Progress::Drained,
        };
        let has_header = parameters.has_header;
        let stride = parameters.buffer_size();
        self.sizes.fill(stride);
        match self.vmnet.read(&mut self.arena, &mut self.sizes) {
            Ok(0) => Progress::Drained,
            Ok(count) => {
                for (packet, &size) in self.arena.chunks_exact(stride).zip(&self.sizes).take(count) {
                    let frame = packet.get(..size).and_then(|packet| parse(packet, has_header));
                    self.counters.bad_packets += u64::from(frame.is_none());
                    frames.extend(frame);
                }
                Progress::More
            }
            Err(status) => {
                self.handle_loss(now, status);
                Progress::Drained
            }
        }
    }

    /// Write frames from the front of `queue`. The caller removes as many as are reported before it writes again; those that are
    /// dropped count as written. While `blocked`, [`Self::deadline`] says when to come back.
    pub fn write(&mut self, now: Duration, queue: &VecDeque<Frame>) -> Written {
        let State::Running { parameters, .. } = &self.state else {
            self.counters.while_down += count(queue.len());
            return written(queue.len());
        };
        if self.backoff.holds(now) {
            return Written {
                frames: 0,
                blocked: true,
            };
        }
        let limits = Limits::of(parameters, self.keeps_dhcp_off);
        let mut done = 0;
        while done < queue.len().min(WRITES) {
            let run = limits.run(queue, done);
            if run.is_empty() {
                let is_for_dhcp = limits.is_frame(&queue[done]);
                self.counters.for_dhcp += u64::from(is_for_dhcp);
                self.counters.bad_size += u64::from(!is_for_dhcp);
                done += 1;
                continue;
            }
            match self
                .vmnet
                .write(&run.iter().map(Packet::bytes).collect::<Vec<_>>())
            {
                Ok(taken) if taken == run.len() => done += taken,
                Ok(taken) => return self.handle_full(now, done + taken.min(run.len()), queue.len()),
                Err(Status::BufferExhausted | Status::Memory) => {
                    return self.handle_full(now, done, queue.len());
                }
                // Which one it finds fault with it does not say; to send them again one by one may send some twice.
                Err(Status::InvalidArgument | Status::PacketTooBig | Status::TooManyPackets) => {
                    self.counters.refused += count(run.len());
                    done += run.len();
                }
                Err(status) => {
                    self.handle_loss(now, status);
                    self.counters.while_down += count(queue.len() - done);
                    return written(queue.len());
                }
            }
        }
        self.backoff.handle_success();
        written(done)
    }

    /// A time came: look after the interface. Reading and writing are to be tried afterwards.
    pub fn handle_timeout(&mut self, now: Duration) {
        // An answer that came while nobody looked is not late.
        self.handle_news(now);
        match &mut self.state {
            // There may be an interface all the same.
            State::Starting { until } if *until <= now => self.begin_stop(now, false),
            State::Stopping { until, .. } if *until <= now => self.handle_stopped(now),
            State::Waiting { until } if *until <= now => self.restart(now),
            State::Running { look_at, .. } if *look_at <= now => {
                *look_at = now + PRESENCE;
                if !self.is_present() {
                    self.handle_loss(now, Status::SetupIncomplete);
                }
            }
            _ => {}
        }
    }

    /// The host slept. What was announced before may be forgotten, so reading is to be tried; an interface that is waited for is asked
    /// for at once; and whether the host's own is still there is looked at.
    pub fn handle_wake(&mut self, now: Duration) {
        self.backoff.handle_success();
        self.wait = FIRST_WAIT;
        match &mut self.state {
            State::Running { look_at: at, .. } | State::Waiting { until: at } => *at = now,
            State::Starting { .. } | State::Stopping { .. } | State::Stopped => {}
        }
        self.handle_timeout(now);
    }

    /// End the interface for good. [`Self::read`] says [`Progress::Closed`] when that is done.
    pub fn stop(&mut self, now: Duration) {
        self.handle_news(now);
        match &mut self.state {
            State::Starting { .. } | State::Running { .. } => self.begin_stop(now, true),
            State::Stopping { for_good, .. } => *for_good = true,
            State::Waiting { .. } | State::Stopped => self.state = State::Stopped,
        }
    }

    fn handle_news(&mut self, now: Duration) {
        let news = self.inbox.take();
        if let Some(outcome) = news.started
            && matches!(self.state, State::Starting { .. })
        {
            self.handle_start(now, outcome);
        }
        if let Some(outcome) = news.stopped {
            if let Err(status) = outcome {
                tracing::debug!("vmnet's interface ended badly: {status}");
            }
            if matches!(self.state, State::Stopping { .. }) {
                self.handle_stopped(now);
            }
        }
    }

    fn handle_start(&mut self, now: Duration, outcome: Result<Parameters, Status>) {
        match outcome {
            Ok(parameters) if (MIN_FRAME..=MAX_FRAME).contains(&parameters.max_packet_size) => {
                let stride = parameters.buffer_size();
                let packets = (MAX_BYTES / stride).min(READS).min(parameters.read_max_packets);
                self.sizes = vec![0; packets.max(1)];
                self.arena = vec![0; self.sizes.len() * stride];
                self.refusal = None;
                self.backoff = Backoff::default();
                self.state = State::Running {
                    since: now,
                    look_at: now + PRESENCE,
                    parameters,
                };
                if let Err(status) = self.vmnet.listen() {
                    self.handle_loss(now, status);
                }
            }
            Ok(_) => self.handle_loss(now, Status::SetupIncomplete),
            Err(status) => {
                self.refusal = Some(status);
                self.begin_wait(now);
            }
        }
    }

    fn handle_loss(&mut self, now: Duration, status: Status) {
        tracing::warn!("vmnet's interface is lost and will be asked for again: {status}");
        if let State::Running { since, .. } = self.state
            && now.saturating_sub(since) >= STEADY
        {
            self.wait = FIRST_WAIT;
        }
        self.begin_stop(now, false);
    }

    fn begin_stop(&mut self, now: Duration, for_good: bool) {
        self.backoff = Backoff::default();
        self.state = State::Stopping {
            until: now + ANSWER,
            for_good,
        };
        if let Err(status) = self.vmnet.stop() {
            tracing::debug!("vmnet's interface needs no end: {status}");
            self.handle_stopped(now);
        }
    }

    fn handle_stopped(&mut self, now: Duration) {
        let for_good = matches!(self.state, State::Stopping { for_good: true, .. });
        if for_good {
            self.state = State::Stopped;
        } else {
            self.begin_wait(now);
        }
    }

    fn begin_wait(&mut self, now: Duration) {
        self.state = State::Waiting {
            until: now + self.wait,
        };
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    fn restart(&mut self, now: Duration) {
        if !self.is_present() {
            self.state = State::Waiting {
                until: now + PRESENCE,
            };
            return;
        }
        self.counters.restarts += 1;
        match self.vmnet.start(&self.options, self.inbox.next_start()) {
            Ok(()) => self.state = State::Starting { until: now + ANSWER },
            Err(status) => {
                self.refusal = Some(status);
                self.begin_wait(now);
            }
        }
    }

    fn is_present(&self) -> bool {
        let name = self.options.host_interface();
        name.is_none_or(|name| self.vmnet.has_interface(name))
    }

    /// The interface took `done` frames of `waiting` and no more.
    fn handle_full(&mut self, now: Duration, done: usize, waiting: usize) -> Written {
        match self.backoff.handle_full(now, done > 0) {
            Verdict::Wait => Written {
                frames: done,
                blocked: true,
            },
            Verdict::Drop => {
                self.counters.full += count(waiting - done);
                written(waiting)
            }
        }
    }
}

impl AsFd for VmnetPort {
    /// Readable when the framework has something to say. Closing is the port's business.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inbox.as_fd()
    }
}

fn written(frames: usize) -> Written {
    Written {
        frames,
        blocked: false,
    }
}

fn count(frames: usize) -> u64 {
    u64::try_from(frames).unwrap_or(u64::MAX)
}
