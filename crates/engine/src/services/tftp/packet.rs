//! Packets of TFTP: RFC 1350, with the options of RFC 2347 (2348, 2349, 7440).

/// What a client asks first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) is_write: bool,
    /// As the client wrote it.
    pub(super) file: String,
    /// Lower case.
    pub(super) mode: String,
    /// Names in lower case and values, in the client's order.
    pub(super) options: Vec<(String, String)>,
}

/// What a client says during a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It has everything up to this block.
    Ack(u16),
    /// It gives up.
    Error,
}

/// RFC 1350, 5, and RFC 2347.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorCode {
    Undefined = 0,
    NotFound = 1,
    AccessViolation = 2,
    IllegalOperation = 4,
    UnknownTransfer = 5,
}

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// A request is one packet of the shortest kind that RFC 2347 knows.
const REQUEST_MAX: usize = 512;
/// Options of one request that are looked at.
const OPTIONS_READ: usize = 16;

impl Request {
    /// Reads a request; `None` when it is none.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let (opcode, rest) = packet.split_first_chunk::<2>()?;
        let is_write = match u16::from_be_bytes(*opcode) {
            RRQ => false,
            WRQ => true,
            _ => return None,
        };
        if packet.len() > REQUEST_MAX {
            return None;
        }
        let words = rest.strip_suffix(&[0])?;
        let mut words = words.split(|byte| *byte == 0).map(str::from_utf8);
        let mut word = || words.next()?.ok().map(str::to_owned);
        let (file, mode) = (word()?, word()?.to_ascii_lowercase());
        let mut options = Vec::new();
        while options.len() < OPTIONS_READ
            && let Some(name) = word()
        {
            options.push((name.to_ascii_lowercase(), word()?));
        }
        Some(Self {
            is_write,
            file,
            mode,
            options,
        })
    }
}

impl Reply {
    /// Reads what a client says; `None` when it is neither.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let (&[a, b, c, d], _) = packet.split_first_chunk::<4>()?;
        match u16::from_be_bytes([a, b]) {
            ACK => Some(Self::Ack(u16::from_be_bytes([c, d]))),
            ERROR => Some(Self::Error),
            _ => None,
        }
    }
}

/// A block of the file.
pub(super) fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
    [&DATA.to_be_bytes(), &block.to_be_bytes(), bytes].concat()
}

/// The options that are taken, with their values.
pub(super) fn options(taken: &[(&str, u64)]) -> Vec<u8> {
    let mut packet = OACK.to_be_bytes().to_vec();
    for (name, value) in taken {
        packet.extend(name.bytes());
        packet.push(0);
        packet.extend(value.to_string().bytes());
        packet.push(0);
    }
    packet
}

/// Why there is nothing.
pub(super) fn error(code: ErrorCode, why: &str) -> Vec<u8> {
    let code: u16 = code as u16;
    [&ERROR.to_be_bytes(), &code.to_be_bytes(), why.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(words: &[u8]) -> Option<Request> {
        Request::parse(&[&[0, 1], words].concat())
    }

    #[test]
    fn a_request_is_a_file_a_mode_and_pairs_of_options() {
        let read = request(b"boot/a\0OcTet\0BLKSIZE\x001468\0tsize\x000\0").unwrap();
        assert_eq!((read.file.as_str(), read.mode.as_str()), ("boot/a", "octet"));
        let options: Vec<_> = read
            .options
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(options, [("blksize", "1468"), ("tsize", "0")]);
    }

    #[test]
    fn what_is_cut_short_is_no_request() {
        for words in [
            &b"a\0octet"[..],
            b"a\0",
            b"a",
            b"",
            b"a\0octet\0blksize\0",
            b"\xff\0octet\0",
        ] {
            assert_eq!(request(words), None, "{words:?}");
        }
        assert_eq!(request(&[b'a'; 600]), None);
    }

    proptest! {
        #[test]
        fn random_bytes_are_read_or_dropped(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = (Request::parse(&bytes), Reply::parse(&bytes));
        }
    }
}
