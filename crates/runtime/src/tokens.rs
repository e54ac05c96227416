//! What a readiness event is about.
//!
//! A [`mio::Token`] is a number; ours is a kind and a typed reference, so that an event can only reach the thing it was
//! registered for. Numbers are never used twice, and slots carry a generation, so an event that was fetched before its
//! socket was closed finds nothing.

use mio::Token;

/// The thing that became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A request waits.
    Waker,
    /// A QEMU `stream` listener.
    Listener(u32),
    /// A guest on a stream.
    Guest(u32),
    /// A datagram socket for guests.
    Dgram(u32),
    /// The host socket of a flow.
    Flow(Key),
    /// A forward's socket.
    Forward(u32),
    /// Something happened to the file that names the host's resolvers.
    Resolvers,
    /// A question to a resolver.
    Dns(Key),
    /// A ring of a guest: the guest's port, and the ring's number.
    Kick(u32, u8),
    /// Links of the host changed, or a session with the helper ended.
    Links,
    /// A proxy's listener.
    Proxy(u32),
    /// A client of a proxy that has no guest yet.
    Client(Key),
}

/// A slot and its generation: 32 and 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(u64);

const KIND_SHIFT: u32 = 56;
const VALUE_MASK: u64 = (1 << KIND_SHIFT) - 1;
const GENERATION_MASK: u32 = 0x00ff_ffff;

impl From<Source> for Token {
    fn from(source: Source) -> Self {
        let (kind, value) = match source {
            Source::Waker => (0, 0),
            Source::Listener(id) => (1, u64::from(id)),
            Source::Guest(id) => (2, u64::from(id)),
            Source::Dgram(id) => (3, u64::from(id)),
            Source::Flow(key) => (4, key.0),
            Source::Forward(id) => (5, u64::from(id)),
            Source::Dns(key) => (6, key.0),
            Source::Links => (8, 0),
            Source::Resolvers => (11, 0),
            Source::Kick(id, ring) => (7, u64::from(ring) << 32 | u64::from(id)),
            Source::Proxy(id) => (9, u64::from(id)),
            Source::Client(key) => (10, key.0),
        };
        let number: u64 = kind << KIND_SHIFT | value;
        Self(usize::try_from(number).expect("a pointer has 64 bits wherever this runs"))
    }
}

impl Source {
    /// The reference behind a token of ours.
    pub(crate) fn of(token: Token) -> Option<Self> {
        let number = u64::try_from(token.0).ok()?;
        let value = number & VALUE_MASK;
        let id = u32::try_from(value);
        Some(match number >> KIND_SHIFT {
            0 => Self::Waker,
            1 => Self::Listener(id.ok()?),
            2 => Self::Guest(id.ok()?),
            3 => Self::Dgram(id.ok()?),
            4 => Self::Flow(Key(value)),
            5 => Self::Forward(id.ok()?),
            6 => Self::Dns(Key(value)),
            7 => Self::Kick(
                u32::try_from(value & u64::from(u32::MAX)).ok()?,
                u8::try_from(value >> 32).ok()?,
            ),
            8 => Self::Links,
            9 => Self::Proxy(id.ok()?),
            10 => Self::Client(Key(value)),
            11 => Self::Resolvers,
            _ => return None,
        })
    }
}

/// A table whose keys fit a token.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl Key {
    fn new(slot: u32, generation: u32) -> Self {
        Self(u64::from(generation & GENERATION_MASK) << 32 | u64::from(slot))
    }

    fn slot(self) -> usize {
        usize::try_from(self.0 & u64::from(u32::MAX)).unwrap_or(usize::MAX)
    }

    fn generation(self) -> u64 {
        self.0 >> 32
    }
}

impl<T> Slab<T> {
    /// Put a value that is made from its own key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            u32::try_from(self.slots.len() - 1).expect("descriptors are far fewer than 2^32")
        });
        let index = usize::try_from(slot).unwrap_or(usize::MAX);
        let (generation, value) = &mut self.slots[index];
        let key = Key::new(slot, *generation);
        *value = Some(make(key));
        key
    }

    /// The value, if the key still names one.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(key.slot())?;
        (u64::from(*generation) == key.generation())
            .then_some(value.as_mut())
            .flatten()
    }

    /// Take the value out. The key names nothing from now on.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let (generation, value) = self.slots.get_mut(key.slot())?;
        *generation = (*generation + 1) & GENERATION_MASK;
        self.free.push(u32::try_from(key.slot()).ok()?);
        value.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_source() {
        let mut slab = Slab::default();
        let first = slab.insert_with(|_| 'a');
        slab.remove(first);
        let second = slab.insert_with(|_| 'b');
        for source in [
            Source::Waker,
            Source::Listener(0),
            Source::Guest(u32::MAX),
            Source::Dgram(7),
            Source::Flow(first),
            Source::Flow(second),
            Source::Forward(1),
            Source::Dns(second),
            Source::Kick(u32::MAX, 15),
            Source::Proxy(3),
            Source::Client(second),
        ] {
            assert_eq!(Source::of(source.into()), Some(source));
        }
    }

    #[test]
    fn a_removed_value_is_not_reached_by_its_old_key() {
        let mut slab = Slab::default();
        let first = slab.insert_with(|_| 'a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert_with(|_| 'b');
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut 'b'));
    }
}
