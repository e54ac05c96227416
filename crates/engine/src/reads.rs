//! How many large reads a queue holds back.
//!
//! What came in one read lies in one allocation, which lives as long as the last slice of it. A queue counts the slices that do not lie
//! next to the one before them; where they are too many, further ones are to be copied out, so that what waits costs what it weighs.

use atoll_wire::HEADROOM;
use bytes::Bytes;

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
