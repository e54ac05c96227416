//! What every part of the loop works with: the engine, the clock, and the queue of what is left over.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use atoll_engine::{AcceptId, Engine, Event, Instant};
use mio::unix::SourceFd;
use mio::{Interest, Registry};

use crate::sys::Inbox;
use crate::tokens::Source;

/// One thing that is ready, or has work left over from an earlier turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ready {
    pub(crate) source: Source,
    pub(crate) readiness: Readiness,
}

/// In which way it is ready. A socket may be ready in several ways in one turn, each handled by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Readiness {
    /// The peer sent urgent data.
    Urgent,
    /// Something lies there to be read.
    Readable,
    /// The peer will send no more; what it sent may still lie there.
    ReadClosed,
    /// More can be written.
    Writable,
    /// An error waits to be fetched.
    Error,
}

/// Things that are ready, each once.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    order: Vec<Ready>,
    known: HashSet<Ready>,
}

impl ReadyQueue {
    pub(crate) fn push(&mut self, source: Source, readiness: Readiness) {
        let ready = Ready { source, readiness };
        if self.known.insert(ready) {
            self.order.push(ready);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Everything that was pushed, in order. What is pushed from now on belongs to the next turn.
    pub(crate) fn take(&mut self) -> Vec<Ready> {
        self.known.clear();
        std::mem::take(&mut self.order)
    }
}

/// The engine and its surroundings.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) ready: ReadyQueue,
    /// Where datagrams are received.
    pub(crate) inbox: Inbox,
    origin: std::time::Instant,
    last_accept: u64,
}

impl Core {
    pub(crate) fn new(engine: Engine, registry: Registry) -> Self {
        Self {
            engine,
            registry,
            ready: ReadyQueue::default(),
            inbox: Inbox::new(),
            origin: std::time::Instant::now(),
            last_accept: 0,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::since_origin(self.origin.elapsed())
    }

    /// A new name for a connection that waits for a flow.
    pub(crate) fn next_accept(&mut self) -> AcceptId {
        self.last_accept += 1;
        AcceptId(self.last_accept)
    }

    /// Tell the engine.
    pub(crate) fn tell(&mut self, event: Event) {
        let now = self.now();
        self.engine.handle_event(now, event);
    }

    /// Tell the engine all of these, in order, and leave nothing of them.
    pub(crate) fn tell_all(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            self.tell(event);
        }
    }

    /// Be told, edge-triggered, when `fd` becomes readable or writable. Closing it is enough to end that.
    pub(crate) fn watch(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        self.watch_for(fd, source, Interest::READABLE | Interest::WRITABLE)
    }

    /// Be told when a connection becomes readable, of urgent data where the system tells, and when it can be `written` to: that would
    /// be said whenever it is readable.
    pub(crate) fn watch_stream(&self, fd: impl AsFd, source: Source, written: bool) -> io::Result<()> {
        self.watch_for(fd, source, with_writing(crate::sys::stream_interest(), written))
    }

    /// Be told when `fd` becomes readable or has an error, but not that it can be written to: datagrams that find no room are lost,
    /// and Linux would tell of the room that each one leaves behind when it is gone.
    pub(crate) fn watch_reading(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        self.watch_for(fd, source, Interest::READABLE)
    }

    /// Be told from now on also when a connection becomes writable; at once if it is.
    pub(crate) fn watch_writing_too(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        self.watch_anew(fd, source, with_writing(crate::sys::stream_interest(), true))
    }

    /// Be told when `fd` becomes readable as before, and from now on also when it can be `written` to, at once if it can; or no longer.
    pub(crate) fn watch_again(&self, fd: impl AsFd, source: Source, written: bool) -> io::Result<()> {
        self.watch_anew(fd, source, with_writing(Interest::READABLE, written))
    }

    /// Be told no longer, of a descriptor that others hold too.
    pub(crate) fn unwatch(&self, fd: impl AsFd) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        self.registry.deregister(&mut SourceFd(&fd))
    }

    fn watch_for(&self, fd: impl AsFd, source: Source, interest: Interest) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        self.registry
            .register(&mut SourceFd(&fd), source.into(), interest)
    }

    fn watch_anew(&self, fd: impl AsFd, source: Source, interest: Interest) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        self.registry
            .reregister(&mut SourceFd(&fd), source.into(), interest)
    }
}

fn with_writing(interest: Interest, written: bool) -> Interest {
    if written {
        interest | Interest::WRITABLE
    } else {
        interest
    }
}
