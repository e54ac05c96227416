//! What a client says: RFC 8415 sections 8 and 21, RFC 4704.
//!
//! Options are walked here and not by `dhcproto`, whose DHCPv6 decoder descends into options within options without a
//! bound and subtracts from lengths unchecked (0.15): a guest could end the process with one datagram. No option is
//! opened deeper than an address in an association.
//!
//! An option of a length that it cannot have costs only itself; one that is longer than what is left makes the message
//! malformed. Of options that occur once the first counts.

use std::net::Ipv6Addr;

use dhcproto::v6::{MessageType, OptionCode};

/// Associations of one message that are looked at.
const IAS_READ: usize = 8;
/// Addresses of one association that are looked at.
const ADDRESSES_READ: usize = 2;
/// Options of one message that a client may ask for.
const WANTED_READ: usize = 64;
/// RFC 8415 section 11.1: 128 bytes behind the type.
const DUID_MAX: usize = 130;

/// A client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) kind: MessageType,
    pub(super) xid: [u8; 3],
    /// Option 1 as it came.
    pub(super) client_id: Option<Vec<u8>>,
    /// Option 2 as it came.
    pub(super) server_id: Option<Vec<u8>>,
    pub(super) ias: Vec<IaRequest>,
    /// Option 14.
    pub(super) rapid_commit: bool,
    /// Option 6; `None` when absent.
    pub(super) wanted: Option<Vec<OptionCode>>,
    /// Option 39.
    pub(super) fqdn: Option<Fqdn>,
    /// Option 61 (RFC 5970), the first of its list.
    pub(super) architecture: Option<u16>,
    /// Option 15 holds iPXE's name.
    pub(super) is_ipxe: bool,
}

/// An identity association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IaRequest {
    pub(super) kind: IaKind,
    pub(super) iaid: u32,
    /// Those that the client has or would like.
    pub(super) addresses: Vec<Ipv6Addr>,
}

impl IaRequest {
    /// What tells it from others of its client.
    fn names(&self) -> (IaKind, u32) {
        (self.kind, self.iaid)
    }
}

/// What an association is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IaKind {
    /// IA_NA.
    Addresses,
    /// IA_TA.
    Temporary,
    /// IA_PD.
    Prefixes,
}

/// The client's name for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fqdn {
    /// The client would like us to answer for its name (the S flag).
    pub(super) server_updates: bool,
    /// The client wants no name anywhere (the N flag).
    pub(super) no_update: bool,
    /// With dots between labels; empty when it cannot be read.
    pub(super) name: String,
}

impl Request {
    /// Reads a message; `None` when it is none.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let (&[kind, x, y, z], options) = payload.split_first_chunk::<4>()?;
        let mut request = Self {
            kind: MessageType::from(kind),
            xid: [x, y, z],
            client_id: None,
            server_id: None,
            ias: Vec::new(),
            rapid_commit: false,
            wanted: None,
            fqdn: None,
            architecture: None,
            is_ipxe: false,
        };
        let mut options = Options(options);
        for (code, data) in &mut options {
            request.read(code, data);
        }
        options.0.is_empty().then_some(request)
    }

    fn read(&mut self, code: OptionCode, data: &[u8]) {
        match code {
            OptionCode::ClientId => fill(&mut self.client_id, duid(data)),
            OptionCode::ServerId => fill(&mut self.server_id, Some(data.to_vec())),
            OptionCode::RapidCommit => self.rapid_commit |= data.is_empty(),
            OptionCode::ClientArchType => {
                let first = data.first_chunk::<2>().copied();
                fill(&mut self.architecture, first.map(u16::from_be_bytes));
            }
            // RFC 8415, 21.15: each class behind its length.
            OptionCode::UserClass => self.is_ipxe |= data == b"\x00\x04iPXE",
            OptionCode::ClientFqdn => fill(&mut self.fqdn, fqdn(data)),
            OptionCode::ORO => {
                let codes = data.as_chunks::<2>().0.iter().take(WANTED_READ);
                let codes = codes.map(|code| OptionCode::from(u16::from_be_bytes(*code)));
                fill(&mut self.wanted, Some(codes.collect()));
            }
            OptionCode::IANA | OptionCode::IATA | OptionCode::IAPD if self.ias.len() < IAS_READ => {
                let ia = association(code, data);
                let is_new = |ia: &IaRequest| self.ias.iter().all(|other| other.names() != ia.names());
                self.ias.extend(ia.filter(is_new));
            }
            _ => {}
        }
    }
}

/// Options one after the other. What is left after the last is no option.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (OptionCode, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[a, b, c, d], rest) = self.0.split_first_chunk::<4>()?;
        let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([c, d])))?;
        self.0 = rest;
        Some((OptionCode::from(u16::from_be_bytes([a, b])), data))
    }
}

fn fill<T>(field: &mut Option<T>, value: Option<T>) {
    if field.is_none() {
        *field = value;
    }
}

fn duid(data: &[u8]) -> Option<Vec<u8>> {
    (3..=DUID_MAX).contains(&data.len()).then(|| data.to_vec())
}

