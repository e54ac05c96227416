//! What may be asked of the helper, and what it answers: one JSON document a message, each at most [`MAX_MESSAGE`] bytes.
//!
//! A request is checked when it is read: whoever holds a [`Request`] holds names that are names, ranges that are ranges, and
//! no more of them than there may be. Whether it may be carried out is another question ([`crate::Policy`]).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use atoll_wire::Mac;
use serde::{Deserialize, Serialize};

use crate::link::LinkRequest;
use crate::names::NamesRequest;
use crate::net::{InterfaceName, Ipv4Net, Ipv6Net, NetworkName, shortened};

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 4096;

/// How many requests a session takes.
pub const MAX_REQUESTS: usize = 64;

/// Addresses that one request may have answered for.
pub const MAX_ADDRESSES: usize = 16;

/// What the helper is asked for. Each that is granted gives one TAP, but for [`Request::Names`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum Request {
    /// A TAP in a bridge that exists.
    Bridge {
        /// The bridge.
        bridge: InterfaceName,
    },
    /// A bridge over a network card, whose addresses and routes move to it and, in the end, back; a TAP in it.
    NewBridge {
        /// The card.
        interface: InterfaceName,
    },
    /// A macvtap in bridge mode over a network card, for one guest.
    Macvtap {
        /// The card.
        interface: InterfaceName,
        /// The guest's address.
        #[serde(with = "mac_word")]
        mac: Mac,
    },
    /// A bridge of its own, of which the host has the first addresses; a TAP in it.
    Own {
        /// How far guests reach.
        reach: Reach,
        /// Whose it is, for people.
        network: NetworkName,
        /// Its IPv4.
        #[serde(default)]
        subnet: Option<Ipv4Net>,
        /// Its IPv6: a /64.
        #[serde(default)]
        prefix: Option<Ipv6Net>,
        /// Bytes of the largest packet on it.
        mtu: u16,
        /// The only interface by which guests reach the world; by all when it is left out.
        #[serde(default)]
        outside: Option<InterfaceName>,
    },
    /// A TAP by which the host is on a network of ours, with an address there.
    Link(LinkRequest),
    /// The names of a network on which the host is by itself. Nothing is given: they last as long as the session.
    Names(NamesRequest),
    /// A TAP to which the addresses are routed, and for which the host answers on the network card: where foreign MAC addresses
    /// are dropped (Wi-Fi, clouds).
    ProxyArp {
        /// The card.
        interface: InterfaceName,
        /// The guests' addresses.
        addresses: Vec<IpAddr>,
    },
}

/// How far guests on a bridge of their own reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// The host and, translated to its addresses, the world.
    Shared,
    /// The host.
    Host,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Host => "host",
        })
    }
}

/// What was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Grant {
    /// The TAP's interface; of names alone the file that tells of them.
    pub interface: String,
    /// Bytes of the largest packet that goes this way.
    pub mtu: u16,
    /// The host's address on the other side: of the bridge, the card, or the TAP that is routed.
    #[serde(with = "mac_word")]
    pub mac: Mac,
    /// The host's link-local address there.
    pub link_local: Option<Ipv6Addr>,
    /// The host's other addresses there.
    pub host: Vec<IpAddr>,
    /// What may keep packets from passing, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Of a link, and of names alone: who was told which names are the network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<String>,
}

impl Grant {
    /// What there is to say of names that were told by a file.
    #[must_use]
    pub fn of_names(file: &std::path::Path, folder: &std::path::Path) -> Self {
        Self {
            interface: file.display().to_string(),
            mtu: 0,
            mac: Mac::default(),
            link_local: None,
            host: Vec::new(),
            notes: Vec::new(),
            names: Some(folder.display().to_string()),
        }
    }
}

/// Why there is no grant: one sentence, and what can be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[error("{sentence}")]
pub struct Refusal {
    /// Whose turn it is.
    pub kind: RefusalKind,
    /// The sentence, without a full stop.
    pub sentence: String,
    /// What can be done about it.
    #[serde(default)]
    pub hint: Option<String>,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The request is no request.
    Malformed,
    /// The policy does not allow it.
    Denied,
    /// The host does not have what it takes, or the kernel said no.
    Failed,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(kind: RefusalKind, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self {
            kind,
            sentence,
            hint: None,
        }
    }

    /// With a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The helper's answer to a request. A grant comes with the TAP's descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It was done.
    Granted(Grant),
    /// It was not, and nothing is left of it.
    Refused(Refusal),
}

