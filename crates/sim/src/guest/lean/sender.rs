//! Guest to engine. Places are counted in 64 bits from our SYN, which is at 0, so that nothing here wraps.
//!
//! There is no congestion window: the guest sends what the engine's window allows, at once. Lost is a segment of which three later
//! ones are reported, or a repeated one when one that was sent a round trip later is; the end is probed for after two round
//! trips; else the retransmission timeout decides.

use std::collections::VecDeque;
use std::time::Duration;

use atoll_engine::Instant;

use crate::stream::Stream;

const MIN_RTO: Duration = Duration::from_millis(200);
const MIN_TAIL: Duration = Duration::from_millis(10);

/// A segment under way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    start: u64,
    end: u64,
    fin: bool,
    at: Instant,
    again: bool,
    reported: bool,
    lost: bool,
}

/// A segment to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    pub(super) start: u64,
    pub(super) bytes: usize,
    pub(super) fin: bool,
}

/// What an acknowledgement says, in places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    pub(super) ack: u64,
    pub(super) window: u64,
    pub(super) reports: &'a [(u64, u64)],
    /// It carries no payload, so that it may be a duplicate.
    pub(super) is_pure: bool,
}

#[derive(Debug)]
pub(super) struct Sender {
    pub(super) stream: Stream,
    /// Bytes that the program wrote.
    written: u64,
    closing: bool,
    una: u64,
    nxt: u64,
    edge: u64,
    largest_window: u64,
    pub(super) mss: u16,
    pub(super) largest: u64,
    pub(super) sack: bool,
    under_way: VecDeque<Sent>,
    lost: usize,
    duplicates: u32,
    /// Without SACK: until this is acknowledged, each acknowledgement names the next hole (RFC 6582).
    recovers_until: Option<u64>,
    fin_was_sent: bool,
    /// When the latest segment was sent of those known to have arrived.
    delivered: Instant,
    round_trip: Option<Duration>,
    backoff: u32,
    tail_was_probed: bool,
    deadline: Option<Instant>,
    /// A probe of a closed window is due.
    probes: bool,
    pub(super) timeouts: u64,
}

impl Sender {
    pub(super) fn new(stream: Stream, waits: bool) -> Self {
        Self {
            stream,
            written: if waits { 0 } else { stream.len() },
            closing: !waits,
            una: 0,
            nxt: 1,
            edge: 0,
            largest_window: 0,
            mss: 536,
            largest: 536,
            sack: false,
            under_way: VecDeque::new(),
            lost: 0,
            duplicates: 0,
            recovers_until: None,
            fin_was_sent: false,
            delivered: Instant::ZERO,
            round_trip: None,
            backoff: 0,
            tail_was_probed: false,
            deadline: None,
            probes: false,
            timeouts: 0,
        }
    }

    pub(super) fn write(&mut self, bytes: u64) {
        self.written = (self.written + bytes).min(self.stream.len());
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// Bytes that the program wrote.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn una(&self) -> u64 {
        self.una
    }

    pub(super) fn next(&self) -> u64 {
        self.nxt
    }

    /// Our SYN was acknowledged, with this window.
    pub(super) fn open(&mut self, window: u64) {
        self.una = 1;
        self.set_window(1, window);
    }

    fn set_window(&mut self, ack: u64, window: u64) {
        self.edge = self.edge.max(ack + window);
        self.largest_window = self.largest_window.max(window);
    }

    /// Where our FIN stands, if the program closed.
    fn fin_at(&self) -> Option<u64> {
        self.closing.then_some(1 + self.written)
    }

    /// Whether there is something that was never sent.
    fn has_more(&self) -> bool {
        self.nxt < 1 + self.written + u64::from(self.closing)
    }

    pub(super) fn fin_was_sent(&self) -> bool {
        self.fin_was_sent
    }

    pub(super) fn fin_is_acknowledged(&self) -> bool {
        self.fin_at().is_some_and(|at| self.una > at)
    }

    /// The engine heard us.
    pub(super) fn handle_ack(&mut self, now: Instant, heard: Heard<'_>) {
        let edge_before = self.edge;
        self.set_window(heard.ack, heard.window);
        let advanced = heard.ack > self.una && heard.ack <= self.nxt;
        if advanced {
            self.advance(now, heard.ack);
        } else if heard.ack == self.una
            && heard.is_pure
            && self.edge == edge_before
            && !self.under_way.is_empty()
        {
            self.duplicates += 1;
        }
        for &(left, right) in heard.reports {
            self.report(left, right);
        }
        self.find_lost(advanced);
        if self.under_way.is_empty() && (self.edge > self.nxt || !self.has_more()) {
            self.deadline = None;
            self.backoff = 0;
        } else if advanced {
            self.arm(now);
        }
    }

