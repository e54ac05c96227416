//! The device's side of a split ring (virtio 1.3, 2.7).
//!
//! ```text
//! descriptors   16 bytes each: address 0, length 8, flags 12, next 14
//! available     flags 0, index 2, heads 4…, then the index of the used entry to be told about
//! used          flags 0, index 2, entries 4… of head and length, then the index of the available one to be told about
//! ```
//!
//! The driver makes chains available, the device uses them in the same order and copies every chain at once, so none is held over from
//! one turn to the next: where the device stands is one number, which the front end asks for when it stops the ring, and which equals
//! the used index whenever nobody is at work. Therefore a device that is killed can go on with another process from the used index alone.
//!
//! **What a driver may write.** Anything, at any time. An index that is farther ahead than the ring is long, or a head that names no
//! descriptor, leaves nothing that could be made sense of: the ring is [`Broken`] and stands still until it is set up anew. A chain
//! that leads out of the guest's memory, in a circle or the wrong way is a [`Chain::bad`] one: from a transmit ring it is given back
//! without effect, a receive ring with one is broken. Every descriptor is copied before it is judged. A chain has at most [`MAX_CHAIN`] descriptors.
//!
//! **Notification.** With EVENT_IDX each side writes the index at which it wants to be told; without, a flag. While the device
//! works it leaves its index where it is, behind, so that the driver does not kick; before it sleeps it sets the index and looks once
//! more ([`Ring::sleep`]).

use super::features::Features;
use super::memory::{Memory, Part, Place};
use super::message::RingAddresses;
use crate::sys::memory::full_barrier;

/// Entries of the longest ring (2.7).
const MAX_SIZE: u32 = 1 << 15;

/// Descriptors of one chain. Linux's drivers use 19; QEMU's own devices take 1024.
pub(super) const MAX_CHAIN: usize = 1024;

const DESCRIPTOR: usize = 16;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// In the flags of either ring: do not tell me.
const QUIET: u16 = 1;

/// The ring cannot be followed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// Which way the bytes of a chain go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    FromGuest,
    ToGuest,
}

/// A chain of descriptors, followed to its end.
#[derive(Debug, Default)]
pub(super) struct Chain {
    /// The buffers, in order.
    pub(super) parts: Vec<Part>,
    /// Bytes in all of them.
    pub(super) len: usize,
    /// How many descriptors were looked at.
    pub(super) looked: usize,
    /// It cannot be used.
    pub(super) bad: bool,
}

/// One that runs.
#[derive(Debug)]
pub(super) struct Ring {
    size: u16,
    features: Features,
    descriptors: Place,
    available: Place,
    used: Place,
    /// The next chain to take.
    next: u16,
    /// The next used entry to write, which the driver may not know of yet.
    filled: u16,
    /// The used index that the driver knows.
    told: u16,
}

#[derive(Clone, Copy, Debug)]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn parse(bytes: [u8; DESCRIPTOR]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Self {
            address: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            len: u32::from_le_bytes([i, j, k, l]),
            flags: u16::from_le_bytes([m, n]),
            next: u16::from_le_bytes([o, p]),
        }
    }
}

/// Whether a ring can have this many entries.
pub(super) fn is_size(size: u32) -> Option<u16> {
    let fits = size.is_power_of_two() && size <= MAX_SIZE;
    u16::try_from(size).ok().filter(|_| fits)
}

impl Ring {
    /// A ring at these places that goes on at chain `next`; `None` when they are not in the guest's memory.
    pub(super) fn new(
        memory: &Memory,
        (size, next): (u16, u16),
        addresses: RingAddresses,
        features: Features,
    ) -> Option<Self> {
        let entries = usize::from(size);
        let event = if features.has_event_index() { 2 } else { 0 };
        let used = memory.place(addresses.used, 4 + 8 * entries + event, 4)?;
        let known = used.mapping.load(used.at + 2)?;
        Some(Self {
            size,
            features,
            descriptors: memory.place(addresses.descriptors, DESCRIPTOR * entries, 16)?,
            available: memory.place(addresses.available, 4 + 2 * entries + event, 2)?,
            used,
            next,
            filled: known,
            told: known,
        })
    }

    /// The next chain to take.
    pub(super) fn next(&self) -> u16 {
        self.next
    }

    /// Entries.
    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// How many chains wait.
    pub(super) fn waiting(&self) -> Result<u16, Broken> {
        let index = self.available.mapping.load(self.available.at + 2).ok_or(Broken)?;
        let waiting = index.wrapping_sub(self.next);
        if waiting <= self.size {
            Ok(waiting)
        } else {
            Err(Broken)
        }
    }

    /// The head of the chain that is `ahead` after the next one; there must be as many.
    pub(super) fn head(&self, ahead: u16) -> Result<u16, Broken> {
        let slot = self.next.wrapping_add(ahead) & (self.size - 1);
        let at = self.available.at + 4 + 2 * usize::from(slot);
        let head = self.available.mapping.load(at).ok_or(Broken)?;
        if head < self.size { Ok(head) } else { Err(Broken) }
    }

