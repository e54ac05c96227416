use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n";
const GROUP: &str = "root:x:0:\natoll:x:500:anna\n";

fn names() -> Names {
    Names::parse(PASSWD, GROUP)
}

fn policy(text: &str) -> Policy {
    Policy::parse("helper.conf", text, &names()).unwrap()
}

fn anna() -> Asker {
    Asker {
        uid: 1000,
        groups: vec![1000, 500],
    }
}

fn allows(text: &str, request: &str) -> bool {
    let request = Request::decode(request.as_bytes()).unwrap();
    policy(text)
        .judge(&anna(), &BridgeAcl::default(), &request)
        .is_ok()
}

const BRIDGE: &str = r#"{"bridge":{"bridge":"br0"}}"#;
const NEW_BRIDGE: &str = r#"{"new-bridge":{"interface":"eth0"}}"#;
const MACVTAP: &str = r#"{"macvtap":{"interface":"eth0","mac":"52:54:00:00:00:01"}}"#;
const SHARED: &str = r#"{"own":{"reach":"shared","network":"lan","subnet":"192.168.77.0/24","prefix":"fd77::/64","mtu":1500}}"#;
const OUTSIDE: &str =
    r#"{"own":{"reach":"shared","network":"lan","subnet":"8.8.8.0/24","mtu":1500,"outside":"eth0"}}"#;
const HOST: &str = r#"{"own":{"reach":"host","network":"lan","subnet":"10.1.2.0/24","mtu":1500}}"#;
const LINK: &str = r#"{"link":{"network":"lan","subnet":"10.1.2.0/24","address":"10.1.2.253","prefix":"fd12::/64","address6":"fd12::fd","mtu":1500,"domain":"atoll.internal","resolvers":["10.1.2.1"]}}"#;
const PROXY: &str = r#"{"proxy-arp":{"interface":"wlan0","addresses":["192.168.1.65","2001:db8::5"]}}"#;

#[test]
fn what_no_line_allows_is_refused_and_the_hint_would_allow_it() {
    for request in [BRIDGE, NEW_BRIDGE, MACVTAP, SHARED, OUTSIDE, HOST, LINK, PROXY] {
        let decoded = Request::decode(request.as_bytes()).unwrap();
        let refusal = Policy::default()
            .judge(&anna(), &BridgeAcl::default(), &decoded)
            .unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Denied);
        assert!(
            refusal
                .sentence
                .starts_with("the policy does not allow user 1000 "),
            "{refusal}"
        );
        let hint = refusal.hint.unwrap();
        let rule = hint.split_once(": ").unwrap().1;
        assert!(allows(rule, request), "{rule} does not allow {request}");
        for other in [BRIDGE, NEW_BRIDGE, MACVTAP, SHARED, OUTSIDE, HOST, LINK, PROXY] {
            assert_eq!(allows(rule, other), other == request, "{rule} and {other}");
        }
    }
}

#[test]
fn root_asks_for_what_he_likes() {
    let root = Asker {
        uid: 0,
        groups: vec![0],
    };
    let request = Request::decode(NEW_BRIDGE.as_bytes()).unwrap();
    Policy::default()
        .judge(&root, &BridgeAcl::default(), &request)
        .unwrap();
}

#[test]
fn a_rule_is_about_whom_it_names() {
    for who in ["user=anna", "user=1000", "group=atoll", "group=500", "anyone"] {
        assert!(allows(&format!("allow {who} host"), HOST), "{who}");
    }
    for who in ["user=root", "user=500", "group=root"] {
        assert!(!allows(&format!("allow {who} host"), HOST), "{who}");
    }
}

#[test]
fn ways_that_change_the_host_are_to_be_named() {
    let rule = "allow user=anna bridged interface=*";
    assert!(allows(rule, BRIDGE) && allows(rule, MACVTAP));
    assert!(!allows(rule, NEW_BRIDGE) && !allows(rule, PROXY));
    assert!(allows(
        "allow user=anna bridged interface=e* via=new-bridge",
        NEW_BRIDGE
    ));
    assert!(!allows("allow user=anna bridged interface=e* via=bridge", BRIDGE));
}

