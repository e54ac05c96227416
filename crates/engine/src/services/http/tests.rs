//! One test a rule.

use proptest::prelude::*;

use super::*;

fn documents() -> Documents {
    let entries = [
        ("meta-data", "instance-id: a\n"),
        ("user-data", "#cloud-config\n"),
        ("vendor-data", ""),
    ];
    entries
        .into_iter()
        .map(|(path, text)| (path.to_owned(), Bytes::from(text)))
        .collect()
}

/// What a connection says to input that comes in pieces of `cut` bytes, and whether it closes.
fn talk_in(cut: usize, input: &[u8], documents: Option<&Documents>) -> (String, bool) {
    let mut connection = HttpConnection::new(false);
    let mut output = Vec::new();
    for piece in input.chunks(cut) {
        connection.handle_data(piece, documents);
        output.extend(std::iter::from_fn(|| connection.poll_output()));
    }
    (
        String::from_utf8(output.concat()).unwrap(),
        connection.wants_close(),
    )
}

fn talk(input: &str) -> (String, bool) {
    talk_in(usize::MAX, input.as_bytes(), Some(&documents()))
}

fn status(input: &str) -> (String, bool) {
    let (output, close) = talk(input);
    (output.split(' ').nth(1).unwrap_or_default().to_owned(), close)
}

#[test]
fn a_document_is_given_with_its_length_and_the_connection_goes_on() {
    let (output, close) = talk("GET /meta-data HTTP/1.1\r\nHost: gateway\r\n\r\n");
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 15\r\n\
                    Connection: keep-alive\r\n\r\ninstance-id: a\n";
    assert_eq!((output.as_str(), close), (expected, false));
}

#[test]
fn an_empty_document_is_there() {
    let (output, _) = talk("GET /vendor-data HTTP/1.1\r\nHost: g\r\n\r\n");
    assert!(output.starts_with("HTTP/1.1 200 ") && output.contains("Content-Length: 0\r\n"));
}

#[test]
fn head_tells_the_length_without_the_document() {
    let (output, _) = talk("HEAD //user-data HTTP/1.1\r\nHost: g\r\n\r\n");
    assert!(output.starts_with("HTTP/1.1 200 ") && output.contains("Content-Length: 14\r\n"));
    assert!(output.ends_with("\r\n\r\n"));
}

#[test]
fn every_wrong_request_has_its_status() {
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(HEAD_MAX));
    let many = format!("GET / HTTP/1.1\r\nHost: g\r\n{}\r\n", "a: b\r\n".repeat(40));
    let cases = [
        ("GET /nothing HTTP/1.1\r\nHost: g\r\n\r\n", "404", false),
        ("GET /../meta-data HTTP/1.1\r\nHost: g\r\n\r\n", "404", false),
        ("DELETE /meta-data HTTP/1.1\r\nHost: g\r\n\r\n", "405", false),
        ("GET /meta-data HTTP/1.1\r\n\r\n", "400", true),
        (
            "GET /meta-data HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "400",
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "400",
            true,
        ),
        (
            "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: +1\r\n\r\n",
            "400",
            true,
        ),
        ("\u{1}\u{2}\u{3}", "400", true),
        ("GET / HTTP/2.0\r\nHost: g\r\n\r\n", "505", true),
        (long.as_str(), "431", true),
        (many.as_str(), "431", true),
    ];
    for (input, code, close) in cases {
        assert_eq!(status(input), (code.to_owned(), close), "{input:.60}");
    }
}

#[test]
fn a_port_without_documents_is_told_so() {
    let request = b"GET /meta-data HTTP/1.1\r\nHost: g\r\n\r\n";
    assert!(talk_in(usize::MAX, request, None).0.starts_with("HTTP/1.1 403 "));
}

