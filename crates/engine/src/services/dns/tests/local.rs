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
    let answer = world.local("nobody.lab.", RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn a_name_has_its_addresses_of_both_families_and_no_data_for_the_other() {
    let mut world = World::new(&config());
    let v6 = |identifier| IpAddr::V6(PREFIX.with(identifier));
    let cases: [(&str, &[IpAddr], &[IpAddr]); 7] = [
        ("gateway", &[host(1).into()], &[v6(1)]),
        ("host", &[host(254).into()], &[v6(0xfe)]),
        ("b", &[host(11).into()], &[]),
        ("c", &[], &[v6(0x12)]),
        ("d", &[host(13).into()], &[v6(0x13)]),
        ("both", &[host(24).into(), host(25).into()], &[v6(0x24)]),
        ("six", &[], &[v6(0x26)]),
    ];
    for (name, v4, v6) in cases {
        for (kind, expected) in [(RecordType::A, v4), (RecordType::AAAA, v6)] {
            let answer = world.local(name, kind);
            assert_eq!(addresses(&answer), expected, "{name} {kind}");
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            assert_eq!(answer.authorities.len(), usize::from(expected.is_empty()));
        }
    }
}

#[test]
fn an_address_that_a_machine_gave_itself_is_answered() {
    let mut world = World::new(&config());
    let own = PREFIX.with(0x0606_06ff_fe06_0606);
    world.ears.0 = vec![(own.into(), Mac([4; 6]))];
    assert_eq!(addresses(&world.local("b", RecordType::AAAA)), [IpAddr::V6(own)]);
}

#[test]
fn the_domain_itself_may_have_an_address() {
    let mut config = config();
    config
        .names
        .insert("lab.internal".to_owned(), vec![host(30).into()]);
    let mut world = World::new(&config);
    assert_eq!(
        address(&world.local("lab.internal.", RecordType::A)),
        Some(host(30))
    );
    assert_eq!(world.local("lab.internal.", RecordType::SOA).answers.len(), 1);
    assert!(addresses(&world.local("lab.internal.", RecordType::AAAA)).is_empty());
}

#[test]
fn names_below_a_machines_have_its_addresses_where_that_is_wanted() {
    let below = [("x.a", 10), ("x.y.a", 10), ("x.registry", 20), ("X.B", 11)];
    let mut world = World::new(&config());
    for (name, _) in below {
        let answer = world.local(&format!("{name}.lab.internal."), RecordType::A);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    let mut config = config();
    config.dns.wildcards = true;
    let mut world = World::new(&config);
    for (name, last) in below {
        let answer = world.local(&format!("{name}.lab.internal."), RecordType::A);
        assert_eq!(address(&answer), Some(host(last)), "{name}");
    }
    let other = world.local("x.a.lab.internal.", RecordType::TXT);
    assert_eq!(other.metadata.response_code, ResponseCode::NoError);
    // Below nothing, below ours, and below a name that is there only for one below it.
    for name in ["x.nobody", "x.gateway", "z.y", "nobody"] {
        let answer = world.local(&format!("{name}.lab.internal."), RecordType::A);
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    let parent = world.local("y.lab.internal.", RecordType::A);
    assert_eq!(parent.metadata.response_code, ResponseCode::NoError);
    assert_eq!(
        address(&world.local("x.y.lab.internal.", RecordType::A)),
        Some(host(23))
    );
}

#[test]
fn without_a_domain_no_name_of_the_world_is_below_a_machines() {
    let mut config = config();
    config.domain = String::new();
    config.dns.wildcards = true;
    config.static_leases[0].hostname = Some("com".to_owned());
    let mut world = World::new(&config);
    world.ask(at(0), udp(1, 1000), &question("www.google.com.", RecordType::A));
    world.asked();
}
