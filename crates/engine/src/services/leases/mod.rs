//! Who has which address: the table that the DHCP servers of both families keep.
//!
//! An address of the pool is in one of these states; one that the table does not know was never used.
//!
//! ```text
//!           offer               binding             release, expiry
//!  unused ───────────► offered ─────────► bound ─────────────────► free ──► offered, bound
//!     ▲                   │ │               │                        ▲
//!     └── expiry ─────────┘ └──── decline ──┴──► declined ─ expiry ──┘
//! ```
//!
//! A free address is remembered for its last owner until somebody else needs it: the one that has been free longest
//! goes first, after those never used. Where an owner's address is looked for that was never used is the [`Pool`]'s to
//! say: by a hash of the owner, so that a client gets the same one when the table was lost.
//!
//! An owner is a station's MAC address, for DHCPv6 with the number of one of its identity associations. An address
//! may be reserved for a station; nobody else gets it.
//!
//! Bounds: one entry an address, one address an owner, `limit` entries in all, and whatever addresses are reserved,
//! which count for nobody. Offers are short, and when nothing else is
//! left the oldest offer that was not taken up at once goes to the next client: somebody who invents MAC addresses
//! delays others by no more than [`OFFER_HELD_AT_LEAST`]. Declined addresses are bounded too, the oldest comes back.
//! What came by one port is bounded by [`Leases::share`], so that somebody who takes leases up with invented addresses
//! starves his own port only: there, the oldest offer that was not taken up at once makes room, else nobody gets more.
//! A lease is never taken back, as it is a promise (RFC 2131 section 2.2). A restored lease came by no port until its
//! owner is heard.

mod changes;
mod choice;
mod shares;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use atoll_wire::Mac;

use self::shares::Shares;
use crate::{Instant, PortId};

/// How long an offer stands.
pub(super) const OFFER_HELD: Duration = Duration::from_secs(30);
/// How long an offer stands even if somebody else finds no address.
pub(super) const OFFER_HELD_AT_LEAST: Duration = Duration::from_secs(2);
/// How long an address that a client declined is given to nobody.
pub(super) const QUARANTINE: Duration = Duration::from_secs(600);
/// Declined addresses at a time, at most; never more than a quarter of the pool.
const DECLINED_MAX: usize = 64;
/// Offers and leases that one port may have in whatever pool.
const SHARE_MIN: usize = 8;

/// The addresses that can be leased.
pub(super) trait Pool: Debug {
    /// An address.
    type Address: Copy + Ord + Debug;
    /// Whose an address can be.
    type Owner: Owner;

    /// How many there are.
    fn size(&self) -> usize;

    /// Whether the address is one of them.
    fn contains(&self, address: Self::Address) -> bool;

    /// Where to look for an address that was never used: bounded, and the same for the same owner in every run.
    fn candidates(&self, owner: Self::Owner) -> impl Iterator<Item = Self::Address>;
}

/// Who has an address.
pub(super) trait Owner: Copy + Ord + Debug {
    /// The station it is, or is of.
    fn mac(self) -> Mac;

    /// Everybody of one station.
    fn all_of(mac: Mac) -> RangeInclusive<Self>;
}

impl Owner for Mac {
    fn mac(self) -> Mac {
        self
    }

    fn all_of(mac: Mac) -> RangeInclusive<Self> {
        mac..=mac
    }
}

/// What an address is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Entries that one question may make us look at.
const LOOKS_MAX: usize = 256;

/// How many states there are.
const STATES: usize = 4;

/// What is known of an address.
#[derive(Clone, Debug)]
pub(super) struct Entry<O> {
    /// Whose it is or was.
    pub(super) owner: Option<O>,
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

impl<O> Entry<O> {
    /// Whether it is leased.
    pub(super) fn is_bound(&self) -> bool {
        self.state == State::Bound
    }

    /// Whether it is offered or leased.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, State::Offered | State::Bound)
    }
}

/// A lease to be entered.
#[derive(Clone, Debug)]
pub(super) struct Binding<P: Pool> {
    pub(super) owner: P::Owner,
    pub(super) address: P::Address,
    pub(super) until: Instant,
    pub(super) hostname: Option<String>,
    /// The port by which it was asked for; `None` for one of an earlier run.
    pub(super) via: Option<PortId>,
}

/// Whom an offer is for, and what would be best.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<P: Pool> {
    pub(super) owner: P::Owner,
    pub(super) via: PortId,
    /// The address that its station should have; moves to this owner from another of the same station.
    pub(super) preferred: Option<P::Address>,
    /// The address that it asks for.
    pub(super) requested: Option<P::Address>,
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
pub(super) struct Leases<P: Pool> {
    pool: P,
    limit: usize,
    /// Addresses that one station alone can have.
    reserved: BTreeMap<P::Address, Mac>,
    entries: BTreeMap<P::Address, Entry<P::Owner>>,
    by_owner: BTreeMap<P::Owner, P::Address>,
    by_name: BTreeMap<String, P::Address>,
    /// Addresses by state, in the order of time.
    queues: [BTreeSet<(Instant, P::Address)>; STATES],
    shares: Shares<P::Address>,
}

