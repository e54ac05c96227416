//! Port forwards: a listener on the host whose connections become flows towards a guest.
//!
//! In a machine's list the guest is the machine itself: `[BIND:]HOST-PORT:GUEST-PORT[/PROTOCOL]` ([`Forward`]).
//! On the command line the guest stands before its port: `[BIND:]HOST-PORT:GUEST:GUEST-PORT[/PROTOCOL]`
//! ([`GuestForward`]). Ports may be ranges of equal length, `9000-9010:9000-9010`. IPv6 addresses stand in brackets.
//! Without BIND the listener is on 127.0.0.1, or on the machine's own loopback address where its network gives one (see
//! [`loopback`](crate::loopback)); without PROTOCOL it is TCP. Host port 0 lets the host choose. `,source=keep` at the end lets the guest see
//! its clients' own addresses.
//!
//! A listener is of one family: `0.0.0.0` is every IPv4 address of the host, `[::]` every IPv6 address and no other, and `*`
//! two listeners, one of each. The guest's family may be another than the listener's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::name::Name;
use crate::text::{Hint, text_type};

/// How a forward spells that its guest sees its clients' own addresses.
const KEEP_SOURCE: &str = "source=keep";

/// What a forward carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP connections.
    Tcp,
    /// UDP datagrams.
    Udp,
}

/// One port or several in a row, first and last included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Where on the host a forward listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bind {
    /// Where nothing is said: on the guest's own loopback address if it has one, else on 127.0.0.1.
    Usual,
    /// At this address.
    Address(IpAddr),
    /// At every address of both families.
    Everywhere,
}

/// A forward whose guest is known from where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Forward {
    bind: Bind,
    host_ports: PortRange,
    guest_ports: PortRange,
    protocol: Protocol,
    keep_source: bool,
}

/// The guest of a forward on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guest {
    /// Whoever has this address.
    Address(IpAddr),
    /// The machine or DHCP host of this name.
    Name(Name),
}

/// A forward that names its guest, as `--forward` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuestForward {
    /// Where connections go.
    pub guest: Guest,
    /// Ports, protocol and the host's side.
    pub forward: Forward,
}

/// Why a text is no forward.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum ForwardError {
    #[error("{0:?} is no forward")]
    Syntax(String),
    #[error("{0:?} is no forward: it does not say the guest's port")]
    NoGuestPort(String),
    #[error("{text:?} is no forward: {protocol:?} is no protocol")]
    Protocol { text: String, protocol: String },
    #[error("{text:?} is no forward: {port:?} is no port")]
    Port { text: String, port: String },
    #[error("{text:?} is no forward: {bind:?} is no address of the host")]
    Bind { text: String, bind: String },
    #[error("{0:?} is no forward: the host cannot choose one port for both families")]
    NoCommonPort(String),
    #[error("{text:?} is no forward: {guest:?} is no address or name of a guest")]
    Guest { text: String, guest: String },
    #[error("{text:?} is no forward: {host} host ports cannot go to {guest} guest ports")]
    RangeLength { text: String, host: u32, guest: u32 },
    #[error("{text:?} is no forward: {option:?} is no option of one")]
    Option { text: String, option: String },
    #[error("{0:?} is no forward: it names a guest, but here the guest is the machine itself")]
    GuestGiven(String),
}

impl Hint for ForwardError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax(_) => {
                "write [BIND:]HOST-PORT:GUEST-PORT[/PROTOCOL], with the guest before its port on the command line"
                    .to_owned()
            }
            Self::NoGuestPort(port) => format!("did you mean \"{port}:{port}\"?"),
            Self::Protocol { .. } => "use tcp or udp".to_owned(),
            Self::Port { .. } => "ports are 1 to 65535, ranges like 9000-9010".to_owned(),
            Self::Bind { .. } => {
                "use 127.0.0.1, 0.0.0.0, [::1], [::], * for both families, or an address of this host".to_owned()
            }
            Self::NoCommonPort(_) => "give the host's port, or one forward for 0.0.0.0 and one for [::]".to_owned(),
            Self::Guest { .. } => {
                "use an address like 10.77.0.2 or [fd77:77::2], or a machine's name".to_owned()
            }
            Self::Option { .. } => "write source=keep, or leave it out".to_owned(),
            Self::RangeLength { .. } => "give both sides the same number of ports".to_owned(),
            Self::GuestGiven(_) => "leave the guest out: 127.0.0.1:8022:22/tcp".to_owned(),
        })
    }
}

impl Protocol {
    /// `tcp` or `udp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Bind {
    /// The addresses at which listeners are needed.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> + use<> {
        let (first, second) = match self {
            Self::Usual => (IpAddr::V4(Ipv4Addr::LOCALHOST), None),
            Self::Address(address) => (address, None),
            Self::Everywhere => (
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            ),
        };
        std::iter::once(first).chain(second)
    }
}

