//! Static leases.

use super::*;

#[test]
fn a_static_client_gets_its_address_whatever_it_asks_for() {
    let fixed = host(0xbeef);
    let mut world = World::new(&with_static(Some(fixed)));
    world.address4 = Some(v4(10));
    for kind in [
        MessageType::Solicit,
        MessageType::Request,
        MessageType::Renew,
        MessageType::Rebind,
    ] {
        let told = world.told(0, mac(1), kind, &[host(0x4711)]);
        assert_eq!(told.addresses, [fixed], "{kind:?}");
    }
    assert_eq!(world.addresses(0), [fixed]);
}

#[test]
fn a_static_address_may_lie_anywhere_in_the_prefix() {
    let fixed = host(0x5054_00ff_fe00_0001);
    let mut world = World::new(&with_static(Some(fixed)));
    assert_eq!(world.lease(0, mac(1)), fixed);
    assert_eq!(world.server.owner_of(fixed), Some(mac(1)));
}

#[test]
fn a_static_lease_of_ipv4_reserves_the_address_that_goes_with_it() {
    let mut world = World::new(&with_static(None));
    assert_eq!(world.server.address_for(mac(1), None), Some(host(0x10)));
    assert_eq!(world.server.address_of(mac(1)), None, "it has not asked");
    let wish = world.told(0, mac(2), MessageType::Request, &[host(0x10)]);
    assert_ne!(wish.addresses, [host(0x10)]);
    assert_eq!(world.lease(0, mac(1)), host(0x10));
    assert_eq!(world.server.address_of(mac(1)), Some(host(0x10)));
}

#[test]
fn a_static_address_is_given_to_nobody_else() {
    let mut world = World::new(&with_static(Some(host(0x4711))));
    for kind in [MessageType::Solicit, MessageType::Request, MessageType::Rebind] {
        assert_ne!(
            world.told(0, mac(2), kind, &[host(0x4711)]).addresses,
            [host(0x4711)]
        );
    }
}

#[test]
fn a_static_client_is_served_where_nobody_else_is() {
    let mut config = with_static(Some(host(0x4711)));
    config.limits.leases = 1;
    let mut world = World::new(&config);
    world.lease(0, mac(2));
    assert_eq!(world.solicit(0, mac(3)), None);
    assert_eq!(world.lease(0, mac(1)), host(0x4711));
}

#[test]
fn a_declined_static_address_stays_its_owners() {
    let fixed = host(0x4711);
    let mut world = World::new(&with_static(Some(fixed)));
    world.lease(0, mac(1));
    world
        .say(0, mac(1), MessageType::Decline, &[ia(1, &[fixed])])
        .unwrap();
    assert!(world.server.poll_notice().is_some());
    assert_eq!(world.solicit(1, mac(1)), Some(fixed));
}

#[test]
fn an_address_made_static_leaves_its_holder() {
    let mut world = World::plain();
    let address = world.lease(0, mac(2));
    let own = world.lease(0, mac(1));
    world.server.take_changed();
    let lease = StaticLease {
        mac: mac(1),
        address: None,
        address6: Some(address),
        hostname: None,
    };
    world.server.set_static_lease(at(1), &lease).unwrap();
    assert!(world.server.take_changed());
    assert!(world.addresses(1).is_empty());
    let told = world.renew(2, mac(2), address);
    assert_eq!((told.ended, told.addresses.len()), (vec![address], 1));
    let told = world.renew(2, mac(1), own);
    assert_eq!((told.ended, told.addresses), (vec![own], vec![address]));
}

#[test]
fn a_static_lease_that_is_set_again_ends_nothing() {
    let config = with_static(Some(host(0x5054_00ff_fe00_0001)));
    let mut world = World::new(&config);
    world.lease(0, mac(1));
    world.server.take_changed();
    world
        .server
        .set_static_lease(at(1), &config.static_leases[0])
        .unwrap();
    assert!(!world.server.take_changed());
    world.server.remove_static_lease(mac(1));
    assert!(world.server.take_changed(), "nobody could have this one by lease");
    assert!(world.addresses(1).is_empty());
}

#[test]
fn a_static_lease_is_refused_where_no_guest_can_be_or_another_is() {
    let mut world = World::new(&with_static(Some(host(0x4711))));
    let mut set = |n, address6| {
        let lease = StaticLease {
            mac: mac(n),
            address: None,
            address6: Some(address6),
            hostname: None,
        };
        world.server.set_static_lease(at(0), &lease)
    };
    let foreign = "fd78::10".parse().unwrap();
    for own in [host(0), host(1), host(0xfe), host(0xfdff_ffff_ffff_ff80), foreign] {
        let refused = set(1, own);
        assert!(
            matches!(refused, Err(CommandError::NotAGuestAddress { address, .. }) if address == own),
            "{own}"
        );
    }
    let taken = CommandError::AddressTaken {
        address: host(0x4711).into(),
    };
    assert_eq!(set(2, host(0x4711)), Err(taken));
    assert_eq!(set(1, host(0x4712)), Ok(()), "its own earlier one is replaced");
    assert_eq!(set(2, host(0x4711)), Ok(()));
}

#[test]
fn an_address_that_was_named_goes_before_one_that_only_goes_with_another() {
    let mut world = World::new(&with_static(None));
    let lease = StaticLease {
        mac: mac(2),
        address: Some(v4(20)),
        address6: Some(host(0x10)),
        hostname: None,
    };
    world.server.set_static_lease(at(0), &lease).unwrap();
    assert_eq!(world.lease(0, mac(2)), host(0x10));
    world.address4 = Some(v4(10));
    assert_ne!(world.lease(0, mac(1)), host(0x10));
}

#[test]
fn the_address_that_is_told_beforehand_is_the_one_that_is_offered() {
    let mut world = World::new(&with_static(Some(host(0x4711))));
    world.lease(0, mac(3));
    world.address4 = Some(v4(20));
    for client in [1, 2, 3] {
        let told = world.server.address_for(mac(client), world.address4);
        assert!(told.is_some());
        assert_eq!(world.solicit(1, mac(client)), told);
    }
    // Somebody else was first: it depends on the IAID.
    assert_eq!(world.lease(1, mac(2)), host(0x20));
    assert_eq!(world.server.address_for(mac(4), world.address4), None);
}
