//! Who has which address.
//!
//! An address of the pool is in one of these states; one that the table does not know was never used.
//!
//! ```text
//!           DISCOVER            REQUEST             RELEASE, expiry
//!  unused ───────────► offered ─────────► bound ─────────────────► free ──► offered, bound
//!     ▲                   │ │               │                        ▲
//!     └── expiry ─────────┘ └──── DECLINE ──┴──► declined ─ expiry ──┘
//! ```
//!
//! A free address is remembered for its last owner until somebody else needs it: the one that has been free longest
//! goes first, after those never used. An address never used is found by a hash of the MAC address with linear
//! probing, so that a client gets the same one when the table was lost.
//!
//! Bounds: one entry an address, one address a MAC, `limit` entries in all. Offers are short, and when nothing else is
//! left the oldest offer that was not taken up at once goes to the next client: somebody who invents MAC addresses
//! delays others by no more than [`OFFER_HELD_AT_LEAST`]. Declined addresses are bounded too, the oldest comes back.
//! What came by one port is bounded by [`Leases::share`], so that somebody who takes leases up with invented addresses
//! starves his own port only: there, the oldest offer that was not taken up at once makes room, else nobody gets more.
//! A lease is never taken back, as it is a promise (RFC 2131 section 2.2). A restored lease came by no port until its
//! owner is heard.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::net::Ipv4Addr;
use std::time::Duration;

use atoll_wire::Mac;
use siphasher::sip::SipHasher13;

use super::shares::Shares;
use crate::{Instant, PortId, Subnet};

/// How long an offer stands.
pub(super) const OFFER_HELD: Duration = Duration::from_secs(30);
/// How long an offer stands even if somebody else finds no address.
pub(super) const OFFER_HELD_AT_LEAST: Duration = Duration::from_secs(2);
/// How long an address that a client declined is given to nobody.
pub(super) const QUARANTINE: Duration = Duration::from_secs(600);
/// Declined addresses at a time, at most; never more than a quarter of the pool.
const DECLINED_MAX: usize = 64;
/// Addresses to look at for one that was never used. Enough for all of a /22.
const PROBES: u32 = 1024;
/// Offers and leases that one port may have in whatever pool.
const SHARE_MIN: usize = 8;

/// What an address is doing. The order is that of [`Leases::queue`], nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Nobody's; remembered for its last owner.
    Free,
    /// Promised to a client that has not asked for it yet.
    Offered,
    /// Quarantined.
    Declined,
    /// Leased.
    Bound,
}

/// What is known of an address.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Whose it is or was.
    pub(super) owner: Option<Mac>,
    pub(super) state: State,
    /// When the state ends; for a free address, when it became free.
    pub(super) at: Instant,
    /// Its owner's host name, while bound.
    pub(super) hostname: Option<String>,
    /// The port by which it was asked for, while offered or bound.
    pub(super) via: Option<PortId>,
    /// The owner was bound before, so it is worth remembering.
    kept: bool,
}

/// A lease to be entered.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) mac: Mac,
    pub(super) address: Ipv4Addr,
    pub(super) until: Instant,
    pub(super) hostname: Option<String>,
    /// The port by which it was asked for; `None` for one of an earlier run.
    pub(super) via: Option<PortId>,
}

/// Whom an offer is for, and what he would like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) mac: Mac,
    pub(super) via: PortId,
    pub(super) requested: Option<Ipv4Addr>,
}

/// Why a client gets no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No address or no entry is left for anybody.
    Exhausted,
    /// Its port has its share.
    OverShare,
    /// The address is not for this client.
    Unavailable,
}

/// The table.
#[derive(Debug)]
pub(super) struct Leases {
    first: u32,
    size: u32,
    limit: usize,
    /// Static addresses.
    reserved: BTreeSet<Ipv4Addr>,
    entries: BTreeMap<Ipv4Addr, Entry>,
    by_mac: BTreeMap<Mac, Ipv4Addr>,
    by_name: BTreeMap<String, Ipv4Addr>,
    /// Entries by state, then by time.
    queue: BTreeSet<(State, Instant, Ipv4Addr)>,
    shares: Shares,
}

