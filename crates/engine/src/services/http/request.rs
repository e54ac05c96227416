//! A request's head, as far as this server needs it.

use crate::services::listening::REPORT_PATH;
use httparse::{EMPTY_HEADER, Error, Header, Status};

/// The longest head.
pub(super) const HEAD_MAX: usize = 8 << 10;
/// The most header fields.
const FIELDS_MAX: usize = 32;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// GET; else HEAD, or a method that nobody here knows.
    pub(super) is_get: bool,
    /// GET or HEAD.
    pub(super) is_known: bool,
    /// It says at which ports the guest listens: PUT, or POST for clients that know no PUT.
    pub(super) is_report: bool,
    /// The target as a key of the table of documents; `None` when it can be no key.
    pub(super) path: Option<String>,
    /// The client wants to go on.
    pub(super) keep_alive: bool,
    /// Length of the body that follows.
    pub(super) body: u64,
}

/// What the first bytes of the input are.
#[derive(Debug)]
pub(super) enum Parsed {
    /// A request whose head has this length.
    Whole {
        /// The request.
        request: Request,
        /// Bytes of its head.
        length: usize,
    },
    /// Not all of a head.
    Partial,
    /// Not a request.
    Bad(Bad),
}

/// Why input is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// Against the grammar, or of a length that nobody can tell.
    Syntax,
    /// Too many bytes or fields.
    TooLong,
    /// Not HTTP/1.x.
    Version,
}

impl Request {
    pub(super) fn parse(input: &[u8]) -> Parsed {
        let mut fields = [EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Request::new(&mut fields);
        let length = match head.parse(input) {
            Ok(Status::Complete(length)) if length <= HEAD_MAX => length,
            Ok(Status::Partial) if input.len() <= HEAD_MAX => return Parsed::Partial,
            Ok(_) | Err(Error::TooManyHeaders) => return Parsed::Bad(Bad::TooLong),
            Err(Error::Version) => return Parsed::Bad(Bad::Version),
            Err(_) => return Parsed::Bad(Bad::Syntax),
        };
        let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
            return Parsed::Bad(Bad::Syntax);
        };
        let Some(body) = body_length(head.headers) else {
            return Parsed::Bad(Bad::Syntax);
        };
        let hosts = values(head.headers, "host").count();
        if hosts > 1 || (hosts == 0 && version > 0) {
            return Parsed::Bad(Bad::Syntax);
        }
        let path = document(target);
        let request = Self {
            is_report: matches!(method, "PUT" | "POST")
                && path.as_deref() == Some(REPORT_PATH)
                && is_no_page(head.headers),
            is_get: method == "GET",
            is_known: matches!(method, "GET" | "HEAD"),
            path,
            keep_alive: keep_alive(head.headers, version),
            body,
        };
        Parsed::Whole { request, length }
    }
}

/// Whether no page in a browser of the guest's made the request: browsers name its origin with each PUT and POST (Fetch, 3.2).
fn is_no_page(fields: &[Header<'_>]) -> bool {
    values(fields, "origin").next().is_none()
}

fn values<'h>(fields: &'h [Header<'_>], name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    let named = fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name));
    named.map(|field| field.value)
}

/// RFC 9112 section 6: a coding we do not read, or lengths that differ, make the end of the request unknowable.
fn body_length(fields: &[Header<'_>]) -> Option<u64> {
    if values(fields, "transfer-encoding").next().is_some() {
        return None;
    }
    let mut lengths = values(fields, "content-length");
    let Some(length) = lengths.next() else {
        return Some(0);
    };
    let digits = str::from_utf8(length)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    lengths
        .all(|other| other == length)
        .then(|| digits?.parse().ok())?
}

/// RFC 9112 section 9.3.
fn keep_alive(fields: &[Header<'_>], version: u8) -> bool {
    let options = || {
        let texts = values(fields, "connection").filter_map(|value| str::from_utf8(value).ok());
        texts.flat_map(|text| text.split(',')).map(str::trim)
    };
    let has = |wanted: &str| options().any(|option| option.eq_ignore_ascii_case(wanted));
    !has("close") && (version > 0 || has("keep-alive"))
}

/// `//meta-data?x` to `meta-data`. A target in absolute form loses its authority (RFC 9112 section 3.2.2).
fn document(target: &str) -> Option<String> {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
            rest.split_once('/').map_or("", |(_, path)| path)
        }
        _ => target.strip_prefix('/')?,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let decoded = percent_decoded(path)?;
    let segments: Vec<&str> = decoded
        .split('/')
        .filter(|segment| !matches!(*segment, "" | "."))
        .collect();
    (!segments.contains(&"..")).then(|| segments.join("/"))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let [high, low] = [bytes.next()?, bytes.next()?].map(|digit| char::from(digit).to_digit(16));
            decoded.push(u8::try_from(high? * 16 + low?).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_target_is_a_document_however_it_is_written() {
        let targets = [
            "/meta-data",
            "//meta-data",
            "/./meta-data",
            "/meta-data?instance=1",
            "/%6deta-data",
            "http://169.254.169.254/meta-data",
        ];
        for target in targets {
            assert_eq!(document(target).as_deref(), Some("meta-data"), "{target}");
        }
        assert_eq!(
            document("/latest//meta-data").as_deref(),
            Some("latest/meta-data")
        );
    }

    #[test]
    fn a_target_leads_nowhere_else() {
        for target in [
            "*",
            "meta-data",
            "/../meta-data",
            "/a/%2e%2e/meta-data",
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
            "/%2",
        ] {
            assert_eq!(document(target), None, "{target}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_are_parsed_or_refused(input in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::parse(&input);
        }

        #[test]
        fn random_targets_never_climb(target in "/[a./%2e]{0,30}") {
            if let Some(path) = document(&target) {
                prop_assert!(path.split('/').all(|segment| segment != ".."));
                prop_assert!(!path.starts_with('/'));
            }
        }
    }
}