#[test]
fn ranges_are_private_unless_the_rule_says_more() {
    assert!(allows("allow anyone shared", SHARED));
    assert!(!allows("allow anyone shared", OUTSIDE));
    assert!(allows("allow anyone shared subnet=8.0.0.0/8", OUTSIDE));
    assert!(!allows("allow anyone shared subnet=192.168.77.0/25", SHARED));
    assert!(!allows("allow anyone shared prefix=fd78::/16", SHARED));
}

#[test]
fn a_way_out_that_is_named_is_the_only_one() {
    assert!(!allows("allow anyone shared interface=eth0", SHARED));
    assert!(allows(
        "allow anyone shared interface=eth0 subnet=8.0.0.0/8",
        OUTSIDE
    ));
    assert!(!allows(
        "allow anyone shared interface=eth1 subnet=8.0.0.0/8",
        OUTSIDE
    ));
}

#[test]
fn answering_is_allowed_for_the_addresses_of_the_rule_only() {
    let rule = "allow anyone bridged interface=wlan0 via=proxy-arp address=";
    assert!(allows(&format!("{rule}192.168.1.64/28,2001:db8::/64"), PROXY));
    assert!(!allows(&format!("{rule}192.168.1.64/28"), PROXY));
}

#[test]
fn the_file_of_qemu_allows_bridges() {
    let request = Request::decode(BRIDGE.as_bytes()).unwrap();
    let acl = BridgeAcl::default();
    assert!(!acl.allows(&"br0".parse().unwrap()));
    Policy::default().judge(&anna(), &acl, &request).unwrap_err();
}

#[test]
fn the_example_is_a_policy_that_allows_nothing() {
    assert_eq!(policy(EXAMPLE), Policy::default());
    let lines: String = EXAMPLE
        .lines()
        .filter_map(|line| line.strip_prefix("#allow"))
        .map(|rest| format!("allow{rest}\n"))
        .collect();
    assert_eq!(policy(&lines).rules.len(), 6);
}

#[test]
fn every_mistake_is_a_sentence_with_its_line_and_a_hint() {
    for (line, words) in [
        ("deny user=anna host", "begins no rule"),
        ("allow", "does not say who"),
        ("allow anna host", "does not say who"),
        ("allow user=berta host", "there is no user \"berta\""),
        ("allow group=wheel host", "there is no group \"wheel\""),
        ("allow anyone user", "is no mode"),
        ("allow anyone", "is no mode"),
        ("allow anyone bridged", "without an interface"),
        ("allow anyone bridged interface=-x", "is no interface's name"),
        (
            "allow anyone bridged interface=br0 via=wire",
            "is no way to a LAN",
        ),
        (
            "allow anyone bridged interface=br0 via=proxy-arp",
            "without addresses",
        ),
        (
            "allow anyone bridged interface=br0 address=10.0.0.0/8",
            "by proxy-arp only",
        ),
        (
            "allow anyone bridged interface=br0 subnet=10.0.0.0/8",
            "is no key of bridged",
        ),
        ("allow anyone host interface=br0", "is no key of host"),
        (
            "allow anyone shared subnet=10.0.0.1/8",
            "is no range of addresses",
        ),
        ("allow anyone shared subnet", "is no range of addresses"),
        ("allow anyone shared mtu=9000", "is no key of shared"),
    ] {
        let text = format!("# a comment\nallow anyone host # and another\n{line}\n");
        let mistakes = Policy::parse("helper.conf", &text, &names()).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{line}");
        assert_eq!(mistakes[0].line, 3);
        assert!(mistakes[0].to_string().contains(words), "{}", mistakes[0]);
        assert!(!mistakes[0].hint.is_empty());
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Words of the format, in any order, and other words.
    fn word() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("allow".to_owned()),
            "(user|group)=[a-z0-9]{0,6}",
            Just("anyone".to_owned()),
            "bridged|shared|host",
            "interface=[a-z0-9*,]{0,9}",
            "via=(bridge|new-bridge|macvtap|proxy-arp|,){0,3}",
            "(address|subnet|prefix)=[0-9a-f:./,]{0,20}",
            "\\PC{0,8}",
        ]
    }

    proptest! {
        #[test]
        fn any_text_is_rules_or_sentences(lines in prop::collection::vec(prop::collection::vec(word(), 0..6), 0..6)) {
            let text: Vec<String> = lines.iter().map(|words| words.join(" ")).collect();
            match Policy::parse("f", &text.join("\n"), &names()) {
                Ok(policy) => prop_assert!(policy.rules.len() <= lines.len()),
                Err(mistakes) => {
                    prop_assert!(!mistakes.is_empty());
                    for mistake in mistakes {
                        prop_assert!(!mistake.sentence.contains('\n') && !mistake.hint.is_empty());
                    }
                }
            }
        }

        #[test]
        fn nobody_gets_what_only_others_are_allowed(name in "[a-z]{1,8}", uid in 1_u32..5000) {
            prop_assume!(uid != 1000);
            let rule = format!("allow user=1000 bridged interface={name}");
            let request = Request::Bridge { bridge: name.parse().unwrap() };
            let asker = Asker { uid, groups: vec![uid] };
            prop_assert!(policy(&rule).judge(&asker, &BridgeAcl::default(), &request).is_err());
            prop_assert!(policy(&rule).judge(&anna(), &BridgeAcl::default(), &request).is_ok());
        }
    }
}

