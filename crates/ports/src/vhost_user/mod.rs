//! A guest whose memory we share: the back end of vhost-user (QEMU's docs/interop/vhost-user.rst) with a virtio network device
//! (virtio 1.3, 5.1).
//!
//! The front end, which is QEMU or another hypervisor, connects to a socket of ours and says over it where the guest's memory is
//! and where its rings are. From then on frames go through the rings, and the guest and we wake each other by eventfds: *kick* is
//! the guest's, *call* is ours. No system call moves a byte.
//!
//! ```text
//!   front end ── socket: messages, descriptors ──▶ connection ──▶ message ──▶ device ──▶ memory, rings
//!   guest's driver ── transmit ring ──▶ transmit: one copy ──▶ Frame           ▲ kick
//!   guest's driver ◀── receive ring ◀── receive: one copy ◀── Frame            ▼ call
//! ```
//!
//! The device has no thread and no loop. Who owns a [`VhostUserPort`] watches its socket, and its kick descriptors as
//! [`VhostUserPort::poll_watch`] tells them, all edge-triggered, and calls what became ready; every call is bounded and waits for nothing.
//! Kick descriptors are never read: an eventfd that is written to again is a new edge, and its counter does not fill in a lifetime.
//!
//! **Trust.** What the guest writes into rings and buffers is judged from a copy, and leads nowhere but into the guest's own memory.
//! A front end is the guest's hypervisor, which may have been taken over: no message of its makes us wait, grow or fail, memory
//! that it takes away reads as zeros (the `sys` module says how), and it is closed. What it can do is to make us
//! wait: by clearing `O_NONBLOCK` on an eventfd whose counter it keeps at its end, or by sending a descriptor of a file system of its own, which
//! is not used but has to be closed. It runs as our user, who has simpler means.
//!
//! **Left out.** Logging of writes, and with it live migration; in-flight buffers, since none is held from one turn to the next; polling without
//! a kick descriptor; packed rings; more than eight regions of memory. Big-endian guests.

mod connection;
mod device;
mod features;
#[cfg(any(test, feature = "front-end"))]
pub mod front_end;
mod memory;
mod message;
mod receive;
mod ring;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
mod transmit;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use atoll_wire::{Frame, Offloads};

use crate::stream::{Progress, Written};
use crate::sys::memory::signal;
use connection::{Connection, Incoming};
use device::{Answer, Device};
pub use memory::MemoryError;
pub use message::MessageError;
use receive::Receive;
use ring::Broken;
use transmit::Transmit;

/// Messages in one turn.
const MESSAGES: usize = 64;

/// Whether this system can share memory with a guest.
pub const VHOST_USER_SUPPORTED: bool = cfg!(target_os = "linux");

/// Why the connection of a front end is to be closed.
#[derive(Debug, thiserror::Error)]
pub enum VhostUserError {
    /// It does not speak the protocol.
    #[error(transparent)]
    Message(MessageError),
    /// It asked for what cannot be had, and not for an answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It does not read the answers to its questions.
    #[error("it does not read what it is answered")]
    NotReading,
    /// Memory that it shared is gone.
    #[error("memory of the guest was taken away")]
    MemoryLost,
    /// What the system said.
    #[error(transparent)]
    Io(io::Error),
}

/// Why a request is not carried out; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no such request, or it is for a feature that was not offered.
    #[error("a request that was not offered")]
    Unknown,
    /// Features were taken that were not offered.
    #[error("features {0:#x} are more than was offered")]
    Features(u64),
    /// The memory cannot be used.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// There is no ring of this number.
    #[error("there is no ring {0}")]
    NoRing(u32),
    /// No ring has this size.
    #[error("a ring of {0} entries is no power of two up to 32768")]
    RingSize(u32),
    /// No ring stands there.
    #[error("a ring cannot stand at {0}")]
    RingBase(u32),
    /// Writes to memory are to be logged.
    #[error("writes to the guest's memory are not logged")]
    Log,
    /// A ring without kick descriptor.
    #[error("a ring is not polled: it needs a kick descriptor")]
    Polling,
    /// A descriptor is for something else.
    #[error("a kick or call descriptor is no eventfd")]
    NoEvent,
    /// The call descriptor does not do what is needed.
    #[error("a call descriptor cannot be used: {0}")]
    Call(#[source] io::Error),
}

