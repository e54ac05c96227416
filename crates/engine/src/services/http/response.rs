//! What the server answers.

use bytes::Bytes;

use super::request::{Bad, Request};
use crate::Documents;

/// Status codes of RFC 9110 section 15 that this server uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    HeadTooLong,
    Version,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::HeadTooLong => "431 Request Header Fields Too Large",
            Self::Version => "505 HTTP Version Not Supported",
        }
    }
}

/// A status with the body that goes with it.
#[derive(Clone, Debug)]
pub(super) struct Response {
    status: Status,
    body: Bytes,
}

/// The answer to a request from a port with these documents.
pub(super) fn answer(request: &Request, documents: Option<&Documents>) -> Response {
    let Some(documents) = documents else {
        return Response::of(Status::Forbidden);
    };
    if !request.is_known {
        return Response::of(Status::MethodNotAllowed);
    }
    match request.path.as_ref().and_then(|path| documents.get(path)) {
        Some(body) => Response {
            status: Status::Ok,
            body: body.clone(),
        },
        None => Response::of(Status::NotFound),
    }
}

/// The answer to what is no request; the connection closes.
pub(super) fn error(bad: Bad) -> impl Iterator<Item = Bytes> {
    Response::of(Status::from(bad)).write(true, true)
}

impl Response {
    fn of(status: Status) -> Self {
        Self {
            status,
            body: Bytes::from(format!("{}\n", status.line())),
        }
    }

    /// Head, then body unless the request was HEAD.
    pub(super) fn write(self, with_body: bool, close: bool) -> impl Iterator<Item = Bytes> {
        let kind = match self.status {
            Status::Ok => "application/octet-stream",
            _ => "text/plain",
        };
        let mut head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n",
            self.status.line(),
            self.body.len()
        );
        if self.status == Status::MethodNotAllowed {
            head.push_str("Allow: GET, HEAD\r\n");
        }
        // Said in both cases: HTTP/1.0 clients that asked to keep the connection need to hear it.
        head.push_str(if close {
            "Connection: close\r\n\r\n"
        } else {
            "Connection: keep-alive\r\n\r\n"
        });
        let body = Some(self.body).filter(|body| with_body && !body.is_empty());
        std::iter::once(Bytes::from(head)).chain(body)
    }
}
