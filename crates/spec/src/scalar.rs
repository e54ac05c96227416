//! Small checked values of the cluster file that need no type outside it: numbers with bounds, addresses, user names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::diagnostic::Report;
use crate::read::{FromYaml, Noun, wrong_kind};
use crate::text::{Hint, Text};
use crate::yaml::Node;

/// A number of processors, 1 to 1024.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count(pub(crate) u16);

/// How many machines of one kind, 0 to 1000.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instances(pub(crate) u16);

/// The most that a count may make of one kind, and so the highest number of one of them.
pub(crate) const INSTANCES_MAX: u16 = 1000;

/// An MTU: at least what every IPv4 host takes (RFC 791, 576), at most an IPv4 packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mtu(pub(crate) u16);

/// A port of TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port(pub(crate) u16);

/// `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT` of a DNS server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsServer(pub(crate) SocketAddr);

/// A path from the root on.
#[derive(Clone, Debug)]
pub(crate) struct AbsolutePath(pub(crate) PathBuf);

/// A login name.
#[derive(Clone, Debug)]
pub(crate) struct UserName(pub(crate) String);

/// Why a text is none of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScalarError {
    #[error("{text:?} is no number from {min} to {max}")]
    Number { text: String, min: u16, max: u16 },
    #[error("{0:?} is no IPv4 address")]
    Ipv4Address(String),
    #[error("{0:?} is no IP address")]
    Address(String),
    #[error("{0:?} is no address of a DNS server")]
    DnsServer(String),
    #[error("{0:?} is no user name")]
    UserName(String),
    #[error("the path {0:?} is relative")]
    RelativePath(String),
    #[error("a path cannot be empty")]
    EmptyPath,
}

impl Hint for ScalarError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::DnsServer(_) => {
                Some("write an address like 1.1.1.1, 127.0.0.1:5353 or [::1]:53".to_owned())
            }
            Self::Ipv4Address(_) => {
                Some("write an address like 10.77.0.10, without a prefix length".to_owned())
            }
            Self::Address(_) => {
                Some("write an address like 10.77.0.10 or fd77:77::10, without a prefix length".to_owned())
            }
            Self::RelativePath(_) => Some("write it from the root on".to_owned()),
            Self::UserName(_) => Some("use letters, digits, '.', '-' and '_'".to_owned()),
            Self::Number { .. } | Self::EmptyPath => None,
        }
    }
}

fn number(text: &str, min: u16, max: u16) -> Result<u16, ScalarError> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = text
        .parse()
        .ok()
        .filter(|number| digits && (min..=max).contains(number));
    number.ok_or_else(|| ScalarError::Number {
        text: text.to_owned(),
        min,
        max,
    })
}

impl FromStr for Count {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        number(text, 1, 1024).map(Self)
    }
}

impl FromStr for Instances {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        number(text, 0, INSTANCES_MAX).map(Self)
    }
}

impl FromStr for Mtu {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        number(text, 576, u16::MAX).map(Self)
    }
}

impl FromStr for Port {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        number(text, 1, u16::MAX).map(Self)
    }
}

impl FromStr for DnsServer {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let with_port = text.parse::<SocketAddr>();
        let server =
            with_port.or_else(|_| text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53)));
        let usable = |server: &SocketAddr| {
            server.port() != 0 && !server.ip().is_unspecified() && !server.ip().is_multicast()
        };
        server
            .ok()
            .filter(usable)
            .map(Self)
            .ok_or_else(|| ScalarError::DnsServer(text.to_owned()))
    }
}

impl FromStr for AbsolutePath {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let path = PathBuf::from(text);
        match path.is_absolute() {
            true => Ok(Self(path)),
            false if text.is_empty() => Err(ScalarError::EmptyPath),
            false => Err(ScalarError::RelativePath(text.to_owned())),
        }
    }
}

impl FromStr for UserName {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let valid =
            !text.is_empty() && text.len() <= 32 && !text.starts_with('-') && text.chars().all(allowed);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(ScalarError::UserName(text.to_owned()))
        }
    }
}

macro_rules! expects {
    ($type:ty, $expected:literal, $schema:tt) => {
        impl Text for $type {
            const EXPECTED: &'static str = $expected;
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

expects!(Count, "a number", { "type": "integer", "minimum": 1, "maximum": 1024 });
expects!(Instances, "a number", { "type": "integer", "minimum": 0, "maximum": 1000 });
expects!(Mtu, "a number", { "type": "integer", "minimum": 576, "maximum": 65535 });
expects!(Port, "a port number", { "type": "integer", "minimum": 1, "maximum": 65535 });
expects!(DnsServer, "an address like 1.1.1.1", { "type": "string" });
expects!(AbsolutePath, "a path from the root on", { "type": "string", "pattern": "^/" });
expects!(UserName, "a user name", { "type": "string", "pattern": "^[A-Za-z0-9._][A-Za-z0-9._-]*$" });

impl Noun for AbsolutePath {
    const NOUN: &'static str = "port";
}

impl FromYaml for Ipv4Addr {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        address(
            node,
            (what, "an address like 10.77.0.10"),
            ScalarError::Ipv4Address,
            report,
        )
    }
}

impl FromYaml for IpAddr {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let expected = "an address like 10.77.0.10 or fd77:77::10";
        address(node, (what, expected), ScalarError::Address, report)
    }
}

fn address<T: FromStr>(
    node: &Node,
    (what, expected): (&str, &str),
    error: fn(String) -> ScalarError,
    report: &mut Report,
) -> Option<T> {
    let Some(text) = node.text() else {
        return wrong_kind(node, what, expected, report);
    };
    let parsed = text.parse();
    parsed
        .map_err(|_| report.push(crate::read::bad_value(&node.span, what, &error(text.to_owned()))))
        .ok()
}

impl FromYaml for PathBuf {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let text = String::from_yaml(node, what, report)?;
        if text.is_empty() {
            report.push(crate::read::bad_value(&node.span, what, &ScalarError::EmptyPath));
            return None;
        }
        Some(report.files.rebase(&node.span, text.into()))
    }
}
