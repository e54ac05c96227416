//! Which ports of a guest somebody listens at, as the guest says: the ground of automatic forwards.
//!
//! The kernel of a guest tells nobody outside that a program began to listen, and to try ports from outside costs frames for as long as
//! nothing happens. So a small program in the guest ([`AGENT`]) looks at `/proc/net` and tells the metadata service what changed, by
//! `PUT /atoll/ports`, and again every ten seconds. The runtime asks for that with a watch, for one guest each.
//!
//! ```text
//! PUT ──▶ report ──▶ heard ── differs from told ──▶ due (debounce, pace) ──▶ Action::Listening: told
//!                      ▲ emptied when the guest's port goes, or EXPIRES after the last report
//! ```
//!
//! **Whose report.** It counts for the watches whose guest has the report's source address, or an address that was heard from the same MAC address
//! (a report over IPv4 is for a forward over IPv6, too). The connection's handshake shows that who reports receives at that address; who may have
//! it is what [anti-spoofing](crate::gateway) says, as of all packets. So a guest speaks of its own ports and of nobody else's,
//! and can say of them what it likes: a port at which nobody listens refuses.
//!
//! **Bounds.** A report has 8 KiB and 128 ports ([`report`]). Of however many reports, one change a watch is told at first at once
//! ([`DEBOUNCE`]), then at most one each pace, which doubles from 100 ms to a second while changes follow each other, and is
//! forgotten after [`QUIET`]. Without a watch nothing is kept and the service is not there.
//!
//! Left out: to try ports of guests without the program, as nothing says when.

mod report;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use report::Listening;
pub(crate) use report::{BODY_MAX, parse};

use crate::{ForwardTarget, Instant, PortId, WatchId};

/// A POSIX shell script for guests that reports what they listen at. Its argument, if any, is the address of the metadata service.
pub const AGENT: &str = include_str!("agent.sh");

/// Where it is served.
pub(crate) const AGENT_PATH: &str = "atoll/ports.sh";
/// Where reports go.
pub(crate) const REPORT_PATH: &str = "atoll/ports";

/// How long a change waits for others: a server that starts opens several ports.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// Between the first change and the second one.
const PACE_MIN: Duration = Duration::from_millis(100);
/// Between two changes of a guest that never rests.
const PACE_MAX: Duration = Duration::from_secs(1);
/// After so long without a change the next one is told at once.
const QUIET: Duration = Duration::from_secs(10);
/// A report counts for so long; the agent repeats it every ten seconds.
const EXPIRES: Duration = Duration::from_secs(45);

#[derive(Debug)]
struct Watch {
    guest: ForwardTarget,
    heard: BTreeSet<Listening>,
    told: BTreeSet<Listening>,
    /// Through which port the guest said it.
    from: Option<PortId>,
    expires: Option<Instant>,
    due: Option<Instant>,
    told_at: Option<Instant>,
    pace: Duration,
}

impl Watch {
    fn of(guest: ForwardTarget) -> Self {
        Self {
            guest,
            heard: BTreeSet::new(),
            told: BTreeSet::new(),
            from: None,
            expires: None,
            due: None,
            told_at: None,
            pace: Duration::ZERO,
        }
    }

    fn hear(&mut self, now: Instant, ports: BTreeSet<Listening>) {
        self.heard = ports;
        // What is due stays so, and is looked at then: who changes its mind all the time is not put off for ever.
        if self.heard == self.told || self.due.is_some() {
            return;
        }
        if self.told_at.is_none_or(|at| now.since(at) >= QUIET) {
            self.pace = Duration::ZERO;
        }
        let after_last = self.told_at.map(|at| at + self.pace);
        self.due = Some((now + DEBOUNCE).max(after_last.unwrap_or(Instant::ZERO)));
    }

    fn forget(&mut self, now: Instant) {
        self.from = None;
        self.expires = None;
        self.hear(now, BTreeSet::new());
    }

    /// What is to be told now that it is due, if it is still another than before.
    fn tell(&mut self, now: Instant) -> Option<Vec<Listening>> {
        self.due = None;
        if self.heard == self.told {
            return None;
        }
        self.told_at = Some(now);
        self.pace = (self.pace * 2).clamp(PACE_MIN, PACE_MAX);
        self.told.clone_from(&self.heard);
        Some(self.told.iter().copied().collect())
    }
}

/// All guests of which it is asked what they listen at.
#[derive(Debug, Default)]
pub(crate) struct Watches(BTreeMap<WatchId, Watch>);

impl Watches {
    /// Ask; one that has this name already is replaced.
    pub(crate) fn add(&mut self, watch: WatchId, guest: ForwardTarget) {
        self.0.insert(watch, Watch::of(guest));
    }

    pub(crate) fn remove(&mut self, watch: WatchId) {
        self.0.remove(&watch);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A guest behind this port reported; `is_its` says of a target whether it is that guest.
    pub(crate) fn handle_report(
        &mut self,
        now: Instant,
        from: PortId,
        ports: &BTreeSet<Listening>,
        is_its: impl Fn(&ForwardTarget) -> bool,
    ) {
        for watch in self.0.values_mut().filter(|watch| is_its(&watch.guest)) {
            watch.from = Some(from);
            watch.expires = Some(now + EXPIRES);
            watch.hear(now, ports.clone());
        }
    }

    /// A guest is gone, with all that it said.
    pub(crate) fn handle_detached(&mut self, now: Instant, port: PortId) {
        for watch in self.0.values_mut().filter(|watch| watch.from == Some(port)) {
            watch.forget(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let times = self.0.values().flat_map(|watch| [watch.due, watch.expires]);
        times.flatten().min()
    }

    /// What is to be told now.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<(WatchId, Vec<Listening>)> {
        let mut changes = Vec::new();
        for (id, watch) in &mut self.0 {
            if watch.expires.is_some_and(|at| at <= now) {
                watch.forget(now);
            }
            if watch.due.is_some_and(|at| at <= now) {
                changes.extend(watch.tell(now).map(|ports| (*id, ports)));
            }
        }
        changes
    }
}
