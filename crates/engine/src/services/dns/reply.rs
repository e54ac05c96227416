//! Messages on their way to a client.

use bytes::Bytes;
use hickory_proto::op::{Message, Metadata, OpCode, ResponseCode};

use super::local;
use super::question::{HEADER_LEN, Question};

/// The truncation flag in byte 2 of the header.
pub(super) const TC: u8 = 0b0000_0010;

/// An error for a message whose question could not be read: a header only.
pub(super) fn error(header: Metadata, code: ResponseCode) -> Option<Bytes> {
    let mut message = Message::error_msg(header.id, header.op_code, code);
    message.metadata.recursion_desired = header.recursion_desired;
    encode(&message)
}

/// FORMERR for a message that is no question at all.
pub(super) fn unreadable(message: &[u8]) -> Option<Bytes> {
    let id = message.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
    encode(&Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))
}

/// SERVFAIL.
pub(super) fn servfail(question: &Question) -> Option<Bytes> {
    encode(&local::empty(question, ResponseCode::ServFail))
}

/// The bytes of a message of ours.
pub(super) fn encode(message: &Message) -> Option<Bytes> {
    message.to_vec().ok().map(Bytes::from)
}

/// The message with another id.
pub(super) fn with_id(message: &[u8], id: u16) -> Bytes {
    let mut bytes = message.to_vec();
    if let Some(field) = bytes.first_chunk_mut::<2>() {
        *field = id.to_be_bytes();
    }
    Bytes::from(bytes)
}

/// A resolver's answer with the id of the client's question and the question in the client's letter case.
pub(super) fn pass(question: &Question, asked: &[u8], answer: &[u8]) -> Option<Bytes> {
    let has_question = answer.get(4..6) == Some(&[0, 1]);
    if !has_question {
        // A refusal without question: ours has one.
        let code = ResponseCode::from(0, answer.get(3)? & 0x0f);
        return encode(&local::empty(question, code));
    }
    let mut bytes = answer.to_vec();
    bytes
        .get_mut(..2)?
        .copy_from_slice(&question.header.id.to_be_bytes());
    let section = question.section.clone();
    bytes
        .get_mut(section.clone())?
        .copy_from_slice(asked.get(section)?);
    Some(Bytes::from(bytes))
}

/// The message as it is if it fits, else its question with the truncation flag: the client asks again over TCP.
pub(super) fn fit(question: &Question, message: Bytes, limit: usize) -> Option<Bytes> {
    if message.len() <= limit {
        return Some(message);
    }
    let code = ResponseCode::from(0, message.get(3)? & 0x0f);
    let mut truncated = encode(&local::empty(question, code))?.to_vec();
    let flags = truncated.get_mut(2..HEADER_LEN)?.first_mut()?;
    *flags |= TC;
    Some(Bytes::from(truncated))
}
