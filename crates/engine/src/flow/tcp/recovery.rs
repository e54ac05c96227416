//! Loss recovery towards the guest: which bytes are sent again, and when.
//!
//! RFC 6675 without a congestion window, and with two additions that keep the retransmission timeout for links that are dead.
//!
//! - *Start*: three duplicate acknowledgements, or three segments reported beyond a hole. Every hole up to the highest
//!   byte reported is sent once: a *sweep*.
//! - *Lost again*: the link keeps its order. When bytes are reported that were sent after a sweep, and the first hole is still
//!   open, what the sweep sent is lost too, and another begins (RFC 8985's idea, by sequence number in place of time).
//! - *Tail*: when nothing is heard for two round trips, the first segment is sent again, or the sweep begins anew
//!   (RFC 8985, 7: a probe without back-off, once between two acknowledgements that advance). A guest that was slow answers with
//!   all it has; one that answers for the probe alone lacks the rest, which is sent again.
//! - *Timeout* (RFC 6298): the first segment, and once the guest answers, every hole up to `nxt`. What was reported is forgotten.

use atoll_wire::Seq;
use atoll_wire::tcp::Options;

use super::send::Sender;
use super::timers::Guard;

/// RFC 6675's and RFC 5681's DupThresh.
const DUP_THRESH: u8 = 3;

#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    /// It ends when this is acknowledged.
    until: Seq,
    /// Holes before this were sent in this sweep.
    next: Seq,
    /// The end of what had been sent when the sweep sent last.
    sent_by_then: Seq,
    lost: Lost,
}

/// What is taken for lost, of what was not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// What lies before a report.
    BeforeReports,
    /// Perhaps the first segment: nothing was heard.
    Tail,
    /// After a timeout, until the guest answers: the first segment.
    First,
    /// After a timeout: all.
    All,
}

impl Sender {
    /// Note the guest's SACK blocks.
    pub(super) fn note_sack(&mut self, options: &Options) {
        for (left, right) in options.sack.into_iter().flatten() {
            let (left, right) = (left.max(self.una), right.min(self.nxt));
            if self.sack && left.is_before(right) {
                self.board.insert(left, right);
            }
        }
    }

    /// `una` moved.
    pub(super) fn note_advance(&mut self) {
        self.board.advance(self.una);
        self.dup_acks = 0;
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        // The answer to a probe of the tail: if it goes no further than the probe itself, what lies behind is missing too.
        let was_slow = recovery.lost == Lost::Tail && self.una != recovery.next;
        if was_slow || !self.una.is_before(recovery.until) {
            self.recovery = None;
            return;
        }
        recovery.next = recovery.next.max(self.una);
        if matches!(recovery.lost, Lost::First | Lost::Tail) {
            recovery.lost = Lost::All;
        }
        if !self.sack {
            // NewReno: the guest names one hole at a time, the one it stands at (RFC 6582).
            recovery.next = self.una;
        }
    }

    /// Everything before `end` that recovery wanted was sent again.
    pub(super) fn note_repeated(&mut self, end: Seq) {
        if let Some(recovery) = &mut self.recovery {
            recovery.next = recovery.next.max(end);
            recovery.sent_by_then = self.nxt;
        }
    }

    /// Begin recovery, or another sweep, if there is reason to.
    pub(super) fn detect_loss(&mut self) {
        let threshold = u32::from(DUP_THRESH) * u32::from(self.mss);
        if self.in_flight() == 0 {
            return;
        }
        match self.recovery {
            None | Some(Recovery { lost: Lost::Tail, .. }) => {
                if self.dup_acks >= DUP_THRESH || self.board.bytes() >= threshold {
                    self.sweep(Lost::BeforeReports);
                }
            }
            Some(recovery) => {
                let first_was_sent = recovery.next.is_after(self.una);
                let heard_of_later = self
                    .board
                    .highest()
                    .is_some_and(|highest| highest.is_after(recovery.sent_by_then + threshold));
                if first_was_sent && heard_of_later {
                    self.sweep(recovery.lost);
                }
            }
        }
    }

    fn sweep(&mut self, lost: Lost) {
        self.recovery = Some(Recovery {
            until: self.nxt,
            next: self.una,
            sent_by_then: self.nxt,
            lost,
        });
    }

    /// The retransmission timeout passed. The receiver may have discarded what it reported (RFC 2018, 8).
    pub(super) fn recover_from_timeout(&mut self) {
        self.board.clear();
        self.dup_acks = 0;
        self.sweep(Lost::First);
    }

    /// Nothing was heard for two round trips.
    pub(super) fn recover_tail(&mut self) {
        let lost = self.recovery.map_or(Lost::Tail, |recovery| recovery.lost);
        self.sweep(lost);
    }

    /// What recovery wants sent next.
    pub(super) fn lost(&self) -> Option<(Seq, Seq)> {
        let recovery = self.recovery?;
        let first = self.una + u32::from(self.mss);
        let limit = match recovery.lost {
            Lost::All => recovery.until,
            Lost::First | Lost::Tail => first.min(recovery.until),
            Lost::BeforeReports => self.board.highest().unwrap_or(first).min(recovery.until),
        };
        let from = recovery.next.max(self.una);
        self.board.next_hole(from, limit)
    }

    /// What guards data that was sent. A guest may delay the acknowledgement of a single segment.
    pub(super) fn tail_guard(&self) -> Guard {
        let is_alone = self.in_flight() <= u32::from(self.mss);
        Guard::Tail { is_alone }
    }
}
