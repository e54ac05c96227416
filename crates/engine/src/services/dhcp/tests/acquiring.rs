//! The way to a lease: DISCOVER, and REQUEST in the states SELECTING and INIT-REBOOT.

use super::*;

#[test]
fn an_offer_is_taken_up_and_listed() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    assert!(world.server.take_changed());
    assert!(!world.server.take_changed());
    let expected = Lease {
        mac: mac(1),
        address,
        hostname: None,
        remaining: Duration::from_secs(3590),
    };
    assert_eq!(world.server.leases(at(10)), [expected]);
}

#[test]
fn an_offer_alone_is_no_lease() {
    let mut world = World::plain();
    world.discover(0, mac(1)).unwrap();
    assert_eq!(world.server.leases(at(0)), []);
    assert!(!world.server.take_changed());
}

#[test]
fn a_client_asking_twice_is_offered_the_same() {
    let mut world = World::plain();
    assert_eq!(world.discover(0, mac(1)), world.discover(1, mac(1)));
}

#[test]
fn a_requested_address_is_offered_when_it_is_free() {
    let mut world = World::plain();
    let wish = [DhcpOption::RequestedIpAddress(host(99))];
    assert_eq!(
        world
            .say(0, mac(1), MessageType::Discover, &wish)
            .unwrap()
            .yiaddr(),
        host(99)
    );
    assert_ne!(
        world
            .say(0, mac(2), MessageType::Discover, &wish)
            .unwrap()
            .yiaddr(),
        host(99)
    );
}

#[test]
fn the_networks_own_addresses_are_never_given() {
    for own in [0, 1, 254, 255] {
        let mut world = World::plain();
        let wish = [DhcpOption::RequestedIpAddress(host(own))];
        assert_ne!(
            world
                .say(0, mac(1), MessageType::Discover, &wish)
                .unwrap()
                .yiaddr(),
            host(own)
        );
        assert!(is_nak(world.select(0, mac(1), host(own))), "{own}");
        assert!(is_nak(world.renew(0, mac(1), host(own))), "{own}");
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
fn clones_with_one_client_id_get_addresses_of_their_own() {
    let mut world = World::plain();
    let id = DhcpOption::ClientIdentifier(vec![255, 1, 2, 3, 4, 0, 2, 0, 0, 0xab, 0x11]);
    let mut offer = |n| {
        world
            .say(0, mac(n), MessageType::Discover, std::slice::from_ref(&id))
            .unwrap()
    };
    let (first, second) = (offer(1), offer(2));
    assert_ne!(first.yiaddr(), second.yiaddr());
    assert_eq!(
        first.opts().get(OptionCode::ClientIdentifier),
        Some(&id),
        "RFC 6842"
    );
}

#[test]
fn a_nak_echoes_the_client_id_too() {
    let mut world = World::plain();
    let id = DhcpOption::ClientIdentifier(vec![1, 2, 3]);
    let nak = world
        .select_with(0, mac(1), host(1), std::slice::from_ref(&id))
        .unwrap();
    assert_eq!(kind(&nak), MessageType::Nak);
    assert_eq!(nak.opts().get(OptionCode::ClientIdentifier), Some(&id));
}

#[test]
fn a_hardware_address_that_is_not_the_senders_is_dropped_and_counted() {
    let mut world = World::plain();
    let discover = message(mac(1), ZERO, &[DhcpOption::MessageType(MessageType::Discover)]);
    let client = Client {
        ingress: PortId(1),
        mac: mac(2),
        src: ZERO,
    };
    assert_eq!(
        world
            .server
            .handle_message(at(0), client, &bytes(&discover), rules(&world.names)),
        None
    );
    assert!(
        world
            .server
            .counters()
            .any(|counter| counter == ("dhcp_foreign", 1))
    );
}

#[test]
fn a_relayed_message_is_dropped() {
    let mut world = World::plain();
    let mut discover = message(mac(1), ZERO, &[DhcpOption::MessageType(MessageType::Discover)]);
    discover.set_giaddr(host(9));
    assert!(world.send(at(0), &discover).is_none());
}

#[test]
fn choosing_another_server_frees_our_offer() {
    let mut world = World::new(&Config::new(subnet(29)));
    for n in 1..=3 {
        world.lease(0, mac(n));
    }
    let offered = world.discover(0, mac(4)).unwrap();
    let options = [
        DhcpOption::ServerIdentifier(host(6)),
        DhcpOption::RequestedIpAddress(offered),
    ];
    assert!(world.say(0, mac(4), MessageType::Request, &options).is_none());
    assert_eq!(world.discover(0, mac(5)), Some(offered));
}

#[test]
fn selecting_an_address_of_somebody_else_is_refused() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    assert!(is_nak(world.select(0, mac(2), address)));
}

#[test]
fn selecting_without_an_address_is_malformed() {
    let mut world = World::plain();
    let options = [DhcpOption::ServerIdentifier(GATEWAY)];
    assert!(world.say(0, mac(1), MessageType::Request, &options).is_none());
}

#[test]
fn a_rebooting_client_keeps_its_address() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    let ack = world.reboot(100, mac(1), address).unwrap();
    assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, address));
}

#[test]
fn a_rebooting_client_from_a_foreign_network_is_refused() {
    let mut world = World::plain();
    assert!(is_nak(world.reboot(0, mac(1), Ipv4Addr::new(192, 168, 1, 5))));
}

#[test]
fn a_rebooting_client_with_a_wrong_address_is_refused() {
    let mut world = World::plain();
    let address = world.lease(0, mac(1));
    let wrong = if address == host(50) { host(51) } else { host(50) };
    assert!(is_nak(world.reboot(0, mac(1), wrong)));
}

#[test]
fn an_unknown_rebooting_client_on_the_right_network_hears_nothing() {
    let mut world = World::plain();
    assert!(world.reboot(0, mac(1), host(50)).is_none());
}