impl PortRange {
    /// The first port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The last port; equal to the first for a single one.
    pub fn last(self) -> u16 {
        self.last
    }

    /// One port, or several as `9000-9010`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (parse_port(first)?, parse_port(last)?);
        (first <= last).then_some(Self { first, last })
    }

    /// Whether it is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// How many ports, at least one.
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl Forward {
    /// Where the host listens.
    pub fn bind(&self) -> Bind {
        self.bind
    }

    /// Ports of the host; port 0 means one of the host's choice.
    pub fn host_ports(&self) -> PortRange {
        self.host_ports
    }

    /// Ports of the guest, as many as of the host.
    pub fn guest_ports(&self) -> PortRange {
        self.guest_ports
    }

    /// What is carried.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether the guest is to see its clients' own addresses in place of the gateway's.
    pub fn keeps_source(&self) -> bool {
        self.keep_source
    }

    /// The same forward towards a guest that has this address of the host's loopback for itself.
    #[must_use]
    pub fn at(self, own: Option<Ipv4Addr>) -> Self {
        let bind = match (self.bind, own) {
            (Bind::Usual, Some(own)) => Bind::Address(own.into()),
            (bind, _) => bind,
        };
        Self { bind, ..self }
    }

    /// Each host port with its guest port.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> + use<> {
        let host = self.host_ports.first..=self.host_ports.last;
        host.zip(self.guest_ports.first..=self.guest_ports.last)
    }

    /// Every listener of the host: its address and port, and the guest's port.
    pub fn listeners(&self) -> impl Iterator<Item = (SocketAddr, u16)> + use<> {
        let forward = *self;
        self.bind.addresses().flat_map(move |address| {
            let pairs = forward.pairs();
            pairs.map(move |(host, guest)| (SocketAddr::new(address, host), guest))
        })
    }

    /// Whether the host could not listen for both.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let meets = |a: IpAddr, b: IpAddr| {
            a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
        };
        let mut own = self.bind.addresses();
        let one_address = own.any(|a| other.bind.addresses().any(|b| meets(a, b)));
        let chosen_by_host = self.host_ports.first == 0 || other.host_ports.first == 0;
        one_address
            && !chosen_by_host
            && self.protocol == other.protocol
            && self.host_ports.overlaps(other.host_ports)
    }

    /// Reads the form of the command line, which names the guest: `127.0.0.1:8022:10.77.0.2:22/tcp`.
    pub fn parse_cli(text: &str) -> Result<GuestForward, ForwardError> {
        text.parse()
    }
}

/// The parts of a forward before they are understood.
struct Parts<'a> {
    whole: &'a str,
    fields: Vec<&'a str>,
    protocol: Protocol,
    keep_source: bool,
}

