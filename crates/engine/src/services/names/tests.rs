use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::*;
use crate::services::dhcp::DhcpServer;
use crate::services::dhcp6::Dhcp6Server;
use crate::{Lease, Lease6, StaticLease};

const PREFIX: Prefix = Prefix {
    address: Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 0),
};

fn host(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, n)
}

fn host6(identifier: u64) -> Ipv6Addr {
    PREFIX.with(identifier)
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn lease(n: u8, name: &str) -> Lease {
    Lease {
        mac: mac(n),
        address: host(n),
        hostname: Some(name.to_owned()),
        remaining: Duration::from_secs(60),
    }
}

fn lease6(n: u8, name: Option<&str>) -> Lease6 {
    Lease6 {
        mac: mac(n),
        iaid: 1,
        address: host6(n.into()),
        hostname: name.map(str::to_owned),
        remaining: Duration::from_secs(60),
    }
}

fn config() -> Config {
    let subnet = Subnet {
        address: host(0),
        prefix_len: 24,
    };
    let mut config = Config::new((subnet, PREFIX));
    config.names.insert("Registry".to_owned(), vec![host(20).into()]);
    config.static_leases = vec![StaticLease {
        mac: mac(2),
        address: Some(host(10)),
        address6: None,
        hostname: Some("db".to_owned()),
    }];
    config.leases = vec![
        lease(30, "db"),
        lease(32, "registry"),
        lease(34, "gateway"),
        lease(36, "web"),
    ];
    config
}

/// Addresses that were heard, the latest first.
#[derive(Debug, Default)]
pub(in crate::services) struct Ears(pub(in crate::services) Vec<(IpAddr, Mac)>);

impl Heard for Ears {
    fn each(&self) -> Box<dyn Iterator<Item = (IpAddr, Mac)> + '_> {
        Box::new(self.0.iter().copied())
    }

    fn latest_of(&self, mac: Mac) -> Vec<IpAddr> {
        let its = self.0.iter().filter(|(_, other)| *other == mac);
        its.map(|(address, _)| *address).collect()
    }

    fn station_at(&self, address: IpAddr) -> Option<Mac> {
        let mut all = self.0.iter();
        all.find(|(other, _)| *other == address).map(|(_, mac)| *mac)
    }
}

/// All that a view shows.
struct World {
    names: Names,
    dhcp: DhcpServer,
    dhcp6: Dhcp6Server,
    ears: Ears,
}

impl World {
    fn new(config: &Config) -> Self {
        Self {
            names: Names::new(config),
            dhcp: DhcpServer::new(config),
            dhcp6: Dhcp6Server::new(config),
            ears: Ears::default(),
        }
    }

    fn view(&self) -> NameView<'_> {
        NameView {
            names: &self.names,
            dhcp: &self.dhcp,
            dhcp6: &self.dhcp6,
            heard: &self.ears,
        }
    }

    fn hears(&mut self, n: u8, address: Ipv6Addr) {
        self.ears.0.insert(0, (address.into(), mac(n)));
    }

    fn addresses(&self, label: &str) -> Vec<IpAddr> {
        let full = self.names.full(label);
        self.view().addresses_of_full(&full).unwrap_or_default()
    }

    fn name6(&self, identifier: u64) -> Option<String> {
        self.view().name_of(host6(identifier).into())
    }
}

#[test]
fn a_name_goes_to_whoever_has_the_better_right_to_it() {
    let world = World::new(&config());
    let expected = [
        ("gateway", 1),
        ("registry", 20),
        ("db", 10),
        ("web", 36),
        ("WEB.atoll.internal.", 36),
    ];
    for (name, last) in expected {
        assert_eq!(world.view().look_up(name).unwrap()[0], host(last), "{name}");
    }
    let all: [(&str, IpAddr); 7] = [
        ("db", host(10).into()),
        ("gateway", host(1).into()),
        ("gateway", host6(1).into()),
        ("host", host(254).into()),
        ("host", host6(0xfe).into()),
        ("registry", host(20).into()),
        ("web", host(36).into()),
    ];
    let all = all.map(|(name, address)| (name.to_owned(), address));
    assert_eq!(world.view().all(), all);
    let name = world.view().name_of(host(30).into());
    assert_eq!(name, None, "it lost its name");
}

