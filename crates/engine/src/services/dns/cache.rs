//! Answers of resolvers, for as long as they say (RFC 1035 section 7.4, RFC 2308 section 5).
//!
//! An answer is kept under its question: name without case, type, class, and what else changes an answer: whether there
//! is EDNS, and the bits DO, AD and CD. A question with EDNS options (cookies, client subnet) or without the wish for
//! recursion passes by. What is kept is the message as it came; a client gets it with its own id and letter case, and
//! every lifetime less by the time that has passed.
//!
//! NOERROR and NXDOMAIN are kept, whole and not truncated. The time is the shortest of all records, at most
//! [`TTL_MAX`]; for an answer without records of the type asked for, by the SOA record as RFC 2308 says, at most
//! [`DENIAL_MAX`]; without an SOA such an answer is not kept. Lifetimes of zero are not kept.
//!
//! Bounds: as many messages as configured, none when that is zero, of at most [`MESSAGE_MAX`] bytes; the one that was
//! used least recently goes. A new set of resolvers empties it: what a name means may depend on whom one asks.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};
use lru::LruCache;

use super::question::{HEADER_LEN, Question};
use super::reply;
use crate::Instant;
use crate::rng::KeyedHash;

/// The longest that an answer is kept, in seconds.
const TTL_MAX: u32 = 3600;
/// The longest that a denial is kept, in seconds: names that were looked for too early appear.
const DENIAL_MAX: u32 = 300;
/// The longest answer that is kept, in bytes.
const MESSAGE_MAX: usize = 4096;
/// The AD and CD bits in byte 3 of the header.
const AD_CD: u8 = 0x30;

/// What tells one question from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The question section in lower case.
    section: Vec<u8>,
    /// Whether there is an EDNS record, and its DO bit.
    edns: Option<bool>,
    /// AD and CD.
    bits: u8,
}

#[derive(Debug)]
struct Entry {
    message: Bytes,
    since: Instant,
    until: Instant,
}

/// Answers by question.
#[derive(Debug)]
pub(super) struct Cache {
    limit: usize,
    entries: LruCache<Key, Entry, KeyedHash>,
}

impl Cache {
    /// Of at most `limit` messages.
    pub(super) fn new(limit: usize, hash: KeyedHash) -> Self {
        Self {
            limit,
            entries: LruCache::unbounded_with_hasher(hash),
        }
    }

    /// The answer to a question, which came as `asked`.
    pub(super) fn get(&mut self, now: Instant, question: &Question, asked: &[u8]) -> Option<Bytes> {
        if self.limit == 0 {
            return None;
        }
        let key = key(question, asked)?;
        let entry = self.entries.get(&key)?;
        if entry.until <= now {
            self.entries.pop(&key);
            return None;
        }
        let passed = u32::try_from(now.since(entry.since).as_secs()).unwrap_or(u32::MAX);
        let mut message = reply::pass(question, asked, &entry.message)?.to_vec();
        let lifetimes = Records::read(&message, &question.section).ok()?.lifetimes;
        for at in lifetimes {
            let field = message.get_mut(at..)?.first_chunk_mut::<4>()?;
            *field = u32::from_be_bytes(*field).saturating_sub(passed).to_be_bytes();
        }
        Some(Bytes::from(message))
    }