#[test]
fn names_alone_are_bound_as_a_links_are() {
    let names = r#"{"names":{"network":"lan","subnet":"192.168.77.0/24","domain":"atoll.internal","resolvers":["192.168.77.254"]}}"#;
    assert!(allows("allow anyone link", names));
    assert!(allows("allow anyone link domain=atoll.internal", names));
    assert!(!allows("allow anyone link domain=lab.internal", names));
    assert!(!allows("allow anyone link subnet=10.0.0.0/8", names));
    assert!(!allows("allow anyone shared", names));
    let public = names.replace("atoll.internal", "example.com");
    assert!(!allows("allow anyone link", &public));
    assert!(allows("allow anyone link domain=com", &public));
}

#[test]
fn a_whole_domain_that_is_nobodys_has_to_be_named() {
    for whole in ["internal", "home.arpa", "test"] {
        let link = LINK.replace("atoll.internal", whole);
        assert!(!allows("allow anyone link", &link), "{whole}");
        assert!(
            allows(&format!("allow anyone link domain={whole}"), &link),
            "{whole}"
        );
        let below = LINK.replace("atoll.internal", &format!("lab.{whole}"));
        assert!(allows("allow anyone link", &below), "{whole}");
    }
}

#[test]
fn a_link_is_to_private_ranges_and_domains_and_shut_to_guests_unless_the_rule_says_more() {
    let rule = "allow anyone link";
    assert!(allows(rule, LINK) && !allows("allow anyone host", LINK) && !allows(rule, HOST));
    let public = LINK.replace("atoll.internal", "example.com");
    assert!(!allows(rule, &public));
    assert!(allows("allow anyone link domain=com", &public));
    assert!(!allows("allow anyone link domain=lab.internal", LINK));
    let open = LINK.replace("\"mtu\"", "\"guests\":true,\"mtu\"");
    assert!(!allows(rule, &open));
    assert!(allows("allow anyone link guests=begin", &open));
    assert!(!allows("allow anyone link subnet=10.1.3.0/24", LINK));
    assert!(!allows("allow anyone link prefix=fd13::/16", LINK));
    for (text, words) in [
        ("allow anyone link interface=eth0", "is no key of link"),
        ("allow anyone host domain=a", "is no key of host"),
        ("allow anyone link domain=~.", "is no domain"),
        ("allow anyone link guests=all", "does not say what guests may"),
    ] {
        let mistakes = Policy::parse("helper.conf", text, &names()).unwrap_err();
        assert!(mistakes[0].sentence.contains(words), "{}", mistakes[0]);
    }
}