impl<'a> Parts<'a> {
    fn split(whole: &'a str) -> Result<Self, ForwardError> {
        let (forward, option) = match whole.split_once(',') {
            Some((forward, option)) => (forward, Some(option)),
            None => (whole, None),
        };
        if let Some(option) = option.filter(|option| *option != KEEP_SOURCE) {
            let (text, option) = (whole.to_owned(), option.to_owned());
            return Err(ForwardError::Option { text, option });
        }
        let (rest, protocol) = match forward.rsplit_once('/') {
            None => (forward, Protocol::Tcp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some((_, other)) => {
                return Err(ForwardError::Protocol {
                    text: whole.to_owned(),
                    protocol: other.to_owned(),
                });
            }
        };
        Ok(Self {
            whole,
            fields: split_outside_brackets(rest),
            protocol,
            keep_source: option.is_some(),
        })
    }

    fn bind(&self, field: Option<&str>) -> Result<Bind, ForwardError> {
        let bind = match field {
            None => return Ok(Bind::Usual),
            Some("*") => return Ok(Bind::Everywhere),
            Some(field) => parse_address(field),
        };
        bind.map(Bind::Address).ok_or_else(|| ForwardError::Bind {
            text: self.whole.to_owned(),
            bind: field.unwrap_or_default().to_owned(),
        })
    }

    fn guest(&self, field: &str) -> Result<Guest, ForwardError> {
        let address = parse_address(field).filter(|address| !address.is_unspecified());
        let looks_like_address = field.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match (address, field.parse()) {
            (Some(address), _) => Ok(Guest::Address(address)),
            (None, Ok(name)) if !looks_like_address => Ok(Guest::Name(name)),
            _ => Err(ForwardError::Guest {
                text: self.whole.to_owned(),
                guest: field.to_owned(),
            }),
        }
    }

    fn forward(&self, bind: Option<&str>, host: &str, guest: &str) -> Result<Forward, ForwardError> {
        let bind = self.bind(bind)?;
        let host_ports = if host == "0" {
            PortRange { first: 0, last: 0 }
        } else {
            self.ports(host)?
        };
        if (bind, host_ports.first) == (Bind::Everywhere, 0) {
            return Err(ForwardError::NoCommonPort(self.whole.to_owned()));
        }
        let guest_ports = self.ports(guest)?;
        let (host, guest) = (host_ports.count(), guest_ports.count());
        if host != guest {
            return Err(ForwardError::RangeLength {
                text: self.whole.to_owned(),
                host,
                guest,
            });
        }
        Ok(Forward {
            bind,
            host_ports,
            guest_ports,
            protocol: self.protocol,
            keep_source: self.keep_source,
        })
    }

    fn ports(&self, field: &str) -> Result<PortRange, ForwardError> {
        PortRange::parse(field).ok_or_else(|| ForwardError::Port {
            text: self.whole.to_owned(),
            port: field.to_owned(),
        })
    }

    fn syntax(&self) -> ForwardError {
        ForwardError::Syntax(self.whole.to_owned())
    }
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut inside = false;
    let is_separator = |c: char| {
        inside = (inside || c == '[') && c != ']';
        c == ':' && !inside
    };
    text.split(is_separator).collect()
}

fn parse_address(field: &str) -> Option<IpAddr> {
    match field.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => field.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn parse_port(field: &str) -> Option<u16> {
    let digits = !field.is_empty() && field.bytes().all(|b| b.is_ascii_digit());
    field.parse().ok().filter(|port| digits && *port != 0)
}

impl FromStr for Forward {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        let parts = Parts::split(text)?;
        match *parts.fields.as_slice() {
            [port] if parse_port(port).is_some() => Err(ForwardError::NoGuestPort(port.to_owned())),
            [host, guest] => parts.forward(None, host, guest),
            [host, _, _] if parse_port(host).is_some() => Err(ForwardError::GuestGiven(text.to_owned())),
            [bind, host, guest] => parts.forward(Some(bind), host, guest),
            [_, _, _, _] => Err(ForwardError::GuestGiven(text.to_owned())),
            _ => Err(parts.syntax()),
        }
    }
}

impl FromStr for GuestForward {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        let parts = Parts::split(text)?;
        let (bind, host, guest, port) = match *parts.fields.as_slice() {
            [host, guest, port] => (None, host, guest, port),
            [bind, host, guest, port] => (Some(bind), host, guest, port),
            _ => return Err(parts.syntax()),
        };
        Ok(Self {
            forward: parts.forward(bind, host, port)?,
            guest: parts.guest(guest)?,
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            1 => write!(f, "{}", self.first),
            _ => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// An address as a forward spells it: IPv6 in brackets.
struct Bracketed(IpAddr);

impl fmt::Display for Bracketed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usual => Ipv4Addr::LOCALHOST.fmt(f),
            Self::Address(address) => Bracketed(*address).fmt(f),
            Self::Everywhere => f.write_str("*"),
        }
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{}", Bracketed(*address)),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

impl Forward {
    fn write(&self, f: &mut fmt::Formatter<'_>, guest: Option<&Guest>) -> fmt::Result {
        if self.bind != Bind::Usual {
            write!(f, "{}:", self.bind)?;
        }
        write!(f, "{}:", self.host_ports)?;
        if let Some(guest) = guest {
            write!(f, "{guest}:")?;
        }
        write!(f, "{}/{}", self.guest_ports, self.protocol)?;
        if self.keep_source {
            write!(f, ",{KEEP_SOURCE}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, None)
    }
}

impl fmt::Display for GuestForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.forward.write(f, Some(&self.guest))
    }
}

text_type!(
    Forward,
    expected: "a forward like 8022:22",
    pattern: r"^((\[[0-9a-fA-F:.]+\]|[0-9.]+|\*):)?[0-9]+(-[0-9]+)?:[0-9]+(-[0-9]+)?(/(tcp|udp))?(,source=keep)?$",
    about: "[BIND:]HOST-PORT:GUEST-PORT[/PROTOCOL][,source=keep]; 127.0.0.1 and tcp when left out; [::] is IPv6 only, * both families; ranges like 9000-9010:9000-9010; source=keep lets the guest see its clients' own addresses."
);
text_type!(
    GuestForward,
    expected: "a forward like 127.0.0.1:8022:10.77.0.2:22/tcp",
    pattern: r"^.+:.+:[0-9]+(-[0-9]+)?(/(tcp|udp))?(,source=keep)?$",
    about: "[BIND:]HOST-PORT:GUEST:GUEST-PORT[/PROTOCOL][,source=keep]; 127.0.0.1 and tcp when left out."
);

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
