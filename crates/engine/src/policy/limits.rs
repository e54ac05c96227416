//! The limits of one port.
//!
//! A limit is a token bucket or a bound. Frames that come from a port are judged before anything looks at them, those that go to it
//! when they would be queued: what is too much is dropped, as a policer on a link does, and the sender's congestion control sees the loss.
//! Nothing waits here.

use atoll_wire::{Frame, Gso};

use super::bucket::Bucket;
use super::config::GuestLimits;
use crate::Instant;
use crate::counters::Counter;

/// At once, for a rate of bytes: a tenth of a second, and two frames of the largest kind at least.
const LEAST_BYTES: u64 = 128 * 1024;
/// At once, for a rate of packets.
const LEAST_PACKETS: u64 = 64;

/// The buckets of one port.
#[derive(Debug)]
pub(crate) struct PortLimits {
    new_flows: Option<Bucket>,
    pub(super) flows: Option<usize>,
    bytes_from: Option<Bucket>,
    bytes_to: Option<Bucket>,
    packets: Option<Bucket>,
}

impl PortLimits {
    /// `None` where nothing is limited.
    pub(super) fn new(limits: &GuestLimits) -> Option<Self> {
        if *limits == GuestLimits::default() {
            return None;
        }
        let bytes = |bits: u64| Bucket::new(bits.div_ceil(8), (bits / 80).max(LEAST_BYTES));
        let rate = |rate: u32| Bucket::new(rate.into(), u64::from(rate / 10).max(LEAST_PACKETS));
        Some(Self {
            new_flows: limits.new_flows.map(|rate| Bucket::new(rate.into(), rate.into())),
            flows: limits
                .flows
                .map(|flows| usize::try_from(flows).unwrap_or(usize::MAX).max(1)),
            bytes_from: limits.bandwidth_from.map(bytes),
            bytes_to: limits.bandwidth_to.map(bytes),
            packets: limits.packets.map(rate),
        })
    }

    /// A frame came from the port.
    pub(super) fn take_from(&mut self, now: Instant, frame: &Frame) -> Result<(), Counter> {
        let takes = |bucket: &mut Option<Bucket>, amount: u64| {
            bucket.as_mut().is_none_or(|bucket| bucket.try_take(now, amount))
        };
        if !takes(&mut self.packets, packets(frame)) {
            return Err(Counter::LimitedPackets);
        }
        if !takes(&mut self.bytes_from, frame.len() as u64) {
            return Err(Counter::LimitedBytesFrom);
        }
        Ok(())
    }

    /// A frame is to go to the port.
    pub(super) fn take_to(&mut self, now: Instant, frame: &Frame) -> Result<(), Counter> {
        let bucket = self.bytes_to.as_mut();
        match bucket.is_none_or(|bucket| bucket.try_take(now, frame.len() as u64)) {
            true => Ok(()),
            false => Err(Counter::LimitedBytesTo),
        }
    }

    /// The guest begins a flow.
    pub(super) fn take_flow(&mut self, now: Instant) -> Result<(), Counter> {
        match self
            .new_flows
            .as_mut()
            .is_none_or(|bucket| bucket.try_take(now, 1))
        {
            true => Ok(()),
            false => Err(Counter::LimitedNewFlows),
        }
    }
}

/// How many packets a frame is on the wire.
fn packets(frame: &Frame) -> u64 {
    let (Gso::Tcp4 { size, .. } | Gso::Tcp6 { size, .. } | Gso::Udp4 { size } | Gso::Udp6 { size }) =
        frame.offload.gso
    else {
        return 1;
    };
    (frame.len() as u64).div_ceil(u64::from(size.max(1)))
}
