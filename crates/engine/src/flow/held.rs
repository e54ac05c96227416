//! What TCP flows hold for hosts that do not take it, summed for each port.
//!
//! A flow holds bytes that a full host socket left, and segments out of order; its window bounds each flow. The sum is bounded for the
//! port that the guest is behind, since a guest may have many flows and many addresses:
//!
//! - from half of the bound on, windows close: what is held opens no edge, and a flow that holds nothing gets no more than a small window;
//! - at the bound nothing more is kept: segments out of order are dropped, and so is what a full host left and was not acknowledged yet.
//!   The guest sends them again (RFC 9293, 3.8.6: the edge stays where it is). What was acknowledged is never dropped.

use std::collections::BTreeMap;

use crate::PortId;

/// The sums.
#[derive(Debug)]
pub(crate) struct Held {
    by_port: BTreeMap<PortId, u64>,
    bound: u64,
}

impl Held {
    pub(super) fn new(bound: u64) -> Self {
        Self {
            by_port: BTreeMap::new(),
            bound,
        }
    }

    /// A flow of a guest behind `port` holds `after` bytes where it held `before`.
    pub(crate) fn change(&mut self, port: PortId, before: u32, after: u32) {
        let sum = self.by_port.entry(port).or_default();
        *sum = (*sum + u64::from(after)).saturating_sub(u64::from(before));
        if *sum == 0 {
            self.by_port.remove(&port);
        }
    }

    /// Whether nothing is held for anybody.
    pub(crate) fn is_nothing(&self) -> bool {
        self.by_port.is_empty()
    }

    /// Whether windows are to close.
    pub(crate) fn is_much(&self, port: PortId) -> bool {
        self.of(port) >= self.bound / 2
    }

    /// Whether nothing more is to be kept.
    pub(crate) fn is_full(&self, port: PortId) -> bool {
        self.of(port) >= self.bound
    }

    fn of(&self, port: PortId) -> u64 {
        self.by_port.get(&port).copied().unwrap_or(0)
    }
}
