//! What an interface is to be.
//!
//! The framework answers most mistakes with one word (`VMNET_INVALID_ARGUMENT`, or only `VMNET_FAILURE`), so they are found
//! here, and named. The rules are those of Apple's documentation of the keys named at each field.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The least MTU that carries IPv6 (RFC 8200, section 5).
const MIN_MTU: u16 = 1280;

/// The largest that an Ethernet of the framework's carries.
const MAX_MTU: u16 = 9000;

/// `IFNAMSIZ` less its NUL.
const MAX_NAME: usize = 15;

/// An interface of the framework.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmnetOptions {
    /// Where it leads.
    pub mode: VmnetMode,
    /// Guests behind different interfaces do not see each other (`vmnet_enable_isolation_key`). Not in bridged mode.
    pub isolated: bool,
    /// Largest IP packet in bytes (`vmnet_mtu_key`); the system's own when absent. Not in bridged mode, where it is the LAN's.
    pub mtu: Option<u16>,
    /// Frames follow a virtio_net_hdr, with unfinished checksums and large segments (`vmnet_enable_virtio_header_key` and
    /// `vmnet_enable_tso_key`, macOS 15.4). Where the system has no such header they are finished and small.
    pub offload: bool,
    /// The system serves DHCP and DNS in shared and host mode. `false` turns them off since macOS 26
    /// (`vmnet_network_configuration_disable_dhcp`); before, guests are kept from the system's DHCP. Router advertisements it always
    /// sends where it is the router.
    pub services: bool,
}

/// Where an interface leads, in the framework's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmnetMode {
    /// To the LAN of one of the host's interfaces.
    Bridged {
        /// Its name, such as `en0` (`vmnet_shared_interface_name_key`).
        interface: String,
    },
    /// Through the host's own address translation; the host is reachable.
    Shared {
        /// Its IPv4 addresses; the system's choice when absent.
        range: Option<VmnetRange>,
        /// Its IPv6 addresses, 64 bits and unique local (`vmnet_nat66_prefix_key`); the system's choice when absent.
        prefix: Option<Ipv6Addr>,
    },
    /// To the host and other guests only.
    Host {
        /// Its IPv4 addresses; the system's choice when absent.
        range: Option<VmnetRange>,
        /// A network of this name, on which the system serves no DHCP (`vmnet_network_identifier_key`).
        identifier: Option<NetworkId>,
    },
}

/// IPv4 addresses of a network: the three go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmnetRange {
    /// The host's own, at which guests find their router (`vmnet_start_address_key`).
    pub start: Ipv4Addr,
    /// The last that the system's DHCP gives away (`vmnet_end_address_key`).
    pub end: Ipv4Addr,
    /// The network's mask (`vmnet_subnet_mask_key`).
    pub mask: Ipv4Addr,
}

/// A UUID that names an isolated host network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworkId(pub [u8; 16]);

/// Why an interface cannot be as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A name that no interface has.
    #[error("{0:?} is no name of an interface: 1 to 15 letters, digits, dots, dashes and underscores")]
    Interface(String),
    /// A mask with holes, or with room for no guest.
    #[error("{0} is no mask of a subnet with room for guests: /8 to /30")]
    Mask(Ipv4Addr),
    /// The system takes private addresses only.
    #[error("{0} is no private address (RFC 1918)")]
    NotPrivate(Ipv4Addr),
    /// The first and last address.
    #[error("{start} to {end} is no range of hosts' addresses within one subnet of mask {mask}")]
    Range {
        /// As given.
        start: Ipv4Addr,
        /// As given.
        end: Ipv4Addr,
        /// As given.
        mask: Ipv4Addr,
    },
    /// The system takes unique local prefixes only.
    #[error("{0}/64 is no unique local prefix (fd00::/8, RFC 4193)")]
    Prefix(Ipv6Addr),
    /// Out of bounds.
    #[error("an MTU of {0} is not within {MIN_MTU} and {MAX_MTU}")]
    Mtu(u16),
    /// An option that has no meaning for the mode.
    #[error("bridged mode has no {0} of its own: the LAN's holds")]
    NotBridged(&'static str),
    /// No UUID.
    #[error("{0:?} is no UUID: 8-4-4-4-12 hexadecimal digits")]
    NetworkId(String),
}

impl VmnetOptions {
    /// An interface with every default in this mode.
    #[must_use]
    pub fn new(mode: VmnetMode) -> Self {
        Self {
            mode,
            isolated: false,
            mtu: None,
            offload: false,
            services: true,
        }
    }

