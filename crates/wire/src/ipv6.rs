//! IPv6 headers, and the extension headers behind them, walked to what they carry (RFC 8200, 4).
//!
//! Hop-by-hop options, destination options and routing headers are read as a node does that knows none of their contents: padding and
//! options that may be skipped are skipped, others refused as their type says (4.2); a routing header with nothing left to do is
//! skipped, any other refused (4.4; RFC 5095). A fragment is told as one, with what is needed to put it together with others; one that
//! is all of its packet is none (RFC 6946). Each header is looked at once, and there may be [`MAX_HEADERS`] of them.

use std::net::Ipv6Addr;

use smoltcp::wire::{IpProtocol, Ipv6Packet};

use crate::FrameBuf;

/// Bytes of an IPv6 header.
pub const IPV6_LEN: usize = 40;

/// Extension headers before what a packet carries, at most. RFC 8200, 4.1 names six places for them.
pub const MAX_HEADERS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION_OPTIONS: u8 = 60;

/// Bytes of a fragment header.
pub(crate) const FRAGMENT_LEN: usize = 8;

/// Where the header says how long the packet is, and what follows it.
const PAYLOAD_LEN_FIELD: usize = 4;
const NEXT_HEADER_FIELD: usize = 6;

/// The fields of an IPv6 header that a sender chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Header {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// What the payload is.
    pub protocol: IpProtocol,
    /// Hops that are left.
    pub hop_limit: u8,
}

/// A packet whose headers were walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Source, destination, what lies at `transport`, hops.
    pub header: Ipv6Header,
    /// Where the header of the transport begins.
    pub transport: usize,
    /// Where the packet ends; what lies behind it is padding.
    pub end: usize,
    /// The byte that says what lies at `transport`: to where "unrecognized next header" points.
    pub next_header_at: usize,
    /// Among the headers was one of a fragment, which was all of the packet.
    pub has_fragment_header: bool,
}

/// A part of a packet (RFC 8200, 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Source, destination, what the whole packet's part that may be cut begins with, hops.
    pub header: Ipv6Header,
    /// What the parts of one packet have in common.
    pub ident: u32,
    /// Bytes of the whole that lie before this part's.
    pub offset: usize,
    /// Others lie behind it.
    pub more: bool,
    /// Where in the packet its bytes begin.
    pub start: usize,
    /// Where they end.
    pub end: usize,
}

/// Why a packet is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Error {
    /// Lengths or versions are impossible, or there are too many headers.
    Malformed,
    /// A part of a packet.
    Fragment(Part),
    /// Nothing follows, by its own word (RFC 8200, 4.7).
    Empty,
    /// A header that its sender wants to be told about (RFC 4443, 3.4).
    Problem(Problem),
}

/// What a parameter problem says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Erroneous header field, unrecognized next header, unrecognized option.
    pub code: u8,
    /// The byte in question, from the start of the packet.
    pub pointer: u32,
    /// To be told even when the packet went to a group.
    pub also_groups: bool,
}

/// Codes of a parameter problem.
impl Problem {
    /// Erroneous header field.
    pub const FIELD: u8 = 0;
    /// Unrecognized next header.
    pub const NEXT_HEADER: u8 = 1;
    /// Unrecognized option.
    pub const OPTION: u8 = 2;

    fn at(code: u8, pointer: usize, also_groups: bool) -> Ipv6Error {
        Ipv6Error::Problem(Self {
            code,
            pointer: u32::try_from(pointer).unwrap_or(u32::MAX),
            also_groups,
        })
    }
}

/// Push an IPv6 header. The payload must fit 65 535 bytes.
pub fn push_ipv6(frame: &mut FrameBuf, header: &Ipv6Header) {
    let len = u16::try_from(frame.len()).unwrap_or(u16::MAX);
    let mut packet = Ipv6Packet::new_unchecked(frame.push_header(IPV6_LEN));
    packet.set_version(6);
    packet.set_payload_len(len);
    packet.set_next_header(header.protocol);
    packet.set_hop_limit(header.hop_limit);
    packet.set_src_addr(header.src);
    packet.set_dst_addr(header.dst);
}

