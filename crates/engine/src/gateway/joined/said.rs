//! What a packet says of the conversation that it belongs to.
//!
//! TCP, UDP, echo, and the ICMP errors that quote one of these; nothing else is carried between networks. Whether checksums are right is its
//! receiver's to find out: nothing is decided here that a wrong one could turn.
//!
//! A quote is cut short by whoever sent the error (RFC 792: 64 bits of the payload), so lengths in it are not held against what is there.

use std::net::IpAddr;

use atoll_wire::ipv6::IPV6_LEN;
use atoll_wire::packet::{ICMP_LEN, IPV4_LEN, UDP_LEN};
use atoll_wire::tcp::{Flags, Header};
use atoll_wire::{Icmpv4Message, Icmpv6Message, IpProtocol, Ipv4Packet, Ipv6Packet};

/// Extension headers in a quote, at most.
const EXTENSIONS: usize = 4;

/// The two ends of a conversation, as the sender of a packet names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Talk {
    /// Source and destination port.
    Tcp(u16, u16),
    /// The same.
    Udp(u16, u16),
    /// An echo request's identifier.
    Request(u16),
    /// An echo reply's.
    Reply(u16),
}

/// A packet that is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Part of a conversation; the flags of a TCP segment.
    Talk(Talk, Option<Flags>),
    /// An ICMP error about a packet from `src` to `dst`.
    Error {
        /// Who sent the packet in question.
        src: IpAddr,
        /// Whom to.
        dst: IpAddr,
        /// What it was.
        talk: Talk,
    },
}

impl Said {
    /// What lies behind a packet's IP header says so; `None` when it is not carried.
    pub(super) fn read(protocol: IpProtocol, transport: &[u8]) -> Option<Self> {
        match protocol {
            IpProtocol::Tcp => {
                let (header, _) = Header::parse(transport)?;
                let talk = Talk::Tcp(header.src_port, header.dst_port);
                header
                    .flags
                    .are_sane()
                    .then_some(Self::Talk(talk, Some(header.flags)))
            }
            IpProtocol::Udp => Some(Self::Talk(talk(protocol, transport.get(..UDP_LEN)?)?, None)),
            IpProtocol::Icmp | IpProtocol::Icmpv6 => {
                let quote = transport.get(ICMP_LEN..)?;
                match protocol {
                    IpProtocol::Icmp if is_error4(transport[0], transport[1]) => quoted4(quote),
                    IpProtocol::Icmpv6 if is_error6(transport[0]) => quoted6(quote),
                    _ => Some(Self::Talk(talk(protocol, transport)?, None)),
                }
            }
            _ => None,
        }
    }

    /// Whether it is an error, about which none is ever sent (RFC 1812, 4.3.2.7; RFC 4443, 2.4 e).
    pub(super) fn is_error(&self) -> bool {
        matches!(self, Self::Error { .. })
    }

    /// Whether a conversation may begin with it: not by a reply, nor by the end of a connection that nobody knows of.
    pub(super) fn may_begin(&self) -> bool {
        match self {
            Self::Talk(Talk::Reply(_), _) | Self::Error { .. } => false,
            Self::Talk(_, flags) => flags.is_none_or(|flags| !flags.rst),
        }
    }

    /// Whether it can only be the first of a connection.
    pub(super) fn is_syn(&self) -> bool {
        matches!(self, Self::Talk(_, Some(flags)) if flags.syn && !flags.ack)
    }

    /// Whether a connection ends with it, in one direction at least.
    pub(super) fn ends(&self) -> bool {
        matches!(self, Self::Talk(_, Some(flags)) if flags.fin || flags.rst)
    }
}

/// Unreachable, time exceeded, parameter problem; of the unreachable ones all but those that routers no longer send (RFC 1812, 5.2.7.1).
fn is_error4(kind: u8, code: u8) -> bool {
    match Icmpv4Message::from(kind) {
        Icmpv4Message::DstUnreachable => code <= 15,
        Icmpv4Message::TimeExceeded | Icmpv4Message::ParamProblem => true,
        _ => false,
    }
}

fn is_error6(kind: u8) -> bool {
    matches!(
        Icmpv6Message::from(kind),
        Icmpv6Message::DstUnreachable
            | Icmpv6Message::PktTooBig
            | Icmpv6Message::TimeExceeded
            | Icmpv6Message::ParamProblem
    )
}

/// What the first eight bytes of a transport's packet tell.
fn talk(protocol: IpProtocol, transport: &[u8]) -> Option<Talk> {
    let &[a, b, c, d, e, f, _, _] = transport.first_chunk::<8>()?;
    let (first, second) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let ident = u16::from_be_bytes([e, f]);
    Some(match (protocol, a, b) {
        (IpProtocol::Tcp, ..) if second != 0 => Talk::Tcp(first, second),
        (IpProtocol::Udp, ..) if second != 0 => Talk::Udp(first, second),
        (IpProtocol::Icmp, 8, 0) | (IpProtocol::Icmpv6, 128, 0) => Talk::Request(ident),
        (IpProtocol::Icmp, 0, 0) | (IpProtocol::Icmpv6, 129, 0) => Talk::Reply(ident),
        _ => return None,
    })
}