#[test]
fn a_configured_name_comes_and_goes_and_the_built_in_ones_stay() {
    let mut names = Names::new(&config());
    names.set("cache", &[host(40).into()]);
    assert!(names.is_reserved("cache"));
    names.set("CACHE", &[]);
    assert!(!names.is_reserved("cache"));
    names.set("gateway", &[host(66).into()]);
    names.set("host", &[]);
    assert_eq!(names, Names::new(&config()));
}

#[test]
fn a_name_has_its_stations_leases_of_both_families() {
    let mut config = config();
    config.leases6 = vec![lease6(36, None), lease6(40, Some("six"))];
    config.leases.push(Lease {
        hostname: None,
        ..lease(40, "")
    });
    let world = World::new(&config);
    let both = |n: u8| [IpAddr::V4(host(n)), IpAddr::V6(host6(n.into()))];
    assert_eq!(world.addresses("web"), both(36));
    assert_eq!(world.addresses("six"), both(40));
    assert_eq!(world.name6(36).as_deref(), Some("web.atoll.internal"));
    let name = world.view().name_of(host(40).into());
    assert_eq!(name.as_deref(), Some("six.atoll.internal"));
}

#[test]
fn a_name_learnt_from_one_station_never_leads_to_another() {
    let mut config = config();
    config.leases6 = vec![
        lease6(41, Some("web")),
        lease6(42, Some("db")),
        lease6(43, Some("host")),
    ];
    let world = World::new(&config);
    assert_eq!(world.addresses("web"), [IpAddr::V4(host(36))]);
    assert_eq!(world.addresses("db"), [IpAddr::V4(host(10))]);
    for n in 41..=43 {
        assert_eq!(world.name6(n), None);
    }
}

#[test]
fn an_ipv6_address_that_was_heard_goes_with_a_name_of_ipv4() {
    let mut world = World::new(&config());
    let lasting = host6(0x0000_00ff_fe00_0024);
    world.hears(36, "fe80::ff:fe00:24".parse().unwrap());
    world.hears(36, host6(0x1111));
    world.hears(37, host6(0x3333));
    assert_eq!(world.addresses("web")[1..], [IpAddr::V6(host6(0x1111))]);
    world.hears(36, lasting);
    world.hears(36, host6(0x2222));
    assert_eq!(
        world.addresses("web")[1..],
        [IpAddr::V6(lasting)],
        "what is made from the MAC address stays"
    );
    assert!(world.view().all().contains(&("web".to_owned(), lasting.into())));
    for identifier in [0x1111, 0x2222, 0x0000_00ff_fe00_0024] {
        assert_eq!(world.name6(identifier).as_deref(), Some("web.atoll.internal"));
    }
    assert_eq!(world.name6(0x3333), None);
}

#[test]
fn a_static_lease_of_ipv6_has_its_name_before_its_owner_is_heard() {
    let mut config = config();
    config.static_leases.push(StaticLease {
        mac: mac(3),
        address: None,
        address6: Some(host6(0xbeef)),
        hostname: Some("six".to_owned()),
    });
    config.leases.push(lease(44, "six"));
    let world = World::new(&config);
    assert_eq!(world.addresses("six"), [IpAddr::V6(host6(0xbeef))]);
    assert_eq!(world.name6(0xbeef).as_deref(), Some("six.atoll.internal"));
    assert_eq!(world.view().name_of(host(44).into()), None);
}

#[test]
fn a_network_of_one_family_names_its_own_addresses_of_that() {
    let mut config = config();
    config.subnet = None;
    let world = World::new(&config);
    assert_eq!(world.addresses("gateway"), [IpAddr::V6(host6(1))]);
    config = self::config();
    config.ipv6 = None;
    let world = World::new(&config);
    assert_eq!(world.addresses("host"), [IpAddr::V4(host(254))]);
}
