//! Which MAC address has which address of the network (RFC 826, RFC 4861), as the gateway learns it.
//!
//! A binding comes from the ARP packets and neighbor discovery of a guest and, when there is none, from its packets to us. It has no age:
//! what a guest says last holds. A packet for an address without a binding waits while ARP or neighbor discovery asks three times, one
//! second apart; then it is lost. All tables are bounded; the oldest goes first. A station makes itself as many addresses
//! of IPv6 as it likes, so [`MAX_OF_ONE`] of them are remembered, the latest: it displaces its own and nobody else's. What is
//! forgotten is asked for again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use atoll_wire::{FrameBuf, Mac, Offload};
use lru::LruCache;

use crate::rng::KeyedHash;
use crate::services::names::Heard;
use crate::{Instant, JoinId};

const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_TIMES: u8 = 3;
/// Packets that wait for one address.
const MAX_WAITING: usize = 4;
/// Addresses that are asked for at a time.
const MAX_ASKED: usize = 256;
/// Addresses of one MAC address.
const MAX_OF_ONE: usize = 64;

/// Addresses that are asked for on behalf of joined networks, at a time, and on behalf of one guest there.
const MAX_ROUTED: usize = MAX_ASKED / 2;
const MAX_OF_ORIGIN: usize = 16;

/// A guest of a joined network: the network, and the port that it calls so.
pub(crate) type Origin = (JoinId, u32);

/// A packet without Ethernet header.
pub(crate) type Packet = (FrameBuf, Offload);

#[derive(Debug)]
struct Asked {
    waiting: Vec<Packet>,
    again_at: Instant,
    times: u8,
    /// On whose behalf, where that is a joined network's guest.
    origin: Option<Origin>,
}

#[derive(Debug)]
pub(crate) struct Neighbors {
    /// The binding that a packet used last, which packets of a large read share, and those that answer them.
    latest: Option<(IpAddr, Mac)>,
    known: LruCache<IpAddr, Mac, KeyedHash>,
    /// The other way round, in the order in which they were learnt.
    by_mac: HashMap<Mac, VecDeque<IpAddr>, KeyedHash>,
    asked: BTreeMap<IpAddr, Asked>,
    bound: usize,
}

impl Heard for Neighbors {
    fn each(&self) -> Box<dyn Iterator<Item = (IpAddr, Mac)> + '_> {
        Box::new(self.known.iter().map(|(address, mac)| (*address, *mac)))
    }

    fn latest_of(&self, mac: Mac) -> Vec<IpAddr> {
        let addresses = self.by_mac.get(&mac).into_iter().flatten();
        addresses.rev().copied().collect()
    }

    fn station_at(&self, address: IpAddr) -> Option<Mac> {
        self.mac_of(address)
    }
}

impl Neighbors {
    pub(crate) fn new(bound: usize, hash: KeyedHash) -> Self {
        Self {
            latest: None,
            known: LruCache::unbounded_with_hasher(hash),
            by_mac: HashMap::with_hasher(hash),
            asked: BTreeMap::new(),
            bound,
        }
    }

    pub(crate) fn mac_of(&self, address: IpAddr) -> Option<Mac> {
        match self.latest {
            Some((latest, mac)) if latest == address => Some(mac),
            _ => self.known.peek(&address).copied(),
        }
    }

    /// Whether a packet's source has a binding.
    pub(crate) fn knows(&mut self, address: IpAddr) -> bool {
        let mac = self.mac_of(address);
        self.latest = mac.map(|mac| (address, mac)).or(self.latest);
        mac.is_some()
    }

    /// The addresses of a station, of both families.
    pub(crate) fn addresses_of(&self, mac: Mac) -> Vec<IpAddr> {
        let addresses = self.by_mac.get(&mac).into_iter().flatten();
        let mut addresses: Vec<IpAddr> = addresses.copied().collect();
        addresses.sort_unstable();
        addresses
    }

    /// The guest says so. Returns the packets that waited for it.
    pub(crate) fn learn(&mut self, address: IpAddr, mac: Mac) -> Vec<Packet> {
        self.latest = None;
        let earlier = self.known.put(address, mac);
        if earlier != Some(mac) {
            if let Some(earlier) = earlier {
                self.forget_pair(earlier, address);
            }
            self.note_pair(mac, address);
        }
        if self.known.len() > self.bound
            && let Some((address, mac)) = self.known.pop_lru()
        {
            self.forget_pair(mac, address);
        }
        self.asked
            .remove(&address)
            .map_or_else(Vec::new, |asked| asked.waiting)
    }

