//! DNS on the gateway's port 53, by UDP and TCP.
//!
//! ```text
//!            ┌─ malformed: FORMERR, NOTIMP, REFUSED, or nothing when there is no header
//! question ──┼─ ours ([`local`]): answered at once
//!            └─ not ours: answered again ([`cache`]), or
//!               to the host's resolvers, the same way (UDP or TCP) as it came ([`forward`])
//! ```
//!
//! Own names are those of [`names`](super::names): the service keeps none itself, it is shown them with every question.
//! What is ours is never asked elsewhere, for no type: an MX question for a machine is no data, not a leak.
//! Over TCP every message has one answer, so that whoever carries them can count; over UDP what is no question, and a
//! question repeated, have none. Forwarded messages pass as bytes, unless protection against rebinding is on and finds
//! something ([`rebind`]).

mod cache;
mod forward;
mod framing;
mod local;
mod question;
mod rebind;
mod reply;
mod reverse;
mod told;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use atoll_wire::{Endpoint, Mac};
use bytes::Bytes;

pub(crate) use framing::{FramingError, TcpFraming};
pub(crate) use told::addresses_told;

use self::cache::Cache;
use self::forward::{Answered, Asked, Forwarder};
use self::question::{Question, Rejected};
use super::names::NameView;
use crate::rng::KeyedHash;
use crate::{Addresses, Config, FlowId, Instant, PortId, QueryId};

/// IPv6 and UDP headers, which are longer than those of IPv4.
const UDP_HEADERS: usize = 48;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DnsClient {
    /// The port of the switch that the question came through; clients are bounded by it, since a guest cannot forge it.
    pub(crate) ingress: PortId,
    /// How the answer gets back.
    pub(crate) via: DnsVia,
}

/// The way to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DnsVia {
    /// A datagram.
    Udp {
        /// IP address and port.
        guest: Endpoint,
        /// The address of ours that was asked, from which the answer comes.
        asked: IpAddr,
        /// Ethernet address.
        mac: Mac,
    },
    /// A connection to us.
    Tcp(FlowId),
}

/// What the service wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DnsOutput {
    /// `Action::DnsAsk`.
    Ask {
        /// The question.
        query: QueryId,
        /// Whom to ask.
        server: SocketAddr,
        /// Over TCP.
        tcp: bool,
        /// The message, without length prefix.
        message: Bytes,
    },
    /// `Action::DnsForget`.
    Forget(QueryId),
    /// Give a client its answer.
    Answer {
        /// Who asked.
        client: DnsClient,
        /// The message, without length prefix.
        message: Bytes,
    },
}

/// The service.
#[derive(Debug)]
pub(crate) struct DnsService {
    /// Longest UDP answer that needs no fragments on the LAN.
    udp_max: usize,
    forwarder: Forwarder,
    cache: Cache,
    addresses: Addresses,
    rebind_protection: bool,
    output: VecDeque<DnsOutput>,
    local: u64,
    cached: u64,
    rebound: u64,
    malformed: u64,
}

impl DnsService {
    /// A service for a network. Ids of forwarded questions are drawn from `seed`.
    pub(crate) fn new(config: &Config, seed: [u8; 16]) -> Self {
        Self {
            udp_max: usize::from(config.mtu).saturating_sub(UDP_HEADERS),
            forwarder: Forwarder::new(config, seed),
            cache: Cache::new(config.dns.cache, KeyedHash::new(seed)),
            addresses: config.addresses(),
            rebind_protection: config.dns.rebind_protection,
            output: VecDeque::new(),
            local: 0,
            cached: 0,
            rebound: 0,
            malformed: 0,
        }
    }

    /// What was counted, by name.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let forward = self.forwarder.counters;
        [
            ("dns_local", self.local),
            ("dns_cached", self.cached),
            ("dns_rebound", self.rebound),
            ("dns_malformed", self.malformed),
            ("dns_forwarded", forward.forwarded),
            ("dns_mismatched", forward.mismatched),
            ("dns_evicted", forward.evicted),
            ("dns_timed_out", forward.timed_out),
        ]
        .into_iter()
    }

    /// A question came.
    pub(crate) fn handle_query(
        &mut self,
        now: Instant,
        client: DnsClient,
        message: &[u8],
        names: NameView<'_>,
    ) {
        let question = match Question::parse(message) {
            Ok(question) => question,
            Err(rejected) => {
                self.malformed += 1;
                let answer = match (rejected, client.via) {
                    (Rejected::Refused { header, code }, _) => reply::error(header, code),
                    (Rejected::Dropped, DnsVia::Tcp(_)) => reply::unreadable(message),
                    (Rejected::Dropped, DnsVia::Udp { .. }) => None,
                };
                self.output
                    .extend(answer.map(|message| DnsOutput::Answer { client, message }));
                return;
            }
        };
        let limit = match client.via {
            DnsVia::Udp { .. } => question.udp_limit().min(self.udp_max),
            DnsVia::Tcp(_) => usize::from(u16::MAX),
        };
        if let Some(answer) = local::answer(&question, names) {
            self.local += 1;
            let message = reply::encode(&answer).and_then(|message| reply::fit(&question, message, limit));
            self.output
                .extend(message.map(|message| DnsOutput::Answer { client, message }));
            return;
        }
        if let Some(answer) = self.cache.get(now, &question, message) {
            self.cached += 1;
            let message = reply::fit(&question, answer, limit);
            self.output
                .extend(message.map(|message| DnsOutput::Answer { client, message }));
            return;
        }
        let message = Bytes::copy_from_slice(message);
        let asked = Asked {
            client,
            question,
            message,
            limit,
        };
        self.forwarder.ask(now, asked, &mut self.output);
    }

    /// A resolver answered.
    pub(crate) fn handle_answer(&mut self, now: Instant, query: QueryId, message: &[u8]) {
        let (cache, rebound) = (&mut self.cache, &mut self.rebound);
        let (protected, addresses) = (self.rebind_protection, self.addresses);
        let accept = |answered: &Answered<'_>| {
            let Answered {
                question,
                asked,
                answer,
                split,
            } = *answered;
            if protected && !split && rebind::names_own(addresses, question, answer) {
                *rebound += 1;
                return false;
            }
            cache.put(now, question, asked, answer);
            true
        };
        self.forwarder
            .handle_answer(now, (query, message), accept, &mut self.output);
    }

    /// A resolver could not be reached.
    pub(crate) fn handle_failure(&mut self, now: Instant, query: QueryId) {
        self.forwarder.handle_failure(now, query, &mut self.output);
    }

    /// A client's connection is gone: nobody waits for its questions.
    pub(crate) fn handle_disconnect(&mut self, flow: FlowId) {
        self.forwarder.handle_disconnect(flow, &mut self.output);
    }

    /// The time of [`DnsService::poll_timeout`] has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.forwarder.handle_timeout(now, &mut self.output);
    }

    /// The host's resolvers changed; questions under way begin anew.
    pub(crate) fn set_resolvers(&mut self, now: Instant, resolvers: Vec<SocketAddr>) {
        self.forwarder.set_servers(now, resolvers, &mut self.output);
        self.cache.clear();
    }

    /// The next thing to do.
    pub(crate) fn poll_output(&mut self) -> Option<DnsOutput> {
        self.output.pop_front()
    }

    /// When [`DnsService::handle_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.forwarder.poll_timeout()
    }
}
