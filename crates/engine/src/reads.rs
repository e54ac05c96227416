//! How many large reads a queue holds back.
//!
//! [`HeldReads`] knows them by where slices lie, [`ReadRuns`] by when they came.
//!
//! What came in one read lies in one allocation, which lives as long as the last slice of it. A queue counts the slices that do not lie
//! next to the one before them; where they are too many, further ones are to be copied out, so that what waits costs what it weighs.

use std::collections::VecDeque;

use atoll_wire::HEADROOM;
use bytes::Bytes;

use crate::Instant;

/// The count of one queue.
#[derive(Debug, Default)]
pub(crate) struct HeldReads(usize);

impl HeldReads {
    /// `next` is queued behind `last`. Whether it is of a further read where `most` are held already.
    pub(crate) fn push(&mut self, last: Option<&Bytes>, next: &Bytes, most: usize) -> bool {
        let is_another = !last.is_some_and(|last| is_next_to(last, next));
        let is_too_much = is_another && self.0 >= most;
        self.0 += usize::from(is_another);
        is_too_much
    }

    /// `gone` left the queue, and `next` is its front now.
    pub(crate) fn pop(&mut self, gone: &Bytes, next: Option<&Bytes>) {
        match next {
            None => self.0 = 0,
            Some(next) if is_next_to(gone, next) => {}
            Some(_) => self.0 = self.0.saturating_sub(1),
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.0
    }
}

/// Whether two slices lie in one read: with no more between them than headers and a length prefix.
fn is_next_to(bytes: &Bytes, next: &Bytes) -> bool {
    let end = bytes.as_ptr().addr().wrapping_add(bytes.len());
    next.as_ptr().addr().wrapping_sub(end) <= HEADROOM
}

/// The same count for slices that come with others between them: those of one instant are of one read.
#[derive(Debug, Default)]
pub(crate) struct ReadRuns {
    runs: VecDeque<Run>,
    shared: usize,
    latest: Option<Instant>,
}

/// Slices that follow each other in the queue, all of one read or all copies.
#[derive(Debug)]
struct Run {
    slices: u32,
    is_shared: bool,
}

impl ReadRuns {
    /// A slice of what was read at `now` is queued. Whether it is of a further read where `most` are held already, and is to be
    /// copied.
    pub(crate) fn push(&mut self, now: Instant, most: usize) -> bool {
        let is_same = self.latest == Some(now) && self.runs.back().is_some_and(|run| run.is_shared);
        let is_too_much = !is_same && self.shared >= most;
        if !is_too_much {
            self.latest = Some(now);
        }
        self.add(!is_too_much, !is_same);
        is_too_much
    }

    /// A slice that is a copy is queued.
    pub(crate) fn push_copy(&mut self) {
        self.add(false, false);
    }

    fn add(&mut self, is_shared: bool, is_another: bool) {
        match self.runs.back_mut() {
            Some(run) if run.is_shared == is_shared && !(is_shared && is_another) => run.slices += 1,
            _ => {
                self.shared += usize::from(is_shared);
                self.runs.push_back(Run { slices: 1, is_shared });
            }
        }
    }

    /// The first slice left the queue.
    pub(crate) fn pop_front(&mut self) {
        if let Some(run) = self.runs.front_mut() {
            run.slices -= 1;
            if run.slices == 0 {
                self.shared -= usize::from(run.is_shared);
                self.runs.pop_front();
            }
        }
    }

    /// The last slice left the queue.
    pub(crate) fn pop_back(&mut self) {
        if let Some(run) = self.runs.back_mut() {
            run.slices -= 1;
            if run.slices == 0 {
                self.shared -= usize::from(run.is_shared);
                self.runs.pop_back();
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.shared
    }
}
