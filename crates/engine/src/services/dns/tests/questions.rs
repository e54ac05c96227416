//! Questions that are odd or broken.

use super::*;

#[test]
fn a_client_with_edns_gets_edns_and_one_without_does_not() {
    let mut world = World::new(&config());
    let mut message = build("a.lab.internal.", RecordType::A);
    assert!(world.local("a", RecordType::A).edns.is_none());
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    message.set_edns(edns);
    world.ask(at(0), udp(1, 1000), &message.to_vec().unwrap());
    let answer = Message::from_vec(&world.answered().1).unwrap();
    let ours = answer.edns.unwrap();
    assert_eq!(
        (ours.max_payload(), ours.flags().dnssec_ok, ours.version()),
        (1232, true, 0)
    );
}

#[test]
fn an_edns_version_of_the_future_is_refused() {
    let mut world = World::new(&config());
    let mut message = build("a.lab.internal.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    message.set_edns(edns);
    world.ask(at(0), udp(1, 1000), &message.to_vec().unwrap());
    let answer = Message::from_vec(&world.answered().1).unwrap();
    assert_eq!(
        (
            answer.edns.unwrap().rcode_high(),
            answer.metadata.response_code.low()
        ),
        (1, 0)
    );
}

#[test]
fn what_is_no_ordinary_question_is_refused_by_its_right_name() {
    let mut update = build("a.lab.internal.", RecordType::SOA);
    update.metadata.op_code = OpCode::Update;
    let mut chaos = build("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut two = build("a.lab.internal.", RecordType::A);
    two.add_query(Query::query(Name::root(), RecordType::A));
    let mut none = build("a.lab.internal.", RecordType::A);
    none.queries.clear();
    let cases = [
        (update, ResponseCode::NotImp),
        (chaos, ResponseCode::Refused),
        (two, ResponseCode::FormErr),
        (none, ResponseCode::FormErr),
        (build("lab.internal.", RecordType::AXFR), ResponseCode::Refused),
    ];
    for (message, code) in cases {
        let mut world = World::new(&config());
        world.ask(at(0), udp(1, 1000), &message.to_vec().unwrap());
        assert_eq!(world.rcode(), code, "{message:?}");
    }
}

#[test]
fn a_broken_question_is_a_format_error_and_a_broken_header_nothing() {
    let mut world = World::new(&config());
    let good = question("a.lab.internal.", RecordType::A);
    for length in 12..good.len() {
        world.ask(at(0), udp(1, 1000), &good[..length]);
        assert_eq!(world.rcode(), ResponseCode::FormErr, "{length}");
    }
    for length in 0..12 {
        world.ask(at(0), udp(1, 1000), &good[..length]);
        assert_eq!(world.outputs(), []);
    }
}

#[test]
fn an_answer_that_comes_as_a_question_is_dropped() {
    let mut world = World::new(&config());
    let stray = resolved(
        &question("a.lab.internal.", RecordType::A),
        ResponseCode::NoError,
        1,
    );
    world.ask(at(0), udp(1, 1000), &stray);
    assert_eq!(world.outputs(), []);
}

#[test]
fn records_that_nobody_here_knows_are_walked_over() {
    let mut world = World::new(&config());
    let mut message = build("example.org.", RecordType::A);
    let text = RData::TXT(TXT::new(vec!["x".to_owned()]));
    message.add_additional(Record::from_rdata(Name::root(), 0, text));
    world.ask(at(0), udp(1, 1000), &message.to_vec().unwrap());
    world.asked();
}

#[test]
fn two_edns_records_are_a_format_error() {
    let mut world = World::new(&config());
    let mut message = build("example.org.", RecordType::A);
    message.set_edns(Edns::new());
    let mut bytes = message.to_vec().unwrap();
    // The record is eleven bytes: the root, type, class, TTL, and the length of nothing.
    let record = bytes[bytes.len() - 11..].to_vec();
    bytes.extend(record);
    bytes[11] = 2;
    world.ask(at(0), udp(1, 1000), &bytes);
    assert_eq!(world.rcode(), ResponseCode::FormErr);
}
