//! Names of addresses.

use super::*;

#[test]
fn reverse_lookup_gives_the_machines_own_name() {
    let mut world = World::new(&config());
    for (last, name) in [
        (1, "gateway"),
        (10, "a"),
        (11, "b"),
        (20, "registry"),
        (254, "host"),
    ] {
        let answer = world.local(&format!("{last}.0.77.10.in-addr.arpa."), RecordType::PTR);
        let target = Name::from_ascii(format!("{name}.lab.internal.")).unwrap();
        assert_eq!(answer.answers[0].data, RData::PTR(PTR(target)), "{last}");
    }
}

#[test]
fn reverse_lookup_in_the_subnet_never_leaves_it() {
    let mut world = World::new(&config());
    for name in [
        "99.0.77.10.in-addr.arpa.",
        "b._dns-sd._udp.0.0.77.10.in-addr.arpa.",
        "x.0.77.10.in-addr.arpa.",
    ] {
        let answer = world.local(name, RecordType::PTR);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
        assert_eq!(answer.authorities[0].name.to_ascii(), "0.77.10.in-addr.arpa.");
    }
    let zone = world.local("0.77.10.in-addr.arpa.", RecordType::SOA);
    assert_eq!(zone.metadata.response_code, ResponseCode::NoError);
    for name in [
        "1.1.77.10.in-addr.arpa.",
        "10.in-addr.arpa.",
        "8.8.8.8.in-addr.arpa.",
    ] {
        let mut world = World::new(&config());
        world.ask(at(0), udp(1, 1000), &question(name, RecordType::PTR));
        world.asked();
    }
}

#[test]
fn reverse_lookup_follows_a_prefix_that_is_not_whole_octets() {
    let mut config = config();
    config.subnet.as_mut().unwrap().prefix_len = 26;
    let mut world = World::new(&config);
    let answer = world.local("50.0.77.10.in-addr.arpa.", RecordType::PTR);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    world.ask(
        at(0),
        udp(1, 1000),
        &question("99.0.77.10.in-addr.arpa.", RecordType::PTR),
    );
    world.asked();
}

/// The name of an address in `ip6.arpa`: all nibbles, or those of the prefix and some after them.
fn arpa(address: Ipv6Addr, nibbles: usize) -> String {
    let digits = format!("{:032x}", address.to_bits());
    let labels: Vec<String> = digits.chars().take(nibbles).map(String::from).collect();
    let labels: Vec<String> = labels.into_iter().rev().collect();
    format!("{}.ip6.arpa.", labels.join("."))
}

#[test]
fn an_ipv6_address_has_the_name_of_its_machine() {
    let mut world = World::new(&config());
    let own = PREFIX.with(0xabcd_ef01_2345_6789);
    world.ears.0 = vec![(own.into(), Mac([4; 6]))];
    let cases = [
        (PREFIX.with(1), "gateway"),
        (PREFIX.with(0xfe), "host"),
        (PREFIX.with(0x12), "c"),
        (PREFIX.with(0x13), "d"),
        (PREFIX.with(0x26), "six"),
        (own, "b"),
    ];
    for (address, name) in cases {
        let target = Name::from_ascii(format!("{name}.lab.internal.")).unwrap();
        for asked in [arpa(address, 32), arpa(address, 32).to_ascii_uppercase()] {
            let answer = world.local(&asked, RecordType::PTR);
            assert_eq!(answer.answers[0].data, RData::PTR(PTR(target.clone())), "{asked}");
        }
        let other = world.local(&arpa(address, 32), RecordType::AAAA);
        assert_eq!(other.metadata.response_code, ResponseCode::NoError);
        assert_eq!(other.answers, []);
    }
}

#[test]
fn below_the_prefix_what_has_no_name_does_not_exist() {
    let mut world = World::new(&config());
    let unknown = PREFIX.with(0x99);
    let zone = arpa(PREFIX.address, 16);
    let strange = [
        arpa(unknown, 32),
        arpa(PREFIX.with(0x9000_0000_0000_0000), 17),
        format!("x.{}", arpa(PREFIX.with(1), 31)),
        format!("00.{}", arpa(PREFIX.with(1), 31)),
        format!("0.{}", arpa(PREFIX.with(1), 32)),
        format!("b._dns-sd._udp.{zone}"),
    ];
    for name in strange {
        let answer = world.local(&name, RecordType::PTR);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
        assert_eq!(answer.authorities[0].name.to_ascii(), zone);
    }
}

#[test]
fn a_name_above_one_that_exists_is_no_data() {
    let mut world = World::new(&config());
    for (address, named) in [
        (PREFIX.with(1), true),
        (PREFIX.with(0x12), true),
        (PREFIX.with(0x9912), false),
    ] {
        // From the last nibble but one up to where the prefix is alone above.
        for nibbles in 16..32 {
            let answer = world.local(&arpa(address, nibbles), RecordType::PTR);
            // ::9912 has names beside it from ten bits further up on.
            let expected = match named || nibbles <= 28 {
                true => ResponseCode::NoError,
                false => ResponseCode::NXDomain,
            };
            assert_eq!(answer.metadata.response_code, expected, "{address} {nibbles}");
            assert_eq!(answer.answers, []);
        }
    }
}

#[test]
fn above_the_prefix_and_beside_it_the_world_is_asked() {
    let names = [
        arpa(PREFIX.address, 15),
        "ip6.arpa.".to_owned(),
        arpa("fd77:77:0:1::1".parse().unwrap(), 32),
        arpa("2001:db8::1".parse().unwrap(), 32),
    ];
    for name in names {
        let mut world = World::new(&config());
        world.ask(at(0), udp(1, 1000), &question(&name, RecordType::PTR));
        world.asked();
    }
}

#[test]
fn a_network_of_one_family_leaves_the_other_to_the_world() {
    let mut config = config();
    config.ipv6 = None;
    let mut world = World::new(&config);
    world.ask(
        at(0),
        udp(1, 1000),
        &question(&arpa(PREFIX.with(1), 32), RecordType::PTR),
    );
    world.asked();
    config = self::config();
    config.subnet = None;
    let mut world = World::new(&config);
    world.ask(
        at(0),
        udp(1, 1000),
        &question("1.0.77.10.in-addr.arpa.", RecordType::PTR),
    );
    world.asked();
}
