//! Memory that sockets are read into, cut into frames afterwards.
//!
//! One `recvmsg` fills the payloads of many frames, each with its headroom before it, all in one allocation that is neither
//! zeroed nor allocated anew for every read: what a read did not fill serves the next, and when all frames of an allocation are
//! gone it is used again ([`BytesMut::reserve`]). Datagrams are read in the same way, one to a slot.
#![expect(
    unsafe_code,
    reason = "reads into memory that is not initialised, and says how much of it was"
)]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use atoll_wire::{FrameBuf, HEADROOM};
use bytes::{Buf, BytesMut};
use rustix::io::Errno;

/// Bytes allocated at a time: several reads.
const CHUNK: usize = 1 << 20;

/// Bytes that may lie idle between a frame and the next one's headroom. The switch takes frames for parts of one read that are no
/// farther apart than a headroom, of which the headers of UDP leave 72 bytes.
const GAP: usize = 40;

/// The spare memory.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    spare: BytesMut,
}

/// How a read is cut: `count` payloads of `segment` bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) segment: usize,
    pub(crate) count: usize,
}

impl Cut {
    fn slot(self) -> usize {
        HEADROOM + self.segment
    }
}

impl Arena {
    /// One `recvmsg` with `flags`: first to `skip`, then to payloads, all but the last full. Returns them and how many bytes the
    /// kernel copied, those in `skip` included.
    pub(crate) fn receive(
        &mut self,
        fd: impl AsFd,
        skip: &mut [u8],
        cut: Cut,
        flags: libc::c_int,
    ) -> Result<(Vec<FrameBuf>, usize), Errno> {
        let mut slices = Vec::with_capacity(cut.count + 1);
        if !skip.is_empty() {
            slices.push(slice_of(skip));
        }
        slices.extend(self.slots(cut));
        let mut message = message_of(&mut slices);
        // SAFETY: every slice points to memory of ours that is as long as it says and that nothing else uses.
        let status = unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, flags) };
        let copied = usize::try_from(status)
            .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))?;
        let filled = copied.saturating_sub(skip.len());
        Ok((self.take(cut, filled), copied))
    }

    /// Room for the payloads of a read.
    pub(super) fn slots(&mut self, cut: Cut) -> impl Iterator<Item = libc::iovec> {
        let wanted = cut.slot() * cut.count;
        if self.spare.capacity() < wanted {
            self.spare.reserve(wanted.max(CHUNK));
        }
        let slots = self.spare.spare_capacity_mut()[..wanted].chunks_exact_mut(cut.slot());
        slots.map(|slot| libc::iovec {
            iov_base: slot[HEADROOM..].as_mut_ptr().cast(),
            iov_len: slot.len() - HEADROOM,
        })
    }

    /// Cut off one frame for each slot that was filled so far. They are moved together where much would lie idle between them.
    ///
    /// # Safety
    /// The first slots of the last [`Arena::slots`], with the same cut, must have been written to, each with as many bytes as `filled`
    /// says, and nothing may have been cut off since.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "datagrams come singly"))]
    pub(super) unsafe fn take_slots(&mut self, cut: Cut, filled: &[usize]) -> Vec<FrameBuf> {
        let mut consumed = 0;
        let mut frames = Vec::with_capacity(filled.len());
        for (number, &len) in filled.iter().enumerate() {
            let slot = number * cut.slot() - consumed;
            let gap = if slot > GAP { 0 } else { slot };
            let spare = self.spare.spare_capacity_mut();
            if slot > gap {
                let payload = slot + HEADROOM;
                spare.copy_within(payload..payload + len, HEADROOM);
            }
            spare[..gap + HEADROOM].fill(MaybeUninit::new(0));
            // SAFETY: gap and headroom were written above, the payload by whoever filled the slot.
            unsafe { self.spare.set_len(gap + HEADROOM + len) };
            let mut frame = self.spare.split();
            frame.advance(gap);
            frames.push(FrameBuf::after_headroom(frame));
            consumed += gap + HEADROOM + len;
        }
        frames
    }

    /// Cut off the frames whose payloads hold the first `filled` bytes.
    fn take(&mut self, cut: Cut, filled: usize) -> Vec<FrameBuf> {
        let mut left = filled;
        let mut frames = Vec::with_capacity(filled.div_ceil(cut.segment.max(1)));
        while left > 0 {
            let payload = left.min(cut.segment);
            let headroom = &mut self.spare.spare_capacity_mut()[..HEADROOM];
            headroom.fill(MaybeUninit::new(0));
            // SAFETY: the headroom was written above, the payload by the kernel.
            unsafe { self.spare.set_len(HEADROOM + payload) };
            frames.push(FrameBuf::after_headroom(self.spare.split()));
            left -= payload;
        }
        frames
    }
}

