//! What guests cannot do to each other: exhaustion, offers, declined addresses.

use super::*;

fn bounded(leases: usize) -> World {
    let mut config = config();
    config.limits.leases = leases;
    World::new(&config)
}

#[test]
fn an_exhausted_table_is_told_and_noticed_once() {
    let mut world = bounded(2);
    world.lease(0, mac(1));
    world.lease(0, mac(2));
    assert_eq!(world.solicit(0, mac(3)), None);
    assert_eq!(world.solicit(1, mac(4)), None);
    assert_eq!(world.server.poll_notice(), Some(Notice::PoolExhausted));
    assert_eq!(world.server.poll_notice(), None);
    assert_eq!(world.server.leases.len(), 2);
}

#[test]
fn offers_not_taken_up_do_not_starve_others() {
    let mut world = bounded(4);
    for n in 10..14 {
        world.solicit(0, mac(n)).unwrap();
    }
    assert_eq!(world.solicit(1, mac(1)), None, "an honest client has time to ask");
    assert!(world.solicit(OFFER_HELD_AT_LEAST.as_secs(), mac(1)).is_some());
}

#[test]
fn what_was_only_offered_leaves_nothing_behind() {
    let mut world = World::plain();
    for n in 1..=100 {
        world.solicit(0, mac(n)).unwrap();
    }
    world.server.handle_timeout(Instant::ZERO + OFFER_HELD);
    assert_eq!(world.server.leases.len(), 0);
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn a_station_has_four_associations_and_no_more() {
    let mut world = World::plain();
    for iaid in 1..=IAS_MAX {
        let iaid = u32::try_from(iaid).unwrap();
        let reply = world
            .say(0, mac(1), MessageType::Request, &[ia(iaid, &[])])
            .unwrap();
        assert_eq!(told(&reply)[0].1.addresses.len(), 1);
    }
    for kind in [MessageType::Solicit, MessageType::Request, MessageType::Rebind] {
        let reply = world.say(0, mac(1), kind, &[ia(99, &[])]).unwrap();
        assert_eq!(told(&reply)[0].1.status, Some(Status::NoAddrsAvail));
    }
    assert_eq!(world.addresses(0).len(), IAS_MAX);
    let own = world.server.leases(at(0))[0].clone();
    let reply = world
        .say(1, mac(1), MessageType::Renew, &[ia(own.iaid, &[own.address])])
        .unwrap();
    assert_eq!(told(&reply)[0].1.addresses, [own.address]);
}

#[test]
fn a_port_takes_half_of_the_table_and_no_more() {
    let mut world = bounded(20);
    for n in 1..=10 {
        world.lease(0, mac(n));
    }
    assert_eq!(world.solicit(0, mac(11)), None);
    assert_eq!(
        world
            .told(0, mac(11), MessageType::Rebind, &[host(0x4711)])
            .status,
        Some(Status::NoAddrsAvail)
    );
    assert_eq!(world.server.poll_notice(), None);
    world.port = PortId(2);
    world.lease(0, mac(12));
}

#[test]
fn a_declined_address_rests_and_comes_back() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    let reply = world
        .say(10, mac(1), MessageType::Decline, &[ia(1, &[address])])
        .unwrap();
    assert_eq!(status(&reply), Some(Status::Success));
    let address6 = address.into();
    let declined = Notice::AddressDeclined { address: address6 };
    assert_eq!(world.server.poll_notice(), Some(declined));
    let other = world.solicit(11, mac(1));
    assert!(other.is_some_and(|other| other != address));
    assert_ne!(
        world.given(12, mac(2), MessageType::Request, &[address]),
        Some(address)
    );
    let later = 10 + QUARANTINE.as_secs();
    assert_eq!(
        world.given(later, mac(3), MessageType::Request, &[address]),
        Some(address)
    );
}

#[test]
fn only_what_was_given_can_be_declined() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    for address in [address, host(0x4711)] {
        let reply = world
            .say(0, mac(2), MessageType::Decline, &[ia(1, &[address])])
            .unwrap();
        assert_eq!(told(&reply)[0].1.status, Some(Status::NoBinding));
    }
    assert_eq!(world.addresses(0), [address]);
    assert_eq!(world.server.poll_notice(), None);
}

#[test]
fn the_table_cannot_be_declined_away() {
    let mut world = bounded(8);
    for n in 1..=40 {
        let address = world.lease(0, mac(n));
        world
            .say(0, mac(n), MessageType::Decline, &[ia(1, &[address])])
            .unwrap();
    }
    assert!(world.server.leases.len() <= 8);
    world.lease(0, mac(50));
}
