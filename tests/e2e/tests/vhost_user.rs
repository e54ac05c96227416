//! Guests on `-netdev vhost-user`, whose memory the network shares.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use atoll_e2e::{
    Attach, Cluster, Guest, Kit, LONG_PATIENCE, Net, Options, PATIENCE, TcpEcho, checksum, make_data,
    transfer,
};
use atoll_ports::vhost_user::front_end::{FrontEnd, FrontEndOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

const HOST_ALIAS: &str = "10.77.0.254";
const SHARED: Options<'static> = Options {
    arguments: &["--vhost-user", "unix:{folder}/shared.sock"],
};

#[test]
fn two_shared_guests_and_one_on_a_stream_ping_and_move_ten_megabytes_in_pairs() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &SHARED);
    let attached = [
        ("a", Attach::VhostUser),
        ("b", Attach::VhostUser),
        ("c", Attach::Stream),
    ];
    let mut guests = Guest::start_attached(kit, &net, &attached);
    let sums: Vec<String> = guests.iter_mut().map(|guest| make_data(guest, 10)).collect();
    for from in 0..guests.len() {
        for to in (0..guests.len()).filter(|to| *to != from) {
            let address = guests[to].address();
            guests[from].ok(&format!("ping -c 1 -W 10 {address}"));
            let [sender, receiver] = guests.get_disjoint_mut([from, to]).unwrap();
            let (arrived, _) = transfer(sender, receiver, 9000);
            assert_eq!(arrived, sums[from], "{} to {}", sender.name, receiver.name);
        }
    }
}

#[test]
fn a_legacy_device_and_a_modern_one_reach_a_server_of_the_host_and_are_reached() {
    let Some(kit) = Kit::find() else { return };
    let tcp = TcpEcho::start().unwrap();
    let options = Options {
        arguments: &[
            "--vhost-user",
            "unix:{folder}/shared.sock",
            "--host-loopback",
            "--forward",
            "127.0.0.1:0:10.77.0.2:9000",
            "--lease",
            "52:54:00:77:00:02=10.77.0.2",
        ],
    };
    let net = Net::start(kit, &options);
    let attached = [("old", Attach::VhostUserLegacy), ("new", Attach::VhostUser)];
    let mut guests = Guest::start_attached(kit, &net, &attached);
    for guest in &mut guests {
        let expected = make_data(guest, 10);
        let port = tcp.address.port();
        let command = format!("nc -w 10 {HOST_ALIAS} {port} </tmp/data >/tmp/got");
        let echoed = guest.begin(&command).wait(guest, LONG_PATIENCE);
        assert_eq!(echoed.status, 0, "{}: {}", guest.name, echoed.text);
        assert_eq!(checksum(guest, "/tmp/got"), expected, "{}", guest.name);
    }
    let serving = guests[0].begin("echo hello | nc -l -p 9000 >/tmp/heard");
    let mut text = String::new();
    while text.is_empty() {
        // Until the guest's server listens, the connection is refused.
        let Ok(mut stream) = TcpStream::connect(net.forwards()[0]) else {
            continue;
        };
        let asked = stream.write_all(b"you\n");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let read = stream.read_to_string(&mut text);
        println!("asked {asked:?}, read {read:?}");
    }
    assert_eq!(text, "hello\n");
    serving.wait(&guests[0], LONG_PATIENCE);
    assert_eq!(guests[0].ok("cat /tmp/heard"), "you");
}

#[test]
fn after_sigkill_the_network_comes_back_to_guests_that_run() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &SHARED);
    let attached = [("a", Attach::VhostUser), ("b", Attach::VhostUserLegacy)];
    let mut guests = Guest::start_attached(kit, &net, &attached);
    let expected = make_data(&mut guests[0], 10);
    let other = guests[1].address();
    // Killed under load: rings are full of what is under way.
    guests[0].ok(&format!(
        "ping -A -s 1400 {other} >/dev/null 2>&1 & echo $! >/tmp/flood"
    ));
    let (status, folder) = net.kill();
    assert_eq!(status.signal(), Some(9), "{status}");

    let net = Net::start_in(kit, &SHARED, folder);
    guests[0].ok("kill $(cat /tmp/flood)");
    guests[0].ok(&format!("ping -c 1 -W 30 {other} || ping -c 10 -W 2 {other}"));
    let [sender, receiver] = guests.get_disjoint_mut([0, 1]).unwrap();
    let (arrived, _) = transfer(sender, receiver, 9000);
    assert_eq!(arrived, expected);
    drop(net);
}

/// Two networks, on which each machine has a NIC; on the first only one of them may reach the host.
const CLUSTER: &str = "\
name: shared
networks:
  lan:
    host-loopback: true
    policy: { anti-spoof: true, rules: [{ allow: host, from: a }], otherwise: deny }
  back: { subnet: 10.77.7.0/24, mtu: 1400 }
