//! What the gateway offers guests: time, options of DHCP, booting from the network.

use std::collections::BTreeMap;
use std::path::Path;

use atoll_spec::{BootClient, TimeServer};

use crate::{accepted, refused};

const FILE: &str = "
networks:
  lan:
    ntp-server: always
    tftp: ./pxe
    boot: {server: 10.77.0.9, ipxe: menu.ipxe, bios: undionly.kpxe, http-x86-64: 'http://10.77.0.9/boot.efi'}
    dhcp-options:
      66: boot.example
      ntp-servers: [10.77.0.9, 10.77.0.10]
      224: 'u16:7,8'
      43: 'hex:01:04:c0:a8:00:01'
      119: [lab.example, example.org]
      3: off
    dhcp6-options: {bootfile-url: 'tftp://[fd00::9]/a.efi', 23: 'fd00::9'}
  plain:
defaults: {dhcp-options: {66: all.example, 252: all}}
machines:
  a: {image: debian, nics: [lan, plain], dhcp-options: {tftp-server-name: one.example}, dhcp6-options: {41: UTC0}}
  b: {image: debian, nics: [lan]}
";

#[test]
fn options_are_what_goes_over_the_wire() {
    let cluster = accepted(FILE);
    let lan = cluster.network("lan").unwrap();
    let domains = b"\x03lab\x07example\x00\x07example\x03org\x00".to_vec();
    let expected = [
        (3, None),
        (42, Some(vec![10, 77, 0, 9, 10, 77, 0, 10])),
        (43, Some(vec![1, 4, 192, 168, 0, 1])),
        (66, Some(b"boot.example".to_vec())),
        (119, Some(domains)),
        (224, Some(vec![0, 7, 0, 8])),
    ];
    assert_eq!(lan.dhcp_options.v4, BTreeMap::from(expected));
    let v6 = &lan.dhcp_options.v6;
    assert_eq!(v6[&59].as_deref(), Some(&b"tftp://[fd00::9]/a.efi"[..]));
    assert_eq!(v6[&23].as_ref().map(Vec::len), Some(16));
    assert!(cluster.network("plain").unwrap().dhcp_options.is_empty());
}

#[test]
fn a_machine_has_its_own_options_and_those_of_defaults_beside_them() {
    let cluster = accepted(FILE);
    let told = |machine: &str| cluster.machine(machine).unwrap().dhcp_options.clone();
    let text = |words: &str| Some(words.as_bytes().to_vec());
    let a = told("a");
    assert_eq!(
        a.v4,
        BTreeMap::from([(66, text("one.example")), (252, text("all"))])
    );
    assert_eq!(a.v6, BTreeMap::from([(41, text("UTC0"))]));
    assert_eq!(told("b").v4[&66], text("all.example"));
}

#[test]
fn time_and_boot_files_have_their_places() {
    let cluster = accepted(FILE);
    let lan = cluster.network("lan").unwrap();
    assert_eq!(lan.ntp_server, TimeServer::Always);
    assert_eq!(lan.tftp.as_deref(), Some(Path::new("./pxe")));
    assert_eq!(lan.boot.server, Some([10, 77, 0, 9].into()));
    let files: Vec<_> = lan
        .boot
        .files
        .iter()
        .map(|(client, file)| (*client, file.to_string()))
        .collect();
    let expected = [
        (BootClient::Ipxe, "menu.ipxe"),
        (BootClient::Bios, "undionly.kpxe"),
        (BootClient::HttpX64, "http://10.77.0.9/boot.efi"),
    ];
    assert_eq!(files, expected.map(|(client, file)| (client, file.to_owned())));
    let plain = cluster.network("plain").unwrap();
    assert_eq!((plain.ntp_server, plain.tftp.as_ref()), (TimeServer::Auto, None));
}

#[test]
fn what_a_cluster_resolved_to_can_be_written_down_and_read_again() {
    let cluster = accepted(FILE);
    let text = serde_json::to_string(&cluster).unwrap();
    assert_eq!(
        serde_json::from_str::<atoll_spec::Cluster>(&text).unwrap(),
        cluster
    );
}

/// The sentence, what is underlined, and the hint of the one mistake in a network's key.
fn mistake(key: &str) -> (String, String, String) {
    let text = format!("networks: {{lan: {{{key}}}}}\nmachines: {{a: {{image: debian}}}}\n");
    let said = refused(&text);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(said.matches("error:").count(), 1, "{said}");
    let source = lines.iter().position(|line| line.contains("1 | ")).unwrap();
    let carets = lines[source + 1];
    let (start, len) = (carets.find('^').unwrap(), carets.matches('^').count());
    let underlined = lines[source][start..start + len].to_owned();
    let rest = |word: &str| {
        let mut found = lines.iter().filter_map(|line| line.strip_prefix(word));
        found.next().unwrap_or_default().to_owned()
    };
    (rest("error: "), underlined, rest("hint: "))
}

#[test]
fn a_wrong_option_is_underlined_where_it_is_wrong() {
    for (key, sentence, underlined, hint) in [
        (
            "dhcp-options: {53: 'u8:1'}",
            "DHCP option 53 (message-type) is not for you to choose: the server makes it itself",
            "53",
            "leave it out",
        ),
        (
            "dhcp-options: {interface-mtu: 1400}",
            "DHCP option 26 (interface-mtu) is not for you to choose: the network has an MTU",
            "interface-mtu",
            "set the network's mtu",
        ),
        (
            "dhcp-options: {300: a}",
            "there is no DHCP option \"300\"",
            "300",
            "write a number from 1 to 254",
        ),
        (
            "dhcp-options: {ntp-server: 10.0.0.1}",
            "there is no DHCP option \"ntp-server\"",
            "ntp-server",
            "did you mean \"ntp-servers\"?",
        ),
        (
            "dhcp-options: {224: 7}",
            "nothing is known of what DHCP option 224 holds",
            "7",
            "put the type before the value",
        ),
        (
            "dhcp-options: {42: [10.0.0.1, pool.example]}",
            "DHCP option 42 holds IP addresses, not \"pool.example\"",
            "[",
            "write addresses",
        ),
        (
            "dhcp-options: {66: a, tftp-server-name: b}",
            "DHCP option 66 is given twice",
            "tftp-server-name",
            "",
        ),
        (
            "dhcp6-options: {3: 'u8:1'}",
            "DHCPv6 option 3 (ia-na) is not for you to choose",
            "3",
            "a guest's address",
        ),
        (
            "boot: {http-x86-64: boot.efi}",
            "\"boot.efi\" is no URI of HTTP",
            "http-x86-64",
            "write one such as http://",
        ),
        ("boot: {efi: boot.efi}", "unknown key \"efi\"", "efi", ""),
        (
            "ntp-server: maybe",
            "there is no kind of time server \"maybe\"",
            "maybe",
            "known are: auto, always, off",
        ),
    ] {
        let said = mistake(key);
        assert!(said.0.contains(sentence), "{key}: {}", said.0);
        assert_eq!(said.1, underlined, "{key}");
        assert!(said.2.contains(hint), "{key}: {}", said.2);
    }
}
