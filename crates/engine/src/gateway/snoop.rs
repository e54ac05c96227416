//! Which address a DHCP server of the LAN gave to a guest (in the manner of DHCP snooping; RFC 7513, 6.4).
//!
//! A guest's REQUEST is noted: its MAC address and the transaction's number. An ACK that comes by an uplink with both, the number
//! drawn by the guest and not known to whoever did not hear it, tells the guest's address. It is believed of an address that nobody
//! here has; what a guest says itself goes before. Nothing else that the LAN says of guests is.
//!
//! Bounds: [`ASKED`] guests that asked; the least recent goes.

use std::net::Ipv4Addr;

use atoll_wire::Mac;
use lru::LruCache;

use crate::rng::KeyedHash;

/// Clients that wait for an answer.
const ASKED: usize = 512;

/// Fixed fields and magic cookie (RFC 2131, 2; RFC 2132, 2).
const FIXED_LEN: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];

const REQUEST: u8 = 3;
const ACK: u8 = 5;

#[derive(Debug)]
pub(crate) struct Snoop {
    asked: LruCache<Mac, u32, KeyedHash>,
}

impl Snoop {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self {
            asked: LruCache::unbounded_with_hasher(hash),
        }
    }

    /// A guest sent a message to DHCP servers.
    pub(super) fn handle_request(&mut self, mac: Mac, payload: &[u8]) {
        const BOOT_REQUEST: u8 = 1;
        let Some(message) = Message::parse(payload, BOOT_REQUEST) else {
            return;
        };
        if message.chaddr == mac && message.kind == REQUEST {
            self.asked.put(mac, message.xid);
            if self.asked.len() > ASKED {
                self.asked.pop_lru();
            }
        }
    }

    /// A DHCP server of the LAN answered somebody: a guest and its address, if it was one that asked.
    pub(super) fn handle_answer(&mut self, payload: &[u8]) -> Option<(Mac, Ipv4Addr)> {
        const BOOT_REPLY: u8 = 2;
        let message = Message::parse(payload, BOOT_REPLY).filter(|message| message.kind == ACK)?;
        if self.asked.peek(&message.chaddr) != Some(&message.xid) {
            return None;
        }
        self.asked.pop(&message.chaddr);
        Some((message.chaddr, message.yiaddr))
    }
}

struct Message {
    kind: u8,
    xid: u32,
    chaddr: Mac,
    yiaddr: Ipv4Addr,
}

impl Message {
    /// Read what matters of a message of this direction, for an Ethernet client.
    fn parse(payload: &[u8], op: u8) -> Option<Self> {
        const ETHERNET: [u8; 2] = [1, 6];
        let fixed: &[u8; FIXED_LEN] = payload.first_chunk()?;
        if fixed[0] != op || fixed[1..3] != ETHERNET || fixed[236..] != MAGIC {
            return None;
        }
        Some(Self {
            kind: kind(&payload[FIXED_LEN..])?,
            xid: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            chaddr: Mac(*fixed[28..].first_chunk()?),
            yiaddr: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
        })
    }
}

/// Option 53.
fn kind(mut options: &[u8]) -> Option<u8> {
    const PAD: u8 = 0;
    const END: u8 = 255;
    const MESSAGE_TYPE: u8 = 53;
    loop {
        match options {
            [PAD, rest @ ..] => options = rest,
            [END, ..] => return None,
            [MESSAGE_TYPE, 1, kind, ..] => return Some(*kind),
            [_, len, rest @ ..] => options = rest.get(usize::from(*len)..)?,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::Rng;

    const GUEST: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 50);

    fn message(op: u8, kind: u8, xid: u32, mac: Mac) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_LEN];
        bytes[..4].copy_from_slice(&[op, 1, 6, 0]);
        bytes[4..8].copy_from_slice(&xid.to_be_bytes());
        bytes[16..20].copy_from_slice(&ADDRESS.octets());
        bytes[28..34].copy_from_slice(&mac.0);
        bytes[236..].copy_from_slice(&MAGIC);
        bytes.extend([0, 12, 1, b'a', 53, 1, kind, 255]);
        bytes
    }

    fn snoop() -> Snoop {
        Snoop::new(Rng::new([7; 32]).keyed_hash())
    }

    #[test]
    fn an_answer_to_what_the_guest_asked_tells_its_address() {
        let mut snoop = snoop();
        snoop.handle_request(GUEST, &message(1, REQUEST, 77, GUEST));
        assert_eq!(snoop.handle_answer(&message(2, 2, 77, GUEST)), None, "an offer");
        let heard = snoop.handle_answer(&message(2, ACK, 77, GUEST));
        assert_eq!(heard, Some((GUEST, ADDRESS)));
        assert_eq!(snoop.handle_answer(&message(2, ACK, 77, GUEST)), None, "once");
    }

    #[test]
    fn an_answer_to_nothing_is_not_believed() {
        let mut snoop = snoop();
        assert_eq!(snoop.handle_answer(&message(2, ACK, 77, GUEST)), None);
        snoop.handle_request(GUEST, &message(1, REQUEST, 77, GUEST));
        assert_eq!(snoop.handle_answer(&message(2, ACK, 78, GUEST)), None);
        let other = Mac([2, 0, 0, 0, 0, 2]);
        snoop.handle_request(GUEST, &message(1, REQUEST, 79, other));
        assert_eq!(snoop.handle_answer(&message(2, ACK, 79, other)), None);
    }

    #[test]
    fn those_who_ask_and_hear_nothing_are_forgotten() {
        let mut snoop = snoop();
        for number in 0..2000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            let mac = Mac([2, 0, a, b, c, d]);
            snoop.handle_request(mac, &message(1, REQUEST, number, mac));
        }
        assert_eq!(snoop.asked.len(), ASKED);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes: Vec<u8>, magic: bool) {
            if magic && bytes.len() >= FIXED_LEN {
                bytes[236..FIXED_LEN].copy_from_slice(&MAGIC);
                bytes[..3].copy_from_slice(&[2, 1, 6]);
            }
            let _ = snoop().handle_answer(&bytes);
            let _ = kind(&bytes);
        }
    }
}
