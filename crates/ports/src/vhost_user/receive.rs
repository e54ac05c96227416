//! Frames into a guest's receive ring.
//!
//! A frame and its virtio_net_hdr are written straight into the guest's buffers: into one chain, or with MRG_RXBUF into as many as it
//! takes, whose number the header tells (virtio 1.3, 5.1.6.4). Chains are taken only when the whole frame fits into those that wait;
//! until then the frame stays in the engine's queue, and the guest is asked to kick when it has put more buffers there.
//!
//! A frame that cannot fit, be it that one chain is all there is for it or that the ring is full of smaller ones, is dropped and
//! counted, so that it holds nobody up.

use std::collections::VecDeque;

use atoll_wire::{Frame, vnet};

use super::features::Features;
use super::memory::Memory;
use super::ring::{Broken, Chain, Direction, Ring};
use crate::stream::Written;

/// Frames in one turn.
const FRAMES: usize = 256;

/// Descriptors of one frame. Buffers of 1526 bytes make 46 of the largest.
const DESCRIPTORS: usize = 4096;

/// What is kept from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Receive {
    chain: Chain,
    /// Heads of the chains of a frame, and how many bytes each has room for.
    heads: Vec<(u16, usize)>,
    /// Frames for which the guest's buffers were too small.
    pub(super) too_large: u64,
}

/// How a frame fits.
enum Fit {
    Fits,
    /// Not into what waits now.
    Later,
    Never,
}

impl Receive {
    /// Write frames from the front of `queue`; and whether the driver wants to be interrupted.
    pub(super) fn write(
        &mut self,
        ring: &mut Ring,
        memory: &Memory,
        features: Features,
        queue: &VecDeque<Frame>,
    ) -> Result<(Written, bool), Broken> {
        let mut written = Written::default();
        ring.wake()?;
        for frame in queue.iter().take(FRAMES) {
            let waiting = ring.waiting()?;
            match self.gather(ring, memory, features, (waiting, frame.len()))? {
                Fit::Fits => self.put(ring, memory, features, frame)?,
                Fit::Later => {
                    written.blocked = ring.sleep(waiting)?;
                    break;
                }
                Fit::Never => self.too_large += 1,
            }
            written.frames += 1;
        }
        let interrupt = ring.tell()?;
        Ok((written, interrupt))
    }

    /// Gather chains for a frame of `len` bytes from those that wait.
    fn gather(
        &mut self,
        ring: &mut Ring,
        memory: &Memory,
        features: Features,
        (waiting, len): (u16, usize),
    ) -> Result<Fit, Broken> {
        let wanted = features.header_len() + len;
        self.chain.clear();
        self.heads.clear();
        for ahead in 0..waiting {
            let (head, before) = (ring.head(ahead)?, self.chain.len);
            ring.follow(memory, head, Direction::ToGuest, &mut self.chain);
            if self.chain.bad || self.chain.looked > DESCRIPTORS {
                return Err(Broken);
            }
            self.heads.push((head, self.chain.len - before));
            if self.chain.len >= wanted {
                return Ok(Fit::Fits);
            }
            if !features.has_mergeable() {
                return Ok(Fit::Never);
            }
        }
        Ok(if waiting == ring.size() {
            Fit::Never
        } else {
            Fit::Later
        })
    }

    /// Write a frame into the chains that were gathered.
    fn put(
        &mut self,
        ring: &mut Ring,
        memory: &Memory,
        features: Features,
        frame: &Frame,
    ) -> Result<(), Broken> {
        let mut header = vnet::emit(frame);
        if !features.takes_checksums() {
            // 5.1.6.4.1: no flag may be set.
            header[0] = 0;
        }
        let count = u16::try_from(self.heads.len()).map_err(|_| Broken)?;
        header[10..].copy_from_slice(&count.to_le_bytes());
        let mut sources = [&header[..features.header_len()], &frame.bytes[..]];
        let mut parts = self.chain.parts.iter();
        let (mut part, mut used) = (parts.next(), 0);
        for source in &mut sources {
            while !source.is_empty() {
                let place = *part.ok_or(Broken)?;
                let (now, rest) = source.split_at(source.len().min(place.len - used));
                let (mapping, at) = memory.mapping(place).ok_or(Broken)?;
                mapping.write(at + used, now).ok_or(Broken)?;
                *source = rest;
                used += now.len();
                if used == place.len {
                    (part, used) = (parts.next(), 0);
                }
            }
        }
        let mut left = features.header_len() + frame.len();
        for &(head, room) in &self.heads {
            let len = room.min(left);
            ring.done(head, len)?;
            left -= len;
        }
        Ok(())
    }
}
