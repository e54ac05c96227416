//! Mistakes about NICs that go past Atoll: to a TAP, or by vmnet.

use insta::assert_snapshot;

use crate::refused;

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
    error: machine "a" has a forward, but all its NICs go past Atoll
     --> atoll.yaml:3:65
      |
    3 | machines: {a: {image: debian, nics: [{attach: tap}], forwards: ['8022:22']}}
      |                                                                 ^^^^^^^^^
      |
    hint: reach it at its address on the LAN, or leave out attach
    "#);
}

#[test]
fn what_cannot_be_attached_by_vmnet() {
    assert_snapshot!(refused("
networks:
  ours: {}
  linux: {mode: bridged, interface: eth0, via: macvtap}
  apart: {mode: bridged, interface: en0, isolate: true}
  nat: {mode: shared, subnet: 10.1.2.0/24}
machines:
  a:
    image: debian
    nics:
      - {network: ours, attach: vmnet}
      - {network: linux, attach: vmnet}
      - {network: apart, attach: vmnet}
      - {network: nat, attach: vmnet, address: 10.1.2.9}
"), @r#"
    error: a NIC of machine "a" cannot be attached by vmnet: network "ours" is of mode user
      --> atoll.yaml:11:33
       |
    11 |       - {network: ours, attach: vmnet}
       |                                 ^^^^^
       |
    hint: leave out attach, or give the network mode: bridged, shared or host

    error: a NIC of machine "a" cannot be attached by vmnet: network "linux" comes to the LAN by macvtap, which is Linux's
      --> atoll.yaml:12:34
       |
    12 |       - {network: linux, attach: vmnet}
       |                                  ^^^^^
       |
    hint: leave out via, or attach

    error: a NIC of machine "a" cannot be attached by vmnet: network "apart" could not keep it from the others
      --> atoll.yaml:13:34
       |
    13 |       - {network: apart, attach: vmnet}
       |                                  ^^^^^
       |
    hint: leave out attach, or isolate

    error: a NIC of machine "a" cannot be attached by vmnet: its address is macOS's to give
      --> atoll.yaml:14:48
       |
    14 |       - {network: nat, attach: vmnet, address: 10.1.2.9}
       |                                                ^^^^^^^^
       |
    hint: leave out address, or attach
    "#);
}
