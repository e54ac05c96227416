//! Own names.

use super::*;

#[test]
fn every_kind_of_name_has_its_address_with_and_without_the_domain() {
    let mut world = World::new(&config());
    let known = [
        ("gateway", 1),
        ("host", 254),
        ("registry", 20),
        ("a", 10),
        ("b", 11),
    ];
    for (label, last) in known {
        for name in [label.to_owned(), format!("{label}.lab.internal.")] {
            let answer = world.local(&name, RecordType::A);
            assert_eq!(address(&answer), Some(host(last)), "{name}");
            assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
        }
    }
    assert_eq!(
        address(&world.local("www.example.com.", RecordType::A)),
        Some(host(22))
    );
    assert_eq!(address(&world.local("deep.down.", RecordType::A)), Some(host(21)));
}

#[test]
fn names_compare_without_case_and_the_answer_keeps_the_questions() {
    let mut world = World::new(&config());
    let asked = question("ReGistrY.lAB.iNteRnal.", RecordType::A);
    world.ask(at(0), udp(1, 1000), &asked);
    let (_, answer) = world.answered();
    assert_eq!(answer[12..asked.len()], asked[12..]);
    assert_eq!(address(&Message::from_vec(&answer).unwrap()), Some(host(20)));
}

#[test]
fn an_unknown_name_in_the_domain_does_not_exist() {
    let mut world = World::new(&config());
    for kind in [RecordType::A, RecordType::AAAA, RecordType::TXT] {
        let answer = world.local("nobody.lab.internal.", kind);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
        assert_eq!(answer.authorities[0].name.to_ascii(), "lab.internal.");
    }
}

#[test]
fn a_known_name_without_that_type_is_no_data_and_does_not_leak() {
    let mut world = World::new(&config());
    for name in [
        "a.lab.internal.",
        "b",
        "www.example.com.",
        "y.lab.internal.",
        "lab.internal.",
    ] {
        let answer = world.local(name, RecordType::AAAA);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(answer.answers.is_empty());
        assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
    }
}

#[test]
fn the_domain_itself_has_an_authority() {
    let mut world = World::new(&config());
    for kind in [RecordType::SOA, RecordType::NS] {
        assert_eq!(world.local("lab.internal.", kind).answers[0].record_type(), kind);
    }
}

#[test]
fn any_is_answered_with_one_record() {
    let mut world = World::new(&config());
    assert_eq!(
        address(&world.local("a.lab.internal.", RecordType::ANY)),
        Some(host(10))
    );
}

#[test]
fn a_single_label_that_nobody_has_stays_here_but_zones_are_asked_about() {
    let mut world = World::new(&config());
    let answer = world.local("printer", RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    world.ask(at(0), udp(1, 1000), &question("com", RecordType::DS));
    world.asked();
}

#[test]
fn a_domain_of_one_label_is_still_the_domain() {
    let mut config = config();
    config.domain = "lab".to_owned();
    let mut world = World::new(&config);
    assert_eq!(world.local("lab.", RecordType::SOA).answers.len(), 1);
    assert_eq!(address(&world.local("a.lab.", RecordType::A)), Some(host(10)));
    let answer = world.local("c.lab.", RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
}

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
