//! An HTTP proxy's requests: CONNECT (RFC 9110, 9.3.6) and the absolute form (RFC 9112, 3.2.2).
//!
//! CONNECT is a tunnel. A request in absolute form, which is what clients send for `http:` URLs, is passed on as one to the origin:
//! the head is written anew with the path only and without what concerns the connection to the proxy (RFC 9110, 7.6.1), and asks the
//! origin to close afterwards, so that one connection carries one request and all that follows the head passes as it is, either way.
//! A client that has more to ask connects again.
//!
//! Bounds: a head of 8 KiB, as most servers have it, and 100 fields. Left out: `https:` in absolute form, which nobody sends, and
//! upgrades, which go by CONNECT.

use httparse::{EMPTY_HEADER, Header, Status};

use super::{Host, Parsed, Target};

/// The longest head, in bytes.
pub const HEAD_MAX: usize = 8 << 10;
const FIELDS_MAX: usize = 100;
const PORT: u16 = 80;

/// Fields that concern one connection.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "upgrade",
];

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A tunnel.
    Connect(Target),
    /// To ask an origin this; what follows the head belongs to it.
    Forward(Target, Vec<u8>),
    /// Something of the proxy itself.
    NoProxyRequest,
}

/// An answer of the proxy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The tunnel is open.
    Established,
    /// No request that a proxy can carry out.
    BadRequest,
    /// Not a host of this network.
    Forbidden,
    /// The head is too long.
    TooLarge,
    /// The host is not there, or refuses.
    BadGateway(&'static str),
    /// The host did not answer in time.
    Timeout,
}

impl Answer {
    /// Its bytes.
    #[must_use]
    pub fn emit(self) -> Vec<u8> {
        let (status, words) = match self {
            Self::Established => return b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
            Self::BadRequest => (
                "400 Bad Request",
                "this is a proxy: it takes CONNECT and http: URLs",
            ),
            Self::Forbidden => (
                "403 Forbidden",
                "this proxy leads to the network's own guests only",
            ),
            Self::TooLarge => (
                "431 Request Header Fields Too Large",
                "the request's head is too long",
            ),
            Self::BadGateway(words) => ("502 Bad Gateway", words),
            Self::Timeout => ("504 Gateway Timeout", "the guest did not answer in time"),
        };
        let length = words.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{words}\n"
        )
        .into_bytes()
    }
}

/// Read a request's head.
#[must_use]
pub fn request(input: &[u8]) -> Parsed<Request> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(input) {
        Ok(Status::Complete(length)) if length <= HEAD_MAX => length,
        Ok(Status::Partial) if input.len() < HEAD_MAX => return Parsed::Partial,
        Ok(_) | Err(_) => return Parsed::Bad,
    };
    let (Some(method), Some(path), Some(version)) = (head.method, head.path, head.version) else {
        return Parsed::Bad;
    };
    if method == "CONNECT" {
        return authority(path, None).map_or(Parsed::Bad, |target| {
            Parsed::Whole(Request::Connect(target), length)
        });
    }
    let Some(rest) = strip_scheme(path) else {
        return Parsed::Whole(Request::NoProxyRequest, length);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let Some(target) = authority(host, Some(PORT)) else {
        return Parsed::Bad;
    };
    let line = format!("{method} {} HTTP/1.{version}\r\nHost: {host}\r\n", origin(path));
    let written = written_anew(line, head.headers);
    Parsed::Whole(Request::Forward(target, written), length)
}

/// What is behind `http://`, in any case (RFC 3986, 3.1).
fn strip_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_at_checked("http://".len())?;
    scheme.eq_ignore_ascii_case("http://").then_some(rest)
}

/// The origin form: a path that begins with a slash, without a fragment.
fn origin(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{slash}{path}")
}

/// `host:port`; the port may be missing where there is a default one. User information is refused (RFC 9110, 4.2.4).
fn authority(text: &str, default: Option<u16>) -> Option<Target> {
    let (host, port) = match text.rsplit_once(':') {
        Some((_, port)) if port.ends_with(']') => (text, default?),
        Some((host, "")) => (host, default?),
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => (host, port.parse().ok()?),
        Some(_) => return None,
        None => (text, default?),
    };
    let host = Host::parse(host.as_bytes())?;
    Some(Target { host, port })
}

