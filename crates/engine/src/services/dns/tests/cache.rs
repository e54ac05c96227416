//! Answers that are given again.

use super::*;

const NAME: &str = "example.org.";

/// A world in which one question was asked and answered, at the second 0.
fn answered(asked: &Message, answer: impl FnOnce(&mut Message)) -> World {
    let mut world = World::new(&config());
    answer_to(&mut world, at(0), asked, answer);
    world
}

fn answer_to(world: &mut World, now: Instant, asked: &Message, answer: impl FnOnce(&mut Message)) {
    world.ask(now, udp(1, 1000), &asked.to_vec().unwrap());
    let (query, _, _, message) = world.asked();
    let mut reply = Message::from_vec(&message).unwrap();
    reply.metadata.message_type = MessageType::Response;
    answer(&mut reply);
    world.service.handle_answer(now, query, &reply.to_vec().unwrap());
    world.answered();
}

fn record(ttl: u32, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(NAME).unwrap(), ttl, data)
}

fn with_address(ttl: u32) -> impl FnOnce(&mut Message) {
    move |message| {
        message.add_answer(record(ttl, RData::A(A::new(192, 0, 2, 9))));
    }
}

fn soa(ttl: u32, minimum: u32) -> Record {
    let name = Name::from_ascii("org.").unwrap();
    let data = SOA::new(name.clone(), name.clone(), 1, 2, 3, 4, minimum);
    Record::from_rdata(name, ttl, RData::SOA(data))
}

fn plain() -> Message {
    build(NAME, RecordType::A)
}

fn with_edns(change: impl FnOnce(&mut Edns)) -> Message {
    let mut message = plain();
    let mut edns = Edns::new();
    change(&mut edns);
    message.set_edns(edns);
    message
}

