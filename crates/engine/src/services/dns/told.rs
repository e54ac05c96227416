//! Which addresses a guest is told for the name that it asked for.
//!
//! All addresses of the answer section count, whoever owns them there: aliases (CNAME) are what leads from the name to them, and the guest
//! takes them so. What is no answer of data, or cannot be read, tells nothing.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Header, MessageType, Query, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::cache::Records;
use super::question::{HEADER_LEN, printable_name};
use super::rebind;

/// The name, in lower case and without the final dot, and its addresses with how long they hold.
pub(crate) fn addresses_told(message: &[u8]) -> Option<(String, Vec<(IpAddr, Duration)>)> {
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder).ok()?;
    let is_data = header.metadata.message_type == MessageType::Response
        && header.metadata.response_code == ResponseCode::NoError
        && header.counts.queries == 1;
    let query = Query::read(&mut decoder).ok().filter(|_| is_data)?;
    let records = Records::read(message, &(HEADER_LEN..decoder.index())).ok()?;
    let lifetimes = records.address_lifetimes.into_iter();
    let told = records.addresses.into_iter().zip(lifetimes);
    let told = told.filter_map(|(place, lifetime)| {
        let address = rebind::address(message.get(place)?)?;
        Some((address, Duration::from_secs(lifetime.into())))
    });
    Some((printable_name(query.name()), told.collect()))
}