/// A change of what is to be watched.
#[derive(Debug)]
pub enum Watch {
    /// The kick descriptor of this ring, by [`VhostUserPort::kick`], until it is told to end. It may be told of twice.
    Begin(u8),
    /// This descriptor no longer. Others hold it too, so that closing it ends no watching.
    End(OwnedFd),
    /// This ring runs now: it may be ready without a kick.
    Ready(u8),
}

/// What was counted at a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VhostUserCounters {
    /// Chains in a transmit ring that were no frame.
    pub bad_chains: u64,
    /// Frames dropped because their virtio_net_hdr did not go with them.
    pub bad_headers: u64,
    /// Frames for which the guest's buffers were too small.
    pub too_large: u64,
    /// Rings that stopped because the driver broke them.
    pub broken_rings: u64,
    /// Frames dropped because no driver runs, or not to deliver them.
    pub no_driver: u64,
}

/// A guest behind a front end.
#[derive(Debug)]
pub struct VhostUserPort {
    connection: Connection,
    device: Device,
    transmit: Transmit,
    receive: Receive,
    broken_rings: u64,
    no_driver: u64,
}

/// Whether frames go into this ring, rather than come out of it.
fn is_receive(ring: usize) -> bool {
    ring.is_multiple_of(2)
}

impl VhostUserPort {
    /// A front end on this connection, which must be non-blocking.
    #[must_use]
    pub fn new(socket: UnixStream) -> Self {
        Self {
            connection: Connection::new(socket),
            device: Device::new(),
            transmit: Transmit::default(),
            receive: Receive::default(),
            broken_rings: 0,
            no_driver: 0,
        }
    }

