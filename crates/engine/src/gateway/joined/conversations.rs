//! The conversations between this network and those that it is joined with: who began each, and when it was heard of last.
//!
//! | conversation | is over, with nothing heard of it for |
//! |---|---|
//! | TCP | 2 h 4 min (RFC 5382, REQ-5) |
//! | TCP with an end or a reset in either direction, or not answered | 4 min |
//! | UDP, echo | 5 min (RFC 4787, REQ-5; longer than RFC 5508, REQ-2 asks for) |
//!
//! What is over is found so when somebody asks; nothing runs. The table has room for [`BOUND`] of them. Beyond it the least recently used goes of
//! whoever began the most: a guest here by its port, one there by the port that its own network says. So who fills it displaces its own.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use atoll_wire::Endpoint;
use lru::LruCache;

use super::said::Talk;
use crate::policy::Transport;
use crate::rng::KeyedHash;
use crate::{Instant, JoinId, PortId};

/// Conversations at a time.
const BOUND: usize = 16_384;

const TCP: Duration = Duration::from_secs(2 * 3600 + 4 * 60);
const TCP_TRANSITORY: Duration = Duration::from_secs(4 * 60);
const DATAGRAMS: Duration = Duration::from_secs(5 * 60);

/// A conversation by its two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    transport: Transport,
    here: Endpoint,
    there: Endpoint,
}

impl Key {
    /// That of a packet between these two, sent by the one here or by the one there. An echo has its identifier at the end of who began it.
    pub(super) fn of(talk: Talk, (here, there): (IpAddr, IpAddr), is_from_here: bool) -> Self {
        let (transport, src, dst) = match talk {
            Talk::Tcp(src, dst) => (Transport::Tcp, src, dst),
            Talk::Udp(src, dst) => (Transport::Udp, src, dst),
            Talk::Request(ident) => (Transport::Icmp, ident, 0),
            Talk::Reply(ident) => (Transport::Icmp, 0, ident),
        };
        let (port_here, port_there) = if is_from_here { (src, dst) } else { (dst, src) };
        Self {
            transport,
            here: Endpoint::new(here, port_here),
            there: Endpoint::new(there, port_there),
        }
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    pub(super) fn there(&self) -> Endpoint {
        self.there
    }
}

/// Who began a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Beginner {
    /// The guest behind this port.
    Here(PortId),
    /// A guest of that network, behind the port that it calls so.
    There(JoinId, u32),
}

impl Beginner {
    pub(super) fn is_here(self) -> bool {
        matches!(self, Self::Here(_))
    }
}

#[derive(Clone, Copy, Debug)]
struct Conversation {
    heard: Instant,
    is_answered: bool,
    is_ending: bool,
}

impl Conversation {
    fn is_over(&self, now: Instant, transport: Transport) -> bool {
        let patience = match transport {
            Transport::Tcp if self.is_answered && !self.is_ending => TCP,
            Transport::Tcp => TCP_TRANSITORY,
            Transport::Udp | Transport::Icmp => DATAGRAMS,
        };
        now.since(self.heard) > patience
    }
}

#[derive(Debug)]
pub(super) struct Conversations {
    beginners: HashMap<Key, Beginner, KeyedHash>,
    of: BTreeMap<Beginner, LruCache<Key, Conversation, KeyedHash>>,
    bound: usize,
    hash: KeyedHash,
}

