//! What the threads of one command tell each other: which machine has got how far, and what cannot come any more.
//!
//! Rows and looks put up [`Fact`]s as they come true, each once; others wait for several at a time. A fact that was put up as failed
//! never comes true in this command; what waits for it fails at once. Since no machines wait for each other, everything that is waited for
//! is put up one way or the other when the row of its machine ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atoll_spec::{Condition, Dependency};

/// How long a command that was called off goes on waiting: nobody rouses those who wait.
const PAUSE: Duration = Duration::from_millis(200);

/// Something that becomes true of a machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    /// Its QEMU runs.
    Started(String),
    /// It is ready.
    Ready(String),
    /// All its outputs are known.
    Outputs(String),
    /// What was looked for in it is so.
    Looked(Dependency),
    /// It does not run, or will go on running.
    Stopped(String),
}

/// Why a fact never comes true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// The machine's row failed, which its own failure tells.
    MachineFailed,
    /// It was looked for in vain: a sentence's end.
    Looked(String),
}

/// Why somebody does not wait any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GaveUp {
    /// The place, among all that was waited for, of what never comes.
    Missed(usize, Missed),
    /// The command was called off.
    Cancelled,
}

/// The facts of one command.
#[derive(Debug, Default)]
pub(crate) struct Board {
    facts: Mutex<BTreeMap<Fact, Result<(), Missed>>>,
    changed: Condvar,
}

impl From<&Dependency> for Fact {
    fn from(wait: &Dependency) -> Self {
        let machine = wait.machine.to_string();
        match wait.condition {
            Condition::Started => Self::Started(machine),
            Condition::Ready => Self::Ready(machine),
            Condition::Outputs => Self::Outputs(machine),
            Condition::Ssh
            | Condition::CloudInit
            | Condition::Port(_)
            | Condition::Command(_)
            | Condition::File(_) => Self::Looked(wait.clone()),
        }
    }
}

impl Board {
    fn facts(&self) -> MutexGuard<'_, BTreeMap<Fact, Result<(), Missed>>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts up a fact, unless it is there already.
    pub(crate) fn put(&self, fact: Fact, outcome: Result<(), Missed>) {
        self.facts().entry(fact).or_insert(outcome);
        self.changed.notify_all();
    }

    /// Whether it is known if a fact comes true.
    pub(crate) fn is_put(&self, fact: &Fact) -> bool {
        self.facts().contains_key(fact)
    }

    /// The row of a machine has ended: what it has not put up never comes. It is as stopped as it will be.
    pub(crate) fn close(&self, machine: &str) {
        let name = || machine.to_owned();
        for fact in [Fact::Started(name()), Fact::Ready(name()), Fact::Outputs(name())] {
            self.put(fact, Err(Missed::MachineFailed));
        }
        self.put(Fact::Stopped(name()), Ok(()));
    }

    /// Waits until all of these are true. Tells the places of those that are missing, at first and whenever there are fewer.
    pub(crate) fn wait(
        &self,
        wanted: &[Fact],
        cancelled: &AtomicBool,
        mut tell: impl FnMut(&[usize]),
    ) -> Result<(), GaveUp> {
        let mut told = None;
        let mut facts = self.facts();
        loop {
            let mut missing = Vec::new();
            for (place, fact) in wanted.iter().enumerate() {
                match facts.get(fact) {
                    Some(Ok(())) => {}
                    Some(Err(why)) => return Err(GaveUp::Missed(place, why.clone())),
                    None => missing.push(place),
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            if cancelled.load(Ordering::Relaxed) {
                return Err(GaveUp::Cancelled);
            }
            if told.as_ref() != Some(&missing) {
                drop(facts);
                tell(&missing);
                told = Some(missing);
                facts = self.facts();
                continue;
            }
            let waited = self.changed.wait_timeout(facts, PAUSE);
            (facts, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(machine: &str) -> Fact {
        Fact::Started(machine.to_owned())
    }

    #[test]
    fn who_waits_goes_on_when_all_is_there_and_tells_what_is_missing_meanwhile() {
        let (board, cancelled) = (Board::default(), AtomicBool::new(false));
        let wanted = [started("a"), started("b")];
        let mut told = Vec::new();
        board.put(started("b"), Ok(()));
        std::thread::scope(|scope| {
            scope.spawn(|| board.put(started("a"), Ok(())));
            board
                .wait(&wanted, &cancelled, |missing| told.push(missing.to_vec()))
                .unwrap();
        });
        assert!(told.is_empty() || told == [vec![0]], "{told:?}");
    }

    #[test]
    fn what_never_comes_ends_the_wait_with_its_reason() {
        let (board, cancelled) = (Board::default(), AtomicBool::new(false));
        let wanted = [started("a"), Fact::Ready("b".to_owned())];
        board.put(started("b"), Ok(()));
        board.close("b");
        let missed = board.wait(&wanted, &cancelled, |_| {});
        assert_eq!(missed, Err(GaveUp::Missed(1, Missed::MachineFailed)));
        // What was true stays so.
        board
            .wait(&[started("b"), Fact::Stopped("b".to_owned())], &cancelled, |_| {})
            .unwrap();
    }

    #[test]
    fn a_command_that_is_called_off_waits_no_longer() {
        let cancelled = AtomicBool::new(true);
        let waited = Board::default().wait(&[started("a")], &cancelled, |_| {});
        assert_eq!(waited, Err(GaveUp::Cancelled));
    }
}
