//! The framework's callbacks, as a descriptor that becomes readable.
//!
//! They come on threads of the framework's, at any time. What they say is put in a mailbox, and the first after the mailbox
//! was emptied writes one byte to a socket that the event loop watches: however fast packets come, one byte waits at most.
//! Answers and packets of an interface that has been given up are told apart by the number of its start, and dropped.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use super::contract::{Parameters, Status};

/// Where the framework says what happened to one interface.
#[derive(Clone, Debug)]
pub struct Events {
    shared: Arc<Shared>,
    start: u64,
}

#[derive(Debug)]
struct Shared {
    mailbox: Mutex<Mailbox>,
    bell: UnixStream,
}

#[derive(Debug, Default)]
struct Mailbox {
    /// The start whose events are taken.
    start: u64,
    /// The byte was written and not yet read.
    rung: bool,
    news: News,
}

/// What happened since it was asked for the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) started: Option<Result<Parameters, Status>>,
    pub(crate) stopped: Option<Result<(), Status>>,
    pub(crate) packets: bool,
}

/// The event loop's end.
#[derive(Debug)]
pub(crate) struct Inbox {
    shared: Arc<Shared>,
    bell: UnixStream,
}

impl Events {
    /// The interface is there, or was refused.
    pub fn started(&self, outcome: Result<Parameters, Status>) {
        self.tell(|news| news.started = Some(outcome));
    }

    /// The interface has ended.
    pub fn stopped(&self, outcome: Result<(), Status>) {
        self.tell(|news| news.stopped = Some(outcome));
    }

    /// About so many packets can be read.
    pub fn packets(&self, estimate: u64) {
        tracing::trace!("vmnet has about {estimate} packets");
        self.tell(|news| news.packets = true);
    }

    fn tell(&self, say: impl FnOnce(&mut News)) {
        let mut mailbox = self.shared.lock();
        if mailbox.start != self.start {
            return;
        }
        say(&mut mailbox.news);
        if !std::mem::replace(&mut mailbox.rung, true)
            && let Err(error) = (&self.shared.bell).write_all(&[1])
        {
            tracing::debug!("nobody hears vmnet any more: {error}");
        }
    }
}

impl Shared {
    /// A thread that panicked with it left nothing half done.
    fn lock(&self) -> std::sync::MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// An empty one.
    pub(crate) fn new() -> std::io::Result<Self> {
        let (bell, theirs) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let shared = Shared {
            mailbox: Mutex::default(),
            bell: theirs,
        };
        Ok(Self {
            shared: Arc::new(shared),
            bell,
        })
    }

    /// For the next start: all before it are heard no longer.
    pub(crate) fn next_start(&self) -> Events {
        let mut mailbox = self.shared.lock();
        mailbox.start += 1;
        mailbox.news = News::default();
        Events {
            shared: Arc::clone(&self.shared),
            start: mailbox.start,
        }
    }

    /// What happened. The bell is emptied first: what comes after that either is taken here, or rings it again.
    pub(crate) fn take(&mut self) -> News {
        let mut bytes = [0; 8];
        while matches!((&self.bell).read(&mut bytes), Ok(count) if count > 0) {}
        let mut mailbox = self.shared.lock();
        mailbox.rung = false;
        std::mem::take(&mut mailbox.news)
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn rings(inbox: &Inbox) -> bool {
        let mut fds = [PollFd::new(inbox, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn any_number_of_events_rings_once() {
        let mut inbox = Inbox::new().unwrap();
        let events = inbox.next_start();
        for _ in 0..100_000 {
            events.packets(1);
        }
        assert!(rings(&inbox));
        assert!(inbox.take().packets);
        assert!(!rings(&inbox));
        assert_eq!(inbox.take(), News::default());
    }

    #[test]
    fn events_of_many_threads_are_not_lost() {
        let mut inbox = Inbox::new().unwrap();
        let events = inbox.next_start();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| events.packets(1)));
            }
            let mut heard = 0;
            while heard < 10 && rings(&inbox) {
                heard += usize::from(inbox.take().packets);
            }
        });
        events.stopped(Ok(()));
        assert!(rings(&inbox));
        assert_eq!(inbox.take().stopped, Some(Ok(())));
    }

    #[test]
    fn an_interface_that_was_given_up_is_not_heard() {
        let mut inbox = Inbox::new().unwrap();
        let old = inbox.next_start();
        let new = inbox.next_start();
        old.packets(1);
        old.started(Err(Status::Failure));
        assert!(!rings(&inbox));
        new.packets(1);
        assert!(inbox.take().packets);
    }
}
