//! Networks that are joined by `routes-to`, and mistakes about them.

use insta::assert_snapshot;

use crate::{accepted, refused};

#[test]
fn a_network_routes_to_one_or_several_others() {
    let cluster = accepted(
        "
networks:
  front: {routes-to: back}
  admin: {routes-to: [front, back]}
  back:
machines: {a: {image: debian, nics: [front]}}
",
    );
    let of = |name| {
        let names = cluster.network(name).unwrap().routes_to.iter();
        names.map(|name| name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of("front"), ["back"]);
    assert_eq!(of("admin"), ["front", "back"]);
    assert!(of("back").is_empty());
}

#[test]
fn networks_that_are_not_there_or_itself_or_named_twice() {
    assert_snapshot!(refused("
networks:
  front: {routes-to: [bakc, front, back, back]}
  back:
machines: {a: {image: debian, nics: [front]}}
"), @r#"
    error: network "front" routes to "bakc", which is no network
     --> atoll.yaml:3:23
      |
    3 |   front: {routes-to: [bakc, front, back, back]}
      |                       ^^^^
      |
    hint: did you mean "back"?

    error: network "front" routes to itself
     --> atoll.yaml:3:29
      |
    3 |   front: {routes-to: [bakc, front, back, back]}
      |                             ^^^^^
      |
    hint: machines of one network reach each other anyway

    error: network "front" routes to "back" twice
     --> atoll.yaml:3:42
      |
    3 |   front: {routes-to: [bakc, front, back, back]}
      |                                    ----  ^^^^
      |                                    |
      |                                    here, too
    "#);
}

#[test]
fn networks_whose_packets_others_route() {
    assert_snapshot!(refused("
networks:
  front: {routes-to: lan}
  lan: {mode: bridged, interface: br0, routes-to: front}
machines: {a: {image: debian, nics: [front]}}
"), @r#"
    error: network "lan" cannot be routed to: its packets are not Atoll's to route
     --> atoll.yaml:3:22
      |
    3 |   front: {routes-to: lan}
      |                      ^^^
      |
    hint: networks of mode user can be joined; machines with a NIC on both reach both

    error: network "lan" is bridged and takes no routes-to
     --> atoll.yaml:4:40
      |
    4 |   lan: {mode: bridged, interface: br0, routes-to: front}
      |               ------- its mode         ^^^^^^^^^
      |
    hint: networks of mode user can be joined; elsewhere the host or the LAN routes
    "#);
}

#[test]
fn networks_without_a_family_in_common() {
    assert_snapshot!(refused("
networks:
  front: {ipv6: off, routes-to: back}
  back: {subnet: off}
machines: {a: {image: debian, nics: [front]}}
"), @r#"
    error: networks "front" and "back" have no family of addresses in common
     --> atoll.yaml:3:33
      |
    3 |   front: {ipv6: off, routes-to: back}
      |                                 ^^^^
      |
    hint: give both of them a subnet, or both of them ipv6
    "#);
}

#[test]
fn a_route_by_a_machine_that_leads_where_a_join_does() {
    assert_snapshot!(refused("
networks:
  front: {routes: [{to: 10.78.0.0/16, via: a}]}
  back: {subnet: 10.78.3.0/24, routes-to: front}
machines: {a: {image: debian, nics: [front]}}
"), @r#"
    error: the route to 10.78.0.0/16 leads to network "back", which network "front" is joined with
     --> atoll.yaml:3:25
      |
    3 |   front: {routes: [{to: 10.78.0.0/16, via: a}]}
      |                         ^^^^^^^^^^^^
      |
    hint: leave out the route, or routes-to
    "#);
}

#[test]
fn joined_networks_that_overlap() {
    assert_snapshot!(refused("
networks:
  front: {subnet: 10.78.0.0/16, routes-to: back}
  back: {subnet: 10.78.3.0/24}
machines: {a: {image: debian, nics: [front]}}
"), @r#"
    error: networks "front" and "back" overlap
     --> atoll.yaml:4:18
      |
    3 |   front: {subnet: 10.78.0.0/16, routes-to: back}
      |                   ------------ 10.78.0.0 to 10.78.255.255
    4 |   back: {subnet: 10.78.3.0/24}
      |                  ^^^^^^^^^^^^ 10.78.3.0 to 10.78.3.255
    "#);
}
