//! Which station was last heard on which port: a MAC address, in each VLAN by itself (IEEE 802.1Q, 8.8.8: independent learning).

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use atoll_wire::Mac;
use atoll_wire::vlan::Vlan;
use lru::LruCache;

use crate::rng::KeyedHash;
use crate::{Instant, PortId};

/// An address not heard for this long is forgotten (IEEE 802.1Q, 8.8.3: 300 s).
pub(super) const AGEING: Duration = Duration::from_secs(300);

/// A station heard again within this time needs no new note.
const REFRESH: Duration = Duration::from_secs(1);

/// A MAC address in a VLAN, or outside of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Station {
    pub(crate) mac: Mac,
    pub(crate) vlan: Vlan,
}

impl Station {
    /// One that speaks without tags, as all do that the gateway hears.
    pub(crate) fn untagged(mac: Mac) -> Self {
        let vlan = Vlan::UNTAGGED;
        Self { mac, vlan }
    }
}

impl Hash for Station {
    /// As one word: a MAC address leaves room for the VLAN.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f] = self.mac.0;
        let [g, h] = self.vlan.number().to_le_bytes();
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    port: PortId,
    at: Instant,
}

/// Bounded for each port on its own.
#[derive(Debug)]
pub(super) struct MacTable {
    /// The note that was looked at last, which is that of the table: frames of a large read share it, and so do those that answer them.
    latest: Option<(Station, Heard)>,
    heard: HashMap<Station, Heard, KeyedHash>,
    by_port: BTreeMap<PortId, LruCache<Station, (), KeyedHash>>,
    bound_per_port: usize,
    hash: KeyedHash,
}

impl MacTable {
    pub(super) fn new(bound_per_port: usize, hash: KeyedHash) -> Self {
        Self {
            latest: None,
            heard: HashMap::with_hasher(hash),
            by_port: BTreeMap::new(),
            bound_per_port,
            hash,
        }
    }

    pub(super) fn port_of(&self, now: Instant, station: Station) -> Option<PortId> {
        let latest = self.latest.as_ref().filter(|(latest, _)| *latest == station);
        latest
            .map(|(_, heard)| heard)
            .or_else(|| self.heard.get(&station))
            .filter(|heard| now.since(heard.at) < AGEING)
            .map(|heard| heard.port)
    }

    /// The MAC addresses of a port, in whatever VLANs.
    pub(super) fn macs_of(&self, now: Instant, port: PortId) -> Vec<Mac> {
        let stations = self
            .by_port
            .get(&port)
            .into_iter()
            .flat_map(LruCache::iter)
            .map(|(&station, ())| station);
        let mut macs: Vec<Mac> = stations
            .filter(|&station| self.port_of(now, station).is_some())
            .map(|station| station.mac)
            .collect();
        macs.sort_unstable();
        macs.dedup();
        macs
    }

    /// `true` when another address of the port went to make room.
    pub(super) fn learn(&mut self, now: Instant, station: Station, port: PortId) -> bool {
        if let Some((latest, heard)) = self.latest
            && latest == station
            && heard.port == port
            && now.since(heard.at) < REFRESH
        {
            return false;
        }
        self.latest = None;
        if let Some(heard) = self.heard.get(&station) {
            if heard.port == port && now.since(heard.at) < REFRESH {
                self.latest = Some((station, *heard));
                return false;
            }
            if heard.port != port
                && let Some(stations) = self.by_port.get_mut(&heard.port)
            {
                stations.pop(&station);
            }
        }
        self.heard.insert(station, Heard { port, at: now });
        let hash = self.hash;
        let stations = self
            .by_port
            .entry(port)
            .or_insert_with(|| LruCache::unbounded_with_hasher(hash));
        stations.put(station, ());
        if stations.len() <= self.bound_per_port {
            return false;
        }
        if let Some((oldest, ())) = stations.pop_lru() {
            self.heard.remove(&oldest);
        }
        true
    }

    pub(super) fn forget_port(&mut self, port: PortId) {
        self.latest = None;
        let stations = self.by_port.remove(&port);
        for (station, ()) in stations.iter().flat_map(LruCache::iter) {
            self.heard.remove(station);
        }
    }
}
