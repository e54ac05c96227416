//! Where the networks of one process hand packets to each other.
//!
//! Each network has an end of its own here while it runs: a queue that others fill, and a waker that rouses its loop when the queue was empty.
//! Who sends names the network; nothing else is shared, and nobody waits for anybody. A network that is not there takes nothing, which its
//! sender is told at once; one that comes back is found under its name.
//!
//! Bounds: [`PACKETS`] and [`BYTES`] wait at an end for each network that sends to it; what is more is lost, as on any link that is full.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atoll_engine::{Addresses, Event, JoinId, JoinedNetwork, RoutedPacket};
use atoll_wire::Mac;
use mio::Waker;

use crate::NetworkOptions;
use crate::core::Core;

/// Packets that wait for one network from another.
const PACKETS: usize = 4096;
/// Their bytes.
const BYTES: usize = 8 << 20;

/// Another network of this process, to which a network routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinSpec {
    /// Its name at the junction.
    pub network: String,
    /// Its addresses.
    pub addresses: Addresses,
    /// Guests of the network itself may begin conversations with guests there.
    pub begins_there: bool,
    /// Guests there may begin conversations with guests of the network itself.
    pub begins_here: bool,
    /// Guests that are on both, by their MAC addresses on the network itself.
    pub on_both: Vec<Mac>,
}

impl JoinSpec {
    /// As the engine has them, numbered in their order.
    pub(crate) fn numbered(joins: &[Self]) -> Vec<JoinedNetwork> {
        let join = |(number, join): (u32, &Self)| JoinedNetwork {
            join: JoinId(number),
            addresses: join.addresses,
            begins_there: join.begins_there,
            begins_here: join.begins_here,
            on_both: join.on_both.clone(),
        };
        (0..).zip(joins).map(join).collect()
    }
}

/// Where networks meet. Clones are the same place.
#[derive(Clone, Debug, Default)]
pub struct Junction {
    ends: Arc<Mutex<BTreeMap<String, Arc<End>>>>,
}

#[derive(Debug)]
struct End {
    waker: Arc<Waker>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    packets: VecDeque<(String, RoutedPacket)>,
    /// How many wait of each sender, and how many bytes.
    shares: BTreeMap<String, (usize, usize)>,
}

impl End {
    /// Whether there was room.
    fn push(&self, from: &str, packet: RoutedPacket) -> bool {
        let mut waiting = lock(&self.waiting);
        let len = packet.packet.len();
        let share = waiting.shares.entry(from.to_owned()).or_default();
        if share.0 >= PACKETS || share.1 + len > BYTES {
            return false;
        }
        *share = (share.0 + 1, share.1 + len);
        let was_empty = waiting.packets.is_empty();
        waiting.packets.push_back((from.to_owned(), packet));
        drop(waiting);
        if was_empty && let Err(error) = self.waker.wake() {
            tracing::debug!("a network is not roused: {error}");
        }
        true
    }

    fn take(&self) -> VecDeque<(String, RoutedPacket)> {
        let mut waiting = lock(&self.waiting);
        waiting.shares.clear();
        std::mem::take(&mut waiting.packets)
    }
}

/// A thread that panicked left a queue behind that is as good as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The networks that one is joined with, and its own end.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    own: Option<(Junction, String, Arc<End>)>,
    /// By number.
    names: Vec<String>,
}

impl Joins {
    /// Those of a network, which is found by others from now on.
    pub(crate) fn open(options: &NetworkOptions, waker: &Arc<Waker>) -> Self {
        let Some((junction, name)) = options.junction.clone() else {
            return Self::default();
        };
        let end = Arc::new(End {
            waker: Arc::clone(waker),
            waiting: Mutex::default(),
        });
        lock(&junction.ends).insert(name.clone(), Arc::clone(&end));
        Self {
            own: Some((junction, name, end)),
            names: options.joined.iter().map(|join| join.network.clone()).collect(),
        }
    }

    /// Give a packet to another network, or tell that it is not there.
    pub(crate) fn send(&self, core: &mut Core, to: JoinId, packet: RoutedPacket) {
        let name = usize::try_from(to.0).ok().and_then(|at| self.names.get(at));
        let Some(((junction, own, _), name)) = self.own.as_ref().zip(name) else {
            return core.tell(Event::RouteLost(packet));
        };
        let end = lock(&junction.ends).get(name).cloned();
        match end {
            None => core.tell(Event::RouteLost(packet)),
            Some(end) => {
                if !end.push(own, packet) {
                    tracing::trace!("network {name} does not keep up with network {own}");
                }
            }
        }
    }

    /// What other networks gave.
    pub(crate) fn take(&self) -> Vec<Event> {
        let Some((_, _, end)) = &self.own else {
            return Vec::new();
        };
        let event = |(from, packet): (String, RoutedPacket)| {
            let number = self.names.iter().position(|name| *name == from)?;
            let from = JoinId(u32::try_from(number).ok()?);
            Some(Event::Routed { from, packet })
        };
        end.take().into_iter().filter_map(event).collect()
    }
}

impl Drop for Joins {
    fn drop(&mut self) {
        if let Some((junction, name, end)) = &self.own {
            let mut ends = lock(&junction.ends);
            // Another network of the name may have come already.
            if ends.get(name).is_some_and(|there| Arc::ptr_eq(there, end)) {
                ends.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use atoll_wire::{FrameBuf, Offload};

    use super::*;

    fn end() -> (mio::Poll, End) {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let waiting = Mutex::default();
        (poll, End { waker, waiting })
    }

    fn packet(len: usize) -> RoutedPacket {
        RoutedPacket {
            packet: FrameBuf::zeroed(len),
            offload: Offload::default(),
            origin: 1,
            was_cut: false,
        }
    }

    #[test]
    fn a_network_that_is_not_served_takes_so_many_from_each_other() {
        let (_poll, end) = end();
        for _ in 0..PACKETS {
            assert!(end.push("a", packet(20)));
        }
        assert!(!end.push("a", packet(20)));
        assert!(end.push("b", packet(20)), "b has room of its own");
        assert_eq!(end.take().len(), PACKETS + 1);
        assert!(end.push("a", packet(BYTES)));
        assert!(!end.push("a", packet(1)));
    }
}