pub(super) fn slice_of(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }
}

/// A message of these buffers, without name and control data.
pub(super) fn message_of(slices: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: a `msghdr` of zeros has no name, no buffers and no control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = slices.as_mut_ptr();
    #[cfg_attr(
        target_os = "linux",
        expect(clippy::useless_conversion, reason = "an int elsewhere")
    )]
    let count = slices.len().try_into().unwrap_or(0);
    message.msg_iovlen = count;
    message
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn payloads_follow_each_other_and_the_rest_serves_the_next_read() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let mut arena = Arena::default();
        let cut = Cut { segment: 4, count: 8 };
        for _ in 0..3 {
            writer.write_all(b"0123456789").unwrap();
            let (frames, copied) = arena.receive(&reader, &mut [], cut, 0).unwrap();
            let payloads: Vec<&[u8]> = frames.iter().map(FrameBuf::payload).collect();
            assert_eq!((payloads, copied), (vec![&b"0123"[..], b"4567", b"89"], 10));
        }
    }

    /// Frames of slots that were filled with these.
    fn slotted(arena: &mut Arena, cut: Cut, payloads: &[&[u8]]) -> Vec<FrameBuf> {
        for (slot, payload) in arena.slots(cut).zip(payloads) {
            assert!(payload.len() <= slot.iov_len);
            // SAFETY: the slot is as long as it says, which is long enough.
            unsafe { std::ptr::copy(payload.as_ptr(), slot.iov_base.cast(), payload.len()) };
        }
        let filled: Vec<usize> = payloads.iter().map(|payload| payload.len()).collect();
        // SAFETY: as many bytes were written to each.
        unsafe { arena.take_slots(cut, &filled) }
    }

    #[test]
    fn datagrams_of_all_sizes_keep_their_bytes_and_lie_close_together() {
        let mut arena = Arena::default();
        let (full, nearly, short) = ([1; 1000], [2; 970], [3; 100]);
        let payloads = [&full[..], &nearly, &nearly, &short, &[], &full, &short];
        let cut = Cut {
            segment: 1000,
            count: 8,
        };
        for _ in 0..3 {
            let frames = slotted(&mut arena, cut, &payloads);
            let kept: Vec<&[u8]> = frames.iter().map(FrameBuf::payload).collect();
            assert_eq!(kept, payloads);
            for (one, next) in frames.iter().zip(&frames[1..]) {
                let end = one.payload().as_ptr_range().end.addr();
                let gap = next.payload().as_ptr().addr() - end - HEADROOM;
                assert!(gap <= GAP, "{gap}");
            }
        }
    }

    #[test]
    fn what_is_skipped_is_not_in_a_frame() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        writer.write_all(b"skipped, kept").unwrap();
        let mut scratch = [0; 9];
        let cut = Cut {
            segment: 100,
            count: 1,
        };
        let (frames, copied) = Arena::default().receive(&reader, &mut scratch, cut, 0).unwrap();
        assert_eq!((frames[0].payload(), copied), (&b"kept"[..], 13));
    }

    #[test]
    fn memory_is_used_again_when_its_frames_are_gone() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let mut arena = Arena::default();
        let cut = Cut {
            segment: 60_000,
            count: 4,
        };
        let mut places = std::collections::BTreeSet::new();
        for _ in 0..100 {
            writer.write_all(&[7; 60_000]).unwrap();
            let (frames, _) = arena.receive(&reader, &mut [], cut, 0).unwrap();
            places.insert(frames[0].payload().as_ptr().addr());
        }
        assert!(places.len() <= 2 * CHUNK / 60_000, "{} places", places.len());
    }
}
