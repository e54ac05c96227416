//! DNS and the ways to the host, said wrongly to the real binary.

use crate::home::Home;

#[test]
fn a_service_that_is_none_is_refused() {
    let home = Home::new();
    let fails = |value: &str| home.fails(&["net", "run", "--dns-service", value], 2);
    insta::assert_snapshot!(fails("_ssh._tcp"), @r#"
    error: --dns-service _ssh._tcp: this is no service with a place
    hint: write _SERVICE._tcp=NAME:PORT, as in _etcd-server._tcp=etcd1:2380
    "#);
    insta::assert_snapshot!(fails("ssh._tcp=web:22"), @r#"
    error: --dns-service ssh._tcp=web:22: "ssh._tcp" is no name of a service
    hint: write _SERVICE._tcp or _SERVICE._udp, behind it a name if it is not the domain's: _ssh._tcp.web
    "#);
    insta::assert_snapshot!(fails("_ssh._tcp=web"), @r#"
    error: --dns-service _ssh._tcp=web: "web" is no place of a service
    hint: write NAME:PORT, as in web:22
    "#);
    insta::assert_snapshot!(fails("_ssh._tcp=w_b:22"), @r#"
    error: --dns-service _ssh._tcp=w_b:22: "w_b" is no host name: '_' is not allowed in it
    hint: use "w-b"
    "#);
}

#[test]
fn a_cache_a_proxy_and_a_host_port_are_told_what_they_are() {
    let home = Home::new();
    let fails = |argument: &str, value: &str| home.fails(&["net", "run", argument, value], 2);
    insta::assert_snapshot!(fails("--dns-cache", "70000"), @r#"
    error: --dns-cache 70000: a cache holds up to 65536 answers
    hint: write a number, or off
    "#);
    insta::assert_snapshot!(fails("--proxy", "localhost"), @r#"
    error: --proxy localhost: "localhost" is no place of the host's for a proxy
    hint: write a port, or an address with one, as in 127.0.0.1:1080 or [::1]:1080
    "#);
    insta::assert_snapshot!(fails("--host-port", "53/icmp"), @r#"
    error: --host-port 53/icmp: "53/icmp" is no port of the host
    hint: write PORT, PORT/udp, or HOST-PORT:GUEST-SIDE-PORT, as in 5432 or 15432:5432
    "#);
    insta::assert_snapshot!(fails("--host-socket", "2375=/run/docker.sock"), @r#"
    error: --host-socket /run/docker.sock: this is no unix socket
    hint: write unix:PATH, as in unix:/tmp/net.sock
    "#);
}
