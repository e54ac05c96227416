//! From one frame as the kernel hands it to a TAP with offloads to finished frames of the wire.

use super::checksum::{fold, sum};
use super::headers::{Tcp, add_identification, set_ip_length};
use super::loss::Loss;
use super::vnet::Vnet;

/// Bytes of the length before each frame.
pub(super) const PREFIX: usize = 4;

/// Ethernet, and the longest IPv4 and TCP headers.
const MAX_HEADER: usize = 14 + 60 + 60;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// What became of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Bytes of the buffer that are used now, lengths included.
    pub(super) bytes: usize,
    pub(super) frames: u64,
}

/// Turns the frame of `length` bytes at `buffer[PREFIX..]` into finished frames with their lengths, in place. Frames
/// that make no sense, or find no room, become nothing.
pub(super) fn finish(buffer: &mut [u8], length: usize, vnet: Vnet, loss: &mut Loss) -> Done {
    match vnet.cut() {
        Some(size) => cut(buffer, length, size, loss).unwrap_or_default(),
        None => finish_one(buffer, length, vnet, loss).unwrap_or_default(),
    }
}

fn finish_one(buffer: &mut [u8], length: usize, vnet: Vnet, loss: &mut Loss) -> Option<Done> {
    if loss.takes_next() {
        return None;
    }
    let (prefix, frame) = buffer
        .get_mut(..PREFIX + length)?
        .split_first_chunk_mut::<PREFIX>()?;
    *prefix = u32::try_from(length).ok()?.to_be_bytes();
    if vnet.needs_checksum() {
        let start = usize::from(vnet.checksum_start);
        // The field holds the pseudo header's sum, so it is part of what is summed.
        let value = match !fold(sum(frame.get(start..)?)) {
            // To UDP zero means that there is none (RFC 768); the other zero is as good for TCP.
            0 => 0xffff,
            value => value,
        };
        let at = start + usize::from(vnet.checksum_offset);
        *frame.get_mut(at..)?.first_chunk_mut()? = value.to_ne_bytes();
    }
    Some(Done {
        bytes: PREFIX + length,
        frames: 1,
    })
}

/// Cuts a TCP frame at `size` bytes of payload. Segments only move towards the end of the buffer, so the last goes
/// first: then none is overwritten before it was moved.
fn cut(buffer: &mut [u8], length: usize, size: usize, loss: &mut Loss) -> Option<Done> {
    let frame = buffer.get(PREFIX..PREFIX + length)?;
    let tcp = Tcp::parse(frame)?;
    let mut header = [0; MAX_HEADER];
    let header = header.get_mut(..tcp.payload)?;
    header.copy_from_slice(frame.get(..tcp.payload)?);
    let total = tcp.payload_length();
    let count = total.div_ceil(size).max(1);
    let stride = PREFIX + tcp.payload + size;
    (buffer.len() >= (count - 1) * stride + PREFIX + tcp.payload + size).then_some(())?;
    for index in (0..count).rev() {
        let part = size.min(total - index * size);
        let from = PREFIX + tcp.payload + index * size;
        let place = index * stride;
        buffer.copy_within(from..from + part, place + PREFIX + tcp.payload);
        let to = buffer.get_mut(place..place + PREFIX + tcp.payload + part)?;
        write_segment(
            to,
            &tcp,
            header,
            Place {
                index,
                size,
                last: index + 1 == count,
            },
        );
    }
    let bytes = (count - 1) * stride + PREFIX + tcp.payload + (total - (count - 1) * size);
    let frames = u64::try_from(count).ok()?;
    Some(lose(buffer, Done { bytes, frames }, loss))
}

/// Which segment of its frame one is.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    size: usize,
    last: bool,
}

/// Writes length and headers before the payload that lies in `to` already.
fn write_segment(to: &mut [u8], tcp: &Tcp, header: &[u8], place: Place) {
    let Some((prefix, frame)) = to.split_first_chunk_mut::<PREFIX>() else {
        return;
    };
    *prefix = u32::try_from(frame.len()).unwrap_or(0).to_be_bytes();
    let Some(start) = frame.get_mut(..header.len()) else {
        return;
    };
    start.copy_from_slice(header);
    if !tcp.v6 {
        add_identification(frame, place.index);
    }
    set_ip_length(frame, tcp.v6, tcp.l4, frame.len() - 14);
    let offset = u32::try_from(place.index * place.size).unwrap_or(0);
    let sequence = tcp.sequence(frame).wrapping_add(offset);
    let mut flags = tcp.flags(frame);
    if !place.last {
        flags &= !(FIN | PSH);
    }
    if place.index > 0 {
        flags &= !CWR;
    }
    let pseudo = tcp.pseudo_sum(frame, frame.len() - tcp.l4);
    let Some(segment) = frame.get_mut(tcp.l4..) else {
        return;
    };
    segment[4..8].copy_from_slice(&sequence.to_be_bytes());
    segment[13] = flags;
    segment[16..18].fill(0);
    let value = !fold(pseudo + sum(segment));
    segment[16..18].copy_from_slice(&value.to_ne_bytes());
}

