//! What happens to addresses: offers, leases, and their ends.

use std::time::Duration;

use atoll_wire::Mac;

use super::{
    Binding, DECLINED_MAX, Entry, Leases, OFFER_HELD, Owner, Pool, QUARANTINE, Refused, State, Wish,
};
use crate::Instant;

impl<P: Pool> Leases<P> {
    /// Finds an address for a client and holds it for a short time. What its station has by lease stays a lease.
    pub(in crate::services) fn offer(&mut self, now: Instant, wish: &Wish<P>) -> Result<P::Address, Refused> {
        let Wish {
            owner,
            via,
            preferred,
            ..
        } = *wish;
        let known = self.address_of(owner);
        if let Some(address) = known.filter(|known| self.is_bound(*known)) {
            return Ok(address);
        }
        let reserved = preferred.is_some_and(|address| self.reserved.get(&address) == Some(&owner.mac()));
        if !reserved && !self.make_share(now, via, known) {
            return Err(Refused::OverShare);
        }
        let address = self.choose(now, wish).ok_or(Refused::Exhausted)?;
        if self.is_bound(address) {
            return Ok(address);
        }
        if !self.make_room(now, address) {
            return Err(Refused::Exhausted);
        }
        let earlier = self.remove(address).filter(|entry| entry.owner == Some(owner));
        self.forget(now, owner);
        let entry = Entry {
            owner: Some(owner),
            state: State::Offered,
            at: now + OFFER_HELD,
            hostname: None,
            via: Some(via),
            kept: earlier.is_some_and(|entry| entry.kept),
        };
        self.insert(address, entry);
        Ok(address)
    }

    /// Enters a lease. A host name that another lease has is left out.
    pub(in crate::services) fn try_bind(&mut self, now: Instant, binding: Binding<P>) -> Result<(), Refused> {
        let Binding {
            owner,
            address,
            until,
            hostname,
            via,
        } = binding;
        if !self.is_available_to(owner.mac(), address) {
            return Err(Refused::Unavailable);
        }
        let counts = via.filter(|_| !self.reserved.contains_key(&address));
        if counts.is_some_and(|via| !self.make_share(now, via, self.address_of(owner))) {
            return Err(Refused::OverShare);
        }
        if !self.make_room(now, address) {
            return Err(Refused::Exhausted);
        }
        self.remove(address);
        self.forget(now, owner);
        let entry = Entry {
            owner: Some(owner),
            state: State::Bound,
            at: until,
            hostname: hostname.filter(|name| !self.by_name.contains_key(name)),
            via,
            kept: true,
        };
        self.insert(address, entry);
        Ok(())
    }

    /// A client gives back what it has. False when it does not have it.
    pub(in crate::services) fn release(
        &mut self,
        now: Instant,
        owner: P::Owner,
        address: P::Address,
    ) -> bool {
        let Some(entry) = self.take_live(owner, address) else {
            return false;
        };
        self.insert(
            address,
            Entry {
                state: State::Free,
                at: now,
                ..entry
            },
        );
        true
    }

    /// A client says that somebody else uses what it was given. False when it was not given this.
    pub(in crate::services) fn decline(
        &mut self,
        now: Instant,
        owner: P::Owner,
        address: P::Address,
    ) -> bool {
        if self.take_live(owner, address).is_none() {
            return false;
        }
        let bound = DECLINED_MAX.min(self.leasable() / 4).max(1);
        while self.in_state(State::Declined).len() >= bound {
            let Some((_, oldest)) = self.first_in(State::Declined) else {
                break;
            };
            self.set_free(now, oldest);
        }
        let entry = Entry {
            owner: None,
            state: State::Declined,
            at: now + QUARANTINE,
            hostname: None,
            via: None,
            kept: false,
        };
        self.insert(address, entry);
        true
    }

    /// Drops the offer that a client did not take.
    pub(in crate::services) fn withdraw_offer(&mut self, now: Instant, owner: P::Owner) {
        if let Some(address) = self.address_of(owner)
            && self
                .entries
                .get(&address)
                .is_some_and(|entry| entry.state == State::Offered)
        {
            self.set_free(now, address);
        }
    }

