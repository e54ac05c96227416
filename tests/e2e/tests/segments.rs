//! What a segment carries beside packets between two stations: groups, VLANs; and how large packets may be.

#![expect(clippy::unwrap_used, reason = "a helper that finds nothing fails its test")]

use atoll_e2e::{Exec, LONG_PATIENCE, RawGuest, World, ip_frame, picture, udp, with_namespaces};
use atoll_wire::{FrameBuf, Icmpv4Message, IpProtocol, Mac, packet};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;
use tempfile::TempDir;

const PEER: &str = env!("CARGO_BIN_EXE_peer");
const GATEWAY: Mac = Mac([0x52, 0x55, 0x0a, 0x4d, 0x00, 0x01]);
const FIRST: Mac = Mac([0x52, 0x54, 0, 0, 0, 0x66]);
const SECOND: Mac = Mac([0x52, 0x54, 0, 0, 0, 0x67]);

/// A network with a namespace on it, to which others come by its API and raw guests by its socket.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn unix(&self, name: &str) -> String {
        format!("unix:{}", self.path(name).display())
    }

    fn start(&self, atoll: &PathBuf, more: &[&str], script: &str) -> Exec {
        let (api, qemu) = (self.unix("api"), self.unix("net"));
        let mut arguments = vec!["--ipv6", "fd77:77::/64", "--api", &api, "--qemu", &qemu];
        arguments.extend(more);
        Exec::start(atoll, &arguments, script)
    }

    fn join(&self, atoll: &PathBuf, more: &[&str], script: &str) -> Exec {
        let api = self.unix("api");
        let mut arguments = vec!["--join", &api];
        arguments.extend(more);
        Exec::start(atoll, &arguments, script)
    }

    fn attach(&self, mac: Mac) -> RawGuest {
        RawGuest::attach(&self.path("net"), mac, GATEWAY).unwrap()
    }

    fn counter(&self, name: &str) -> u64 {
        let picture: Value = picture(&self.path("api")).unwrap();
        picture["counters"][name].as_u64().unwrap()
    }
}

/// All that a raw guest hears until this is among it.
fn hears(guest: &mut RawGuest, is_it: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let deadline = Instant::now() + LONG_PATIENCE;
    loop {
        let heard = guest.hear().unwrap();
        if let Some(found) = heard.into_iter().find(|frame| is_it(frame)) {
            return found;
        }
        assert!(Instant::now() < deadline, "it was not heard");
    }
}

/// mDNS's groups (RFC 6762), which a switch may not ask for membership, and others, which it may.
const GROUPS: [&str; 4] = [
    "224.0.0.251:5353",
    "239.255.7.7:7007",
    "[ff02::fb]:5353",
    "[ff05::7:7]:7007",
];

#[test]
fn who_joins_a_group_hears_it_in_both_families() {
    let Some(atoll) = with_namespaces() else { return };
    let scene = Scene::new();
    let interface = "$(ip -o link show dev tap0 | cut -d: -f1)";
    // Each group after the other, so that a datagram for one is not taken for another's.
    let hear: Vec<String> = GROUPS
        .map(|group| format!("timeout 120 {PEER} hear-group {group} {interface}"))
        .into();
    let tell: Vec<String> = GROUPS
        .map(|group| format!("timeout 120 {PEER} ask-group {group} {interface} question for {group}"))
        .into();
    let (go, done) = (scene.path("go"), scene.path("done"));
    let member = scene.start(
        atoll,
        &["--name", "member", "--address", "10.77.0.9"],
        &format!(
            "echo up; until [ -e {} ]; do sleep 0.05; done; {}; until [ -e {} ]; do sleep 0.05; done",
            go.display(),
            hear.join("; "),
            done.display()
        ),
    );
    let _ = member.says("up");
    let mut third = scene.attach(FIRST);
    let speaker = scene.join(atoll, &["--name", "speaker"], &tell.join(" && "));
    std::fs::write(&go, b"").unwrap();
    // Membership is told to all (IGMPv3: RFC 3376, 4.2.14).
    let _ = hears(&mut third, |frame| {
        frame.starts_with(&[0x01, 0x00, 0x5e, 0, 0, 22]) && frame[12..14] == [0x08, 0x00] && frame[23] == 2
    });
    let said = speaker.ok();
    std::fs::write(&done, b"").unwrap();
    let heard = member.ok();
    for group in GROUPS {
        assert!(heard.contains(&format!("heard question for {group}")), "{heard}");
    }
    let answers: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("answered by "))
        .collect();
    assert_eq!(answers.len(), GROUPS.len(), "{said}");
    assert_eq!(answers[..2], ["10.77.0.9"; 2], "{said}");
}

#[test]
fn membership_of_ipv6_is_told_to_all_and_no_report_is_taken_for_an_error() {
    let Some(atoll) = with_namespaces() else { return };
    let scene = Scene::new();
    let interface = "$(ip -o link show dev tap0 | cut -d: -f1)";
    let go = scene.path("go");
    let member = scene.start(
        atoll,
        &["--name", "member"],
        &format!(
            "echo up; until [ -e {} ]; do sleep 0.05; done; timeout 120 {PEER} hear-group [ff05::7:7]:7007 {interface}",
            go.display()
        ),
    );
    let _ = member.says("up");
    let mut other = scene.attach(FIRST);
    std::fs::write(&go, b"").unwrap();
    let report = hears(&mut other, |frame| {
        frame.starts_with(&[0x33, 0x33, 0, 0, 0, 0x16]) && frame.windows(16).any(|part| part == group6())
    });
    // Hop-by-hop options with a router alert, then ICMPv6 (RFC 3810, 5).
    assert_eq!((report[20], report[54]), (0, 58));
    for counter in [
        "malformed",
        "ipv6_header_problem",
        "unknown_protocol",
        "bad_checksum",
    ] {
        assert_eq!(scene.counter(counter), 0, "{counter}");
    }
    let mac = Mac([0x33, 0x33, 0, 7, 0, 7]);
    let from: SocketAddr = "[fd77:77::66]:7007".parse().unwrap();
    let to: SocketAddr = "[ff05::7:7]:7007".parse().unwrap();
    let frame = ip_frame(
        (FIRST, mac),
        (from.ip(), to.ip()),
        IpProtocol::Udp,
        udp(from, to, b"by hand"),
    );
    other.send(&frame).unwrap();
    let ended = member.end();
    assert!(ended.stdout.contains("heard by hand"), "{ended:?}");
}