impl Leases {
    /// An empty table over the guest addresses of a subnet: all between gateway and host alias.
    pub(super) fn new(subnet: Subnet, limit: usize) -> Self {
        let first = subnet.gateway().to_bits().saturating_add(1);
        Self {
            first,
            size: subnet.host_alias().to_bits().saturating_sub(first),
            limit,
            reserved: BTreeSet::new(),
            entries: BTreeMap::new(),
            by_mac: BTreeMap::new(),
            by_name: BTreeMap::new(),
            queue: BTreeSet::new(),
            shares: Shares::default(),
        }
    }

    /// Whether a guest can have the address at all.
    pub(super) fn is_guest_address(&self, address: Ipv4Addr) -> bool {
        address
            .to_bits()
            .checked_sub(self.first)
            .is_some_and(|index| index < self.size)
    }

    /// Whether the client may have the address now.
    pub(super) fn is_available(&self, mac: Mac, address: Ipv4Addr) -> bool {
        let entry = self.entries.get(&address);
        let usable = entry.is_none_or(|entry| entry.state == State::Free || entry.owner == Some(mac));
        usable && self.is_guest_address(address) && !self.reserved.contains(&address)
    }

    /// The address that a client has, was offered, or had.
    pub(super) fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.by_mac.get(&mac).copied()
    }

    /// The bound address with this host name.
    pub(super) fn address_of_name(&self, name: &str) -> Option<Ipv4Addr> {
        self.by_name.get(name).copied()
    }

    /// What is known of an address.
    pub(super) fn entry(&self, address: Ipv4Addr) -> Option<&Entry> {
        self.entries.get(&address)
    }

    /// Bound addresses.
    pub(super) fn bound(&self) -> impl Iterator<Item = (Ipv4Addr, &Entry)> {
        let bound = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state == State::Bound);
        bound.map(|(address, entry)| (*address, entry))
    }

    /// Addresses that can be leased at a time.
    fn pool(&self) -> usize {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        size.saturating_sub(self.reserved.len()).min(self.limit)
    }

    /// Offers and leases that one port may have at a time: half of the pool, or [`SHARE_MIN`] if that is more.
    pub(super) fn share(&self) -> usize {
        (self.pool() / 2).max(SHARE_MIN)
    }

    /// Entries of whatever state.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The four views agree.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.queue.len(), self.entries.len());
        for (address, entry) in &self.entries {
            assert!(self.queue.contains(&(entry.state, entry.at, *address)));
            assert!(
                entry
                    .owner
                    .is_none_or(|mac| self.by_mac.get(&mac) == Some(address))
            );
            let name = entry.hostname.as_ref();
            assert!(name.is_none_or(|name| self.by_name.get(name) == Some(address)));
        }
        let owned = self
            .entries
            .values()
            .filter(|entry| entry.owner.is_some())
            .count();
        let named = self
            .entries
            .values()
            .filter(|entry| entry.hostname.is_some())
            .count();
        assert_eq!((owned, named), (self.by_mac.len(), self.by_name.len()));
        let mut shares = Shares::default();
        for (address, entry) in &self.entries {
            shares.add(*address, entry);
        }
        assert_eq!(shares, self.shares);
        assert!(shares.counts().all(|count| count <= self.share()));
    }

    /// Finds an address for a client and holds it for a short time.
    pub(super) fn offer(&mut self, now: Instant, wish: Wish) -> Result<Ipv4Addr, Refused> {
        let Wish { mac, via, requested } = wish;
        let known = self.address_of(mac);
        let bound = known.filter(|known| {
            self.entries
                .get(known)
                .is_some_and(|entry| entry.state == State::Bound)
        });
        if let Some(address) = bound {
            return Ok(address);
        }
        if !self.make_share(now, via, known) {
            return Err(Refused::OverShare);
        }
        let address = self.choose(now, mac, requested).ok_or(Refused::Exhausted)?;
        if !self.make_room(now, address) {
            return Err(Refused::Exhausted);
        }
        let earlier = self.remove(address).filter(|entry| entry.owner == Some(mac));
        let entry = Entry {
            owner: Some(mac),
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
    pub(super) fn try_bind(&mut self, now: Instant, binding: Binding) -> Result<(), Refused> {
        let Binding {
            mac,
            address,
            until,
            hostname,
            via,
        } = binding;
        if !self.is_available(mac, address) {
            return Err(Refused::Unavailable);
        }
        if via.is_some_and(|via| !self.make_share(now, via, self.address_of(mac))) {
            return Err(Refused::OverShare);
        }
        if !self.make_room(now, address) {
            return Err(Refused::Exhausted);
        }
        self.remove(address);
        self.forget_client(now, mac);
        let entry = Entry {
            owner: Some(mac),
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
    pub(super) fn release(&mut self, now: Instant, mac: Mac, address: Ipv4Addr) -> bool {
        let Some(entry) = self.take_live(mac, address) else {
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
    pub(super) fn decline(&mut self, now: Instant, mac: Mac, address: Ipv4Addr) -> bool {
        if self.take_live(mac, address).is_none() {
            return false;
        }
        let bound = DECLINED_MAX.min(self.pool() / 4).max(1);
        while self.in_state(State::Declined).take(bound).count() >= bound {
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
    pub(super) fn withdraw_offer(&mut self, now: Instant, mac: Mac) {
        if let Some(address) = self.address_of(mac)
            && self
                .entries
                .get(&address)
                .is_some_and(|entry| entry.state == State::Offered)
        {
            self.set_free(now, address);
        }
    }

    /// Makes an address static: whoever has it by lease loses it, and so does `mac` whatever it has.
    /// Returns whether a lease ended.
    pub(super) fn reserve(&mut self, now: Instant, mac: Mac, address: Ipv4Addr) -> bool {
        let had = self
            .address_of(mac)
            .and_then(|old| self.entries.get(&old))
            .map(|entry| entry.state);
        self.forget_client(now, mac);
        let taken = self.remove(address).map(|entry| entry.state);
        self.reserved.insert(address);
        had == Some(State::Bound) || taken == Some(State::Bound)
    }

    /// The address is no longer static.
    pub(super) fn unreserve(&mut self, address: Ipv4Addr) {
        self.reserved.remove(&address);
    }

    /// Moves every end of state later by `by`.
    pub(super) fn shift(&mut self, by: Duration) {
        let addresses: Vec<_> = self.entries.keys().copied().collect();
        for address in addresses {
            if let Some(entry) = self.remove(address) {
                let at = entry.at + by;
                self.insert(address, Entry { at, ..entry });
            }
        }
    }

    /// Ends what is over. Returns whether a lease ended.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for state in [State::Offered, State::Declined, State::Bound] {
            while let Some((_, address)) = self.first_in(state).filter(|(at, _)| *at <= now) {
                self.set_free(now, address);
                changed |= state == State::Bound;
            }
        }
        changed
    }

    /// When something is over next.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let states = [State::Offered, State::Declined, State::Bound];
        states
            .into_iter()
            .filter_map(|state| self.first_in(state))
            .map(|(at, _)| at)
            .min()
    }

    /// RFC 2131 section 4.3.1: the client's own address, its old one, the one it asks for, a new one.
    pub(super) fn choose(&self, now: Instant, mac: Mac, requested: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        self.address_of(mac)
            .or_else(|| requested.filter(|address| self.is_available(mac, *address)))
            .or_else(|| self.unused(mac).filter(|_| self.entries.len() < self.limit))
            .or_else(|| self.expendable(now))
    }

    /// An address that the table does not know, the same for the same MAC while it is there.
    fn unused(&self, mac: Mac) -> Option<Ipv4Addr> {
        // Keys of no secrecy: the place must be the same in every run.
        let mut hasher = SipHasher13::new();
        hasher.write(&mac.0);
        let start = hasher.finish().checked_rem(u64::from(self.size))?;
        let start = u32::try_from(start).ok()?;
        (0..self.size.min(PROBES))
            .map(|step| Ipv4Addr::from_bits(self.first + (start + step) % self.size))
            .find(|address| !self.entries.contains_key(address) && !self.reserved.contains(address))
    }

    /// The address free for longest, else the one whose offer has waited longest.
    fn expendable(&self, now: Instant) -> Option<Ipv4Addr> {
        let free = self.first_in(State::Free);
        let offer = || {
            self.first_in(State::Offered)
                .filter(|(until, _)| is_expendable_offer(now, *until))
        };
        free.or_else(offer).map(|(_, address)| address)
    }

    /// Sees to it that a port may hold what a client asks for. `known` is the client's own entry: if it came by this
    /// port already, nothing is added.
    fn make_share(&mut self, now: Instant, via: PortId, known: Option<Ipv4Addr>) -> bool {
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
    fn make_room(&mut self, now: Instant, address: Ipv4Addr) -> bool {
        if self.entries.contains_key(&address) || self.entries.len() < self.limit {
            return true;
        }
        let Some(victim) = self.expendable(now) else {
            return false;
        };
        self.remove(victim);
        true
    }

    /// The entry whose time in a state comes first.
    fn first_in(&self, state: State) -> Option<(Instant, Ipv4Addr)> {
        self.in_state(state).next()
    }

    fn in_state(&self, state: State) -> impl Iterator<Item = (Instant, Ipv4Addr)> {
        let from = (state, Instant::ZERO, Ipv4Addr::UNSPECIFIED);
        let same = self
            .queue
            .range(from..)
            .take_while(move |(other, ..)| *other == state);
        same.map(|(_, at, address)| (*at, *address))
    }

    /// Takes out what a client was given, offered or bound.
    fn take_live(&mut self, mac: Mac, address: Ipv4Addr) -> Option<Entry> {
        let live =
            |entry: &&Entry| entry.owner == Some(mac) && matches!(entry.state, State::Offered | State::Bound);
        self.entries.get(&address).filter(live)?;
        self.remove(address)
    }

    /// The client has another address from now on; the old one is nobody's.
    fn forget_client(&mut self, now: Instant, mac: Mac) {
        if let Some(address) = self.address_of(mac) {
            self.set_free(now, address);
            if let Some(entry) = self.remove(address) {
                self.insert(address, Entry { owner: None, ..entry });
            }
        }
    }

    /// Ends whatever the address does. What was only offered is as if never used.
    fn set_free(&mut self, now: Instant, address: Ipv4Addr) {
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

    fn insert(&mut self, address: Ipv4Addr, mut entry: Entry) {
        if entry.state == State::Bound {
            if let Some(name) = &entry.hostname {
                self.by_name.insert(name.clone(), address);
            }
        } else {
            entry.hostname = None;
        }
        if !matches!(entry.state, State::Offered | State::Bound) {
            entry.via = None;
        }
        self.shares.add(address, &entry);
        if let Some(mac) = entry.owner {
            self.by_mac.insert(mac, address);
        }
        self.queue.insert((entry.state, entry.at, address));
        self.entries.insert(address, entry);
    }

    fn remove(&mut self, address: Ipv4Addr) -> Option<Entry> {
        let entry = self.entries.remove(&address)?;
        self.queue.remove(&(entry.state, entry.at, address));
        self.shares.remove(address, &entry);
        if let Some(mac) = entry.owner {
            self.by_mac.remove(&mac);
        }
        if let Some(name) = &entry.hostname {
            self.by_name.remove(name);
        }
        Some(entry)
    }
}

/// Whether an offer that ends then was not taken up at once.
fn is_expendable_offer(now: Instant, until: Instant) -> bool {
    until <= now + OFFER_HELD.saturating_sub(OFFER_HELD_AT_LEAST)
}
