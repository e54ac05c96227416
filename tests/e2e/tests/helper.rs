//! The privileged helper, started by a user through sudo: what it grants, what it refuses, and that nothing of it stays.

use atoll_e2e::{LanHost, with_namespaces};

const BRIDGE: &str = r#"{"bridge":{"bridge":"br0"}}"#;
const MACVTAP: &str = r#"{"macvtap":{"interface":"cable","mac":"52:54:00:00:00:01"}}"#;
const NEW_BRIDGE: &str = r#"{"new-bridge":{"interface":"cable"}}"#;
const HOST: &str = r#"{"own":{"reach":"host","network":"lan","subnet":"192.168.78.0/24","mtu":1500}}"#;
const SHARED: &str = r#"{"own":{"reach":"shared","network":"lan","subnet":"192.168.77.0/24","prefix":"fd77::/64","mtu":1500}}"#;
const PROXY: &str = r#"{"proxy-arp":{"interface":"cable","addresses":["10.9.0.50","2001:db8:9::50"]}}"#;
const ALL: [&str; 6] = [BRIDGE, MACVTAP, NEW_BRIDGE, HOST, SHARED, PROXY];

const GUEST: &str = "52:54:00:00:00:01";

fn host() -> Option<LanHost> {
    LanHost::make(with_namespaces()?)
}

/// The helper's process that may change the network.
const FIRST: &str = "for p in $(pgrep -x atoll-helper); do [ $(readlink /proc/$p/ns/net) = $(readlink /proc/self/ns/net) ] && grep -q '^Uid:.*65534' /proc/$p/status && echo $p; done";

#[test]
fn what_is_granted_is_there_and_gone_without_a_trace_at_the_end() {
    let Some(host) = host() else { return };
    let before = host.picture();
    for request in ALL {
        let mut client = host.client();
        let answer = client.tell(request);
        assert!(answer.starts_with("granted atoll"), "{request}: {answer}");
        assert_ne!(host.picture(), before, "{request}: nothing was done");
        drop(client);
        // The client waited until all was undone.
        assert_eq!(host.difference(&before), "", "{request}");
    }
    assert_eq!(host.run("ls /run/atoll-helper | grep journal; true"), "");
}

#[test]
fn one_session_grants_several_and_undoes_them_all() {
    let Some(host) = host() else { return };
    let before = host.picture();
    let mut client = host.client();
    for request in [BRIDGE, BRIDGE, SHARED, HOST, MACVTAP] {
        let answer = client.tell(request);
        assert!(answer.starts_with("granted"), "{request}: {answer}");
    }
    // A second helper needs the same settings of the kernel for longer.
    let mut other = host.client();
    let wish = SHARED.replace("192.168.77", "192.168.79").replace("fd77", "fd79");
    let answer = other.tell(&wish);
    assert!(answer.starts_with("granted"), "{answer}");
    drop(client);
    assert_eq!(host.run("cat /proc/sys/net/ipv4/ip_forward"), "1\n");
    drop(other);
    assert_eq!(host.difference(&before), "");
}

#[test]
fn frames_pass_as_the_mode_says() {
    let Some(host) = host() else { return };
    for (request, source, hop, target, outcome) in [
        (BRIDGE, "10.8.0.50", "10.8.0.9", "10.8.0.9", "pong"),
        (MACVTAP, "10.9.0.51", "10.9.0.1", "10.9.0.1", "pong"),
        (NEW_BRIDGE, "10.9.0.51", "10.9.0.1", "10.9.0.1", "pong"),
        (NEW_BRIDGE, "10.9.0.51", "10.9.0.2", "10.9.0.2", "pong"),
        (PROXY, "10.9.0.50", "10.9.0.1", "10.9.0.1", "pong"),
        (SHARED, "192.168.77.2", "192.168.77.1", "192.168.77.1", "pong"),
        (SHARED, "192.168.77.2", "192.168.77.1", "10.9.0.1", "pong"),
        (HOST, "192.168.78.2", "192.168.78.1", "192.168.78.1", "pong"),
        (HOST, "192.168.78.2", "192.168.78.1", "10.9.0.1", "silence"),
    ] {
        let mut client = host.client();
        let answer = client.tell(request);
        assert!(answer.starts_with("granted"), "{request}: {answer}");
        let pinged = client.tell(&format!("ping {GUEST} {source} {hop} {target}"));
        assert_eq!(pinged, outcome, "{request}: {source} to {target}");
    }
}

