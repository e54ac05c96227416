//! HTTP/1.1 (RFC 9112) on the gateway's port 80 and at 169.254.169.254: the NoCloud documents, and where somebody watches what guests listen at,
//! their [reports](crate::services::listening) of that.
//!
//! A connection takes GET and HEAD for the documents of the port it came through; what other machines may read is not
//! there for it. Paths are those that cloud-init builds from a seed URL, such as `/meta-data` or `//meta-data`: they
//! are decoded, cut at the query, and lead nowhere but into the table of documents.
//!
//! | request | status |
//! |---|---|
//! | GET or HEAD of a document | 200 |
//! | GET or HEAD of anything else | 404 |
//! | GET or HEAD of the program that reports, where somebody watches | 200, whether the port has documents or not |
//! | PUT or POST of a report, where somebody watches | 204; 400 if it is none; 413 and close if it is too long |
//! | anything, from a port without documents | 403 |
//! | another method | 405 |
//! | not HTTP, no `Host` in HTTP/1.1, a body of unknown length, more than one length | 400 and close |
//! | a head longer than 8 KiB or 32 fields | 431 and close |
//! | a version that is not 1.x | 505 and close |
//!
//! Bounds: 8 KiB of input, 8 KiB of a report, any other body of which nothing is kept, [`REQUESTS_MAX`] requests on one connection, and
//! [`PIPELINED_MAX`] answers that nobody has taken; after them the connection closes. Bodies are shared with the
//! table of documents, so an answer that waits costs its head only.

mod request;
mod response;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use self::request::{HEAD_MAX, Parsed, Request};
use self::response::{Response, Status};
use crate::services::listening::{self, BODY_MAX};
use crate::{Documents, Listening};

/// Requests on one connection.
const REQUESTS_MAX: u32 = 100;
/// Answers that wait to be taken.
const PIPELINED_MAX: usize = 16;

/// One guest's connection.
#[derive(Debug, Default)]
pub(crate) struct HttpConnection {
    /// The beginning of a request, shorter than its head may be.
    input: Vec<u8>,
    /// Bytes of a request's body still to be skipped.
    skip: u64,
    requests: u32,
    /// Whether reports are taken.
    takes_reports: bool,
    /// What came of a report's body, and whether the connection goes on after it.
    body: Option<(Vec<u8>, bool)>,
    report: Option<BTreeSet<Listening>>,
    output: VecDeque<Bytes>,
    close: bool,
}

impl HttpConnection {
    /// Nothing received.
    pub(crate) fn new(takes_reports: bool) -> Self {
        Self {
            takes_reports,
            ..Self::default()
        }
    }

    /// The latest report that came.
    pub(crate) fn poll_report(&mut self) -> Option<BTreeSet<Listening>> {
        self.report.take()
    }

    /// Whether the connection is to be closed (FIN) once the output is sent. Data that comes after is ignored.
    pub(crate) fn wants_close(&self) -> bool {
        self.close
    }

    /// Bytes came. `documents` are those that the guest's port may read; `None` when it has none.
    pub(crate) fn handle_data(&mut self, mut bytes: &[u8], documents: Option<&Documents>) {
        while !self.close {
            let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= u64::try_from(skipped).unwrap_or(self.skip);
            self.keep(&bytes[..skipped]);
            self.end_report();
            bytes = bytes.get(skipped..).unwrap_or_default();
            // Never more in the buffer than the longest head and its end.
            let room = (HEAD_MAX + 1).saturating_sub(self.input.len()).min(bytes.len());
            let (taken, rest) = bytes.split_at(room);
            self.input.extend_from_slice(taken);
            bytes = rest;
            match Request::parse(&self.input) {
                Parsed::Whole { request, length } => {
                    if self.takes_reports && request.is_report {
                        self.input.drain(..length);
                        self.begin_report(&request);
                        continue;
                    }
                    let answer = (
                        response::answer(&request, documents, self.takes_reports),
                        request.is_get,
                        request.keep_alive,
                    );
                    let body = request.body;
                    self.input.drain(..length);
                    self.skip_body(body);
                    self.reply(answer);
                }
                Parsed::Partial => return,
                Parsed::Bad(status) => {
                    self.input.clear();
                    self.close = true;
                    self.output.extend(response::error(status));
                }
            }
        }
    }

    /// The next bytes to send; bodies are shared with the documents, not copied.
    pub(crate) fn poll_output(&mut self) -> Option<Bytes> {
        self.output.pop_front()
    }

    /// What is in the buffer goes first, the rest when it comes.
    fn skip_body(&mut self, body: u64) {
        let buffered = self.input.len().min(usize::try_from(body).unwrap_or(usize::MAX));
        let part: Vec<u8> = self.input.drain(..buffered).collect();
        self.keep(&part);
        self.skip = body.saturating_sub(u64::try_from(buffered).unwrap_or(body));
    }

    /// A report's head came.
    fn begin_report(&mut self, request: &Request) {
        if request.body > BODY_MAX {
            self.input.clear();
            return self.reply((Response::of(Status::TooLarge), true, false));
        }
        self.body = Some((Vec::new(), request.keep_alive));
        self.skip_body(request.body);
        self.end_report();
    }

    /// Bytes of a body.
    fn keep(&mut self, bytes: &[u8]) {
        if let Some((body, _)) = &mut self.body {
            body.extend_from_slice(bytes);
        }
    }

    /// All of a report may have come.
    fn end_report(&mut self) {
        if self.skip > 0 {
            return;
        }
        let Some((body, keep_alive)) = self.body.take() else {
            return;
        };
        let report = listening::parse(&body);
        let status = if report.is_some() {
            Status::NoContent
        } else {
            Status::BadRequest
        };
        self.report = report.or(self.report.take());
        self.reply((Response::of(status), true, keep_alive));
    }

    fn reply(&mut self, (response, with_body, keep_alive): (Response, bool, bool)) {
        self.requests += 1;
        // Head and body are an entry each.
        let crowded = self.output.len() >= 2 * PIPELINED_MAX;
        self.close = !keep_alive || self.requests >= REQUESTS_MAX || crowded;
        self.output.extend(response.write(with_body, self.close));
    }
}

impl From<request::Bad> for Status {
    fn from(bad: request::Bad) -> Self {
        match bad {
            request::Bad::Syntax => Self::BadRequest,
            request::Bad::TooLong => Self::HeadTooLong,
            request::Bad::Version => Self::Version,
        }
    }
}
