//! Mistakes about networks that meet the host's: modes, interfaces, ways onto a LAN, direct attachment, routes.

use insta::assert_snapshot;

use crate::refused;

#[test]
fn words_that_are_no_mode_no_way_and_no_interface() {
    assert_snapshot!(refused("
networks:
  a: {mode: bridge, interface: eth0}
  b: {mode: bridged, interface: eth/0, via: macvlan}
  c: {mode: shared, interface: a-very-long-interface-name}
  d: {mode: [host]}
machines: {m: {image: debian, nics: [a]}}
"), @r#"
    error: mode of network "a": there is no network mode "bridge"
     --> atoll.yaml:3:13
      |
    3 |   a: {mode: bridge, interface: eth0}
      |             ^^^^^^
      |
    hint: did you mean "bridged"? Known are: user, bridged, shared, host

    error: interface of network "b": "eth/0" is no name of an interface
     --> atoll.yaml:4:33
      |
    4 |   b: {mode: bridged, interface: eth/0, via: macvlan}
      |                                 ^^^^^
      |
    hint: interfaces have names like eth0, enp3s0 or br0; `ip link` lists them

    error: via of network "b": there is no way onto a LAN "macvlan"
     --> atoll.yaml:4:45
      |
    4 |   b: {mode: bridged, interface: eth/0, via: macvlan}
      |                                             ^^^^^^^
      |
    hint: did you mean "macvtap"? Known are: bridge, new-bridge, macvtap, proxy-arp

    error: interface of network "c": "a-very-long-interface-name" is too long for the name of an interface
     --> atoll.yaml:5:32
      |
    5 |   c: {mode: shared, interface: a-very-long-interface-name}
      |                                ^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: at most 15 characters; `ip link` lists the host's interfaces

    error: mode of network "d" must be a mode like bridged, not a list
     --> atoll.yaml:6:13
      |
    6 |   d: {mode: [host]}
      |             ^
    "#);
}

#[test]
fn a_bridged_network_without_an_interface() {
    assert_snapshot!(refused("
networks: {lan: {mode: bridged, via: macvtap}}
machines: {a: {image: debian}}
"), @r#"
    error: network "lan" is bridged but names no interface
     --> atoll.yaml:2:24
      |
    2 | networks: {lan: {mode: bridged, via: macvtap}}
      |                        ^^^^^^^
      |
    hint: name the host's interface on the LAN, such as interface: eth0
    "#);
}

#[test]
fn what_a_bridged_network_leaves_to_the_lan() {
    assert_snapshot!(refused("
networks:
  lan:
    mode: bridged
    interface: br0
    subnet: 192.168.1.0/24
    ipv6: off
    host-loopback: false
    dns: [1.1.1.1]
    hosts: {nas: 192.168.1.9}
    ntp: [192.168.1.1]
    routes: [{to: 10.0.0.0/8, via: a}]
machines: {a: {image: debian}}
"), @r#"
    error: network "lan" is bridged and takes no subnet
     --> atoll.yaml:6:5
      |
    4 |     mode: bridged
      |           ------- its mode
    5 |     interface: br0
    6 |     subnet: 192.168.1.0/24
      |     ^^^^^^
      |
    hint: machines on a LAN have addresses that it gives them

    error: network "lan" is bridged and takes no ipv6
     --> atoll.yaml:7:5
      |
    4 |     mode: bridged
      |           ------- its mode
    ...
    7 |     ipv6: off
      |     ^^^^
      |
    hint: machines on a LAN have addresses that it gives them

    error: network "lan" is bridged and takes no host-loopback
     --> atoll.yaml:8:5
      |
    4 |     mode: bridged
      |           ------- its mode
    ...
    8 |     host-loopback: false
      |     ^^^^^^^^^^^^^
      |
    hint: machines reach the host at its address on the LAN

    error: network "lan" is bridged and takes no dns
     --> atoll.yaml:9:5
      |
    4 |     mode: bridged
      |           ------- its mode
    ...
    9 |     dns: [1.1.1.1]
      |     ^^^
      |
    hint: the LAN's DHCP server says which DNS servers to ask

    error: network "lan" is bridged and takes no hosts
      --> atoll.yaml:10:5
       |
     4 |     mode: bridged
       |           ------- its mode
    ...
    10 |     hosts: {nas: 192.168.1.9}
       |     ^^^^^
       |
    hint: names on a LAN are its DNS server's

    error: network "lan" is bridged and takes no ntp
      --> atoll.yaml:11:5
       |
     4 |     mode: bridged
       |           ------- its mode
    ...
    11 |     ntp: [192.168.1.1]
       |     ^^^
       |
    hint: the LAN's DHCP server says which time servers to ask

    error: network "lan" is bridged and takes no routes
      --> atoll.yaml:12:5
       |
     4 |     mode: bridged
       |           ------- its mode
    ...
    12 |     routes: [{to: 10.0.0.0/8, via: a}]
       |     ^^^^^^
       |
    hint: the LAN's DHCP server says which routes there are
    "#);
}

#[test]
fn what_the_other_modes_do_not_take() {
    assert_snapshot!(refused("
networks:
  a: {interface: eth0, via: bridge}
  b: {mode: shared, interface: eth0, via: bridge, host-loopback: true}
  c: {mode: host, interface: eth0, via: macvtap, host-loopback: true}
machines: {m: {image: debian, nics: [a]}}
"), @r#"
    error: network "a" is of mode user and takes no interface
     --> atoll.yaml:3:7
      |
    3 |   a: {interface: eth0, via: bridge}
      |       ^^^^^^^^^
      |
    hint: mode: bridged puts machines on the LAN of an interface

    error: network "a" is of mode user and takes no via
     --> atoll.yaml:3:24
      |
    3 |   a: {interface: eth0, via: bridge}
      |                        ^^^
      |
    hint: mode: bridged puts machines on the host's LAN

    error: network "b" is shared and takes no via
     --> atoll.yaml:4:38
      |
    4 |   b: {mode: shared, interface: eth0, via: bridge, host-loopback: true}
      |             ------ its mode          ^^^
      |
    hint: only a bridged network has several ways; interface says which one leads outside

    error: network "b" is shared and takes no host-loopback
     --> atoll.yaml:4:51
      |
    4 |   b: {mode: shared, interface: eth0, via: bridge, host-loopback: true}
      |             ------ its mode                       ^^^^^^^^^^^^^
      |
    hint: machines reach the host at the first address of the subnet

    error: network "c" is of mode host and takes no interface
     --> atoll.yaml:5:19
      |
    5 |   c: {mode: host, interface: eth0, via: macvtap, host-loopback: true}
      |             ----  ^^^^^^^^^
      |             |
      |             its mode
      |
    hint: mode: shared leads outside by way of an interface

    error: network "c" is of mode host and takes no via
     --> atoll.yaml:5:36
      |
    5 |   c: {mode: host, interface: eth0, via: macvtap, host-loopback: true}
      |             ---- its mode          ^^^
      |
    hint: only a bridged network has several ways onto the LAN

    error: network "c" is of mode host and takes no host-loopback
     --> atoll.yaml:5:50
      |
    5 |   c: {mode: host, interface: eth0, via: macvtap, host-loopback: true}
      |             ---- its mode                        ^^^^^^^^^^^^^
      |
    hint: machines reach the host at the first address of the subnet
    "#);
}

#[test]
fn a_bridge_made_twice_over_one_interface() {
    assert_snapshot!(refused("
networks:
  a: {mode: bridged, interface: eth0, via: new-bridge}
  b: {mode: bridged, interface: eth0, via: new-bridge}
machines: {m: {image: debian, nics: [a, b]}}
"), @r#"
    error: two networks make a bridge over eth0
     --> atoll.yaml:4:33
      |
    3 |   a: {mode: bridged, interface: eth0, via: new-bridge}
      |                                 ---- the other one
    4 |   b: {mode: bridged, interface: eth0, via: new-bridge}
      |                                 ^^^^
      |
    hint: put the machines on one of them
    "#);
}

#[test]
fn addresses_on_networks_of_the_host() {
    assert_snapshot!(refused("
networks:
  lan: {mode: bridged, interface: br0}
  wifi: {mode: bridged, interface: wlan0, via: proxy-arp}
  nat: {mode: shared, subnet: 10.1.2.0/24}
machines:
  a: {image: debian, nics: [{network: lan, address: 192.168.1.50}, wifi]}
  b: {image: debian, nics: [{network: nat, address: 10.1.2.1}, {network: nat, address: 10.1.2.254}]}
"), @r#"
    error: machine "a" cannot choose its address on network "lan", which is bridged
     --> atoll.yaml:7:53
      |
    7 |   a: {image: debian, nics: [{network: lan, address: 192.168.1.50}, wifi]}
      |                                                     ^^^^^^^^^^^^
      |
    hint: the LAN's DHCP server gives it one: reserve it there for the NIC's MAC

    error: machine "a" needs an address on network "wifi"
     --> atoll.yaml:7:68
      |
    7 |   a: {image: debian, nics: [{network: lan, address: 192.168.1.50}, wifi]}
      |                                                                    ^^^^
      |
    hint: via: proxy-arp answers for addresses of the LAN that are free: address: 192.168.1.50

    error: address 10.1.2.1 of machine "b" is the host's own address of network "nat"
     --> atoll.yaml:8:53
      |
    8 |   b: {image: debian, nics: [{network: nat, address: 10.1.2.1}, {network: nat, address: 10.1.2.254}]}
      |                                                     ^^^^^^^^
      |
    hint: machines can have 10.1.2.2 to 10.1.2.253

    error: address 10.1.2.254 of machine "b" is the address of the services of network "nat"
     --> atoll.yaml:8:88
      |
    8 |   b: {image: debian, nics: [{network: nat, address: 10.1.2.1}, {network: nat, address: 10.1.2.254}]}
      |                                                                                        ^^^^^^^^^^
      |
    hint: machines can have 10.1.2.2 to 10.1.2.253
    "#);
}

#[test]
fn one_address_twice_where_the_host_answers() {
    assert_snapshot!(refused("
networks: {wifi: {mode: bridged, interface: wlan0, via: proxy-arp}}
machines:
  a: {image: debian, nics: [{address: 192.168.1.50}]}
  b: {image: debian, nics: [{address: 192.168.1.50}]}
"), @r#"
    error: machines "a" and "b" both have the address 192.168.1.50
     --> atoll.yaml:5:39
      |
    4 |   a: {image: debian, nics: [{address: 192.168.1.50}]}
      |                                       ------------ NIC of "a"
    5 |   b: {image: debian, nics: [{address: 192.168.1.50}]}
      |                                       ^^^^^^^^^^^^ NIC of "b"
    "#);
}

#[test]
fn nics_that_cannot_be_attached_to_a_tap_directly() {
    assert_snapshot!(refused("
networks:
  ours: {}
  nat: {mode: shared}
  wifi: {mode: bridged, interface: wlan0, via: proxy-arp}
  apart: {mode: bridged, interface: br0, isolate: true}
  made: {mode: bridged, interface: eth0, via: new-bridge}
machines:
  a:
    image: debian
    nics:
      - {network: ours, attach: tap}
      - {network: nat, attach: tap}
      - {network: wifi, attach: tap, address: 192.168.1.50}
      - {network: apart, attach: tap}
      - {network: made, attach: tap}
"), @r#"
    error: a NIC of machine "a" cannot be attached to a TAP directly: network "ours" is not bridged
      --> atoll.yaml:12:33
       |
    12 |       - {network: ours, attach: tap}
       |                                 ^^^
       |
    hint: leave out attach, or give the network mode: bridged and an interface

    error: a NIC of machine "a" cannot be attached to a TAP directly: network "nat" is not bridged
      --> atoll.yaml:13:32
       |
    13 |       - {network: nat, attach: tap}
       |                                ^^^
       |
    hint: leave out attach, or give the network mode: bridged and an interface

    error: a NIC of machine "a" cannot be attached to a TAP directly: on network "wifi" the host answers for it
      --> atoll.yaml:14:33
       |
    14 |       - {network: wifi, attach: tap, address: 192.168.1.50}
       |                                 ^^^
       |
    hint: leave out attach, or choose via: bridge or via: macvtap

    error: a NIC of machine "a" cannot be attached to a TAP directly: network "apart" could not keep it from the others
      --> atoll.yaml:15:34
       |
    15 |       - {network: apart, attach: tap}
       |                                  ^^^
       |
    hint: leave out attach, or isolate

    error: a NIC of machine "a" cannot be attached to a TAP directly: the bridge of network "made" is made when the network starts
      --> atoll.yaml:16:33
       |
    16 |       - {network: made, attach: tap}
       |                                 ^^^
       |
    hint: leave out attach, or choose via: bridge or via: macvtap
    "#);
}

#[test]
fn a_forward_to_a_machine_that_goes_past_us() {
    assert_snapshot!(refused("
networks: {lan: {mode: bridged, interface: br0}}
machines: {a: {image: debian, nics: [{attach: tap}], forwards: ['8022:22']}}
"), @r#"
    error: machine "a" has a forward, but all its NICs are attached to TAPs directly
     --> atoll.yaml:3:65
      |
    3 | machines: {a: {image: debian, nics: [{attach: tap}], forwards: ['8022:22']}}
      |                                                                 ^^^^^^^^^
      |
    hint: reach it at its address on the LAN, or leave out attach
    "#);
}

#[test]
fn values_that_are_no_routes() {
    assert_snapshot!(refused("
networks:
  lan:
    routes:
      - {to: 192.168.10.1, via: a}
      - {to: 192.168.10.1/24, via: a}
      - {to: 0.0.0.0/0, via: a}
      - {to: 127.0.0.0/8, via: a}
      - {to: 192.168.10.0/24, via: not a name}
      - {to: 192.168.10.0/24, metric: 5}
      - 192.168.10.0/24
machines: {a: {image: debian}}
"), @r#"
    error: to of route 1 of network "lan": "192.168.10.1" is no network to route to
     --> atoll.yaml:5:14
      |
    5 |       - {to: 192.168.10.1, via: a}
      |              ^^^^^^^^^^^^
      |
    hint: write a network like 192.168.10.0/24 or fd00:10::/64

    error: to of route 2 of network "lan": "192.168.10.1/24" is no network: the address has bits beyond its prefix
     --> atoll.yaml:6:14
      |
    6 |       - {to: 192.168.10.1/24, via: a}
      |              ^^^^^^^^^^^^^^^
      |
    hint: did you mean "192.168.10.0/24"?

    error: to of route 3 of network "lan": "0.0.0.0/0" is the way to everywhere, which the gateway has already
     --> atoll.yaml:7:14
      |
    7 |       - {to: 0.0.0.0/0, via: a}
      |              ^^^^^^^^^
      |
    hint: name the networks behind the machine, like 192.168.10.0/24

    error: to of route 4 of network "lan": "127.0.0.0/8" is never beyond a network
     --> atoll.yaml:8:14
      |
    8 |       - {to: 127.0.0.0/8, via: a}
      |              ^^^^^^^^^^^
      |
    hint: loopback, link-local and multicast addresses are not routed

    error: via of route 5 of network "lan": "not a name" is neither an address nor the name of a machine
     --> atoll.yaml:9:36
      |
    9 |       - {to: 192.168.10.0/24, via: not a name}
      |                                    ^^^^^^^^^^
      |
    hint: name a machine that is on the network, or its address there

    error: unknown key "metric" in route 6 of network "lan"
      --> atoll.yaml:10:31
       |
    10 |       - {to: 192.168.10.0/24, metric: 5}
       |                               ^^^^^^ unknown key
       |
    hint: known keys are: to, via

    error: route 7 of network "lan" must be a mapping, not a single value
      --> atoll.yaml:11:9
       |
    11 |       - 192.168.10.0/24
       |         ^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn routes_that_lead_nowhere() {
    assert_snapshot!(refused("
networks:
  lan:
    subnet: 10.77.0.0/24
    ipv6: off
    routes:
      - {to: 192.168.1.0/24}
      - {via: a}
      - {to: 192.168.2.0/24, via: aa}
      - {to: 192.168.3.0/24, via: b}
      - {to: 'fd00:1::/64', via: a}
      - {to: 'fd00:2::/64', via: 10.77.0.5}
      - {to: 192.168.4.0/24, via: 10.78.0.5}
      - {to: 192.168.5.0/24, via: 10.77.0.1}
      - {to: 10.77.0.0/25, via: 10.77.0.5}
      - {to: 192.168.6.0/24, via: 10.77.0.5}
      - {to: 192.168.6.0/24, via: 10.77.0.6}
  other: {}
machines:
  a: {image: debian, nics: [lan]}
  b: {image: debian, nics: [other]}
"), @r#"
    error: a route of network "lan" has no via
     --> atoll.yaml:7:9
      |
    7 |       - {to: 192.168.1.0/24}
      |         ^
      |
    hint: write a route as {to: 192.168.10.0/24, via: MACHINE}

    error: a route of network "lan" has no to
     --> atoll.yaml:8:9
      |
    8 |       - {via: a}
      |         ^
      |
    hint: write a route as {to: 192.168.10.0/24, via: MACHINE}

    error: there is no machine "aa" that a route could go by
     --> atoll.yaml:9:35
      |
    9 |       - {to: 192.168.2.0/24, via: aa}
      |                                   ^^
      |
    hint: did you mean "a"?

    error: machine "b" is not on network "lan", whose route goes by it
      --> atoll.yaml:10:35
       |
    10 |       - {to: 192.168.3.0/24, via: b}
       |                                   ^
       |
    hint: give it a NIC there: nics: [lan, …]

    error: machine "a" has no IPv6 address on network "lan"
      --> atoll.yaml:11:34
       |
    11 |       - {to: 'fd00:1::/64', via: a}
       |                                  ^
       |
    hint: a route to fd00:1::/64 needs IPv6 on the network

    error: a route to fd00:2::/64 cannot go by way of 10.77.0.5
      --> atoll.yaml:12:34
       |
    12 |       - {to: 'fd00:2::/64', via: 10.77.0.5}
       |                                  ^^^^^^^^^
       |
    hint: its next hop is an address of IPv6

    error: 10.78.0.5 cannot be the next hop of a route: it is outside network "lan"
      --> atoll.yaml:13:35
       |
    13 |       - {to: 192.168.4.0/24, via: 10.78.0.5}
       |                                   ^^^^^^^^^
       |
    hint: name a machine that is on the network, or its address there

    error: 10.77.0.1 cannot be the next hop of a route: it is no machine's on network "lan"
      --> atoll.yaml:14:35
       |
    14 |       - {to: 192.168.5.0/24, via: 10.77.0.1}
       |                                   ^^^^^^^^^
       |
    hint: name a machine that is on the network, or its address there

    error: 10.77.0.0/25 is network "lan" itself
      --> atoll.yaml:15:14
       |
    15 |       - {to: 10.77.0.0/25, via: 10.77.0.5}
       |              ^^^^^^^^^^^^
       |
    hint: a route leads to addresses that are not on the network

    error: network "lan" has two routes to 192.168.6.0/24
      --> atoll.yaml:17:14
       |
    16 |       - {to: 192.168.6.0/24, via: 10.77.0.5}
       |              -------------- the other one
    17 |       - {to: 192.168.6.0/24, via: 10.77.0.6}
       |              ^^^^^^^^^^^^^^
    "#);
}

#[test]
fn more_routes_than_are_told() {
    let routes: String = (0..17)
        .map(|n| format!("{{to: 192.168.{n}.0/24, via: a}}, "))
        .collect();
    let text = format!("networks: {{lan: {{routes: [{routes}]}}}}\nmachines: {{a: {{image: debian}}}}\n");
    let said = refused(&text);
    assert!(
        said.starts_with("error: network \"lan\" has more than 16 routes\n"),
        "{said}"
    );
}