/// Takes lost frames out of what was cut.
fn lose(buffer: &mut [u8], done: Done, loss: &mut Loss) -> Done {
    let mut kept = Done::default();
    let mut at = 0;
    for _ in 0..done.frames {
        let Some(prefix) = buffer.get(at..).and_then(|rest| rest.first_chunk::<PREFIX>()) else {
            break;
        };
        let length = PREFIX + usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(0);
        if !loss.takes_next() {
            if kept.bytes < at {
                buffer.copy_within(at..at + length, kept.bytes);
            }
            kept.bytes += length;
            kept.frames += 1;
        }
        at += length;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{Done, PREFIX, finish};
    use crate::shim::headers::Tcp;
    use crate::shim::loss::Loss;
    use crate::shim::test_frames::{frame, frames_in};
    use crate::shim::vnet::Vnet;

    fn cut(payload: usize, size: u16, flags: u8, v6: bool) -> (Vec<Vec<u8>>, Done) {
        let whole = frame(v6, 1000, flags, payload);
        let mut buffer = vec![0; 200_000];
        buffer[PREFIX..PREFIX + whole.len()].copy_from_slice(&whole);
        let vnet = Vnet::train(v6, 0, if v6 { 54 } else { 34 }, size);
        let done = finish(&mut buffer, whole.len(), vnet, &mut Loss::new(0, 1));
        (frames_in(&buffer[..done.bytes]), done)
    }

    #[test]
    fn a_large_segment_becomes_sound_frames_that_hold_the_same_bytes() {
        for v6 in [false, true] {
            let (frames, done) = cut(10_000, 1448, 0x10, v6);
            assert_eq!(done.frames, 7);
            let mut joined = Vec::new();
            for (frame, sequence) in frames.iter().zip((1000..).step_by(1448)) {
                let tcp = Tcp::parse(frame).unwrap();
                assert!(tcp.is_sound(frame), "v6: {v6}, sequence {sequence}");
                assert_eq!(tcp.sequence(frame), sequence);
                joined.extend_from_slice(&frame[tcp.payload..tcp.end]);
            }
            let whole = frame(v6, 1000, 0x10, 10_000);
            let tcp = Tcp::parse(&whole).unwrap();
            assert_eq!(joined, whole[tcp.payload..]);
        }
    }

    #[test]
    fn only_the_last_segment_pushes_and_finishes() {
        let (frames, _) = cut(4000, 1448, 0x19, false);
        let flags: Vec<u8> = frames
            .iter()
            .map(|frame| Tcp::parse(frame).unwrap().flags(frame))
            .collect();
        assert_eq!(flags, [0x10, 0x10, 0x19]);
    }

    #[test]
    fn only_the_first_segment_says_that_the_window_was_reduced() {
        let (frames, _) = cut(4000, 1448, 0x90, false);
        let flags: Vec<u8> = frames
            .iter()
            .map(|frame| Tcp::parse(frame).unwrap().flags(frame))
            .collect();
        assert_eq!(flags, [0x90, 0x10, 0x10]);
    }

    #[test]
    fn identifications_of_segments_follow_each_other() {
        let (frames, _) = cut(4000, 1448, 0x10, false);
        let ids: Vec<&[u8]> = frames.iter().map(|frame| &frame[18..20]).collect();
        assert_eq!(ids, [[0, 0], [0, 1], [0, 2]]);
    }

    #[test]
    fn a_frame_that_is_lost_leaves_no_hole_in_the_stream() {
        let whole = frame(false, 1000, 0x10, 14_480);
        let mut buffer = vec![0; 200_000];
        buffer[PREFIX..PREFIX + whole.len()].copy_from_slice(&whole);
        let mut loss = Loss::new(300_000, 3);
        let done = finish(
            &mut buffer,
            whole.len(),
            Vnet::train(false, 54, 34, 1448),
            &mut loss,
        );
        let frames = frames_in(&buffer[..done.bytes]);
        assert!(loss.lost > 0);
        assert_eq!(u64::try_from(frames.len()).unwrap() + loss.lost, 10);
        assert!(
            frames
                .iter()
                .all(|frame| Tcp::parse(frame).unwrap().is_sound(frame))
        );
    }

    #[test]
    fn what_finds_no_room_becomes_nothing() {
        let whole = frame(false, 1000, 0x10, 10_000);
        let mut buffer = vec![0; PREFIX + whole.len() + 10];
        buffer[PREFIX..PREFIX + whole.len()].copy_from_slice(&whole);
        let vnet = Vnet::train(false, 54, 34, 100);
        let done = finish(&mut buffer, whole.len(), vnet, &mut Loss::new(0, 1));
        assert_eq!(done, Done::default());
    }
}
