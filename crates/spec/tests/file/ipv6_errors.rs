//! Mistakes about IPv6, and about things that have addresses of both families.

use insta::assert_snapshot;

use crate::refused;

#[test]
fn an_ipv6_prefix_that_is_none() {
    assert_snapshot!(refused("
networks:
  a: {ipv6: on}
  b: {ipv6: 'fd77::'}
  c: {ipv6: fd77::/48}
  d: {ipv6: fd77::5/64}
  e: {ipv6: fe80::/64}
  f: {ipv6: ff02::/64}
  g: {ipv6: [fd77::/64]}
machines: {m: {image: debian, nics: [a]}}
"), @r#"
    error: ipv6 of network "a": "on" is no IPv6 prefix
     --> atoll.yaml:3:13
      |
    3 |   a: {ipv6: on}
      |             ^^
      |
    hint: write an IPv6 network like fd77:77::/64, or off for none

    error: ipv6 of network "b": "fd77::" is no IPv6 prefix: the prefix length is missing
     --> atoll.yaml:4:13
      |
    4 |   b: {ipv6: 'fd77::'}
      |             ^^^^^^^^
      |
    hint: did you mean "fd77::/64"?

    error: ipv6 of network "c": "fd77::/48" cannot be a guest network: its prefix length is not 64
     --> atoll.yaml:5:13
      |
    5 |   c: {ipv6: fd77::/48}
      |             ^^^^^^^^^
      |
    hint: guests make the last 64 bits of their addresses themselves: use a /64

    error: ipv6 of network "d": "fd77::5/64" is no IPv6 prefix: the address has bits beyond its prefix
     --> atoll.yaml:6:13
      |
    6 |   d: {ipv6: fd77::5/64}
      |             ^^^^^^^^^^
      |
    hint: did you mean "fd77::/64"?

    error: ipv6 of network "e": "fe80::/64" cannot be a guest network: it lies in fe80::/10 (link-local)
     --> atoll.yaml:7:13
      |
    7 |   e: {ipv6: fe80::/64}
      |             ^^^^^^^^^
      |
    hint: choose a /64 of fd00::/8, such as fd77:77::/64

    error: ipv6 of network "f": "ff02::/64" cannot be a guest network: it lies in ff00::/8 (multicast)
     --> atoll.yaml:8:13
      |
    8 |   f: {ipv6: ff02::/64}
      |             ^^^^^^^^^
      |
    hint: choose a /64 of fd00::/8, such as fd77:77::/64

    error: ipv6 of network "g" must be an IPv6 network like fd77:77::/64, not a list
     --> atoll.yaml:9:13
      |
    9 |   g: {ipv6: [fd77::/64]}
      |             ^
    "#);
}

#[test]
fn addresses_of_one_family_given_twice() {
    assert_snapshot!(refused("
networks: {lan: {hosts: {nas: [10.77.0.9, 10.77.0.8]}}}
machines: {a: {image: debian, nics: [{address: ['fd77::5', 10.77.0.5, 'fd77::6']}, {address: []}, {address: {}}]}}
"), @r#"
    error: the address of host "nas" has two IPv4 addresses
     --> atoll.yaml:2:43
      |
    2 | networks: {lan: {hosts: {nas: [10.77.0.9, 10.77.0.8]}}}
      |                                ---------  ^^^^^^^^^
      |                                |
      |                                the other one

    error: address of NIC 1 of machine "a" has two IPv6 addresses
     --> atoll.yaml:3:71
      |
    3 | machines: {a: {image: debian, nics: [{address: ['fd77::5', 10.77.0.5, 'fd77::6']}, {address: []}, {address: {}}]}}
      |                                                 ---------             ^^^^^^^^^
      |                                                 |
      |                                                 the other one

    error: address of NIC 3 of machine "a" must be an address like 10.77.0.10 or fd77:77::10, not a mapping
     --> atoll.yaml:3:109
      |
    3 | machines: {a: {image: debian, nics: [{address: ['fd77::5', 10.77.0.5, 'fd77::6']}, {address: []}, {address: {}}]}}
      |                                                                                                             ^
    "#);
}

#[test]
fn a_network_without_any_family() {
    assert_snapshot!(refused("
networks: {lan: {subnet: off, ipv6: off}}
machines: {a: {image: debian}}
"), @r#"
    error: network "lan" has neither IPv4 nor IPv6
     --> atoll.yaml:2:37
      |
    2 | networks: {lan: {subnet: off, ipv6: off}}
      |                          ---        ^^^
      |                          |
      |                          off as well
      |
    hint: leave one of them out
    "#);
}

#[test]
fn an_mtu_too_small_for_the_ipv6_that_is_wanted() {
    assert_snapshot!(refused("
networks: {lan: {ipv6: fd77::/64, mtu: 1000}}
machines: {a: {image: debian}}
"), @r#"
    error: the mtu of network "lan" is too small for IPv6
     --> atoll.yaml:2:40
      |
    2 | networks: {lan: {ipv6: fd77::/64, mtu: 1000}}
      |                        ---------       ^^^^
      |                        |
      |                        IPv6 is wanted here
      |
    hint: IPv6 needs 1280 bytes
    "#);
}

#[test]
fn two_networks_with_one_prefix() {
    assert_snapshot!(refused("
networks:
  a: {ipv6: fd77::/64}
  b: {ipv6: 'FD77:0::/64'}
machines: {m: {image: debian, nics: [a]}}
"), @r#"
    error: networks "a" and "b" overlap
     --> atoll.yaml:4:13
      |
    3 |   a: {ipv6: fd77::/64}
      |             --------- fd77::/64
    4 |   b: {ipv6: 'FD77:0::/64'}
      |             ^^^^^^^^^^^^^ fd77::/64
    "#);
}

#[test]
fn ipv6_addresses_that_no_machine_can_have() {
    assert_snapshot!(refused("
networks:
  lan: {ipv6: fd77::/64}
  four: {ipv6: off}
  six: {subnet: off}
machines:
  a: {image: debian, nics: [{network: lan, address: 'fd77::1'}, {network: lan, address: 'fd78::5'}]}
  b: {image: debian, nics: [{network: four, address: 'fd77::5'}, {network: six, address: 10.77.0.5}]}
  c: {image: debian, nics: [{network: lan, address: 'fd77::5'}, {network: lan, address: 'fd77:0::5'}]}
"), @r#"
    error: address fd77::1 of machine "a" is the gateway of network "lan"
     --> atoll.yaml:7:53
      |
    7 |   a: {image: debian, nics: [{network: lan, address: 'fd77::1'}, {network: lan, address: 'fd78::5'}]}
      |                                                     ^^^^^^^^^
      |
    hint: machines can have addresses of fd77::/64 other than fd77::1 and fd77::fe

    error: address fd78::5 of machine "a" is outside network "lan", fd77::/64
     --> atoll.yaml:7:89
      |
    7 |   a: {image: debian, nics: [{network: lan, address: 'fd77::1'}, {network: lan, address: 'fd78::5'}]}
      |                                                                                         ^^^^^^^^^
      |
    hint: machines can have addresses of fd77::/64 other than fd77::1 and fd77::fe

    error: address fd77::5 of machine "b" is of IPv6, which network "four" does not have
     --> atoll.yaml:8:54
      |
    8 |   b: {image: debian, nics: [{network: four, address: 'fd77::5'}, {network: six, address: 10.77.0.5}]}
      |                                                      ^^^^^^^^^
      |
    hint: give the network a prefix: ipv6: fd77:77::/64

    error: address 10.77.0.5 of machine "b" is of IPv4, which network "six" does not have
     --> atoll.yaml:8:90
      |
    8 |   b: {image: debian, nics: [{network: four, address: 'fd77::5'}, {network: six, address: 10.77.0.5}]}
      |                                                                                          ^^^^^^^^^
      |
    hint: give the network a subnet

    error: machine "c" has the address fd77::5 twice
     --> atoll.yaml:9:89
      |
    9 |   c: {image: debian, nics: [{network: lan, address: 'fd77::5'}, {network: lan, address: 'fd77:0::5'}]}
      |                                                     --------- NIC of "c"                ^^^^^^^^^^^ NIC of "c"
    "#);
}

#[test]
fn an_address_that_another_machine_makes_of_its_mac() {
    assert_snapshot!(refused("
networks: {lan: {ipv6: fd77::/64}}
machines:
  a: {image: debian, nics: [{mac: '52:54:00:12:34:56'}]}
  b: {image: debian, nics: [{address: 'fd77::5054:ff:fe12:3456'}]}
"), @r#"
    error: machines "b" and "a" both have the address fd77::5054:ff:fe12:3456
     --> atoll.yaml:4:3
      |
    4 |   a: {image: debian, nics: [{mac: '52:54:00:12:34:56'}]}
      |   ^ NIC of "a"
    5 |   b: {image: debian, nics: [{address: 'fd77::5054:ff:fe12:3456'}]}
      |                                       ------------------------- NIC of "b"
    "#);
}
