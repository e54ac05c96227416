//! The host's side of a connection: a socket that the runtime holds, or a service of the gateway itself.
//!
//! A service has the same shape as a socket: it is offered bytes, and its answer is peeked at an offset and discarded once
//! the guest acknowledged it. So the guest's TCP is one and the same whoever answers.

use std::collections::{BTreeSet, VecDeque};

use atoll_wire::FrameBuf;
use bytes::{Buf, Bytes};

use super::TcpFlow;
use crate::AcceptId;
use crate::Listening;
use crate::config::Documents;
use crate::event::HostError;
use crate::flow::Cx;
use crate::services::dns::TcpFraming;
use crate::services::http::HttpConnection;

/// Bytes of answers that may wait for the guest before a service stops reading.
const MAX_OUTPUT: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) enum Host {
    /// A socket of the runtime's.
    Socket,
    /// A connection that the runtime keeps until the guest has answered; and what to tell of it if the guest does not.
    Promised { accept: AcceptId, why: HostError },
    /// A service of ours.
    Service(Box<Service>),
}

#[derive(Debug)]
pub(crate) struct Service {
    protocol: Protocol,
    output: VecDeque<Bytes>,
    queued: usize,
    /// Nothing will be added to `output`.
    finished: bool,
    /// DNS messages that wait for their answer.
    pending: usize,
}

#[derive(Debug)]
enum Protocol {
    Dns(TcpFraming),
    Http {
        connection: HttpConnection,
        documents: Option<Documents>,
    },
}

impl Service {
    /// DNS over TCP.
    pub(crate) fn dns() -> Box<Self> {
        Self::new(Protocol::Dns(TcpFraming::new()))
    }

    /// The documents that this guest may read; and whether it may report at which ports it listens.
    pub(crate) fn http(documents: Option<Documents>, takes_reports: bool) -> Box<Self> {
        Self::new(Protocol::Http {
            connection: HttpConnection::new(takes_reports),
            documents,
        })
    }

    fn new(protocol: Protocol) -> Box<Self> {
        Box::new(Self {
            protocol,
            output: VecDeque::new(),
            queued: 0,
            finished: false,
            pending: 0,
        })
    }

    fn push(&mut self, bytes: Bytes) {
        self.queued += bytes.len();
        self.output.push_back(bytes);
    }

    /// Give the service bytes. DNS messages go to `messages`.
    fn handle_data(&mut self, bytes: &[u8], messages: &mut Vec<Bytes>) {
        match &mut self.protocol {
            Protocol::Dns(framing) => {
                let mut take = || -> Result<(), crate::services::dns::FramingError> {
                    framing.handle_data(bytes)?;
                    while let Some(message) = framing.poll_message()? {
                        messages.push(message);
                    }
                    Ok(())
                };
                self.finished |= take().is_err();
            }
            Protocol::Http {
                connection,
                documents,
            } => {
                connection.handle_data(bytes, documents.as_ref());
                let mut answers = Vec::new();
                while let Some(bytes) = connection.poll_output() {
                    answers.push(bytes);
                }
                self.finished |= connection.wants_close();
                answers.into_iter().for_each(|bytes| self.push(bytes));
            }
        }
    }

    /// What the guest reported: the latest, where it did so several times.
    fn poll_report(&mut self) -> Option<BTreeSet<Listening>> {
        match &mut self.protocol {
            Protocol::Http { connection, .. } => connection.poll_report(),
            Protocol::Dns(_) => None,
        }
    }

    /// Copy from the output: the bytes after `offset`, in segments.
    fn peek(&self, offset: u32, segment: u16, count: u16) -> (Vec<FrameBuf>, bool) {
        let wanted = usize::from(segment) * usize::from(count);
        let mut skip = offset as usize;
        let mut copy = Vec::with_capacity(wanted.min(self.queued.saturating_sub(skip)));
        for bytes in &self.output {
            let from = skip.min(bytes.len());
            skip -= from;
            let room = wanted - copy.len();
            copy.extend(bytes[from..].iter().take(room));
        }
        let end = self.finished && offset as usize + copy.len() >= self.queued;
        (
            copy.chunks(usize::from(segment).max(1))
                .map(FrameBuf::copy_from)
                .collect(),
            end,
        )
    }

    fn discard(&mut self, bytes: u32) {
        let mut left = bytes as usize;
        while let Some(first) = self.output.front_mut() {
            let part = left.min(first.len());
            first.advance(part);
            self.queued -= part;
            left -= part;
            if !first.is_empty() {
                break;
            }
            self.output.pop_front();
        }
    }
}

impl Host {
    pub(crate) fn is_socket(&self) -> bool {
        matches!(self, Self::Socket)
    }

    pub(super) fn peek(&self, offset: u32, segment: u16, count: u16) -> (Vec<FrameBuf>, bool) {
        match self {
            Self::Socket | Self::Promised { .. } => (Vec::new(), false),
            Self::Service(service) => service.peek(offset, segment, count),
        }
    }

    pub(super) fn discard(&mut self, bytes: u32) {
        if let Self::Service(service) = self {
            service.discard(bytes);
        }
    }
}

impl TcpFlow {
    /// Let a service read what the guest sent, as long as its own output is short.
    pub(super) fn feed_service(&mut self, cx: &mut Cx<'_>) {
        let Host::Service(service) = &mut self.host else {
            return;
        };
        let (mut messages, mut reports) = (Vec::new(), Vec::new());
        let mut taken = 0;
        for bytes in self.receiver.outgoing() {
            if service.queued >= MAX_OUTPUT {
                break;
            }
            taken += bytes.len();
            if !service.finished {
                service.handle_data(bytes, &mut messages);
                reports.extend(service.poll_report());
            }
        }
        service.pending += messages.len();
        self.receiver.taken(taken);
        let reports = reports.into_iter().map(|report| (self.id, report));
        cx.shared.reports.extend(reports);
        cx.shared
            .dns_queries
            .extend(messages.into_iter().map(|message| (self.id, message)));
        self.after_taken(cx);
        let Host::Service(service) = &mut self.host else {
            return;
        };
        // A DNS client may close before its answers come (RFC 7766, 6.2.4).
        service.finished |= self.receiver.is_delivered() && service.pending == 0;
        self.sender.set_readable();
    }

    /// The answer to a DNS message of this connection.
    pub(crate) fn handle_dns_answer(&mut self, cx: &mut Cx<'_>, message: &[u8]) {
        if let (Host::Service(service), Some(framed)) = (&mut self.host, TcpFraming::frame(message)) {
            service.push(framed.into());
            service.pending = service.pending.saturating_sub(1);
            service.finished |= self.receiver.is_delivered() && service.pending == 0;
            self.handle_readable(cx);
        }
    }
}