#[test]
fn the_host_keeps_its_connections_while_its_addresses_move() {
    let Some(host) = host() else { return };
    let mut client = host.client();
    let answer = client.tell(NEW_BRIDGE);
    assert!(answer.starts_with("granted"), "{answer}");
    for address in ["10.9.0.1", "2001:db8:9::1"] {
        let ping = format!("ip -n far addr >/dev/null; ip route get {address} | grep -q 'dev atollb'");
        let _ = host.run(&ping);
    }
    assert!(host.run("ip route show table 66").contains("dev atollb"));
    drop(client);
    assert!(
        host.run("ip route show table 66")
            .contains("10.66.0.0/16 via 10.9.0.7 dev cable metric 7")
    );
}

#[test]
fn what_the_policy_does_not_allow_is_refused_and_nothing_is_done() {
    let Some(host) = host() else { return };
    let before = host.picture();
    let mut client = host.client();
    for (request, words) in [
        (
            BRIDGE.replace("br0", "br1"),
            "the policy does not allow user 41000 a TAP in the bridge br1",
        ),
        (
            NEW_BRIDGE.replace("cable", "port"),
            "the policy does not allow user 41000 a new bridge over port",
        ),
        (
            MACVTAP.replace("cable", "port"),
            "the policy does not allow user 41000 a macvtap on port",
        ),
        (
            HOST.replace("192.168.78", "10.1.2"),
            "the policy does not allow user 41000 a host network of 10.1.2.0/24",
        ),
        (
            SHARED.replace("fd77::", "2001:db8:7::"),
            "the policy does not allow user 41000 a shared network",
        ),
        (
            PROXY.replace("10.9.0.50", "10.9.0.70"),
            "the policy does not allow user 41000 10.9.0.70",
        ),
        // Allowed, but not possible.
        (
            SHARED.replace("192.168.77", "10.9.0"),
            "is in use: the host has the address 10.9.0.2/24",
        ),
        (
            PROXY.replace("2001:db8:9::50", "2001:db8:9::2"),
            "is the host's own address",
        ),
    ] {
        let answer = client.tell(&request);
        assert!(
            answer.starts_with("refused ") && answer.contains(words),
            "{request}: {answer}"
        );
        assert_eq!(host.difference(&before), "", "{request}");
    }
    let answer = client.tell(MACVTAP);
    assert!(answer.starts_with("granted"), "a refusal ends nothing: {answer}");
}