    /// A resolver's answer to a question.
    pub(super) fn put(&mut self, now: Instant, question: &Question, asked: &[u8], answer: &[u8]) {
        if self.limit == 0 || answer.len() > MESSAGE_MAX {
            return;
        }
        let time = lifetime(question, answer);
        let (Some(key), Some(time)) = (key(question, asked), time) else {
            return;
        };
        let entry = Entry {
            message: Bytes::copy_from_slice(answer),
            since: now,
            until: now + Duration::from_secs(time.into()),
        };
        self.entries.put(key, entry);
        while self.entries.len() > self.limit {
            self.entries.pop_lru();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Messages that are kept, whether or not their time is over.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// `None` for a question whose answer is for its client alone.
fn key(question: &Question, asked: &[u8]) -> Option<Key> {
    let plain = question
        .edns
        .is_none_or(|edns| edns.version == 0 && !edns.has_options);
    (plain && question.header.recursion_desired).then_some(())?;
    Some(Key {
        section: asked.get(question.section.clone())?.to_ascii_lowercase(),
        edns: question.edns.map(|edns| edns.dnssec_ok),
        bits: asked.get(3)? & AD_CD,
    })
}

/// How long an answer may be kept, in seconds; `None` when it may not.
fn lifetime(question: &Question, answer: &[u8]) -> Option<u32> {
    let header = answer.first_chunk::<HEADER_LEN>()?;
    let code = ResponseCode::from(0, header[3] & 0x0f);
    let truncated = header[2] & reply::TC != 0;
    let final_word = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
    let records = Records::read(answer, &question.section).ok()?;
    if truncated || !final_word || records.extended_code != 0 {
        return None;
    }
    let wanted = question.query.query_type();
    let has_answer = wanted == RecordType::ANY || records.answers.contains(&wanted);
    let denied = code == ResponseCode::NXDomain || !has_answer;
    let (most, soa) = match denied {
        true => (DENIAL_MAX, Some(records.soa?)),
        false => (TTL_MAX, None),
    };
    let time = soa.into_iter().chain(records.shortest).min()?.min(most);
    (time > 0).then_some(time)
}

/// What there is to know of a message's records.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Where each record's lifetime lies in the message.
    lifetimes: Vec<usize>,
    /// The shortest lifetime.
    shortest: Option<u32>,
    /// Types in the answer section.
    answers: Vec<RecordType>,
    /// A and AAAA data in the answer section: where they lie.
    pub(super) addresses: Vec<Range<usize>>,
    /// The lifetime of each of those, in seconds.
    pub(super) address_lifetimes: Vec<u32>,
    /// How long the SOA record of the authority section says that a denial holds.
    soa: Option<u32>,
    /// The upper bits of the response code, in the EDNS record.
    extended_code: u8,
}

impl Records {
    /// Walks over the records of an answer to a question that lies in `section`.
    pub(super) fn read(message: &[u8], section: &Range<usize>) -> Result<Self, DecodeError> {
        let count = |at: usize| {
            let field = message.get(at..).and_then(|rest| rest.first_chunk::<2>());
            usize::from(field.map_or(0, |field| u16::from_be_bytes(*field)))
        };
        let (answers, authorities, others) = (count(6), count(8), count(10));
        let mut decoder = BinDecoder::new(message);
        decoder.read_slice(section.end)?;
        let mut records = Self::default();
        for index in 0..answers + authorities + others {
            records.read_one(&mut decoder, index < answers, index < answers + authorities)?;
        }
        Ok(records)
    }

    fn read_one(
        &mut self,
        decoder: &mut BinDecoder<'_>,
        is_answer: bool,
        is_upper: bool,
    ) -> Result<(), DecodeError> {
        Name::read(decoder)?;
        let kind = RecordType::read(decoder)?;
        decoder.read_u16()?.unverified(/* the class of the question, or none of ours */);
        let at = decoder.index();
        let ttl = decoder.read_u32()?.unverified(/* any bits are some */);
        let length = decoder.read_u16()?.unverified(/* checked by the next read */);
        let start = decoder.index();
        let data = decoder.read_slice(length.into())?.unverified(/* any bytes are some */);
        if kind == RecordType::OPT {
            [self.extended_code, ..] = ttl.to_be_bytes();
            return Ok(());
        }
        // RFC 2181 section 8: what has the uppermost bit set counts as zero.
        let ttl = if ttl > u32::MAX / 2 { 0 } else { ttl };
        self.lifetimes.push(at);
        self.shortest = Some(self.shortest.map_or(ttl, |shortest| shortest.min(ttl)));
        if is_answer {
            self.answers.push(kind);
            if matches!(kind, RecordType::A | RecordType::AAAA) {
                self.addresses.push(start..start + data.len());
                self.address_lifetimes.push(ttl);
            }
        } else if is_upper && kind == RecordType::SOA {
            // RFC 2308 section 4: MINIMUM is the last field.
            let minimum = data
                .last_chunk::<4>()
                .map_or(0, |field| u32::from_be_bytes(*field));
            self.soa = Some(minimum.min(ttl));
        }
        Ok(())
    }
}
