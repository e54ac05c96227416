//! TAPs as guests.
//!
//! Whoever made a TAP hands it in, and is told how its other side is to be configured: this is what `atoll net exec` does with the
//! TAP of a network namespace. Its addresses are those that DHCP and DHCPv6 would give to the TAP's MAC address, unless others
//! are asked for; they are the TAP's own for as long as it is attached, and so is its name. All are free again when it goes. One whose owner has ended may stay for a moment, so that what was sent last arrives; it gives way to a new one of the same name.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use atoll_engine::{Command, PortConfig, PortId, Prefix, StaticLease};
use atoll_ports::{TapError, TapPort};
use atoll_wire::Mac;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::event_loop::About;
use crate::guests::{Guest, Guests, Link};
use crate::tokens::Source;

/// A TAP that is to be a guest.
#[derive(Debug)]
pub struct TapSpec {
    /// As `atoll_ports::create_tap` makes it.
    pub fd: OwnedFd,
    /// The host name that it has on the network; a single label.
    pub name: Option<String>,
    /// The IPv4 address that it shall have.
    pub address: Option<Ipv4Addr>,
    /// The IPv6 address that it shall have.
    pub address6: Option<Ipv6Addr>,
}

fn usual_prefix6() -> u8 {
    Prefix::LEN
}

/// How the other side of a TAP is to be configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapInfo {
    /// The number of its port.
    pub port: u32,
    /// Its MAC address.
    pub mac: String,
    /// Its IPv4 address, where the network has IPv4.
    pub address: Option<Ipv4Addr>,
    /// Prefix length of the network's IPv4.
    pub prefix_len: u8,
    /// The default router, where the network has one.
    pub gateway: Option<Ipv4Addr>,
    /// The resolver.
    #[serde(default)]
    pub resolver: Option<Ipv4Addr>,
    /// Its IPv6 address, where the network has IPv6.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// How many bits of that are the network's: 64, or 128 where nobody but the router is on the link.
    #[serde(default = "usual_prefix6")]
    pub prefix6_len: u8,
    /// The default router's IPv6 address.
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// The resolver's IPv6 address.
    #[serde(default)]
    pub resolver6: Option<Ipv6Addr>,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// The network's own domain.
    pub domain: String,
}

/// Why a TAP was not attached; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The descriptor.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// Another TAP is there already.
    #[error("a TAP with the MAC address {0} is attached already")]
    MacTaken(Mac),
    /// Something else has the name.
    #[error("the name {0} is taken on this network")]
    NameTaken(String),
    /// A guest has the address.
    #[error("{0} is a guest's already")]
    AddressTaken(IpAddr),
    /// The network does not have the address' family.
    #[error("{0} is of a family that this network does not have")]
    NoFamily(IpAddr),
    /// No address is left.
    #[error("no address is left on this network")]
    Exhausted,
    /// The address cannot be had, as the engine says.
    #[error("{0}")]
    Address(String),
    /// The event loop cannot watch it.
    #[error("cannot watch the TAP: {0}")]
    Watch(#[source] io::Error),
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
}

impl AttachError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::MacTaken(_) | Self::NameTaken(_) => Some("choose another name: --name NAME"),
            Self::Exhausted => Some("give the network a larger subnet"),
            Self::Tap(error) => error.hint(),
            Self::AddressTaken(_) | Self::NoFamily(_) | Self::Address(_) | Self::Watch(_) | Self::Stopped => {
                None
            }
        }
    }
}

/// What a TAP wants to be.
struct Wishes {
    address: Option<Ipv4Addr>,
    address6: Option<Ipv6Addr>,
    hostname: Option<String>,
}

/// What is kept of TAPs beside their ports.
#[derive(Debug, Default)]
pub(crate) struct TapRecords {
    bad_headers: u64,
    refused: u64,
    /// Leases that live as long as their TAP.
    leases: HashMap<PortId, Mac>,
    /// Those whose owners have ended.
    retired: HashSet<PortId>,
}

impl Guests {
    /// Make a TAP a guest.
    pub(crate) fn attach_tap(
        &mut self,
        core: &mut Core,
        about: &About,
        spec: TapSpec,
    ) -> Result<TapInfo, AttachError> {
        let tap = TapPort::new(spec.fd)?;
        let (mac, offloads) = (tap.mac(), tap.offloads());
        self.give_way(core, mac);
        if let Some(name) = spec.name.as_ref().filter(|name| has_name(core, name)) {
            return Err(AttachError::NameTaken(name.clone()));
        }
        // A macvtap has the MAC address of its guest.
        let guests = self.guests.values().filter(|guest| !guest.is_uplink);
        let mut taps = guests.filter_map(|guest| guest.link.as_tap());
        if taps.any(|other| other.mac() == mac) {
            return Err(AttachError::MacTaken(mac));
        }
        let port = PortId(self.next_id());
        core.watch_reading(&tap, Source::Guest(port.0))
            .map_err(AttachError::Watch)?;
        let wishes = Wishes {
            address: spec.address,
            address6: spec.address6,
            hostname: spec.name.clone(),
        };
        let lease = self.reserve(core, about, (port, mac), wishes)?;
        let guest = Guest {
            attached_at: None,
            endpoint: format!("tap {mac}"),
            link: Link::Tap(tap),
            is_uplink: false,
            awaits_room: false,
        };
        let config = PortConfig {
            label: spec.name,
            offloads,
            ..PortConfig::default()
        };
        self.insert(core, port, guest, config);
        Ok(TapInfo {
            port: port.0,
            mac: mac.to_string(),
            address: lease.address,
            prefix_len: about.addresses.subnet.map_or(0, |subnet| subnet.prefix_len),
            gateway: about.router,
            resolver: about.services4(),
            address6: lease.address6,
            prefix6_len: about.prefix6_len(),
            gateway6: about.router6(),
            resolver6: about.services6(),
            mtu: about.mtu,
            domain: about.domain.clone(),
        })
    }

