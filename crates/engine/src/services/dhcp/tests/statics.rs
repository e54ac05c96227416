//! Static leases.

use super::*;

#[test]
fn a_static_client_gets_its_address_and_only_that() {
    let mut world = World::new(&with_static(host(10)));
    let wish = [DhcpOption::RequestedIpAddress(host(99))];
    let offer = world.say(0, mac(1), MessageType::Discover, &wish).unwrap();
    assert_eq!(offer.yiaddr(), host(10));
    assert_eq!(
        offer.opts().get(OptionCode::Hostname),
        Some(&DhcpOption::Hostname("db".to_owned()))
    );
    assert!(is_nak(world.select(0, mac(1), host(99))));
    assert!(is_nak(world.reboot(0, mac(1), host(99))));
    assert!(
        is_ack(world.reboot(0, mac(1), host(10))),
        "known without ever having asked"
    );
    assert!(is_ack(world.select(0, mac(1), host(10))));
    assert!(is_ack(world.renew(0, mac(1), host(10))));
    assert_eq!(world.server.leases(at(0)), [], "not a dynamic lease");
}

#[test]
fn a_static_address_is_given_to_nobody_else() {
    let mut world = World::new(&with_static(host(10)));
    let wish = [DhcpOption::RequestedIpAddress(host(10))];
    assert_ne!(
        world
            .say(0, mac(2), MessageType::Discover, &wish)
            .unwrap()
            .yiaddr(),
        host(10)
    );
    assert!(is_nak(world.select(0, mac(2), host(10))));
    assert!(is_nak(world.renew(0, mac(2), host(10))));
}

#[test]
fn a_declined_static_address_stays_its_owners() {
    let mut world = World::new(&with_static(host(10)));
    world.decline(0, mac(1), host(10));
    assert!(world.server.poll_notice().is_some());
    assert_eq!(world.discover(1, mac(1)), Some(host(10)));
}

#[test]
fn an_address_made_static_leaves_its_holder() {
    let mut world = World::plain();
    let address = world.lease(0, mac(2));
    world.server.take_changed();
    let lease = StaticLease {
        mac: mac(1),
        address: Some(address),
        address6: None,
        hostname: None,
    };
    world.server.set_static_lease(at(1), lease).unwrap();
    assert!(world.server.take_changed());
    assert!(is_nak(world.renew(2, mac(2), address)));
    assert_eq!(world.discover(3, mac(1)), Some(address));
}

#[test]
fn a_static_lease_is_refused_where_no_guest_can_be_or_another_is() {
    let mut world = World::new(&with_static(host(10)));
    let mut set = |n, address| {
        let lease = StaticLease {
            mac: mac(n),
            address: Some(address),
            address6: None,
            hostname: None,
        };
        world.server.set_static_lease(at(0), lease)
    };
    for own in [
        GATEWAY,
        host(0),
        host(254),
        host(255),
        Ipv4Addr::new(192, 168, 1, 5),
    ] {
        assert!(matches!(set(1, own), Err(CommandError::NotAGuestAddress { address, .. }) if address == own));
    }
    assert_eq!(
        set(2, host(10)),
        Err(CommandError::AddressTaken {
            address: host(10).into()
        })
    );
    assert_eq!(set(1, host(11)), Ok(()), "its own earlier one is replaced");
    assert_eq!(set(2, host(10)), Ok(()));
}

#[test]
fn the_address_that_is_told_beforehand_is_the_one_that_is_offered() {
    let mut world = World::new(&with_static(host(10)));
    let _ = world.lease(0, mac(3));
    for client in [1, 2, 3] {
        let told = world.server.address_for(at(1), mac(client));
        assert!(told.is_some());
        assert_eq!(world.discover(1, mac(client)), told);
    }
}

#[test]
fn a_static_address_that_is_removed_is_for_anybody() {
    let mut world = World::new(&with_static(host(10)));
    world.server.remove_static_lease(mac(1));
    assert!(is_ack(world.select(0, mac(2), host(10))));
}
