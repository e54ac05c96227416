//! What guests cannot do to each other: exhaustion, offers, declined addresses.

use super::*;

#[test]
fn an_exhausted_pool_is_silent_and_says_so_once() {
    let mut world = full();
    assert_eq!(world.discover(0, mac(5)), None);
    assert_eq!(world.discover(1, mac(6)), None);
    assert_eq!(world.server.poll_notice(), Some(Notice::PoolExhausted));
    assert_eq!(world.server.poll_notice(), None);
}

#[test]
fn offers_not_taken_up_do_not_starve_others() {
    let mut world = World::new(&Config::new(subnet(29)));
    for n in 10..14 {
        world.discover(0, mac(n)).unwrap();
    }
    assert_eq!(
        world.discover(1, mac(1)),
        None,
        "an honest client has time to ask"
    );
    assert!(world.discover(OFFER_HELD_AT_LEAST.as_secs(), mac(1)).is_some());
}

#[test]
fn an_offer_ends_after_a_while() {
    let mut world = World::plain();
    world.discover(0, mac(1)).unwrap();
    let end = Instant::ZERO + OFFER_HELD;
    assert_eq!(world.server.poll_timeout(), Some(end));
    world.server.handle_timeout(end);
    assert_eq!(world.server.poll_timeout(), None);
}

#[test]
fn a_declined_address_rests_and_comes_back() {
    let mut world = full();
    let victim = world.server.leases(at(0))[0].clone();
    world.decline(10, victim.mac, victim.address);
    assert_eq!(
        world.server.poll_notice(),
        Some(Notice::AddressDeclined {
            address: victim.address.into()
        })
    );
    assert_eq!(world.discover(11, victim.mac), None);
    assert_eq!(
        world.discover(10 + QUARANTINE.as_secs(), victim.mac),
        Some(victim.address)
    );
}

#[test]
fn only_what_was_given_can_be_declined() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    world.decline(0, mac(2), address);
    world.decline(0, mac(2), host(77));
    assert_eq!(world.server.leases(at(0)).len(), 1);
    assert_eq!(world.server.poll_notice(), None);
}

#[test]
fn the_pool_cannot_be_declined_away() {
    // A quarter of four addresses rests at a time.
    let mut world = World::new(&Config::new(subnet(29)));
    for n in 1..=20 {
        let address = world.lease(0, mac(n));
        world.decline(0, mac(n), address);
    }
    assert!(world.server.leases.len() <= 4);
}

#[test]
fn what_was_only_offered_leaves_nothing_behind() {
    let mut world = World::plain();
    for n in 1..=100 {
        world.discover(0, mac(n)).unwrap();
    }
    world.server.handle_timeout(Instant::ZERO + OFFER_HELD);
    assert_eq!(world.server.leases.len(), 0);
}

#[test]
fn a_renewal_that_the_table_has_no_room_for_is_refused() {
    let mut config = Config::new(subnet(24));
    config.limits.leases = 1;
    let mut world = World::new(&config);
    assert!(is_ack(world.renew(0, mac(1), host(50))));
    assert!(is_nak(world.renew(0, mac(2), host(51))));
    assert_eq!(world.server.leases.len(), 1);
}

#[test]
fn the_table_never_outgrows_its_limit() {
    let mut config = Config::new(subnet(16));
    config.limits.leases = 3;
    let mut world = World::new(&config);
    for n in 1..=3 {
        world.lease(0, mac(n));
    }
    assert_eq!(world.discover(0, mac(4)), None);
    let lease = world.server.leases(at(0))[0].clone();
    world.release(0, lease.mac, lease.address);
    assert!(world.discover(0, mac(4)).is_some());
    assert_eq!(world.server.leases.len(), 3);
}

#[test]
fn a_port_takes_half_of_the_pool_and_no_more() {
    // A /27 has 29 guest addresses.
    let mut world = World::new(&Config::new(subnet(27)));
    for n in 1..=14 {
        world.lease(0, mac(n));
    }
    assert_eq!(world.discover(0, mac(15)), None);
    assert_eq!(world.server.poll_notice(), None, "the pool is not exhausted");
    assert!(
        world
            .server
            .counters()
            .any(|counter| counter == ("dhcp_over_share", 1))
    );
    let first = world.server.leases(at(0))[0].clone();
    assert!(is_ack(world.renew(1, first.mac, first.address)));
    world.port = PortId(2);
    world.lease(1, mac(15));
}

#[test]
fn a_port_over_its_share_gives_up_its_oldest_offer_not_a_lease() {
    let mut world = World::new(&Config::new(subnet(27)));
    for n in 1..=13 {
        world.lease(0, mac(n));
    }
    let offered = world.discover(0, mac(14)).unwrap();
    assert_eq!(world.discover(1, mac(15)), None, "the offer is young");
    world.lease(OFFER_HELD_AT_LEAST.as_secs(), mac(15));
    assert_eq!(world.server.leases(at(2)).len(), 14);
    assert!(world.select(2, mac(14), offered).is_none(), "silence");
}

#[test]
fn a_restored_lease_belongs_to_a_port_from_its_renewal_on() {
    let mut config = Config::new(subnet(27));
    config.leases = (1..=14)
        .map(|n| Lease {
            mac: mac(n),
            address: host(n + 1),
            hostname: None,
            remaining: Duration::from_secs(600),
        })
        .collect();
    let mut world = World::new(&config);
    for n in 20..=32 {
        world.lease(0, mac(n));
    }
    assert!(is_ack(world.renew(1, mac(1), host(2))));
    assert_eq!(world.discover(1, mac(33)), None);
    assert!(world.renew(1, mac(2), host(3)).is_none());
    world.port = PortId(2);
    assert!(is_ack(world.renew(1, mac(2), host(3))));
}
