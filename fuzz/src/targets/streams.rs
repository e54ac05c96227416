//! Byte streams that are cut into messages: the cut must not depend on how the bytes came.

use super::bytes::Choices;
use atoll_ports::{Decoder, LengthError, MAX_FRAME, MIN_FRAME};
use atoll_qemu::qmp::{LineBuffer, QmpError, parse_line};
use atoll_wire::join::join;
use atoll_wire::proxy::{Parsed, http, socks5};
use atoll_wire::{Checksum, Frame, Gso, Offload, Offloads, segment, vlan, vnet};
use bytes::Bytes;

/// QEMU's `-netdev stream`. The first byte says in how long pieces the rest comes.
pub(super) fn qemu_stream(input: &[u8]) {
    let (piece, bytes) = pieces(input);
    let whole = frames(std::iter::once(bytes));
    for frame in &whole.0 {
        assert!(
            (MIN_FRAME..=MAX_FRAME).contains(&frame.len()),
            "a frame of {} bytes",
            frame.len()
        );
    }
    assert_eq!(frames(bytes.chunks(piece)), whole, "in pieces of {piece} bytes");
}

/// All frames before the end or the first length that cannot be one.
fn frames<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<LengthError>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.extend(chunk);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// QEMU's machine protocol. The first byte says in how long pieces the rest comes.
pub(super) fn qmp(input: &[u8]) {
    let (piece, bytes) = pieces(input);
    let whole = lines(std::iter::once(bytes));
    for line in whole.iter().flatten() {
        assert!(!line.contains(&b'\n'), "a line holds a line end");
        if let Err(error) = parse_line(line) {
            assert!(!error.to_string().is_empty());
        }
    }
    assert_eq!(
        lines(bytes.chunks(piece)).ok(),
        whole.ok(),
        "in pieces of {piece} bytes"
    );
}

fn lines<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, QmpError> {
    let mut buffer = LineBuffer::default();
    let mut lines = Vec::new();
    for chunk in chunks {
        buffer.push(chunk);
        while let Some(line) = buffer.next_line()? {
            lines.push(line);
        }
    }
    Ok(lines)
}

fn pieces(input: &[u8]) -> (usize, &[u8]) {
    let mut choices = Choices::new(input);
    let piece = usize::from(choices.byte()).max(1);
    (piece, choices.take(usize::MAX))
}

/// A frame with a virtio_net_hdr before it, as a TAP's guest writes it: taken as it can be said again, then cut for a port
/// that takes no such thing. What is cut is whole, and no longer than the guest's frame.
pub(super) fn vnet_header(input: &[u8]) {
    let (header, frame) = input.split_at(vnet::LEN.min(input.len()));
    let Ok(offload) = vnet::parse(header, frame) else {
        return;
    };
    let frame = Frame {
        bytes: Bytes::copy_from_slice(frame),
        offload,
    };
    assert_eq!(vnet::parse(&vnet::emit(&frame), &frame.bytes), Ok(offload));
    for part in segment::plain(&frame).unwrap_or_default() {
        assert_eq!(part.offload, Offload::default());
        assert!((MIN_FRAME..=frame.len()).contains(&part.len()), "{}", part.len());
    }
}

/// Frames in a queue, each a length and its bytes: a run of them as one frame, cut again, is the frames themselves. Their checksums count
/// as verified, so that the headers alone decide.
pub(super) fn joined_segments(input: &[u8]) {
    const CHECKSUM: usize = 16;
    let mut choices = Choices::new(input);
    let mut queue = Vec::new();
    while !choices.is_empty() {
        let bytes = Bytes::copy_from_slice(choices.chunk());
        let checksum = Checksum::Valid;
        let gso = Gso::None;
        queue.push(Frame {
            bytes,
            offload: Offload { checksum, gso },
        });
    }
    let Some(run) = join(&queue, Offloads::ALL) else {
        return;
    };
    let Checksum::Partial { start, .. } = run.headers.offload.checksum else {
        panic!("a run's checksum is made where it is cut");
    };
    let mut whole = run.headers.bytes.to_vec();
    for frame in &queue[..run.frames] {
        whole.extend_from_slice(&frame.bytes[run.headers.len()..]);
    }
    let whole = Frame {
        bytes: whole.into(),
        offload: run.headers.offload,
    };
    let parts = segment::plain(&whole).expect("a run can be cut");
    assert_eq!(parts.len(), run.frames);
    let unsummed = |frame: &Frame| {
        let mut bytes = frame.bytes.to_vec();
        let field = usize::from(start) + CHECKSUM;
        bytes[field..field + 2].fill(0);
        bytes
    };
    for (part, frame) in parts.iter().zip(&queue) {
        assert_eq!(unsummed(part), unsummed(frame));
    }
}

/// A frame's tags: what is left of them without those that carry no VLAN says the same VLAN, and nothing else of the frame is touched. The
/// first two bytes say where its checksum is to be finished.
pub(super) fn vlan_tags(input: &[u8]) {
    let Some((start, bytes)) = input.split_first_chunk() else {
        return;
    };
    let start = u16::from_le_bytes(*start);
    let checksum = match start % 2 {
        0 => Checksum::Unverified,
        _ => Checksum::Partial { start, offset: 16 },
    };
    let frame = Frame {
        bytes: Bytes::copy_from_slice(bytes),
        offload: Offload {
            checksum,
            ..Offload::default()
        },
    };
    let Ok((vlan, before)) = vlan::classify(&frame.bytes) else {
        return;
    };
    if let Ok(plain) = vlan::without_priority(&frame, before) {
        assert_eq!(vlan::classify(&plain.bytes), Ok((vlan, 0)));
        assert_eq!(plain.bytes[..vlan::TAG_AT], frame.bytes[..vlan::TAG_AT]);
        assert_eq!(plain.bytes[vlan::TAG_AT..], frame.bytes[vlan::TAG_AT + before..]);
    }
}

/// A client's head, for all that a proxy reads it as: whole within its bound, and from the same bytes on whatever comes behind it. What
/// is passed on to an origin is a request to an origin.
pub(super) fn proxy_head(input: &[u8]) {
    whole_once(input, socks5::greeting, 2 + 255);
    whole_once(input, socks5::request, socks5::HEAD_MAX);
    whole_once(input, http::request, http::HEAD_MAX);
    if let Parsed::Whole(http::Request::Forward(_, head), _) = http::request(input) {
        let again = http::request(&head);
        let length = head.len();
        assert!(
            matches!(again, Parsed::Whole(http::Request::NoProxyRequest, len) if len == length)
                || length >= http::HEAD_MAX,
            "{again:?}"
        );
    }
}

fn whole_once<T: PartialEq + std::fmt::Debug>(input: &[u8], read: fn(&[u8]) -> Parsed<T>, bound: usize) {
    match read(input) {
        Parsed::Partial => assert!(input.len() < bound, "{} bytes are not enough", input.len()),
        Parsed::Whole(_, length) => {
            assert!(length <= input.len());
            if let Parsed::Whole(_, again) = read(&input[..length]) {
                assert_eq!(again, length);
            } else {
                panic!("the head alone is no head");
            }
        }
        Parsed::Bad => {}
    }
}