/// Read a packet's headers up to the transport's.
///
/// # Errors
/// It is not to be taken.
pub fn walk(bytes: &[u8]) -> Result<Walked, Ipv6Error> {
    let packet = Ipv6Packet::new_checked(bytes).map_err(|_| Ipv6Error::Malformed)?;
    if packet.version() != 6 {
        return Err(Ipv6Error::Malformed);
    }
    let end = IPV6_LEN + usize::from(packet.payload_len());
    let bytes = bytes.get(..end).ok_or(Ipv6Error::Malformed)?;
    let mut next = u8::from(packet.next_header());
    let (mut at, mut next_header_at) = (IPV6_LEN, NEXT_HEADER_FIELD);
    let mut has_fragment_header = false;
    for number in 0..=MAX_HEADERS {
        let header = || extension(bytes, at);
        let len = match next {
            // Only as the first (4.3); elsewhere it is a next header that cannot be.
            HOP_BY_HOP if number > 0 => return Err(Problem::at(Problem::NEXT_HEADER, next_header_at, false)),
            HOP_BY_HOP | DESTINATION_OPTIONS => {
                let header = header()?;
                check_options(header, at)?;
                header.len()
            }
            ROUTING => {
                let header = header()?;
                if header[3] > 0 {
                    return Err(Problem::at(Problem::FIELD, at + 2, false));
                }
                header.len()
            }
            FRAGMENT => match part(&packet, bytes, at)? {
                Some(part) => return Err(Ipv6Error::Fragment(part)),
                None => {
                    has_fragment_header = true;
                    FRAGMENT_LEN
                }
            },
            NO_NEXT_HEADER => return Err(Ipv6Error::Empty),
            _ => {
                let header = Ipv6Header {
                    src: packet.src_addr(),
                    dst: packet.dst_addr(),
                    protocol: IpProtocol::from(next),
                    hop_limit: packet.hop_limit(),
                };
                return Ok(Walked {
                    header,
                    transport: at,
                    end,
                    next_header_at,
                    has_fragment_header,
                });
            }
        };
        (next, next_header_at) = (bytes[at], at);
        at += len;
    }
    Err(Ipv6Error::Malformed)
}

/// What the fragment header at `at` says; `None` when that is all of the packet.
fn part(packet: &Ipv6Packet<&[u8]>, bytes: &[u8], at: usize) -> Result<Option<Part>, Ipv6Error> {
    let header = bytes.get(at..).and_then(<[u8]>::first_chunk::<FRAGMENT_LEN>);
    let &[next, _, high, low, a, b, c, d] = header.ok_or(Ipv6Error::Malformed)?;
    let word = u16::from_be_bytes([high, low]);
    let (offset, more) = (usize::from(word & !7), word & 1 != 0);
    let (start, end) = (at + FRAGMENT_LEN, bytes.len());
    if offset == 0 && !more {
        return Ok(None);
    }
    if more && !(end - start).is_multiple_of(8) {
        return Err(Problem::at(Problem::FIELD, PAYLOAD_LEN_FIELD, false));
    }
    if offset + (end - start) > usize::from(u16::MAX) {
        return Err(Problem::at(Problem::FIELD, at + 2, false));
    }
    let header = Ipv6Header {
        src: packet.src_addr(),
        dst: packet.dst_addr(),
        protocol: IpProtocol::from(next),
        hop_limit: packet.hop_limit(),
    };
    let ident = u32::from_be_bytes([a, b, c, d]);
    Ok(Some(Part {
        header,
        ident,
        offset,
        more,
        start,
        end,
    }))
}

/// The extension header at `at`: at least eight bytes.
fn extension(bytes: &[u8], at: usize) -> Result<&[u8], Ipv6Error> {
    let units = usize::from(*bytes.get(at + 1).ok_or(Ipv6Error::Malformed)?);
    bytes.get(at..at + 8 + 8 * units).ok_or(Ipv6Error::Malformed)
}

