//! Questions for the host's resolvers.

use super::*;

#[test]
fn what_is_not_ours_passes_untouched_but_for_the_id() {
    let mut world = World::new(&config());
    let mut message = build("eXample.org.", RecordType::Unknown(65_400));
    message.set_edns(Edns::new());
    let message = message.to_vec().unwrap();
    world.ask(at(0), udp(1, 1000), &message);
    let (query, server, tcp, asked) = world.asked();
    assert_eq!((server, tcp), (resolver(1), false));
    assert_ne!(asked[..2], message[..2], "an id of our own");
    assert_eq!(asked[2..], message[2..]);

    // The resolver folds the case of the question.
    let mut answer = resolved(&asked, ResponseCode::NXDomain, 0);
    answer[12..24].make_ascii_lowercase();
    world.service.handle_answer(at(1), query, &answer);
    let outputs = world.outputs();
    assert!(outputs.contains(&DnsOutput::Forget(query)));
    let Some(DnsOutput::Answer {
        client,
        message: passed,
    }) = outputs.last()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(*client, udp(1, 1000));
    assert_eq!(passed[..2], message[..2]);
    assert_eq!(passed[2..12], answer[2..12]);
    assert_eq!(passed[12..], [&message[12..29], &answer[29..]].concat());
    assert_eq!(
        (world.service.forwarder.len(), world.service.poll_timeout()),
        (0, None)
    );
}

#[test]
fn ids_of_queries_follow_the_seed() {
    let ids = |seed| {
        let mut config = config();
        config.resolvers.truncate(1);
        let mut world = World::new(&config);
        world.service = DnsService::new(&config, seed);
        let mut id = |port| {
            world.ask(at(0), udp(1, port), &question("example.org.", RecordType::A));
            world.asked().3[..2].to_vec()
        };
        [id(1), id(2), id(3)]
    };
    assert_eq!(ids([1; 16]), ids([1; 16]));
    assert_ne!(ids([1; 16]), ids([2; 16]));
}

#[test]
fn an_answer_to_another_question_is_ignored() {
    let mut world = World::new(&config());
    world.ask(at(0), udp(1, 1000), &question("example.org.", RecordType::A));
    let (query, _, _, asked) = world.asked();
    let mut wrong_id = resolved(&asked, ResponseCode::NoError, 1);
    wrong_id[0] ^= 1;
    let mut wrong_name = resolved(&asked, ResponseCode::NoError, 1);
    wrong_name[13] = b'f';
    let mut wrong_type = resolved(&asked, ResponseCode::NoError, 1);
    wrong_type[26] = 28;
    let mut a_query = resolved(&asked, ResponseCode::NoError, 1);
    a_query[2] &= 0x7f;
    for wrong in [wrong_id, wrong_name, wrong_type, a_query, Vec::new(), vec![0; 11]] {
        world.service.handle_answer(at(1), query, &wrong);
        assert_eq!(world.outputs(), []);
    }
    assert!(
        world
            .service
            .counters()
            .any(|counter| counter == ("dns_mismatched", 6))
    );
    world
        .service
        .handle_answer(at(1), query, &resolved(&asked, ResponseCode::NoError, 1));
    assert_eq!(world.rcode(), ResponseCode::NoError);
}

#[test]
fn a_silent_resolver_is_followed_by_the_next_and_its_late_answer_counts() {
    let mut world = World::new(&config());
    world.ask(at(0), udp(1, 1000), &question("example.org.", RecordType::A));
    let (first, server, _, asked) = world.asked();
    assert_eq!(server, resolver(1));
    assert_eq!(world.service.poll_timeout(), Some(Instant::ZERO + TRY));
    world.service.handle_timeout(Instant::ZERO + TRY);
    let (second, server, ..) = world.asked();
    assert_eq!(server, resolver(2));
    world
        .service
        .handle_answer(at(3), first, &resolved(&asked, ResponseCode::NoError, 1));
    let outputs = world.outputs();
    assert!(outputs.contains(&DnsOutput::Forget(first)) && outputs.contains(&DnsOutput::Forget(second)));
    assert!(matches!(outputs.last(), Some(DnsOutput::Answer { .. })));
}

#[test]
fn resolvers_that_say_nothing_are_servfail_in_bounded_time() {
    let mut world = World::new(&config());
    world.ask(at(0), udp(1, 1000), &question("example.org.", RecordType::A));
    let mut asks = 0;
    let end = loop {
        let next = world.service.poll_timeout().unwrap();
        world.service.handle_timeout(next);
        if world.service.poll_timeout().is_none() {
            break next;
        }
        asks += 1;
        assert!(asks < 10);
    };
    assert_eq!(end, Instant::ZERO + TOTAL);
    assert_eq!(world.rcode(), ResponseCode::ServFail);
    assert_eq!(world.service.forwarder.len(), 0);
}