    /// Find what the framework would only refuse.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self) -> Result<(), OptionsError> {
        if let Some(mtu) = self.mtu.filter(|mtu| !(MIN_MTU..=MAX_MTU).contains(mtu)) {
            return Err(OptionsError::Mtu(mtu));
        }
        match &self.mode {
            VmnetMode::Bridged { interface } => {
                check_name(interface)?;
                if self.mtu.is_some() {
                    return Err(OptionsError::NotBridged("MTU"));
                }
                if self.isolated {
                    return Err(OptionsError::NotBridged("isolation"));
                }
                Ok(())
            }
            VmnetMode::Shared { range, prefix } => {
                range.map_or(Ok(()), VmnetRange::check)?;
                prefix.map_or(Ok(()), check_prefix)
            }
            VmnetMode::Host { range, .. } => range.map_or(Ok(()), VmnetRange::check),
        }
    }

    /// Whether the system serves nothing there in any release: on somebody else's LAN, and on a named host network.
    #[must_use]
    pub fn is_without_services(&self) -> bool {
        match &self.mode {
            VmnetMode::Bridged { .. } => true,
            VmnetMode::Host { identifier, .. } => identifier.is_some(),
            VmnetMode::Shared { .. } => false,
        }
    }

    /// The host's interface that must be there for this to be of use.
    #[must_use]
    pub fn host_interface(&self) -> Option<&str> {
        match &self.mode {
            VmnetMode::Bridged { interface } => Some(interface),
            VmnetMode::Shared { .. } | VmnetMode::Host { .. } => None,
        }
    }
}

impl VmnetRange {
    /// The addresses of a subnet: the host has the first, the system's DHCP all but the last.
    ///
    /// The last host address is left out because the network's own services may have it.
    #[must_use]
    pub fn of(subnet: Ipv4Addr, prefix_len: u8) -> Self {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(prefix_len.min(32)))
            .unwrap_or(0);
        let network = subnet.to_bits() & mask;
        let broadcast = network | !mask;
        Self {
            start: Ipv4Addr::from_bits(network.saturating_add(1)),
            end: Ipv4Addr::from_bits(broadcast.saturating_sub(2)),
            mask: Ipv4Addr::from_bits(mask),
        }
    }

    fn check(self) -> Result<(), OptionsError> {
        let Self { start, end, mask } = self;
        let bits = mask.to_bits();
        if bits.leading_ones() + bits.trailing_zeros() != 32 || !(8..=30).contains(&bits.leading_ones()) {
            return Err(OptionsError::Mask(mask));
        }
        if let Some(address) = [start, end].into_iter().find(|address| !address.is_private()) {
            return Err(OptionsError::NotPrivate(address));
        }
        let is_host =
            |address: Ipv4Addr| !matches!(address.to_bits() & !bits, host if host == 0 || host == !bits);
        let is_one_subnet = start.to_bits() & bits == end.to_bits() & bits;
        if is_one_subnet && start < end && is_host(start) && is_host(end) {
            return Ok(());
        }
        Err(OptionsError::Range { start, end, mask })
    }
}

/// As `if_nametoindex` could know it; nothing that a shell, a path or a format would read otherwise.
fn check_name(name: &str) -> Result<(), OptionsError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_name =
        (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain) && !matches!(name, "." | "..");
    if is_name {
        Ok(())
    } else {
        Err(OptionsError::Interface(name.to_owned()))
    }
}

fn check_prefix(prefix: Ipv6Addr) -> Result<(), OptionsError> {
    let [first, .., a, b, c, d, e, f, g, h] = prefix.octets();
    if first == 0xfd && [a, b, c, d, e, f, g, h] == [0; 8] {
        Ok(())
    } else {
        Err(OptionsError::Prefix(prefix))
    }
}

impl FromStr for NetworkId {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let bad = || OptionsError::NetworkId(text.to_owned());
        let bytes = text.as_bytes();
        let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        if bytes.len() != 36 || (0..36).any(|at| is_dash(at) != (bytes[at] == b'-')) {
            return Err(bad());
        }
        let mut id = [0; 16];
        let mut digits = text.chars().filter(|char| *char != '-');
        for byte in &mut id {
            let mut digit = || {
                digits
                    .next()
                    .and_then(|char| char.to_digit(16))
                    .and_then(|digit| u8::try_from(digit).ok())
            };
            *byte = digit()
                .zip(digit())
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(bad)?;
        }
        Ok(Self(id))
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shared(start: [u8; 4], end: [u8; 4], mask: [u8; 4]) -> Result<(), OptionsError> {
        let range = VmnetRange {
            start: start.into(),
            end: end.into(),
            mask: mask.into(),
        };
        let mode = VmnetMode::Shared {
            range: Some(range),
            prefix: None,
        };
        VmnetOptions::new(mode).check()
    }

