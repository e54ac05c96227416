//! Forwards that appear by themselves: `*`, a port of the host for every port at which the guest listens.
//!
//! In a machine's list `[BIND:]*[/PROTOCOL][,except=PORTS]…[,source=keep]` ([`AutoForward`]); on the command line the guest stands before
//! `*`. Without PROTOCOL both TCP and UDP are meant, without BIND the listeners are where those of a [`Forward`] are.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::forward::{Bind, Forward, ForwardError, PortRange, Protocol};
use crate::text::text_type;

/// Ports of the host for all at which a guest listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AutoForward {
    bind: Bind,
    protocol: Option<Protocol>,
    except: Vec<PortRange>,
    keep_source: bool,
}

/// One line of a machine's forwards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardEntry {
    /// Ports that it names.
    Fixed(Forward),
    /// Those at which the guest listens.
    Automatic(AutoForward),
}

/// Whether a text asks for what appears by itself: its last field is `*`.
pub fn is_automatic(text: &str) -> bool {
    let fields = text.split(',').next().unwrap_or_default();
    let fields = fields.split('/').next().unwrap_or_default();
    fields == "*" || fields.ends_with(":*")
}

impl AutoForward {
    /// Where the host listens.
    pub fn bind(&self) -> Bind {
        self.bind
    }

    /// What alone is carried; `None` for all.
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// Ports of the guest that are left out.
    pub fn except(&self) -> &[PortRange] {
        &self.except
    }

    /// Whether the guest is to see its clients' own addresses.
    pub fn keeps_source(&self) -> bool {
        self.keep_source
    }

    /// Where it listens, towards a guest that may have an address of the host's loopback for itself.
    pub fn addresses(&self, own: Option<Ipv4Addr>) -> impl Iterator<Item = std::net::IpAddr> + use<> {
        let bind = match (self.bind, own) {
            (Bind::Usual, Some(own)) => Bind::Address(own.into()),
            (bind, _) => bind,
        };
        bind.addresses()
    }
}

impl FromStr for AutoForward {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        let mut parts = text.split(',');
        let place = parts.next().unwrap_or_default();
        // A port in place of `*`, of which all else is read as of any forward.
        let port = place
            .rfind('*')
            .map(|at| format!("{}1:1{}", &place[..at], &place[at + 1..]));
        let read = port
            .filter(|_| is_automatic(text))
            .map(|text| text.parse::<Forward>());
        let Some(Ok(read)) = read else {
            return Err(ForwardError::Syntax(text.to_owned()));
        };
        let mut forward = Self {
            bind: read.bind(),
            protocol: place.contains('/').then(|| read.protocol()),
            except: Vec::new(),
            keep_source: false,
        };
        for option in parts {
            let wrong = || ForwardError::Option {
                text: text.to_owned(),
                option: option.to_owned(),
            };
            match option.split_once('=').ok_or_else(wrong)? {
                ("source", "keep") => forward.keep_source = true,
                ("except", ports) => forward.except.push(PortRange::parse(ports).ok_or_else(wrong)?),
                _ => return Err(wrong()),
            }
        }
        Ok(forward)
    }
}

impl fmt::Display for AutoForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bind != Bind::Usual {
            write!(f, "{}:", self.bind)?;
        }
        f.write_str("*")?;
        if let Some(protocol) = self.protocol {
            write!(f, "/{protocol}")?;
        }
        for ports in &self.except {
            write!(f, ",except={ports}")?;
        }
        if self.keep_source {
            f.write_str(",source=keep")?;
        }
        Ok(())
    }
}

impl FromStr for ForwardEntry {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        if is_automatic(text) {
            text.parse().map(Self::Automatic)
        } else {
            text.parse().map(Self::Fixed)
        }
    }
}

impl fmt::Display for ForwardEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(forward) => forward.fmt(f),
            Self::Automatic(forward) => forward.fmt(f),
        }
    }
}

text_type!(
    AutoForward,
    expected: "a forward like *",
    pattern: r"^((\[[0-9a-fA-F:.]+\]|[0-9.]+|\*):)?\*(/(tcp|udp))?(,except=[0-9]+(-[0-9]+)?)*(,source=keep)?$",
    about: "[BIND:]*[/PROTOCOL][,except=PORTS]…[,source=keep]: every port at which the machine listens."
);
text_type!(
    ForwardEntry,
    expected: "a forward like 8022:22, or *",
    pattern: r"^((\[[0-9a-fA-F:.]+\]|[0-9.]+|\*):)?([0-9]+(-[0-9]+)?:[0-9]+(-[0-9]+)?|\*)(/(tcp|udp))?(,except=[0-9]+(-[0-9]+)?)*(,source=keep)?$",
    about: "[BIND:]HOST-PORT:GUEST-PORT[/PROTOCOL][,source=keep]; 127.0.0.1 and tcp when left out; [::] is IPv6 only, * both families; ranges like 9000-9010:9000-9010; source=keep lets the guest see its clients' own addresses. Or [BIND:]*[/PROTOCOL][,except=PORTS][,source=keep]: every port at which the machine says that it listens."
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_in_place_of_ports_is_all_of_them() {
        for text in [
            "*",
            "*/tcp",
            "127.0.0.1:*",
            "[::1]:*/udp",
            "*:*",
            "*,except=22,except=9000-9010,source=keep",
        ] {
            let read: ForwardEntry = text.parse().unwrap();
            assert!(matches!(read, ForwardEntry::Automatic(_)), "{text}");
            assert_eq!(read.to_string(), text);
        }
        let fixed: ForwardEntry = "*:80:90".parse().unwrap();
        assert!(matches!(fixed, ForwardEntry::Fixed(_)));
    }

    #[test]
    fn where_it_listens_is_as_of_any_forward() {
        let own = Some(Ipv4Addr::new(127, 64, 0, 7));
        let places = |text: &str, own| {
            let read: AutoForward = text.parse().unwrap();
            let places: Vec<_> = read.addresses(own).map(|address| address.to_string()).collect();
            places.join(" ")
        };
        assert_eq!(places("*", None), "127.0.0.1");
        assert_eq!(places("*", own), "127.64.0.7");
        assert_eq!(places("*:*", own), "0.0.0.0 ::");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for text in [
            "**",
            "*/sctp",
            "a:*",
            "80:*",
            "*,except=0",
            "*,except=",
            "*,source=hide",
            "*,",
            "*:80:*",
        ] {
            assert!(text.parse::<AutoForward>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[*0-9:./,a-z=\\[\\]-]{0,24}|\\PC*") {
            if let Ok(read) = text.parse::<ForwardEntry>() {
                prop_assert_eq!(read.to_string().parse::<ForwardEntry>(), Ok(read));
            }
        }
    }
}
