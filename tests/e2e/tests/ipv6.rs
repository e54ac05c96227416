//! IPv6 with the Linux kernel as the guest: commands in namespaces, configured for them or by what the router announces.

use atoll_e2e::{
    Exec, Guest, Kit, LONG_PATIENCE, Net, Options, THERE6, TcpEcho, UNREACHABLE6, UdpEcho, World, checksum,
    make_data, transfer, with_namespaces,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const PREFIX: [&str; 2] = ["--ipv6", "fd77:77::/64"];
const GATEWAY: &str = "fd77:77::1";
const ALIAS: &str = "fd77:77::fe";
const GUEST: &str = "fd77:77::9";

/// What is refused is refused long before anything runs out.
const AT_ONCE: Duration = Duration::from_secs(30);

/// The guest's program.
const PEER: &str = env!("CARGO_BIN_EXE_peer");

fn exec(atoll: &std::path::PathBuf, arguments: &[&str], script: &str) -> Exec {
    Exec::start(atoll, &[&PREFIX, arguments].concat(), script)
}

/// With sockets of the network in the world's namespace.
fn exec_here(atoll: &std::path::PathBuf, world: &World, arguments: &[&str], script: &str) -> Exec {
    Exec::start_inside(atoll, world.here(), &[&PREFIX, arguments].concat(), script)
}

#[test]
fn a_command_has_an_address_at_once_with_a_route_and_a_resolver() {
    let Some(atoll) = with_namespaces() else { return };
    let script = "ip -6 -o address show dev tap0 scope global; ip -6 route show default; cat /etc/resolv.conf
        cat /proc/sys/net/ipv6/conf/tap0/accept_ra";
    let said = exec(atoll, &["--address", GUEST], script).ok();
    for words in [
        "inet6 fd77:77::9/64 scope global",
        "default via fd77:77::1 dev tap0",
        "nameserver fd77:77::1\n",
        "nameserver 10.77.0.1\n",
    ] {
        assert!(said.contains(words), "{words} is missing:\n{said}");
    }
    assert!(!said.contains("tentative") && said.ends_with("\n0\n"), "{said}");
}

#[test]
fn the_default_prefix_is_the_same_each_time_and_another_for_another_network() {
    let Some(atoll) = with_namespaces() else { return };
    let address = |arguments: &[&str]| {
        Exec::start(
            atoll,
            arguments,
            "ip -6 -o address show dev tap0 scope global | grep -o 'fd[^ ]*'",
        )
        .ok()
    };
    let first = address(&[]);
    assert!(first.starts_with("fd") && first.ends_with("/64\n"), "{first}");
    assert_eq!(address(&[]), first);
    assert_ne!(address(&["--domain", "other.internal"]), first);
    assert_ne!(address(&["--subnet", "10.78.0.0/24"]), first);
}

#[test]
fn one_family_may_be_off() {
    let Some(atoll) = with_namespaces() else { return };
    let script =
        "ip -o address show dev tap0 scope global | grep -o 'inet6* [^/]*'; ip route show default | wc -l
        ip -6 route show default | wc -l; grep -c nameserver /etc/resolv.conf";
    let four = Exec::start(atoll, &["--ipv6", "off", "--address", "10.77.0.9"], script).ok();
    assert_eq!(four, "inet 10.77.0.9\n1\n0\n1\n");
    let six = exec(atoll, &["--subnet", "off", "--address", GUEST], script).ok();
    assert_eq!(six, "inet6 fd77:77::9\n0\n1\n1\n");
}

#[test]
fn names_have_addresses_of_both_families_and_addresses_names() {
    let Some(atoll) = with_namespaces() else { return };
    let script = "
        getent ahostsv6 nas | head -1 | cut -d' ' -f1
        getent ahostsv6 probe.atoll.internal | head -1 | cut -d' ' -f1
        dig +short AAAA probe.atoll.internal @fd77:77::1
        dig +short A probe.atoll.internal @fd77:77::1
        dig +short -x fd77:77::9 @10.77.0.1
        dig +tcp +short AAAA nas.atoll.internal @fd77:77::1";
    let arguments = [
        "--dns-host",
        "nas=10.77.0.77",
        "--dns-host",
        "nas=fd77:77::77",
        "--name",
        "probe",
        "--address",
        GUEST,
        "--address",
        "10.77.0.9",
    ];
    let said = exec(atoll, &arguments, script).ok();
    let expected = [
        "fd77:77::77",
        GUEST,
        GUEST,
        "10.77.0.9",
        "probe.atoll.internal.",
        "fd77:77::77",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn without_ipv4_names_and_hosts_are_reached_over_ipv6() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(world) = World::make() else { return };
    let echo = world.open_there(|| TcpListener::bind((THERE6, 0)));
    let echo = TcpEcho::serve(echo.unwrap()).unwrap();
    let script = format!(
        "getent ahostsv6 nas | head -1 | cut -d' ' -f1; echo hello | busybox nc {THERE6} {}",
        echo.address.port()
    );
    let arguments = ["--subnet", "off", "--dns-host", "nas=fd77:77::77"];
    assert_eq!(
        exec_here(atoll, &world, &arguments, &script).ok(),
        "fd77:77::77\nhello\n"
    );
}

#[test]
fn tcp_udp_and_ping_reach_a_host() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(world) = World::make() else { return };
    let tcp = world.open_there(|| TcpListener::bind((THERE6, 0)));
    let udp = world.open_there(|| UdpSocket::bind((THERE6, 0)));
    let (tcp, udp) = (
        TcpEcho::serve(tcp.unwrap()).unwrap(),
        UdpEcho::serve(udp.unwrap()).unwrap(),
    );
    // What is larger than the path's packets is cut and put together by the host, where the guest's own packets are large.
    for (mtu, largest) in [("1500", 1452), ("65520", 20_000)] {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "head -c 20000000 /dev/urandom >{0}/data; sha256sum <{0}/data
            busybox nc {THERE6} {1} <{0}/data | sha256sum
            exec 3<>/dev/udp/{THERE6}/{2}
            for size in 5 {largest}; do
                head -c $size /dev/zero >{0}/datagram
                dd if={0}/datagram bs=65535 status=none >&3; timeout 60 dd bs=65535 count=1 status=none <&3 | wc -c
            done
            busybox ping -6 -c 3 -W 20 {THERE6} | grep received
            busybox ping -6 -c 1 -W 20 -s {largest} {THERE6} | grep received",
            folder.path().display(),
            tcp.address.port(),
            udp.address.port()
        );
        let said = exec_here(atoll, &world, &["--mtu", mtu], &script).ok();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[0], lines[1], "{said}");
        assert_eq!(lines[2..4], ["5".to_owned(), largest.to_string()], "{said}");
        assert!(
            lines[4].contains("3 packets received") && lines[5].contains("1 packets received"),
            "{said}"
        );
    }
}

