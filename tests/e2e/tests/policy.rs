//! What guests may do, with a guest that does not want to keep to it, and with one that moves an address as clusters do.

#![expect(clippy::unwrap_used, reason = "a helper that finds nothing fails its test")]

#[path = "policy/hostile.rs"]
mod hostile;

use atoll_e2e::{Exec, LONG_PATIENCE, THERE, THERE6, World, picture, syn, udp, with_namespaces};
use atoll_wire::{IpProtocol, Mac};
use hostile::Hostile;
use serde_json::Value;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PEER: &str = env!("CARGO_BIN_EXE_peer");
/// The guest that is held to the policy, and one that is not known for anything.
const HOSTILE: Mac = Mac([0x52, 0x54, 0, 0, 0, 0x66]);
const GATEWAY: Mac = Mac([0x52, 0x55, 0x0a, 0x4d, 0x00, 0x01]);
const OWN: &str = "10.77.0.66";
const OWN6: &str = "fd77:77::66";
/// The world's hosts: one that is allowed, and one that has an allowed name.
const ALLOWED: &str = "198.18.7.3";
const NAMED: &str = "198.18.7.4";
/// The host's own address on the cable.
const HOST: &str = "198.18.7.1";
const PORT: u16 = 7000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    SocketAddr::new(ip(text), PORT)
}

/// What must not be reached, with a count of what reached it all the same.
struct Secret {
    reached: Arc<AtomicU32>,
}

impl Secret {
    fn new() -> Self {
        let reached = Arc::new(AtomicU32::new(0));
        Self { reached }
    }

