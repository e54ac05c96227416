//! Host names that clients give.

use super::*;

/// The flags and the name that a client is told.
fn named(message: &Message) -> Option<(u8, Vec<u8>)> {
    match message.opts().get(OptionCode::ClientFqdn)? {
        DhcpOption::Unknown(option) => option
            .data()
            .split_first()
            .map(|(flags, name)| (*flags, name.to_vec())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_clients_host_name_is_learnt_until_its_lease_ends() {
    let mut world = World::plain();
    let reply = world.lease_named(0, mac(1), b"\x05Web-1");
    let full = b"\x05web-1\x05atoll\x08internal\x00".to_vec();
    assert_eq!(named(&reply), Some((0b001, full)));
    assert_eq!(world.server.owner_of_name("web-1"), Some(mac(1)));
    assert_eq!(world.server.name_of(mac(1)), Some("web-1"));
    let address = world.addresses(0)[0];
    world.renew(1800, mac(1), address);
    assert_eq!(
        world.server.owner_of_name("web-1"),
        Some(mac(1)),
        "a renewal that names none keeps it"
    );
    world.server.handle_timeout(at(5400));
    assert_eq!(world.server.owner_of_name("web-1"), None);
}

#[test]
fn a_full_name_of_our_domain_is_a_label_and_another_is_none() {
    let mut world = World::plain();
    world.lease_named(0, mac(1), b"\x03web\x05atoll\x08internal\x00");
    assert_eq!(world.server.owner_of_name("web"), Some(mac(1)));
    for wire in [
        &b"\x03web\x03org\x00"[..],
        b"\x03a.b",
        b"\x02-a",
        b"\x02\xc3\xa9",
        b"",
        b"\x09localhost",
    ] {
        let reply = world.lease_named(0, mac(1), wire);
        assert_eq!(named(&reply), Some((0b110, vec![])), "{wire:?}");
        assert_eq!(world.server.names().count(), 0, "{wire:?}");
    }
}

#[test]
fn a_guest_cannot_take_a_name_that_is_somebody_elses() {
    let mut config = with_static(None);
    config.names.insert("registry".to_owned(), vec![v4(20).into()]);
    let mut world = World::new(&config);
    world.lease_named(0, mac(2), b"\x03web");
    world.elsewhere = Some(("cache", mac(5)));
    for wire in [
        &b"\x07gateway"[..],
        b"\x04host",
        b"\x08registry",
        b"\x02db",
        b"\x03WEB",
        b"\x05cache",
    ] {
        world.lease_named(0, mac(3), wire);
        assert_eq!(world.server.name_of(mac(3)), None, "{wire:?}");
    }
    assert_eq!(world.server.owner_of_name("web"), Some(mac(2)));
    assert_eq!(world.server.owner_of_name("db"), Some(mac(1)));
    world.lease_named(0, mac(5), b"\x05cache");
    assert_eq!(
        world.server.name_of(mac(5)),
        Some("cache"),
        "it has the name already"
    );
}

#[test]
fn a_static_client_is_told_the_name_that_is_configured_for_it() {
    let mut world = World::new(&with_static(None));
    let reply = world.lease_named(0, mac(1), b"\x05other");
    let full = b"\x02db\x05atoll\x08internal\x00".to_vec();
    assert_eq!(named(&reply), Some((0b001, full)));
    assert_eq!(world.server.name_of(mac(1)), Some("db"));
}

#[test]
fn a_client_that_wants_no_name_gets_none_and_one_that_would_answer_itself_is_overridden() {
    let mut world = World::plain();
    let mut say = |flags| {
        let options = [ia(1, &[]), fqdn(flags, b"\x03web")];
        let reply = world.say(0, mac(1), MessageType::Request, &options).unwrap();
        named(&reply).unwrap().0
    };
    assert_eq!(say(0b100), 0b100);
    assert_eq!(say(0b000), 0b011);
    let silent = world.say(0, mac(1), MessageType::Request, &[ia(1, &[])]).unwrap();
    assert_eq!(named(&silent), None);
}
