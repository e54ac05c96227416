//! Where a rule of a policy leads: `WHERE[:PORTS][/PROTOCOL]`.
//!
//! WHERE is a network or address, a name (`example.com`), the names below one (`*.example.com`), or a word: `any`, `private` (RFC 1918,
//! RFC 6598, RFC 4193), `host` (the host's own addresses). PORTS is one or a range like 8000-8999, for TCP and UDP; IPv6 stands in brackets
//! before it. PROTOCOL is tcp, udp or icmp, by which echo is meant. What is left out is not asked for.

use std::fmt;
use std::str::FromStr;

use crate::name::{Domain, NameError};
use crate::network::{IpNetwork, IpNetworkError};
use crate::text::{Hint, text_type};

/// What a rule may say of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo of ICMP.
    Icmp,
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RuleTarget {
    /// Anywhere.
    Any,
    /// A private address.
    Private,
    /// One of the host's own.
    Host,
    /// An address of a network.
    Network(IpNetwork),
    /// An address of this name.
    Name(Domain),
    /// An address of a name below this one.
    Below(Domain),
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RulePattern {
    /// Where to.
    pub target: RuleTarget,
    /// First and last port.
    pub ports: Option<(u16, u16)>,
    /// The protocol.
    pub protocol: Option<RuleProtocol>,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum RuleError {
    #[error("{0:?} says of no network or name where to")]
    Empty(String),
    #[error(transparent)]
    Network(#[from] IpNetworkError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{0:?} is neither a network nor a whole name")]
    Partial(String),
    #[error("{text:?}: {protocol:?} is no protocol")]
    Protocol { text: String, protocol: String },
    #[error("{text:?}: {ports:?} are no ports")]
    Ports { text: String, ports: String },
    #[error("{0:?}: ICMP has no ports")]
    IcmpPorts(String),
}

impl Hint for RuleError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Network(error) => return error.hint(),
            Self::Name(error) => return error.hint(),
            Self::Empty(_) => {
                "write 10.0.0.0/8, example.com, *.example.com, any, private or host, as in example.com:443/tcp".to_owned()
            }
            Self::Partial(text) => {
                format!("write a name as DNS has it, such as {text}.com; or any, private or host")
            }
            Self::Protocol { .. } => "use tcp, udp or icmp".to_owned(),
            Self::Ports { .. } => {
                "ports are 1 to 65535, ranges like 8000-8999; IPv6 stands in brackets before them".to_owned()
            }
            Self::IcmpPorts(_) => "leave out the ports, or the protocol".to_owned(),
        })
    }
}

impl RuleProtocol {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

impl FromStr for RulePattern {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (rest, protocol) = split_protocol(text)?;
        let (target, ports) = split_ports(rest);
        let ports = ports.map(|ports| {
            read_ports(ports).ok_or_else(|| RuleError::Ports {
                text: text.to_owned(),
                ports: ports.to_owned(),
            })
        });
        let ports = ports.transpose()?;
        if ports.is_some() && protocol == Some(RuleProtocol::Icmp) {
            return Err(RuleError::IcmpPorts(text.to_owned()));
        }
        let target = match target {
            "" => return Err(RuleError::Empty(text.to_owned())),
            target => read_target(target)?,
        };
        Ok(Self {
            target,
            ports,
            protocol,
        })
    }
}

/// A prefix length begins with a digit, a protocol does not.
fn split_protocol(text: &str) -> Result<(&str, Option<RuleProtocol>), RuleError> {
    let Some((rest, last)) = text.rsplit_once('/') else {
        return Ok((text, None));
    };
    if last.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok((text, None));
    }
    let known = [RuleProtocol::Tcp, RuleProtocol::Udp, RuleProtocol::Icmp];
    let protocol = known.into_iter().find(|protocol| protocol.as_str() == last);
    match protocol {
        Some(protocol) => Ok((rest, Some(protocol))),
        None => Err(RuleError::Protocol {
            text: text.to_owned(),
            protocol: last.to_owned(),
        }),
    }
}

/// The target without brackets, and the ports behind it.
fn split_ports(text: &str) -> (&str, Option<&str>) {
    if let Some((target, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(ports) => (target, Some(ports)),
            None if rest.is_empty() => (target, None),
            None => (text, None),
        };
    }
    match text.rsplit_once(':') {
        Some((target, ports)) if !target.contains(':') => (target, Some(ports)),
        _ => (text, None),
    }
}

