use proptest::prelude::*;

use super::*;

fn shown(text: &str) -> String {
    text.parse::<Forward>().unwrap().to_string()
}

fn refused(text: &str) -> String {
    let error = text.parse::<Forward>().unwrap_err();
    format!("{error} ({})", error.hint().unwrap())
}

#[test]
fn loopback_and_tcp_are_the_defaults() {
    assert_eq!(shown("8022:22"), "8022:22/tcp");
    assert_eq!(shown("8053:53/udp"), "8053:53/udp");
    assert_eq!(shown("0.0.0.0:8022:22"), "0.0.0.0:8022:22/tcp");
    assert_eq!(shown("[::1]:8022:22"), "[::1]:8022:22/tcp");
    assert_eq!(shown("0:22"), "0:22/tcp");
}

#[test]
fn a_range_pairs_its_ports_in_order() {
    let forward: Forward = "9000-9002:80-82".parse().unwrap();
    assert_eq!(
        forward.pairs().collect::<Vec<_>>(),
        [(9000, 80), (9001, 81), (9002, 82)]
    );
}

#[test]
fn the_command_line_names_the_guest() {
    let forward = Forward::parse_cli("8022:10.77.0.2:22/tcp").unwrap();
    assert_eq!(forward.guest, Guest::Address("10.77.0.2".parse().unwrap()));
    assert_eq!(forward.forward, "8022:22".parse().unwrap());
    assert_eq!(
        Forward::parse_cli("8022:a:22").unwrap().to_string(),
        "8022:a:22/tcp"
    );
    assert_eq!(
        Forward::parse_cli("[::]:53:[fd77::2]:53/udp")
            .unwrap()
            .to_string(),
        "[::]:53:[fd77::2]:53/udp"
    );
    assert_eq!(
        Forward::parse_cli("[::1]:8080:10.77.0.2:80").unwrap().to_string(),
        "[::1]:8080:10.77.0.2:80/tcp"
    );
    for wrong in [
        "8022:22",
        "8022:10.77.0:22",
        "8022:0.0.0.0:22",
        "8022:fd77::2:22",
        "8022:A:22",
    ] {
        assert!(Forward::parse_cli(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_listener_is_of_one_family_unless_it_is_asked_for_both() {
    let listeners = |text: &str| {
        let forward: Forward = text.parse().unwrap();
        forward
            .listeners()
            .map(|(listen, guest)| format!("{listen} {guest}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(listeners("[::]:80-81:90-91"), ["[::]:80 90", "[::]:81 91"]);
    assert_eq!(listeners("0.0.0.0:80:90"), ["0.0.0.0:80 90"]);
    assert_eq!(listeners("*:80:90"), ["0.0.0.0:80 90", "[::]:80 90"]);
    assert_eq!(shown("*:80:90"), "*:80:90/tcp");
}

#[test]
fn each_mistake_has_its_sentence() {
    insta::assert_snapshot!(refused("22"), @r#""22" is no forward: it does not say the guest's port (did you mean "22:22"?)"#);
    insta::assert_snapshot!(refused("a"), @r#""a" is no forward (write [BIND:]HOST-PORT:GUEST-PORT[/PROTOCOL], with the guest before its port on the command line)"#);
    insta::assert_snapshot!(refused("8022:22/sctp"), @r#""8022:22/sctp" is no forward: "sctp" is no protocol (use tcp or udp)"#);
    insta::assert_snapshot!(refused("8022:70000"), @r#""8022:70000" is no forward: "70000" is no port (ports are 1 to 65535, ranges like 9000-9010)"#);
    insta::assert_snapshot!(refused("localhost:8022:22"), @r#""localhost:8022:22" is no forward: "localhost" is no address of the host (use 127.0.0.1, 0.0.0.0, [::1], [::], * for both families, or an address of this host)"#);
    insta::assert_snapshot!(refused("*:0:22"), @r#""*:0:22" is no forward: the host cannot choose one port for both families (give the host's port, or one forward for 0.0.0.0 and one for [::])"#);
    insta::assert_snapshot!(refused("::1:8022:22"), @r#""::1:8022:22" is no forward (write [BIND:]HOST-PORT:GUEST-PORT[/PROTOCOL], with the guest before its port on the command line)"#);
    insta::assert_snapshot!(refused("1-3:1-2"), @r#""1-3:1-2" is no forward: 3 host ports cannot go to 2 guest ports (give both sides the same number of ports)"#);
    insta::assert_snapshot!(refused("8022:22,source=hide"), @r#""8022:22,source=hide" is no forward: "source=hide" is no option of one (write source=keep, or leave it out)"#);
    insta::assert_snapshot!(refused("127.0.0.1:8022:10.77.0.2:22"), @r#""127.0.0.1:8022:10.77.0.2:22" is no forward: it names a guest, but here the guest is the machine itself (leave the guest out: 127.0.0.1:8022:22/tcp)"#);
}

#[test]
fn a_guest_is_not_named_where_it_is_known() {
    let error = "8022:10.77.0.2:22".parse::<Forward>().unwrap_err();
    assert_eq!(error, ForwardError::GuestGiven("8022:10.77.0.2:22".to_owned()));
}

#[test]
fn two_listeners_conflict_on_one_address_protocol_and_port() {
    let conflict = |a: &str, b: &str| a.parse::<Forward>().unwrap().conflicts_with(&b.parse().unwrap());
    assert!(conflict("8022:22", "8022:23"));
    assert!(conflict("8022:22", "0.0.0.0:8000-8100:1-101"));
    assert!(!conflict("8022:22", "8022:22/udp"));
    assert!(!conflict("8022:22", "127.0.0.2:8022:22"));
    assert!(!conflict("8022:22", "[::]:8022:22"));
    assert!(conflict("[::1]:8022:22", "[::]:8022:22"));
    assert!(conflict("8022:22", "*:8022:22"));
    assert!(conflict("*:8022:22", "[::1]:8022:22"));
    assert!(!conflict("0:22", "0:23"));
}

#[test]
fn a_forward_without_bind_is_at_the_guests_own_loopback_address_if_it_has_one() {
    let own = Some(Ipv4Addr::new(127, 64, 0, 7));
    for (text, without, with) in [
        ("22:22", "127.0.0.1:22", "127.64.0.7:22"),
        ("127.0.0.1:22:22", "127.0.0.1:22", "127.0.0.1:22"),
        ("[::1]:22:22", "[::1]:22", "[::1]:22"),
    ] {
        let forward: Forward = text.parse().unwrap();
        let at = |own| forward.at(own).listeners().next().unwrap().0.to_string();
        assert_eq!(
            (at(None), at(own)),
            (without.to_owned(), with.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn the_guest_may_see_its_clients_own_addresses() {
    assert!("8022:22,source=keep".parse::<Forward>().unwrap().keeps_source());
    assert!(!"8022:22".parse::<Forward>().unwrap().keeps_source());
    assert_eq!(
        shown("0.0.0.0:80:80/udp,source=keep"),
        "0.0.0.0:80:80/udp,source=keep"
    );
    let with_guest = Forward::parse_cli("[::]:80:web:80,source=keep").unwrap();
    assert_eq!(with_guest.to_string(), "[::]:80:web:80/tcp,source=keep");
}

fn any_forward() -> impl Strategy<Value = Forward> {
    let bind = prop_oneof![
        Just(Bind::Usual),
        any::<Ipv4Addr>().prop_map(|address| Bind::Address(address.into())),
        any::<Ipv6Addr>().prop_map(|address| Bind::Address(address.into())),
        Just(Bind::Everywhere),
    ];
    let (udp, keep_source) = (any::<bool>(), any::<bool>());
    let ports = (1..u16::MAX - 100, 1..u16::MAX - 100, 0..100u16);
    (bind, ports, udp, keep_source).prop_map(|(bind, (host, guest, more), udp, keep_source)| Forward {
        bind,
        host_ports: PortRange {
            first: host,
            last: host + more,
        },
        guest_ports: PortRange {
            first: guest,
            last: guest + more,
        },
        protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
        keep_source,
    })
}

proptest! {
    #[test]
    fn what_is_displayed_parses_back(forward in any_forward(), guest in "[a-z][a-z0-9]{0,8}") {
        prop_assert_eq!(forward.to_string().parse::<Forward>(), Ok(forward));
        let with_guest = GuestForward { guest: Guest::Name(guest.parse().unwrap()), forward };
        prop_assert_eq!(Forward::parse_cli(&with_guest.to_string()), Ok(with_guest));
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]0-9a-f:./-]{0,24}(,source=keep)?|\\PC*") {
        if let Ok(forward) = text.parse::<Forward>() {
            prop_assert_eq!(forward.to_string().parse::<Forward>(), Ok(forward));
        }
        if let Ok(forward) = Forward::parse_cli(&text) {
            prop_assert_eq!(Forward::parse_cli(&forward.to_string()), Ok(forward));
        }
    }
}