fn group6() -> [u8; 16] {
    std::net::Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 7, 7).octets()
}

fn tagged(tags: &[[u8; 4]], frame: &[u8]) -> Vec<u8> {
    [&frame[..12], tags.as_flattened(), &frame[12..]].concat()
}

/// A datagram between two raw guests, with the largest payload that fits.
fn direct(from: Mac, to: Mac, len: usize) -> Vec<u8> {
    let (src, dst): (SocketAddr, SocketAddr) = (
        "10.77.0.66:5000".parse().unwrap(),
        "10.77.0.67:5000".parse().unwrap(),
    );
    ip_frame(
        (from, to),
        (src.ip(), dst.ip()),
        IpProtocol::Udp,
        udp(src, dst, &vec![7; len]),
    )
}

#[test]
fn tagged_frames_pass_as_they_are_to_a_stream_and_a_tap() {
    let Some(atoll) = with_namespaces() else { return };
    let scene = Scene::new();
    // The TAP's kernel tells what it hears, tags and all.
    let listens = "tcpdump -i tap0 -Z root -l -nn -e -c 3 ether proto 0x8100 or ether proto 0x88a8 or vlan 2>tcpdump & \
        until grep -q listening tcpdump; do sleep 0.05; done; echo up; wait";
    let listens = format!("cd {}; {listens}", scene.folder.path().display());
    let tap = scene.start(atoll, &["--mtu", "1500"], &listens);
    let _ = tap.says("up");
    let (mut one, mut other) = (scene.attach(FIRST), scene.attach(SECOND));
    let (vlan, service) = ([0x81, 0x00, 0, 7], [0x88, 0xa8, 0, 9]);
    let largest = 1500 - 28;
    for tags in [&[vlan][..], &[service, vlan]] {
        let frame = tagged(tags, &direct(FIRST, Mac::BROADCAST, largest));
        one.send(&frame).unwrap();
        assert_eq!(hears(&mut other, |heard| heard == frame), frame);
        // Known in the VLAN now, and nobody else's business.
        other.send(&tagged(tags, &direct(SECOND, FIRST, 10))).unwrap();
        let _ = hears(&mut one, |heard| heard.starts_with(&FIRST.0));
    }
    // The gateway is in no VLAN; a priority alone is none.
    for (tags, answers) in [(&[vlan][..], 0), (&[[0x81, 0x00, 0xe0, 0]], 1), (&[], 1)] {
        let mut buf = FrameBuf::copy_from(b"echo");
        packet::push_icmpv4(&mut buf, Icmpv4Message::EchoRequest, 0, [0, 7, 0, 1]);
        let (from, to) = ("10.77.0.66".parse().unwrap(), "10.77.0.1".parse().unwrap());
        let echo = ip_frame((FIRST, GATEWAY), (from, to), IpProtocol::Icmp, buf);
        one.send(&tagged(tags, &echo)).unwrap();
        let replies = one
            .hear()
            .unwrap()
            .into_iter()
            .filter(|frame| frame.ends_with(b"echo"));
        assert_eq!(replies.count(), answers, "{tags:?}");
    }
    assert_eq!(scene.counter("unknown_protocol"), 1);
    one.send(&tagged(&[vlan], &direct(FIRST, Mac::BROADCAST, 10)))
        .unwrap();
    let said = tap.end().stdout;
    assert!(said.contains("vlan 7") && said.contains("vlan 9"), "{said}");
}

/// A link behind the host at the other end that takes smaller packets than the way there, and a host on it.
const NARROW: [&str; 2] = ["198.18.10.9", "2001:db8:10::9"];

#[test]
fn a_way_that_takes_smaller_packets_is_told_in_both_families() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(mut world) = World::make() else { return };
    let narrow = "ip link add narrow mtu 1400 type veth peer name end mtu 1400 && ip link set end up && ip link set narrow up && \
        ip address add 198.18.10.1/24 dev narrow && ip address add 2001:db8:10::1/64 dev narrow nodad";
    world.run_there("sh", &["-c", narrow]);
    // Largest datagrams that fit the guest's link, which its kernel sends whole until it is told better.
    let script: String = NARROW
        .iter()
        .zip([1472, 1452])
        .map(|(address, size)| {
            format!(
                "exec 3<>/dev/udp/{address}/7
                for try in $(seq 600); do
                    head -c {size} /dev/zero | dd bs=65535 iflag=fullblock status=none >&3 2>/dev/null
                    ip route get {address} | grep -o 'mtu [0-9]*' && break
                    sleep 0.1
                done\n"
            )
        })
        .collect();
    let arguments = ["--mtu", "1500", "--ipv6", "fd77:77::/64"];
    let said = Exec::start_inside(atoll, world.here(), &arguments, &script).end();
    assert_eq!(said.stdout, "mtu 1400\nmtu 1400\n", "{said:?}");
}
