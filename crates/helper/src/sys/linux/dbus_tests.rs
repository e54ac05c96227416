use proptest::prelude::*;

use super::*;

const RESOLVED: Target = Target {
    destination: "org.freedesktop.resolve1",
    path: "/org/freedesktop/resolve1",
    interface: "org.freedesktop.resolve1.Manager",
};

/// What the specification's rules make of a call, byte by byte.
#[test]
fn a_call_is_written_as_the_specification_has_it() {
    let mut body = Body::default();
    body.int(7);
    body.boolean(true);
    let bytes = call(2, RESOLVED, "SetLinkDefaultRoute", ("ib", &body));
    assert_eq!(bytes[..12], [b'l', 1, 2, 1, 8, 0, 0, 0, 2, 0, 0, 0]);
    let fields = usize::try_from(u32::from_le_bytes(bytes[12..16].try_into().unwrap())).unwrap();
    // The path: code, signature of one type, length, text, NUL.
    assert_eq!(bytes[16..20], [1, 1, b'o', 0]);
    assert_eq!(bytes[20..24], 25_u32.to_le_bytes());
    assert_eq!(&bytes[24..50], b"/org/freedesktop/resolve1\0");
    // The next field is aligned to eight.
    assert_eq!(bytes[56..60], [2, 1, b's', 0]);
    let begin = (16 + fields).next_multiple_of(8);
    assert_eq!(bytes.len(), begin + 8);
    assert_eq!(bytes[begin..], [7, 0, 0, 0, 1, 0, 0, 0]);
    assert!(bytes[..begin].windows(6).any(|it| it == [8, 1, b'g', 0, 2, b'i']));
}

#[test]
fn an_arrays_length_leaves_out_what_aligns_its_first_element() {
    let mut body = Body::default();
    body.int(1);
    body.array(8, |all| {
        all.structure();
        all.string("a");
    });
    assert_eq!(body.0[..8], [1, 0, 0, 0, 6, 0, 0, 0]);
    assert_eq!(body.0[8..], [1, 0, 0, 0, b'a', 0]);
    let mut empty = Body::default();
    empty.array(8, |_| {});
    assert_eq!(empty.0, [0; 8]);
}

fn answer(kind: u8, to: u32, error: Option<&str>, text: &str) -> Vec<u8> {
    let mut body = Body::default();
    body.string(text);
    let mut message = Body(vec![b'l', kind, 1, 1]);
    message.uint(u32::try_from(body.0.len()).unwrap());
    message.uint(99);
    message.array(8, |fields| {
        fields.structure();
        fields.byte(REPLY_SERIAL);
        fields.signature("u");
        fields.uint(to);
        fields.field(7, "s", ":1.5");
        if let Some(error) = error {
            fields.field(ERROR_NAME, "s", error);
        }
        fields.field(SIGNATURE, "g", "s");
    });
    message.align(8);
    message.0.extend(&body.0);
    message.0
}

#[test]
fn an_answer_is_told_from_others_and_an_error_says_what_it_is() {
    let good = Answer::parse(&answer(RETURN, 4, None, ":1.9")).unwrap();
    assert_eq!((good.kind, good.to), (RETURN, Some(4)));
    let bad = Answer::parse(&answer(ERROR, 5, Some("org.x.NoSuchLink"), "Link 7 not known")).unwrap();
    assert_eq!(bad.to, Some(5));
    assert_eq!(bad.error.as_deref(), Some("org.x.NoSuchLink"));
    assert_eq!(bad.text.as_deref(), Some("Link 7 not known"));
}

#[test]
fn a_length_that_is_too_long_is_not_read() {
    let mut head = answer(RETURN, 1, None, "x");
    head[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Lengths::parse(&head).is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Answer::parse(&bytes);
    }

    #[test]
    fn an_answer_with_bytes_changed_is_an_answer_or_none(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = answer(ERROR, 5, Some("org.x.NoSuchLink"), "Link 7 not known");
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = Answer::parse(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = Answer::parse(&bytes);
    }
}