/// Whether a question is answered at once.
fn is_known(world: &mut World, now: u64, asked: &Message) -> bool {
    world.ask(at(now), udp(2, 2000), &asked.to_vec().unwrap());
    match world.outputs().as_slice() {
        [DnsOutput::Answer { .. }] => true,
        [DnsOutput::Ask { query, .. }] => {
            world.service.handle_failure(at(now), *query);
            world.service.handle_timeout(at(now) + TOTAL);
            world.outputs();
            false
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_is_given_again_with_what_is_left_of_its_time() {
    let mut world = answered(&plain(), |message| {
        message.set_edns(Edns::new());
        with_address(300)(message);
        message.add_answer(record(200, RData::A(A::new(192, 0, 2, 10))));
    });
    let mut again = build("eXample.ORG.", RecordType::A);
    again.metadata.id = 0x4321;
    let again = again.to_vec().unwrap();
    world.ask(at(150), tcp(3), &again);
    let (client, message) = world.answered();
    assert_eq!(client, tcp(3));
    assert_eq!(message[..2], again[..2], "its own id");
    assert_eq!(message[12..again.len()], again[12..], "its own letter case");
    let message = Message::from_vec(&message).unwrap();
    let lifetimes: Vec<u32> = message.answers.iter().map(|record| record.ttl).collect();
    assert_eq!(lifetimes, [150, 50]);
    assert!(
        world
            .service
            .counters()
            .any(|counter| counter == ("dns_cached", 1))
    );
    assert!(is_known(&mut world, 199, &plain()));
    assert!(!is_known(&mut world, 200, &plain()), "the shortest counts");
}

#[test]
fn an_answer_is_kept_an_hour_at_most_and_one_without_time_not_at_all() {
    let mut world = answered(&plain(), with_address(1_000_000));
    assert!(is_known(&mut world, 3599, &plain()));
    assert!(!is_known(&mut world, 3600, &plain()));
    // The uppermost bit makes it none (RFC 2181 section 8).
    for ttl in [0, u32::MAX] {
        let mut world = answered(&plain(), with_address(ttl));
        assert!(!is_known(&mut world, 0, &plain()), "{ttl}");
    }
}

#[test]
fn what_changes_an_answer_is_part_of_the_question() {
    let mut checking = plain();
    checking.metadata.checking_disabled = true;
    let mut authentic = plain();
    authentic.metadata.authentic_data = true;
    let questions = [
        plain(),
        build(NAME, RecordType::AAAA),
        build("www.example.org.", RecordType::A),
        with_edns(|_| {}),
        with_edns(|edns| {
            edns.set_dnssec_ok(true);
        }),
        checking,
        authentic,
    ];
    for asked in &questions {
        let mut world = answered(asked, |message| {
            let data = match message.queries[0].query_type() {
                RecordType::A => RData::A(A::new(192, 0, 2, 9)),
                _ => RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)),
            };
            message.add_answer(record(300, data));
        });
        for other in &questions {
            let same = other.to_vec().unwrap() == asked.to_vec().unwrap();
            assert_eq!(is_known(&mut world, 1, other), same, "{asked:?} {other:?}");
        }
    }
}

#[test]
fn a_question_that_is_for_its_client_alone_passes_by() {
    let mut iterative = plain();
    iterative.metadata.recursion_desired = false;
    let option = with_edns(|edns| {
        let cookie = hickory_proto::rr::rdata::opt::EdnsOption::Unknown(10, vec![1; 8]);
        edns.options_mut().insert(cookie);
    });
    for asked in [iterative, option] {
        let mut world = answered(&asked, with_address(300));
        assert!(!is_known(&mut world, 0, &asked), "{asked:?}");
    }
}

#[test]
fn a_denial_is_kept_as_long_as_the_zone_says() {
    // Lifetime of the SOA record, its minimum, and the time that follows.
    for code in [ResponseCode::NXDomain, ResponseCode::NoError] {
        for (ttl, minimum, kept) in [(60, 100, 60), (100, 60, 60), (9999, 9999, 300)] {
            let mut world = answered(&plain(), |message| {
                message.metadata.response_code = code;
                message.add_authority(soa(ttl, minimum));
            });
            assert!(is_known(&mut world, kept - 1, &plain()), "{code} {ttl} {minimum}");
            assert!(!is_known(&mut world, kept, &plain()), "{code} {ttl} {minimum}");
        }
        let mut world = answered(&plain(), |message| message.metadata.response_code = code);
        assert!(!is_known(&mut world, 0, &plain()), "without an SOA");
    }
}

#[test]
fn an_alias_of_nothing_is_a_denial() {
    let alias = || record(300, RData::CNAME(CNAME(Name::from_ascii("else.org.").unwrap())));
    let mut world = answered(&plain(), |message| {
        message.add_answer(alias());
    });
    assert!(!is_known(&mut world, 0, &plain()));
    let mut world = answered(&plain(), |message| {
        message.add_answer(alias());
        message.add_authority(soa(50, 50));
    });
    assert!(is_known(&mut world, 49, &plain()));
    assert!(!is_known(&mut world, 50, &plain()));
}

#[test]
fn what_is_cut_short_or_no_last_word_is_not_kept() {
    let mut world = answered(&plain(), |message| {
        message.metadata.truncation = true;
        with_address(300)(message);
    });
    assert!(!is_known(&mut world, 0, &plain()));
    let mut world = answered(&plain(), |message| {
        message.metadata.response_code = ResponseCode::YXDomain;
        message.add_authority(soa(300, 300));
    });
    assert!(!is_known(&mut world, 0, &plain()));
}

#[test]
fn an_answer_that_is_given_again_fits_its_client_too() {
    let mut world = World::new(&config());
    let asked = plain().to_vec().unwrap();
    world.ask(at(0), tcp(1), &asked);
    let (query, _, _, message) = world.asked();
    let long = resolved(&message, ResponseCode::NoError, 60);
    world.service.handle_answer(at(0), query, &long);
    assert!(world.answered().1.len() > 512);
    world.ask(at(1), udp(1, 1000), &asked);
    let short = Message::from_vec(&world.answered().1).unwrap();
    assert!(short.metadata.truncation);
}

#[test]
fn the_cache_is_bounded_and_can_be_off() {
    for limit in [0, 4] {
        let mut config = config();
        config.dns.cache = limit;
        let mut world = World::new(&config);
        for n in 0..20 {
            let asked = build(&format!("n{n}.example.org."), RecordType::A);
            answer_to(&mut world, at(0), &asked, with_address(300));
            assert!(world.service.cache.len() <= limit);
        }
        let last = build("n19.example.org.", RecordType::A);
        assert_eq!(is_known(&mut world, 1, &last), limit > 0);
        let first = build("n0.example.org.", RecordType::A);
        assert!(!is_known(&mut world, 1, &first));
    }
}

#[test]
fn other_resolvers_are_asked_anew() {
    let mut world = answered(&plain(), with_address(300));
    world.service.set_resolvers(at(0), vec![resolver(3)]);
    assert!(!is_known(&mut world, 1, &plain()));
}

proptest::proptest! {
    #[test]
    fn a_broken_answer_breaks_nothing(
        changes in proptest::collection::vec((12usize..200, proptest::prelude::any::<u8>()), 1..8),
        cut in 0usize..200,
    ) {
        let mut world = World::new(&config());
        let asked = plain().to_vec().unwrap();
        world.ask(at(0), udp(1, 1000), &asked);
        let (query, _, _, message) = world.asked();
        let mut answer = resolved(&message, ResponseCode::NoError, 4);
        let body = asked.len()..answer.len();
        for (place, byte) in changes {
            answer[body.start + place % body.len()] = byte;
        }
        answer.truncate(answer.len() - cut % body.len());
        world.service.handle_answer(at(0), query, &answer);
        world.answered();
        world.ask(at(1), udp(1, 1001), &asked);
        assert_eq!(world.outputs().len(), 1);
    }
}
