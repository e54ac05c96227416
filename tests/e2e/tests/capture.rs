//! What `--pcap` writes.

use atoll_e2e::{Guest, Kit, Net, Options};
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PINGS: usize = 3;

/// pcapng block types and the link type of Ethernet (draft-ietf-opsawg-pcapng, sections 4.1 to 4.3).
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const ETHERNET: u16 = 1;

/// Where things lie in an Ethernet frame that holds an IPv4 packet without options.
const ICMP: usize = 14 + 20;

/// An echo message: is it a request, from, to, identifier and sequence number.
type Echo = (bool, Ipv4Addr, Ipv4Addr, [u8; 4]);

/// The blocks of a file in this machine's byte order: their types and bodies.
fn blocks(mut file: &[u8]) -> Vec<(u32, &[u8])> {
    let mut blocks = Vec::new();
    while !file.is_empty() {
        let len = word(file, 4) as usize;
        blocks.push((word(file, 0), &file[8..len - 4]));
        assert_eq!(
            word(file, len - 4) as usize,
            len,
            "a block's length stands at both its ends"
        );
        file = &file[len..];
    }
    blocks
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn echo(frame: &[u8]) -> Option<Echo> {
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
    let is_icmp = frame.get(12..15)? == [0x08, 0x00, 0x45] && frame.get(23)? == &1;
    let request = match frame.get(ICMP)? {
        8 => true,
        0 => false,
        _ => return None,
    };
    let number = frame.get(ICMP + 4..ICMP + 8)?.try_into().ok()?;
    is_icmp.then_some((request, address(26)?, address(30)?, number))
}

/// How often each echo message stands in a capture.
fn echoes(file: &[u8]) -> BTreeMap<Echo, usize> {
    let blocks = blocks(file);
    assert_eq!(blocks[0].0, SECTION);
    let (kind, interface) = blocks[1];
    let link = u16::from_le_bytes([interface[0], interface[1]]);
    assert_eq!((kind, link), (INTERFACE, ETHERNET));
    let mut counts = BTreeMap::new();
    for (kind, body) in &blocks[2..] {
        assert_eq!(*kind, ENHANCED_PACKET);
        let frame = &body[20..20 + word(body, 12) as usize];
        if let Some(echo) = echo(frame) {
            *counts.entry(echo).or_default() += 1;
        }
    }
    counts
}

#[test]
fn every_frame_stands_in_the_capture_once() {
    let Some(kit) = Kit::find() else { return };
    let options = Options {
        arguments: &["--pcap", "{folder}/lan.pcapng"],
    };
    let net = Net::start(kit, &options);
    let mut guests = Guest::start_all(kit, &net, &["a", "b"]);
    let (own, other) = (guests[0].address(), guests[1].address());
    for to in [GATEWAY.into(), other] {
        guests[0].ok(&format!("ping -c {PINGS} -W 20 {to}"));
    }
    drop(guests);
    let (status, folder) = net.terminate();
    assert_eq!(status.code(), Some(0), "{status}");

    let file = fs::read(folder.path().join("lan.pcapng")).unwrap();
    let counts = echoes(&file);
    for to in [GATEWAY.into(), other] {
        for (request, from, to) in [(true, own, to), (false, to, own)] {
            let seen = counts
                .keys()
                .filter(|it| (it.0, IpAddr::from(it.1), IpAddr::from(it.2)) == (request, from, to));
            assert_eq!(
                seen.count(),
                PINGS,
                "{from} to {to}, request {request}: {counts:?}"
            );
        }
    }
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}
