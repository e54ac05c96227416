//! What a client asks, read no further than needed: header, question, and the EDNS record (RFC 1035, RFC 6891).
//!
//! Record data is skipped, not decoded, so a question with options or records that nobody here has heard of is
//! forwarded all the same.

use std::ops::Range;

use hickory_proto::op::{Header, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};

/// Bytes of a DNS header.
pub(super) const HEADER_LEN: usize = 12;
/// The longest question taken, as in [`super::framing`].
const MESSAGE_MAX: usize = 4096;
/// What a client without EDNS takes over UDP (RFC 1035 section 4.2.1).
const UDP_MIN: u16 = 512;

/// A well-formed question.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) header: Metadata,
    pub(super) query: Query,
    /// Where the question section lies in the message.
    pub(super) section: Range<usize>,
    pub(super) edns: Option<EdnsView>,
}

/// What matters of the EDNS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EdnsView {
    pub(super) version: u8,
    pub(super) dnssec_ok: bool,
    /// There are options, such as a cookie.
    pub(super) has_options: bool,
    /// Longest UDP answer that the client takes.
    payload: u16,
}

/// A message that is not answered with data.
#[derive(Clone, Debug)]
pub(super) enum Rejected {
    /// No header, or itself an answer: nobody waits for a word.
    Dropped,
    /// To be answered with an error.
    Refused {
        /// Of the message.
        header: Metadata,
        /// What to answer.
        code: ResponseCode,
    },
}

impl Question {
    pub(super) fn parse(message: &[u8]) -> Result<Self, Rejected> {
        let mut decoder = BinDecoder::new(message);
        let header = Header::read(&mut decoder).map_err(|_| Rejected::Dropped)?;
        let (header, counts) = (header.metadata, header.counts);
        if header.message_type == MessageType::Response {
            return Err(Rejected::Dropped);
        }
        let refused = |code| Rejected::Refused { header, code };
        if header.op_code != OpCode::Query {
            return Err(refused(ResponseCode::NotImp));
        }
        if counts.queries != 1 || message.len() > MESSAGE_MAX {
            return Err(refused(ResponseCode::FormErr));
        }
        let query = Query::read(&mut decoder).map_err(|_| refused(ResponseCode::FormErr))?;
        let section = HEADER_LEN..decoder.index();
        let others = [counts.answers, counts.authorities].map(usize::from).iter().sum();
        let edns = read_edns(&mut decoder, others, usize::from(counts.additionals))
            .map_err(|_| refused(ResponseCode::FormErr))?;
        Ok(Self {
            header,
            query,
            section,
            edns,
        })
    }

    /// The name asked for, in lower case, without the final dot. A byte that no name of ours has is escaped.
    pub(super) fn name(&self) -> String {
        printable_name(self.query.name())
    }

    /// Longest UDP answer that the client takes.
    pub(super) fn udp_limit(&self) -> usize {
        usize::from(self.edns.map_or(UDP_MIN, |edns| edns.payload.max(UDP_MIN)))
    }
}

/// A name in lower case, without the final dot; what no name of ours has is escaped.
pub(super) fn printable_name(name: &Name) -> String {
    let labels: Vec<String> = name.iter().map(printable).collect();
    labels.join(".")
}

fn printable(label: &[u8]) -> String {
    let mut text = String::new();
    for byte in label {
        if byte.is_ascii_graphic() && !matches!(byte, b'.' | b'\\') {
            text.push(char::from(byte.to_ascii_lowercase()));
        } else {
            text.push_str(&format!("\\{byte:03}"));
        }
    }
    text
}

/// Walks over `others` records, then looks for the one EDNS record among the `additionals`.
fn read_edns(
    decoder: &mut BinDecoder<'_>,
    others: usize,
    additionals: usize,
) -> Result<Option<EdnsView>, DecodeError> {
    let mut edns = None;
    for index in 0..others.saturating_add(additionals) {
        Name::read(decoder)?;
        let record_type = RecordType::read(decoder)?;
        let payload = decoder.read_u16()?.unverified(/* any size is one */);
        let ttl = decoder.read_u32()?.unverified(/* any bits are some */);
        let length = decoder.read_u16()?.unverified(/* checked by the next read */);
        decoder.read_slice(usize::from(length))?;
        if record_type == RecordType::OPT {
            if index < others || edns.is_some() {
                return Err(DecodeError::DuplicateEdns);
            }
            let [_, version, flags, _] = ttl.to_be_bytes();
            let dnssec_ok = flags & 0x80 != 0;
            edns = Some(EdnsView {
                version,
                dnssec_ok,
                has_options: length > 0,
                payload,
            });
        }
    }
    Ok(edns)
}