    /// TCP and UDP at this address.
    fn serve(&self, open: io::Result<(TcpListener, UdpSocket)>) {
        let (tcp, udp) = open.unwrap();
        let (one, other) = (Arc::clone(&self.reached), Arc::clone(&self.reached));
        std::thread::spawn(move || {
            for _ in tcp.incoming() {
                one.fetch_add(1, Ordering::Relaxed);
            }
        });
        std::thread::spawn(move || {
            while udp.recv_from(&mut [0; 2048]).is_ok() {
                other.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn count(&self) -> u32 {
        self.reached.load(Ordering::Relaxed)
    }
}

fn open(address: &str) -> io::Result<(TcpListener, UdpSocket)> {
    Ok((TcpListener::bind(at(address))?, UdpSocket::bind(at(address))?))
}

/// Addresses more at the other end.
fn add_there(world: &mut World, addresses: &[&str]) {
    for address in addresses {
        world.run_there(
            "ip",
            &["address", "add", &format!("{address}/24"), "dev", "cable"],
        );
        let deadline = Instant::now() + LONG_PATIENCE;
        while world.open_there(|| UdpSocket::bind((*address, 0))).is_err() {
            assert!(Instant::now() < deadline, "{address} does not appear");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A resolver of the host's that answers each first label with an address: the world's names, some of them hostile.
fn resolver(world: &World) -> SocketAddr {
    let socket = world.open_here(|| UdpSocket::bind("127.0.0.1:0")).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut message = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut message) {
            let question = &message[..len];
            let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let label = &question[13..13 + usize::from(question[12])];
            let answer: Ipv4Addr = match label {
                b"good" => NAMED.parse().unwrap(),
                b"host" => HOST.parse().unwrap(),
                b"private" => Ipv4Addr::new(192, 168, 77, 1),
                b"loopback" => Ipv4Addr::LOCALHOST,
                _ => THERE.parse().unwrap(),
            };
            let mut reply = question[..2].to_vec();
            reply.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
            reply.extend(&question[12..end]);
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            reply.extend(answer.octets());
            // A client that is gone misses nothing.
            let _ = socket.send_to(&reply, from);
        }
    });
    address
}

fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn counter(picture: &Value, name: &str) -> u64 {
    picture["counters"][name]
        .as_u64()
        .unwrap_or_else(|| panic!("no {name} in {picture}"))
}

/// Make an attempt, after which this counter is to say so, so many times at least.
type Refused<'a> = dyn Fn(&mut Hostile, &str, u64, &dyn Fn(&mut Hostile)) + 'a;

fn try_in_pieces(hostile: &mut Hostile, refused: &Refused<'_>) {
    for counter in ["denied_by_default", "reassembled"] {
        refused(hostile, counter, 1, &|it| it.try_tiny_fragments(THERE));
    }
    refused(hostile, "reassembly_failed", 1, &|it| it.try_overlap(THERE));
    refused(hostile, "unknown_protocol", 3, &|it| it.try_tunnels(THERE));
    // Priority tags are none: the packet is judged. A VLAN is not the gateway's, nor carried with anti-spoofing.
    let (priority, vlan) = ([0x81, 0x00, 0xe0, 0], [0x81, 0x00, 0, 7]);
    refused(hostile, "denied_by_default", 2, &|it| {
        it.try_tags(THERE, &[priority]);
        it.try_tags(THERE, &[[0x88, 0xa8, 0, 0], priority]);
    });
    refused(hostile, "vlan_refused", 3, &|it| {
        it.try_tags(THERE, &[vlan]);
        it.try_tags(THERE, &[priority, vlan]);
        it.try_tags(THERE, &[[0x88, 0xa8, 0, 7], priority]);
    });
    refused(hostile, "malformed", 2, &|it| {
        it.try_tags(THERE, &[priority; 8]);
        it.try_tags(THERE, &[[0x81, 0x00, 0x0f, 0xff]]);
    });
}

fn try_behind_headers(hostile: &mut Hostile, refused: &Refused<'_>) {
    const PADDING: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
    const NO_MORE_SEGMENTS: &[u8] = &[0, 0, 0, 0, 0, 0, 0];
    /// Length, type, segments left, and four bytes reserved; then an allowed host.
    const BY_WAY: &[u8] = &[
        2, 0, 1, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3,
    ];
    const WHOLE: &[u8] = &[0, 0, 0, 0, 0, 0, 9];
    let (hop_by_hop, routing, fragment, options) = (0, 43, 44, 60);
    for headers in [
        &[(hop_by_hop, PADDING)][..],
        &[(options, PADDING)],
        &[(routing, NO_MORE_SEGMENTS)],
        &[(fragment, WHOLE)],
        &[
            (hop_by_hop, PADDING),
            (routing, NO_MORE_SEGMENTS),
            (fragment, WHOLE),
            (options, PADDING),
        ],
    ] {
        refused(hostile, "denied_by_default", 1, &|it| {
            it.try_headers(THERE6, headers);
        });
    }
    // In whose name these speak cannot be told, since no receiver reads on.
    refused(hostile, "spoofed", 3, &|it| {
        it.try_headers(THERE6, &[(routing, BY_WAY)]);
        it.try_headers("2001:db8:7::3", &[(routing, BY_WAY)]);
        // A hop-by-hop header is the first or none (RFC 8200, 4.1).
        it.try_headers(THERE6, &[(options, PADDING), (hop_by_hop, PADDING)]);
    });
}

fn try_by_services(hostile: &mut Hostile, world: &World, refused: &Refused<'_>) {
    refused(hostile, "denied_by_default", 2, &|it| {
        it.try_answer("good.example", THERE);
        it.try_both(OWN, THERE);
    });
    // What is no request opens nothing; what is spoken of opens nothing either.
    refused(hostile, "denied_by_default", 1, &|it| {
        it.try_errors(THERE);
        it.try_echo(THERE);
    });
    // The proxy is the host's, and so is the way to it.
    refused(hostile, "denied_host", 1, &|it| {
        let (src, dst) = (
            SocketAddr::new(ip(OWN), 5004),
            SocketAddr::new(ip("10.77.0.254"), 7001),
        );
        let pair = (src.ip(), dst.ip());
        it.guest.send_ip(pair, IpProtocol::Tcp, syn(src, dst)).unwrap();
    });
    // A forward's client is seen at the gateway's address, where only the guest that it speaks with can answer.
    let client = world.open_here(|| UdpSocket::bind("127.0.0.1:0")).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    client.send_to(b"hello", "127.0.0.1:7002").unwrap();
    let reflected = SocketAddr::new(ip("10.77.0.1"), client.local_addr().unwrap().port());
    let answer = |it: &mut Hostile, from: &str| {
        let src = SocketAddr::new(ip(from), 7002);
        let pair = (src.ip(), reflected.ip());
        it.guest
            .send_ip(pair, IpProtocol::Udp, udp(src, reflected, b"forged"))
            .unwrap();
    };
    answer(hostile, OWN);
    refused(hostile, "spoofed", 1, &|it| answer(it, "10.77.0.9"));
    assert!(client.recv_from(&mut [0; 64]).is_err(), "a forged answer arrived");
}

#[test]
fn no_way_leads_a_guest_to_what_it_is_denied() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(mut world) = World::make() else { return };
    add_there(&mut world, &[ALLOWED, NAMED]);
    let (secret, allowed) = (Secret::new(), Secret::new());
    for address in [THERE, THERE6] {
        secret.serve(world.open_there(|| open(address)));
    }
    for address in [HOST, "127.0.0.1", "::1"] {
        secret.serve(world.open_here(|| open(address)));
    }
    for address in [ALLOWED, NAMED] {
        allowed.serve(world.open_there(|| open(address)));
    }
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let (socket, api) = (folder.path().join("net.sock"), folder.path().join("api.sock"));
    let (qemu, over) = (
        format!("unix:{}", socket.display()),
        format!("unix:{}", api.display()),
    );
    let dns = resolver(&world).to_string();
    let mut arguments = vec!["--ipv6", "fd77:77::/64", "--address", "10.77.0.9"];
    arguments.extend([
        "--qemu",
        &qemu,
        "--api",
        &over,
        "--dns",
        &dns,
        "--host-loopback",
        "--anti-spoof",
    ]);
    arguments.extend(["--deny", "private", "--allow", ALLOWED, "--allow", "*.example"]);
    // Ways by which the host speaks to guests, of which none is to lead back.
    arguments.extend([
        "--proxy",
        "127.0.0.1:7001",
        "--forward",
        "127.0.0.1:7002:10.77.0.9:7002/udp",
    ]);
    let done = folder.path().join("done");
    // The honest guest asks for the name, which opens nothing to another.
    let script = format!(
        "getent ahostsv4 good.example >/dev/null; echo asked; until [ -e {} ]; do sleep 0.05; done
        {PEER} connect {NAMED}:{PORT} shutdown; {PEER} connect {THERE}:{PORT} shutdown",
        done.display()
    );
    let honest = Exec::start_inside(atoll, world.here(), &arguments, &script);
    let _ = honest.says("asked");
    let mut hostile = Hostile::attach(&socket);

    let count = |name: &str| counter(&picture(&api).unwrap(), name);
    let refused: &Refused<'_> = &|hostile, name, at_least, attempt| {
        let before = count(name);
        attempt(hostile);
        let _ = hostile.guest.hear().unwrap();
        let now = count(name);
        assert!(
            now >= before + at_least,
            "{name}: {before}, then {now}: {:#}",
            picture(&api).unwrap()
        );
    };

    let by_default = "denied_by_default";
    refused(&mut hostile, by_default, 2, &|it| it.try_both(OWN, THERE));
    refused(&mut hostile, by_default, 2, &|it| it.try_both(OWN6, THERE6));
    refused(&mut hostile, by_default, 1, &|it| it.try_echo(THERE));
    refused(&mut hostile, by_default, 1, &|it| it.try_fragments(THERE));
    refused(&mut hostile, by_default, 2, &|it| it.try_options(THERE));
    refused(&mut hostile, by_default, 2, &|it| it.try_both(OWN, NAMED));
    refused(&mut hostile, by_default, 2, &|it| it.try_both(OWN, HOST));
    for forms in [
        "64:ff9b::198.18.7.2",
        "2002:c612:702::1",
        "64:ff9b:1::198.18.7.2",
        "2001:0:1234::39ed:f8fd",
        "2001:db8:7::5efe:198.18.7.2",
    ] {
        refused(&mut hostile, by_default, 2, &|it| it.try_both(OWN6, forms));
    }
    for alias in ["10.77.0.254", "fd77:77::fe"] {
        let own = if alias.contains(':') { OWN6 } else { OWN };
        refused(&mut hostile, "denied_host", 2, &|it| it.try_both(own, alias));
    }
    refused(&mut hostile, "denied_by_rule", 2, &|it| {
        it.try_both(OWN6, "64:ff9b::192.168.77.1");
    });
    try_in_pieces(&mut hostile, refused);
    try_behind_headers(&mut hostile, refused);
    try_by_services(&mut hostile, &world, refused);
    for mapped in [
        "::ffff:198.18.7.2",
        "::198.18.7.2",
        "::ffff:127.0.0.1",
        "::1",
        "fe80::2",
        "ff02::1",
        "ff0e::7",
    ] {
        refused(&mut hostile, "destination_forbidden", 2, &|it| {
            it.try_both(OWN6, mapped);
        });
    }
    // From where it is known on the link only, nothing leads beyond it.
    refused(&mut hostile, "destination_forbidden", 2, &|it| {
        it.try_both("fe80::66", THERE6);
    });
    for forbidden in [
        "127.0.0.1",
        "169.254.1.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "10.77.0.255",
    ] {
        refused(&mut hostile, "destination_forbidden", 2, &|it| {
            it.try_both(OWN, forbidden);
        });
    }
    for other in ["10.77.0.9", "10.77.0.1", "198.18.7.9"] {
        refused(&mut hostile, "spoofed", 2, &|it| it.try_both(other, ALLOWED));
    }
    refused(&mut hostile, "spoofed", 2, &|it| {
        let honest = picture(&api).unwrap();
        let ports = honest["ports"].as_array().unwrap();
        let port = ports
            .iter()
            .find(|port| port["addresses"].to_string().contains("10.77.0.9"));
        let mac = port.expect("the honest guest is there")["macs"][0]
            .as_str()
            .unwrap();
        it.guest.mac = mac.parse().unwrap();
        it.try_both(OWN, ALLOWED);
        it.guest.mac = HOSTILE;
    });
    refused(&mut hostile, "denied_name_of_private", 2, &|it| {
        it.try_name("host.example", HOST);
    });
    refused(&mut hostile, "denied_by_rule", 2, &|it| {
        it.try_name("private.example", "192.168.77.1");
    });
    refused(&mut hostile, "destination_forbidden", 2, &|it| {
        it.try_name("loopback.example", "127.0.0.1");
    });
    refused(&mut hostile, by_default, 2, &|it| {
        it.try_name("elsewhere.test", THERE);
    });
    assert_eq!((secret.count(), allowed.count()), (0, 0), "reached, allowed");

    hostile.try_name("good.example", NAMED);
    hostile.try_both(OWN, ALLOWED);
    let _ = hostile.guest.hear().unwrap();
    let deadline = Instant::now() + LONG_PATIENCE;
    while allowed.count() < 4 {
        assert!(
            Instant::now() < deadline,
            "only {} of four arrived",
            allowed.count()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let ports = picture(&api).unwrap()["ports"].clone();
    let of_hostile = |port: &&Value| port["macs"].to_string().contains("52:54:00:00:00:66");
    let port = ports
        .as_array()
        .unwrap()
        .iter()
        .find(of_hostile)
        .expect("it is attached")
        .clone();
    assert!(
        port["denied"].as_u64() > Some(20) && port["spoofed"].as_u64() >= Some(8),
        "{port}"
    );
    std::fs::write(&done, b"").unwrap();
    let said = honest.ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.last(), Some(&"ConnectionRefused"), "{said}");
    assert_eq!(secret.count(), 0);
}

#[test]
fn an_internal_network_refuses_the_world_at_once() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(world) = World::make() else { return };
    let secret = Secret::new();
    secret.serve(world.open_there(|| open(THERE)));
    let script = format!(
        "{PEER} connect {THERE}:{PORT} shutdown; getent ahostsv4 gateway | head -1 | cut -d' ' -f1; \
        getent ahostsv4 www.example || echo no such name"
    );
    let begin = Instant::now();
    let ended = Exec::start_inside(atoll, world.here(), &["--internal", "--ipv6", "off"], &script).end();
    for words in ["ConnectionRefused", "10.77.0.1\n", "no such name"] {
        assert!(ended.stdout.contains(words), "{ended:?}");
    }
    assert_eq!(secret.count(), 0);
    assert!(begin.elapsed() < LONG_PATIENCE);
}

/// The MAC address that a namespace of this name has on every network.
fn mac_of(atoll: &std::path::PathBuf, name: &str) -> String {
    let script = "ip -o link show dev tap0 | grep -o 'ether [^ ]*' | cut -d' ' -f2";
    Exec::start(atoll, &["--name", name], script)
        .ok()
        .trim()
        .to_owned()
}

fn keepalived_script(folder: &Path, name: &str, priority: u8) -> String {
    let place = |what: &str| folder.join(format!("{name}.{what}")).display().to_string();
    let config = format!(
        "global_defs {{\n vrrp_version 3\n}}\nvrrp_instance vip {{\n interface tap0\n virtual_router_id 7\n priority {priority}\n \
        advert_int 0.1\n nopreempt\n state BACKUP\n virtual_ipaddress {{\n 10.77.0.100/24 dev tap0\n }}\n}}\n"
    );
    std::fs::write(place("conf"), config).unwrap();
    format!(
        // Bounded, for what a namespace started outlives a test that fails.
        "timeout 300 {PEER} answer 0.0.0.0:{PORT} >/dev/null & answers=$!
        timeout 300 keepalived --dont-fork --vrrp --log-console --use-file={} --pid={pid} --vrrp_pid={vrrp} >{} 2>&1 & daemon=$!
        until ip -4 address show dev tap0 | grep -q 10.77.0.100 || [ -e {} ]; do sleep 0.05; done; echo ready
        until [ -e {} ]; do sleep 0.05; done
        kill -KILL $(cat {pid} {vrrp}); wait $daemon; ip address delete 10.77.0.100/24 dev tap0
        until [ -e {} ]; do sleep 0.05; done; kill $answers",
        place("conf"),
        place("log"),
        folder.join("standby").display(),
        folder.join(format!("fail-{name}")).display(),
        folder.join("done").display(),
        pid = place("pid"),
        vrrp = place("vrrp"),
    )
}

#[test]
fn a_virtual_address_moves_at_once_with_anti_spoofing() {
    let Some(atoll) = with_namespaces() else { return };
    if Command::new("keepalived").arg("--version").output().is_err() {
        let required = std::env::var_os("ATOLL_E2E").is_some_and(|value| value == "required");
        assert!(!required, "keepalived is not installed");
        eprintln!("skipped: keepalived is not installed");
        return;
    }
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let api = folder.path().join("api.sock");
    let over = format!("unix:{}", api.display());
    let allow = ["a", "b"].map(|name| format!("{}=10.77.0.100", mac_of(atoll, name)));
    let mut arguments = vec!["--api", &over, "--anti-spoof", "--ipv6", "off", "--name", "net"];
    arguments.extend(allow.iter().flat_map(|allow| ["--allow-address", allow]));
    let touch = |name: &str| std::fs::write(folder.path().join(name), b"").unwrap();
    let script = format!(
        "echo up; until [ -e {} ]; do sleep 0.05; done",
        folder.path().join("done").display()
    );
    let net = Exec::start(atoll, &arguments, &script);
    let _ = net.says("up");
    let join = |name, script: &str| Exec::start(atoll, &["--join", &over, "--name", name], script);
    let first = join("a", &keepalived_script(folder.path(), "a", 150));
    let _ = first.says("ready");
    touch("standby");
    let second = join("b", &keepalived_script(folder.path(), "b", 100));
    let _ = second.says("ready");
    let client = join(
        "c",
        &format!("{PEER} gap 10.77.0.100:{PORT} 1; {PEER} gap 10.77.0.100:{PORT} 6"),
    );
    let before = client.says("gap");
    touch("fail-a");
    let ended = client.end();
    touch("fail-b");
    touch("done");
    let gaps: Vec<(u64, u64)> = ended
        .stdout
        .lines()
        .filter_map(|line| {
            let (gap, answers) = line.strip_prefix("gap ")?.split_once(' ')?;
            Some((gap.parse().ok()?, answers.parse().ok()?))
        })
        .collect();
    eprintln!("without an answer: {before} at rest, {gaps:?} ms with the move");
    let logs = ["a", "b"].map(|name| std::fs::read_to_string(folder.path().join(format!("{name}.log"))));
    let picture = picture(&api);
    for node in [first, second] {
        let _ = node.end();
    }
    let _ = net.end();
    let (gap, answers) = gaps[1];
    assert!(answers > 50, "{ended:?} {logs:?} {picture:?}");
    // A third of a second where nothing else runs, most of it what VRRP waits for three advertisements.
    assert!(gap < 3000, "{gap} ms: {logs:?}");
}