fn quoted4(quote: &[u8]) -> Option<Said> {
    let header = Ipv4Packet::new_unchecked(quote.get(..IPV4_LEN)?);
    let len = usize::from(header.header_len());
    if header.version() != 4 || len < IPV4_LEN || header.frag_offset() != 0 {
        return None;
    }
    Some(Said::Error {
        src: header.src_addr().into(),
        dst: header.dst_addr().into(),
        talk: talk(header.next_header(), quote.get(len..)?)?,
    })
}

fn quoted6(quote: &[u8]) -> Option<Said> {
    let header = Ipv6Packet::new_unchecked(quote.get(..IPV6_LEN)?);
    if header.version() != 6 {
        return None;
    }
    let (mut next, mut at) = (u8::from(header.next_header()), IPV6_LEN);
    for _ in 0..EXTENSIONS {
        let is_fragment = next == u8::from(IpProtocol::Ipv6Frag);
        let is_skipped = is_fragment
            || matches!(
                IpProtocol::from(next),
                IpProtocol::HopByHop | IpProtocol::Ipv6Opts | IpProtocol::Ipv6Route
            );
        if !is_skipped {
            break;
        }
        let &[following, units, high, low] = quote.get(at..)?.first_chunk()?;
        // Only the first part of a packet has a transport's header.
        if is_fragment && u16::from_be_bytes([high, low]) & !7 != 0 {
            return None;
        }
        at += if is_fragment {
            8
        } else {
            8 * (usize::from(units) + 1)
        };
        next = following;
    }
    Some(Said::Error {
        src: header.src_addr().into(),
        dst: header.dst_addr().into(),
        talk: talk(IpProtocol::from(next), quote.get(at..)?)?,
    })
}

#[cfg(test)]
mod tests {
    use atoll_wire::FrameBuf;
    use atoll_wire::packet::{Ipv4Header, push_ipv4, push_udp};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn datagram() -> Vec<u8> {
        let (src, dst) = (
            std::net::Ipv4Addr::new(10, 77, 0, 2),
            std::net::Ipv4Addr::new(10, 77, 1, 3),
        );
        let mut buf = FrameBuf::copy_from(b"data");
        push_udp(&mut buf, (src, 4000), (dst, 53));
        let header = Ipv4Header {
            src,
            dst,
            protocol: IpProtocol::Udp,
            ttl: 3,
            ident: 0,
            dont_fragment: false,
        };
        push_ipv4(&mut buf, &header);
        buf.payload().to_vec()
    }

    #[test]
    fn an_error_tells_of_the_packet_that_it_quotes() {
        let datagram = datagram();
        let mut error = vec![3, 3, 0, 0, 0, 0, 0, 0];
        error.extend_from_slice(&datagram[..28]);
        let expected = Said::Error {
            src: "10.77.0.2".parse().unwrap(),
            dst: "10.77.1.3".parse().unwrap(),
            talk: Talk::Udp(4000, 53),
        };
        assert_eq!(Said::read(IpProtocol::Icmp, &error), Some(expected));
        assert_eq!(
            Said::read(IpProtocol::Icmp, &error[..35]),
            None,
            "too short a quote"
        );
        error[0] = 5;
        assert_eq!(Said::read(IpProtocol::Icmp, &error), None, "a redirect");
    }

    #[test]
    fn only_conversations_and_errors_about_them_are_carried() {
        let of = |protocol, bytes: &[u8]| Said::read(protocol, bytes);
        let request = [8, 0, 0, 0, 0, 7, 0, 1];
        assert_eq!(
            of(IpProtocol::Icmp, &request),
            Some(Said::Talk(Talk::Request(7), None))
        );
        for kind in [5, 9, 10, 13, 17] {
            assert_eq!(of(IpProtocol::Icmp, &[kind, 0, 0, 0, 0, 0, 0, 0]), None);
        }
        for kind in 130..=160 {
            assert_eq!(of(IpProtocol::Icmpv6, &[kind, 0, 0, 0, 0, 0, 0, 0]), None);
        }
        assert_eq!(of(IpProtocol::Igmp, &request), None);
        assert_eq!(of(IpProtocol::Udp, &[0, 1, 0, 0, 0, 8, 0, 0]), None, "port 0");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(protocol in any::<u8>(), bytes in vec(any::<u8>(), 0..120)) {
            for protocol in [IpProtocol::from(protocol), IpProtocol::Icmp, IpProtocol::Icmpv6, IpProtocol::Tcp] {
                if let Some(said) = Said::read(protocol, &bytes) {
                    prop_assert!(!(said.is_error() && said.may_begin()));
                    prop_assert!(!(said.is_syn() && said.ends()));
                }
            }
        }
    }
}
