//! Which address a client gets, and what makes way for it.

use super::{Entry, Leases, OFFER_HELD, OFFER_HELD_AT_LEAST, Owner, Pool, State, Wish};
use crate::{Instant, PortId};

impl<P: Pool> Leases<P> {
    /// RFC 2131 section 4.3.1: the client's own address, the one that it should have, its old one, the one that it asks
    /// for, a new one.
    pub(in crate::services) fn choose(&self, now: Instant, wish: &Wish<P>) -> Option<P::Address> {
        let owner = wish.owner;
        let known = self.address_of(owner);
        let is_live = |at: &P::Address| self.entries.get(at).is_some_and(Entry::is_live);
        let preferred = || wish.preferred.filter(|at| self.is_available_to(owner.mac(), *at));
        let requested = || wish.requested.filter(|at| self.is_available(owner, *at));
        known
            .filter(is_live)
            .or_else(preferred)
            .or(known)
            .or_else(requested)
            .or_else(|| self.unused(owner).filter(|_| self.entries.len() < self.limit))
            .or_else(|| self.expendable(now))
    }

    /// An address that the table does not know, the same for the same owner while it is there.
    fn unused(&self, owner: P::Owner) -> Option<P::Address> {
        self.pool
            .candidates(owner)
            .find(|address| !self.entries.contains_key(address) && !self.reserved.contains_key(address))
    }

    /// The address free for longest, else the one whose offer has waited longest.
    fn expendable(&self, now: Instant) -> Option<P::Address> {
        let free = self.in_state(State::Free).iter().copied();
        let offers = self.in_state(State::Offered).iter().copied();
        let offers = offers.take_while(|(until, _)| is_expendable_offer(now, *until));
        let is_anybodys = |address: &P::Address| !self.reserved.contains_key(address);
        free.chain(offers).map(|(_, address)| address).find(is_anybodys)
    }

    /// Sees to it that a port may hold what a client asks for. `known` is the client's own entry: if it came by this
    /// port already, nothing is added.
    pub(super) fn make_share(&mut self, now: Instant, via: PortId, known: Option<P::Address>) -> bool {
        let counted = known
            .and_then(|known| self.entries.get(&known))
            .is_some_and(|entry| entry.via == Some(via));
        if counted || self.shares.count(via) < self.share() {
            return true;
        }
        let oldest = self.shares.oldest_offer(via);
        let Some((_, victim)) = oldest.filter(|(until, _)| is_expendable_offer(now, *until)) else {
            return false;
        };
        self.set_free(now, victim);
        true
    }

    /// Sees to it that an entry for `address` fits the table.
    pub(super) fn make_room(&mut self, now: Instant, address: P::Address) -> bool {
        let has_room = self.entries.contains_key(&address) || self.reserved.contains_key(&address);
        if has_room || self.entries.len() < self.limit {
            return true;
        }
        let Some(victim) = self.expendable(now) else {
            return false;
        };
        self.remove(victim);
        true
    }

    /// Kept leases in the order in which all that had room find it again: reserved addresses always have it, and come last.
    pub(in crate::services) fn in_order<'a, L>(
        &self,
        kept: &'a [L],
        address: impl Fn(&L) -> P::Address,
    ) -> Vec<&'a L> {
        let mut kept: Vec<&L> = kept.iter().collect();
        kept.sort_by_key(|lease| self.reserved.contains_key(&address(lease)));
        kept
    }
}

/// Whether an offer that ends then was not taken up at once.
fn is_expendable_offer(now: Instant, until: Instant) -> bool {
    until <= now + OFFER_HELD.saturating_sub(OFFER_HELD_AT_LEAST)
}
