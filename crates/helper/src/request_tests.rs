use super::*;
use proptest::prelude::*;

const GOOD: [&str; 8] = [
    r#"{"bridge":{"bridge":"br0"}}"#,
    r#"{"new-bridge":{"interface":"eth0"}}"#,
    r#"{"macvtap":{"interface":"eth0","mac":"52:54:00:00:00:01"}}"#,
    r#"{"own":{"reach":"shared","network":"lan","subnet":"192.168.77.0/24","prefix":"fd77::/64","mtu":1500,"outside":"eth0"}}"#,
    r#"{"own":{"reach":"host","network":"lan","prefix":"fd77::/64","mtu":1500}}"#,
    r#"{"link":{"network":"lan","subnet":"10.77.0.0/24","address":"10.77.0.253","prefix":"fd77::/64","address6":"fd77::fd","mtu":1500,"domain":"atoll.internal","resolvers":["10.77.0.1"],"guests":true}}"#,
    r#"{"names":{"network":"lan","subnet":"192.168.77.0/24","domain":"atoll.internal","resolvers":["192.168.77.254"]}}"#,
    r#"{"proxy-arp":{"interface":"wlan0","addresses":["192.168.1.65","2001:db8::5"]}}"#,
];

#[test]
fn a_request_is_read_as_it_is_written() {
    for text in GOOD {
        let request = Request::decode(text.as_bytes()).unwrap();
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
}

#[test]
fn every_malformed_request_is_refused_with_its_sentence() {
    for (text, words) in [
        ("", "this is no request"),
        ("{}", "this is no request"),
        (r#""bridge""#, "this is no request"),
        (r#"{"bridge":{"bridge":"br0"}} x"#, "this is no request"),
        (r#"{"bridge":{"bridge":"br0","mtu":9}}"#, "unknown field"),
        (r#"{"bridge":{"bridge":"../br0"}}"#, "no interface's name"),
        (
            r#"{"names":{"network":"lan","subnet":"192.168.77.0/24","domain":"../hosts","resolvers":["192.168.77.254"]}}"#,
            "is no domain",
        ),
        (
            r#"{"names":{"network":"lan","subnet":"192.168.77.0/24","domain":".internal","resolvers":["192.168.77.254"]}}"#,
            "is no domain",
        ),
        (
            r#"{"names":{"network":"lan","subnet":"192.168.77.0/24","domain":"internal","resolvers":["8.8.8.8"]}}"#,
            "is not on this network",
        ),
        (r#"{"bridge":{"bridge":7}}"#, "this is no request"),
        (
            r#"{"macvtap":{"interface":"eth0","mac":"52:54:00:00:00"}}"#,
            "no MAC address",
        ),
        (
            r#"{"macvtap":{"interface":"eth0","mac":"01:00:5e:00:00:01"}}"#,
            "multicast or zero",
        ),
        (
            r#"{"macvtap":{"interface":"eth0","mac":"00:00:00:00:00:00"}}"#,
            "multicast or zero",
        ),
        (
            r#"{"own":{"reach":"shared","network":"lan","mtu":1500}}"#,
            "a subnet, a prefix or both",
        ),
        (
            r#"{"own":{"reach":"bridged","network":"lan","subnet":"10.0.0.0/24","mtu":1500}}"#,
            "unknown variant",
        ),
        (
            r#"{"own":{"reach":"host","network":"a b","subnet":"10.0.0.0/24","mtu":1500}}"#,
            "no network's name",
        ),
        (
            r#"{"own":{"reach":"host","network":"lan","subnet":"10.0.0.0/24","mtu":1279}}"#,
            "is not between",
        ),
        (
            r#"{"own":{"reach":"host","network":"lan","subnet":"10.0.0.0/30","mtu":1500}}"#,
            "between 8 and 29",
        ),
        (
            r#"{"own":{"reach":"host","network":"lan","subnet":"10.0.0.1/24","mtu":1500}}"#,
            "no range",
        ),
        (
            r#"{"own":{"reach":"host","network":"lan","prefix":"fd00::/48","mtu":1500}}"#,
            "is not 64",
        ),
        (
            r#"{"proxy-arp":{"interface":"eth0","addresses":[]}}"#,
            "1 to 16 addresses",
        ),
        (
            r#"{"proxy-arp":{"interface":"eth0","addresses":["10.0.0.1","10.0.0.1"]}}"#,
            "there twice",
        ),
        (
            r#"{"proxy-arp":{"interface":"eth0","addresses":["127.0.0.1"]}}"#,
            "that a guest can have",
        ),
        (
            r#"{"proxy-arp":{"interface":"eth0","addresses":["fe80::1"]}}"#,
            "that a guest can have",
        ),
        (
            r#"{"proxy-arp":{"interface":"eth0","addresses":["::ffff:10.0.0.1"]}}"#,
            "that a guest can have",
        ),
    ] {
        let refusal = Request::decode(text.as_bytes()).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Malformed);
        assert!(refusal.sentence.contains(words), "{text}: {refusal}");
    }
}

#[test]
fn what_is_too_long_is_no_request() {
    let text = format!("{}{}", GOOD[0], " ".repeat(MAX_MESSAGE));
    let refusal = Request::decode(text.as_bytes()).unwrap_err();
    assert!(refusal.sentence.contains("at most 4096 bytes"), "{refusal}");
}

#[test]
fn a_reply_always_fits_a_message() {
    let grant = Grant {
        interface: "atollt01234567".to_owned(),
        mtu: 1500,
        mac: Mac([2; 6]),
        link_local: None,
        host: vec![IpAddr::from([10, 0, 0, 1]); 4000],
        notes: vec!["n".repeat(5000)],
        names: None,
    };
    assert!(Reply::Granted(grant).encode().len() <= MAX_MESSAGE);
    let refusal = Refusal::new(RefusalKind::Failed, "s".repeat(9000)).with_hint("h".repeat(9000));
    assert!(Reply::Refused(refusal).encode().len() <= MAX_MESSAGE);
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_a_sentence(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes)?;
    }

    #[test]
    fn a_request_with_bytes_changed_is_a_request_or_a_sentence(
        which in 0..GOOD.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = GOOD[which].as_bytes().to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        check(&bytes)?;
    }

    #[test]
    fn words_of_any_kind_make_a_request_or_a_sentence(name in "\\PC{0,20}", mac in "[0-9a-f:]{0,20}", mtu in any::<u32>(), range in "[0-9a-f.:/]{0,24}") {
        for value in [
            serde_json::json!({"bridge": {"bridge": name}}),
            serde_json::json!({"macvtap": {"interface": "eth0", "mac": mac}}),
            serde_json::json!({"own": {"reach": "host", "network": name, "subnet": range, "mtu": mtu}}),
            serde_json::json!({"own": {"reach": "host", "network": "n", "prefix": range, "mtu": mtu}}),
            serde_json::json!({"link": {"network": "n", "subnet": range, "address": "10.0.0.2", "mtu": mtu, "domain": name}}),
            serde_json::json!({"proxy-arp": {"interface": name, "addresses": [range]}}),
        ] {
            check(value.to_string().as_bytes())?;
        }
    }
}

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    match Request::decode(bytes) {
        Ok(request) => prop_assert_eq!(Request::decode(&request.encode()), Ok(request)),
        Err(refusal) => {
            prop_assert_eq!(refusal.kind, RefusalKind::Malformed);
            prop_assert!(!refusal.sentence.is_empty());
            prop_assert!(!refusal.sentence.chars().any(char::is_control));
        }
    }
    Ok(())
}