fn read_ports(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|port| is_number && *port > 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

fn read_target(text: &str) -> Result<RuleTarget, RuleError> {
    match text {
        "any" => return Ok(RuleTarget::Any),
        "private" => return Ok(RuleTarget::Private),
        "host" => return Ok(RuleTarget::Host),
        _ => {}
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or(text);
    let is_network = text.contains([':', '/', '[', ']']) || last.starts_with(|c: char| c.is_ascii_digit());
    if is_network {
        return Ok(RuleTarget::Network(text.parse()?));
    }
    let name = text.to_ascii_lowercase();
    if let Some(suffix) = name.strip_prefix("*.") {
        return Ok(RuleTarget::Below(suffix.parse()?));
    }
    let name: Domain = name.parse()?;
    // A machine of the network is not reached by the gateway, and the world has no names of one label.
    if name.as_str().contains('.') {
        Ok(RuleTarget::Name(name))
    } else {
        Err(RuleError::Partial(text.to_owned()))
    }
}

impl fmt::Display for RulePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            RuleTarget::Any => f.write_str("any")?,
            RuleTarget::Private => f.write_str("private")?,
            RuleTarget::Host => f.write_str("host")?,
            RuleTarget::Network(network) if network.address().is_ipv6() && self.ports.is_some() => {
                write!(f, "[{network}]")?;
            }
            RuleTarget::Network(network) => network.fmt(f)?,
            RuleTarget::Name(name) => name.fmt(f)?,
            RuleTarget::Below(name) => write!(f, "*.{name}")?,
        }
        match self.ports {
            Some((first, last)) if first == last => write!(f, ":{first}")?,
            Some((first, last)) => write!(f, ":{first}-{last}")?,
            None => {}
        }
        match self.protocol {
            Some(protocol) => write!(f, "/{}", protocol.as_str()),
            None => Ok(()),
        }
    }
}

text_type!(
    RulePattern,
    expected: "a network or name like 10.0.0.0/8 or *.example.com:443/tcp",
    pattern: "^\\S+$",
    about: "Where to: a network, address, name, *.NAME, any, private or host; then :PORTS and /PROTOCOL where they matter."
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> RulePattern {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_is_written_is_understood() {
        for (text, written) in [
            ("any", "any"),
            ("host:8080", "host:8080"),
            ("private/udp", "private/udp"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/8:443/tcp", "10.0.0.0/8:443/tcp"),
            ("10.0.0.0/8/icmp", "10.0.0.0/8/icmp"),
            ("192.0.2.1:53", "192.0.2.1:53"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:db8::1/tcp", "2001:db8::1/tcp"),
            ("[2001:db8::/32]:8000-8999/udp", "[2001:db8::/32]:8000-8999/udp"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("Example.COM.", "example.com"),
            ("*.example.com:443", "*.example.com:443"),
            ("*.internal", "*.internal"),
            ("any:25/tcp", "any:25/tcp"),
        ] {
            assert_eq!(read(text).to_string(), written);
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_a_sentence_with_a_way_out() {
        for (text, sentence) in [
            ("", "\"\" says of no network or name where to"),
            (":443", "\":443\" says of no network or name where to"),
            (
                "10.0.0.1/8",
                "\"10.0.0.1/8\" is no network: the address has bits beyond its prefix",
            ),
            ("10.0.0", "\"10.0.0\" is no network or address"),
            (
                "example.com/sctp",
                "\"example.com/sctp\": \"sctp\" is no protocol",
            ),
            ("example.com:0", "\"example.com:0\": \"0\" are no ports"),
            ("example.com:9-8", "\"example.com:9-8\": \"9-8\" are no ports"),
            (
                "example.com:https",
                "\"example.com:https\": \"https\" are no ports",
            ),
            ("host:22/icmp", "\"host:22/icmp\": ICMP has no ports"),
            ("registry", "\"registry\" is neither a network nor a whole name"),
            ("*", "\"*\" is no host name: '*' is not allowed in it"),
            ("a_b.com", "\"a_b.com\" is no host name: '_' is not allowed in it"),
            ("2001:db8::1:x", "\"2001:db8::1:x\" is no network or address"),
            ("[2001:db8::1", "\"[2001:db8::1\" is no network or address"),
        ] {
            let error = text.parse::<RulePattern>().unwrap_err();
            assert_eq!(error.to_string(), sentence);
        }
    }

    proptest! {
        #[test]
        fn what_is_understood_is_written_so_that_it_is_understood_again(
            text in r"(\*\.)?\[?([a-z0-9.:]{1,12}|any|host|10\.0\.0\.0|2001:db8::)(/[0-9]{1,3})?\]?(:[0-9]{1,5}(-[0-9]{1,5})?)?(/(tcp|udp|icmp|x))?"
        ) {
            if let Ok(pattern) = text.parse::<RulePattern>() {
                prop_assert_eq!(read(&pattern.to_string()), pattern);
            }
        }
    }
}
