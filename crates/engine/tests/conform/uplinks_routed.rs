//! Guests for which the host answers on its LAN: what they are given, and who is their router.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use atoll_engine::{Command, Mode, Router, StaticLease};
use atoll_wire::Mac;
use atoll_wire::packet::ETHERNET_LEN;
use dhcproto::v4::{DhcpOption, OptionCode};

use crate::bench::{A, B, GATEWAY_MAC, METADATA, Net, v4};
use crate::bench6::PREFIX;
use crate::uplinks::{LAN, LINK_LOCAL, advertised, net, offered};

/// A network on which the host answers for A's address on the LAN, and for no other.
fn routed() -> Net {
    net(Mode::Routed, |config| {
        config.router = Some(Ipv4Addr::new(10, 77, 0, 200));
        config.static_leases = vec![StaticLease {
            mac: A.mac,
            address: Some(Ipv4Addr::new(10, 77, 0, 50)),
            address6: Some(PREFIX.with(0x50)),
            hostname: None,
        }];
    })
}

#[test]
fn where_the_host_answers_for_guests_they_have_what_was_configured_and_the_host_as_their_router() {
    let mut net = routed();
    let offer = offered(&mut net, A).unwrap();
    let option = |code| offer.opts().get(code).cloned();
    let metadata = v4(METADATA);
    assert_eq!(offer.yiaddr(), Ipv4Addr::new(10, 77, 0, 50));
    assert_eq!(
        option(OptionCode::Router),
        Some(DhcpOption::Router(vec![Ipv4Addr::new(10, 77, 0, 200)]))
    );
    assert_eq!(
        option(OptionCode::DomainNameServer),
        Some(DhcpOption::DomainNameServer(vec![metadata]))
    );
    assert_eq!(
        option(OptionCode::ServerIdentifier),
        Some(DhcpOption::ServerIdentifier(metadata))
    );
    net.frames(B);
    assert_eq!(offered(&mut net, B), None, "nobody answers for others");
}

#[test]
fn where_the_host_answers_for_guests_no_prefix_is_theirs_and_the_kernel_is_the_router() {
    let router = Router {
        mac: Mac([0x52, 1, 2, 3, 4, 5]),
        link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77),
    };
    let mut net = routed();
    assert_eq!(advertised(&mut net), (LINK_LOCAL, GATEWAY_MAC, 0));
    net.command(Command::SetRouter(Some(router)));
    net.frames(A);
    net.wait(Duration::from_secs(16));
    let frames = net.frames(A);
    let frame = frames
        .iter()
        .rfind(|frame| frame.get(ETHERNET_LEN + 40) == Some(&134));
    let frame = frame.expect("an advertisement");
    let mut options = &frame[ETHERNET_LEN + 56..];
    let mut kinds = Vec::new();
    while let [kind, len, ..] = options {
        kinds.push(*kind);
        options = &options[usize::from(*len) * 8..];
    }
    // Source link-layer address, MTU, resolver, domain: no prefix (3).
    assert_eq!(kinds, [1, 5, 25, 31]);
    assert_eq!(net.frames(LAN), Vec::<Vec<u8>>::new());
}
