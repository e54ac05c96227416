//! A descriptor in reserve, for when none is left.
//!
//! When a process has used up its descriptors, `accept` fails and the connection stays in the backlog: it would be
//! reported again and again, or never. Giving up the spare lets it be accepted and closed, so that the peer learns at once.

use std::fs::File;
use std::io;

use rustix::io::Errno;

/// The descriptor, unless it is spent.
#[derive(Debug)]
pub(crate) struct Spare(Option<File>);

impl Spare {
    pub(crate) fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Whether an error says that descriptors have run out.
    pub(crate) fn is_wanted(error: &io::Error) -> bool {
        matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
        )
    }

    /// Run `turn_away` with one more descriptor free; `false` if there was none to give.
    pub(crate) fn spend(&mut self, turn_away: impl FnOnce()) -> bool {
        let had = self.0.take().is_some();
        if had {
            turn_away();
        }
        *self = Self::new();
        had
    }
}
