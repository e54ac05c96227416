//! The hosts beyond the gateway: what a connection of the engine's meets there.

use atoll_engine::HostError;
use atoll_wire::FrameBuf;

use crate::stream::{Sink, Stream};

/// How a host answers a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// It accepts at once.
    #[default]
    Accepts,
    /// It does not connect, for this reason.
    Refuses(HostError),
    /// It says nothing until it is told what to say.
    Hesitates,
}

/// How a host behaves.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// Whether it connects.
    pub answers: Answer,
    /// It sends this, then closes its side.
    pub sends: Stream,
    /// What is to arrive there.
    pub expects: Stream,
    /// It sends and closes when it is told to, not of its own.
    pub waits: bool,
    /// So much of what it sends fits the kernel's receive queue at our end; all when `None`.
    pub buffer: Option<u64>,
    /// Its socket takes this many bytes at a time, once a millisecond; any number when `None`. None at all when zero.
    pub takes: Option<usize>,
    /// It resets the connection once it has received this many bytes.
    pub resets_after: Option<u64>,
}

/// A connection as the host's kernel holds it.
#[derive(Debug)]
pub struct Socket {
    server: Server,
    /// What the host's program sent so far.
    written: u64,
    /// The host's program closed its side.
    finished: bool,
    /// What arrived in the receive queue, and what the engine discarded of it.
    arrived: u64,
    discarded: u64,
    /// The engine peeked the end of the stream.
    end_was_peeked: bool,
    /// What the engine wrote.
    pub received: Sink,
    /// The engine shut its side down.
    pub shut_down: bool,
    /// The host reset the connection.
    pub broken: bool,
    /// The engine closed the socket; `true` by a reset, also where the kernel makes it one because bytes lay unread.
    pub closed: Option<bool>,
    pub(crate) blocked: bool,
    budget: usize,
}

impl Socket {
    pub(crate) fn new(server: Server) -> Self {
        let mut socket = Self {
            written: if server.waits { 0 } else { server.sends.len() },
            finished: !server.waits,
            arrived: 0,
            discarded: 0,
            end_was_peeked: false,
            received: Sink::new(server.expects),
            shut_down: false,
            broken: false,
            closed: None,
            blocked: false,
            budget: server.takes.unwrap_or(usize::MAX),
            server,
        };
        socket.fill();
        socket
    }

    /// Bytes in the receive queue.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.arrived - self.discarded
    }

    /// Bytes that the host sent and the guest is known to have.
    #[must_use]
    pub fn discarded(&self) -> u64 {
        self.discarded
    }

    /// Whether this is still a connection.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed.is_none() && !self.broken
    }

    /// The host's program sends so many bytes more.
    pub(crate) fn send(&mut self, bytes: u64) {
        self.written = (self.written + bytes).min(self.server.sends.len());
        self.fill();
    }

    /// The host's program closes its side.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    /// From now on it takes so many bytes a millisecond.
    pub(crate) fn set_takes(&mut self, takes: Option<usize>) {
        self.server.takes = takes;
        self.refill();
    }

    /// Whether it will take more later without being told.
    pub(crate) fn will_take(&self) -> bool {
        self.server.takes != Some(0)
    }

    /// What the host sent comes, as far as there is room. Whether anything new did.
    pub(crate) fn fill(&mut self) -> bool {
        let room = self.server.buffer.unwrap_or(u64::MAX);
        let before = self.arrived;
        self.arrived = self.written.min(self.discarded.saturating_add(room));
        self.arrived > before
    }

    /// Whether the peer sent something, be it the end.
    pub(crate) fn has_spoken(&self) -> bool {
        self.written > 0 || self.finished
    }

    /// Whether there is more to come.
    pub(crate) fn has_more(&self) -> bool {
        self.arrived < self.written
    }

    /// Write; returns how many bytes were taken.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        assert!(!self.shut_down, "the engine wrote after it shut the socket down");
        let taken = bytes.len().min(self.budget);
        if self.budget != usize::MAX {
            self.budget -= taken;
        }
        self.received.push(&bytes[..taken]);
        self.blocked |= taken < bytes.len();
        taken
    }

    /// Time went by: the peer took what it had been sent.
    pub(crate) fn refill(&mut self) {
        self.blocked = false;
        self.budget = self.server.takes.unwrap_or(usize::MAX);
    }

    pub(crate) fn wants_reset(&self) -> bool {
        self.server
            .resets_after
            .is_some_and(|bytes| self.received.len() >= bytes)
    }

    pub(crate) fn peek(&mut self, offset: u32, segment: u16, count: u16) -> (Vec<FrameBuf>, bool) {
        let from = (self.discarded + u64::from(offset)).min(self.arrived);
        let wanted = u64::from(segment) * u64::from(count);
        let end = self.arrived.min(from + wanted);
        let mut segments = Vec::with_capacity(usize::from(count));
        let mut at = from;
        while at < end {
            let len = usize::from(segment).min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let mut segment = FrameBuf::zeroed(len);
            self.server.sends.fill(at, segment.payload_mut());
            segments.push(segment);
            at += len as u64;
        }
        let is_end = self.finished && end == self.written && end - from < wanted;
        self.end_was_peeked |= is_end;
        (segments, is_end)
    }

    pub(crate) fn discard(&mut self, bytes: u32) {
        self.discarded += u64::from(bytes);
        assert!(
            self.discarded <= self.arrived,
            "the engine discarded what it never peeked"
        );
    }

    /// The engine closes the socket. Bytes that lie unread make it a reset.
    pub(crate) fn close(&mut self, reset: bool) {
        assert!(self.closed.is_none(), "the engine closed a socket twice");
        self.closed = Some(reset || !self.broken && self.queued() > 0);
    }
}
