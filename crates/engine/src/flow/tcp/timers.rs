//! When a connection acts without being asked.
//!
//! One deadline at a time guards what was sent: while something is unacknowledged first a tail probe and then retransmission
//! with back-off, probing while the guest's window is closed. Behind it stands the idle deadline: a guest not heard for two hours (RFC 5382, REQ-5) is probed, and
//! given up when it stays silent for ten minutes more. Round-trip time is sampled from one segment at a time, never a
//! repeated one (RFC 6298, Karn).

use std::time::Duration;

use atoll_wire::Seq;

use crate::Instant;

/// RFC 6298's minimum is one second; Linux uses this, as the link is local.
const MIN_RTO: Duration = Duration::from_millis(200);
const INITIAL_RTO: Duration = Duration::from_secs(1);
const MAX_RTO: Duration = Duration::from_secs(60);
/// A guest that takes nothing for this long is gone (Linux: `tcp_retries2`, about 15 minutes).
const GIVE_UP: Duration = Duration::from_secs(15 * 60);
/// How long a handshake may take (Linux: `tcp_syn_retries`, about two minutes).
const HANDSHAKE: Duration = Duration::from_secs(130);
const IDLE: Duration = Duration::from_secs(2 * 3600);
const IDLE_GIVE_UP: Duration = Duration::from_secs(2 * 3600 + 600);
/// TIME-WAIT: long enough for a guest on a local link to repeat its FIN.
const TIME_WAIT: Duration = Duration::from_secs(5);

/// A tail probe waits two round trips (RFC 8985, 7.2), and this at least; longer for a segment that is alone, whose acknowledgement
/// a guest may delay (Linux: 40 ms).
const MIN_TAIL: Duration = Duration::from_millis(10);
const DELAYED_ACK: Duration = Duration::from_millis(50);
/// Acknowledged bytes wait this long for more to be dropped with.
const FREED: Duration = Duration::from_millis(200);

/// What the armed deadline guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Unacknowledged segments, one segment perhaps.
    Tail { is_alone: bool },
    /// Unacknowledged segments after a tail probe; a handshake.
    Retransmit,
    /// A closed window.
    Probe,
}

#[derive(Clone, Debug)]
pub(super) struct Timers {
    smoothed: Option<RoundTrip>,
    rto: Micros,
    backoff: u8,
    sample: Option<(Seq, Instant)>,
    guard: Option<(Guard, Instant)>,
    /// When there began to be something to guard.
    guarded_since: Instant,
    heard: Instant,
    idle_probe: Option<Instant>,
    state_since: Instant,
    discard_at: Option<Instant>,
}

/// Microseconds: half the size of a [`Duration`], and an hour at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Micros(u32);

impl From<Duration> for Micros {
    fn from(time: Duration) -> Self {
        Self(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
    }
}

impl From<Micros> for Duration {
    fn from(Micros(micros): Micros) -> Self {
        Self::from_micros(u64::from(micros))
    }
}

/// SRTT and RTTVAR of RFC 6298.
#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    smoothed: Micros,
    variation: Micros,
}

