//! What a client asks: RFC 2131 section 2 and RFC 2132, as far as a server reads them.
//!
//! Only the options that matter are decoded, each on its own: a client with one odd option still gets an address.
//! (The owned decoder of `dhcproto` stops at the first option it does not like, and may panic on lengths that a guest
//! chose; its borrowed view of the fixed fields and its option iterator do neither once the lengths are checked.)

use std::net::Ipv4Addr;

use atoll_wire::Mac;
use dhcproto::v4::borrowed::{DhcpOptionIterator, Message};
use dhcproto::v4::{Flags, HType, MAGIC, MessageType, Opcode, OptionCode};

use super::Client;
use crate::PortId;

/// Fixed fields and magic cookie.
const FIXED_LEN: usize = 240;

/// A client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) kind: MessageType,
    /// The port by which it came.
    pub(super) ingress: PortId,
    pub(super) xid: u32,
    pub(super) flags: Flags,
    pub(super) ciaddr: Ipv4Addr,
    /// Hardware address, equal to the Ethernet source.
    pub(super) chaddr: Mac,
    /// Option 50.
    pub(super) requested: Option<Ipv4Addr>,
    /// Option 54.
    pub(super) server: Option<Ipv4Addr>,
    /// Option 51, in seconds.
    pub(super) lease_time: Option<u32>,
    /// Option 12 as it came.
    pub(super) hostname: Option<String>,
    /// Option 55; `None` when absent.
    pub(super) parameters: Option<Vec<OptionCode>>,
    /// Option 57.
    pub(super) max_size: Option<u16>,
    /// Option 61 as it came.
    pub(super) client_id: Option<Vec<u8>>,
    /// What it says of itself when it boots from the network.
    pub(super) boot: Boot,
}

/// What a client says that boots from the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Boot {
    /// Option 93, the first of its list.
    pub(super) architecture: Option<u16>,
    /// Option 60.
    class: Option<Vec<u8>>,
    /// Option 77.
    user_class: Option<Vec<u8>>,
}

impl Boot {
    /// Whether it boots over TFTP (RFC 4578, 2.1: the "Intel Preboot eXecution Environment").
    pub(super) fn is_pxe(&self) -> bool {
        self.has_class(b"PXEClient")
    }

    /// Whether it boots over HTTP (UEFI 2.10, 24.7).
    pub(super) fn is_http(&self) -> bool {
        self.has_class(b"HTTPClient")
    }

    /// iPXE sends its name as it is, without the length that RFC 3004 has before it.
    pub(super) fn is_ipxe(&self) -> bool {
        matches!(self.user_class.as_deref(), Some(b"iPXE" | b"\x04iPXE"))
    }

    fn has_class(&self, beginning: &[u8]) -> bool {
        self.class
            .as_ref()
            .is_some_and(|class| class.starts_with(beginning))
    }
}

/// Why a message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    /// It is no DHCP request at all.
    Malformed,
    /// Its `chaddr` is not the station that sent it, or a relay agent passed it on: leases are for our own segment.
    Foreign,
}

impl Request {
    /// Reads a message that a station sent.
    pub(super) fn parse(payload: &[u8], client: Client) -> Result<Self, Dropped> {
        let mac = client.mac;
        if payload.get(FIXED_LEN - MAGIC.len()..FIXED_LEN) != Some(MAGIC.as_slice()) {
            return Err(Dropped::Malformed);
        }
        let message = Message::new(payload).map_err(|_| Dropped::Malformed)?;
        if message.opcode() != Opcode::BootRequest || message.htype() != HType::Eth || message.hlen() != 6 {
            return Err(Dropped::Malformed);
        }
        if message.chaddr() != mac.0 || !mac.is_station() || !message.giaddr().is_unspecified() {
            return Err(Dropped::Foreign);
        }
        let mut request = Self {
            // Anything but the messages of a client; replaced by option 53.
            kind: MessageType::Unknown(0),
            ingress: client.ingress,
            xid: message.xid(),
            flags: message.flags(),
            ciaddr: message.ciaddr(),
            chaddr: mac,
            requested: None,
            server: None,
            lease_time: None,
            hostname: None,
            parameters: None,
            max_size: None,
            client_id: None,
            boot: Boot::default(),
        };
        let overload = request.read_options(message.opts());
        // Option overload, RFC 2132 section 9.3: 1 the file field, 2 sname, 3 both.
        if matches!(overload, 1 | 3) {
            request.read_options(DhcpOptionIterator::new(payload.get(108..236).unwrap_or_default()));
        }
        if matches!(overload, 2 | 3) {
            request.read_options(DhcpOptionIterator::new(payload.get(44..108).unwrap_or_default()));
        }
        match request.kind {
            MessageType::Unknown(_) => Err(Dropped::Malformed),
            _ => Ok(request),
        }
    }

