//! Being told when a guest takes more.
//!
//! The kernel says that a stream socket has room each time the other side reads, which is after nearly every frame: a wake-up for
//! nothing where nothing waits. So it is asked to say so from when a guest takes less than it is offered, and no longer when it
//! does while nothing waits. A guest whose queue stays full is asked about once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use atoll_engine::PortId;

use crate::core::Core;
use crate::guests::{Guest, Link};
use crate::tokens::Source;

impl Guest {
    /// It took less than it was offered: be told when it takes more, at once if it does by now.
    pub(crate) fn await_room(&mut self, core: &Core, port: PortId) -> io::Result<()> {
        self.watch_room(core, port, true)
    }

    /// Nothing waits for it.
    pub(crate) fn needs_no_room(&mut self, core: &Core, port: PortId) -> io::Result<()> {
        self.watch_room(core, port, false)
    }

    fn watch_room(&mut self, core: &Core, port: PortId, awaited: bool) -> io::Result<()> {
        if self.awaits_room == awaited {
            return Ok(());
        }
        if let Some(fd) = self.link.told_of_room() {
            core.watch_again(fd, Source::Guest(port.0), awaited)?;
            self.awaits_room = awaited;
        }
        Ok(())
    }
}

impl Link {
    /// What becomes writable when it has room, where that is not watched always or known otherwise.
    fn told_of_room(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Stream(stream) => Some(stream.as_fd()),
            Self::Tap(tap) => Some(tap.as_fd()),
            Self::Relay(_) | Self::VhostUser(_) | Self::Dgram { .. } => None,
        }
    }
}
