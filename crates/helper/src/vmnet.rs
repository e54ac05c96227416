//! What a request means on macOS, where vmnet.framework makes the interfaces.
//!
//! There is one way to a LAN there, so that a bridge is asked for by the name of the card ([`Request::Bridge`]), and the framework's
//! is what one gets. A bridge of its own is the framework's shared or host mode, with the same addresses as on Linux: the host has
//! the first. What is granted is not a TAP but one end of a relay ([`atoll_ports::vmnet::RelayPort`]).

use std::net::IpAddr;

use atoll_ports::vmnet::{Parameters, VmnetError, VmnetMode, VmnetOptions, VmnetRange};

use crate::{Grant, Reach, Refusal, RefusalKind, Request};

impl Request {
    /// The interface that is asked for, on macOS.
    ///
    /// # Errors
    /// There is none like it.
    pub fn vmnet(&self) -> Result<VmnetOptions, Refusal> {
        let options = match self {
            Self::Bridge { bridge } => VmnetOptions::new(VmnetMode::Bridged {
                interface: bridge.to_string(),
            }),
            Self::Own {
                reach,
                subnet,
                prefix,
                mtu,
                outside: None,
                ..
            } => {
                let range = subnet.map(|subnet| VmnetRange::of(subnet.address(), subnet.len()));
                let mode = match reach {
                    Reach::Shared => VmnetMode::Shared {
                        range,
                        prefix: prefix.map(|prefix| prefix.address()),
                    },
                    Reach::Host => VmnetMode::Host {
                        range,
                        identifier: None,
                    },
                };
                VmnetOptions {
                    mtu: Some(*mtu),
                    services: false,
                    ..VmnetOptions::new(mode)
                }
            }
            Self::Own { .. } => {
                let sentence = "on macOS the system chooses the interface by which guests go out";
                return Err(Refusal::new(RefusalKind::Failed, sentence));
            }
            Self::Link(_) => {
                let sentence = "on macOS the host cannot be linked to a network of mode user";
                return Err(Refusal::new(RefusalKind::Failed, sentence).with_hint(
                    "`atoll forward`, `--proxy` and `atoll ssh-config --install` reach its machines; modes shared and host have the host on them",
                ));
            }
            Self::Names(_) => {
                let sentence = "names alone are no interface";
                return Err(Refusal::new(RefusalKind::Failed, sentence));
            }
            Self::NewBridge { .. } | Self::Macvtap { .. } | Self::ProxyArp { .. } => {
                let sentence = "on macOS there is one way to the LAN, and that is vmnet's";
                return Err(Refusal::new(RefusalKind::Failed, sentence).with_hint("leave out `via`"));
            }
        };
        match options.check() {
            Ok(()) => Ok(options),
            Err(error) => Err(Refusal::new(RefusalKind::Failed, error.to_string())),
        }
    }
}

impl Grant {
    /// What there is to say of an interface of vmnet's.
    #[must_use]
    pub fn of_vmnet(parameters: &Parameters) -> Self {
        Self {
            interface: "vmnet".to_owned(),
            mtu: parameters.mtu,
            mac: parameters.mac.unwrap_or_default(),
            // The system's own advertisements say it.
            link_local: None,
            host: parameters.host.map(IpAddr::V4).into_iter().collect(),
            notes: Vec::new(),
            names: None,
        }
    }
}

impl From<VmnetError> for Refusal {
    fn from(error: VmnetError) -> Self {
        let refusal = Self::new(RefusalKind::Failed, error.to_string());
        match error.hint() {
            Some(hint) => refusal.with_hint(hint),
            None => refusal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(reach: Reach) -> Request {
        Request::Own {
            reach,
            network: "lan".parse().unwrap(),
            subnet: Some("192.168.77.0/24".parse().unwrap()),
            prefix: Some("fd00:1:2:3::/64".parse().unwrap()),
            mtu: 1500,
            outside: None,
        }
    }

    fn refused(request: &Request) -> String {
        request.vmnet().unwrap_err().sentence
    }

    #[test]
    fn a_bridge_is_the_frameworks_over_that_card() {
        let request = Request::Bridge {
            bridge: "en0".parse().unwrap(),
        };
        assert_eq!(request.vmnet().unwrap().host_interface(), Some("en0"));
    }

    #[test]
    fn a_network_of_its_own_has_the_hosts_address_first_and_no_dhcp_of_the_systems() {
        let options = own(Reach::Shared).vmnet().unwrap();
        assert!(!options.services);
        let VmnetMode::Shared {
            range: Some(range),
            prefix: Some(prefix),
        } = options.mode
        else {
            panic!("{options:?}");
        };
        assert_eq!(range.start.to_string(), "192.168.77.1");
        assert_eq!(range.mask.to_string(), "255.255.255.0");
        assert_eq!(prefix.to_string(), "fd00:1:2:3::");
        let host = own(Reach::Host).vmnet().unwrap();
        assert!(matches!(host.mode, VmnetMode::Host { identifier: None, .. }));
    }

    #[test]
    fn other_ways_are_refused_with_a_sentence() {
        let interface = || "en0".parse().unwrap();
        let one_way = "on macOS there is one way to the LAN, and that is vmnet's";
        assert_eq!(
            refused(&Request::NewBridge {
                interface: interface()
            }),
            one_way
        );
        let public = Request::Own {
            reach: Reach::Host,
            network: "lan".parse().unwrap(),
            subnet: Some("8.8.8.0/24".parse().unwrap()),
            prefix: None,
            mtu: 1500,
            outside: None,
        };
        assert_eq!(refused(&public), "8.8.8.1 is no private address (RFC 1918)");
    }
}
