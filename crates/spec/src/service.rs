//! Services that DNS tells of by SRV records (RFC 2782): `_etcd-server._tcp` of the domain, or `_ssh._tcp.web` of a name, and where
//! each is: `NAME:PORT`.
//!
//! A service is known by an underscore and its name (RFC 6335, 5.1), behind it the transport, which is `_tcp` or `_udp`; other
//! transports have no ports that a network of ours carries. All targets are of one priority and without weight: who wants that
//! has a load balancer, and in a cluster's bootstrap every member counts alike.

use std::fmt;
use std::str::FromStr;

use crate::name::{Domain, NameError};
use crate::text::{Hint, text_type};

/// The longest service name (RFC 6335, 5.1), of which underscores are no part.
const SERVICE_MAX: usize = 15;

/// The name that an SRV record has: `_etcd-server._tcp`, or `_ssh._tcp.web`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    service: String,
    transport: &'static str,
    host: Option<Domain>,
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceTarget {
    /// A host name, of the network's domain where it has no dot.
    pub host: Domain,
    /// The port there.
    pub port: u16,
}

/// Why a text is no service or no place of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum ServiceError {
    #[error("{0:?} is no name of a service")]
    Name(String),
    #[error("{0:?} says neither _tcp nor _udp")]
    Transport(String),
    #[error("{0:?} is no place of a service")]
    Target(String),
    #[error(transparent)]
    Host(#[from] NameError),
}

impl Hint for ServiceError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Name(_) | Self::Transport(_) => {
                Some("write _SERVICE._tcp or _SERVICE._udp, behind it a name if it is not the domain's: _ssh._tcp.web".to_owned())
            }
            Self::Target(_) => Some("write NAME:PORT, as in web:22".to_owned()),
            Self::Host(error) => error.hint(),
        }
    }
}

impl ServiceName {
    /// The host name behind service and transport; `None` for the domain.
    pub fn host(&self) -> Option<&Domain> {
        self.host.as_ref()
    }
}

impl FromStr for ServiceName {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let wrong = || ServiceError::Name(text.to_owned());
        let mut parts = text.splitn(3, '.');
        let service = parts.next().and_then(|label| label.strip_prefix('_'));
        let service = service.filter(|name| is_service(name)).ok_or_else(wrong)?;
        let transport = match parts.next() {
            Some("_tcp") => "_tcp",
            Some("_udp") => "_udp",
            _ => return Err(ServiceError::Transport(text.to_owned())),
        };
        Ok(Self {
            service: service.to_owned(),
            transport,
            host: parts.next().map(str::parse).transpose()?,
        })
    }
}

/// Letters, digits and single hyphens between them, one letter at least (RFC 6335, 5.1); lower case, as all names of ours.
fn is_service(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=SERVICE_MAX).contains(&name.len())
        && name.bytes().all(allowed)
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "_{}.{}", self.service, self.transport)?;
        match &self.host {
            Some(host) => write!(f, ".{host}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ServiceTarget {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let wrong = || ServiceError::Target(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0);
        Ok(Self {
            host: host.parse()?,
            port: port.ok_or_else(wrong)?,
        })
    }
}

impl fmt::Display for ServiceTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

text_type!(
    ServiceName,
    expected: "a service like _ssh._tcp",
    pattern: r"^_[a-z0-9-]{1,15}\._(tcp|udp)(\.[a-z0-9.-]+)?$",
    about: "A service as SRV records name it: _SERVICE._tcp or _SERVICE._udp, behind it a name if it is not the domain's."
);
text_type!(
    ServiceTarget,
    expected: "a place like web:22",
    pattern: r"^[a-z0-9.-]+:[0-9]{1,5}$",
    about: "A host name and a port."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_of_the_domain_or_of_a_name() {
        for text in ["_etcd-server._tcp", "_ssh._tcp.web", "_sip._udp.pbx.example.com"] {
            assert_eq!(text.parse::<ServiceName>().unwrap().to_string(), text);
        }
        let target: ServiceTarget = "web.example.com:22".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("web.example.com", 22));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, sentence) in [
            ("", "\"\" is no name of a service"),
            ("ssh._tcp", "\"ssh._tcp\" is no name of a service"),
            ("_SSH._tcp", "\"_SSH._tcp\" is no name of a service"),
            ("_a--b._tcp", "\"_a--b._tcp\" is no name of a service"),
            ("_22._tcp", "\"_22._tcp\" is no name of a service"),
            (
                "_much-too-long-name._tcp",
                "\"_much-too-long-name._tcp\" is no name of a service",
            ),
            ("_ssh", "\"_ssh\" says neither _tcp nor _udp"),
            ("_ssh._sctp", "\"_ssh._sctp\" says neither _tcp nor _udp"),
            ("_ssh._tcp.", "a host name cannot be empty"),
            (
                "_ssh._tcp.a_b",
                "\"a_b\" is no host name: '_' is not allowed in it",
            ),
        ] {
            assert_eq!(text.parse::<ServiceName>().unwrap_err().to_string(), sentence);
        }
        for text in ["web", "web:", "web:0", "web:+1", "web:65536", ":22", "a b:22"] {
            assert!(text.parse::<ServiceTarget>().is_err(), "{text}");
        }
    }
}