    /// Let a TAP have addresses and a name while it is attached.
    fn reserve(
        &mut self,
        core: &mut Core,
        about: &About,
        (port, mac): (PortId, Mac),
        wishes: Wishes,
    ) -> Result<StaticLease, AttachError> {
        let (now, network) = (core.now(), about.addresses);
        let held = Held::now(core);
        let wanted = wishes.address.map(IpAddr::V4);
        for wanted in wanted.into_iter().chain(wishes.address6.map(IpAddr::V6)) {
            if network.gateway(wanted).is_none() {
                return Err(AttachError::NoFamily(wanted));
            }
            if held.has(wanted, mac) {
                return Err(AttachError::AddressTaken(wanted));
            }
        }
        let of_dhcp = || core.engine.address_for(now, mac).ok_or(AttachError::Exhausted);
        let address = match wishes.address {
            None if network.subnet.is_some() => Some(of_dhcp()?),
            wanted => wanted,
        };
        // What the MAC address makes of the prefix is nobody else's.
        let of_dhcp6 = |prefix: Prefix| {
            let offered = core.engine.address6_for(now, mac);
            let is_anybodys = about.prefix6_len() == Prefix::LEN;
            offered.or_else(|| is_anybodys.then(|| prefix.with(mac.interface_identifier())))
        };
        let lease = StaticLease {
            mac,
            address,
            address6: wishes.address6.or_else(|| network.prefix.and_then(of_dhcp6)),
            hostname: wishes.hostname,
        };
        let applied = core.engine.apply(now, Command::SetStaticLease(lease.clone()));
        applied.map_err(|error| AttachError::Address(error.to_string()))?;
        self.tap_records.leases.insert(port, mac);
        Ok(lease)
    }

    /// The owner of a TAP has ended; `false` if there is no such TAP.
    pub(crate) fn retire_tap(&mut self, port: u32) -> bool {
        let port = PortId(port);
        let is_tap = self.tap_records.leases.contains_key(&port);
        if is_tap {
            self.tap_records.retired.insert(port);
        }
        is_tap
    }

    /// Detach a TAP with this MAC address whose owner has ended.
    fn give_way(&mut self, core: &mut Core, mac: Mac) {
        let records = &self.tap_records;
        let mut retired = records.retired.iter().copied();
        if let Some(port) = retired.find(|port| records.leases.get(port) == Some(&mac)) {
            self.detach(core, port, "another takes its place");
        }
    }

    /// Detach a TAP; `false` if there is none.
    pub(crate) fn detach_tap(&mut self, core: &mut Core, port: u32) -> bool {
        let port = PortId(port);
        let is_tap = matches!(
            self.guests.get(&port),
            Some(Guest {
                link: Link::Tap(_),
                is_uplink: false,
                awaits_room: false,
                ..
            })
        );
        if is_tap {
            self.detach(core, port, "it was taken out");
        }
        is_tap
    }

    /// A TAP is gone: what it had is free.
    pub(crate) fn end_tap(&mut self, core: &mut Core, port: PortId, tap: &TapPort) {
        self.tap_records.bad_headers += tap.bad_headers();
        self.tap_records.refused += tap.refused();
        self.tap_records.retired.remove(&port);
        let Some(mac) = self.tap_records.leases.remove(&port) else {
            return;
        };
        let now = core.now();
        if let Err(error) = core.engine.apply(now, Command::RemoveStaticLease(mac)) {
            tracing::warn!("the address of a TAP stays reserved: {error}");
        }
    }

    /// What was counted at TAPs, by name.
    pub(crate) fn tap_counters(&self) -> [(&'static str, u64); 2] {
        let sum = |past: u64, of: fn(&TapPort) -> u64| past + self.taps().map(of).sum::<u64>();
        [
            (
                "tap_bad_header",
                sum(self.tap_records.bad_headers, TapPort::bad_headers),
            ),
            ("tap_refused", sum(self.tap_records.refused, TapPort::refused)),
        ]
    }

    fn taps(&self) -> impl Iterator<Item = &TapPort> {
        self.guests.values().filter_map(|guest| guest.link.as_tap())
    }
}

pub(crate) fn has_name(core: &Core, wanted: &str) -> bool {
    let names = core.engine.snapshot(core.now()).names;
    names.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted))
}

/// The addresses that guests have: leased, with their owners, or heard in use.
pub(crate) struct Held(Vec<(IpAddr, Option<Mac>)>);

impl Held {
    pub(crate) fn now(core: &Core) -> Self {
        let picture = core.engine.snapshot(core.now());
        let of_v4 = picture.leases.iter();
        let of_v4 = of_v4.map(|lease| (IpAddr::V4(lease.address), Some(lease.mac)));
        let of_v6 = picture.leases6.iter();
        let of_v6 = of_v6.map(|lease| (IpAddr::V6(lease.address), Some(lease.mac)));
        let heard = picture.ports.iter().flat_map(|port| &port.addresses);
        let heard = heard.map(|address| (*address, None));
        Self(of_v4.chain(of_v6).chain(heard).collect())
    }

    /// Whether another guest has it.
    pub(crate) fn has(&self, address: IpAddr, mac: Mac) -> bool {
        let mut all = self.0.iter();
        all.any(|(held, owner)| *held == address && *owner != Some(mac))
    }
}
