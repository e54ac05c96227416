//! Frames for the shim's tests.

use super::checksum::{fold, sum};
use super::headers::{Tcp, set_ip_length};

/// A sound TCP frame from port 1 to port 2 with `payload` bytes that differ.
pub(super) fn frame(v6: bool, sequence: u32, flags: u8, payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let l4 = if v6 { 54 } else { 34 };
    if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 6, 64]);
        frame.extend([0xfd; 16]);
        frame.extend([0xfc; 16]);
    } else {
        frame.extend([
            8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
    }
    frame.extend([0, 1, 0, 2]);
    frame.extend(sequence.to_be_bytes());
    frame.extend([0, 0, 0, 9, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    frame.extend((0..payload).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()));
    let length = frame.len() - 14;
    set_ip_length(&mut frame, v6, l4, length);
    let tcp = Tcp::parse(&frame).unwrap();
    let value = !fold(tcp.pseudo_sum(&frame, frame.len() - l4) + sum(&frame[l4..]));
    frame[l4 + 16..l4 + 18].copy_from_slice(&value.to_ne_bytes());
    frame
}

/// The frames of a stream with lengths.
pub(super) fn frames_in(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((prefix, rest)) = stream.split_first_chunk::<4>() {
        let (frame, rest) = rest.split_at(usize::try_from(u32::from_be_bytes(*prefix)).unwrap());
        frames.push(frame.to_vec());
        stream = rest;
    }
    frames
}
