//! Where a network's guests are, said wrongly to the real binary: one sentence and a way out, before anything is asked for or made.

use crate::home::Home;

fn fails(arguments: &[&str]) -> String {
    let arguments = [&["net", "run"], arguments].concat();
    Home::new().fails(&arguments, 2)
}

#[test]
fn a_bridged_network_needs_an_interface_and_no_other_mode_takes_one() {
    insta::assert_snapshot!(fails(&["--mode", "bridged"]), @r#"
    error: --mode bridged: it does not say which LAN
    hint: add --interface with a NIC or bridge of this host
    "#);
    insta::assert_snapshot!(fails(&["--interface", "eth0"]), @r#"
    error: --interface eth0: a network in mode user leads to no interface
    hint: add --mode bridged, or leave it out
    "#);
    insta::assert_snapshot!(fails(&["--mode", "host", "--interface", "eth0"]), @r#"
    error: --interface eth0: a network in mode host leads to no interface
    hint: add --mode bridged, or leave it out
    "#);
}

#[test]
fn a_way_to_the_lan_is_for_bridged_networks() {
    insta::assert_snapshot!(fails(&["--via", "macvtap"]), @r#"
    error: --via macvtap: a network in mode user does not come to a LAN
    hint: add --mode bridged, or leave it out
    "#);
    insta::assert_snapshot!(fails(&["--mode", "shared", "--via", "new-bridge"]), @r#"
    error: --via new-bridge: a network in mode shared does not come to a LAN
    hint: add --mode bridged, or leave it out
    "#);
}

#[test]
fn who_answers_for_guests_must_know_their_addresses_and_nobody_else_gives_them() {
    let bridged = ["--mode", "bridged", "--interface", "eth0"];
    insta::assert_snapshot!(fails(&[&bridged[..], &["--via", "proxy-arp"]].concat()), @r#"
    error: --via proxy-arp: it does not say which addresses guests have
    hint: add --lease MAC=ADDRESS for each, with addresses of the LAN that nobody else has
    "#);
    let lease = ["--lease", "52:54:00:00:00:01=192.168.1.50"];
    insta::assert_snapshot!(fails(&[&bridged[..], &lease].concat()), @r#"
    error: --lease 52:54:00:00:00:01: the LAN gives addresses to guests of a bridged network
    hint: tell the LAN's DHCP server
    "#);
}

#[test]
fn what_the_lan_decides_is_not_said_here() {
    for (word, value) in [
        ("--subnet", "10.1.2.0/24"),
        ("--ipv6", "off"),
        ("--dns", "1.1.1.1"),
        ("--mtu", "1500"),
        ("--route", "10.9.0.0/24=10.77.0.5"),
    ] {
        let said = fails(&["--mode", "bridged", "--interface", "eth0", word, value]);
        let expected = format!(
            "error: {word}: the guests of a bridged network have what the LAN gives them\n\
             hint: leave it out, or use --mode user\n"
        );
        assert_eq!(said, expected);
    }
    insta::assert_snapshot!(fails(&["--mode", "shared", "--host-loopback"]), @r#"
    error: --host-loopback: guests reach the host itself in mode shared, at the first address
    hint: leave it out, or use --mode user
    "#);
}

#[test]
fn rules_and_limits_are_for_networks_whose_packets_atoll_carries() {
    for mode in [
        &["--mode", "bridged", "--interface", "eth0"][..],
        &["--mode", "shared"],
        &["--mode", "host"],
    ] {
        for rule in [
            &["--allow", "10.0.0.0/8"][..],
            &["--deny", "any"],
            &["--internal"],
            &["--anti-spoof"],
            &["--allow-address", "52:54:00:00:00:01=10.77.0.100"],
            &["--limit", "bandwidth=1M"],
        ] {
            let expected = format!(
                "error: {}: rules and limits are for networks of mode user, whose packets Atoll itself carries\n\
                 hint: leave it out, or use --mode user\n",
                rule[0]
            );
            assert_eq!(fails(&[mode, rule].concat()), expected);
        }
    }
}

#[test]
fn what_only_macos_has_is_printed_with_a_note_and_not_started() {
    if std::env::consts::OS == "macos" {
        return; // It has what this is about.
    }
    let home = Home::with_file(
        "networks: {lan: {mode: bridged, interface: en0}}\n\
         machines: {a: {kernel: ./vmlinuz, accel: tcg, memory: 64M, nics: [{attach: vmnet}]}}\n",
    );
    home.write("vmlinuz", b"no kernel");
    insta::assert_snapshot!(home.fails(&["up"], 2), @r#"
    error: machine a: its NIC on network lan is attached by vmnet, which only macOS has
    hint: leave out attach: vmnet on this host
    "#);
    home.leaves_nothing_running();
    let printed = home.command(&["qemu-args", "a"]).output().unwrap();
    assert!(printed.status.success());
    let (line, note) = (
        String::from_utf8_lossy(&printed.stdout),
        String::from_utf8_lossy(&printed.stderr),
    );
    assert!(
        line.contains("-netdev vmnet-bridged,id=net0,ifname=en0 "),
        "{line}"
    );
    insta::assert_snapshot!(note, @"note: machine a: its NIC on network lan is attached by vmnet, which only macOS has");
}