fn written_anew(line: String, fields: &[Header<'_>]) -> Vec<u8> {
    let mut head = line.into_bytes();
    for field in fields {
        if concerns_connection(field.name, fields) {
            continue;
        }
        head.extend_from_slice(field.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(field.value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    head
}

/// Whether a field is for the proxy: one that always is, or one that `Connection` names. What says where the body ends is not.
fn concerns_connection(name: &str, fields: &[Header<'_>]) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    if HOP_BY_HOP.iter().any(|known| is(known)) {
        return true;
    }
    if is("content-length") || is("transfer-encoding") {
        return false;
    }
    let connections = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("connection"));
    let named = connections.flat_map(|field| field.value.split(|byte| *byte == b','));
    let mut named = named.map(<[u8]>::trim_ascii);
    named.any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(host: &str, port: u16) -> Target {
        let host = Host::parse(host.as_bytes()).unwrap();
        Target { host, port }
    }

    fn whole(head: &str) -> Request {
        match request(head.as_bytes()) {
            Parsed::Whole(request, length) => {
                assert_eq!(length, head.len());
                request
            }
            other => panic!("{head}: {other:?}"),
        }
    }

    #[test]
    fn connect_names_a_host_and_a_port() {
        for (text, host, port) in [
            ("web.atoll.internal:443", "web.atoll.internal", 443),
            ("[fd77:77::9]:22", "fd77:77::9", 22),
            ("10.77.0.2:1", "10.77.0.2", 1),
        ] {
            let head = format!("CONNECT {text} HTTP/1.1\r\nHost: {text}\r\n\r\n");
            assert_eq!(whole(&head), Request::Connect(target(host, port)));
        }
        for text in [
            "web",
            "web:",
            "web:99999",
            "web:+80",
            "u@web:80",
            ":80",
            "[::1:80",
            "/",
        ] {
            let head = format!("CONNECT {text} HTTP/1.1\r\n\r\n");
            assert_eq!(request(head.as_bytes()), Parsed::Bad, "{text}");
        }
    }

    #[test]
    fn a_url_becomes_a_request_to_the_origin() {
        let head = "GET http://web:8080/a?b#c HTTP/1.1\r\nHost: other\r\nAccept: */*\r\nProxy-Connection: Keep-Alive\r\n\
            Connection: x-mine, keep-alive\r\nX-Mine: 1\r\nContent-Length: 0\r\n\r\n";
        let expected = "GET /a?b HTTP/1.1\r\nHost: web:8080\r\nAccept: */*\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(
            whole(head),
            Request::Forward(target("web", 8080), expected.as_bytes().to_vec())
        );
        for (url, host, line) in [
            (
                "http://[fd77:77::9]",
                "fd77:77::9",
                "GET / HTTP/1.1\r\nHost: [fd77:77::9]\r\n",
            ),
            ("HTTP://web?q", "web", "GET /?q HTTP/1.1\r\nHost: web\r\n"),
        ] {
            let Request::Forward(to, head) = whole(&format!("GET {url} HTTP/1.1\r\n\r\n")) else {
                panic!("{url}");
            };
            assert_eq!(to, target(host, 80));
            assert!(
                head.starts_with(line.as_bytes()),
                "{}",
                String::from_utf8_lossy(&head)
            );
        }
    }

    #[test]
    fn what_says_where_the_body_ends_is_passed_on_whatever_connection_names() {
        let head = "POST http://web/ HTTP/1.1\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\n";
        let Request::Forward(_, head) = whole(head) else {
            panic!("a request to the origin");
        };
        assert!(String::from_utf8(head).unwrap().contains("Content-Length: 3\r\n"));
    }

    #[test]
    fn what_is_no_request_to_a_proxy_is_told_apart() {
        assert_eq!(whole("GET / HTTP/1.1\r\n\r\n"), Request::NoProxyRequest);
        assert_eq!(
            whole("GET https://web/ HTTP/1.1\r\n\r\n"),
            Request::NoProxyRequest
        );
        assert_eq!(request(b"GET http://"), Parsed::Partial);
        assert_eq!(request(b"SSH-2.0-OpenSSH\r\n"), Parsed::Bad);
    }

    #[test]
    fn a_head_without_end_is_refused_at_the_bound() {
        let mut head = b"GET http://web/ HTTP/1.1\r\nX: ".to_vec();
        while head.len() < HEAD_MAX {
            assert_eq!(request(&head), Parsed::Partial);
            head.extend_from_slice(&[b'x'; 97]);
        }
        assert_eq!(request(&head), Parsed::Bad);
    }

    proptest! {
        #[test]
        fn a_head_is_read_the_same_however_it_comes(name in "[a-z]{1,20}", path in "(/[a-z]{0,9}){0,4}", rest: [u8; 4]) {
            let head = format!("GET http://{name}{path} HTTP/1.1\r\nA: b\r\n\r\n");
            for end in 0..head.len() {
                prop_assert_eq!(request(&head.as_bytes()[..end]), Parsed::Partial);
            }
            let more = [head.as_bytes(), &rest].concat();
            let Parsed::Whole(Request::Forward(to, _), length) = request(&more) else {
                return Err(TestCaseError::fail("not whole"));
            };
            prop_assert_eq!((to, length), (target(&name, 80), head.len()));
        }

        #[test]
        fn what_is_passed_on_is_one_request_to_the_origin(input in "(GET|POST) http://[!-~]{0,30} HTTP/1.1\r\n([A-Za-z-]{1,12}: [ -~]{0,12}\r\n){0,6}\r\n") {
            if let Parsed::Whole(Request::Forward(_, head), length) = request(input.as_bytes()) {
                prop_assert!(length <= input.len());
                let mut fields = [EMPTY_HEADER; FIELDS_MAX + 2];
                let mut again = httparse::Request::new(&mut fields);
                prop_assert_eq!(again.parse(&head), Ok(Status::Complete(head.len())));
                prop_assert!(again.path.is_some_and(|path| path.starts_with('/')));
                let hosts = again.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
                prop_assert_eq!(hosts.count(), 1);
            }
        }
    }
}
