//! The device as a front end sets it up.
//!
//! ```text
//! SET_FEATURES, SET_MEM_TABLE, SET_VRING_NUM, _ADDR, _BASE, _CALL, _KICK     in any order; again at any time
//!         │ all there
//!         ▼
//!      runs ── SET_VRING_ENABLE ──▶ delivers          GET_VRING_BASE: stands still and says where
//! ```
//!
//! A ring runs from when the last thing that it needs is there. It delivers while it is enabled, which it is from the start for front
//! ends without protocol features; one that runs and is not enabled takes what the guest sends and drops it. What changes while it runs
//! takes effect at once: a new memory table moves the ring to where its addresses are now, or stops it.
//!
//! A request that cannot be carried out changes nothing. Whether that ends the connection is the port's business.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::features::{self, Features, OFFERED, PROTOCOL_OFFERED};
use super::memory::Memory;
use super::message::{RegionSpec, Request, RingAddresses, RingNumber};
use super::ring::{Ring, is_size};
use super::{RequestError, Watch};
use crate::sys::memory::{is_event, signal};

/// Pairs of rings: one to receive, one to transmit. Frames for the guest all go to the first one, which a device may choose
/// to do; a guest with several transmits on all.
pub(super) const PAIRS: usize = 8;

/// Of a memory table's or a ring's address: writes are to be logged.
const LOG: u32 = 1;

/// One ring and what is known for it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    size: Option<u16>,
    addresses: Option<RingAddresses>,
    base: u16,
    pub(super) kick: Option<OwnedFd>,
    pub(super) call: Option<OwnedFd>,
    pub(super) enabled: bool,
    pub(super) ring: Option<Ring>,
    /// The driver broke it: it stands still until it is said where to go on.
    broken: bool,
}

/// All of them, and the memory that they are in.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) features: Features,
    protocol: u64,
    pub(super) memory: Memory,
    pub(super) slots: [Slot; 2 * PAIRS],
    /// What the owner of the port is to do about them.
    pub(super) watches: VecDeque<Watch>,
}

/// What the front end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing, unless it asked for an acknowledgement.
    Done,
    Number(u64),
    /// A ring's number and where it stands.
    Base(u32, u16),
}

impl Device {
    pub(super) fn new() -> Self {
        Self {
            features: Features::default(),
            protocol: 0,
            memory: Memory::default(),
            slots: Default::default(),
            watches: VecDeque::new(),
        }
    }

    /// Whether any request may ask for an answer.
    pub(super) fn answers_all(&self) -> bool {
        features::answers_all(self.protocol)
    }

    pub(super) fn handle_request(&mut self, request: Request) -> Result<Answer, RequestError> {
        let answer = match request {
            Request::GetFeatures => return Ok(Answer::Number(OFFERED)),
            Request::GetProtocolFeatures => return Ok(Answer::Number(PROTOCOL_OFFERED)),
            Request::GetQueueNum => return Ok(Answer::Number(u64::try_from(PAIRS).unwrap_or(1))),
            Request::GetVringBase(number) => self.stop(number),
            Request::SetFeatures(bits) => self.set_features(bits),
            Request::SetProtocolFeatures(bits) => self.set_protocol_features(bits),
            Request::ResetOwner => self.disable_all(),
            Request::SetMemTable(regions) => self.set_memory(regions),
            Request::SetVringNum(number, size) => self.set_size(number, size),
            Request::SetVringAddr(number, flags, addresses) => self.set_addresses(number, flags, addresses),
            Request::SetVringBase(number, base) => self.set_base(number, base),
            Request::SetVringKick(number, kick) => self.set_kick(number, kick),
            Request::SetVringCall(number, call) => self.set_call(number, call),
            Request::SetVringEnable(number, enabled) => self.set_enabled(number, enabled),
            // Errors are logged here, not there. The MTU is the front end's to tell the guest.
            Request::SetOwner | Request::SetVringErr | Request::NetSetMtu => Ok(Answer::Done),
            Request::Unknown => Err(RequestError::Unknown),
        };
        self.start();
        answer
    }

    fn slot(&mut self, number: RingNumber) -> Result<&mut Slot, RequestError> {
        let slot = usize::try_from(number)
            .ok()
            .and_then(|number| self.slots.get_mut(number));
        slot.ok_or(RequestError::NoRing(number))
    }

    fn set_features(&mut self, bits: u64) -> Result<Answer, RequestError> {
        let features = Features::of(bits).ok_or(RequestError::Features(bits))?;
        if features != self.features {
            // A ring that runs was set up for others.
            self.features = features;
            self.halt_all();
        }
        if !features.has_protocol_features() {
            self.slots.iter_mut().for_each(|slot| slot.enabled = true);
        }
        Ok(Answer::Done)
    }

