//! The flow table: who talks to whom, bounded, fair between guests.
//!
//! Entries lie in slots that are used again; a generation in [`FlowId`] tells an old name from a new one. Lookup is by keyed
//! hash. When the table is full, the least recently used flow goes *of the port whose guest opened most*, so that a guest which opens
//! flows without end displaces its own. It is the port that counts and no address: a guest cannot come through another, while it
//! makes itself addresses of IPv6 as it likes. Each entry has at most one timer, kept in a [wheel](super::wheel) and moved only when its flow
//! wants to be called earlier; a later wish is noticed when the timer fires. So a busy flow touches no timer per packet.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::IpAddr;

use atoll_wire::Endpoint;
use hashbrown::HashTable;

use super::recency::{Links, Recency};
use super::wheel::Wheel;
use crate::rng::KeyedHash;
use crate::{FlowId, Instant, PortId};

/// What the packets of one flow have in common, as the guest sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A connection.
    Tcp { guest: Endpoint, remote: Endpoint },
    /// A guest's UDP port, whoever it talks to (RFC 4787, REQ-1).
    Udp { guest: Endpoint },
    /// A client of a UDP forward, which the guest sees at `local`.
    UdpForward { guest: Endpoint, local: Endpoint },
    /// A guest's echo identifier.
    Icmp { guest: IpAddr, ident: u16 },
}

#[derive(Debug)]
struct Entry<F> {
    key: Key,
    /// The port whose guest the flow is counted to.
    port: PortId,
    flow: F,
}

#[derive(Debug)]
struct Slot<F> {
    generation: u32,
    entry: Option<Entry<F>>,
}

#[derive(Debug)]
pub(crate) struct Table<F> {
    slots: Vec<Slot<F>>,
    free: Vec<u32>,
    /// The flow of the packet before, which packets of a large read share.
    latest: Option<(Key, FlowId)>,
    /// Slots by the hash of their keys, which stand in the slots alone.
    index: HashTable<u32>,
    links: Links,
    /// The slots of each port's flows.
    ports: BTreeMap<PortId, Recency>,
    timers: Wheel,
    len: usize,
    bound: usize,
    hash: KeyedHash,
}

