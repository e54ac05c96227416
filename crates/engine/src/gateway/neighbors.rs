//! Which MAC address has which IPv4 address of the subnet (RFC 826), as the gateway learns it.
//!
//! A binding comes from the ARP packets a guest sends and, when there is none, from its IPv4 packets to us. It has no age:
//! what a guest says last holds. A packet for an address without a binding waits while ARP asks three times, one
//! second apart; then it is lost. Both tables are bounded; the oldest goes first.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use atoll_wire::{FrameBuf, Mac, Offload};
use lru::LruCache;

use crate::Instant;
use crate::rng::KeyedHash;

const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_TIMES: u8 = 3;
/// Packets that wait for one address.
const MAX_WAITING: usize = 4;
/// Addresses that are asked for at a time.
const MAX_ASKED: usize = 256;

/// An IPv4 packet without Ethernet header.
pub(crate) type Packet = (FrameBuf, Offload);

#[derive(Debug)]
struct Asked {
    waiting: Vec<Packet>,
    again_at: Instant,
    times: u8,
}

#[derive(Debug)]
pub(crate) struct Neighbors {
    /// The binding that a packet used last, which packets of a large read share, and those that answer them.
    latest: Option<(IpAddr, Mac)>,
    known: LruCache<IpAddr, Mac, KeyedHash>,
    asked: BTreeMap<IpAddr, Asked>,
    bound: usize,
}

impl Neighbors {
    pub(crate) fn new(bound: usize, hash: KeyedHash) -> Self {
        Self {
            latest: None,
            known: LruCache::unbounded_with_hasher(hash),
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

    pub(crate) fn addresses_of(&self, mac: Mac) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self
            .known
            .iter()
            .filter(|(_, known)| **known == mac)
            .map(|(&address, _)| address)
            .collect();
        addresses.sort_unstable();
        addresses
    }

    /// The guest says so. Returns the packets that waited for it.
    pub(crate) fn learn(&mut self, address: IpAddr, mac: Mac) -> Vec<Packet> {
        self.latest = None;
        self.known.put(address, mac);
        if self.known.len() > self.bound {
            self.known.pop_lru();
        }
        self.asked
            .remove(&address)
            .map_or_else(Vec::new, |asked| asked.waiting)
    }

    /// Let a packet wait for `address`. Returns whether ARP is to ask now; `Err` when there is no room to wait.
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
            },
        );
        Ok(true)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.asked.values().map(|asked| asked.again_at).min()
    }

    /// Addresses to ask for again, and how many packets were given up.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> (Vec<IpAddr>, usize) {
        let mut again = Vec::new();
        let mut lost = 0;
        self.asked.retain(|&address, asked| {
            if asked.again_at > now {
                return true;
            }
            if asked.times >= ASK_TIMES {
                lost += asked.waiting.len();
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