    /// Follow a chain and add its buffers to `chain`.
    pub(super) fn follow(&self, memory: &Memory, head: u16, way: Direction, chain: &mut Chain) {
        if self.try_follow(memory, head, way, chain).is_none() {
            chain.bad = true;
        }
    }

    fn try_follow(&self, memory: &Memory, head: u16, way: Direction, chain: &mut Chain) -> Option<()> {
        let mut table = Table::Ring;
        let (mut number, mut left) = (head, MAX_CHAIN);
        let mut indirect = Vec::new();
        loop {
            left = left.checked_sub(1)?;
            chain.looked += 1;
            let descriptor = self.descriptor(memory, &table, &indirect, number)?;
            if descriptor.flags & INDIRECT != 0 {
                let is_first = matches!(table, Table::Ring) && self.features.has_indirect();
                let entries = usize::try_from(descriptor.len).ok()? / DESCRIPTOR;
                let is_table = entries.checked_mul(DESCRIPTOR)? == usize::try_from(descriptor.len).ok()?;
                if !is_first || !is_table || descriptor.flags & NEXT != 0 || entries > usize::from(u16::MAX) {
                    return None;
                }
                memory.find(descriptor.address, descriptor.len, &mut indirect)?;
                table = Table::Indirect { entries };
                number = 0;
                continue;
            }
            if (descriptor.flags & WRITE != 0) != (way == Direction::ToGuest) {
                return None;
            }
            memory.find(descriptor.address, descriptor.len, &mut chain.parts)?;
            chain.len = chain.len.checked_add(usize::try_from(descriptor.len).ok()?)?;
            if descriptor.flags & NEXT == 0 {
                return Some(());
            }
            number = descriptor.next;
        }
    }

    /// A copy of a descriptor in the ring's own table or in the one that a descriptor pointed at.
    fn descriptor(
        &self,
        memory: &Memory,
        table: &Table,
        indirect: &[Part],
        number: u16,
    ) -> Option<Descriptor> {
        let mut at = usize::from(number) * DESCRIPTOR;
        match table {
            Table::Ring if number < self.size => {
                let Place { mapping, at: start } = &self.descriptors;
                mapping.read(start + at).map(Descriptor::parse)
            }
            Table::Indirect { entries } if usize::from(number) < *entries => {
                for part in indirect {
                    if at < part.len {
                        let (mapping, start) = memory.mapping(*part)?;
                        let fits = at + DESCRIPTOR <= part.len;
                        return mapping.read(start + at).filter(|_| fits).map(Descriptor::parse);
                    }
                    at -= part.len;
                }
                None
            }
            _ => None,
        }
    }

    /// The next chain is done, with `len` bytes written to it. The driver learns by [`Ring::tell`].
    pub(super) fn done(&mut self, head: u16, len: usize) -> Result<(), Broken> {
        let slot = self.filled & (self.size - 1);
        let at = self.used.at + 4 + 8 * usize::from(slot);
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let words = [u32::from(head), len].map(u32::to_le_bytes);
        self.used.mapping.write(at, words.as_flattened()).ok_or(Broken)?;
        self.filled = self.filled.wrapping_add(1);
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    /// Let the driver know of what is done. Whether it wants to be interrupted.
    pub(super) fn tell(&mut self) -> Result<bool, Broken> {
        let (before, now) = (self.told, self.filled);
        if before == now {
            return Ok(false);
        }
        self.used.mapping.store(self.used.at + 2, now).ok_or(Broken)?;
        self.told = now;
        full_barrier();
        if self.features.has_event_index() {
            let at = self.available.at + 4 + 2 * usize::from(self.size);
            let event = self.available.mapping.load(at).ok_or(Broken)?;
            // 2.7.7.1: the entry that it waits for is among the new ones.
            Ok(now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before))
        } else {
            let flags = self.available.mapping.load(self.available.at).ok_or(Broken)?;
            Ok(flags & QUIET == 0)
        }
    }

    /// Ask to be kicked when there is a chain beyond the `known` that wait. `false` when there is one already.
    pub(super) fn sleep(&mut self, known: u16) -> Result<bool, Broken> {
        if self.features.has_event_index() {
            let at = self.used.at + 4 + 8 * usize::from(self.size);
            let event = self.next.wrapping_add(known);
            self.used.mapping.store(at, event).ok_or(Broken)?;
        } else {
            self.used.mapping.store(self.used.at, 0).ok_or(Broken)?;
        }
        full_barrier();
        Ok(self.waiting()? <= known)
    }

    /// Ask not to be kicked. With EVENT_IDX it is enough to do nothing.
    pub(super) fn wake(&mut self) -> Result<(), Broken> {
        if self.features.has_event_index() {
            return Ok(());
        }
        self.used.mapping.store(self.used.at, QUIET).ok_or(Broken)
    }
}

/// Where descriptors are read.
#[derive(Clone, Copy, Debug)]
enum Table {
    Ring,
    Indirect { entries: usize },
}

impl Chain {
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.len = 0;
        self.looked = 0;
        self.bad = false;
    }
}
