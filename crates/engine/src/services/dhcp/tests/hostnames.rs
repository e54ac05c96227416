//! Host names that clients give.

use super::*;

#[test]
fn a_clients_host_name_is_learnt_until_its_lease_ends() {
    let mut world = World::plain();
    let address = world.lease_named(0, mac(1), "Web-1.Atoll.internal");
    assert_eq!(address_of_name(&world.server, "web-1"), Some(address));
    assert_eq!(world.server.name_of(mac(1)), Some("web-1"));
    assert_eq!(world.server.leases(at(0))[0].hostname.as_deref(), Some("web-1"));
    world.server.handle_timeout(at(3600));
    assert_eq!(address_of_name(&world.server, "web-1"), None);
}

#[test]
fn what_is_no_single_label_is_no_host_name() {
    for name in ["a.b", "-a", "a_b", "é", "", "localhost", "wpad", &"a".repeat(64)] {
        let mut world = World::plain();
        world.lease_named(0, mac(1), name);
        assert_eq!(world.server.names().count(), 0, "{name}");
    }
}

#[test]
fn a_guest_cannot_take_a_name_that_is_somebody_elses() {
    let mut config = with_static(host(10));
    config.names.insert("registry".to_owned(), vec![host(20).into()]);
    let mut world = World::new(&config);
    let first = world.lease_named(0, mac(2), "web");
    for name in ["gateway", "host", "registry", "db", "web", "WEB"] {
        world.lease_named(0, mac(3), name);
    }
    assert_eq!(address_of_name(&world.server, "web"), Some(first));
    assert_eq!(address_of_name(&world.server, "db"), Some(host(10)));
    for name in ["gateway", "host", "registry"] {
        assert_eq!(address_of_name(&world.server, name), None);
    }
}

#[test]
fn a_static_client_without_a_configured_name_may_give_its_own() {
    let mut config = with_static(host(10));
    config.static_leases[0].hostname = None;
    let mut world = World::new(&config);
    let hostname = [DhcpOption::Hostname("cache".to_owned())];
    assert!(is_ack(world.select_with(0, mac(1), host(10), &hostname)));
    assert_eq!(address_of_name(&world.server, "cache"), Some(host(10)));
}

#[test]
fn of_two_earlier_leases_with_one_name_the_first_has_it() {
    let mut config = Config::new(subnet(24));
    let lease = |n| Lease {
        mac: mac(n),
        address: host(n),
        hostname: Some("web".to_owned()),
        remaining: Duration::from_secs(60),
    };
    config.leases = vec![lease(50), lease(51)];
    let server = DhcpServer::new(&config);
    assert_eq!(address_of_name(&server, "web"), Some(host(50)));
    assert_eq!(server.names().collect::<Vec<_>>(), [("web", mac(50))]);
}