    fn note_pair(&mut self, mac: Mac, address: IpAddr) {
        let addresses = self.by_mac.entry(mac).or_default();
        addresses.push_back(address);
        if addresses.len() > MAX_OF_ONE
            && let Some(oldest) = addresses.pop_front()
        {
            self.known.pop(&oldest);
        }
    }

    fn forget_pair(&mut self, mac: Mac, address: IpAddr) {
        if let Some(addresses) = self.by_mac.get_mut(&mac) {
            addresses.retain(|known| *known != address);
            if addresses.is_empty() {
                self.by_mac.remove(&mac);
            }
        }
    }

    /// The same of a packet from a joined network: for these there is half of the table, and for each guest there so many.
    pub(crate) fn try_wait_for(
        &mut self,
        now: Instant,
        address: IpAddr,
        packet: Packet,
        origin: Origin,
    ) -> Result<bool, ()> {
        if !self.asked.contains_key(&address) {
            let routed = || self.asked.values().filter_map(|asked| asked.origin);
            let its = routed().filter(|it| *it == origin).count();
            if its >= MAX_OF_ORIGIN || routed().count() >= MAX_ROUTED {
                return Err(());
            }
        }
        let asks = self.try_wait(now, address, packet)?;
        if asks && let Some(asked) = self.asked.get_mut(&address) {
            asked.origin = Some(origin);
        }
        Ok(asks)
    }

    /// Let a packet wait for `address`. Returns whether it is to be asked for now; `Err` when there is no room to wait.
    pub(crate) fn try_wait(&mut self, now: Instant, address: IpAddr, packet: Packet) -> Result<bool, ()> {
        if let Some(asked) = self.asked.get_mut(&address) {
            if asked.waiting.len() >= MAX_WAITING {
                return Err(());
            }
            asked.waiting.push(packet);
            return Ok(false);
        }
        if self.asked.len() >= MAX_ASKED {
            return Err(());
        }
        self.asked.insert(
            address,
            Asked {
                waiting: vec![packet],
                again_at: now + ASK_AGAIN,
                times: 1,
                origin: None,
            },
        );
        Ok(true)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.asked.values().map(|asked| asked.again_at).min()
    }

    /// Addresses to ask for again, and the packets that were given up.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> (Vec<IpAddr>, Vec<Packet>) {
        let mut again = Vec::new();
        let mut lost = Vec::new();
        self.asked.retain(|&address, asked| {
            if asked.again_at > now {
                return true;
            }
            if asked.times >= ASK_TIMES {
                lost.append(&mut asked.waiting);
                return false;
            }
            asked.times += 1;
            asked.again_at = now + ASK_AGAIN;
            again.push(address);
            true
        });
        (again, lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn ip(last: u16) -> IpAddr {
        IpAddr::from([0xfd77, 0x77, 0, 0, 0, 0, 0, last])
    }

    #[test]
    fn a_station_with_many_addresses_displaces_its_own() {
        let mut neighbors = Neighbors::new(1000, Rng::new([1; 32]).keyed_hash());
        let (modest, greedy) = (Mac([2; 6]), Mac([4; 6]));
        neighbors.learn(ip(0), modest);
        for last in 1..=200 {
            neighbors.learn(ip(last), greedy);
        }
        assert_eq!(neighbors.addresses_of(modest), [ip(0)]);
        let kept: Vec<IpAddr> = (137..=200).map(ip).collect();
        assert_eq!(neighbors.addresses_of(greedy), kept);
        assert_eq!(
            (neighbors.mac_of(ip(136)), neighbors.mac_of(ip(137))),
            (None, Some(greedy))
        );
        neighbors.learn(ip(200), modest);
        assert_eq!(neighbors.addresses_of(modest), [ip(0), ip(200)]);
        assert_eq!(neighbors.addresses_of(greedy), kept[..63]);
    }

    #[test]
    fn at_the_bound_the_oldest_binding_goes_from_both_sides() {
        let mut neighbors = Neighbors::new(2, Rng::new([1; 32]).keyed_hash());
        for last in 0..3 {
            neighbors.learn(ip(last), Mac([2 + 2 * u8::try_from(last).unwrap(); 6]));
        }
        assert_eq!(neighbors.mac_of(ip(0)), None);
        assert_eq!(neighbors.addresses_of(Mac([2; 6])), [] as [IpAddr; 0]);
    }
}
