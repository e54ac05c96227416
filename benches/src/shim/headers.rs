//! Where the parts of a TCP frame lie.

use super::checksum::{fold, sum, word};

/// Length of an Ethernet header.
pub(super) const ETHERNET: usize = 14;

const PROTOCOL_TCP: u8 = 6;

/// Offsets into a frame that holds one whole TCP segment, unfragmented and without a VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tcp {
    pub(super) v6: bool,
    /// The TCP header.
    pub(super) l4: usize,
    pub(super) payload: usize,
    /// The end of the IP packet; a frame may be padded beyond.
    pub(super) end: usize,
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Tcp {
    /// The frame's parts, or nothing when it is something else.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        match be16(frame, 12)? {
            0x0800 => Self::parse_v4(frame),
            0x86dd => Self::parse_v6(frame),
            _ => None,
        }
    }

    fn parse_v4(frame: &[u8]) -> Option<Self> {
        let first = *frame.get(ETHERNET)?;
        let header = usize::from(first & 15) * 4;
        let fragment = be16(frame, ETHERNET + 6)? & 0x3fff;
        let whole = first >> 4 == 4 && header >= 20 && fragment == 0;
        (whole && *frame.get(ETHERNET + 9)? == PROTOCOL_TCP).then_some(())?;
        let end = ETHERNET + usize::from(be16(frame, ETHERNET + 2)?);
        Self::parse_tcp(frame, false, ETHERNET + header, end)
    }

    /// Only without extension headers: TCP follows at once in all that matters here.
    fn parse_v6(frame: &[u8]) -> Option<Self> {
        (*frame.get(ETHERNET + 6)? == PROTOCOL_TCP).then_some(())?;
        let end = ETHERNET + 40 + usize::from(be16(frame, ETHERNET + 4)?);
        Self::parse_tcp(frame, true, ETHERNET + 40, end)
    }

    fn parse_tcp(frame: &[u8], v6: bool, l4: usize, end: usize) -> Option<Self> {
        let header = usize::from(*frame.get(l4 + 12)? >> 4) * 4;
        let payload = l4 + header;
        let fits = header >= 20 && payload <= end && end <= frame.len();
        fits.then_some(Self { v6, l4, payload, end })
    }

    /// Both addresses, which lie side by side.
    pub(super) fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let (from, length) = if self.v6 {
            (ETHERNET + 8, 32)
        } else {
            (ETHERNET + 12, 8)
        };
        frame.get(from..from + length).unwrap_or_default()
    }

    /// Both ports, as one number.
    pub(super) fn ports(&self, frame: &[u8]) -> u32 {
        self.be32(frame, 0)
    }

    pub(super) fn sequence(&self, frame: &[u8]) -> u32 {
        self.be32(frame, 4)
    }

    pub(super) fn acknowledgement(&self, frame: &[u8]) -> u32 {
        self.be32(frame, 8)
    }

    pub(super) fn flags(&self, frame: &[u8]) -> u8 {
        frame.get(self.l4 + 13).copied().unwrap_or(0)
    }

    /// What follows the fixed header.
    pub(super) fn options<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.l4 + 20..self.payload).unwrap_or_default()
    }

    pub(super) fn payload_length(&self) -> usize {
        self.end - self.payload
    }

    fn be32(&self, frame: &[u8], at: usize) -> u32 {
        let bytes = frame.get(self.l4 + at..).and_then(|rest| rest.first_chunk());
        u32::from_be_bytes(bytes.copied().unwrap_or_default())
    }

    /// The sum of the pseudo header for `length` bytes of TCP.
    pub(super) fn pseudo_sum(&self, frame: &[u8], length: usize) -> u64 {
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        sum(self.addresses(frame)) + word(length) + word(u16::from(PROTOCOL_TCP))
    }

    /// Whether the checksums of IP and TCP hold.
    pub(super) fn is_sound(&self, frame: &[u8]) -> bool {
        let (Some(ip), Some(tcp)) = (frame.get(ETHERNET..self.l4), frame.get(self.l4..self.end)) else {
            return false;
        };
        let ip_holds = self.v6 || fold(sum(ip)) == 0xffff;
        ip_holds && fold(self.pseudo_sum(frame, tcp.len()) + sum(tcp)) == 0xffff
    }
}

/// Sets the IP header of `frame` to a packet that ends `length` bytes after the Ethernet header, and its checksum.
pub(super) fn set_ip_length(frame: &mut [u8], v6: bool, l4: usize, length: usize) {
    if v6 {
        store(frame, ETHERNET + 4, length.saturating_sub(40));
        return;
    }
    store(frame, ETHERNET + 2, length);
    store(frame, ETHERNET + 10, 0);
    let sum = frame.get(ETHERNET..l4).map_or(0, sum);
    if let Some(field) = frame
        .get_mut(ETHERNET + 10..)
        .and_then(|rest| rest.first_chunk_mut())
    {
        *field = (!fold(sum)).to_ne_bytes();
    }
}

/// Stores a 16-bit number in network byte order.
fn store(frame: &mut [u8], at: usize, number: usize) {
    let number = u16::try_from(number).unwrap_or(u16::MAX);
    if let Some(field) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = number.to_be_bytes();
    }
}

/// Moves the IPv4 identification on by `steps`, before the header's checksum is set.
pub(super) fn add_identification(frame: &mut [u8], steps: usize) {
    if let Some(field) = frame
        .get_mut(ETHERNET + 4..)
        .and_then(|rest| rest.first_chunk_mut::<2>())
    {
        let steps = u16::try_from(steps).unwrap_or(0);
        *field = u16::from_be_bytes(*field).wrapping_add(steps).to_be_bytes();
    }
}