#[test]
fn what_is_refused_is_refused_at_once_and_what_is_unreachable_is_told() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(world) = World::make() else { return };
    let begun = Instant::now();
    let script = format!(
        "exec 2>&1
        (exec 3<>/dev/tcp/{THERE6}/9)
        dig +tries=1 +time=20 -p 9 @{THERE6} name | grep -o 'connection refused' | head -1
        (exec 3<>/dev/tcp/{UNREACHABLE6}/9)
        (exec 3<>/dev/tcp/{ALIAS}/22)
        busybox traceroute6 -n -q 1 -m 1 -w 5 {THERE6} 2>/dev/null | tail -1"
    );
    let said = exec_here(atoll, &world, &[], &script).end();
    let took = begun.elapsed();
    let words = [
        "Connection refused",
        "connection refused",
        "unreachable",
        "Connection refused",
    ];
    let mut rest = said.stdout.as_str();
    for word in words {
        let Some((_, after)) = rest.split_once(word) else {
            panic!("{word} is missing: {said:?}")
        };
        rest = after;
    }
    assert!(rest.contains(GATEWAY), "the first hop is the gateway: {said:?}");
    assert!(took < AT_ONCE, "{took:?}");
}

#[test]
fn on_a_host_without_ipv6_nothing_is_reached_and_that_is_told_at_once() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(world) = World::make() else { return };
    world.forget_ipv6();
    let script = format!(
        "exec 2>&1; begun=$SECONDS; (exec 3<>/dev/tcp/{THERE6}/9)
        tcpdump -Z root -c 1 -lnni tap0 'icmp6 and ip6[40] == 1' 2>/tmp/listens.$$ & heard=$!
        until grep -q 'listening on' /tmp/listens.$$; do sleep 0.1; done; rm /tmp/listens.$$
        echo x >/dev/udp/{THERE6}/9; wait $heard
        busybox ping -6 -c 1 -W 5 {GATEWAY} | grep received; test $((SECONDS - begun)) -lt 30"
    );
    let said = exec_here(atoll, &world, &[], &script).end();
    let mut lines = said.stdout.lines();
    assert!(lines.any(|line| line.contains("unreachable")), "{said:?}");
    // The kernel does not tell a program that there was no route for its datagram (icmpv6_err_convert), but it was told.
    assert!(
        lines.any(|line| line.contains("destination unreachable")),
        "{said:?}"
    );
    assert!(lines.any(|line| line.contains("1 packets received")), "{said:?}");
    assert_eq!(said.status, Some(0), "{said:?}");
}

