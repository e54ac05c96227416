//! The way to a lease: SOLICIT, REQUEST, rapid commit.

use super::*;

#[test]
fn an_offer_is_taken_up_and_listed() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    assert!(world.server.take_changed());
    assert!(!world.server.take_changed());
    let expected = Lease6 {
        mac: mac(1),
        iaid: 1,
        address,
        hostname: None,
        remaining: Duration::from_secs(3590),
    };
    assert_eq!(world.server.leases(at(10)), [expected]);
}

#[test]
fn an_offer_alone_is_no_lease_and_the_same_when_asked_for_again() {
    let mut world = World::plain();
    let first = world.solicit(0, mac(1));
    assert_eq!(world.solicit(1, mac(1)), first);
    assert_eq!(world.server.leases(at(1)), []);
    assert!(!world.server.take_changed());
}

#[test]
fn an_offer_says_that_no_better_one_will_come() {
    let mut world = World::plain();
    let offer = world.say(0, mac(1), MessageType::Solicit, &[ia(1, &[])]).unwrap();
    assert_eq!(offer.msg_type(), MessageType::Advertise);
    let preference = offer.opts().get(OptionCode::Preference);
    assert_eq!(preference, Some(&DhcpOption::Preference(255)));
}

#[test]
fn rapid_commit_leases_at_once() {
    let mut world = World::plain();
    let options = [ia(1, &[]), DhcpOption::RapidCommit];
    let reply = world.say(0, mac(1), MessageType::Solicit, &options).unwrap();
    assert_eq!(reply.msg_type(), MessageType::Reply);
    assert!(reply.opts().get(OptionCode::RapidCommit).is_some());
    assert_eq!(world.addresses(0), told(&reply)[0].1.addresses);
}

#[test]
fn a_machine_gets_the_address_that_goes_with_its_ipv4_address() {
    let mut world = World::plain();
    world.address4 = Some(v4(77));
    assert_eq!(world.lease(0, mac(1)), host(0x77));
    // Nobody else does, though his IPv4 address may have been this.
    assert_ne!(world.lease(0, mac(2)), host(0x77));
}

#[test]
fn the_system_that_is_booted_next_takes_its_machines_address_over() {
    let mut world = World::plain();
    world.address4 = Some(v4(77));
    world.lease(0, mac(1));
    let offer = world.say(1, mac(1), MessageType::Solicit, &[ia(9, &[])]).unwrap();
    assert_eq!(told(&offer)[0].1.addresses, [host(0x77)]);
    assert_eq!(world.addresses(1), [host(0x77)], "an offer ends no lease");
    let reply = world
        .say(1, mac(1), MessageType::Request, &[ia(9, &[host(0x77)])])
        .unwrap();
    assert_eq!(told(&reply)[0].1.addresses, [host(0x77)]);
    assert_eq!(world.server.leases(at(1))[0].iaid, 9);
    let earlier = world.renew(2, mac(1), host(0x77));
    assert_eq!(earlier.ended, [host(0x77)], "the first is told");
    assert_ne!(earlier.addresses, [host(0x77)]);
}

#[test]
fn clones_with_one_duid_get_addresses_of_their_own() {
    let mut world = World::plain();
    assert_ne!(world.lease(0, mac(1)), world.lease(0, mac(2)));
}

#[test]
fn every_association_has_an_address_of_its_own() {
    let mut world = World::plain();
    world.address4 = Some(v4(77));
    let both = [ia(1, &[]), ia(2, &[])];
    let offer = world.say(0, mac(1), MessageType::Solicit, &both).unwrap();
    let mut offered = told(&offer);
    offered.sort_by_key(|(iaid, _)| *iaid);
    let [(1, first), (2, second)] = offered.as_slice() else {
        panic!("{offered:?}");
    };
    assert_ne!(first.addresses, second.addresses);
    // Asking for the same address twice gives it once.
    let wish = [ia(1, &first.addresses), ia(2, &first.addresses)];
    let reply = world.say(0, mac(1), MessageType::Request, &wish).unwrap();
    let mut given: Vec<_> = told(&reply)
        .into_iter()
        .flat_map(|(_, told)| told.addresses)
        .collect();
    given.sort_unstable();
    assert_eq!(given, world.addresses(0));
    assert_eq!(given.len(), 2);
}

#[test]
fn a_wish_is_granted_where_nothing_better_is_known() {
    let mut world = World::plain();
    let wish = [host(0x4711)];
    assert_eq!(
        world.given(0, mac(1), MessageType::Solicit, &wish),
        Some(host(0x4711))
    );
    assert_ne!(
        world.given(0, mac(2), MessageType::Solicit, &wish),
        Some(host(0x4711))
    );
    world.address4 = Some(v4(77));
    let wish = [host(0x4712)];
    assert_eq!(
        world.given(0, mac(3), MessageType::Solicit, &wish),
        Some(host(0x77))
    );
}

#[test]
fn the_networks_own_addresses_and_those_that_guests_configure_are_never_given() {
    for own in [0, 1, 0xfe, 0x5054_00ff_fe00_0002, 0x1_0000_0000_0000] {
        let mut world = World::plain();
        for kind in [MessageType::Solicit, MessageType::Request, MessageType::Rebind] {
            let told = world.told(0, mac(1), kind, &[host(own)]);
            assert!(!told.addresses.contains(&host(own)), "{own:x} {kind:?}");
            assert_eq!(told.addresses.len(), 1);
        }
    }
}

#[test]
fn a_lost_table_gives_the_same_addresses() {
    let addresses = |order: &[u8]| {
        let mut world = World::plain();
        let mut leases: Vec<_> = order.iter().map(|n| (*n, world.lease(0, mac(*n)))).collect();
        leases.sort_unstable();
        leases
    };
    assert_eq!(addresses(&[1, 2, 3]), addresses(&[3, 1, 2]));
}

#[test]
fn an_address_of_another_network_is_not_on_link() {
    let mut world = World::plain();
    let foreign = ["fd78::10".parse().unwrap()];
    let told = world.told(0, mac(1), MessageType::Request, &foreign);
    assert_eq!(told.status, Some(Status::NotOnLink));
    assert!(world.addresses(0).is_empty());
}

#[test]
fn temporary_addresses_and_prefixes_are_refused_by_their_names() {
    let mut world = World::plain();
    let opts = DhcpOptions::new();
    let options = [
        DhcpOption::IATA(IATA {
            id: 5,
            opts: opts.clone(),
        }),
        DhcpOption::IAPD(IAPD {
            id: 6,
            t1: 0,
            t2: 0,
            opts,
        }),
    ];
    for kind in [
        MessageType::Solicit,
        MessageType::Request,
        MessageType::Renew,
        MessageType::Rebind,
    ] {
        let reply = world.say(0, mac(1), kind, &options).unwrap();
        let refused: Vec<_> = told(&reply)
            .into_iter()
            .map(|(iaid, told)| (iaid, told.status))
            .collect();
        assert_eq!(
            refused,
            [(5, Some(Status::NoAddrsAvail)), (6, Some(Status::NoPrefixAvail))]
        );
    }
}

#[test]
fn without_a_prefix_nothing_is_answered() {
    let mut config = config();
    config.ipv6 = None;
    let mut world = World::new(&config);
    assert_eq!(world.say(0, mac(1), MessageType::Solicit, &[ia(1, &[])]), None);
    assert_eq!(world.server.address_for(mac(1), Some(v4(10))), None);
}
