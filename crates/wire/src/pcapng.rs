//! Capture files: pcapng, as draft-ietf-opsawg-pcapng describes it.
//!
//! A file is a section header, one interface of link type Ethernet with nanosecond timestamps, and an enhanced packet
//! block for each frame. Everything is little-endian; a reader learns that from the byte-order magic. These functions
//! append bytes to a buffer; who calls them owns the file and the clock.

/// `LINKTYPE_ETHERNET`.
const LINKTYPE_ETHERNET: u16 = 1;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

const OPT_END: u16 = 0;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;

/// Bytes of an enhanced packet block beside its frame: type, two lengths, interface, timestamp, captured and original length.
const PACKET_OVERHEAD: usize = 32;

/// Begin a file: what wrote it, and the name of its one interface.
pub fn begin(out: &mut Vec<u8>, application: &str, interface: &str) {
    block(out, SECTION_HEADER, |body| {
        body.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
        body.extend_from_slice(&1_u16.to_le_bytes());
        body.extend_from_slice(&0_u16.to_le_bytes());
        // The section's length: unknown.
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        option(body, SHB_USERAPPL, application.as_bytes());
        option(body, OPT_END, &[]);
    });
    block(out, INTERFACE_DESCRIPTION, |body| {
        body.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        body.extend_from_slice(&0_u16.to_le_bytes());
        // No limit to a packet's length.
        body.extend_from_slice(&0_u32.to_le_bytes());
        option(body, IF_NAME, interface.as_bytes());
        option(body, IF_TSRESOL, &[9]);
        option(body, OPT_END, &[]);
    });
}

/// One frame, seen so many nanoseconds after 1970.
pub fn packet(out: &mut Vec<u8>, unix_nanos: u64, frame: &[u8]) {
    out.reserve(frame.len() + PACKET_OVERHEAD + 3);
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let [a, b, c, d, e, f, g, h] = unix_nanos.to_le_bytes();
    block(out, ENHANCED_PACKET, |body| {
        body.extend_from_slice(&0_u32.to_le_bytes());
        // The upper half of the timestamp comes first.
        body.extend_from_slice(&[e, f, g, h, a, b, c, d]);
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(&length.to_le_bytes());
        padded(body, frame);
    });
}

/// Type, length, body, length again.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() + 4 - start)
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    out.extend_from_slice(&length);
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&length);
    }
}

/// Code, length of the value, value. Options are short; a longer value is cut.
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    padded(out, value.get(..usize::from(length)).unwrap_or_default());
}

/// Bytes, and zeros up to a multiple of four.
fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    let padding = bytes.len().next_multiple_of(4) - bytes.len();
    out.extend_from_slice(&[0, 0, 0][..padding]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type and body of each block; panics unless the lengths at both ends agree.
    fn blocks(mut file: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let length = usize::try_from(word(file, 4)).unwrap();
            assert_eq!(length % 4, 0);
            assert_eq!(usize::try_from(word(file, length - 4)).unwrap(), length);
            blocks.push((word(file, 0), file[8..length - 4].to_vec()));
            file = &file[length..];
        }
        blocks
    }

    #[test]
    fn a_file_begins_with_a_section_and_an_ethernet_interface() {
        let mut file = Vec::new();
        begin(&mut file, "atoll", "lan");
        let blocks = blocks(&file);
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0].0, SECTION_HEADER);
        assert_eq!(blocks[0].1[..8], [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0]);
        assert_eq!(blocks[1].0, INTERFACE_DESCRIPTION);
        assert_eq!(blocks[1].1[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(blocks[1].1[16..24], [9, 0, 1, 0, 9, 0, 0, 0], "nanoseconds");
    }

    #[test]
    fn frames_of_any_length_are_padded_and_their_length_kept() {
        for len in 14..20_u8 {
            let frame: Vec<u8> = (0..len).collect();
            let mut file = Vec::new();
            packet(&mut file, 0x0102_0304_0506_0708, &frame);
            let (kind, body) = blocks(&file).remove(0);
            assert_eq!(kind, ENHANCED_PACKET);
            assert_eq!(body[4..12], [4, 3, 2, 1, 8, 7, 6, 5]);
            assert_eq!(body[12..20], [len, 0, 0, 0, len, 0, 0, 0]);
            assert_eq!(body[20..20 + frame.len()], frame);
            assert!(body[20 + frame.len()..].iter().all(|&byte| byte == 0));
        }
    }
}
