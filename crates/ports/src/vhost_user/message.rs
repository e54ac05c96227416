//! What a front end says, decoded (vhost-user protocol, "Message specification", in QEMU's docs/interop/vhost-user.rst).
//!
//! ```text
//! 0 request   4 flags   8 size of the payload   12 payload
//! ```
//!
//! In the host's byte order, which is little-endian wherever this runs. Descriptors come beside the bytes. The decoder is free of
//! any socket; it takes a whole message and says what it asks for, or why it is none. What its numbers mean for the device, such as
//! whether there is such a ring, is checked where they are used.

use std::os::fd::OwnedFd;

/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 12;

/// The largest payload. Ours need 264 bytes; libvhost-user's own bound is the same.
pub(super) const MAX_PAYLOAD: usize = 4096;

/// Regions in one memory table (`VHOST_MEMORY_BASELINE_NREGIONS` of the specification).
pub(super) const MAX_REGIONS: usize = 8;

const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// Number and meaning of each request that is understood.
mod code {
    pub(super) const GET_FEATURES: u32 = 1;
    pub(super) const SET_FEATURES: u32 = 2;
    pub(super) const SET_OWNER: u32 = 3;
    pub(super) const RESET_OWNER: u32 = 4;
    pub(super) const SET_MEM_TABLE: u32 = 5;
    pub(super) const SET_VRING_NUM: u32 = 8;
    pub(super) const SET_VRING_ADDR: u32 = 9;
    pub(super) const SET_VRING_BASE: u32 = 10;
    pub(super) const GET_VRING_BASE: u32 = 11;
    pub(super) const SET_VRING_KICK: u32 = 12;
    pub(super) const SET_VRING_CALL: u32 = 13;
    pub(super) const SET_VRING_ERR: u32 = 14;
    pub(super) const GET_PROTOCOL_FEATURES: u32 = 15;
    pub(super) const SET_PROTOCOL_FEATURES: u32 = 16;
    pub(super) const GET_QUEUE_NUM: u32 = 17;
    pub(super) const SET_VRING_ENABLE: u32 = 18;
    pub(super) const NET_SET_MTU: u32 = 20;
}

/// The fixed part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) request: u32,
    /// The front end waits for an answer even where the request has none (`REPLY_ACK`).
    pub(super) need_reply: bool,
    /// Bytes of payload that follow.
    pub(super) size: usize,
}

/// Why bytes are no message. The stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Another version, or an answer to what nobody asked.
    #[error("a message has flags {0:#x}, which no request of version 1 has")]
    Flags(u32),
    /// Longer than any message.
    #[error("a message of {0} bytes was announced")]
    Size(u32),
    /// The payload or the number of descriptors is not that of the request.
    #[error("request {request} came with {payload} bytes and {descriptors} descriptors")]
    Form {
        /// Its number.
        request: u32,
        /// Bytes of its payload.
        payload: usize,
        /// Descriptors that came with it.
        descriptors: usize,
    },
}

impl Header {
    pub(super) fn parse(bytes: [u8; HEADER_LEN]) -> Result<Self, MessageError> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (request, flags, size) = (word(0), word(4), word(8));
        if flags & VERSION_MASK != VERSION || flags & REPLY != 0 {
            return Err(MessageError::Flags(flags));
        }
        let fits = usize::try_from(size).ok().filter(|size| *size <= MAX_PAYLOAD);
        Ok(Self {
            request,
            need_reply: flags & NEED_REPLY != 0,
            size: fits.ok_or(MessageError::Size(size))?,
        })
    }

    /// The answer to this request.
    pub(super) fn reply(self, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let words = [self.request, VERSION | REPLY, size].map(u32::to_le_bytes);
        [words.as_flattened(), payload].concat()
    }
}

/// A ring by its number, which need not exist.
pub(super) type RingNumber = u32;

/// One region of a memory table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RegionSpec {
    /// Its address as the guest's driver knows it.
    pub(super) guest: u64,
    pub(super) len: u64,
    /// Its address in the front end's own process, by which it names rings.
    pub(super) user: u64,
    /// Where in the file it begins.
    pub(super) offset: u64,
}

/// Where the parts of a ring are, by the front end's own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingAddresses {
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
}

