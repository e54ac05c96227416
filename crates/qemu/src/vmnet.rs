//! QEMU's own `vmnet-bridged`, `vmnet-shared` and `vmnet-host`: a card on macOS's network, with nothing of ours between.
//!
//! Source: QEMU `qapi/net.json` (`NetdevVmnetBridgedOptions` and its neighbours, since 7.1), `net/vmnet-*.c`. It is the way for who
//! wants the least between guest and LAN, and pays with root (or Apple's entitlement) for QEMU itself, and with all that a
//! network of ours gives: names, forwards, capture, faults, and a network that is back after it went. Other mistakes QEMU names
//! itself; that addresses go by three it says badly, so that they are one value here.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::options::OptionArg;

/// A network of macOS's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vmnet {
    /// The LAN of one of the host's interfaces.
    Bridged {
        /// Its name, such as `en0`.
        interface: String,
    },
    /// Behind the host's address translation.
    Shared {
        /// Its IPv4 addresses; the system's choice when absent.
        range: Option<VmnetAddresses>,
        /// Its IPv6 addresses, 64 bits and unique local; the system's choice when absent.
        nat66_prefix: Option<Ipv6Addr>,
        /// Guests do not see each other.
        isolated: bool,
    },
    /// With the host, and other guests.
    Host {
        /// Its IPv4 addresses; the system's choice when absent.
        range: Option<VmnetAddresses>,
        /// A UUID: the guests of one network have the same, and no DHCP of the system's.
        network: Option<String>,
        /// Guests do not see each other.
        isolated: bool,
    },
}

/// IPv4 addresses of a network, which QEMU takes together or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmnetAddresses {
    /// The host's own.
    pub start: Ipv4Addr,
    /// The last that DHCP gives away.
    pub end: Ipv4Addr,
    /// The network's mask.
    pub mask: Ipv4Addr,
}

impl Vmnet {
    /// The value of `-netdev` for the back end of this id.
    #[must_use]
    pub fn netdev(&self, id: &str) -> OsString {
        let arg = OptionArg::new(self.driver()).set("id", id);
        let arg = match self {
            Self::Bridged { interface } => arg.set("ifname", interface),
            Self::Shared {
                range,
                nat66_prefix,
                isolated,
            } => {
                let arg = set_range(arg, *range);
                let arg = match nat66_prefix {
                    Some(prefix) => arg.set("nat66-prefix", prefix.to_string()),
                    None => arg,
                };
                set_isolated(arg, *isolated)
            }
            Self::Host {
                range,
                network,
                isolated,
            } => {
                let arg = set_range(arg, *range);
                let arg = match network {
                    Some(network) => arg.set("net-uuid", network),
                    None => arg,
                };
                set_isolated(arg, *isolated)
            }
        };
        arg.finish()
    }

    fn driver(&self) -> &'static str {
        match self {
            Self::Bridged { .. } => "vmnet-bridged",
            Self::Shared { .. } => "vmnet-shared",
            Self::Host { .. } => "vmnet-host",
        }
    }
}

fn set_range(arg: OptionArg, range: Option<VmnetAddresses>) -> OptionArg {
    let Some(VmnetAddresses { start, end, mask }) = range else {
        return arg;
    };
    let arg = arg.set("start-address", start.to_string());
    let arg = arg.set("end-address", end.to_string());
    arg.set("subnet-mask", mask.to_string())
}

/// Said only where it is so: a QEMU that was built without it refuses even `off`.
fn set_isolated(arg: OptionArg, isolated: bool) -> OptionArg {
    if isolated { arg.set("isolated", "on") } else { arg }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Option<VmnetAddresses> = Some(VmnetAddresses {
        start: Ipv4Addr::new(192, 168, 77, 1),
        end: Ipv4Addr::new(192, 168, 77, 253),
        mask: Ipv4Addr::new(255, 255, 255, 0),
    });

    #[test]
    fn bridged_names_the_interface_and_doubles_its_commas() {
        let of = |interface: &str| {
            Vmnet::Bridged {
                interface: interface.to_owned(),
            }
            .netdev("net0")
        };
        assert_eq!(of("en0"), "vmnet-bridged,id=net0,ifname=en0");
        assert_eq!(
            of("en0,isolated=on"),
            "vmnet-bridged,id=net0,ifname=en0,,isolated=on"
        );
    }

    #[test]
    fn shared_says_what_was_asked_for_and_no_more() {
        let plain = Vmnet::Shared {
            range: None,
            nat66_prefix: None,
            isolated: false,
        };
        assert_eq!(plain.netdev("net0"), "vmnet-shared,id=net0");
        let full = Vmnet::Shared {
            range: RANGE,
            nat66_prefix: Some(Ipv6Addr::new(0xfd00, 1, 2, 3, 0, 0, 0, 0)),
            isolated: true,
        };
        assert_eq!(
            full.netdev("net1"),
            "vmnet-shared,id=net1,start-address=192.168.77.1,end-address=192.168.77.253,subnet-mask=255.255.255.0,\
             nat66-prefix=fd00:1:2:3::,isolated=on"
        );
    }

    #[test]
    fn host_networks_are_told_apart_by_their_uuid() {
        let network = "2f1f2a3e-7c5b-4d7a-9d2c-0c6b5a4e3d2f";
        let host = Vmnet::Host {
            range: None,
            network: Some(network.to_owned()),
            isolated: false,
        };
        assert_eq!(
            host.netdev("net0"),
            format!("vmnet-host,id=net0,net-uuid={network}").as_str()
        );
    }
}