    #[test]
    fn a_range_is_of_hosts_of_one_private_subnet() {
        shared([10, 0, 0, 1], [10, 0, 0, 254], [255, 255, 255, 0]).unwrap();
        shared([192, 168, 105, 1], [192, 168, 105, 2], [255, 255, 255, 252]).unwrap();
        for (start, end, mask) in [
            ([10, 0, 0, 0], [10, 0, 0, 9], [255, 255, 255, 0]),
            ([10, 0, 0, 1], [10, 0, 0, 255], [255, 255, 255, 0]),
            ([10, 0, 0, 1], [10, 0, 1, 9], [255, 255, 255, 0]),
            ([10, 0, 0, 9], [10, 0, 0, 9], [255, 255, 255, 0]),
            ([10, 0, 0, 9], [10, 0, 0, 1], [255, 255, 255, 0]),
        ] {
            assert!(matches!(
                shared(start, end, mask),
                Err(OptionsError::Range { .. })
            ));
        }
        let public = shared([8, 8, 8, 1], [8, 8, 8, 9], [255, 255, 255, 0]);
        assert_eq!(public, Err(OptionsError::NotPrivate([8, 8, 8, 1].into())));
    }

    #[test]
    fn a_mask_has_no_holes_and_leaves_room() {
        for mask in [
            [255, 0, 255, 0],
            [255, 255, 255, 254],
            [255; 4],
            [0; 4],
            [254, 0, 0, 0],
        ] {
            let checked = shared([10, 0, 0, 1], [10, 0, 0, 2], mask);
            assert_eq!(checked, Err(OptionsError::Mask(mask.into())));
        }
    }

    #[test]
    fn a_bridged_interface_takes_what_the_lan_has() {
        let bridged = |interface: &str| {
            VmnetOptions::new(VmnetMode::Bridged {
                interface: interface.to_owned(),
            })
        };
        bridged("en0").check().unwrap();
        for name in ["", "en0 ", "../en0", ".", "averyverylongname", "en0\0"] {
            assert_eq!(
                bridged(name).check(),
                Err(OptionsError::Interface(name.to_owned()))
            );
        }
        let with_mtu = VmnetOptions {
            mtu: Some(1500),
            ..bridged("en0")
        };
        assert_eq!(with_mtu.check(), Err(OptionsError::NotBridged("MTU")));
        let isolated = VmnetOptions {
            isolated: true,
            ..bridged("en0")
        };
        assert_eq!(isolated.check(), Err(OptionsError::NotBridged("isolation")));
    }

    #[test]
    fn a_prefix_is_unique_local_and_has_64_bits() {
        let shared = |prefix: &str| {
            let prefix = Some(prefix.parse().unwrap());
            VmnetOptions::new(VmnetMode::Shared { range: None, prefix }).check()
        };
        shared("fd00:1:2:3::").unwrap();
        for prefix in ["2001:db8::", "fc00::", "fd00::1", "fe80::"] {
            assert_eq!(shared(prefix), Err(OptionsError::Prefix(prefix.parse().unwrap())));
        }
    }

    #[test]
    fn an_mtu_carries_ipv6_and_fits() {
        let host = VmnetOptions::new(VmnetMode::Host {
            range: None,
            identifier: None,
        });
        for (mtu, is_good) in [(1279, false), (1280, true), (9000, true), (9001, false)] {
            let options = VmnetOptions {
                mtu: Some(mtu),
                ..host.clone()
            };
            assert_eq!(options.check().is_ok(), is_good, "{mtu}");
        }
    }

    proptest! {
        #[test]
        fn every_range_of_a_private_subnet_is_good(third in 0_u8..=255, host in any::<u8>(), len in 16_u8..=29) {
            let range = VmnetRange::of([192, 168, third, host].into(), len);
            prop_assert_eq!(range.check(), Ok(()));
        }

        #[test]
        fn a_uuid_reads_back(id in any::<[u8; 16]>()) {
            prop_assert_eq!(NetworkId(id).to_string().parse(), Ok(NetworkId(id)));
        }

        #[test]
        fn no_text_panics_a_uuid(text in "\\PC{0,40}|[0-9a-f-]{36}") {
            if let Ok(id) = text.parse::<NetworkId>() {
                prop_assert_eq!(id.to_string(), text.to_lowercase());
            }
        }
    }
}