#[test]
fn a_malformed_request_is_refused_and_nothing_is_done() {
    let Some(host) = host() else { return };
    let before = host.picture();
    let mut client = host.client();
    let long = format!("{{\"bridge\":{{\"bridge\":\"br0\"}}}}{}", " ".repeat(4096));
    for bytes in [
        "nonsense",
        r#"{"bridge":{"bridge":"../../x"}}"#,
        r#"{"exec":"/bin/sh"}"#,
        "[[[[",
        &long,
    ] {
        let answer = client.tell(&format!("raw {bytes}"));
        assert!(
            answer.contains(r#"{"refused":{"kind":"malformed","sentence":""#),
            "{bytes}: {answer}"
        );
    }
    assert_eq!(host.difference(&before), "");
}

#[test]
fn a_policy_with_a_mistake_or_of_somebody_else_allows_nothing() {
    let Some(host) = host() else { return };
    for (change, words) in [
        (
            "echo 'allow nobody' >>/etc/atoll/helper.conf",
            "/etc/atoll/helper.conf, line 6: \"nobody\" does not say who",
        ),
        (
            "sed -i '$d' /etc/atoll/helper.conf; chmod 0666 /etc/atoll/helper.conf",
            "may be written by others (its mode is 0666)",
        ),
        (
            "chmod 0644 /etc/atoll/helper.conf; chown 41000 /etc/atoll/helper.conf",
            "belongs to user 41000, not to root",
        ),
        (
            "mv /etc/atoll/helper.conf /etc/real; chown 0 /etc/real; ln -s /etc/real /etc/atoll/helper.conf",
            "is a symbolic link",
        ),
    ] {
        let _ = host.run(change);
        let answer = host.client().tell(BRIDGE);
        assert!(
            answer.starts_with("refused ") && answer.contains(words),
            "{change}: {answer}"
        );
    }
    let _ =
        host.run("rm /etc/atoll/helper.conf; mkdir -p /etc/qemu; echo 'allow br0' >/etc/qemu/bridge.conf");
    let answer = host.client().tell(BRIDGE);
    assert!(
        answer.starts_with("granted"),
        "QEMU's own file is honoured: {answer}"
    );
}

#[test]
fn a_client_that_is_killed_leaves_nothing() {
    let Some(host) = host() else { return };
    let before = host.picture();
    for request in ALL {
        let mut client = host.client();
        let answer = client.tell(request);
        assert!(answer.starts_with("granted"), "{request}: {answer}");
        client.kill();
        assert_eq!(host.difference(&before), "", "{request}");
    }
}

#[test]
fn what_a_helper_that_was_killed_left_is_undone_by_the_next() {
    let Some(host) = host() else { return };
    let before = host.picture();
    for request in ALL {
        let mut client = host.client();
        let answer = client.tell(request);
        assert!(answer.starts_with("granted"), "{request}: {answer}");
        let _ = host.run(&format!("kill -9 $({FIRST})"));
        let answer = client.tell(BRIDGE);
        assert!(answer.starts_with("failed "), "{request}: {answer}");
        drop(client);
        // Any request, even one that is refused, is a start.
        let answer = host.client().tell(&BRIDGE.replace("br0", "br1"));
        assert!(answer.starts_with("refused"), "{answer}");
        assert_eq!(host.difference(&before), "", "{request}");
    }
    assert_eq!(host.run("ls /run/atoll-helper | grep journal; true"), "");
}

#[test]
fn sigterm_ends_a_session_in_order() {
    let Some(host) = host() else { return };
    let before = host.picture();
    let mut client = host.client();
    let answer = client.tell(SHARED);
    assert!(answer.starts_with("granted"), "{answer}");
    let _ = host.run(&format!("kill $({FIRST})"));
    assert_eq!(host.difference(&before), "");
}

#[test]
fn the_helper_keeps_one_capability_and_no_way_back() {
    let Some(host) = host() else { return };
    let mut client = host.client();
    let answer = client.tell(BRIDGE);
    assert!(answer.starts_with("granted"), "{answer}");
    let status = host.run(&format!("cat /proc/$({FIRST})/status"));
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "Gid:\t65534\t65534\t65534\t65534",
        "Groups:\t ",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000001000",
        "CapEff:\t0000000000001000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(
            status.lines().any(|it| it == line),
            "{line:?} is not in\n{status}"
        );
    }
    let second = host.run(&format!("p=$(pgrep -P $({FIRST})); cat /proc/$p/status"));
    for line in [
        "CapEff:\t0000000008000000",
        "CapBnd:\t0000000000000000",
        "Seccomp:\t2",
    ] {
        assert!(
            second.lines().any(|it| it == line),
            "{line:?} is not in\n{second}"
        );
    }
}

#[test]
fn a_helper_that_is_set_user_id_does_the_same_without_sudo() {
    let Some(host) = host() else { return };
    let _ = host.run("rm /etc/sudoers.d/atoll-helper; chmod 4755 /usr/libexec/atoll/atoll-helper");
    let before = host.picture();
    let mut client = host.client();
    for request in [BRIDGE, MACVTAP, SHARED] {
        let answer = client.tell(request);
        assert!(answer.starts_with("granted"), "{request}: {answer}");
    }
    let answer = client.tell(&BRIDGE.replace("br0", "br1"));
    assert!(
        answer.starts_with("refused the policy does not allow user 41000"),
        "{answer}"
    );
    drop(client);
    assert_eq!(host.difference(&before), "");
}

#[test]
fn setup_prints_a_rule_that_sudo_takes_and_tells_what_is_missing() {
    let Some(host) = host() else { return };
    let _ = host.run("visudo -c -q");
    let check = "/run/atoll setup sudoers --check";
    let (words, is_right) = host.run_as_anna(check);
    assert!(
        is_right && words.lines().filter(|line| line.starts_with("ok: ")).count() == 3,
        "{words}"
    );
    let _ = host.run("rm /etc/sudoers.d/atoll-helper; echo allow >/etc/atoll/helper.conf; chown 41000 /usr/libexec/atoll/atoll-helper");
    let (words, is_right) = host.run_as_anna(check);
    assert!(
        !is_right && words.lines().filter(|line| line.starts_with("wrong: ")).count() == 3,
        "{words}"
    );
    assert!(words.contains("line 1"), "{words}");
    assert!(host.client().tell(BRIDGE).starts_with("failed "));
}