    /// Reserves an address for a station: whoever else has it by lease loses it. Returns whether a lease ended.
    pub(in crate::services) fn reserve(&mut self, mac: Mac, address: P::Address) -> bool {
        self.reserved.insert(address, mac);
        let entry = self.entries.get(&address);
        let its = entry
            .and_then(|entry| entry.owner)
            .is_some_and(|owner| owner.mac() == mac);
        let taken = if its { None } else { self.remove(address) };
        taken.is_some_and(|entry| entry.state == State::Bound)
    }

    /// The address is no longer reserved. Whoever has it by lease keeps it if it is of the pool. Returns whether a
    /// lease ended.
    pub(in crate::services) fn unreserve(&mut self, address: P::Address) -> bool {
        self.reserved.remove(&address);
        let stays = self.pool.contains(address);
        let ended = if stays { None } else { self.remove(address) };
        ended.is_some_and(|entry| entry.state == State::Bound)
    }

    /// The client has another address from now on; the old one is nobody's. Returns whether a lease ended.
    pub(in crate::services) fn forget(&mut self, now: Instant, owner: P::Owner) -> bool {
        let Some(address) = self.address_of(owner) else {
            return false;
        };
        let was_bound = self.is_bound(address);
        self.set_free(now, address);
        if let Some(entry) = self.remove(address) {
            self.insert(address, Entry { owner: None, ..entry });
        }
        was_bound
    }

    /// A station has this address from now on and no other. Returns whether a lease ended.
    pub(in crate::services) fn forget_all_but(
        &mut self,
        now: Instant,
        mac: Mac,
        address: P::Address,
    ) -> bool {
        let others = self.addresses_of(mac).filter(|(other, _)| *other != address);
        let owners: Vec<P::Owner> = others.filter_map(|(_, entry)| entry.owner).collect();
        let ended = owners.into_iter().filter(|owner| self.forget(now, *owner));
        ended.count() > 0
    }

    /// Moves every end of state later by `by`.
    pub(in crate::services) fn shift(&mut self, by: Duration) {
        let addresses: Vec<_> = self.entries.keys().copied().collect();
        for address in addresses {
            if let Some(entry) = self.remove(address) {
                let at = entry.at + by;
                self.insert(address, Entry { at, ..entry });
            }
        }
    }

    /// Ends what is over. Returns whether a lease ended.
    pub(in crate::services) fn expire(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for state in [State::Offered, State::Declined, State::Bound] {
            while let Some((_, address)) = self.first_in(state).filter(|(at, _)| *at <= now) {
                self.set_free(now, address);
                changed |= state == State::Bound;
            }
        }
        changed
    }

    fn is_bound(&self, address: P::Address) -> bool {
        self.entries.get(&address).is_some_and(Entry::is_bound)
    }

    /// Takes out what a client was given, offered or bound.
    fn take_live(&mut self, owner: P::Owner, address: P::Address) -> Option<Entry<P::Owner>> {
        let entry = self.entries.get(&address);
        entry.filter(|entry| entry.owner == Some(owner) && entry.is_live())?;
        self.remove(address)
    }

    /// Ends whatever the address does. What was only offered is as if never used.
    pub(super) fn set_free(&mut self, now: Instant, address: P::Address) {
        if let Some(entry) = self.remove(address)
            && (entry.kept || entry.state == State::Declined)
        {
            self.insert(
                address,
                Entry {
                    state: State::Free,
                    at: now,
                    ..entry
                },
            );
        }
    }

    fn insert(&mut self, address: P::Address, mut entry: Entry<P::Owner>) {
        if entry.state == State::Bound {
            if let Some(name) = &entry.hostname {
                self.by_name.insert(name.clone(), address);
            }
        } else {
            entry.hostname = None;
        }
        if !entry.is_live() || self.reserved.contains_key(&address) {
            entry.via = None;
        }
        self.shares.add(address, &entry);
        if let Some(owner) = entry.owner {
            self.by_owner.insert(owner, address);
        }
        self.queues[entry.state as usize].insert((entry.at, address));
        self.entries.insert(address, entry);
    }

    pub(super) fn remove(&mut self, address: P::Address) -> Option<Entry<P::Owner>> {
        let entry = self.entries.remove(&address)?;
        self.queues[entry.state as usize].remove(&(entry.at, address));
        self.shares.remove(address, &entry);
        if let Some(owner) = entry.owner {
            self.by_owner.remove(&owner);
        }
        if let Some(name) = &entry.hostname {
            self.by_name.remove(name);
        }
        Some(entry)
    }
}