impl<F> Table<F> {
    pub(crate) fn new(bound: usize, hash: KeyedHash) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            latest: None,
            index: HashTable::new(),
            links: Links::default(),
            ports: BTreeMap::new(),
            timers: Wheel::new(),
            len: 0,
            bound,
            hash,
        }
    }

    pub(crate) fn bound(&self) -> usize {
        self.bound
    }

    /// The flow of a packet; it is its port's most recently used from now on.
    pub(crate) fn find(&mut self, key: &Key) -> Option<FlowId> {
        if let Some((latest, id)) = self.latest
            && latest == *key
        {
            return Some(id);
        }
        let slot = self.slot_of(key)?;
        let generation = self.slots[slot as usize].generation;
        let id = FlowId { slot, generation };
        self.promote(id);
        self.latest = Some((*key, id));
        Some(id)
    }

    /// The flow carried something that no packet of the guest's shows.
    pub(crate) fn touch(&mut self, id: FlowId) {
        self.latest = None;
        self.promote(id);
    }

    fn promote(&mut self, id: FlowId) {
        if let Some(port) = self.entry(id).map(|entry| entry.port)
            && let Some(flows) = self.ports.get_mut(&port)
        {
            flows.promote(&mut self.links, id.slot);
        }
    }

    fn slot_of(&self, key: &Key) -> Option<u32> {
        let is_it = |slot: &u32| key_in(&self.slots, *slot) == Some(key);
        self.index.find(self.hash.hash_one(key), is_it).copied()
    }

    /// Whether a packet would have a flow.
    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.slot_of(key).is_some()
    }

    pub(crate) fn get(&self, id: FlowId) -> Option<&F> {
        self.entry(id).map(|entry| &entry.flow)
    }

    pub(crate) fn get_mut(&mut self, id: FlowId) -> Option<&mut F> {
        self.entry_mut(id).map(|entry| &mut entry.flow)
    }

    fn entry(&self, id: FlowId) -> Option<&Entry<F>> {
        let slot = self
            .slots
            .get(id.slot as usize)
            .filter(|slot| slot.generation == id.generation)?;
        slot.entry.as_ref()
    }

    fn entry_mut(&mut self, id: FlowId) -> Option<&mut Entry<F>> {
        let slot = self
            .slots
            .get_mut(id.slot as usize)
            .filter(|slot| slot.generation == id.generation)?;
        slot.entry.as_mut()
    }

    /// The flow that has to go before another can be added, if the table is full.
    pub(crate) fn victim(&self) -> Option<FlowId> {
        if self.len < self.bound {
            return None;
        }
        let most = self
            .ports
            .iter()
            .max_by_key(|(port, flows)| (flows.len(), **port))?;
        let slot = most.1.oldest()?;
        let generation = self.slots[slot as usize].generation;
        Some(FlowId { slot, generation })
    }

    /// The port's least recently used flow, if it has that many, or more.
    pub(crate) fn victim_of(&self, port: PortId, most: usize) -> Option<FlowId> {
        let flows = self.ports.get(&port).filter(|flows| flows.len() >= most)?;
        let slot = flows.oldest()?;
        let generation = self.slots[slot as usize].generation;
        Some(FlowId { slot, generation })
    }

    /// The name of the flow that is added next.
    pub(crate) fn next_id(&mut self) -> FlowId {
        let slot = self.free.last().copied().unwrap_or_else(|| {
            let slot = u32::try_from(self.slots.len()).expect("the table is bounded far below 2^32");
            self.slots.push(Slot {
                generation: 0,
                entry: None,
            });
            self.free.push(slot);
            slot
        });
        FlowId {
            slot,
            generation: self.slots[slot as usize].generation,
        }
    }

    /// Add the flow whose name [`Table::next_id`] gave, of a guest behind this port.
    pub(crate) fn insert(&mut self, id: FlowId, port: PortId, key: Key, flow: F) {
        debug_assert!(self.slot_of(&key).is_none(), "a packet has one flow");
        self.free.pop();
        self.latest = None;
        self.slots[id.slot as usize].entry = Some(Entry { key, port, flow });
        let (hash, slots) = (self.hash, &self.slots);
        let rehash = |slot: &u32| key_in(slots, *slot).map_or(0, |key| hash.hash_one(key));
        self.index.insert_unique(hash.hash_one(key), id.slot, rehash);
        let flows = self.ports.entry(port).or_default();
        flows.push(&mut self.links, id.slot);
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, id: FlowId) -> Option<F> {
        self.entry(id)?;
        self.latest = None;
        let slot = &mut self.slots[id.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let entry = slot.entry.take()?;
        self.free.push(id.slot);
        self.len -= 1;
        self.timers.cancel(id.slot);
        let hash = self.hash.hash_one(entry.key);
        if let Ok(found) = self.index.find_entry(hash, |slot| *slot == id.slot) {
            found.remove();
        }
        if let Some(flows) = self.ports.get_mut(&entry.port) {
            flows.remove(&mut self.links, id.slot);
            if flows.len() == 0 {
                self.ports.remove(&entry.port);
            }
        }
        Some(entry.flow)
    }

    /// The flow wants to be called at `at`, or earlier.
    pub(crate) fn schedule(&mut self, id: FlowId, at: Instant) {
        if self.entry(id).is_some() && self.timers.armed(id.slot).is_none_or(|timer| timer > at) {
            self.timers.arm(id.slot, at);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.poll_timeout()
    }

    /// The next flow whose timer has fired.
    pub(crate) fn poll_fired(&mut self, now: Instant) -> Option<FlowId> {
        let slot = self.timers.poll_fired(now)?;
        let generation = self.slots[slot as usize].generation;
        Some(FlowId { slot, generation })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (FlowId, &F)> {
        (0u32..).zip(&self.slots).filter_map(|(number, slot)| {
            let entry = slot.entry.as_ref()?;
            Some((
                FlowId {
                    slot: number,
                    generation: slot.generation,
                },
                &entry.flow,
            ))
        })
    }
}

fn key_in<F>(slots: &[Slot<F>], slot: u32) -> Option<&Key> {
    Some(&slots.get(slot as usize)?.entry.as_ref()?.key)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::rng::Rng;

    fn key(guest: u8, port: u16) -> Key {
        Key::Udp {
            guest: Endpoint::from((Ipv4Addr::new(10, 0, 0, guest), port)),
        }
    }

    fn table(bound: usize) -> Table<u16> {
        Table::new(bound, Rng::new([1; 32]).keyed_hash())
    }

    fn add(table: &mut Table<u16>, guest: u8, port: u16) -> FlowId {
        let id = table.next_id();
        table.insert(id, PortId(u32::from(guest) % 10), key(guest, port), port);
        id
    }

    #[test]
    fn the_greedy_guest_loses_its_own_oldest_flow() {
        let mut table = table(4);
        let modest = add(&mut table, 1, 1);
        let oldest = add(&mut table, 2, 1);
        add(&mut table, 2, 2);
        assert_eq!(table.victim(), None);
        add(&mut table, 2, 3);
        assert_eq!(table.victim(), Some(oldest));
        table.find(&key(2, 1));
        assert_ne!(table.victim(), Some(oldest));
        assert_ne!(table.victim(), Some(modest));
    }

    #[test]
    fn many_addresses_behind_one_port_are_one_guest() {
        let mut table = table(5);
        add(&mut table, 1, 1);
        add(&mut table, 1, 2);
        let oldest = add(&mut table, 2, 1);
        add(&mut table, 12, 1);
        add(&mut table, 22, 1);
        assert_eq!(table.victim(), Some(oldest));
    }

    #[test]
    fn an_old_name_never_finds_a_new_flow() {
        let mut table = table(4);
        let old = add(&mut table, 1, 1);
        assert_eq!(table.remove(old), Some(1));
        let new = add(&mut table, 1, 2);
        assert_eq!(
            (old.slot, table.get(old), table.get(new)),
            (new.slot, None, Some(&2))
        );
        assert_eq!(table.find(&key(1, 1)), None);
    }

    #[test]
    fn a_flow_has_one_timer_the_earliest_it_asked_for() {
        let mut table = table(4);
        let at = |secs| Instant::ZERO + std::time::Duration::from_secs(secs);
        let id = add(&mut table, 1, 1);
        table.schedule(id, at(9));
        table.schedule(id, at(3));
        table.schedule(id, at(5));
        assert_eq!(table.poll_fired(at(2)), None);
        assert_eq!(table.poll_fired(at(3)), Some(id));
        assert_eq!(table.poll_fired(at(9)), None);
        assert_eq!(table.poll_timeout(), None);
    }
}
