//! Renewal, release, expiry, reuse, and leases of an earlier run.

use super::*;

#[test]
fn renewal_keeps_the_address_and_starts_the_lease_anew() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    world.server.take_changed();
    assert!(is_ack(world.renew(1800, mac(1), address)));
    assert!(world.server.take_changed());
    assert_eq!(
        world.server.leases(at(1800))[0].remaining,
        Duration::from_secs(3600)
    );
}

#[test]
fn renewal_of_an_address_of_somebody_else_is_refused() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    assert!(is_nak(world.renew(0, mac(2), address)));
}

#[test]
fn renewal_is_answered_when_our_table_was_lost() {
    let mut world = World::plain();
    assert!(is_ack(world.renew(0, mac(1), host(50))));
    assert!(is_nak(world.renew(0, mac(2), Ipv4Addr::new(192, 168, 1, 5))));
}

#[test]
fn a_client_that_takes_another_address_gives_up_the_first() {
    let mut world = World::plain();
    let first = world.lease(0, mac(1));
    let other = if first == host(50) { host(51) } else { host(50) };
    assert!(is_ack(world.select(0, mac(1), other)));
    let leases = world.server.leases(at(0));
    assert_eq!(
        leases.iter().map(|lease| lease.address).collect::<Vec<_>>(),
        [other]
    );
}

#[test]
fn a_released_address_is_remembered_for_its_owner() {
    let mut world = World::plain();
    let wish = [DhcpOption::RequestedIpAddress(host(99))];
    world.say(0, mac(1), MessageType::Discover, &wish).unwrap();
    assert!(is_ack(world.select(0, mac(1), host(99))));
    world.release(10, mac(1), host(99));
    assert_eq!(world.server.leases(at(10)), []);
    assert_eq!(world.discover(20, mac(1)), Some(host(99)));
}

#[test]
fn releasing_what_somebody_else_has_does_nothing() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    world.release(0, mac(2), address);
    assert_eq!(world.server.leases(at(0)).len(), 1);
}

#[test]
fn an_expired_lease_is_reported_and_reused_by_its_owner() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    assert_eq!(world.server.poll_timeout(), Some(at(3600)));
    world.server.take_changed();
    world.server.handle_timeout(at(3600));
    assert!(world.server.take_changed());
    assert_eq!(world.server.leases(at(3600)), []);
    assert_eq!(world.discover(3601, mac(1)), Some(address));
}

#[test]
fn the_address_free_for_longest_goes_first_when_none_is_unused() {
    let mut world = full();
    let leases: Vec<Lease> = world.server.leases(at(0));
    world.release(20, leases[2].mac, leases[2].address);
    world.release(30, leases[0].mac, leases[0].address);
    assert_eq!(world.discover(40, mac(9)), Some(leases[2].address));
    assert_eq!(world.discover(40, mac(10)), Some(leases[0].address));
}

#[test]
fn leases_of_an_earlier_run_go_on_from_the_first_input() {
    let mut config = Config::new(subnet(24));
    let remaining = Duration::from_secs(100);
    let kept = Lease {
        mac: mac(1),
        address: host(50),
        hostname: Some("web".to_owned()),
        remaining,
    };
    let own = Lease {
        mac: mac(2),
        address: GATEWAY,
        hostname: None,
        remaining,
    };
    config.leases = vec![kept.clone(), own];
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
    assert_eq!(address_of_name(&world.server, "web"), Some(host(50)));
    assert_eq!(world.server.poll_timeout(), Some(at(5100)));
}
