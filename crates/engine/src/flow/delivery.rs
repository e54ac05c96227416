//! Datagrams of the host on their way to a guest.
//!
//! What one read of a socket brought comes as one batch. A port that takes [large UDP frames](atoll_wire::Gso) of the family gets a run of datagrams of
//! one size as one frame: one write for us, one packet for the guest's kernel to route. The payloads are copied for that, which costs
//! far less than a write each. Every other port gets them as they are: one by one, or, where the host's kernel coalesced
//! them, as a large frame that the switch cuts.

use atoll_wire::ipv6::IPV6_LEN;
use atoll_wire::packet::UDP_LEN;
use atoll_wire::{Endpoint, FrameBuf};

use super::Cx;
use crate::Datagrams;
use crate::counters::Counter;

/// Datagrams in one frame (Linux: `UDP_MAX_SEGMENTS`, 64 before 6.9).
const MOST: usize = 64;
/// Payload of one frame: what the length of an IP packet of either family can tell, its header included.
const MOST_BYTES: usize = u16::MAX as usize - IPV6_LEN - UDP_LEN;

impl Cx<'_> {
    /// Send datagrams of one peer to a guest, or drop them where its port is far behind, so that they take no room from others.
    pub(super) fn deliver(&mut self, src: Endpoint, guest: Endpoint, datagrams: Vec<Datagrams>) {
        if !self.takes_datagrams(guest.ip) {
            let lost = datagrams.iter().map(Datagrams::count).sum();
            return self.lan.counters.add(Counter::EgressDropped, lost);
        }
        let offloads = self.offloads_towards(guest.ip);
        let datagrams = if offloads.udp(guest.family()) {
            merged(datagrams)
        } else {
            datagrams
        };
        for datagrams in datagrams {
            self.lan
                .send_udp(self.now, (src, guest), datagrams, offloads.checksum);
        }
    }
}

/// The same datagrams in the same order, runs of one size as one.
fn merged(datagrams: Vec<Datagrams>) -> Vec<Datagrams> {
    let mut runs = Vec::new();
    let mut rest = datagrams.into_iter();
    loop {
        match run(rest.as_slice()) {
            0 => return runs,
            1 => runs.extend(rest.next()),
            count => {
                runs.push(joined(&rest.as_slice()[..count]));
                rest.nth(count - 1);
            }
        }
    }
}

/// How many from the first on make one run: of the first one's size, but for the last, which may be shorter.
fn run(datagrams: &[Datagrams]) -> usize {
    let [first, others @ ..] = datagrams else { return 0 };
    let size = first.payload.len();
    if first.segment.is_some() || size == 0 {
        return 1;
    }
    let (mut count, mut bytes) = (1, size);
    for next in others.iter().take(MOST - 1) {
        let len = next.payload.len();
        if next.segment.is_some() || len == 0 || len > size || bytes + len > MOST_BYTES {
            break;
        }
        count += 1;
        bytes += len;
        if len < size {
            break;
        }
    }
    count
}

fn joined(several: &[Datagrams]) -> Datagrams {
    let bytes = several.iter().map(|datagram| datagram.payload.len()).sum();
    let mut payload = FrameBuf::with_capacity(bytes);
    for datagram in several {
        payload.extend_from_slice(datagram.payload.payload());
    }
    Datagrams {
        payload,
        segment: several
            .first()
            .and_then(|first| u16::try_from(first.payload.len()).ok()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(sizes: &[usize]) -> Vec<Datagrams> {
        let numbered = (0u8..).zip(sizes);
        numbered
            .map(|(number, &size)| FrameBuf::copy_from(&vec![number; size]).into())
            .collect()
    }

    /// Each datagram by itself.
    fn cut(datagrams: &[Datagrams]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for datagrams in datagrams {
            let payload = datagrams.payload.payload();
            match datagrams.segment {
                Some(segment) => all.extend(payload.chunks(segment.into()).map(<[u8]>::to_vec)),
                None => all.push(payload.to_vec()),
            }
        }
        all
    }

    proptest! {
        #[test]
        fn merging_changes_no_datagram(
            sizes in proptest::collection::vec(prop_oneof![Just(0), Just(9), 0usize..20], 0..200),
        ) {
            let merged = merged(of(&sizes));
            prop_assert_eq!(cut(&merged), cut(&of(&sizes)));
            prop_assert!(merged.iter().all(|datagrams| datagrams.count() <= 64));
        }
    }

    #[test]
    fn a_run_is_one_frame_that_ends_with_a_shorter_datagram() {
        let counts =
            |sizes: &[usize]| -> Vec<u64> { merged(of(sizes)).iter().map(Datagrams::count).collect() };
        assert_eq!(counts(&[100, 100, 60, 60, 100]), [3, 1, 1]);
        assert_eq!(counts(&[60, 100, 0, 0]), [1, 1, 1, 1]);
        assert_eq!(counts(&[1472; 65]), [44, 21]);
        assert_eq!(counts(&[9; 65]), [64, 1]);
    }

    #[test]
    fn what_the_kernel_coalesced_stays_as_it_is() {
        let mut datagrams = of(&[100, 250]);
        datagrams[1].segment = Some(100);
        assert_eq!(merged(datagrams).len(), 2);
    }
}
