//! DNS, the proxy, ports of the host and groups, in the file.

use atoll_spec::Quantity;
use insta::assert_snapshot;

use crate::{accepted, refused};

#[test]
fn a_network_says_what_dns_does_and_what_guests_reach_of_the_host() {
    let cluster = accepted(
        "
networks:
  lan:
    dns:
      servers: [1.1.1.1, '[::1]:5353']
      for: {corp.example: 10.0.0.53, home.arpa: [192.168.1.1, '192.168.1.2:5353']}
      wildcards: true
      rebind-protection: true
      cache: off
      services: {_etcd-server._tcp: ['web:2380', 'db:2380'], _ssh._tcp.nas: 'nas:22', _ldap._tcp: 'ldap.example:389'}
    hosts: {nas: 10.77.0.77}
    ntp: [10.77.0.5, 'fd77::5']
    proxy: [1080, '[::1]:1080']
    host-ports: [5432, '15432:5433', 53/udp]
    host-sockets: {2375: /run/docker.sock}
  back: {dns: {cache: 64}, proxy: 1081, host-ports: 80}
machines: {web: {image: debian, nics: [lan, back]}, db: {image: debian, nics: [lan]}}
",
    );
    let [lan, back] = &cluster.networks[..] else {
        panic!("two networks")
    };
    let dns: Vec<_> = lan.dns.iter().map(ToString::to_string).collect();
    assert_eq!(dns, ["1.1.1.1:53", "[::1]:5353"]);
    let names = &lan.resolution;
    let suffixes = names
        .suffixes
        .iter()
        .map(|(suffix, servers)| format!("{suffix} {servers:?}"));
    assert_eq!(
        suffixes.collect::<Vec<_>>(),
        [
            "corp.example [10.0.0.53:53]",
            "home.arpa [192.168.1.1:53, 192.168.1.2:5353]"
        ]
    );
    assert!(names.wildcards && names.rebind_protection);
    assert_eq!((names.cache, back.resolution.cache), (Some(0), Some(64)));
    let services = names.services.iter().map(|(name, places)| {
        let places: Vec<_> = places.iter().map(ToString::to_string).collect();
        format!("{name} {}", places.join(" "))
    });
    assert_eq!(
        services.collect::<Vec<_>>(),
        [
            "_etcd-server._tcp web:2380 db:2380",
            "_ldap._tcp ldap.example:389",
            "_ssh._tcp.nas nas:22"
        ]
    );
    let proxies: Vec<_> = lan
        .proxy
        .iter()
        .chain(&back.proxy)
        .map(ToString::to_string)
        .collect();
    assert_eq!(proxies, ["127.0.0.1:1080", "[::1]:1080", "127.0.0.1:1081"]);
    let ports: Vec<_> = lan.host_ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["5432", "15432:5433", "53/udp"]);
    let (port, path) = lan.host_sockets.first_key_value().unwrap();
    assert_eq!((port.get(), path.to_str()), (2375, Some("/run/docker.sock")));
    let ntp: Vec<_> = lan.ntp.iter().map(ToString::to_string).collect();
    assert_eq!(ntp, ["10.77.0.5", "fd77::5"]);
}

