//! Mistakes that show only when the parts of a file are held together.

use insta::assert_snapshot;

use crate::{read, refused};

#[test]
fn no_machines() {
    assert_snapshot!(refused(""), @r#"
    error: the file has no machines
     --> atoll.yaml:1:1
      |
    1 |
      | ^
      |
    hint: begin with:  machines: {a: {image: debian}}
    "#);
    assert_snapshot!(refused("name: demo\nmachines:\n"), @r#"
    error: the file has no machines
     --> atoll.yaml:2:1
      |
    2 | machines:
      | ^^^^^^^^
      |
    hint: begin with:  machines: {a: {image: debian}}
    "#);
}

#[test]
fn text_that_is_no_yaml() {
    assert_snapshot!(refused("machines:\n  a: {image: debian\n"), @r#"
    error: this is not YAML: unclosed bracket '{'
     --> atoll.yaml:2:6
      |
    2 |   a: {image: debian
      |      ^
    "#);
    assert_snapshot!(refused("machines:\n\ta: {image: debian}\n"), @r#"
    error: this is not YAML: tabs disallowed within this context (block indentation)
     --> atoll.yaml:2:2
      |
    2 |     a: {image: debian}
      |     ^
      |
    hint: indent with spaces, YAML takes no tabs there
    "#);
}

#[test]
fn two_documents() {
    assert_snapshot!(refused("machines: {a: {image: debian}}\n---\nmachines: {b: {image: debian}}\n"), @r#"
    error: the file holds more than one document
     --> atoll.yaml:2:1
      |
    2 | ---
      | ^^^
      |
    hint: write one cluster in one file
    "#);
}

#[test]
fn two_machines_with_one_address() {
    assert_snapshot!(refused("
machines:
  a:
    image: debian
    nics: [{address: 10.77.0.10}]
  b:
    image: debian
    nics:
      - address: 10.77.0.10
"), @r#"
    error: machines "a" and "b" both have the address 10.77.0.10
     --> atoll.yaml:9:18
      |
    5 |     nics: [{address: 10.77.0.10}]
      |                      ---------- NIC of "a"
    ...
    9 |       - address: 10.77.0.10
      |                  ^^^^^^^^^^ NIC of "b"
    "#);
}

#[test]
fn two_machines_with_one_mac() {
    assert_snapshot!(refused("
machines:
  a: {image: debian, nics: [{mac: '52:54:00:aa:bb:cc'}]}
  b: {image: debian, nics: [{mac: '52:54:00:AA:BB:CC'}]}
"), @r#"
    error: machines "a" and "b" both have the MAC 52:54:00:aa:bb:cc
     --> atoll.yaml:4:35
      |
    3 |   a: {image: debian, nics: [{mac: '52:54:00:aa:bb:cc'}]}
      |                                   ------------------- NIC of "a"
    4 |   b: {image: debian, nics: [{mac: '52:54:00:AA:BB:CC'}]}
      |                                   ^^^^^^^^^^^^^^^^^^^ NIC of "b"
    "#);
}

#[test]
fn two_forwards_of_one_host_port() {
    assert_snapshot!(refused("
machines:
  a:
    image: debian
    forwards: ['8022:22']
  b:
    image: debian
    forwards: ['0.0.0.0:8000-8100:1000-1100']
"), @r#"
    error: machines "a" and "b" both forward host ports 8000-8100/tcp
     --> atoll.yaml:8:16
      |
    5 |     forwards: ['8022:22']
      |                --------- forward of "a"
    ...
    8 |     forwards: ['0.0.0.0:8000-8100:1000-1100']
      |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ forward of "b"
      |
    hint: give each forward a host port of its own
    "#);
}

#[test]
fn one_machine_with_one_host_port_twice() {
    assert_snapshot!(refused("machines: {a: {image: debian, forwards: ['8022:22', '8022:23']}}"), @r#"
    error: machine "a" forwards host port 8022/tcp twice
     --> atoll.yaml:1:53
      |
    1 | machines: {a: {image: debian, forwards: ['8022:22', '8022:23']}}
      |                                          ---------  ^^^^^^^^^ forward of "a"
      |                                          |
      |                                          forward of "a"
      |
    hint: give each forward a host port of its own
    "#);
}

#[test]
fn addresses_that_a_machine_cannot_have() {
    assert_snapshot!(refused("
networks: {lan: {subnet: 10.1.2.0/24}}
machines:
  a: {image: debian, nics: [{address: 10.77.0.10}]}
  b: {image: debian, nics: [{address: 10.1.2.0}]}
  c: {image: debian, nics: [{address: 10.1.2.1}]}
  d: {image: debian, nics: [{address: 10.1.2.254}]}
  e: {image: debian, nics: [{address: 10.1.2.255}]}
"), @r#"
    error: address 10.77.0.10 of machine "a" is outside network "lan", 10.1.2.0/24
     --> atoll.yaml:4:39
      |
    4 |   a: {image: debian, nics: [{address: 10.77.0.10}]}
      |                                       ^^^^^^^^^^
      |
    hint: machines can have 10.1.2.2 to 10.1.2.253

    error: address 10.1.2.0 of machine "b" is the network address of network "lan"
     --> atoll.yaml:5:39
      |
    5 |   b: {image: debian, nics: [{address: 10.1.2.0}]}
      |                                       ^^^^^^^^
      |
    hint: machines can have 10.1.2.2 to 10.1.2.253

    error: address 10.1.2.1 of machine "c" is the gateway of network "lan"
     --> atoll.yaml:6:39
      |
    6 |   c: {image: debian, nics: [{address: 10.1.2.1}]}
      |                                       ^^^^^^^^
      |
    hint: machines can have 10.1.2.2 to 10.1.2.253

    error: address 10.1.2.254 of machine "d" is the host alias of network "lan"
     --> atoll.yaml:7:39
      |
    7 |   d: {image: debian, nics: [{address: 10.1.2.254}]}
      |                                       ^^^^^^^^^^
      |
    hint: machines can have 10.1.2.2 to 10.1.2.253

    error: address 10.1.2.255 of machine "e" is the broadcast address of network "lan"
     --> atoll.yaml:8:39
      |
    8 |   e: {image: debian, nics: [{address: 10.1.2.255}]}
      |                                       ^^^^^^^^^^
      |
    hint: machines can have 10.1.2.2 to 10.1.2.253
    "#);
}

#[test]
fn a_nic_on_a_network_that_is_not_there() {
    assert_snapshot!(refused("
networks: {lan: {}, storage: {}}
machines:
  a: {image: debian, nics: [lan, {network: storge}]}
  b: {image: debian, nics: [{network: wifi}]}
"), @r#"
    error: a NIC of machine "a" is on network "storge", which the file does not have
     --> atoll.yaml:4:44
      |
    4 |   a: {image: debian, nics: [lan, {network: storge}]}
      |                                            ^^^^^^ unknown network
      |
    hint: did you mean "storage"?

    error: a NIC of machine "b" is on network "wifi", which the file does not have
     --> atoll.yaml:5:39
      |
    5 |   b: {image: debian, nics: [{network: wifi}]}
      |                                       ^^^^ unknown network
      |
    hint: networks are: lan, storage
    "#);
}

#[test]
fn a_nic_that_does_not_say_which_of_two_networks() {
    assert_snapshot!(refused("
networks: {lan: {}, storage: {}}
machines:
  a: {image: debian}
  b: {image: debian, nics: [{model: e1000}]}
"), @r#"
    error: a NIC of machine "a" does not say its network
     --> atoll.yaml:4:3
      |
    4 |   a: {image: debian}
      |   ^
      |
    hint: there are several, so choose one of: lan, storage

    error: a NIC of machine "b" does not say its network
     --> atoll.yaml:5:29
      |
    5 |   b: {image: debian, nics: [{model: e1000}]}
      |                             ^
      |
    hint: there are several, so choose one of: lan, storage
    "#);
}

#[test]
fn two_networks_that_overlap() {
    assert_snapshot!(refused("
networks:
  lan: {subnet: 10.77.0.0/16}
  storage: {subnet: 10.77.5.0/24}
machines: {a: {image: debian, nics: [lan]}}
"), @r#"
    error: networks "lan" and "storage" overlap
     --> atoll.yaml:4:21
      |
    3 |   lan: {subnet: 10.77.0.0/16}
      |                 ------------ 10.77.0.0 to 10.77.255.255
    4 |   storage: {subnet: 10.77.5.0/24}
      |                     ^^^^^^^^^^^^ 10.77.5.0 to 10.77.5.255
    "#);
}

#[test]
fn a_network_that_is_full() {
    assert_snapshot!(refused("
networks: {lan: {subnet: 10.77.0.0/29}}
defaults: {image: debian}
machines: {a: , b: , c: , d: , e: }
"), @r#"
    error: machine "e" gets no address on network "lan": 10.77.0.0/29 has room for 4 guests
     --> atoll.yaml:4:32
      |
    4 | machines: {a: , b: , c: , d: , e: }
      |                                ^
      |
    hint: give the network a larger subnet
    "#);
}

#[test]
fn a_machine_without_image() {
    assert_snapshot!(refused("machines:\n  a:\n    cpus: 2\n"), @r#"
    error: machine "a" has no image
     --> atoll.yaml:2:3
      |
    2 |   a:
      |   ^
      |
    hint: add an image such as "image: debian", or a kernel
    "#);
}

#[test]
fn an_initrd_without_kernel() {
    assert_snapshot!(refused("machines: {a: {image: debian, initrd: initrd.img, append: quiet}}"), @r#"
    error: machine "a" has initrd but no kernel
     --> atoll.yaml:1:39
      |
    1 | machines: {a: {image: debian, initrd: initrd.img, append: quiet}}
      |                                       ^^^^^^^^^^
      |
    hint: initrd belongs to a kernel that QEMU starts directly

    error: machine "a" has append but no kernel
     --> atoll.yaml:1:59
      |
    1 | machines: {a: {image: debian, initrd: initrd.img, append: quiet}}
      |                                                           ^^^^^
      |
    hint: append belongs to a kernel that QEMU starts directly
    "#);
}

#[test]
fn a_forward_to_a_machine_without_nic() {
    assert_snapshot!(refused("machines: {a: {image: debian, nics: [], forwards: ['8022:22']}}"), @r#"
    error: machine "a" has a forward but no NIC
     --> atoll.yaml:1:52
      |
    1 | machines: {a: {image: debian, nics: [], forwards: ['8022:22']}}
      |                                                    ^^^^^^^^^
    "#);
}

#[test]
fn a_host_with_the_name_of_a_machine() {
    assert_snapshot!(refused("
domain: demo.internal
networks: {lan: {hosts: {a.demo.internal: 10.77.0.9}}}
machines: {a: {image: debian}}
"), @r#"
    error: host "a.demo.internal" has the name of a machine
     --> atoll.yaml:3:26
      |
    3 | networks: {lan: {hosts: {a.demo.internal: 10.77.0.9}}}
      |                          ^^^^^^^^^^^^^^^
    4 | machines: {a: {image: debian}}
      |            - the machine
    "#);
}

#[test]
fn mistakes_come_in_the_order_of_the_file_and_are_counted_when_many() {
    let keys: String = (0..30).map(|i| format!("    key-number-{i}: 1\n")).collect();
    let errors = read(&format!("machines:\n  a:\n{keys}")).unwrap_err();
    let lines: Vec<_> = errors.iter().map(|error| errors.position(error).0).collect();
    assert_eq!(lines, (3..33).collect::<Vec<_>>());
    assert!(errors.to_string().ends_with("and 10 more errors"), "{errors}");
}

#[test]
fn an_error_inside_an_alias_points_where_it_was_written() {
    assert_snapshot!(refused("
defaults: &base
  image: debian
  cpus: many
machines:
  a:
    <<: *base
    memory: *base
"), @r#"
    error: cpus of defaults: "many" is no number from 1 to 1024
     --> atoll.yaml:4:9
      |
    4 |   cpus: many
      |         ^^^^

    error: cpus of machine "a": "many" is no number from 1 to 1024
     --> atoll.yaml:4:9
      |
    4 |   cpus: many
      |         ^^^^

    error: memory of machine "a" must be a size like 2G or 512M, not a mapping
     --> atoll.yaml:8:13
      |
    8 |     memory: *base
      |             ^^^^^
    "#);
}

#[test]
fn nesting_and_aliases_are_bounded() {
    assert!(refused(&"- ".repeat(10_000)).contains("more than 32 levels"));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb = format!("{bomb}a{level}: &a{level} [{below}]\n");
    }
    assert!(refused(&bomb).contains("more than 20000 values"));
    assert!(refused(&" ".repeat((1 << 20) + 1)).contains("longer than 1 MiB"));
}
