//! The frames that wait for one port.
//!
//! Two bounds. The hard one drops at the tail, as a NIC's ring does. The soft one, a quarter of it, is where the gateway stops
//! adding bulk data: TCP flows wait there for [`Egress::pop`] to say that the queue is short again, instead of losing segments.
//! Datagrams of the host, which do not slow down, stop at half of the hard bound; the other half is for all that is neither.

use std::collections::VecDeque;

use atoll_wire::Frame;
use bytes::Bytes;

use crate::PortId;
use crate::counters::{Counter, Counters};
use crate::reads::HeldReads;

/// Large reads that the frames of one queue may hold back. For a port that is so far behind, frames of further reads are copied out.
const SHARED_READS: usize = 256;

/// Where bulk data stops: what a port takes in one write, several times over.
const BULK_FRAMES: usize = 1024;

#[derive(Debug)]
pub(crate) struct Egress {
    queue: VecDeque<Frame>,
    bytes: usize,
    reads: HeldReads,
    max_frames: usize,
    max_bytes: usize,
    sent_frames: u64,
    sent_bytes: u64,
    dropped: u64,
}

impl Egress {
    pub(super) fn new(max_frames: usize, max_bytes: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            reads: HeldReads::default(),
            max_frames,
            max_bytes,
            sent_frames: 0,
            sent_bytes: 0,
            dropped: 0,
        }
    }

    pub(super) fn frames(&self) -> &VecDeque<Frame> {
        &self.queue
    }

    pub(super) fn sent_frames(&self) -> u64 {
        self.sent_frames
    }

    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes of bulk data that may still be added. Half the frames are kept free for all that is not bulk.
    pub(super) fn room(&self) -> usize {
        if self.queue.len() >= self.bulk_frames() {
            0
        } else {
            (self.max_bytes / 4).saturating_sub(self.bytes)
        }
    }

    /// Whether datagrams of the host may still be added.
    pub(super) fn takes_datagrams(&self) -> bool {
        self.queue.len() < self.max_frames / 2 && self.bytes < self.max_bytes / 2
    }

    pub(super) fn push(
        &mut self,
        id: PortId,
        frame: Frame,
        woken: &mut Vec<PortId>,
        counters: &mut Counters,
    ) {
        if self.queue.len() >= self.max_frames || self.bytes + frame.len() > self.max_bytes {
            self.dropped += 1;
            counters.count(Counter::EgressDropped);
            return;
        }
        if self.queue.is_empty() {
            woken.push(id);
        }
        self.bytes += frame.len();
        let last = self.queue.back().map(|last| &last.bytes);
        let is_too_much = self.reads.push(last, &frame.bytes, SHARED_READS) && !frame.bytes.is_unique();
        self.queue
            .push_back(if is_too_much { detached(&frame) } else { frame });
    }

    /// Frames at which bulk data stops.
    fn bulk_frames(&self) -> usize {
        BULK_FRAMES.min(self.max_frames / 2)
    }

    /// The port took `frames`. Returns whether bulk data may be added: half the soft bound is free.
    pub(super) fn pop(&mut self, frames: usize) -> bool {
        for _ in 0..frames {
            let Some(frame) = self.queue.pop_front() else {
                break;
            };
            self.bytes -= frame.len();
            self.sent_frames += 1;
            self.sent_bytes += frame.len() as u64;
            let next = self.queue.front().map(|next| &next.bytes);
            self.reads.pop(&frame.bytes, next);
        }
        self.bytes <= self.max_bytes / 8 && self.queue.len() < self.bulk_frames() / 2
    }
}

fn detached(frame: &Frame) -> Frame {
    Frame {
        bytes: Bytes::copy_from_slice(&frame.bytes),
        offload: frame.offload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_all(egress: &mut Egress, frames: impl IntoIterator<Item = Bytes>) {
        let (mut woken, mut counters) = (Vec::new(), Counters::new());
        for bytes in frames {
            egress.push(PortId(0), Frame::plain(bytes), &mut woken, &mut counters);
        }
    }

    #[test]
    fn a_port_that_is_far_behind_pins_few_reads() {
        let mut egress = Egress::new(1000, 1 << 20);
        let reads: Vec<Bytes> = (0..SHARED_READS + 100)
            .map(|_| Bytes::from(vec![7; 4096]))
            .collect();
        push_all(&mut egress, reads.iter().map(|read| read.slice(..60)));
        let shares = |(frame, read): &(&Frame, &Bytes)| frame.bytes.as_ptr() == read.as_ptr();
        assert_eq!(
            egress.frames().iter().zip(&reads).filter(shares).count(),
            SHARED_READS
        );
        egress.pop(SHARED_READS + 100);
        assert_eq!(egress.reads.count(), 0);
    }

    #[test]
    fn frames_of_one_read_are_not_copied_however_many_they_are() {
        let mut egress = Egress::new(1000, 1 << 20);
        let read = Bytes::from(vec![7; 128 * 1024]);
        let cuts = (0..SHARED_READS + 100).map(|number| 64 * number);
        push_all(&mut egress, cuts.clone().map(|from| read.slice(from..from + 60)));
        for (frame, from) in egress.frames().iter().zip(cuts) {
            assert_eq!(frame.bytes.as_ptr(), read[from..].as_ptr());
        }
    }
}
