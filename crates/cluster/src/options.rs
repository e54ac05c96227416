//! From a network of the file to what the runtime is told of it. Pure.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;

use atoll_runtime::{
    Addresses, Mac, NetworkOptions, Prefix, StaticLease, StaticRoute, Subnet, UplinkSpec, Via,
};
use atoll_spec as spec;
use sha2::{Digest, Sha256};

use crate::joins;
use crate::paths::ClusterPaths;
use crate::reach;
use crate::services::{dhcp_options, net_boot, time_server};

/// Characters of a name that a host's interface is made for: what the helper takes, less room for what makes it unique.
const NAME_MAX: usize = 54;

/// All that a network is started with; `folder` is the one of the cluster file.
pub(crate) fn options(
    cluster: &spec::Cluster,
    wanted: &spec::Network,
    (folder, paths): (&Path, &ClusterPaths),
) -> NetworkOptions {
    let mut options = NetworkOptions::new(addresses(wanted));
    options.uplink = uplink(cluster, wanted, paths);
    options.routes = wanted.routes.iter().map(route).collect();
    options.mtu = wanted.mtu;
    options.host_loopback = wanted.host_loopback;
    options.isolate = wanted.isolate;
    options.policy = crate::policy::policy(&wanted.policy);
    options.policy.vlans = wanted.vlans;
    options.domain = cluster.domain.to_string();
    options.names = wanted
        .hosts
        .iter()
        .map(|(name, addresses)| (name.to_string(), addresses.iter().collect()))
        .collect();
    options.joined = joins::joins(cluster, wanted);
    options.names.extend(joins::names(cluster, wanted));
    for server in &wanted.ntp {
        match *server {
            IpAddr::V4(server) => options.ntp.push(server),
            IpAddr::V6(server) => options.ntp6.push(server),
        }
    }
    options.time_server = time_server(wanted.ntp_server);
    options.tftp = wanted.tftp.as_deref().map(|path| folder.join(path));
    options.net_boot = net_boot(&wanted.boot);
    options.dhcp_options = dhcp_options(&wanted.dhcp_options);
    options.dhcp_options_of = on_it(cluster, wanted)
        .filter(|(machine, _)| !machine.dhcp_options.is_empty())
        .map(|(machine, nic)| (guest_mac(nic), dhcp_options(&machine.dhcp_options)))
        .collect();
    options.resolvers = (!wanted.dns.is_empty()).then(|| wanted.dns.clone());
    options.dns = reach::resolution(&wanted.resolution, &options.dns);
    options.proxies = wanted.proxy.iter().map(|proxy| proxy.0).collect();
    options.host_ports = reach::host_ports(wanted);
    options.state_dir = Some(paths.network_state(wanted.name.as_str()));
    options.networks = u32::try_from(cluster.networks.len())
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MIN);
    options.static_leases = on_it(cluster, wanted)
        .map(|(machine, nic)| lease(machine, nic))
        .collect();
    options
}

/// The machines on a network, with their NICs there.
fn on_it<'a>(
    cluster: &'a spec::Cluster,
    network: &'a spec::Network,
) -> impl Iterator<Item = (&'a spec::Machine, &'a spec::Nic)> {
    let assigned = cluster.assignments().filter(|it| it.nic.network == network.name);
    assigned.filter_map(|it| Some((cluster.machine(it.machine.as_str())?, it.nic)))
}

pub(crate) fn addresses(network: &spec::Network) -> Addresses {
    Addresses {
        subnet: network.subnet.map(|subnet| Subnet {
            address: subnet.network(),
            prefix_len: subnet.prefix(),
        }),
        prefix: network.ipv6.map(|prefix| Prefix {
            address: prefix.network(),
        }),
    }
}