#[test]
fn mistakes_in_dns_are_shown_in_their_lines() {
    assert_snapshot!(refused("
name: demo
networks:
  lan:
    dns:
      for: {corp.example: resolver, web.demo.internal: 10.0.0.53}
      wildcard: true
      cache: 70000
      services:
        ssh._tcp: 'm:22'
        _etcd-server._tcp: ['m:2380', 'n:2380']
        _sip._udp: 'm'
        _dns._udp: []
  other: {dns: 1.1.1.1}
machines: {m: {image: debian, nics: [lan]}}
"), @r#"
    error: suffix "corp.example": "resolver" is no address of a DNS server
     --> atoll.yaml:6:27
      |
    6 |       for: {corp.example: resolver, web.demo.internal: 10.0.0.53}
      |                           ^^^^^^^^
      |
    hint: write an address like 1.1.1.1, 127.0.0.1:5353 or [::1]:53

    error: the cluster itself answers for the names below "web.demo.internal"
     --> atoll.yaml:6:37
      |
    6 |       for: {corp.example: resolver, web.demo.internal: 10.0.0.53}
      |                                     ^^^^^^^^^^^^^^^^^
      |
    hint: choose another domain for the cluster, or another suffix

    error: unknown key "wildcard" in dns of network "lan"
     --> atoll.yaml:7:7
      |
    7 |       wildcard: true
      |       ^^^^^^^^ unknown key
      |
    hint: did you mean "wildcards"?

    error: cache of dns of network "lan": a cache holds up to 65536 answers
     --> atoll.yaml:8:14
      |
    8 |       cache: 70000
      |              ^^^^^
      |
    hint: write a number, or off

    error: the name of a service: "ssh._tcp" is no name of a service
      --> atoll.yaml:10:9
       |
    10 |         ssh._tcp: 'm:22'
       |         ^^^^^^^^
       |
    hint: write _SERVICE._tcp or _SERVICE._udp, behind it a name if it is not the domain's: _ssh._tcp.web

    error: a service is at "n", which is neither a machine nor a host of the file
      --> atoll.yaml:11:39
       |
    11 |         _etcd-server._tcp: ['m:2380', 'n:2380']
       |                                       ^^^^^^^^
       |
    hint: names are: m

    error: service "_sip._udp": "m" is no place of a service
      --> atoll.yaml:12:20
       |
    12 |         _sip._udp: 'm'
       |                    ^^^
       |
    hint: write NAME:PORT, as in web:22

    error: service "_dns._udp" must be a place like web:22, or a list of one at least, not a list
      --> atoll.yaml:13:20
       |
    13 |         _dns._udp: []
       |                    ^

    error: dns of network "other" must be a list of servers or a mapping, not a single value
      --> atoll.yaml:14:16
       |
    14 |   other: {dns: 1.1.1.1}
       |                ^^^^^^^
    "#);
}

#[test]
fn ways_to_the_host_that_meet_are_shown_in_their_lines() {
    assert_snapshot!(refused("
networks:
  lan:
    proxy: [1080, here]
    host-ports: [5432, '5433:5432', '53/udp', '53:54/udp', http]
    host-sockets: {5432: /run/a, 70000: /run/b, 80: run/c}
  back: {proxy: 1080}
machines: {m: {image: debian, nics: [lan], forwards: ['1080:80']}}
"), @r#"
    error: port 127.0.0.1:1080 of the host is wanted twice
     --> atoll.yaml:4:13
      |
    4 |     proxy: [1080, here]
      |             ^^^^
    ...
    8 | machines: {m: {image: debian, nics: [lan], forwards: ['1080:80']}}
      |                                                       --------- the forward

    error: item 2 of proxy of network "lan": "here" is no place of the host's for a proxy
     --> atoll.yaml:4:19
      |
    4 |     proxy: [1080, here]
      |                   ^^^^
      |
    hint: write a port, or an address with one, as in 127.0.0.1:1080 or [::1]:1080

    error: port 5432/tcp of the host alias leads to two places
     --> atoll.yaml:5:24
      |
    5 |     host-ports: [5432, '5433:5432', '53/udp', '53:54/udp', http]
      |                  ----  ^^^^^^^^^^^
      |                  |
      |                  the other one

    error: a UDP port of the host is reached at two ports of the host alias
     --> atoll.yaml:5:47
      |
    5 |     host-ports: [5432, '5433:5432', '53/udp', '53:54/udp', http]
      |                                     --------  ^^^^^^^^^^^
      |                                     |
      |                                     the other one

    error: item 5 of host-ports of network "lan": "http" is no port of the host
     --> atoll.yaml:5:60
      |
    5 |     host-ports: [5432, '5433:5432', '53/udp', '53:54/udp', http]
      |                                                            ^^^^
      |
    hint: write PORT, PORT/udp, or HOST-PORT:GUEST-SIDE-PORT, as in 5432 or 15432:5432

    error: port 5432/tcp of the host alias leads to two places
     --> atoll.yaml:6:20
      |
    5 |     host-ports: [5432, '5433:5432', '53/udp', '53:54/udp', http]
      |                  ---- the other one
    6 |     host-sockets: {5432: /run/a, 70000: /run/b, 80: run/c}
      |                    ^^^^

    error: the name of a port: "70000" is no number of a port
     --> atoll.yaml:6:34
      |
    6 |     host-sockets: {5432: /run/a, 70000: /run/b, 80: run/c}
      |                                  ^^^^^
      |
    hint: ports are 1 to 65535

    error: port "80": the path "run/c" is relative
     --> atoll.yaml:6:53
      |
    6 |     host-sockets: {5432: /run/a, 70000: /run/b, 80: run/c}
      |                                                     ^^^^^
      |
    hint: write it from the root on

    error: port 127.0.0.1:1080 of the host is wanted twice
     --> atoll.yaml:7:17
      |
    4 |     proxy: [1080, here]
      |             ---- the other proxy
    ...
    7 |   back: {proxy: 1080}
      |                 ^^^^
    "#);
}

#[test]
fn a_machine_has_a_group_and_limits_of_its_own() {
    let cluster = accepted(
        "
networks:
  lan: {policy: {limits: {bandwidth: 100M, flows: 1000}}}
  nat: {mode: host}
defaults: {group: web}
machines:
  a: {image: debian, nics: [lan, nat]}
  b: {image: debian, nics: [lan], group: db, limits: {upload: 1M, packets: 10k}}
",
    );
    let policy = &cluster.networks[0].policy;
    let groups = policy.machines.iter().map(|(name, own)| {
        let group = own.group.as_ref().unwrap();
        format!("{name} in {group}")
    });
    assert_eq!(groups.collect::<Vec<_>>(), ["a in web", "b in db"]);
    let (_, b) = policy.machines.last_key_value().unwrap();
    let limits = b.limits.or(policy.limits);
    assert_eq!(
        [limits.upload, limits.download, limits.flows, limits.packets].map(|limit| limit.map(Quantity::get)),
        [Some(1_000_000), Some(100_000_000), Some(1000), Some(10_000)]
    );
    assert!(cluster.networks[1].policy.machines.is_empty());
}

#[test]
fn a_group_and_limits_are_for_networks_that_atoll_carries() {
    assert_snapshot!(refused("
networks:
  lan: {mode: bridged, interface: eth0, host-ports: [80]}
  nat: {mode: shared, host-sockets: {80: /run/a}}
machines:
  a: {image: debian, nics: [lan], group: web}
  b: {image: debian, nics: [nat], limits: {flows: 10}}
  c: {image: debian, nics: [], group: w_b, limits: {flow: 10}}
"), @r#"
    error: network "lan" is bridged and takes no host-ports
     --> atoll.yaml:3:41
      |
    3 |   lan: {mode: bridged, interface: eth0, host-ports: [80]}
      |               ------- its mode          ^^^^^^^^^^
      |
    hint: machines reach the host at its address on the LAN

    error: network "nat" is shared and takes no host-sockets
     --> atoll.yaml:4:23
      |
    4 |   nat: {mode: shared, host-sockets: {80: /run/a}}
      |               ------  ^^^^^^^^^^^^
      |               |
      |               its mode
      |
    hint: only networks of mode user have a host alias

    error: machine "a" has group but is on no network of mode user
     --> atoll.yaml:6:42
      |
    6 |   a: {image: debian, nics: [lan], group: web}
      |                                          ^^^
      |
    hint: groups and limits are for networks whose packets Atoll itself carries

    error: machine "b" has limits but is on no network of mode user
     --> atoll.yaml:7:43
      |
    7 |   b: {image: debian, nics: [nat], limits: {flows: 10}}
      |                                           ^
      |
    hint: groups and limits are for networks whose packets Atoll itself carries

    error: group of machine "c": "w_b" is no host name: '_' is not allowed in it
     --> atoll.yaml:8:39
      |
    8 |   c: {image: debian, nics: [], group: w_b, limits: {flow: 10}}
      |                                       ^^^
      |
    hint: use "w-b"

    error: unknown key "flow" in limits of machine "c"
     --> atoll.yaml:8:53
      |
    8 |   c: {image: debian, nics: [], group: w_b, limits: {flow: 10}}
      |                                                     ^^^^ unknown key
      |
    hint: did you mean "flows"?
    "#);
}
