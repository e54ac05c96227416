//! Losses by plan in place of by chance: a test looks at every frame on a link and says which is lost.

use std::fmt;

use atoll_engine::Instant;
use atoll_wire::packet::{ETHERNET_LEN, IPV4_LEN};
use atoll_wire::tcp::Header;
use atoll_wire::{EthernetFrame, EthernetProtocol, Frame, IpProtocol, Ipv4Packet};

/// A frame on a link.
#[derive(Clone, Copy, Debug)]
pub struct Crossing<'a> {
    /// When it is sent.
    pub now: Instant,
    /// From the engine to the guest, or the other way.
    pub to_guest: bool,
    /// The frame.
    pub frame: &'a Frame,
}

impl Crossing<'_> {
    /// Its TCP header and the length of its payload, if it is a TCP segment.
    #[must_use]
    pub fn segment(&self) -> Option<(Header, u32)> {
        let (header, payload) = parse_tcp(self.frame)?;
        Some((header, u32::try_from(payload.len()).ok()?))
    }
}

/// Header and payload of a TCP segment over IPv4; nothing else is either.
pub(crate) fn parse_tcp(frame: &Frame) -> Option<(Header, bytes::Bytes)> {
    let ethernet = EthernetFrame::new_checked(&frame.bytes[..]).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(frame.bytes.get(ETHERNET_LEN..)?).ok()?;
    if ip.next_header() != IpProtocol::Tcp {
        return None;
    }
    let (header, len) = Header::parse(frame.bytes.get(ETHERNET_LEN + IPV4_LEN..)?)?;
    Some((header, frame.bytes.slice(ETHERNET_LEN + IPV4_LEN + len..)))
}

type Plan = Box<dyn FnMut(&Crossing<'_>) -> bool>;

/// Which frames are lost.
#[derive(Default)]
pub(crate) struct Script(Option<Plan>);

impl Script {
    pub(crate) fn new(loses: impl FnMut(&Crossing<'_>) -> bool + 'static) -> Self {
        Self(Some(Box::new(loses)))
    }

    pub(crate) fn loses(&mut self, crossing: &Crossing<'_>) -> bool {
        self.0.as_mut().is_some_and(|loses| loses(crossing))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Script").field(&self.0.is_some()).finish()
    }
}