impl Conversations {
    pub(super) fn new(hash: KeyedHash) -> Self {
        Self {
            beginners: HashMap::with_hasher(hash),
            of: BTreeMap::new(),
            bound: BOUND,
            hash,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.beginners.len()
    }

    /// Who began it, if it is not over.
    pub(super) fn beginner(&mut self, now: Instant, key: &Key) -> Option<Beginner> {
        let beginner = *self.beginners.get(key)?;
        let found = self.of.get(&beginner).and_then(|own| own.peek(key));
        if found.is_some_and(|found| !found.is_over(now, key.transport)) {
            return Some(beginner);
        }
        self.forget(key);
        None
    }

    /// A packet of it went by, from here or from there; it may have been the last of its direction.
    pub(super) fn note(&mut self, now: Instant, key: &Key, is_from_here: bool, ends: bool) {
        let Some(beginner) = self.beginners.get(key) else {
            return;
        };
        if let Some(found) = self.of.get_mut(beginner).and_then(|own| own.get_mut(key)) {
            found.heard = now;
            found.is_answered |= beginner.is_here() != is_from_here;
            found.is_ending |= ends;
        }
    }

    /// One begins, of which its beginner may have so many. Whether another of its own made room for that.
    pub(super) fn begin(&mut self, now: Instant, key: Key, beginner: Beginner, most: usize) -> bool {
        self.forget(&key);
        let displaced = self.count_of(beginner) >= most.max(1) && self.drop_oldest_of(beginner);
        while self.beginners.len() >= self.bound {
            let busiest = self.of.iter().max_by_key(|(_, own)| own.len());
            let Some((&busiest, _)) = busiest else { break };
            self.drop_oldest_of(busiest);
        }
        let hash = self.hash;
        let own = self.of.entry(beginner);
        let own = own.or_insert_with(|| LruCache::unbounded_with_hasher(hash));
        let begun = Conversation {
            heard: now,
            is_answered: false,
            is_ending: false,
        };
        own.put(key, begun);
        self.beginners.insert(key, beginner);
        displaced
    }

    /// The port is gone, and whatever its guest had begun.
    pub(super) fn forget_port(&mut self, port: PortId) {
        let own = self.of.remove(&Beginner::Here(port));
        for (key, _) in own.iter().flatten() {
            self.beginners.remove(key);
        }
    }

    fn count_of(&self, beginner: Beginner) -> usize {
        self.of.get(&beginner).map_or(0, LruCache::len)
    }

    fn drop_oldest_of(&mut self, beginner: Beginner) -> bool {
        let oldest = self.of.get(&beginner).and_then(LruCache::peek_lru);
        let Some(key) = oldest.map(|(key, _)| *key) else {
            return false;
        };
        self.forget(&key);
        true
    }

    fn forget(&mut self, key: &Key) {
        let Some(beginner) = self.beginners.remove(key) else {
            return;
        };
        if let Some(own) = self.of.get_mut(&beginner) {
            own.pop(key);
            if own.is_empty() {
                self.of.remove(&beginner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const HERE: Beginner = Beginner::Here(PortId(1));

    fn table(bound: usize) -> Conversations {
        Conversations {
            bound,
            ..Conversations::new(Rng::new([1; 32]).keyed_hash())
        }
    }

    fn tcp(port: u16) -> Key {
        let ends = ("10.77.0.2".parse().unwrap(), "10.77.1.2".parse().unwrap());
        Key::of(Talk::Tcp(port, 80), ends, true)
    }

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn both_directions_are_one_conversation() {
        let ends = ("10.77.0.2".parse().unwrap(), "10.77.1.2".parse().unwrap());
        assert_eq!(tcp(4000), Key::of(Talk::Tcp(80, 4000), ends, false));
        let asked = Key::of(Talk::Request(7), ends, true);
        assert_eq!(asked, Key::of(Talk::Reply(7), ends, false));
        // The other one's echo with the same identifier is another one.
        assert_ne!(asked, Key::of(Talk::Request(7), ends, false));
    }

    #[test]
    fn a_conversation_is_over_when_nothing_was_heard_of_it_for_long() {
        let mut table = table(10);
        table.begin(at(0), tcp(1), HERE, 10);
        assert_eq!(table.beginner(at(240), &tcp(1)), Some(HERE));
        assert_eq!(table.beginner(at(241), &tcp(1)), None, "it was not answered");
        assert_eq!(table.len(), 0);
        table.begin(at(0), tcp(1), HERE, 10);
        table.note(at(10), &tcp(1), false, false);
        assert_eq!(table.beginner(at(7450), &tcp(1)), Some(HERE));
        table.note(at(7450), &tcp(1), true, true);
        assert_eq!(table.beginner(at(7700), &tcp(1)), None, "it was ending");
    }

    #[test]
    fn who_begins_most_displaces_its_own() {
        let mut table = table(8);
        let modest = Beginner::There(JoinId(0), 3);
        table.begin(at(0), tcp(9999), modest, 10);
        for port in 0..100 {
            table.begin(at(1), tcp(port), HERE, usize::MAX);
        }
        assert_eq!(table.len(), 8);
        assert_eq!(table.beginner(at(1), &tcp(9999)), Some(modest));
        assert_eq!(table.beginner(at(1), &tcp(92)), None);
        assert_eq!(table.beginner(at(1), &tcp(93)), Some(HERE));
        assert!(table.begin(at(1), tcp(200), HERE, 7), "it has as many as it may");
        table.forget_port(PortId(1));
        assert_eq!(table.len(), 1);
    }
}
