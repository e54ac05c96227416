//! Questions under way to the host's resolvers.
//!
//! A question is tried at one resolver after another, each time as a fresh query with an id of its own, [`TRY`] apart;
//! earlier tries stay open, whichever is answered first counts. A resolver that says SERVFAIL, REFUSED, NOTIMP or
//! FORMERR, or that cannot be reached, is asked no more, and the next one at once; when none is left its last word
//! goes to the client. After [`TOTAL`] the client gets SERVFAIL. It is never left without an answer.
//!
//! Names below a suffix that has resolvers of its own are asked there and nowhere else.
//!
//! An answer counts when its id and question are those of the try; anything else is ignored. It passes to the client
//! as it came but for id and the letter case of the question, so record types that nobody here knows survive.
//!
//! Bounds: `limit` questions in all and a quarter of them for one port of the switch. At its own bound a port's oldest question is answered
//! SERVFAIL; at the common one the oldest of the port that has the most, so that guests who flood make room for those who do not. A client that repeats a question under way over UDP adds nothing; one that asks something else
//! under the same id no longer waits for the first. Over TCP, where nothing needs repeating, the first is SERVFAIL.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use hickory_proto::op::ResponseCode;
use siphasher::sip::SipHasher13;

use super::question::{HEADER_LEN, Question};
use super::{DnsClient, DnsOutput, DnsVia, local, reply};
use crate::{Config, FlowId, Instant, PortId, QueryId};

/// Time until the next resolver is asked.
pub(super) const TRY: Duration = Duration::from_secs(2);
/// Time until a client is told SERVFAIL.
pub(super) const TOTAL: Duration = Duration::from_secs(8);
/// Resolvers that one question may meet.
const RESOLVERS_MAX: usize = 8;

/// The order in which questions came: their name here.
type Key = u64;

/// A question under way.
#[derive(Debug)]
struct Pending {
    client: DnsClient,
    question: Question,
    message: Bytes,
    /// Longest answer that gets to the client.
    limit: usize,
    /// Its resolvers are those of a suffix.
    split: bool,
    deadline: Instant,
    /// When to ask again, or to give up.
    next: Instant,
    /// Tries so far, with the id and the resolver of each.
    tries: Vec<Try>,
    /// The resolvers when the question came, and whether each has had its last word.
    servers: Vec<(SocketAddr, bool)>,
    /// The last refusal.
    refusal: Option<Bytes>,
}

#[derive(Clone, Copy, Debug)]
struct Try {
    query: QueryId,
    id: u16,
    server: SocketAddr,
}

/// A question to be asked on behalf of a client.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) client: DnsClient,
    pub(super) question: Question,
    pub(super) message: Bytes,
    /// Longest answer that gets to the client.
    pub(super) limit: usize,
}

/// A question and its answer, which is one to it.
#[derive(Debug)]
pub(super) struct Answered<'a> {
    pub(super) question: &'a Question,
    /// The question as it came.
    pub(super) asked: &'a [u8],
    /// The answer as it came.
    pub(super) answer: &'a [u8],
    /// It was asked where its suffix says.
    pub(super) split: bool,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) forwarded: u64,
    pub(super) mismatched: u64,
    pub(super) evicted: u64,
    pub(super) timed_out: u64,
}

/// All questions under way.
#[derive(Debug)]
pub(super) struct Forwarder {
    seed: [u8; 16],
    limit: usize,
    servers: Vec<SocketAddr>,
    /// Resolvers of a suffix, without a dot at either end and in lower case.
    suffixes: BTreeMap<String, Vec<SocketAddr>>,
    last_key: Key,
    last_query: u64,
    pending: BTreeMap<Key, Pending>,
    by_query: BTreeMap<QueryId, Key>,
    by_client: BTreeMap<(DnsClient, u16), Key>,
    by_port: BTreeMap<PortId, BTreeSet<Key>>,
    timers: BTreeSet<(Instant, Key)>,
    pub(super) counters: Counters,
}