#[test]
fn http_1_0_closes_unless_it_asks_otherwise() {
    assert_eq!(
        status("GET /meta-data HTTP/1.0\r\n\r\n"),
        ("200".to_owned(), true)
    );
    assert_eq!(
        status("GET /meta-data HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
        ("200".to_owned(), false)
    );
    assert_eq!(
        status("GET /meta-data HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"),
        ("200".to_owned(), true)
    );
}

#[test]
fn a_body_is_skipped_and_the_next_request_read() {
    let input = "POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 20\r\n\r\nGET /evil HTTP/1.1\r\nGET /meta-data HTTP/1.1\r\n\
                 Host: g\r\n\r\n";
    for cut in [1, 7, 60, usize::MAX] {
        let (output, close) = talk_in(cut, input.as_bytes(), Some(&documents()));
        assert!(output.starts_with("HTTP/1.1 405 "), "{cut}");
        assert!(output.ends_with("instance-id: a\n") && !close, "{cut}");
        assert_eq!(output.matches("HTTP/1.1 ").count(), 2, "{cut}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let one = |path: &str| format!("GET /{path} HTTP/1.1\r\nHost: g\r\n\r\n");
    let (output, close) = talk(&[one("user-data"), one("meta-data")].concat());
    assert!(output.find("#cloud-config").unwrap() < output.find("instance-id").unwrap());
    assert!(!close);
}

#[test]
fn a_client_that_takes_no_answers_is_cut_off() {
    let mut connection = HttpConnection::new(false);
    let request = b"GET /meta-data HTTP/1.1\r\nHost: g\r\n\r\n".repeat(1000);
    connection.handle_data(&request, Some(&documents()));
    assert!(connection.wants_close());
    assert!(connection.output.len() <= 2 * (PIPELINED_MAX + 1));
    assert!(connection.input.len() <= HEAD_MAX + 1);
}

#[test]
fn a_connection_ends_after_many_requests() {
    let mut connection = HttpConnection::new(false);
    let mut served = 0;
    while !connection.wants_close() {
        connection.handle_data(b"GET /meta-data HTTP/1.1\r\nHost: g\r\n\r\n", Some(&documents()));
        served += u32::from(connection.poll_output().is_some());
        while connection.poll_output().is_some() {}
    }
    assert_eq!(served, REQUESTS_MAX);
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_cost_little(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..20),
    ) {
        let mut connection = HttpConnection::new(false);
        for piece in &pieces {
            connection.handle_data(piece, Some(&documents()));
            prop_assert!(connection.input.len() <= HEAD_MAX + 1);
        }
    }

    #[test]
    fn answers_do_not_depend_on_how_the_requests_are_cut(
        paths in prop::collection::vec("(meta-data|user-data|x)", 1..6),
        cut in 1usize..50,
    ) {
        let input: String = paths.iter().map(|path| format!("GET /{path} HTTP/1.1\r\nHost: g\r\n\r\n")).collect();
        let whole = talk_in(usize::MAX, input.as_bytes(), Some(&documents()));
        prop_assert_eq!(whole, talk_in(cut, input.as_bytes(), Some(&documents())));
    }
}

/// What a connection that takes reports says to input in pieces, and what it heard last.
fn report_in(cut: usize, input: &[u8]) -> (String, bool, Option<BTreeSet<Listening>>) {
    let mut connection = HttpConnection::new(true);
    let (mut output, mut report) = (Vec::new(), None);
    for piece in input.chunks(cut) {
        connection.handle_data(piece, None);
        report = connection.poll_report().or(report);
        output.extend(std::iter::from_fn(|| connection.poll_output()));
    }
    let text = String::from_utf8(output.concat()).unwrap();
    (text, connection.wants_close(), report)
}

fn put(body: &str) -> String {
    format!(
        "PUT /atoll/ports HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_report_is_taken_however_it_comes_in_pieces() {
    for cut in [1, 2, 7, 50, 1000] {
        let input = put("tcp 80\n") + &put("tcp 80\nudp 53");
        let (said, close, report) = report_in(cut, input.as_bytes());
        assert_eq!(said.matches("HTTP/1.1 204 No Content\r\n").count(), 2, "{said}");
        assert!(!said.contains("Content-Length") && !close);
        assert_eq!(report, Some([Listening::Tcp(80), Listening::Udp(53)].into()));
    }
}

#[test]
fn what_is_no_report_is_refused_and_leaves_the_last_one() {
    let input = put("tcp 80") + &put("tcp x") + &put("");
    let (said, _, report) = report_in(9, input.as_bytes());
    let statuses: Vec<_> = said.lines().filter(|line| line.starts_with("HTTP")).collect();
    assert_eq!(
        statuses,
        [
            "HTTP/1.1 204 No Content",
            "HTTP/1.1 400 Bad Request",
            "HTTP/1.1 204 No Content"
        ]
    );
    assert_eq!(report, Some(BTreeSet::new()));
    let (said, close, report) = report_in(1000, put(&"tcp 80\n".repeat(2000)).as_bytes());
    assert!(
        said.starts_with("HTTP/1.1 413 ") && close && report.is_none(),
        "{said}"
    );
}

#[test]
fn a_page_in_a_guests_browser_reports_nothing() {
    let head =
        "POST /atoll/ports HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\nContent-Length: 7\r\n\r\n";
    let (said, _, reported) = report_in(1000, format!("{head}tcp 80\n").as_bytes());
    assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
    assert!(reported.is_none());
}

#[test]
fn the_agent_is_there_where_reports_are_taken_and_nothing_else_is() {
    let get = |path: &str| format!("GET {path} HTTP/1.0\r\n\r\n");
    let (said, ..) = report_in(1000, get("/atoll/ports.sh").as_bytes());
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("#!/bin/sh"));
    let (said, ..) = report_in(1000, get("/meta-data").as_bytes());
    assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
    let (said, _) = talk_in(1000, get("/atoll/ports.sh").as_bytes(), Some(&documents()));
    assert!(said.starts_with("HTTP/1.1 404 "), "{said}");
    let (said, _) = talk_in(1000, put("tcp 80").as_bytes(), Some(&documents()));
    assert!(said.starts_with("HTTP/1.1 405 "), "{said}");
}
