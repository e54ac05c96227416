//! Who is there, on a network where the gateway gives no addresses.
//!
//! A bridged network's guests are reached at their link-local addresses, which they tell when they come up and seldom after that. One that was
//! there before us, or whose address was forgotten, is asked: an echo request to all nodes (RFC 4443, 4.2; answered by Linux, the
//! BSDs and Windows' own rules for their link), to guests only. Their answers, and the solicitations with which they look for
//! us to send them, tell their addresses.
//!
//! Asked is when a port was attached, after each of [`DELAYS`], and at once when a connection for a guest comes whose address is not known;
//! never more than once in [`MIN_DELAY`].

use std::time::Duration;

use atoll_wire::ndp::{self, ALL_NODES};
use atoll_wire::packet::push_icmpv6;
use atoll_wire::{FrameBuf, Icmpv6Message, Offload};

use crate::lan::Lan;
use crate::{Instant, Mode};

/// After a port was attached: a machine that boots has no address for a while.
const DELAYS: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(4),
    Duration::from_secs(16),
    Duration::from_secs(60),
];
const MIN_DELAY: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(crate) struct RollCall {
    due: Option<Instant>,
    last: Option<Instant>,
    /// How many of the delays have passed since a port was attached.
    step: usize,
}

impl RollCall {
    /// A guest is there who may have been there before.
    pub(crate) fn handle_attached(&mut self, now: Instant, lan: &Lan) {
        if lan.mode == Mode::Bridged {
            self.step = 0;
            self.ask_at(now + DELAYS[0]);
        }
    }

    /// A guest is wanted whose address is not known.
    pub(crate) fn handle_wanted(&mut self, now: Instant, lan: &Lan) {
        if lan.mode == Mode::Bridged {
            self.ask_at(now);
        }
    }

    fn ask_at(&mut self, at: Instant) {
        let at = self.last.map_or(at, |last| at.max(last + MIN_DELAY));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, lan: &mut Lan) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        if lan.switch.is_deserted() {
            return;
        }
        self.last = Some(now);
        self.step = (self.step + 1).min(DELAYS.len());
        if let Some(delay) = DELAYS.get(self.step) {
            self.due = Some(now + *delay);
        }
        let mut echo = FrameBuf::zeroed(0);
        let ends = (lan.link_local, ALL_NODES);
        push_icmpv6(&mut echo, ends, (Icmpv6Message::EchoRequest.into(), 0), [0; 4]);
        lan.send_discovery(now, ends, ndp::group_mac(ALL_NODES), (echo, Offload::default()));
    }
}