/// What a timeout calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// See whether the end of what was sent is lost.
    ProbeTail,
    /// Send the first unacknowledged segment again.
    Retransmit,
    /// Drop acknowledged bytes from the host's queue.
    Discard,
    /// Ask the guest for its window.
    Probe,
    /// Give up.
    GiveUp,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            smoothed: None,
            rto: INITIAL_RTO.into(),
            backoff: 0,
            sample: None,
            guard: None,
            guarded_since: now,
            heard: now,
            idle_probe: None,
            state_since: now,
            discard_at: None,
        }
    }

    /// The guest sent something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.idle_probe = None;
    }

    /// A new state began.
    pub(super) fn enter_state(&mut self, now: Instant) {
        self.state_since = now;
    }

    /// How long the state has lasted.
    pub(super) fn in_state_for(&self, now: Instant) -> Duration {
        now.since(self.state_since)
    }

    /// Guard something, unless the same is guarded already. A segment that is alone no longer waits no longer than others.
    pub(super) fn arm(&mut self, now: Instant, guard: Guard) {
        let is_probe = |guard| guard == Guard::Probe;
        let Some((armed, _)) = self
            .guard
            .filter(|(armed, _)| is_probe(*armed) == is_probe(guard))
        else {
            self.guarded_since = now;
            return self.rearm(now, guard);
        };
        if armed == (Guard::Tail { is_alone: true }) && guard == (Guard::Tail { is_alone: false }) {
            self.rearm(now, guard);
        }
    }

    /// Guard something, from now on.
    pub(super) fn rearm(&mut self, now: Instant, guard: Guard) {
        let delay = match guard {
            Guard::Tail { is_alone } if self.backoff == 0 => self.tail(is_alone),
            _ => self.backed_off(),
        };
        self.guard = Some((guard, now + delay));
    }

    fn tail(&self, is_alone: bool) -> Duration {
        let delayed = if is_alone { DELAYED_ACK } else { Duration::ZERO };
        let two = self
            .smoothed
            .map_or(INITIAL_RTO, |known| 2 * Duration::from(known.smoothed));
        (two.max(MIN_TAIL) + delayed).min(self.rto.into())
    }

    /// Bytes were acknowledged that the host's queue still holds.
    pub(super) fn freed(&mut self, now: Instant) {
        self.discard_at = Some(now + FREED);
    }

    /// They are dropped.
    pub(super) fn discarded(&mut self) {
        self.discard_at = None;
    }

    pub(super) fn disarm(&mut self) {
        self.guard = None;
        self.backoff = 0;
    }

    /// Time a segment that ends at `end`, unless one is being timed.
    pub(super) fn start_sample(&mut self, now: Instant, end: Seq) {
        self.sample.get_or_insert((end, now));
    }

    /// Something is sent again: what is being timed has no meaning any more.
    pub(super) fn drop_sample(&mut self) {
        self.sample = None;
    }

    /// New data was acknowledged up to `ack`.
    pub(super) fn acknowledged(&mut self, now: Instant, ack: Seq) {
        self.backoff = 0;
        if let Some((end, at)) = self.sample
            && !ack.is_before(end)
        {
            self.sample = None;
            self.add_sample(now.since(at));
        }
    }

    fn add_sample(&mut self, rtt: Duration) {
        let (smoothed, variation) = match self.smoothed {
            None => (rtt, rtt / 2),
            Some(RoundTrip { smoothed, variation }) => {
                let (smoothed, variation) = (Duration::from(smoothed), Duration::from(variation));
                (
                    smoothed * 7 / 8 + rtt / 8,
                    variation * 3 / 4 + smoothed.abs_diff(rtt) / 4,
                )
            }
        };
        self.smoothed = Some(RoundTrip {
            smoothed: smoothed.into(),
            variation: variation.into(),
        });
        self.rto = (smoothed + 4 * variation).clamp(MIN_RTO, MAX_RTO).into();
    }

    fn backed_off(&self) -> Duration {
        Duration::from(self.rto)
            .saturating_mul(1 << self.backoff.min(10))
            .min(MAX_RTO)
    }

    /// What is due at `now` in an open connection or a handshake.
    pub(super) fn poll_due(&mut self, now: Instant, in_handshake: bool) -> Option<Due> {
        if in_handshake && now.since(self.state_since) >= HANDSHAKE || now.since(self.heard) >= IDLE_GIVE_UP {
            return Some(Due::GiveUp);
        }
        if let Some((guard, at)) = self.guard
            && at <= now
        {
            if now.since(self.heard.max(self.guarded_since)) >= GIVE_UP {
                return Some(Due::GiveUp);
            }
            if matches!(guard, Guard::Tail { .. }) {
                self.rearm(now, Guard::Retransmit);
                return Some(Due::ProbeTail);
            }
            self.backoff = self.backoff.saturating_add(1);
            self.rearm(now, guard);
            return Some(if guard == Guard::Probe {
                Due::Probe
            } else {
                Due::Retransmit
            });
        }
        if self.discard_at.is_some_and(|at| at <= now) {
            return Some(Due::Discard);
        }
        if now.since(self.heard) >= IDLE && self.idle_probe.is_none_or(|at| now.since(at).as_secs() >= 75) {
            self.idle_probe = Some(now);
            return Some(Due::Probe);
        }
        None
    }

    /// Whether TIME-WAIT is over.
    pub(super) fn time_wait_is_over(&self, now: Instant) -> bool {
        now.since(self.state_since) >= TIME_WAIT
    }

    pub(super) fn time_wait_end(&self) -> Instant {
        self.state_since + TIME_WAIT
    }

    /// When something is due next.
    pub(super) fn next_due(&self, in_handshake: bool) -> Instant {
        let idle = self
            .idle_probe
            .map_or(self.heard + IDLE, |at| at + Duration::from_secs(75));
        let handshake = in_handshake.then(|| self.state_since + HANDSHAKE);
        let guard = self.guard.map(|(_, at)| at);
        let others = [guard, handshake, self.discard_at];
        others.into_iter().flatten().fold(idle, Instant::min)
    }
}