fn uplink(cluster: &spec::Cluster, network: &spec::Network, paths: &ClusterPaths) -> Option<UplinkSpec> {
    let interface = network.interface.as_ref().map(ToString::to_string);
    match network.mode {
        spec::Mode::User => None,
        spec::Mode::Bridged => Some(UplinkSpec::Bridged {
            interface: interface?,
            via: network.via.map(via),
            addresses: on_it(cluster, network)
                .flat_map(|(_, nic)| nic.addresses())
                .collect(),
        }),
        spec::Mode::Shared => Some(UplinkSpec::Shared {
            network: unique_name(cluster, network, paths),
            outside: interface,
        }),
        spec::Mode::Host => Some(UplinkSpec::Host {
            network: unique_name(cluster, network, paths),
        }),
    }
}

/// The runtime's word for a way onto the LAN.
fn via(via: spec::Via) -> Via {
    match via {
        spec::Via::Bridge => Via::Bridge,
        spec::Via::NewBridge => Via::NewBridge,
        spec::Via::Macvtap => Via::Macvtap,
        spec::Via::ProxyArp => Via::ProxyArp,
    }
}

/// What a network is called on the host, where other users and other folders may have one of the same name.
fn unique_name(cluster: &spec::Cluster, network: &spec::Network, paths: &ClusterPaths) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut readable = format!("{}-{}", cluster.name, network.name);
    readable.truncate(NAME_MAX);
    let mut digest = Sha256::new();
    digest.update(paths.run.as_os_str().as_bytes());
    digest.update([0]);
    digest.update(network.name.as_str());
    let unique: String = digest.finalize()[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{readable}-{unique}")
}

fn route(route: &spec::Route) -> StaticRoute {
    StaticRoute {
        to: route.to.network(),
        prefix_len: route.to.prefix(),
        via: route.via,
    }
}

/// A machine has its name on each of its networks once: at its first NIC there.
pub(crate) fn lease(machine: &spec::Machine, nic: &spec::Nic) -> StaticLease {
    let first = machine.nics.iter().find(|it| it.network == nic.network);
    let is_first = first.is_some_and(|first| first.mac == nic.mac);
    StaticLease {
        mac: guest_mac(nic),
        address: nic.address,
        address6: nic.address6,
        hostname: is_first.then(|| machine.name.to_string()),
    }
}

/// By what the engine knows a NIC.
pub(crate) fn guest_mac(nic: &spec::Nic) -> Mac {
    Mac(nic.mac.octets())
}

#[cfg(test)]
mod tests {
    use atoll_runtime::{DnsOptions, HostPortSpec, HostSide};

    use super::*;

    const FILE: &str = "
name: demo
networks:
  lan: {mode: bridged, interface: br0, via: bridge}
  wifi: {mode: bridged, interface: wlan0, via: proxy-arp}
  nat: {mode: shared, interface: eth0}
  ours: {routes: [{to: 192.168.10.0/24, via: a}]}
machines:
  a: {image: debian, nics: [lan, nat, {network: ours, address: 10.77.1.9}, {network: wifi, address: 192.168.1.50}]}
";

    const HOST: &str = "
networks:
  lan:
    dns:
      servers: [1.1.1.1]
      for: {corp.example: 10.0.0.53}
      wildcards: true
      rebind-protection: true
      cache: off
      services: {_etcd-server._tcp: ['a:2380', 'b:2380']}
    ntp: [10.77.0.5, 'fd77::5']
    proxy: 1080
    host-ports: ['15432:5432', 53/udp]
    host-sockets: {2375: /run/docker.sock}
    policy: {limits: {flows: 100, packets: 1k}}
  plain:
machines:
  a: {image: debian, nics: [lan], group: web, limits: {flows: 10}}
  b: {image: debian, nics: [lan, plain]}
";

    fn made_from(file: &str, network: &str) -> NetworkOptions {
        made_in(file, network, "/r/1")
    }

    fn made(network: &str, run: &str) -> NetworkOptions {
        made_in(FILE, network, run)
    }