    fn set_protocol_features(&mut self, bits: u64) -> Result<Answer, RequestError> {
        if bits & !PROTOCOL_OFFERED != 0 {
            return Err(RequestError::Features(bits));
        }
        self.protocol = bits;
        Ok(Answer::Done)
    }

    fn disable_all(&mut self) -> Result<Answer, RequestError> {
        self.slots.iter_mut().for_each(|slot| slot.enabled = false);
        Ok(Answer::Done)
    }

    fn set_memory(&mut self, regions: Vec<(RegionSpec, OwnedFd)>) -> Result<Answer, RequestError> {
        self.memory = Memory::new(regions)?;
        self.halt_all();
        Ok(Answer::Done)
    }

    fn set_size(&mut self, number: RingNumber, size: u32) -> Result<Answer, RequestError> {
        let slot = self.slot(number)?;
        slot.size = Some(is_size(size).ok_or(RequestError::RingSize(size))?);
        slot.halt();
        Ok(Answer::Done)
    }

    fn set_addresses(
        &mut self,
        number: RingNumber,
        flags: u32,
        addresses: RingAddresses,
    ) -> Result<Answer, RequestError> {
        if flags & LOG != 0 {
            return Err(RequestError::Log);
        }
        let slot = self.slot(number)?;
        slot.addresses = Some(addresses);
        slot.halt();
        Ok(Answer::Done)
    }

    fn set_base(&mut self, number: RingNumber, base: u32) -> Result<Answer, RequestError> {
        let slot = self.slot(number)?;
        slot.halt();
        slot.base = u16::try_from(base).map_err(|_| RequestError::RingBase(base))?;
        slot.broken = false;
        Ok(Answer::Done)
    }

    fn set_kick(&mut self, number: RingNumber, kick: Option<OwnedFd>) -> Result<Answer, RequestError> {
        let kick = kick.ok_or(RequestError::Polling)?;
        if !is_event(&kick) {
            return Err(RequestError::NoEvent);
        }
        let slot = self.slot(number)?;
        let old = slot.kick.replace(kick);
        self.watches.extend(old.map(Watch::End));
        self.watches.extend(u8::try_from(number).ok().map(Watch::Begin));
        Ok(Answer::Done)
    }

    fn set_call(&mut self, number: RingNumber, call: Option<OwnedFd>) -> Result<Answer, RequestError> {
        let slot = self.slot(number)?;
        if let Some(call) = &call {
            if !is_event(call) {
                return Err(RequestError::NoEvent);
            }
            rustix::io::ioctl_fionbio(call, true).map_err(|error| RequestError::Call(error.into()))?;
            // What the one before was told may not have reached the guest.
            signal(call).map_err(RequestError::Call)?;
        }
        slot.call = call;
        Ok(Answer::Done)
    }

    fn set_enabled(&mut self, number: RingNumber, enabled: bool) -> Result<Answer, RequestError> {
        self.slot(number)?.enabled = enabled;
        Ok(Answer::Done)
    }

    /// Stop a ring until it gets a kick descriptor again.
    fn stop(&mut self, number: RingNumber) -> Result<Answer, RequestError> {
        let slot = self.slot(number)?;
        slot.halt();
        let base = slot.base;
        let kick = slot.kick.take();
        slot.call = None;
        self.watches.extend(kick.map(Watch::End));
        Ok(Answer::Base(number, base))
    }

    /// Every kick descriptor goes: the connection is at its end.
    pub(super) fn stop_all(&mut self) {
        for slot in &mut self.slots {
            slot.halt();
            self.watches.extend(slot.kick.take().map(Watch::End));
        }
    }

    fn halt_all(&mut self) {
        self.slots.iter_mut().for_each(Slot::halt);
    }

    /// Let every ring run that has all it needs.
    fn start(&mut self) {
        if self.memory.is_empty() {
            return;
        }
        for (number, slot) in (0..).zip(&mut self.slots) {
            let (None, Some(size), Some(addresses), Some(_), false) =
                (&slot.ring, slot.size, slot.addresses, &slot.kick, slot.broken)
            else {
                continue;
            };
            slot.ring = Ring::new(&self.memory, (size, slot.base), addresses, self.features);
            if slot.ring.is_some() {
                self.watches.push_back(Watch::Ready(number));
            }
        }
    }

    /// A ring cannot be followed any more.
    pub(super) fn give_up(&mut self, number: usize) {
        if let Some(slot) = self.slots.get_mut(number) {
            slot.halt();
            slot.broken = true;
        }
    }
}

impl Slot {
    /// Stand still, to go on from here or as is said next.
    fn halt(&mut self) {
        if let Some(ring) = self.ring.take() {
            self.base = ring.next();
        }
    }
}
