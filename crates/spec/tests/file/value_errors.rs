//! Mistakes that one value shows.

use insta::assert_snapshot;

use crate::refused;

#[test]
fn an_unknown_key_with_the_one_that_was_meant() {
    assert_snapshot!(refused("machines:\n  a:\n    image: debian\n    memry: 2G\n"), @r#"
    error: unknown key "memry" in machine "a"
     --> atoll.yaml:4:5
      |
    4 |     memry: 2G
      |     ^^^^^ unknown key
      |
    hint: did you mean "memory"?
    "#);
}

#[test]
fn an_unknown_key_like_no_other() {
    assert_snapshot!(refused("machines: {a: {image: debian, ssh: {colour: red}}}"), @r#"
    error: unknown key "colour" in ssh of machine "a"
     --> atoll.yaml:1:37
      |
    1 | machines: {a: {image: debian, ssh: {colour: red}}}
      |                                     ^^^^^^ unknown key
      |
    hint: known keys are: user, keys
    "#);
}

#[test]
fn a_key_given_twice() {
    assert_snapshot!(refused("machines:\n  a:\n    image: debian\n    cpus: 1\n    cpus: 2\n"), @r#"
    error: "cpus" is given twice in machine "a"
     --> atoll.yaml:5:5
      |
    4 |     cpus: 1
      |     ---- first given
    5 |     cpus: 2
      |     ^^^^ given again
    "#);
}

#[test]
fn a_machine_given_twice() {
    assert_snapshot!(refused("machines:\n  a: {image: debian}\n  b: {image: debian}\n  a: {image: ubuntu}\n"), @r#"
    error: "a" is given twice in machines
     --> atoll.yaml:4:3
      |
    2 |   a: {image: debian}
      |   - first given
    3 |   b: {image: debian}
    4 |   a: {image: ubuntu}
      |   ^ given again
    "#);
}

#[test]
fn values_of_the_wrong_kind() {
    assert_snapshot!(refused("
networks: [lan]
machines:
  a:
    image: [debian]
    cpus: {}
    memory:
    nics: 10.77.0.5
    forwards: 8022:22
    ssh: root
    [b]: c
"), @r#"
    error: networks must be a mapping, not a list
     --> atoll.yaml:2:11
      |
    2 | networks: [lan]
      |           ^

    error: image of machine "a" must be a name, an https:// address or a path, not a list
     --> atoll.yaml:5:12
      |
    5 |     image: [debian]
      |            ^

    error: cpus of machine "a" must be a number, not a mapping
     --> atoll.yaml:6:11
      |
    6 |     cpus: {}
      |           ^

    error: memory of machine "a" is empty
     --> atoll.yaml:7:11
      |
    7 |     memory:
      |           ^ expected a size like 2G or 512M

    error: nics of machine "a" must be a list, not a single value
     --> atoll.yaml:8:11
      |
    8 |     nics: 10.77.0.5
      |           ^^^^^^^^^

    error: forwards of machine "a" must be a list, not a single value
     --> atoll.yaml:9:15
      |
    9 |     forwards: 8022:22
      |               ^^^^^^^

    error: ssh of machine "a" must be a mapping, not a single value
      --> atoll.yaml:10:10
       |
    10 |     ssh: root
       |          ^^^^

    error: a key in machine "a" must be text, not a list
      --> atoll.yaml:11:5
       |
    11 |     [b]: c
       |     ^
    "#);
}

#[test]
fn numbers_and_switches() {
    assert_snapshot!(refused("
networks: {lan: {mtu: 100, isolate: yes, host-loopback: 'true'}}
machines: {a: {image: debian, cpus: 0}, b: {image: debian, cpus: 1.5}}
"), @r#"
    error: mtu of network "lan": "100" is no number from 576 to 65535
     --> atoll.yaml:2:23
      |
    2 | networks: {lan: {mtu: 100, isolate: yes, host-loopback: 'true'}}
      |                       ^^^

    error: isolate of network "lan" must be true or false, not "yes"
     --> atoll.yaml:2:37
      |
    2 | networks: {lan: {mtu: 100, isolate: yes, host-loopback: 'true'}}
      |                                     ^^^

    error: host-loopback of network "lan" must be true or false, not "true"
     --> atoll.yaml:2:57
      |
    2 | networks: {lan: {mtu: 100, isolate: yes, host-loopback: 'true'}}
      |                                                         ^^^^^^

    error: cpus of machine "a": "0" is no number from 1 to 1024
     --> atoll.yaml:3:37
      |
    3 | machines: {a: {image: debian, cpus: 0}, b: {image: debian, cpus: 1.5}}
      |                                     ^

    error: cpus of machine "b": "1.5" is no number from 1 to 1024
     --> atoll.yaml:3:66
      |
    3 | machines: {a: {image: debian, cpus: 0}, b: {image: debian, cpus: 1.5}}
      |                                                                  ^^^
    "#);
}

#[test]
fn a_subnet_that_is_none() {
    assert_snapshot!(refused("
networks:
  a: {subnet: lan}
  b: {subnet: 10.77.0.0}
  c: {subnet: 10.77.0.0/30}
  d: {subnet: 10.77.0.5/24}
  e: {subnet: 127.0.0.0/8}
machines: {m: {image: debian, nics: [a]}}
"), @r#"
    error: subnet of network "a": "lan" is no subnet
     --> atoll.yaml:3:15
      |
    3 |   a: {subnet: lan}
      |               ^^^
      |
    hint: write an IPv4 network like 10.77.0.0/24, or off for none

    error: subnet of network "b": "10.77.0.0" is no subnet: the prefix length is missing
     --> atoll.yaml:4:15
      |
    4 |   b: {subnet: 10.77.0.0}
      |               ^^^^^^^^^
      |
    hint: did you mean "10.77.0.0/24"?

    error: subnet of network "c": "10.77.0.0/30" has a prefix length outside /8 to /29
     --> atoll.yaml:5:15
      |
    5 |   c: {subnet: 10.77.0.0/30}
      |               ^^^^^^^^^^^^
      |
    hint: /29 leaves room for the gateway, the host alias and four guests; /24 is usual

    error: subnet of network "d": "10.77.0.5/24" is no subnet: the address has bits beyond its prefix
     --> atoll.yaml:6:15
      |
    6 |   d: {subnet: 10.77.0.5/24}
      |               ^^^^^^^^^^^^
      |
    hint: did you mean "10.77.0.0/24"?

    error: subnet of network "e": "127.0.0.0/8" cannot be a guest network: it lies in 127.0.0.0/8 (loopback)
     --> atoll.yaml:7:15
      |
    7 |   e: {subnet: 127.0.0.0/8}
      |               ^^^^^^^^^^^
      |
    hint: choose a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16
    "#);
}

#[test]
fn a_name_that_is_no_host_name() {
    assert_snapshot!(refused("
name: My_Cluster
domain: demo..internal
networks: {LAN: {}}
machines: {-a: {image: debian}, a.b: {image: debian}}
"), @r#"
    error: name: "My_Cluster" is no host name: 'M' is not allowed in it
     --> atoll.yaml:2:7
      |
    2 | name: My_Cluster
      |       ^^^^^^^^^^
      |
    hint: use "my-cluster"

    error: domain: a host name cannot be empty
     --> atoll.yaml:3:9
      |
    3 | domain: demo..internal
      |         ^^^^^^^^^^^^^^

    error: the name of a network: "LAN" is no host name: 'L' is not allowed in it
     --> atoll.yaml:4:12
      |
    4 | networks: {LAN: {}}
      |            ^^^
      |
    hint: use "lan"

    error: the name of a machine: "-a" is no host name: it begins or ends with a hyphen
     --> atoll.yaml:5:12
      |
    5 | machines: {-a: {image: debian}, a.b: {image: debian}}
      |            ^^
      |
    hint: use "a"

    error: the name of a machine: "a.b" is no host name: '.' is not allowed in it
     --> atoll.yaml:5:33
      |
    5 | machines: {-a: {image: debian}, a.b: {image: debian}}
      |                                 ^^^
      |
    hint: use "a-b"
    "#);
}

#[test]
fn words_that_are_on_no_list() {
    assert_snapshot!(refused("
machines:
  a: {image: debian, arch: amd64, accel: whpx, nics: [{model: e100}]}
"), @r#"
    error: arch of machine "a": there is no architecture "amd64"
     --> atoll.yaml:3:28
      |
    3 |   a: {image: debian, arch: amd64, accel: whpx, nics: [{model: e100}]}
      |                            ^^^^^
      |
    hint: known are: x86_64, aarch64

    error: accel of machine "a": there is no accelerator "whpx"
     --> atoll.yaml:3:42
      |
    3 |   a: {image: debian, arch: amd64, accel: whpx, nics: [{model: e100}]}
      |                                          ^^^^
      |
    hint: known are: auto, kvm, hvf, tcg

    error: model of NIC 1 of machine "a": there is no NIC model "e100"
     --> atoll.yaml:3:63
      |
    3 |   a: {image: debian, arch: amd64, accel: whpx, nics: [{model: e100}]}
      |                                                               ^^^^
      |
    hint: did you mean "e1000"? Known are: virtio-net-pci, e1000, e1000e, rtl8139, vmxnet3, ne2k_pci, pcnet, virtio-net-device, usb-net
    "#);
}

#[test]
fn sizes_without_meaning() {
    assert_snapshot!(refused("
machines:
  a: {image: debian, memory: 2048, disk: 10GB}
  b: {image: debian, memory: 100K, disk: 0G}
"), @r#"
    error: memory of machine "a": "2048" has no unit
     --> atoll.yaml:3:30
      |
    3 |   a: {image: debian, memory: 2048, disk: 10GB}
      |                              ^^^^
      |
    hint: write "2048M" for MiB or "2048G" for GiB

    error: disk of machine "a": "10GB" is no size
     --> atoll.yaml:3:42
      |
    3 |   a: {image: debian, memory: 2048, disk: 10GB}
      |                                          ^^^^
      |
    hint: write a whole number and a unit: 512M, 2G, 10GiB

    error: memory of machine "b" must be whole MiB, not 100K
     --> atoll.yaml:4:30
      |
    4 |   b: {image: debian, memory: 100K, disk: 0G}
      |                              ^^^^

    error: disk of machine "b": a size cannot be zero
     --> atoll.yaml:4:42
      |
    4 |   b: {image: debian, memory: 100K, disk: 0G}
      |                                          ^^
      |
    hint: write a whole number and a unit: 512M, 2G, 10GiB
    "#);
}

#[test]
fn nics_with_values_that_no_nic_can_have() {
    assert_snapshot!(refused("
machines:
  a: {image: debian, nics: [{mac: 52:54:00:12:34}, {mac: ff:ff:ff:ff:ff:ff}, {address: 10.77.0.10/24}]}
"), @r#"
    error: mac of NIC 1 of machine "a": "52:54:00:12:34" is no MAC address
     --> atoll.yaml:3:35
      |
    3 |   a: {image: debian, nics: [{mac: 52:54:00:12:34}, {mac: ff:ff:ff:ff:ff:ff}, {address: 10.77.0.10/24}]}
      |                                   ^^^^^^^^^^^^^^
      |
    hint: write six hexadecimal pairs like 52:54:00:12:34:56

    error: mac of NIC 2 of machine "a": "ff:ff:ff:ff:ff:ff" is a group address, which no NIC can have
     --> atoll.yaml:3:58
      |
    3 |   a: {image: debian, nics: [{mac: 52:54:00:12:34}, {mac: ff:ff:ff:ff:ff:ff}, {address: 10.77.0.10/24}]}
      |                                                          ^^^^^^^^^^^^^^^^^
      |
    hint: take one that begins with 52:54:00, QEMU's own prefix

    error: address of NIC 3 of machine "a": "10.77.0.10/24" is no IP address
     --> atoll.yaml:3:88
      |
    3 |   a: {image: debian, nics: [{mac: 52:54:00:12:34}, {mac: ff:ff:ff:ff:ff:ff}, {address: 10.77.0.10/24}]}
      |                                                                                        ^^^^^^^^^^^^^
      |
    hint: write an address like 10.77.0.10 or fd77:77::10, without a prefix length
    "#);
}

#[test]
fn forwards_that_cannot_be_read() {
    assert_snapshot!(refused("
machines:
  a: {image: debian, forwards: [22, 8022:ssh, '1-3:1-2', 8022:22/icmp]}
"), @r#"
    error: forward 1 of machine "a": "22" is no forward: it does not say the guest's port
     --> atoll.yaml:3:33
      |
    3 |   a: {image: debian, forwards: [22, 8022:ssh, '1-3:1-2', 8022:22/icmp]}
      |                                 ^^
      |
    hint: did you mean "22:22"?

    error: forward 2 of machine "a": "8022:ssh" is no forward: "ssh" is no port
     --> atoll.yaml:3:37
      |
    3 |   a: {image: debian, forwards: [22, 8022:ssh, '1-3:1-2', 8022:22/icmp]}
      |                                     ^^^^^^^^
      |
    hint: ports are 1 to 65535, ranges like 9000-9010

    error: forward 3 of machine "a": "1-3:1-2" is no forward: 3 host ports cannot go to 2 guest ports
     --> atoll.yaml:3:47
      |
    3 |   a: {image: debian, forwards: [22, 8022:ssh, '1-3:1-2', 8022:22/icmp]}
      |                                               ^^^^^^^^^
      |
    hint: give both sides the same number of ports

    error: forward 4 of machine "a": "8022:22/icmp" is no forward: "icmp" is no protocol
     --> atoll.yaml:3:58
      |
    3 |   a: {image: debian, forwards: [22, 8022:ssh, '1-3:1-2', 8022:22/icmp]}
      |                                                          ^^^^^^^^^^^^
      |
    hint: use tcp or udp
    "#);
}

#[test]
fn images_that_are_nowhere() {
    assert_snapshot!(refused("
machines:
  a: {image: Debian 12}
  b: {image: 'ftp://example.org/a.img'}
  c: {image: {sha256: 12}}
  d: {image: {url: a.img, file: a.img}}
"), @r#"
    error: image of machine "a": "Debian 12" names no image
     --> atoll.yaml:3:14
      |
    3 |   a: {image: Debian 12}
      |              ^^^^^^^^^
      |
    hint: write a catalogue name like debian, an https:// address, a path like ./disk.qcow2 or built:NAME

    error: image of machine "b": "ftp://example.org/a.img" is no address of an image: only http:// and https:// are fetched
     --> atoll.yaml:4:14
      |
    4 |   b: {image: 'ftp://example.org/a.img'}
      |              ^^^^^^^^^^^^^^^^^^^^^^^^^
      |
    hint: fetch it yourself and write its path

    error: image of machine "c" must say its url or its file
     --> atoll.yaml:5:14
      |
    5 |   c: {image: {sha256: 12}}
      |              ^

    error: sha256 of image of machine "c": "12" is no digest of 64 hexadecimal digits
     --> atoll.yaml:5:23
      |
    5 |   c: {image: {sha256: 12}}
      |                       ^^
      |
    hint: copy it from the publisher's checksum file

    error: image of machine "d": "a.img" is no http:// or https:// address
     --> atoll.yaml:6:20
      |
    6 |   d: {image: {url: a.img, file: a.img}}
      |                    ^^^^^

    error: image of machine "d" must have url or file, not both
     --> atoll.yaml:6:27
      |
    6 |   d: {image: {url: a.img, file: a.img}}
      |               ---         ^^^^
      |               |
      |               the other one
    "#);
}

#[test]
fn user_data_and_ssh() {
    assert_snapshot!(refused("
machines:
  a: {image: debian, user-data: {path: a.yaml}}
  b: {image: debian, user-data: [a], ssh: {user: 'a b', keys: [rsa AAAAB3]}}
"), @r#"
    error: user-data of machine "a" does not say its file
     --> atoll.yaml:3:33
      |
    3 |   a: {image: debian, user-data: {path: a.yaml}}
      |                                 ^
      |
    hint: write {file: PATH}, or the text itself after "user-data: |"

    error: unknown key "path" in user-data of machine "a"
     --> atoll.yaml:3:34
      |
    3 |   a: {image: debian, user-data: {path: a.yaml}}
      |                                  ^^^^ unknown key
      |
    hint: known keys are: file, text, template

    error: user-data of machine "b" must be text or {file: PATH}, not a list
     --> atoll.yaml:4:33
      |
    4 |   b: {image: debian, user-data: [a], ssh: {user: 'a b', keys: [rsa AAAAB3]}}
      |                                 ^

    error: user of ssh of machine "b": "a b" is no user name
     --> atoll.yaml:4:50
      |
    4 |   b: {image: debian, user-data: [a], ssh: {user: 'a b', keys: [rsa AAAAB3]}}
      |                                                  ^^^^^
      |
    hint: use letters, digits, '.', '-' and '_'

    error: key 1 of ssh of machine "b": "rsa AAAAB3" is no ssh public key
     --> atoll.yaml:4:64
      |
    4 |   b: {image: debian, user-data: [a], ssh: {user: 'a b', keys: [rsa AAAAB3]}}
      |                                                                ^^^^^^^^^^
      |
    hint: write a path like ~/.ssh/id_ed25519.pub, or the line that such a file holds
    "#);
}

#[test]
fn servers_of_a_network() {
    assert_snapshot!(refused("
networks: {lan: {dns: [dns.example, 0.0.0.0], ntp: [pool.example], hosts: {nas_1: 10.77.0.9, nas: nas}}}
machines: {a: {image: debian}}
"), @r#"
    error: DNS server 1 of network "lan": "dns.example" is no address of a DNS server
     --> atoll.yaml:2:24
      |
    2 | networks: {lan: {dns: [dns.example, 0.0.0.0], ntp: [pool.example], hosts: {nas_1: 10.77.0.9, nas: nas}}}
      |                        ^^^^^^^^^^^
      |
    hint: write an address like 1.1.1.1, 127.0.0.1:5353 or [::1]:53

    error: DNS server 2 of network "lan": "0.0.0.0" is no address of a DNS server
     --> atoll.yaml:2:37
      |
    2 | networks: {lan: {dns: [dns.example, 0.0.0.0], ntp: [pool.example], hosts: {nas_1: 10.77.0.9, nas: nas}}}
      |                                     ^^^^^^^
      |
    hint: write an address like 1.1.1.1, 127.0.0.1:5353 or [::1]:53

    error: time server 1 of network "lan": "pool.example" is no IPv4 address
     --> atoll.yaml:2:53
      |
    2 | networks: {lan: {dns: [dns.example, 0.0.0.0], ntp: [pool.example], hosts: {nas_1: 10.77.0.9, nas: nas}}}
      |                                                     ^^^^^^^^^^^^
      |
    hint: write an address like 10.77.0.10, without a prefix length

    error: the name of a host: "nas_1" is no host name: '_' is not allowed in it
     --> atoll.yaml:2:76
      |
    2 | networks: {lan: {dns: [dns.example, 0.0.0.0], ntp: [pool.example], hosts: {nas_1: 10.77.0.9, nas: nas}}}
      |                                                                            ^^^^^
      |
    hint: use "nas-1"

    error: the address of host "nas": "nas" is no IP address
     --> atoll.yaml:2:99
      |
    2 | networks: {lan: {dns: [dns.example, 0.0.0.0], ntp: [pool.example], hosts: {nas_1: 10.77.0.9, nas: nas}}}
      |                                                                                                   ^^^
      |
    hint: write an address like 10.77.0.10 or fd77:77::10, without a prefix length
    "#);
}

#[test]
fn an_image_with_two_digests() {
    let digests = format!("sha256: {}, sha512: {}", "a".repeat(64), "b".repeat(128));
    let errors = refused(&format!("machines: {{a: {{image: {{file: a.img, {digests}}}}}}}"));
    assert!(
        errors.starts_with(r#"error: image of machine "a" must have sha256 or sha512, not both"#),
        "{errors}"
    );
}

#[test]
fn a_nic_that_has_no_rings_to_share() {
    let file = "machines: {a: {image: debian, nics: [{model: e1000, attach: vhost-user}]}}";
    assert_snapshot!(refused(file), @r#"
    error: a NIC of machine "a" is e1000, which cannot be attached by vhost-user
     --> atoll.yaml:1:61
      |
    1 | machines: {a: {image: debian, nics: [{model: e1000, attach: vhost-user}]}}
      |                                                             ^^^^^^^^^^ needs a virtio NIC
      |
    hint: leave out attach, or write model: virtio-net-pci
    "#);
}
