//! What a process writes, collected by a thread, waited for with a deadline.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct Collected {
    text: String,
    ended: bool,
}

/// The output of one process so far. Ends when the process closes its side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output {
    shared: Arc<(Mutex<Collected>, Condvar)>,
}

impl Output {
    /// Collects what `source` gives until it ends.
    pub(crate) fn collect(mut source: impl Read + Send + 'static) -> Self {
        let output = Self::default();
        let own = output.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let len = source.read(&mut buffer).unwrap_or(0);
                own.push(&buffer[..len]);
                if len == 0 {
                    return;
                }
            }
        });
        output
    }

    fn push(&self, bytes: &[u8]) {
        let (collected, changed) = &*self.shared;
        let mut collected = collected.lock().unwrap_or_else(PoisonError::into_inner);
        collected.text.push_str(&String::from_utf8_lossy(bytes));
        collected.ended |= bytes.is_empty();
        changed.notify_all();
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.shared
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .text
            .clone()
    }

    /// Waits until `found` sees in the text what it looks for.
    ///
    /// # Errors
    /// The text so far, when the deadline passes or the process ends first.
    pub(crate) fn wait<T>(&self, patience: Duration, found: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + patience;
        let (collected, changed) = &*self.shared;
        let mut collected = collected.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(value) = found(&collected.text) {
                return Ok(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if collected.ended || left.is_zero() {
                return Err(collected.text.clone());
            }
            collected = changed
                .wait_timeout(collected, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
