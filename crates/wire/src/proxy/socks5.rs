//! SOCKS version 5 (RFC 1928): a greeting with the methods of authentication, a request, a reply to each.
//!
//! ```text
//! client  05 | count | methods…                        proxy  05 | method
//! client  05 | command | 00 | type | address | port    proxy  05 | reply | 00 | type | address | port
//! ```
//!
//! The method "no authentication" and the command CONNECT are what a way into a network of one's own needs. BIND and UDP ASSOCIATE
//! are refused as the RFC says, with their own reply.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Host, Parsed, Target};

/// The first byte of everything.
pub const VERSION: u8 = 5;
/// The longest head: a request with a name of 255 bytes.
pub const HEAD_MAX: usize = 4 + 1 + 255 + 2;

const NO_AUTHENTICATION: u8 = 0;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A connection to a host.
    Connect(Target),
    /// Another command, to be refused.
    Other,
    /// A type of address that RFC 1928 does not know: its length cannot be known either.
    UnknownAddress,
}

/// RFC 1928, section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The connection is made.
    Succeeded,
    /// Anything that has no reply of its own.
    Failure,
    /// Forbidden here.
    NotAllowed,
    /// No way to its network.
    NetworkUnreachable,
    /// No way to it, or nobody of this name.
    HostUnreachable,
    /// Nobody listens there.
    Refused,
    /// Nobody answered in time.
    Expired,
    /// No such command here.
    CommandNotSupported,
    /// No such type of address here.
    AddressNotSupported,
}

impl Reply {
    fn code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failure => 1,
            Self::NotAllowed => 2,
            Self::NetworkUnreachable => 3,
            Self::HostUnreachable => 4,
            Self::Refused => 5,
            Self::Expired => 6,
            Self::CommandNotSupported => 7,
            Self::AddressNotSupported => 8,
        }
    }

    /// Its bytes. The address at which the host sees the client means nothing to it here, so it is 0.0.0.0:0.
    #[must_use]
    pub fn emit(self) -> [u8; 10] {
        [VERSION, self.code(), 0, IPV4, 0, 0, 0, 0, 0, 0]
    }
}

/// Read a greeting: whether the client can do without authentication.
#[must_use]
pub fn greeting(input: &[u8]) -> Parsed<bool> {
    match *input {
        [VERSION, count, ref rest @ ..] => match rest.get(..usize::from(count)) {
            Some(methods) => Parsed::Whole(methods.contains(&NO_AUTHENTICATION), 2 + methods.len()),
            None => Parsed::Partial,
        },
        [] | [VERSION] => Parsed::Partial,
        [_, ..] => Parsed::Bad,
    }
}

/// The answer to a greeting.
#[must_use]
pub fn choice(without_authentication: bool) -> [u8; 2] {
    let method = if without_authentication {
        NO_AUTHENTICATION
    } else {
        NO_METHOD
    };
    [VERSION, method]
}

/// Read a request.
#[must_use]
pub fn request(input: &[u8]) -> Parsed<Request> {
    let (command, kind, rest) = match *input {
        [VERSION, command, _, kind, ref rest @ ..] => (command, kind, rest),
        [] | [VERSION] | [VERSION, _] | [VERSION, _, _] => return Parsed::Partial,
        [_, ..] => return Parsed::Bad,
    };
    let (start, len) = match (kind, rest.first()) {
        (IPV4, _) => (0, 4),
        (IPV6, _) => (0, 16),
        (NAME, Some(&len)) => (1, usize::from(len)),
        (NAME, None) => return Parsed::Partial,
        _ => return Parsed::Whole(Request::UnknownAddress, input.len()),
    };
    let (Some(address), Some(&[high, low])) = (
        rest.get(start..start + len),
        rest.get(start + len..start + len + 2),
    ) else {
        return Parsed::Partial;
    };
    let length = 4 + start + len + 2;
    if command != CONNECT {
        return Parsed::Whole(Request::Other, length);
    }
    let Some(host) = host(kind, address) else {
        return Parsed::Bad;
    };
    let port = u16::from_be_bytes([high, low]);
    Parsed::Whole(Request::Connect(Target { host, port }), length)
}