    /// Which frames the guest takes as they are. Changes with messages only.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.device.features.offloads()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> VhostUserCounters {
        VhostUserCounters {
            bad_chains: self.transmit.bad_chains,
            bad_headers: self.transmit.bad_headers,
            too_large: self.receive.too_large,
            broken_rings: self.broken_rings,
            no_driver: self.no_driver,
        }
    }

    /// Do what the front end says, in bounded measure. Afterwards ask [`VhostUserPort::poll_watch`] and [`VhostUserPort::offloads`].
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn handle_messages(&mut self) -> Result<Progress, VhostUserError> {
        for _ in 0..MESSAGES {
            match self.connection.receive()? {
                Incoming::Nothing => return Ok(Progress::Drained),
                Incoming::Closed => return Ok(Progress::Closed),
                Incoming::Message(header, request) => self.handle_message(header, request)?,
            }
        }
        Ok(Progress::More)
    }

    fn handle_message(
        &mut self,
        header: message::Header,
        request: message::Request,
    ) -> Result<(), VhostUserError> {
        let name = header.request;
        tracing::debug!("a front end says {request:?}");
        // From whether it took the extension before this message.
        let acknowledges = header.need_reply && self.device.answers_all();
        let (answer, refusal) = match self.device.handle_request(request) {
            Ok(answer) => (answer, None),
            Err(error) => (Answer::Done, Some(error)),
        };
        match (answer, refusal) {
            (Answer::Number(number), _) => self.connection.answer(header, &number.to_le_bytes()),
            (Answer::Base(ring, base), _) => {
                let words = [ring, base.into()].map(u32::to_le_bytes);
                self.connection.answer(header, words.as_flattened())
            }
            (Answer::Done, None) if acknowledges => self.connection.answer(header, &0_u64.to_le_bytes()),
            (Answer::Done, None) => Ok(()),
            (Answer::Done, Some(error)) if acknowledges => {
                tracing::warn!("request {name} of a front end is refused: {error}");
                self.connection.answer(header, &1_u64.to_le_bytes())
            }
            (Answer::Done, Some(error)) => Err(error.into()),
        }
    }

    /// The next change of what is to be watched.
    pub fn poll_watch(&mut self) -> Option<Watch> {
        self.device.watches.pop_front()
    }

    /// The kick descriptor of a ring.
    #[must_use]
    pub fn kick(&self, ring: u8) -> Option<BorrowedFd<'_>> {
        self.device
            .slots
            .get(usize::from(ring))?
            .kick
            .as_ref()
            .map(AsFd::as_fd)
    }

    /// Whether a ring that became ready has frames to be read, rather than room for some to be written.
    #[must_use]
    pub fn is_transmit(ring: u8) -> bool {
        !is_receive(usize::from(ring))
    }

    /// Take a bounded number of frames from a transmit ring and append them.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn read(&mut self, ring: u8, frames: &mut Vec<Frame>) -> Result<Progress, VhostUserError> {
        let Some(slot) = self
            .device
            .slots
            .get_mut(usize::from(ring))
            .filter(|_| Self::is_transmit(ring))
        else {
            return Ok(Progress::Drained);
        };
        let Some(running) = &mut slot.ring else {
            return Ok(Progress::Drained);
        };
        let before = frames.len();
        let header_len = self.device.features.header_len();
        let turn = self
            .transmit
            .take(running, &self.device.memory, header_len, frames);
        if !slot.enabled {
            self.no_driver += u64::try_from(frames.len() - before).unwrap_or(0);
            frames.truncate(before);
        }
        let progress = match turn {
            Ok(turn) => {
                if turn.interrupt {
                    interrupt(slot.call.as_ref())?;
                }
                if turn.more {
                    Progress::More
                } else {
                    Progress::Drained
                }
            }
            Err(Broken) => {
                self.give_up(usize::from(ring));
                Progress::Drained
            }
        };
        self.check_memory()?;
        Ok(progress)
    }

    /// Write frames from the front of `queue`. The caller removes as many as are reported before it writes again. A frame that
    /// nobody can take counts as written: others may pass.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn write(&mut self, queue: &VecDeque<Frame>) -> Result<Written, VhostUserError> {
        let slot = &mut self.device.slots[0];
        let Some(running) = slot.ring.as_mut().filter(|_| slot.enabled) else {
            self.no_driver += u64::try_from(queue.len()).unwrap_or(0);
            return Ok(Written {
                frames: queue.len(),
                blocked: false,
            });
        };
        let written = self
            .receive
            .write(running, &self.device.memory, self.device.features, queue);
        let written = match written {
            Ok((written, wants)) => {
                if wants {
                    interrupt(slot.call.as_ref())?;
                }
                written
            }
            Err(Broken) => {
                self.give_up(0);
                Written::default()
            }
        };
        self.check_memory()?;
        Ok(written)
    }

    /// The connection is at its end: what is watched is told by [`VhostUserPort::poll_watch`] one last time.
    pub fn close(&mut self) {
        self.device.stop_all();
    }

    /// A ring whose driver broke it stands still until it is set up anew.
    fn give_up(&mut self, ring: usize) {
        tracing::warn!("ring {ring} of a guest is stopped: its driver broke it");
        self.broken_rings += 1;
        self.device.give_up(ring);
    }

    fn check_memory(&self) -> Result<(), VhostUserError> {
        if self.device.memory.is_lost() {
            return Err(VhostUserError::MemoryLost);
        }
        Ok(())
    }
}

fn interrupt(call: Option<&OwnedFd>) -> Result<(), VhostUserError> {
    call.map_or(Ok(()), |call| signal(call).map_err(VhostUserError::Io))
}

impl AsFd for VhostUserPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