impl Forwarder {
    pub(super) fn new(config: &Config, seed: [u8; 16]) -> Self {
        let suffix = |(suffix, servers): (&String, &Vec<SocketAddr>)| {
            let suffix = suffix.trim_matches('.').to_ascii_lowercase();
            (suffix, servers.clone())
        };
        Self {
            seed,
            limit: config.limits.dns_queries.max(1),
            servers: config.resolvers.clone(),
            suffixes: config.dns.suffixes.iter().map(suffix).collect(),
            last_key: 0,
            last_query: 0,
            pending: BTreeMap::new(),
            by_query: BTreeMap::new(),
            by_client: BTreeMap::new(),
            by_port: BTreeMap::new(),
            timers: BTreeSet::new(),
            counters: Counters::default(),
        }
    }

    /// Questions under way.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.pending.len(), self.by_client.len());
        assert_eq!(
            self.pending.len(),
            self.by_port.values().map(BTreeSet::len).sum::<usize>()
        );
        assert!(self.by_port.values().all(|questions| !questions.is_empty()));
        assert_eq!(self.pending.len(), self.timers.len());
        let tries: usize = self.pending.values().map(|pending| pending.tries.len()).sum();
        assert_eq!(tries, self.by_query.len());
        self.pending.len()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Others are to be asked. Questions under way begin anew with them: it is mostly a question that nobody answers any more
    /// that finds out, and its client would wait in vain.
    pub(super) fn set_servers(
        &mut self,
        now: Instant,
        servers: Vec<SocketAddr>,
        out: &mut VecDeque<DnsOutput>,
    ) {
        if servers == self.servers {
            return;
        }
        self.servers = servers;
        let of_these = self.pending.iter().filter(|(_, pending)| !pending.split);
        let under_way: Vec<Key> = of_these.map(|(key, _)| *key).collect();
        for key in under_way {
            let Some(pending) = self.pending.get_mut(&key) else {
                continue;
            };
            pending.servers = fresh(&self.servers);
            pending.refusal = None;
            for one in pending.tries.drain(..) {
                self.by_query.remove(&one.query);
                out.push_back(DnsOutput::Forget(one.query));
            }
            self.try_next(now, key, out);
        }
    }

    /// A client asks what is not ours.
    pub(super) fn ask(&mut self, now: Instant, asked: Asked, out: &mut VecDeque<DnsOutput>) {
        let name = (asked.client, asked.question.header.id);
        if let Some(key) = self.by_client.get(&name).copied() {
            let over_tcp = matches!(asked.client.via, DnsVia::Tcp(_));
            if over_tcp {
                self.finish(key, None, out);
            } else if self
                .pending
                .get(&key)
                .is_some_and(|pending| pending.message == asked.message)
            {
                return;
            }
            self.take(key, out);
        }
        let of_suffix = self.servers_of(&asked.question.name());
        let (split, servers) = (of_suffix.is_some(), of_suffix.unwrap_or(&self.servers));
        let servers = fresh(servers);
        if servers.is_empty() {
            let answer = reply::servfail(&asked.question);
            out.extend(answer.map(|message| DnsOutput::Answer {
                client: asked.client,
                message,
            }));
            return;
        }
        self.make_room(asked.client.ingress, out);
        self.counters.forwarded += 1;
        self.last_key += 1;
        let key = self.last_key;
        self.by_client.insert(name, key);
        self.by_port.entry(asked.client.ingress).or_default().insert(key);
        self.timers.insert((now, key));
        let Asked {
            client,
            question,
            message,
            limit,
        } = asked;
        let pending = Pending {
            client,
            question,
            message,
            limit,
            split,
            deadline: now + TOTAL,
            next: now,
            tries: Vec::new(),
            servers,
            refusal: None,
        };
        self.pending.insert(key, pending);
        self.try_next(now, key, out);
    }

