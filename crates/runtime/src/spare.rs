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

    /// Run `turn_away` with one more descriptor free. `true` if it turned somebody away: others may wait. Without a free descriptor
    /// `accept` says so even when nobody waits, so this is how to know.
    pub(crate) fn spend(&mut self, turn_away: impl FnOnce() -> bool) -> bool {
        let turned_away = self.0.take().is_some() && turn_away();
        *self = Self::new();
        turned_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_not_turned_away_does_not_count() {
        let mut spare = Spare::new();
        assert!(spare.spend(|| true));
        assert!(!spare.spend(|| false));
        assert!(spare.spend(|| true), "it is there again");
        assert!(!Spare(None).spend(|| true));
    }
}