fn association(code: OptionCode, data: &[u8]) -> Option<IaRequest> {
    let (iaid, rest) = data.split_first_chunk::<4>()?;
    let (kind, options) = match code {
        OptionCode::IATA => (IaKind::Temporary, rest),
        // T1 and T2 are ours to say.
        OptionCode::IANA => (IaKind::Addresses, rest.get(8..)?),
        _ => (IaKind::Prefixes, rest.get(8..)?),
    };
    let address = |(code, data): (OptionCode, &[u8])| {
        let octets = data.first_chunk::<16>().filter(|_| data.len() >= 24)?;
        (code == OptionCode::IAAddr).then(|| Ipv6Addr::from(*octets))
    };
    let addresses = Options(options).filter_map(address).take(ADDRESSES_READ);
    Some(IaRequest {
        kind,
        iaid: u32::from_be_bytes(*iaid),
        addresses: addresses.collect(),
    })
}

/// RFC 4704 section 4: flags, then labels; a name that is not fully qualified has no root at its end.
fn fqdn(data: &[u8]) -> Option<Fqdn> {
    let (flags, mut rest) = data.split_first()?;
    let mut labels = Vec::new();
    while let Some((length, tail)) = rest.split_first()
        && *length != 0
    {
        let Some((label, tail)) = tail.split_at_checked(usize::from(*length)) else {
            labels.clear();
            break;
        };
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = tail;
    }
    Some(Fqdn {
        server_updates: flags & 0b001 != 0,
        no_update: flags & 0b100 != 0,
        name: labels.join("."),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(options: &[&[u8]]) -> Vec<u8> {
        [&[1, 7, 8, 9], options.concat().as_slice()].concat()
    }

    #[test]
    fn an_option_of_a_nonsense_length_costs_only_itself() {
        // A DUID and a rapid commit of lengths that they cannot have, an association without T1 and T2, then good ones.
        let options: [&[u8]; 5] = [
            &[0, 1, 0, 2, 0, 3],
            &[0, 14, 0, 1, 0],
            &[0, 3, 0, 5, 0, 0, 0, 1, 0],
            &[0, 1, 0, 3, 0, 3, 1],
            &[0, 4, 0, 4, 0, 0, 0, 2],
        ];
        let request = Request::parse(&message(&options)).unwrap();
        assert_eq!(request.client_id, Some(vec![0, 3, 1]));
        assert_eq!(request.xid, [7, 8, 9]);
        assert!(!request.rapid_commit);
        assert_eq!(request.ias.len(), 1);
        assert_eq!(request.ias[0].kind, IaKind::Temporary);
    }

    #[test]
    fn a_message_that_ends_within_an_option_is_malformed() {
        for cut in [&[0, 1, 0, 4, 0, 3, 1][..], &[0, 1, 0], &[0]] {
            assert_eq!(Request::parse(&message(&[cut])), None);
        }
        assert_eq!(Request::parse(&[1, 7, 8]), None);
    }

    #[test]
    fn options_within_options_cost_no_stack() {
        // Sixty kilobytes of associations, each in the one before.
        let mut nested = Vec::new();
        for _ in 0..8000 {
            let length = u16::try_from(nested.len() + 4).unwrap().to_be_bytes();
            nested = [&[0, 4], &length[..], &[0; 4], &nested[..]].concat();
        }
        let request = Request::parse(&message(&[&nested])).unwrap();
        assert_eq!(request.ias.len(), 1);
    }

    #[test]
    fn no_more_is_kept_than_is_answered() {
        let one = |n: u8| [0, 3, 0, 12, 0, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, 0];
        let many: Vec<_> = (0..200).flat_map(one).collect();
        let request = Request::parse(&message(&[&many])).unwrap();
        assert_eq!(request.ias.len(), IAS_READ);
        let request = Request::parse(&message(&[&one(1), &one(1)])).unwrap();
        assert_eq!(request.ias.len(), 1, "of one name the first counts");
    }

    #[test]
    fn a_name_is_read_with_and_without_its_end_and_not_when_it_is_cut() {
        let read = |wire: &[u8]| fqdn(wire).unwrap().name;
        assert_eq!(read(b"\x01\x03web\x03lab\x00"), "web.lab");
        assert_eq!(read(b"\x01\x03web"), "web");
        assert_eq!(read(b"\x01\x03web\x09lab"), "");
        assert_eq!(read(b"\x01"), "");
    }

    proptest! {
        #[test]
        fn random_bytes_are_read_or_dropped(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Request::parse(&bytes);
        }

        #[test]
        fn random_options_are_read_or_dropped(
            options in prop::collection::vec((0u16..42, prop::collection::vec(any::<u8>(), 0..60)), 0..20),
        ) {
            let mut bytes = vec![1, 0, 0, 0];
            for (code, data) in options {
                bytes.extend(code.to_be_bytes());
                bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
                bytes.extend(data);
            }
            prop_assert!(Request::parse(&bytes).is_some());
        }
    }
}
