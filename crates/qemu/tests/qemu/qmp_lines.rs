//! The reader of QMP lines against any bytes, cut anywhere.

use atoll_qemu::qmp::{Event, LineBuffer, MAX_LINE, Message, QmpError, parse_line};
use proptest::prelude::*;
use serde_json::json;

#[test]
fn the_four_kinds_of_line_are_told_apart() {
    let greeting = br#"{"QMP": {"version": {"qemu": {"micro": 2}}, "capabilities": ["oob"]}}"#;
    assert_eq!(parse_line(greeting).expect("greeting"), Message::Greeting);
    let answer = parse_line(br#"{"return": {"a": 1}, "id": 7}"#).expect("answer");
    assert_eq!(
        answer,
        Message::Return {
            id: Some(7),
            value: json!({"a": 1})
        }
    );
    let failure = parse_line(br#"{"id": 8, "error": {"class": "GenericError", "desc": "no"}}"#);
    let (class, description) = ("GenericError".to_owned(), "no".to_owned());
    assert_eq!(
        failure.expect("failure"),
        Message::Failure {
            id: Some(8),
            class,
            description
        }
    );
    let event = parse_line(br#"{"timestamp": {"seconds": 1}, "event": "STOP"}"#).expect("event");
    assert_eq!(
        event,
        Message::Event(Event {
            name: "STOP".to_owned(),
            data: json!(null)
        })
    );
}

#[test]
fn other_lines_are_malformed_and_quoted_in_part() {
    for line in [
        "",
        "{}",
        "[]",
        "7",
        "{\"QMP\":1}",
        "{\"event\":5}",
        "{\"error\":{}}",
        "{\"return\"",
    ] {
        let error = parse_line(line.as_bytes()).expect_err(line);
        assert!(matches!(error, QmpError::Malformed { .. }), "{error}");
    }
    let error = parse_line(&vec![b'x'; 10_000]).expect_err("no JSON");
    assert!(error.to_string().len() < 200);
}

#[test]
fn a_line_without_end_is_given_up() {
    let mut buffer = LineBuffer::default();
    buffer.push(&vec![b' '; MAX_LINE]);
    assert!(buffer.next_line().expect("just fits").is_none());
    buffer.push(b"  ");
    assert!(matches!(buffer.next_line(), Err(QmpError::TooLong)));
}

fn is_message_or_malformed(line: &[u8]) -> bool {
    matches!(parse_line(line), Ok(_) | Err(QmpError::Malformed { .. }))
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(line in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(is_message_or_malformed(&line));
    }

    #[test]
    fn any_json_is_a_message_or_an_error(
        key in "QMP|return|error|event|id|data",
        value in "null|1|-1|1e99|\"x\"|\\[\\]|\\{\\}|\\{\"class\":\"c\",\"desc\":\"d\"\\}",
    ) {
        let line = format!("{{\"{key}\":{value}}}");
        prop_assert!(is_message_or_malformed(line.as_bytes()));
    }

    #[test]
    fn lines_do_not_depend_on_where_the_stream_is_cut(
        lines in prop::collection::vec("[a-z{}\" ]{0,30}", 0..10),
        cuts in prop::collection::vec(1..20usize, 1..50),
    ) {
        let stream: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\r\n").into_bytes()).collect();
        let mut buffer = LineBuffer::default();
        let mut out = Vec::new();
        let (mut rest, mut cuts) = (stream.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at(rest.len().min(*cuts.next().expect("cycles")));
            buffer.push(chunk);
            while let Some(line) = buffer.next_line().expect("short lines") {
                out.push(String::from_utf8(line).expect("ASCII"));
            }
            rest = tail;
        }
        let lines = lines.iter().map(|line| line.trim_end().to_owned());
        let expected: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
        prop_assert_eq!(out, expected);
    }
}