/// Options: each may be skipped, or says itself what is to be done (4.2).
fn check_options(header: &[u8], start: usize) -> Result<(), Ipv6Error> {
    const PAD1: u8 = 0;
    let mut at = 2;
    while let Some(&kind) = header.get(at) {
        if kind == PAD1 {
            at += 1;
            continue;
        }
        let len = usize::from(*header.get(at + 1).ok_or(Ipv6Error::Malformed)?);
        match kind >> 6 {
            0 => {}
            1 => return Err(Ipv6Error::Malformed),
            action => return Err(Problem::at(Problem::OPTION, start + at, action == 2)),
        }
        at += 2 + len;
    }
    // The last one must end with the header.
    if at == header.len() {
        Ok(())
    } else {
        Err(Ipv6Error::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SRC: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 2);
    const DST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

    /// A packet with these extension headers, each with its own kind and what stands behind its first byte.
    fn packet(headers: &[(u8, &[u8])], last: u8, payload: &[u8]) -> Vec<u8> {
        let kinds: Vec<u8> = headers.iter().map(|(kind, _)| *kind).chain([last]).collect();
        let mut body = Vec::new();
        for ((_, rest), next) in headers.iter().zip(&kinds[1..]) {
            body.push(*next);
            body.extend_from_slice(rest);
        }
        body.extend_from_slice(payload);
        let mut frame = FrameBuf::copy_from(&body);
        let header = Ipv6Header {
            src: SRC,
            dst: DST,
            protocol: IpProtocol::from(kinds[0]),
            hop_limit: 64,
        };
        push_ipv6(&mut frame, &header);
        frame.payload().to_vec()
    }

    /// Eight bytes but the first: a PadN over all of it.
    const PADDED: &[u8] = &[0, 1, 4, 0, 0, 0, 0];

    #[test]
    fn a_plain_packet_is_what_an_independent_parser_reads() {
        let bytes = packet(&[], 17, b"payload");
        let parsed = etherparse::Ipv6Slice::from_slice(&bytes).unwrap();
        assert_eq!(parsed.header().source_addr(), SRC);
        assert_eq!(parsed.header().destination_addr(), DST);
        assert_eq!(parsed.payload().payload, b"payload");
        let walked = walk(&bytes).unwrap();
        assert_eq!((walked.transport, walked.end, walked.next_header_at), (40, 47, 6));
        assert_eq!(
            (walked.header.src, walked.header.dst, walked.header.hop_limit),
            (SRC, DST, 64)
        );
    }

    #[test]
    fn padding_behind_the_packet_is_not_of_it() {
        let mut bytes = packet(&[], 17, b"payload");
        bytes.extend([0; 9]);
        assert_eq!(walk(&bytes).unwrap().end, 47);
    }

    #[test]
    fn extension_headers_are_walked_within_their_bound() {
        let of = |count| packet(&vec![(60, PADDED); count], 6, b"tcp");
        for count in 0..=MAX_HEADERS {
            let walked = walk(&of(count)).unwrap();
            assert_eq!(walked.transport, 40 + 8 * count);
            assert_eq!(walked.header.protocol, IpProtocol::Tcp);
            let expected = if count == 0 { 6 } else { 40 + 8 * (count - 1) };
            assert_eq!(walked.next_header_at, expected);
        }
        assert_eq!(walk(&of(MAX_HEADERS + 1)), Err(Ipv6Error::Malformed));
    }

    #[test]
    fn hop_by_hop_options_stand_first_only() {
        assert_eq!(
            walk(&packet(&[(0, PADDED), (60, PADDED)], 6, b""))
                .unwrap()
                .transport,
            56
        );
        let late = walk(&packet(&[(60, PADDED), (0, PADDED)], 6, b""));
        assert_eq!(late, Err(Problem::at(Problem::NEXT_HEADER, 40, false)));
    }

    #[test]
    fn a_route_that_is_not_yet_at_its_end_is_refused() {
        let route = |kind, left| packet(&[(43, &[0, kind, left, 0, 0, 0, 0])], 6, b"");
        for kind in [0, 2, 4, 255] {
            assert_eq!(walk(&route(kind, 1)), Err(Problem::at(Problem::FIELD, 42, false)));
            assert_eq!(walk(&route(kind, 0)).unwrap().transport, 48);
        }
    }

    #[test]
    fn an_unknown_option_is_treated_as_its_type_says() {
        let option = |kind| walk(&packet(&[(60, &[0, kind, 4, 0, 0, 0, 0])], 6, b""));
        assert_eq!(option(0x3e).unwrap().transport, 48);
        assert_eq!(option(0x7e), Err(Ipv6Error::Malformed));
        assert_eq!(option(0xbe), Err(Problem::at(Problem::OPTION, 42, true)));
        assert_eq!(option(0xfe), Err(Problem::at(Problem::OPTION, 42, false)));
        let too_long = walk(&packet(&[(60, &[0, 1, 5, 0, 0, 0, 0])], 6, b""));
        assert_eq!(too_long, Err(Ipv6Error::Malformed));
    }

    #[test]
    fn a_packet_without_content_is_told() {
        assert_eq!(walk(&packet(&[], 59, b"")), Err(Ipv6Error::Empty));
    }

    #[test]
    fn a_fragment_is_told_with_what_puts_it_together() {
        let first = walk(&packet(
            &[(60, PADDED), (44, &[0, 0, 1, 0, 0, 0, 7])],
            17,
            b"eight by",
        ));
        let Err(Ipv6Error::Fragment(part)) = first else {
            panic!("{first:?}")
        };
        assert_eq!((part.offset, part.more, part.ident), (0, true, 7));
        assert_eq!((part.start, part.end), (56, 64));
        assert_eq!(part.header.protocol, IpProtocol::Udp);
        let last = walk(&packet(&[(44, &[0, 0, 8, 0, 0, 0, 7])], 17, b"part"));
        let Err(Ipv6Error::Fragment(part)) = last else {
            panic!("{last:?}")
        };
        assert_eq!((part.offset, part.more), (8, false));
    }

    #[test]
    fn a_fragment_that_is_all_of_its_packet_is_none() {
        let walked = walk(&packet(&[(44, &[0, 0, 0, 0, 0, 0, 7])], 17, b"all")).unwrap();
        assert_eq!((walked.transport, walked.header.protocol), (48, IpProtocol::Udp));
        assert!(walked.has_fragment_header);
    }

    #[test]
    fn a_fragment_that_cannot_be_is_refused() {
        let odd = walk(&packet(&[(44, &[0, 0, 1, 0, 0, 0, 7])], 17, b"nine byte"));
        assert_eq!(odd, Err(Problem::at(Problem::FIELD, 4, false)));
        let beyond = walk(&packet(&[(44, &[0, 0xff, 0xf8, 0, 0, 0, 7])], 17, b"nine byte"));
        assert_eq!(beyond, Err(Problem::at(Problem::FIELD, 42, false)));
        assert_eq!(
            walk(&packet(&[(44, &[0, 0])], 17, b"")),
            Err(Ipv6Error::Malformed)
        );
    }

    proptest! {
        #[test]
        fn what_is_walked_lies_inside_the_packet(
            headers in proptest::collection::vec((prop_oneof![Just(0_u8), Just(60), Just(43), Just(44), any::<u8>()],
                proptest::collection::vec(any::<u8>(), 7..24)), 0..10),
            payload: Vec<u8>,
            cut in 0_usize..40,
        ) {
            let headers: Vec<(u8, &[u8])> = headers.iter().map(|(kind, rest)| (*kind, &rest[..])).collect();
            let bytes = packet(&headers, 6, &payload);
            let bytes = &bytes[..bytes.len().saturating_sub(cut)];
            if let Ok(walked) = walk(bytes) {
                prop_assert!(walked.transport <= walked.end && walked.end <= bytes.len());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = walk(&bytes);
        }
    }
}