/// What a front end asks for.
#[derive(Debug)]
pub(super) enum Request {
    GetFeatures,
    SetFeatures(u64),
    SetOwner,
    ResetOwner,
    SetMemTable(Vec<(RegionSpec, OwnedFd)>),
    SetVringNum(RingNumber, u32),
    /// With the flags, of which one asks to log writes.
    SetVringAddr(RingNumber, u32, RingAddresses),
    SetVringBase(RingNumber, u32),
    GetVringBase(RingNumber),
    SetVringKick(RingNumber, Option<OwnedFd>),
    SetVringCall(RingNumber, Option<OwnedFd>),
    SetVringErr,
    GetProtocolFeatures,
    SetProtocolFeatures(u64),
    GetQueueNum,
    SetVringEnable(RingNumber, bool),
    NetSetMtu,
    /// Well-formed, and not for a device that offers what this one does.
    Unknown,
}

/// A payload that is taken apart from its front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }
}

impl Request {
    /// What a whole message asks for.
    pub(super) fn parse(
        header: Header,
        payload: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Result<Self, MessageError> {
        let form = MessageError::Form {
            request: header.request,
            payload: payload.len(),
            descriptors: descriptors.len(),
        };
        let mut fields = Fields(payload);
        let mut descriptors = descriptors.into_iter();
        let request = read(header.request, &mut fields, &mut descriptors).ok_or(form)?;
        let is_whole = fields.0.is_empty() && descriptors.next().is_none();
        if is_whole || matches!(request, Self::Unknown) {
            Ok(request)
        } else {
            Err(form)
        }
    }
}

fn read(
    request: u32,
    fields: &mut Fields<'_>,
    descriptors: &mut impl ExactSizeIterator<Item = OwnedFd>,
) -> Option<Request> {
    Some(match request {
        code::GET_FEATURES => Request::GetFeatures,
        code::SET_FEATURES => Request::SetFeatures(fields.u64()?),
        code::SET_OWNER => Request::SetOwner,
        code::RESET_OWNER => Request::ResetOwner,
        code::SET_MEM_TABLE => Request::SetMemTable(memory_table(fields, descriptors)?),
        code::SET_VRING_NUM => Request::SetVringNum(fields.u32()?, fields.u32()?),
        code::SET_VRING_ADDR => ring_addresses(fields)?,
        code::SET_VRING_BASE => Request::SetVringBase(fields.u32()?, fields.u32()?),
        code::GET_VRING_BASE => {
            let ring = fields.u32()?;
            fields.u32()?;
            Request::GetVringBase(ring)
        }
        code::SET_VRING_KICK => {
            let (ring, descriptor) = ring_descriptor(fields, descriptors)?;
            Request::SetVringKick(ring, descriptor)
        }
        code::SET_VRING_CALL => {
            let (ring, descriptor) = ring_descriptor(fields, descriptors)?;
            Request::SetVringCall(ring, descriptor)
        }
        code::SET_VRING_ERR => {
            ring_descriptor(fields, descriptors)?;
            Request::SetVringErr
        }
        code::GET_PROTOCOL_FEATURES => Request::GetProtocolFeatures,
        code::SET_PROTOCOL_FEATURES => Request::SetProtocolFeatures(fields.u64()?),
        code::GET_QUEUE_NUM => Request::GetQueueNum,
        code::SET_VRING_ENABLE => Request::SetVringEnable(fields.u32()?, fields.u32()? != 0),
        code::NET_SET_MTU => {
            fields.u64()?;
            Request::NetSetMtu
        }
        _ => Request::Unknown,
    })
}

fn memory_table(
    fields: &mut Fields<'_>,
    descriptors: &mut impl ExactSizeIterator<Item = OwnedFd>,
) -> Option<Vec<(RegionSpec, OwnedFd)>> {
    let count = usize::try_from(fields.u32()?).ok()?;
    fields.u32()?;
    if count > MAX_REGIONS || count != descriptors.len() {
        return None;
    }
    let region = |descriptor| {
        let (guest, len) = (fields.u64()?, fields.u64()?);
        let (user, offset) = (fields.u64()?, fields.u64()?);
        let spec = RegionSpec {
            guest,
            len,
            user,
            offset,
        };
        Some((spec, descriptor))
    };
    descriptors.map(region).collect()
}

fn ring_addresses(fields: &mut Fields<'_>) -> Option<Request> {
    let (ring, flags) = (fields.u32()?, fields.u32()?);
    let (descriptors, used, available) = (fields.u64()?, fields.u64()?, fields.u64()?);
    // Where writes to the used ring would be logged.
    fields.u64()?;
    let addresses = RingAddresses {
        descriptors,
        available,
        used,
    };
    Some(Request::SetVringAddr(ring, flags, addresses))
}

/// A ring's number, and the descriptor that comes with it unless a bit says that none does.
fn ring_descriptor(
    fields: &mut Fields<'_>,
    descriptors: &mut impl Iterator<Item = OwnedFd>,
) -> Option<(RingNumber, Option<OwnedFd>)> {
    const NUMBER: u64 = 0xff;
    const NONE: u64 = 1 << 8;
    let value = fields.u64()?;
    let ring = u32::try_from(value & NUMBER).ok()?;
    let descriptor = descriptors.next();
    let is_told = descriptor.is_some() == (value & NONE == 0);
    is_told.then_some((ring, descriptor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(request: u32) -> Header {
        Header {
            request,
            need_reply: false,
            size: 0,
        }
    }

    fn descriptor() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn parse(request: u32, payload: &[u8], descriptors: usize) -> Result<Request, MessageError> {
        let descriptors = (0..descriptors).map(|_| descriptor()).collect();
        Request::parse(header(request), payload, descriptors)
    }

    #[test]
    fn a_request_of_version_1_is_one_and_its_answer_is_marked() {
        let header = Header::parse([1, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0]).unwrap();
        assert!(header.need_reply);
        assert_eq!((header.request, header.size), (1, 8));
        assert_eq!(header.reply(&[7]), [1, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 7]);
        for flags in [0, 2, 3, 5] {
            let bytes = [1, 0, 0, 0, flags, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(Header::parse(bytes), Err(MessageError::Flags(flags.into())));
        }
    }

    #[test]
    fn a_message_longer_than_any_is_refused_before_it_is_read() {
        let bytes = [1, 0, 0, 0, 1, 0, 0, 0, 1, 0x10, 0, 0];
        assert_eq!(Header::parse(bytes), Err(MessageError::Size(4097)));
    }

    #[test]
    fn a_memory_table_has_a_descriptor_for_each_region() {
        let mut payload = vec![2, 0, 0, 0, 0, 0, 0, 0];
        for number in 0..8_u64 {
            payload.extend_from_slice(&number.to_le_bytes());
        }
        let Ok(Request::SetMemTable(regions)) = parse(code::SET_MEM_TABLE, &payload, 2) else {
            panic!("it is right");
        };
        assert_eq!((regions[1].0.guest, regions[1].0.len), (4, 5));
        assert_eq!((regions[1].0.user, regions[1].0.offset), (6, 7));
        parse(code::SET_MEM_TABLE, &payload, 1).unwrap_err();
        parse(code::SET_MEM_TABLE, &payload, 3).unwrap_err();
        parse(code::SET_MEM_TABLE, &payload[..71], 2).unwrap_err();
        payload[0] = 9;
        parse(code::SET_MEM_TABLE, &payload, 8).unwrap_err();
    }

    #[test]
    fn whether_a_descriptor_comes_is_said_and_checked() {
        let with = [3, 0, 0, 0, 0, 0, 0, 0];
        let without = [3, 1, 0, 0, 0, 0, 0, 0];
        assert!(matches!(
            parse(code::SET_VRING_CALL, &with, 1),
            Ok(Request::SetVringCall(3, Some(_)))
        ));
        assert!(matches!(
            parse(code::SET_VRING_CALL, &without, 0),
            Ok(Request::SetVringCall(3, None))
        ));
        parse(code::SET_VRING_CALL, &with, 0).unwrap_err();
        parse(code::SET_VRING_CALL, &without, 1).unwrap_err();
        parse(code::SET_VRING_CALL, &with, 2).unwrap_err();
    }

    #[test]
    fn what_is_not_known_is_no_reason_to_end() {
        assert!(matches!(parse(40, &[1; 30], 2), Ok(Request::Unknown)));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(
            request in 0_u32..45,
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            descriptors in 0_usize..3,
        ) {
            let _ = parse(request, &payload, descriptors);
        }
    }
}
