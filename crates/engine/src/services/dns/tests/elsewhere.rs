//! Resolvers for a suffix, and protection against rebinding.

use super::*;

fn split() -> Config {
    let mut config = config();
    let suffixes = [
        ("corp.example", vec![resolver(10), resolver(11)]),
        (".Lab.Corp.example.", vec![resolver(12)]),
        ("nowhere.example", vec![]),
    ];
    config.dns.suffixes = suffixes
        .map(|(suffix, servers)| (suffix.to_owned(), servers))
        .into();
    config.dns.rebind_protection = true;
    config
}

#[test]
fn names_below_a_suffix_are_asked_where_it_says() {
    let cases = [
        ("corp.example.", 10),
        ("a.CORP.example.", 10),
        ("a.b.corp.example.", 10),
        ("lab.corp.example.", 12),
        ("x.lab.corp.example.", 12),
        ("notcorp.example.", 1),
        ("x.example.", 1),
    ];
    for (name, expected) in cases {
        let mut world = World::new(&split());
        world.ask(at(0), udp(1, 1000), &question(name, RecordType::MX));
        assert_eq!(world.asked().1, resolver(expected), "{name}");
    }
}

#[test]
fn a_suffix_never_falls_back_to_the_others() {
    let mut world = World::new(&split());
    world.ask(at(0), udp(1, 1000), &question("a.corp.example.", RecordType::A));
    for expected in [10, 11] {
        let (query, server, ..) = world.asked();
        assert_eq!(server, resolver(expected));
        world.service.handle_failure(at(0), query);
    }
    assert_eq!(world.rcode(), ResponseCode::ServFail);
    world.ask(
        at(0),
        udp(1, 1000),
        &question("a.nowhere.example.", RecordType::A),
    );
    assert_eq!(world.rcode(), ResponseCode::ServFail, "with no resolver at all");
}

/// What a client is told of a name that resolvers give an address of ours.
fn told(config: &Config, name: &str, data: RData) -> Message {
    let mut world = World::new(config);
    let kind = data.record_type();
    world.ask(at(0), udp(1, 1000), &question(name, kind));
    let (query, _, _, message) = world.asked();
    let mut answer = Message::from_vec(&message).unwrap();
    answer.metadata.message_type = MessageType::Response;
    let public = Record::from_rdata(Name::root(), 300, RData::A(A::new(192, 0, 2, 9)));
    answer.add_answer(public);
    answer.add_answer(Record::from_rdata(Name::root(), 300, data));
    world
        .service
        .handle_answer(at(0), query, &answer.to_vec().unwrap());
    let told = Message::from_vec(&world.answered().1).unwrap();
    world.ask(at(1), udp(1, 1000), &question(name, kind));
    let again = !matches!(world.outputs()[0], DnsOutput::Answer { .. });
    assert_eq!(
        again,
        told.answers.is_empty(),
        "what is kept from clients is not kept"
    );
    told
}

#[test]
fn an_answer_with_an_address_of_ours_reaches_nobody() {
    let inside = [
        RData::A(A(host(10))),
        RData::A(A::new(192, 168, 1, 1)),
        RData::AAAA(AAAA(PREFIX.with(0x99))),
        RData::AAAA(AAAA(Ipv4Addr::new(10, 77, 0, 10).to_ipv6_mapped())),
    ];
    for data in inside {
        let answer = told(&split(), "evil.example.", data.clone());
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert_eq!(answer.answers, [], "{data}");
        assert_eq!(
            told(&config(), "evil.example.", data.clone()).answers.len(),
            2,
            "off"
        );
        let believed = told(&split(), "intra.corp.example.", data);
        assert_eq!(believed.answers.len(), 2, "a resolver of a suffix is believed");
    }
    let outside = RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));
    assert_eq!(told(&split(), "good.example.", outside).answers.len(), 2);
}