#[test]
fn the_hosts_loopback_is_reached_only_where_it_is_allowed() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(world) = World::make() else { return };
    let listener = world.open_here(|| TcpListener::bind("[::1]:0")).unwrap();
    let echo = TcpEcho::serve(listener).unwrap();
    let ask = |address: &str| format!("echo hello | busybox nc {address} {} 2>&1", echo.address.port());
    let allowed = exec_here(atoll, &world, &["--host-loopback"], &ask(ALIAS)).ok();
    assert_eq!(allowed, "hello\n");
    for address in [ALIAS, GATEWAY, "::ffff:127.0.0.1", "fe80::1%tap0"] {
        let refused = exec_here(
            atoll,
            &world,
            &[],
            &format!("timeout 5 bash -c '{}'", ask(address)),
        )
        .end();
        assert!(!refused.stdout.contains("hello"), "{address}: {refused:?}");
    }
}

/// Connects from the world's namespace and sends a few words.
fn send(world: &World, to: SocketAddr, words: &str) -> std::io::Result<String> {
    let mut stream = world.open_here(|| TcpStream::connect(to))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(words.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn forwards_lead_from_either_family_to_either() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(world) = World::make() else { return };
    let arguments = [
        "--address",
        GUEST,
        "--address",
        "10.77.0.9",
        "--forward",
        "[::1]:7101:[fd77:77::9]:7006",
        "--forward",
        "127.0.0.1:7102:[fd77:77::9]:7006",
        "--forward",
        "[::1]:7103:10.77.0.9:7004",
        "--forward",
        "[::]:7104:exec:7004",
        "--forward",
        "*:7105-7106:[fd77:77::9]:7006-7007",
        "--forward",
        "[::1]:7107:[fd77:77::9]:7008/udp",
    ];
    // Each answer tells at which of the guest's addresses it was asked.
    let script = format!("exec {PEER} answer 10.77.0.9:7004 [{GUEST}]:7006 [{GUEST}]:7008");
    let exec = exec_here(atoll, &world, &arguments, &script);
    let _ = exec.says("listening");
    for (to, expected) in [
        ("[::1]:7101", Some("x at [fd77:77::9]:7006")),
        ("127.0.0.1:7102", Some("x at [fd77:77::9]:7006")),
        ("[::1]:7103", Some("x at 10.77.0.9:7004")),
        ("[::1]:7104", Some("x at 10.77.0.9:7004")),
        ("127.0.0.1:7104", None),
        ("[::1]:7105", Some("x at [fd77:77::9]:7006")),
        ("127.0.0.1:7105", Some("x at [fd77:77::9]:7006")),
    ] {
        let answer = send(&world, to.parse().unwrap(), "x");
        assert_eq!(answer.as_deref().ok(), expected, "{to}: {answer:?}");
    }
    let socket = world.open_here(|| UdpSocket::bind("[::1]:0")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.send_to(b"x", "[::1]:7107").unwrap();
    let mut buffer = [0; 100];
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"x at [fd77:77::9]:7008");
}

#[test]
fn a_taken_port_of_ipv6_is_named() {
    let Some(atoll) = with_namespaces() else { return };
    let Ok(taken) = TcpListener::bind("[::1]:0") else {
        return;
    };
    let port = taken.local_addr().unwrap().port();
    let forward = format!("[::1]:{port}:7000");
    let ended = exec(atoll, &["--forward", &forward], "true").end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains(&format!("tcp port [::1]:{port} is taken")),
        "{ended:?}"
    );
}

/// Forgets what it was told, so that the kernel configures itself.
const SELF_CONFIGURED: &str = "
    ip -6 address flush dev tap0; ip -6 route flush default
    echo 2 >/proc/sys/net/ipv6/conf/tap0/accept_ra; echo 1 >/proc/sys/net/ipv6/conf/tap0/accept_dad
    tcpdump -Z root -c 1 -lnvi tap0 'icmp6 and ip6[40] == 134' >/tmp/ra.$$ 2>/tmp/listens.$$ & heard=$!
    until grep -q 'listening on' /tmp/listens.$$; do sleep 0.1; done; rm /tmp/listens.$$
    ip link set tap0 down; ip link set tap0 up
    until ip -6 -o address show dev tap0 scope global | grep -v tentative | grep -q dynamic; do sleep 0.1; done
";

