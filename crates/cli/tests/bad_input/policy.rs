//! What guests may do, said wrongly to the real binary: one sentence and a way out.

use crate::home::Home;

#[test]
fn a_rule_that_is_none_is_refused_with_what_would_be_one() {
    let home = Home::new();
    let fails = |argument: &str, value: &str| home.fails(&["net", "run", argument, value], 2);
    insta::assert_snapshot!(fails("--allow", "10.0.0.1/8"), @r#"
    error: --allow 10.0.0.1/8: "10.0.0.1/8" is no network: the address has bits beyond its prefix
    hint: did you mean "10.0.0.0/8"?
    "#);
    insta::assert_snapshot!(fails("--deny", "example.com:https"), @r#"
    error: --deny example.com:https: "example.com:https": "https" are no ports
    hint: ports are 1 to 65535, ranges like 8000-8999; IPv6 stands in brackets before them
    "#);
    insta::assert_snapshot!(fails("--deny", "any/sctp"), @r#"
    error: --deny any/sctp: "any/sctp": "sctp" is no protocol
    hint: use tcp, udp or icmp
    "#);
    insta::assert_snapshot!(fails("--allow", "registry"), @r#"
    error: --allow registry: "registry" is neither a network nor a whole name
    hint: write a name as DNS has it, such as registry.com; or any, private or host
    "#);
}

#[test]
fn a_limit_that_is_none_is_refused() {
    let home = Home::new();
    let fails = |value: &str| home.fails(&["net", "run", "--limit", value], 2);
    insta::assert_snapshot!(fails("speed=1M"), @r#"
    error: --limit speed=1M: "speed" cannot be limited
    hint: what can be is bandwidth, upload, download, packets, flows and new-flows
    "#);
    insta::assert_snapshot!(fails("bandwidth=1m"), @r#"
    error: --limit bandwidth=1m: "1m" is no quantity
    hint: write a whole number, with k, M or G for thousands, millions and billions: 100M
    "#);
}

#[test]
fn an_address_that_no_guest_can_have_is_not_allowed() {
    let home = Home::new();
    let fails = |value: &str| home.fails(&["net", "run", "--ipv6", "off", "--allow-address", value], 2);
    insta::assert_snapshot!(fails("10.77.0.100"), @r#"
    error: --allow-address 10.77.0.100: this says of no guest which address it may use
    hint: write MAC=ADDRESS, as in 52:54:00:12:34:56=10.77.0.100
    "#);
    insta::assert_snapshot!(fails("52:54:00:00:00:01=10.77.0.1"), @r#"
    error: --allow-address 52:54:00:00:00:01=10.77.0.1: 10.77.0.1 is the gateway
    hint: guests are in 10.77.0.0/24
    "#);
}

#[test]
fn a_group_is_of_guests_that_can_be_there() {
    let home = Home::new();
    let socket = home.path("lan.sock");
    let socket = format!("unix:{}", socket.display());
    let fails = |value: &str| home.fails(&["net", "run", "--qemu", &socket, "--group", value], 2);
    insta::assert_snapshot!(fails("web"), @r#"
    error: --group web: this says of no guest which group it is in
    hint: write NAME=unix:PATH, or NAME=GUEST, as in web=unix:/tmp/web.sock
    "#);
    insta::assert_snapshot!(fails("web=unix:/elsewhere.sock"), @r#"
    error: --group web=unix:/elsewhere.sock: no guest attaches at /elsewhere.sock
    hint: give the socket to --qemu, --qemu-dgram or --vhost-user, too
    "#);
    insta::assert_snapshot!(fails("w_b=probe"), @r#"
    error: --group w_b=probe: "w_b" is no host name: '_' is not allowed in it
    hint: use "w-b"
    "#);
    let twice = ["net", "run", "--group", "web=probe", "--group", "db=probe"];
    insta::assert_snapshot!(home.fails(&twice, 2), @r#"
    error: --group db=probe: probe is in group web already
    hint: put each guest into one group
    "#);
    let bridged = ["net", "run", "--mode", "host", "--group", "web=probe"];
    insta::assert_snapshot!(home.fails(&bridged, 2), @r#"
    error: --group: rules and limits are for networks of mode user, whose packets Atoll itself carries
    hint: leave it out, or use --mode user
    "#);
}