machines:
  a:
    image: 'built:micro'
    memory: 256M
    accel: tcg
    nics: [{ network: lan, attach: vhost-user }, { network: back, address: 10.77.7.50 }]
  b:
    image: 'built:micro'
    memory: 256M
    accel: tcg
    nics: [{ network: lan, attach: stream }, { network: back }]
";

#[test]
fn up_attaches_a_machine_by_vhost_user_that_asks_for_it() {
    let Some(kit) = Kit::find() else { return };
    let cluster = Cluster::of(kit, CLUSTER);
    let _ = cluster.ok(&["up"]);
    let mut shared = Guest::of_cluster(&cluster, "a");
    let mut plain = Guest::of_cluster(&cluster, "b");
    shared.ok(&format!("ping -c 1 -W 10 {}", plain.address()));
    let status = cluster.ok(&["status", "--json"]);
    assert!(status.contains("\"vhost-user\""), "{status}");
    each_has_a_nic_on_both_networks(&cluster, &mut shared, &mut plain);
    the_policy_of_the_file_holds(&cluster, &mut shared, &mut plain);
    let _ = cluster.ok(&["down"]);
}

/// With the address that the file gives, and with one that follows from it; told by the network's own DHCP, with its MTU.
fn each_has_a_nic_on_both_networks(cluster: &Cluster, one: &mut Guest, other: &mut Guest) {
    for guest in [&mut *one, &mut *other] {
        guest.ok("ip link set eth1 up; udhcpc -f -n -q -i eth1 -t 20 -T 2 -A 1 -O mtu -s /etc/udhcpc");
    }
    let found = one.ok("ip -4 -o address show dev eth1");
    assert!(found.contains("10.77.7.50/24"), "{found}");
    let address = cluster.nic("b", 1)["address"].as_str().unwrap().to_owned();
    assert!(address.starts_with("10.77.7."), "{address}");
    one.ok(&format!("ping -c 1 -W 10 -I eth1 {address}"));
    let network = network(cluster, "back");
    assert_eq!(network["mtu"], 1400, "{network:#}");
}

fn the_policy_of_the_file_holds(cluster: &Cluster, allowed: &mut Guest, denied: &mut Guest) {
    let echo = TcpEcho::start().unwrap();
    let ask = format!("echo hello | nc -w 10 {HOST_ALIAS} {}", echo.address.port());
    assert_eq!(allowed.ok(&ask), "hello");
    let answer = denied.run(&ask);
    assert!(!answer.text.contains("hello"), "{}", answer.text);
    let counted = network(cluster, "lan")["counters"]["denied_by_default"].as_u64();
    assert!(counted >= Some(1), "{counted:?}");
}

/// What the daemon says of a network.
fn network(cluster: &Cluster, name: &str) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&cluster.ok(&["status", "--json"])).unwrap();
    let mut networks = status["networks"].as_array().unwrap().iter();
    let found = networks.find(|network| network["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {status:#}")).clone()
}

#[test]
fn front_ends_that_come_and_go_leave_nothing_behind_and_harm_no_other() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &SHARED);
    let before = net.descriptors().unwrap();
    let connect = || {
        let socket = UnixStream::connect(net.vhost_user_socket()).unwrap();
        FrontEnd::new(socket, FrontEndOptions::default()).unwrap()
    };
    let mut stays = connect();
    for round in 0..30_u32 {
        let goes = connect();
        // A ring that is told to stand still, one that is set up twice, one whose driver went mad, memory that is taken away.
        match round % 4 {
            0 => goes.say_ring(11, 1, 0).unwrap(),
            1 => goes.introduce().unwrap(),
            2 => goes.poke((64 << 10) + 16 * 256 + 2, &[0, 9]),
            _ => rustix::fs::ftruncate(goes.file(), 0).unwrap(),
        }
        goes.kick(1).unwrap();
        ask_the_gateway(&mut stays);
    }
    drop(stays);
    let deadline = Instant::now() + PATIENCE;
    while net.descriptors().unwrap() > before && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(net.descriptors().unwrap(), before, "{}", net.words());
}

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 9];

/// Asks for the gateway's Ethernet address (RFC 826) and waits for the answer.
fn ask_the_gateway(front_end: &mut FrontEnd) {
    let header = vec![0; front_end.header_len()];
    let ethernet = [&[0xff; 6][..], &MAC, &[8, 6]].concat();
    let question = [
        &[0, 1, 8, 0, 6, 4, 0, 1][..],
        &MAC,
        &[10, 77, 0, 9],
        &[0; 6],
        &[10, 77, 0, 1],
    ]
    .concat();
    let question = [&header[..], &ethernet, &question].concat();
    let deadline = Instant::now() + PATIENCE;
    assert!(front_end.send(&question).expect("it fits a buffer"));
    while Instant::now() < deadline {
        match front_end.receive().expect("what came is a frame") {
            Some(answer) if answer[header.len() + 12..].starts_with(&[8, 6]) => return,
            Some(_) => {}
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
    panic!("the gateway does not answer");
}
