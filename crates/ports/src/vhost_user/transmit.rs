//! Frames out of a guest's transmit ring.
//!
//! Each chain is a virtio_net_hdr and a frame behind it, cut anywhere (virtio 1.3, 5.1.6.2; legacy drivers keep the header in a
//! buffer of its own, which is one way to cut). Its bytes are copied once, to where they stay: a large frame becomes a slice of a
//! buffer that is used again when all frames in it are gone, a small one gets memory of its own, so that it holds back no more than
//! it weighs. The header is the guest's word and checked ([`vnet`]).
//!
//! A turn is bounded in frames, in bytes and in descriptors looked at. While there is work the guest is not asked to kick.

use atoll_wire::{Frame, vnet};
use bytes::{Bytes, BytesMut};

use super::memory::{Memory, Part};
use super::ring::{Broken, Chain, Direction, Ring};
use crate::decoder::{MAX_FRAME, MIN_FRAME};

/// Frames in one turn.
const FRAMES: usize = 128;

/// Descriptors looked at in one turn.
const DESCRIPTORS: usize = 8192;

/// Bytes of a buffer. A turn ends with it: what was copied is handled while it is in the cache.
const CHUNK: usize = 4 * MAX_FRAME;

/// Frames up to this get memory of their own.
const SMALL: usize = 2048;

/// What transmit rings of one guest share.
#[derive(Debug, Default)]
pub(super) struct Transmit {
    buf: BytesMut,
    chain: Chain,
    /// Chains that were no frame.
    pub(super) bad_chains: u64,
    /// Frames whose header did not go with them.
    pub(super) bad_headers: u64,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// There may be more at once.
    pub(super) more: bool,
    /// The driver wants to be interrupted.
    pub(super) interrupt: bool,
}

impl Transmit {
    /// Take what waits, as far as a turn goes, and append the frames.
    pub(super) fn take(
        &mut self,
        ring: &mut Ring,
        memory: &Memory,
        header_len: usize,
        frames: &mut Vec<Frame>,
    ) -> Result<Turn, Broken> {
        ring.wake()?;
        let (mut count, mut looked) = (0, 0);
        let more = loop {
            if ring.waiting()? == 0 {
                break !ring.sleep(0)?;
            }
            if count == FRAMES || looked >= DESCRIPTORS || (count > 0 && self.buf.capacity() < MAX_FRAME) {
                break true;
            }
            let head = ring.head(0)?;
            self.chain.clear();
            ring.follow(memory, head, Direction::FromGuest, &mut self.chain);
            frames.extend(self.copy(memory, header_len));
            ring.done(head, 0)?;
            count += 1;
            looked += self.chain.looked;
        };
        let interrupt = ring.tell()?;
        Ok(Turn { more, interrupt })
    }

    /// The frame that the chain holds.
    fn copy(&mut self, memory: &Memory, header_len: usize) -> Option<Frame> {
        let len = self.chain.len.checked_sub(header_len);
        let len = len.filter(|len| !self.chain.bad && (MIN_FRAME..=MAX_FRAME).contains(len));
        let Some(len) = len else {
            self.bad_chains += 1;
            return None;
        };
        let mut header = [0; vnet::LEN];
        let header = &mut header[..header_len];
        let mut parts = Parts {
            parts: &self.chain.parts,
            used: 0,
        };
        parts.fill(memory, header)?;
        let bytes = if len <= SMALL {
            let mut own = BytesMut::with_capacity(len);
            parts.append(memory, &mut own)?;
            own.freeze()
        } else {
            if self.buf.capacity() < MAX_FRAME {
                self.buf.reserve(CHUNK);
            }
            parts.append(memory, &mut self.buf)?;
            self.buf.split().freeze()
        };
        self.judge(header, bytes)
    }

    fn judge(&mut self, header: &[u8], bytes: Bytes) -> Option<Frame> {
        match vnet::parse(header, &bytes) {
            Ok(offload) => Some(Frame { bytes, offload }),
            Err(error) => {
                tracing::trace!("a frame of a guest is dropped for its header: {error:?}");
                self.bad_headers += 1;
                None
            }
        }
    }
}

/// The buffers of a chain, read from the front.
struct Parts<'a> {
    parts: &'a [Part],
    /// Bytes of the first one that were read already.
    used: usize,
}

impl Parts<'_> {
    /// Read as many bytes as `into` has. They must be there.
    fn fill(&mut self, memory: &Memory, into: &mut [u8]) -> Option<()> {
        let mut into = into;
        while !into.is_empty() {
            let part = *self.parts.first()?;
            let len = (part.len - self.used).min(into.len());
            let (mapping, at) = memory.mapping(part)?;
            let (now, rest) = into.split_at_mut(len);
            mapping.copy_to(at + self.used, now)?;
            into = rest;
            self.used += len;
            if self.used == part.len {
                self.used = 0;
                self.parts = self.parts.get(1..)?;
            }
        }
        Some(())
    }

    /// Append all that is left.
    fn append(self, memory: &Memory, buf: &mut BytesMut) -> Option<()> {
        let mut used = self.used;
        for part in self.parts {
            let (mapping, at) = memory.mapping(*part)?;
            mapping.append_to(at + used, part.len - used, buf)?;
            used = 0;
        }
        Some(())
    }
}