    fn advance(&mut self, now: Instant, ack: u64) {
        self.una = ack;
        (self.duplicates, self.backoff, self.tail_was_probed) = (0, 0, false);
        while let Some(first) = self.under_way.front().copied().filter(|first| first.end <= ack) {
            self.under_way.pop_front();
            self.lost -= usize::from(first.lost);
            self.delivered = self.delivered.max(first.at);
            if !first.again {
                let sample = now.since(first.at);
                let smooth = |old: Duration| old * 7 / 8 + sample / 8;
                self.round_trip = Some(self.round_trip.map_or(sample, smooth));
            }
        }
        if let Some(first) = self.under_way.front_mut() {
            first.start = first.start.max(ack);
        }
    }

    fn report(&mut self, left: u64, right: u64) {
        for sent in &mut self.under_way {
            if !sent.reported && left <= sent.start && sent.end <= right {
                sent.reported = true;
                self.lost -= usize::from(std::mem::take(&mut sent.lost));
                self.delivered = self.delivered.max(sent.at);
            }
        }
    }

    fn find_lost(&mut self, advanced: bool) {
        if !self.sack {
            return self.find_lost_without_reports(advanced);
        }
        if !self.under_way.iter().any(|sent| sent.reported) {
            return;
        }
        let later = self.round_trip.unwrap_or_default() + Duration::from_millis(1);
        let mut reported_above = 0;
        for sent in self.under_way.iter_mut().rev() {
            if sent.reported {
                reported_above += 1;
            } else if !sent.lost
                && (!sent.again && reported_above >= 3 || sent.again && self.delivered > sent.at + later)
            {
                sent.lost = true;
                self.lost += 1;
            }
        }
    }

    fn find_lost_without_reports(&mut self, advanced: bool) {
        self.recovers_until = self.recovers_until.filter(|until| self.una < *until);
        let begins = self.duplicates == 3 && self.recovers_until.is_none();
        if begins {
            self.recovers_until = Some(self.nxt);
        }
        if (begins || advanced && self.recovers_until.is_some())
            && let Some(first) = self.under_way.front_mut()
            && !first.lost
        {
            first.lost = true;
            self.lost += 1;
        }
    }

    fn arm(&mut self, now: Instant) {
        let round_trip = self.round_trip.unwrap_or(Duration::from_millis(500));
        let timeout = (3 * round_trip).max(MIN_RTO) * (1 << self.backoff.min(8));
        let tail = (2 * round_trip).max(MIN_TAIL) + Duration::from_millis(50);
        let delay = if self.tail_was_probed || self.backoff > 0 {
            timeout
        } else {
            tail.min(timeout)
        };
        self.deadline = Some(now + delay);
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|at| at > now) {
            return;
        }
        if self.under_way.is_empty() {
            self.probes = true;
            self.backoff += 1;
        } else if self.tail_was_probed {
            self.timeouts += 1;
            self.backoff += 1;
            for sent in &mut self.under_way {
                (sent.lost, sent.reported) = (true, false);
            }
            self.lost = self.under_way.len();
        } else {
            self.tail_was_probed = true;
            let probe = if self.sack {
                self.under_way.iter_mut().rev().find(|sent| !sent.reported)
            } else {
                self.under_way.front_mut()
            };
            if let Some(sent) = probe
                && !sent.lost
            {
                sent.lost = true;
                self.lost += 1;
            }
        }
        self.arm(now);
    }

    /// Whether a probe of the engine's window is due: a segment before the window.
    pub(super) fn take_probe(&mut self) -> bool {
        std::mem::take(&mut self.probes)
    }

    /// The next segment to send.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Out> {
        let out = self.poll_lost(now).or_else(|| self.poll_new(now));
        let window_is_shut = self.under_way.is_empty() && self.has_more();
        if self.deadline.is_none() && (out.is_some() || window_is_shut) {
            self.arm(now);
        }
        out
    }

    fn poll_lost(&mut self, now: Instant) -> Option<Out> {
        if self.lost == 0 {
            return None;
        }
        let sent = self.under_way.iter_mut().find(|sent| sent.lost)?;
        self.lost -= 1;
        (sent.lost, sent.again, sent.at) = (false, true, now);
        Some(Out {
            start: sent.start,
            bytes: usize::try_from(sent.end - sent.start).unwrap_or(0) - usize::from(sent.fin),
            fin: sent.fin,
        })
    }

    fn poll_new(&mut self, now: Instant) -> Option<Out> {
        let end = 1 + self.written;
        let usable = self.edge.min(end).saturating_sub(self.nxt);
        let bytes = usable.min(self.largest);
        let is_last = self.nxt + bytes == end;
        let worthwhile = bytes >= u64::from(self.mss)
            || is_last
            || self.under_way.is_empty()
            || usable >= self.largest_window / 2;
        if bytes > 0 && !worthwhile {
            return None;
        }
        let fin = self.closing && is_last && self.nxt + bytes < self.edge && self.nxt <= end;
        if bytes == 0 && !fin {
            return None;
        }
        let start = self.nxt;
        self.nxt += bytes + u64::from(fin);
        self.fin_was_sent |= fin;
        self.under_way.push_back(Sent {
            start,
            end: self.nxt,
            fin,
            at: now,
            again: false,
            reported: false,
            lost: false,
        });
        Some(Out {
            start,
            bytes: usize::try_from(bytes).unwrap_or(0),
            fin,
        })
    }
}