    /// A resolver answered a try. `accept` looks at an answer on its way, and says whether the client may have it, or is
    /// told that there is no data.
    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        (query, message): (QueryId, &[u8]),
        accept: impl FnOnce(&Answered<'_>) -> bool,
        out: &mut VecDeque<DnsOutput>,
    ) {
        let Some(key) = self.by_query.get(&query).copied() else {
            return;
        };
        let Some(pending) = self.pending.get_mut(&key) else {
            return;
        };
        let verdict = pending
            .tries
            .iter()
            .find(|one| one.query == query)
            .map(|one| judge(one.id, &pending.message, &pending.question.section, message));
        match verdict {
            Some(Verdict::Answer) => {
                let answered = Answered {
                    question: &pending.question,
                    asked: &pending.message,
                    answer: message,
                    split: pending.split,
                };
                let answer = match accept(&answered) {
                    true => reply::pass(&pending.question, &pending.message, message),
                    false => reply::encode(&local::empty(&pending.question, ResponseCode::NoError)),
                };
                self.finish(key, answer, out);
            }
            Some(Verdict::Refusal) => {
                pending.refusal = reply::pass(&pending.question, &pending.message, message);
                self.server_failed(now, key, query, out);
            }
            Some(Verdict::Foreign) | None => self.counters.mismatched += 1,
        }
    }

    /// A resolver could not be reached.
    pub(super) fn handle_failure(&mut self, now: Instant, query: QueryId, out: &mut VecDeque<DnsOutput>) {
        if let Some(key) = self.by_query.get(&query).copied() {
            self.server_failed(now, key, query, out);
        }
    }