#[test]
fn a_failure_on_the_way_does_not_move_the_end() {
    let mut world = World::new(&config());
    world.ask(at(0), udp(1, 1000), &question("example.org.", RecordType::A));
    let (first, ..) = world.asked();
    world.service.handle_failure(at(1), first);
    let mut last = at(0);
    while let Some(next) = world.service.poll_timeout() {
        world.service.handle_timeout(next);
        last = next;
    }
    assert_eq!(last, Instant::ZERO + TOTAL);
}

#[test]
fn a_resolver_that_fails_is_followed_by_the_next_at_once_and_the_last_word_passes_on() {
    let mut world = World::new(&config());
    world.ask(at(0), udp(1, 1000), &question("example.org.", RecordType::A));
    let (first, _, _, asked) = world.asked();
    world
        .service
        .handle_answer(at(0), first, &resolved(&asked, ResponseCode::ServFail, 0));
    let (second, server, _, asked) = world.asked();
    assert_eq!(server, resolver(2));
    world
        .service
        .handle_answer(at(0), second, &resolved(&asked, ResponseCode::Refused, 0));
    assert_eq!(world.rcode(), ResponseCode::Refused);
}

#[test]
fn a_refusal_without_its_question_counts() {
    let mut world = World::new(&config());
    world.ask(at(0), udp(1, 1000), &question("example.org.", RecordType::A));
    let (first, _, _, asked) = world.asked();
    let mut bare = asked[..12].to_vec();
    bare[2] = 0x80;
    bare[3] = 1;
    bare[4..12].fill(0);
    world.service.handle_answer(at(0), first, &bare);
    let (second, server, ..) = world.asked();
    assert_eq!(server, resolver(2));
    world.service.handle_failure(at(0), second);
    let (_, message) = world.answered();
    let message = Message::from_vec(&message).unwrap();
    assert_eq!(message.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(message.queries.len(), 1);
}

#[test]
fn resolvers_that_cannot_be_reached_are_servfail_at_once() {
    let mut world = World::new(&config());
    world.ask(at(0), udp(1, 1000), &question("example.org.", RecordType::A));
    let (first, ..) = world.asked();
    world.service.handle_failure(at(0), first);
    let (second, ..) = world.asked();
    world.service.handle_failure(at(0), first);
    assert_eq!(world.outputs(), [], "it was told already");
    world.service.handle_failure(at(0), second);
    assert_eq!(world.rcode(), ResponseCode::ServFail);
}

#[test]
fn no_resolver_is_servfail_at_once() {
    let mut world = World::new(&config());
    world.service.set_resolvers(at(0), Vec::new());
    world.ask(at(0), udp(1, 1000), &question("example.org.", RecordType::A));
    assert_eq!(world.rcode(), ResponseCode::ServFail);
    assert_eq!(world.service.poll_timeout(), None);
}

#[test]
fn a_question_under_way_begins_anew_when_the_resolvers_change() {
    let mut world = World::new(&config());
    world.ask(at(0), udp(1, 1000), &question("example.org.", RecordType::A));
    let (first, ..) = world.asked();
    world.service.set_resolvers(at(1), vec![resolver(1), resolver(2)]);
    assert_eq!(world.outputs(), [], "they are the same");
    world.service.set_resolvers(at(1), vec![resolver(3)]);
    match &world.outputs()[..] {
        [DnsOutput::Forget(old), DnsOutput::Ask { query, server, .. }] => {
            assert_eq!((*old, *server), (first, resolver(3)));
            world.service.handle_failure(at(1), *query);
        }
        other => panic!("the question was to be asked again: {other:?}"),
    }
    assert_eq!(world.rcode(), ResponseCode::ServFail);
    world.service.set_resolvers(at(2), Vec::new());
    assert_eq!(world.outputs(), []);
}

#[test]
fn a_question_over_tcp_is_asked_over_tcp() {
    let mut world = World::new(&config());
    world.ask(at(0), tcp(5), &question("example.org.", RecordType::A));
    let (query, _, is_tcp, asked) = world.asked();
    assert!(is_tcp);
    let long = resolved(&asked, ResponseCode::NoError, 500);
    world.service.handle_answer(at(0), query, &long);
    assert_eq!(world.answered().1.len(), long.len());
}

#[test]
fn a_connection_that_ends_takes_its_questions_with_it() {
    let mut world = World::new(&config());
    world.ask(at(0), tcp(5), &question("example.org.", RecordType::A));
    let (query, ..) = world.asked();
    world.ask(at(0), tcp(6), &question("example.org.", RecordType::A));
    world.asked();
    world.service.handle_disconnect(FlowId {
        slot: 5,
        generation: 0,
    });
    assert_eq!(world.outputs(), [DnsOutput::Forget(query)]);
    assert_eq!(world.service.forwarder.len(), 1);
}

#[test]
fn an_answer_too_long_for_the_client_is_truncated() {
    let mut plain = World::new(&config());
    plain.ask(at(0), udp(1, 1000), &question("example.org.", RecordType::A));
    let (query, _, _, asked) = plain.asked();
    plain
        .service
        .handle_answer(at(0), query, &resolved(&asked, ResponseCode::NoError, 40));
    let answer = Message::from_vec(&plain.answered().1).unwrap();
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    assert_eq!((answer.metadata.id, answer.queries.len()), (0x1234, 1));

    let mut roomy = World::new(&config());
    let mut message = build("example.org.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    roomy.ask(at(0), udp(1, 1000), &message.to_vec().unwrap());
    let (query, _, _, asked) = roomy.asked();
    roomy
        .service
        .handle_answer(at(0), query, &resolved(&asked, ResponseCode::NoError, 40));
    assert_eq!(Message::from_vec(&roomy.answered().1).unwrap().answers.len(), 40);
}

#[test]
fn an_answer_too_long_for_the_lan_is_truncated_whatever_the_client_says() {
    let mut world = World::new(&config());
    let mut message = build("example.org.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns);
    world.ask(at(0), udp(1, 1000), &message.to_vec().unwrap());
    let (query, _, _, asked) = world.asked();
    let long = resolved(&asked, ResponseCode::NoError, 100);
    assert!(long.len() > 1472 && long.len() < 4096);
    world.service.handle_answer(at(0), query, &long);
    let answer = Message::from_vec(&world.answered().1).unwrap();
    assert!(answer.metadata.truncation && answer.answers.is_empty());
}

#[test]
fn an_answer_that_its_resolver_truncated_stays_so() {
    let mut world = World::new(&config());
    world.ask(at(0), udp(1, 1000), &question("example.org.", RecordType::A));
    let (query, _, _, asked) = world.asked();
    let mut truncated = resolved(&asked, ResponseCode::NoError, 1);
    truncated[2] |= 2;
    world.service.handle_answer(at(0), query, &truncated);
    assert!(
        Message::from_vec(&world.answered().1)
            .unwrap()
            .metadata
            .truncation
    );
}

#[test]
fn a_repeated_question_is_one() {
    let mut world = World::new(&config());
    let message = question("example.org.", RecordType::A);
    world.ask(at(0), udp(1, 1000), &message);
    world.asked();
    world.ask(at(1), udp(1, 1000), &message);
    assert_eq!(world.outputs(), []);
}

#[test]
fn a_guest_that_floods_loses_its_own_oldest_questions() {
    let mut config = config();
    config.limits.dns_queries = 8;
    let mut world = World::new(&config);
    let message = question("example.org.", RecordType::A);
    world.ask(at(0), udp(1, 1), &message);
    world.asked();
    for port in 1..=100 {
        world.ask(at(0), udp(2, port), &message);
    }
    let outputs = world.outputs();
    let answers = outputs.iter().filter_map(|output| match output {
        DnsOutput::Answer { client, message } => Some((*client, Message::from_vec(message).unwrap())),
        _ => None,
    });
    let answers: Vec<_> = answers.collect();
    assert_eq!(answers.len(), 98, "a quarter of eight are under way");
    for (index, (client, message)) in answers.iter().enumerate() {
        assert_eq!(*client, udp(2, u16::try_from(index + 1).unwrap()), "oldest first");
        assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
    }
    assert_eq!(world.service.forwarder.len(), 3);
}

#[test]
fn guests_that_flood_make_room_for_those_that_do_not() {
    let mut config = config();
    config.limits.dns_queries = 16;
    let mut world = World::new(&config);
    let message = question("example.org.", RecordType::A);
    for modest in 10..14 {
        world.ask(at(0), udp(modest, 1), &message);
    }
    world.outputs();
    for round in 0..2500 {
        for flooding in 1..=4 {
            world.ask(at(0), udp(flooding, 1000 + round), &message);
        }
        let answered = world.outputs().into_iter().filter_map(|output| match output {
            DnsOutput::Answer { client, .. } => Some(client.ingress.0),
            _ => None,
        });
        let answered: Vec<u32> = answered.collect();
        assert!(answered.iter().all(|port| *port <= 4), "{round}: {answered:?}");
    }
    assert_eq!(world.service.forwarder.len(), 16);
    world.ask(at(1), udp(14, 1), &message);
    let (client, _) = world.answered();
    assert!(client.ingress.0 <= 4, "{client:?}");
}

#[test]
fn many_guests_together_stay_within_the_bound() {
    let mut config = config();
    config.limits.dns_queries = 8;
    let mut world = World::new(&config);
    for n in 0..50 {
        world.ask(at(0), udp(n, 1), &question("example.org.", RecordType::A));
        assert!(world.service.forwarder.len() <= 8);
    }
}