    /// Takes the options that matter; the first of each counts. Returns option 52.
    fn read_options(&mut self, options: DhcpOptionIterator<'_>) -> u8 {
        let mut overload = 0;
        for option in options {
            let data = option.data();
            match option.code() {
                OptionCode::MessageType if data.len() == 1 && self.kind == MessageType::Unknown(0) => {
                    self.kind = MessageType::from(data[0]);
                }
                OptionCode::OptionOverload if data.len() == 1 => overload = data[0],
                OptionCode::RequestedIpAddress => fill(&mut self.requested, address(data)),
                OptionCode::ServerIdentifier => fill(&mut self.server, address(data)),
                OptionCode::AddressLeaseTime => fill(&mut self.lease_time, word(data)),
                OptionCode::MaxMessageSize => fill(&mut self.max_size, half(data)),
                OptionCode::Hostname => fill(&mut self.hostname, text(data)),
                OptionCode::ParameterRequestList => {
                    let codes = data.iter().map(|code| OptionCode::from(*code)).collect();
                    fill(&mut self.parameters, Some(codes));
                }
                OptionCode::ClientIdentifier => fill(&mut self.client_id, Some(data.to_vec())),
                OptionCode::ClassIdentifier => fill(&mut self.boot.class, Some(data.to_vec())),
                OptionCode::UserClass => fill(&mut self.boot.user_class, Some(data.to_vec())),
                OptionCode::ClientSystemArchitecture => {
                    let first = data.first_chunk::<2>().copied();
                    fill(&mut self.boot.architecture, first.map(u16::from_be_bytes));
                }
                _ => {}
            }
        }
        overload
    }
}

fn fill<T>(field: &mut Option<T>, value: Option<T>) {
    if field.is_none() {
        *field = value;
    }
}

fn word(data: &[u8]) -> Option<u32> {
    data.try_into().ok().map(u32::from_be_bytes)
}

fn half(data: &[u8]) -> Option<u16> {
    data.try_into().ok().map(u16::from_be_bytes)
}

fn address(data: &[u8]) -> Option<Ipv4Addr> {
    word(data).map(Ipv4Addr::from_bits)
}

/// Some clients end the name with a NUL, which RFC 2132 section 2 tells servers to put up with.
fn text(data: &[u8]) -> Option<String> {
    str::from_utf8(data)
        .ok()
        .map(|text| text.trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLIENT: Client = Client {
        ingress: PortId(1),
        mac: Mac([0x52, 0x54, 0, 0, 0, 1]),
        src: Ipv4Addr::UNSPECIFIED,
    };

    fn message(options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; FIXED_LEN];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[28..34].copy_from_slice(&CLIENT.mac.0);
        message[236..].copy_from_slice(&MAGIC);
        message.extend_from_slice(options);
        message
    }

    #[test]
    fn an_option_with_a_nonsense_length_costs_only_itself() {
        // Requested address of three bytes, FQDN and rapid commit of lengths that they cannot have, then a good name.
        let options = [
            50, 3, 1, 2, 3, 81, 1, 0, 80, 4, 1, 2, 3, 4, 12, 1, b'a', 53, 1, 1, 255,
        ];
        let request = Request::parse(&message(&options), CLIENT).unwrap();
        assert_eq!(
            (request.requested, request.hostname.as_deref()),
            (None, Some("a"))
        );
    }

    #[test]
    fn a_hardware_address_longer_than_its_field_is_malformed() {
        let mut long = message(&[53, 1, 1, 255]);
        long[2] = 255;
        assert_eq!(Request::parse(&long, CLIENT), Err(Dropped::Malformed));
    }

    #[test]
    fn options_in_the_file_field_are_read_when_overload_says_so() {
        let mut overloaded = message(&[52, 1, 1, 255]);
        overloaded[108..111].copy_from_slice(&[53, 1, 3]);
        assert_eq!(
            Request::parse(&overloaded, CLIENT).unwrap().kind,
            MessageType::Request
        );
    }

    #[test]
    fn a_client_id_split_over_two_options_is_one() {
        let split = message(&[53, 1, 1, 61, 2, 0, 1, 61, 1, 2, 255]);
        assert_eq!(
            Request::parse(&split, CLIENT).unwrap().client_id,
            Some(vec![0, 1, 2])
        );
    }

    #[test]
    fn a_message_without_a_type_is_malformed() {
        assert_eq!(Request::parse(&message(&[255]), CLIENT), Err(Dropped::Malformed));
    }

    proptest! {
        #[test]
        fn random_bytes_are_read_or_dropped(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Request::parse(&bytes, CLIENT);
        }

        #[test]
        fn random_options_are_read_or_dropped(options in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::parse(&message(&options), CLIENT);
        }
    }
}