impl Request {
    /// Read a message.
    ///
    /// # Errors
    /// It is no request, or one that no policy could allow.
    pub fn decode(message: &[u8]) -> Result<Self, Refusal> {
        let malformed = |sentence: String| Refusal::new(RefusalKind::Malformed, sentence);
        if message.len() > MAX_MESSAGE {
            return Err(malformed(format!("a request has at most {MAX_MESSAGE} bytes")));
        }
        let request: Self = serde_json::from_slice(message).map_err(|error| {
            malformed(format!(
                "this is no request: {}",
                shortened_to(&error.to_string(), 200)
            ))
        })?;
        request.check().map_err(malformed)?;
        Ok(request)
    }

    /// The bytes of the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names, numbers and lists become JSON")
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Bridge { .. } | Self::NewBridge { .. } => Ok(()),
            Self::Macvtap { mac, .. } => check_mac(*mac),
            Self::Own {
                subnet, prefix, mtu, ..
            } => check_own(*subnet, *prefix, *mtu),
            Self::Link(link) => link.check(),
            Self::Names(names) => names.check(),
            Self::ProxyArp { addresses, .. } => check_addresses(addresses),
        }
    }
}

fn check_mac(mac: Mac) -> Result<(), String> {
    if mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
        return Err(format!("{mac} is no address of a guest: it is multicast or zero"));
    }
    Ok(())
}

/// Bytes of packets: IPv6 takes 1280 everywhere (RFC 8200, 5), and a TAP 65521 (`MAX_MTU` in drivers/net/tun.c).
const MTU: std::ops::RangeInclusive<u16> = 1280..=65521;

pub(crate) fn check_own(subnet: Option<Ipv4Net>, prefix: Option<Ipv6Net>, mtu: u16) -> Result<(), String> {
    if !MTU.contains(&mtu) {
        return Err(format!(
            "an MTU of {mtu} is not between {} and {}",
            MTU.start(),
            MTU.end()
        ));
    }
    check_ranges(subnet, prefix)
}

pub(crate) fn check_ranges(subnet: Option<Ipv4Net>, prefix: Option<Ipv6Net>) -> Result<(), String> {
    if subnet.is_none() && prefix.is_none() {
        return Err("a network of its own has a subnet, a prefix or both".to_owned());
    }
    if let Some(subnet) = subnet.filter(|subnet| !(8..=29).contains(&subnet.len())) {
        return Err(format!(
            "{subnet} is no subnet for guests: its length is not between 8 and 29"
        ));
    }
    if let Some(prefix) = prefix.filter(|prefix| prefix.len() != 64) {
        return Err(format!("{prefix} is no prefix for guests: its length is not 64"));
    }
    Ok(())
}

fn check_addresses(addresses: &[IpAddr]) -> Result<(), String> {
    if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
        return Err(format!(
            "the host answers for 1 to {MAX_ADDRESSES} addresses, not {}",
            addresses.len()
        ));
    }
    let is_wrong = |address: &&IpAddr| match address {
        IpAddr::V4(it) => {
            it.is_unspecified()
                || it.is_loopback()
                || it.is_multicast()
                || it.is_broadcast()
                || it.octets()[0] == 0
        }
        IpAddr::V6(it) => {
            it.is_unspecified()
                || it.is_loopback()
                || it.is_multicast()
                || it.is_unicast_link_local()
                || it.to_ipv4_mapped().is_some()
        }
    };
    if let Some(address) = addresses.iter().find(is_wrong) {
        return Err(format!("{address} is no address that a guest can have"));
    }
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("{} is there twice", pair[0]));
    }
    Ok(())
}

fn shortened_to(text: &str, most: usize) -> String {
    let one_line: String = text
        .chars()
        .take(most)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    one_line
}

impl Reply {
    /// The bytes of the message. What does not fit is left out of the notes first.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bytes = |reply: &Self| serde_json::to_vec(reply).expect("names, numbers and lists become JSON");
        let whole = bytes(self);
        match self {
            Self::Granted(grant) if whole.len() > MAX_MESSAGE => {
                let mut less = grant.clone();
                less.notes.clear();
                less.host.truncate(MAX_ADDRESSES);
                bytes(&Self::Granted(less))
            }
            Self::Refused(refusal) if whole.len() > MAX_MESSAGE => {
                let mut less = refusal.clone();
                less.sentence = shortened(&less.sentence);
                less.hint = None;
                bytes(&Self::Refused(less))
            }
            _ => whole,
        }
    }
}

/// A MAC address as people write it.
mod mac_word {
    use atoll_wire::Mac;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(mac)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse()
            .map_err(|_| de::Error::custom(format_args!("{:?} is no MAC address", super::shortened(&word))))
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
