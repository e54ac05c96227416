//! A question with a deadline.
//!
//! The thread that asks cannot be ended from outside; one whose file system, device or daemon does not answer is left behind,
//! and ends with the process.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A question that is being asked.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    answer: Receiver<T>,
    until: Instant,
    patience: Duration,
}

/// The time that an answer was waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late(pub(crate) Duration);

impl<T: Send + 'static> Asked<T> {
    /// Begin to ask.
    pub(crate) fn begin(patience: Duration, question: impl FnOnce() -> T + Send + 'static) -> Self {
        let (told, answer) = channel();
        // A thread that cannot be started answers as late as one that hangs.
        let _ = thread::Builder::new().spawn(move || told.send(question()));
        Self {
            answer,
            until: Instant::now() + patience,
            patience,
        }
    }

    /// The answer, waited for until the deadline. A question that panicked is not answered.
    pub(crate) fn answer(self) -> Result<T, Late> {
        let left = self.until.saturating_duration_since(Instant::now());
        self.answer.recv_timeout(left).map_err(|_| Late(self.patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let patience = Duration::from_millis(20);
        let (_never, silence) = channel::<()>();
        let asked = Asked::begin(patience, move || silence.recv().is_ok());
        assert_eq!(asked.answer(), Err(Late(patience)));
        assert_eq!(Asked::begin(Duration::from_secs(60), || 7).answer(), Ok(7));
    }
}