    fn made_in(file: &str, network: &str, run: &str) -> NetworkOptions {
        let cluster = spec::parse(&spec::Source::new("atoll.yaml"), file).unwrap();
        let paths = ClusterPaths {
            state: "/s".into(),
            run: run.into(),
            images: "/i".into(),
        };
        options(
            &cluster,
            cluster.network(network).unwrap(),
            (Path::new("/p"), &paths),
        )
    }

    #[test]
    fn a_bridged_network_has_no_addresses_of_ours() {
        let lan = made("lan", "/r/1");
        assert_eq!(lan.addresses, Addresses::default());
        let expected = UplinkSpec::Bridged {
            interface: "br0".to_owned(),
            via: Some(Via::Bridge),
            addresses: Vec::new(),
        };
        assert_eq!(lan.uplink, Some(expected));
        assert_eq!(lan.static_leases[0].hostname.as_deref(), Some("a"));
    }

    #[test]
    fn the_host_answers_for_the_addresses_that_the_file_says() {
        let Some(UplinkSpec::Bridged { addresses, .. }) = made("wifi", "/r/1").uplink else {
            panic!("it is bridged")
        };
        assert_eq!(addresses, ["192.168.1.50".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn a_network_is_called_otherwise_in_another_folder() {
        let name = |run| match made("nat", run).uplink {
            Some(UplinkSpec::Shared { network, outside }) if outside.as_deref() == Some("eth0") => network,
            other => panic!("{other:?}"),
        };
        assert!(name("/r/1").starts_with("demo-nat-"));
        assert_ne!(name("/r/1"), name("/r/2"));
    }

    #[test]
    fn what_dns_does_and_what_guests_reach_of_the_host_is_as_the_file_says() {
        let options = made_from(HOST, "lan");
        assert_eq!(options.resolvers, Some(vec!["1.1.1.1:53".parse().unwrap()]));
        let dns = &options.dns;
        assert!(dns.wildcards && dns.rebind_protection);
        assert_eq!(dns.cache, 0);
        assert_eq!(dns.suffixes["corp.example"], ["10.0.0.53:53".parse().unwrap()]);
        let places = dns.services["_etcd-server._tcp"].iter();
        let places: Vec<_> = places.map(|place| (place.host.as_str(), place.port)).collect();
        assert_eq!(places, [("a", 2380), ("b", 2380)]);
        assert_eq!(options.ntp, ["10.77.0.5".parse::<std::net::Ipv4Addr>().unwrap()]);
        assert_eq!(options.ntp6, ["fd77::5".parse::<std::net::Ipv6Addr>().unwrap()]);
        assert_eq!(options.proxies, ["127.0.0.1:1080".parse().unwrap()]);
        let expected = [
            (5432, HostSide::Tcp(15_432)),
            (53, HostSide::Udp(53)),
            (2375, HostSide::Socket("/run/docker.sock".into())),
        ];
        assert_eq!(
            options.host_ports,
            expected.map(|(port, to)| HostPortSpec { port, to })
        );
        let plain = made_from(HOST, "plain");
        assert_eq!(plain.dns, DnsOptions::default());
        assert!(plain.proxies.is_empty() && plain.host_ports.is_empty());
    }

    #[test]
    fn a_machine_has_its_group_and_what_it_leaves_out_as_the_network_has_it() {
        let policy = made_from(HOST, "lan").policy;
        let a = &policy.guests["a"];
        assert_eq!(a.group.as_deref(), Some("web"));
        let limits = a.limits.unwrap();
        assert_eq!((limits.flows, limits.packets), (Some(10), Some(1000)));
        assert!(!policy.guests.contains_key("b"));
    }

    #[test]
    fn routes_go_by_the_address_of_their_machine() {
        let [route] = made("ours", "/r/1").routes[..] else {
            panic!("one route")
        };
        assert_eq!(
            (route.to.to_string(), route.prefix_len),
            ("192.168.10.0".to_owned(), 24)
        );
        assert_eq!(route.via.to_string(), "10.77.1.9");
    }
}