    /// Nobody is there any more to be answered.
    pub(super) fn handle_disconnect(&mut self, flow: FlowId, out: &mut VecDeque<DnsOutput>) {
        let via = DnsVia::Tcp(flow);
        let gone = |((client, _), key): (&(DnsClient, u16), &Key)| (client.via == via).then_some(*key);
        let keys: Vec<Key> = self.by_client.iter().filter_map(gone).collect();
        for key in keys {
            self.take(key, out);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<DnsOutput>) {
        while let Some((_, key)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            let over = self
                .pending
                .get(&key)
                .is_none_or(|pending| pending.deadline <= now);
            if over {
                self.counters.timed_out += 1;
                self.finish(key, None, out);
            } else {
                self.try_next(now, key, out);
            }
        }
    }

    /// Asks the next resolver that has not had its last word.
    fn try_next(&mut self, now: Instant, key: Key, out: &mut VecDeque<DnsOutput>) {
        let id = self.random_id();
        let Some(pending) = self.pending.get_mut(&key) else {
            return;
        };
        let count = pending.servers.len();
        let turn = (0..count).map(|step| (pending.tries.len() + step) % count);
        let Some(index) = turn
            .into_iter()
            .find(|index| pending.servers.get(*index).is_some_and(|one| !one.1))
        else {
            let refusal = pending.refusal.take();
            self.finish(key, refusal, out);
            return;
        };
        let Some((server, _)) = pending.servers.get(index).copied() else {
            return;
        };
        self.last_query += 1;
        let query = QueryId(self.last_query);
        pending.tries.push(Try { query, id, server });
        self.by_query.insert(query, key);
        self.timers.remove(&(pending.next, key));
        pending.next = (now + TRY).min(pending.deadline);
        self.timers.insert((pending.next, key));
        out.push_back(DnsOutput::Ask {
            query,
            server,
            tcp: matches!(pending.client.via, DnsVia::Tcp(_)),
            message: reply::with_id(&pending.message, id),
        });
    }

    /// The resolver of this try has had its last word.
    fn server_failed(&mut self, now: Instant, key: Key, query: QueryId, out: &mut VecDeque<DnsOutput>) {
        let Some(pending) = self.pending.get_mut(&key) else {
            return;
        };
        let Some(server) = pending
            .tries
            .iter()
            .find(|one| one.query == query)
            .map(|one| one.server)
        else {
            return;
        };
        let fresh = pending.servers.iter_mut().filter(|one| one.0 == server && !one.1);
        // A second word from the same resolver, on an earlier try, changes nothing.
        if fresh.map(|one| one.1 = true).count() > 0 {
            self.try_next(now, key, out);
        }
    }

    /// Answers the client, SERVFAIL for want of anything better, and forgets the question.
    fn finish(&mut self, key: Key, answer: Option<Bytes>, out: &mut VecDeque<DnsOutput>) {
        let Some(pending) = self.take(key, out) else {
            return;
        };
        let answer = answer.or_else(|| reply::servfail(&pending.question));
        let answer = answer.and_then(|message| reply::fit(&pending.question, message, pending.limit));
        out.extend(answer.map(|message| DnsOutput::Answer {
            client: pending.client,
            message,
        }));
    }

    fn take(&mut self, key: Key, out: &mut VecDeque<DnsOutput>) -> Option<Pending> {
        let pending = self.pending.remove(&key)?;
        self.by_client
            .remove(&(pending.client, pending.question.header.id));
        if let Some(of_port) = self.by_port.get_mut(&pending.client.ingress) {
            of_port.remove(&key);
            if of_port.is_empty() {
                self.by_port.remove(&pending.client.ingress);
            }
        }
        self.timers.remove(&(pending.next, key));
        for one in &pending.tries {
            self.by_query.remove(&one.query);
            out.push_back(DnsOutput::Forget(one.query));
        }
        Some(pending)
    }

    /// The resolvers of the longest suffix that a name has.
    fn servers_of(&self, name: &str) -> Option<&Vec<SocketAddr>> {
        let mut suffix = name;
        loop {
            if let Some(servers) = self.suffixes.get(suffix) {
                return Some(servers);
            }
            (_, suffix) = suffix.split_once('.')?;
        }
    }

    fn make_room(&mut self, port: PortId, out: &mut VecDeque<DnsOutput>) {
        let share = (self.limit / 4).max(1);
        let own = self.by_port.get(&port).filter(|own| own.len() >= share);
        let fullest = || {
            let is_full = self.pending.len() >= self.limit;
            let most = |of: &&BTreeSet<Key>| (of.len(), Reverse(of.first().copied()));
            self.by_port.values().max_by_key(most).filter(|_| is_full)
        };
        let victim = own
            .or_else(fullest)
            .and_then(|questions| questions.first().copied());
        if let Some(victim) = victim {
            self.counters.evicted += 1;
            self.finish(victim, None, out);
        }
    }

    /// Ids that a resolver's neighbour cannot guess.
    fn random_id(&mut self) -> u16 {
        let mut hasher = SipHasher13::new_with_key(&self.seed);
        hasher.write_u64(self.last_query);
        let [high, low, ..] = hasher.finish().to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

/// What a message from a resolver is to a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Answer,
    /// An error that another resolver may not have.
    Refusal,
    /// Not an answer to this question.
    Foreign,
}

/// Bytes 2 and 3 of a header hold QR, opcode and rcode; 4 and 5 the number of questions (RFC 1035 section 4.1.1).
fn judge(id: u16, asked: &[u8], section: &Range<usize>, answer: &[u8]) -> Verdict {
    let Some(header) = answer.first_chunk::<HEADER_LEN>() else {
        return Verdict::Foreign;
    };
    let is_answer = header[2] & 0b1111_1000 == 0b1000_0000;
    if !is_answer || header[..2] != id.to_be_bytes() {
        return Verdict::Foreign;
    }
    let refusal = matches!(header[3] & 0x0f, 1 | 2 | 4 | 5);
    // A server that could not read the question may leave it out.
    if refusal && header[4..6] == [0, 0] {
        return Verdict::Refusal;
    }
    let same = same_question(asked.get(section.clone()), answer.get(section.clone()));
    match (same && header[4..6] == [0, 1], refusal) {
        (false, _) => Verdict::Foreign,
        (true, true) => Verdict::Refusal,
        (true, false) => Verdict::Answer,
    }
}

/// Names compare without case, type and class as they are.
fn same_question(asked: Option<&[u8]>, answered: Option<&[u8]>) -> bool {
    let split = |section: Option<&[u8]>| {
        section?
            .split_last_chunk::<4>()
            .map(|(name, kind)| (name.to_vec(), *kind))
    };
    match (split(asked), split(answered)) {
        // Length octets are below the letters, so that folding leaves them alone.
        (Some((asked, kind)), Some((answered, other))) => {
            kind == other && asked.eq_ignore_ascii_case(&answered)
        }
        _ => false,
    }
}

/// Resolvers none of which has had its last word.
fn fresh(servers: &[SocketAddr]) -> Vec<(SocketAddr, bool)> {
    let servers = servers.iter().take(RESOLVERS_MAX);
    servers.map(|server| (*server, false)).collect()
}
