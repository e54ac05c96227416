//! Renewal, confirmation, release, expiry, and leases of an earlier run.

use super::*;

#[test]
fn renewal_keeps_the_address_and_starts_the_lease_anew() {
    for kind in [MessageType::Renew, MessageType::Rebind] {
        let mut world = World::plain();
        let address = world.lease(0, mac(1));
        world.server.take_changed();
        let told = world.told(1800, mac(1), kind, &[address]);
        assert_eq!((told.addresses, told.ended), (vec![address], vec![]));
        assert!(world.server.take_changed());
        let remaining = world.server.leases(at(1800))[0].remaining;
        assert_eq!(remaining, Duration::from_secs(3600));
    }
}

#[test]
fn a_lease_says_when_to_renew_it() {
    let mut world = World::plain();
    let reply = world.lease_named(0, mac(1), b"");
    let Some(DhcpOption::IANA(ia)) = reply.opts().get(OptionCode::IANA) else {
        panic!("{reply:?}");
    };
    let Some(DhcpOption::IAAddr(address)) = ia.opts.get(OptionCode::IAAddr) else {
        panic!("{ia:?}");
    };
    let times = (ia.t1, ia.t2, address.preferred_life, address.valid_life);
    assert_eq!(times, (1800, 2880, 3600, 3600));
}

#[test]
fn an_address_of_somebody_else_is_ended_and_another_given() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    let told = world.renew(0, mac(2), address);
    assert_eq!(told.ended, [address]);
    assert_eq!(told.addresses.len(), 1);
    assert!(!told.addresses.contains(&address));
    assert_eq!(world.server.owner_of(address), Some(mac(1)));
}

#[test]
fn renewal_is_answered_when_our_table_was_lost() {
    let mut world = World::plain();
    let told = world.renew(0, mac(1), host(0x4711));
    assert_eq!(told.addresses, [host(0x4711)]);
}

#[test]
fn an_address_of_another_network_is_ended() {
    let mut world = World::plain();
    let foreign: Ipv6Addr = "fd78::10".parse().unwrap();
    let told = world.told(0, mac(1), MessageType::Rebind, &[foreign]);
    assert_eq!((told.ended, told.addresses.len()), (vec![foreign], 1));
}

#[test]
fn confirm_asks_only_whether_the_network_is_the_same() {
    let mut world = World::plain();
    let mut confirm = |addresses: &[Ipv6Addr]| {
        let reply = world.say(0, mac(1), MessageType::Confirm, &[ia(1, addresses)])?;
        assert_eq!(told(&reply), []);
        status(&reply)
    };
    let foreign = "fd78::10".parse().unwrap();
    assert_eq!(confirm(&[host(0x4711)]), Some(Status::Success));
    assert_eq!(confirm(&[host(0x4711), foreign]), Some(Status::NotOnLink));
    assert_eq!(confirm(&[]), None, "silence");
    assert!(world.addresses(0).is_empty());
}

#[test]
fn a_released_address_is_remembered_for_its_owner() {
    let mut world = World::plain();
    let wish = [host(0x4711)];
    world.given(0, mac(1), MessageType::Request, &wish);
    let reply = world
        .say(10, mac(1), MessageType::Release, &[ia(1, &wish)])
        .unwrap();
    assert_eq!((status(&reply), told(&reply)), (Some(Status::Success), vec![]));
    assert!(world.addresses(10).is_empty());
    assert_eq!(world.solicit(20, mac(1)), Some(host(0x4711)));
}

#[test]
fn releasing_what_somebody_else_has_does_nothing() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    for (n, iaid) in [(2, 1), (1, 2)] {
        let reply = world
            .say(0, mac(n), MessageType::Release, &[ia(iaid, &[address])])
            .unwrap();
        assert_eq!(status(&reply), Some(Status::Success));
        assert_eq!(told(&reply)[0].1.status, Some(Status::NoBinding));
    }
    assert_eq!(world.addresses(0), [address]);
}

#[test]
fn an_expired_lease_is_reported_and_reused_by_its_owner() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    assert_eq!(world.server.poll_timeout(), Some(at(3600)));
    world.server.take_changed();
    world.server.handle_timeout(at(3600));
    assert!(world.server.take_changed());
    assert!(world.addresses(3600).is_empty());
    assert_eq!(world.solicit(3601, mac(1)), Some(address));
}

#[test]
fn leases_of_an_earlier_run_go_on_from_the_first_input() {
    let mut config = config();
    let lease = |n, identifier| Lease6 {
        mac: mac(n),
        iaid: 1,
        address: host(identifier),
        hostname: Some("web".to_owned()),
        remaining: Duration::from_secs(100),
    };
    let kept = lease(1, 0x4711);
    config.leases6 = vec![kept.clone(), lease(2, 1), lease(2, 0x4711)];
    let mut world = World::new(&config);
    assert_eq!(world.server.leases(at(7000)), std::slice::from_ref(&kept));
    assert_eq!(
        world.server.poll_timeout(),
        Some(Instant::ZERO),
        "asks for the time"
    );
    world.server.handle_timeout(at(5000));
    assert!(!world.server.take_changed());
    assert_eq!(world.server.leases(at(5000)), [kept]);
    assert_eq!(world.server.owner_of_name("web"), Some(mac(1)));
    assert_eq!(world.server.poll_timeout(), Some(at(5100)));
}