impl<P: Pool> Leases<P> {
    /// An empty table of at most `limit` entries.
    pub(super) fn new(pool: P, limit: usize) -> Self {
        Self {
            pool,
            limit,
            reserved: BTreeMap::new(),
            entries: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            by_name: BTreeMap::new(),
            queues: [const { BTreeSet::new() }; STATES],
            shares: Shares::default(),
        }
    }

    /// Whether the client may have the address now.
    pub(super) fn is_available(&self, owner: P::Owner, address: P::Address) -> bool {
        let entry = self.entries.get(&address);
        let usable = entry.is_none_or(|entry| entry.state == State::Free || entry.owner == Some(owner));
        usable && self.is_open_to(owner.mac(), address)
    }

    /// Whether a station may have the address now, for whichever of its owners.
    pub(super) fn is_available_to(&self, mac: Mac, address: P::Address) -> bool {
        let its = |owner: Option<P::Owner>| owner.is_some_and(|owner| owner.mac() == mac);
        let entry = self.entries.get(&address);
        let usable = entry.is_none_or(|entry| entry.state == State::Free || its(entry.owner));
        usable && self.is_open_to(mac, address)
    }

    /// In the pool, and not reserved for somebody else.
    fn is_open_to(&self, mac: Mac, address: P::Address) -> bool {
        let reserved = self.reserved.get(&address);
        // What is reserved may lie outside the pool.
        reserved.map_or_else(|| self.pool.contains(address), |owner| *owner == mac)
    }

    /// The address that a client has, was offered, or had.
    pub(super) fn address_of(&self, owner: P::Owner) -> Option<P::Address> {
        self.by_owner.get(&owner).copied()
    }

    /// What a station has, was offered, or had.
    pub(super) fn addresses_of(&self, mac: Mac) -> impl Iterator<Item = (P::Address, &Entry<P::Owner>)> {
        let addresses = self.by_owner.range(P::Owner::all_of(mac)).map(|(_, at)| *at);
        addresses.filter_map(|address| Some((address, self.entries.get(&address)?)))
    }

    /// The bound address with this host name.
    pub(super) fn address_of_name(&self, name: &str) -> Option<P::Address> {
        self.by_name.get(name).copied()
    }

    /// Who has this host name.
    pub(super) fn owner_of_name(&self, name: &str) -> Option<P::Owner> {
        self.entry(self.address_of_name(name)?)?.owner
    }

    /// What is known of an address.
    pub(super) fn entry(&self, address: P::Address) -> Option<&Entry<P::Owner>> {
        self.entries.get(&address)
    }

    /// Bound addresses.
    pub(super) fn bound(&self) -> impl Iterator<Item = (P::Address, &Entry<P::Owner>)> {
        let bound = self.entries.iter().filter(|(_, entry)| entry.is_bound());
        bound.map(|(address, entry)| (*address, entry))
    }

    /// Whether an address from `first` to `last` is bound. Says yes when there are more than [`LOOKS_MAX`] to look at.
    pub(super) fn has_bound_between(&self, first: P::Address, last: P::Address) -> bool {
        let mut between = self.entries.range(first..=last);
        between
            .by_ref()
            .take(LOOKS_MAX)
            .any(|(_, entry)| entry.is_bound())
            || between.next().is_some()
    }

    /// Host names with their addresses.
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, P::Address)> {
        self.by_name
            .iter()
            .map(|(name, address)| (name.as_str(), *address))
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

    /// Addresses that can be leased at a time.
    fn leasable(&self) -> usize {
        self.pool
            .size()
            .saturating_sub(self.reserved.len())
            .min(self.limit)
    }

    /// Offers and leases that one port may have at a time: half of the pool, or [`SHARE_MIN`] if that is more.
    pub(super) fn share(&self) -> usize {
        (self.leasable() / 2).max(SHARE_MIN)
    }

    /// Addresses in a state, in the order of time.
    fn in_state(&self, state: State) -> &BTreeSet<(Instant, P::Address)> {
        &self.queues[state as usize]
    }

    /// The address whose time in a state comes first.
    fn first_in(&self, state: State) -> Option<(Instant, P::Address)> {
        self.in_state(state).first().copied()
    }

    /// Entries of whatever state.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The views agree.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let queued: usize = self.queues.iter().map(BTreeSet::len).sum();
        assert_eq!(queued, self.entries.len());
        for (address, entry) in &self.entries {
            assert!(self.in_state(entry.state).contains(&(entry.at, *address)));
            let owner = entry.owner;
            assert!(owner.is_none_or(|owner| self.by_owner.get(&owner) == Some(address)));
            let name = entry.hostname.as_ref();
            assert!(name.is_none_or(|name| self.by_name.get(name) == Some(address)));
        }
        let owned = self.entries.values().filter(|entry| entry.owner.is_some());
        let named = self.entries.values().filter(|entry| entry.hostname.is_some());
        assert_eq!(
            (owned.count(), named.count()),
            (self.by_owner.len(), self.by_name.len())
        );
        let mut shares = Shares::default();
        for (address, entry) in &self.entries {
            shares.add(*address, entry);
        }
        assert_eq!(shares, self.shares);
        assert!(shares.counts().all(|count| count <= self.share()));
    }
}