fn host(kind: u8, address: &[u8]) -> Option<Host> {
    match kind {
        IPV4 => {
            let octets: [u8; 4] = address.try_into().ok()?;
            Some(Host::Address(IpAddr::V4(Ipv4Addr::from(octets))))
        }
        IPV6 => {
            let octets: [u8; 16] = address.try_into().ok()?;
            Some(Host::Address(IpAddr::V6(Ipv6Addr::from(octets))))
        }
        _ => Host::parse(address),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connect(kind: u8, address: &[u8], port: u16) -> Vec<u8> {
        [&[5, 1, 0, kind], address, &port.to_be_bytes()].concat()
    }

    #[test]
    fn a_greeting_names_its_methods() {
        assert_eq!(greeting(&[5, 1, 0]), Parsed::Whole(true, 3));
        assert_eq!(greeting(&[5, 2, 1, 2, 9]), Parsed::Whole(false, 4));
        assert_eq!(greeting(&[5, 0]), Parsed::Whole(false, 2));
        assert_eq!(greeting(&[5, 3, 1, 2]), Parsed::Partial);
        assert_eq!(greeting(&[4, 1, 0, 80]), Parsed::Bad, "SOCKS 4");
        assert_eq!((choice(true), choice(false)), ([5, 0], [5, 255]));
    }

    #[test]
    fn a_request_has_an_address_or_a_name() {
        for (kind, address, host) in [
            (1, &[10, 77, 0, 2][..], "10.77.0.2"),
            (
                4,
                &[0xfd, 0x77, 0, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
                "fd77:77::9",
            ),
            (3, b"\x0910.77.0.2", "10.77.0.2"),
            (3, b"\x03web", "web"),
        ] {
            let input = connect(kind, address, 80);
            let host = Host::parse(host.as_bytes()).unwrap();
            match request(&input) {
                Parsed::Whole(Request::Connect(target), _) => assert_eq!(target.host, host),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_offered_has_its_own_reply() {
        let udp = [5, 3, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(request(&udp), Parsed::Whole(Request::Other, 10));
        assert_eq!(request(&[5, 1, 0, 9]), Parsed::Whole(Request::UnknownAddress, 4));
        assert_eq!(request(&connect(3, b"\x00", 80)), Parsed::Bad, "an empty name");
        assert_eq!(request(&connect(3, b"\x03a b", 80)), Parsed::Bad);
        assert_eq!(Reply::CommandNotSupported.emit()[..2], [5, 7]);
    }

    proptest! {
        #[test]
        fn a_head_is_read_the_same_however_it_comes(name in "[a-z0-9.-]{1,255}", port: u16, rest: [u8; 4]) {
            prop_assume!(name.parse::<IpAddr>().is_err());
            let len = u8::try_from(name.len()).unwrap();
            let head = connect(3, &[&[len], name.as_bytes()].concat(), port);
            let target = Target { host: Host::Name(name), port };
            for end in 0..head.len() {
                prop_assert_eq!(request(&head[..end]), Parsed::Partial);
            }
            let more = [&head[..], &rest].concat();
            prop_assert_eq!(request(&more), Parsed::Whole(Request::Connect(target), head.len()));
        }

        #[test]
        fn any_bytes_are_whole_within_the_bound_or_refused(input in prop::collection::vec(any::<u8>(), 0..600)) {
            match request(&input) {
                Parsed::Partial => prop_assert!(input.len() < HEAD_MAX),
                Parsed::Whole(_, length) => prop_assert!(length <= input.len()),
                Parsed::Bad => {}
            }
            if greeting(&input) == Parsed::Partial {
                prop_assert!(input.len() < 2 + 255);
            }
        }
    }
}
