//! What the server answers.

use bytes::Bytes;

use super::request::{Bad, Request};
use crate::Documents;
use crate::services::listening::{AGENT, AGENT_PATH};

/// Status codes of RFC 9110 section 15 that this server uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    NoContent,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    TooLarge,
    HeadTooLong,
    Version,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::NoContent => "204 No Content",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::TooLarge => "413 Content Too Large",
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

/// The answer to a request from a port with these documents; and with the agent, where reports are taken.
pub(super) fn answer(request: &Request, documents: Option<&Documents>, takes_reports: bool) -> Response {
    if takes_reports && request.is_known && request.path.as_deref() == Some(AGENT_PATH) {
        return Response {
            status: Status::Ok,
            body: Bytes::from_static(AGENT.as_bytes()),
        };
    }
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
    pub(super) fn of(status: Status) -> Self {
        let body = match status {
            Status::NoContent => Bytes::new(),
            _ => Bytes::from(format!("{}\n", status.line())),
        };
        Self { status, body }
    }

    /// Head, then body unless the request was HEAD.
    pub(super) fn write(self, with_body: bool, close: bool) -> impl Iterator<Item = Bytes> {
        let kind = match self.status {
            Status::Ok => "application/octet-stream",
            _ => "text/plain",
        };
        let mut head = format!("HTTP/1.1 {}\r\n", self.status.line());
        // RFC 9110, 8.6: a status that has no content says nothing of its length.
        if self.status != Status::NoContent {
            head.push_str(&format!(
                "Content-Type: {kind}\r\nContent-Length: {}\r\n",
                self.body.len()
            ));
        }
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
