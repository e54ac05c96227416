//! What of the table came by which port.

use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, State};
use crate::{Instant, PortId};

/// Offers and leases by port. A port without any has no entry, so there are no more entries than addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shares<A> {
    by_port: BTreeMap<PortId, Share<A>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Share<A> {
    /// Offers and leases.
    count: usize,
    /// Offers by their end.
    offers: BTreeSet<(Instant, A)>,
}

impl<A> Default for Shares<A> {
    fn default() -> Self {
        Self {
            by_port: BTreeMap::new(),
        }
    }
}

impl<A> Default for Share<A> {
    fn default() -> Self {
        Self {
            count: 0,
            offers: BTreeSet::new(),
        }
    }
}

impl<A: Copy + Ord> Shares<A> {
    /// Offers and leases that came by a port.
    pub(super) fn count(&self, port: PortId) -> usize {
        self.by_port.get(&port).map_or(0, |share| share.count)
    }

    /// The offer that a port has had longest, and its end.
    pub(super) fn oldest_offer(&self, port: PortId) -> Option<(Instant, A)> {
        self.by_port.get(&port)?.offers.first().copied()
    }

    /// An entry came into the table.
    pub(super) fn add<O>(&mut self, address: A, entry: &Entry<O>) {
        let Some(port) = entry.via else { return };
        let share = self.by_port.entry(port).or_default();
        share.count += 1;
        if entry.state == State::Offered {
            share.offers.insert((entry.at, address));
        }
    }

    /// An entry left the table.
    pub(super) fn remove<O>(&mut self, address: A, entry: &Entry<O>) {
        let Some(port) = entry.via else { return };
        let Some(share) = self.by_port.get_mut(&port) else {
            return;
        };
        share.offers.remove(&(entry.at, address));
        share.count = share.count.saturating_sub(1);
        if share.count == 0 {
            self.by_port.remove(&port);
        }
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> impl Iterator<Item = usize> {
        self.by_port.values().map(|share| share.count)
    }
}
