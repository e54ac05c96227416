//! Which MAC address was last heard on which port.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use atoll_wire::Mac;
use lru::LruCache;

use crate::rng::KeyedHash;
use crate::{Instant, PortId};

/// An address not heard for this long is forgotten (IEEE 802.1Q, 8.8.3: 300 s).
pub(super) const AGEING: Duration = Duration::from_secs(300);

/// A station heard again within this time needs no new note.
const REFRESH: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
struct Heard {
    port: PortId,
    at: Instant,
}

/// Bounded for each port on its own.
#[derive(Debug)]
pub(super) struct MacTable {
    /// The note that was looked at last, which is that of the table: frames of a large read share it, and so do those that answer them.
    latest: Option<(Mac, Heard)>,
    heard: HashMap<Mac, Heard, KeyedHash>,
    by_port: BTreeMap<PortId, LruCache<Mac, (), KeyedHash>>,
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

    pub(super) fn port_of(&self, now: Instant, mac: Mac) -> Option<PortId> {
        let latest = self.latest.as_ref().filter(|(latest, _)| *latest == mac);
        latest
            .map(|(_, heard)| heard)
            .or_else(|| self.heard.get(&mac))
            .filter(|heard| now.since(heard.at) < AGEING)
            .map(|heard| heard.port)
    }

    pub(super) fn macs_of(&self, now: Instant, port: PortId) -> Vec<Mac> {
        let macs = self
            .by_port
            .get(&port)
            .into_iter()
            .flat_map(LruCache::iter)
            .map(|(&mac, ())| mac);
        let mut macs: Vec<Mac> = macs.filter(|&mac| self.port_of(now, mac).is_some()).collect();
        macs.sort_unstable();
        macs
    }

    /// `true` when another address of the port went to make room.
    pub(super) fn learn(&mut self, now: Instant, mac: Mac, port: PortId) -> bool {
        if let Some((latest, heard)) = self.latest
            && latest == mac
            && heard.port == port
            && now.since(heard.at) < REFRESH
        {
            return false;
        }
        self.latest = None;
        if let Some(heard) = self.heard.get(&mac) {
            if heard.port == port && now.since(heard.at) < REFRESH {
                self.latest = Some((mac, *heard));
                return false;
            }
            if heard.port != port
                && let Some(macs) = self.by_port.get_mut(&heard.port)
            {
                macs.pop(&mac);
            }
        }
        self.heard.insert(mac, Heard { port, at: now });
        let hash = self.hash;
        let macs = self
            .by_port
            .entry(port)
            .or_insert_with(|| LruCache::unbounded_with_hasher(hash));
        macs.put(mac, ());
        if macs.len() <= self.bound_per_port {
            return false;
        }
        if let Some((oldest, ())) = macs.pop_lru() {
            self.heard.remove(&oldest);
        }
        true
    }

    pub(super) fn forget_port(&mut self, port: PortId) {
        self.latest = None;
        let macs = self.by_port.remove(&port);
        for (mac, ()) in macs.iter().flat_map(LruCache::iter) {
            self.heard.remove(mac);
        }
    }
}