#[test]
fn a_kernel_configures_itself_by_what_the_router_announces() {
    let Some(atoll) = with_namespaces() else { return };
    let script = format!(
        "{SELF_CONFIGURED}
        ip -6 -o address show dev tap0 scope global; ip -6 route show default; ip link show tap0
        wait $heard; cat /tmp/ra.$$; rm /tmp/ra.$$
        busybox ping -6 -c 1 -W 20 {GATEWAY} | grep received"
    );
    let said = exec(atoll, &["--mtu", "9000"], &script).ok();
    for words in [
        "inet6 fd77:77::5056:",
        "default via fe80::",
        "proto ra",
        "fd77:77::/64, Flags [onlink, auto]",
        "mtu option (5), length 8 (1):  9000",
        "rdnss option (25)",
        "addr: fd77:77::1",
        "atoll.internal",
        "1 packets received",
    ] {
        assert!(said.contains(words), "{words} is missing:\n{said}");
    }
}

#[test]
fn the_networks_own_addresses_are_defended() {
    let Some(atoll) = with_namespaces() else { return };
    let script = format!(
        "echo 1 >/proc/sys/net/ipv6/conf/tap0/accept_dad
        for address in {GATEWAY} {ALIAS} fd77:77::99; do ip -6 address add $address/64 dev tap0; done
        while ip -6 -o address show dev tap0 tentative | grep -v dadfailed | grep -q fd77; do sleep 0.1; done
        ip -6 -o address show dev tap0 dadfailed | grep -o 'fd77[^/]*' | sort"
    );
    assert_eq!(exec(atoll, &[], &script).ok(), format!("{GATEWAY}\n{ALIAS}\n"));
}

#[test]
fn a_network_that_ends_is_no_router_any_more() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(kit) = Kit::find() else { return };
    let arguments = [&PREFIX[..], &["--api", "unix:{folder}/api.sock"]].concat();
    let net = Net::start(
        kit,
        &Options {
            arguments: &arguments,
        },
    );
    let join = format!("unix:{}", net.folder().join("api.sock").display());
    let script = format!(
        "{SELF_CONFIGURED} kill $heard; rm -f /tmp/ra.$$; ip -6 route show default; echo configured
        for try in $(seq 100); do
            ip -6 route show default | grep -q . || break; sleep 0.1
        done
        ip -6 route show default | wc -l"
    );
    let exec = Exec::start(atoll, &["--join", &join], &script);
    let _ = exec.says("configured");
    let (status, _) = net.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    let ended = exec.end();
    assert!(
        ended.stdout.contains("default via fe80") && ended.stdout.ends_with("configured\n0\n"),
        "{ended:?}"
    );
}

#[test]
fn micro_guests_configure_themselves_and_meet_over_ipv6() {
    let Some(kit) = Kit::find() else { return };
    let arguments = [&PREFIX[..], &["--host-loopback"]].concat();
    let Some(world) = World::make() else { return };
    let echo = world.open_there(|| TcpListener::bind((THERE6, 0)));
    let echo = TcpEcho::serve(echo.unwrap()).unwrap();
    let net = Net::start_inside(
        kit,
        &Options {
            arguments: &arguments,
        },
        world.here(),
    );
    let mut guests = Guest::start_all(kit, &net, &["a", "b"]);
    for guest in &mut guests {
        // Its link-local address is tried out first, for a second or two (RFC 4862, 5.4).
        guest.ok("until ip -6 address show dev eth0 scope global | grep -v tentative | grep -q 'fd77:77::5054:ff:fe77:'; do sleep 1; done");
        guest.ok(&format!("ping -6 -c 1 -W 20 {GATEWAY}"));
        guest.ok(&format!("ping -6 -c 1 -W 20 {THERE6}"));
    }
    let [one, two] = guests.get_disjoint_mut([0, 1]).unwrap();
    one.ok("ping -6 -c 1 -W 20 b");
    let expected = make_data(one, 5);
    let (arrived, _) = transfer(one, two, 9000);
    assert_eq!(arrived, expected);
    let command = format!("nc -w 10 {THERE6} {} </tmp/data >/tmp/got", echo.address.port());
    let echoed = one.begin(&command).wait(one, LONG_PATIENCE);
    assert_eq!(
        (echoed.status, checksum(one, "/tmp/got")),
        (0, expected),
        "{}",
        echoed.text
    );
}

#[test]
fn a_micro_guest_does_without_ipv4() {
    let Some(kit) = Kit::find() else { return };
    let arguments = [&PREFIX[..], &["--subnet", "off", "--dns-host", "nas=fd77:77::77"]].concat();
    let net = Net::start(
        kit,
        &Options {
            arguments: &arguments,
        },
    );
    let mut guests = Guest::start_all(kit, &net, &["a"]);
    assert!(guests[0].address().is_ipv6());
    guests[0].ok(&format!("ping -6 -c 1 -W 20 {GATEWAY}"));
    let known = guests[0].ok("nslookup -type=aaaa nas.atoll.internal");
    assert!(known.contains("fd77:77::77"), "{known}");
}
