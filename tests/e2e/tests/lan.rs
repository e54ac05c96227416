//! Machines on the host's own LAN, by `atoll up`: bridged, shared and host networks, what they reach and who reaches them, and
//! that nothing is left of it afterwards.

use atoll_e2e::{Cluster, Guest, HostSide, INTERNET, INTERNET6, Kit, Lan, PATIENCE, Unprivileged, Who};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const DEFAULTS: &str = "defaults: {image: 'built:micro', accel: tcg, memory: 192M}\n";

/// On the host's own loopback, in its namespace.
const FORWARDED: u16 = 18_099;

fn file(rest: &str) -> String {
    format!("name: lan\n{DEFAULTS}{rest}")
}

/// The addresses of a machine's NIC that `atoll ls` shows, once it shows both.
fn addresses(cluster: &Cluster, machine: &str, nic: usize) -> (Ipv4Addr, Ipv6Addr) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = cluster.nic(machine, nic);
        let address = |key: &str| shown[key].as_str().map(str::to_owned);
        if let (Some(v4), Some(v6)) = (address("address"), address("address6")) {
            let v4 = v4.parse().expect("an address");
            return (v4, v6.parse().expect("an address"));
        }
        assert!(Instant::now() < deadline, "{machine}: {shown:#}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Of the LAN's DHCP server, and of the prefix that its router announces.
fn assert_of_lan(lan: &Lan, (v4, v6): (Ipv4Addr, Ipv6Addr)) {
    assert!(matches!(v4.octets(), [192, 168, 77, 100..=150]), "{v4}");
    assert!(
        lan.leases().contains(&format!(" {v4} ")),
        "{v4} is not in {}",
        lan.leases()
    );
    assert_eq!(v6.segments()[..4], [0x2001, 0xdb8, 0x77, 0], "{v6}");
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "addresses of several types, most of them small"
)]
fn ping(guest: &mut Guest, address: impl ToString) {
    let once = format!("ping -c 1 -W 2 {}", address.to_string());
    // Its first packet may be earlier than its address.
    guest.ok(&format!(
        "{once} || (sleep 1; {once}) || (sleep 3; {once}) || (sleep 5; {once})"
    ));
}

fn assert_reaches_all_of_the_lan(guest: &mut Guest) {
    for who in [Who::Router, Who::One, Who::Two] {
        for address in who.addresses() {
            ping(guest, address);
        }
    }
    ping(guest, INTERNET);
    ping(guest, INTERNET6);
}

/// What somebody at the other end of a forward says.
fn heard_through_the_forward(lan: &Lan) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut heard = String::new();
        let to = SocketAddr::from(([127, 0, 0, 1], FORWARDED));
        let read = lan
            .open(Who::Host, || TcpStream::connect(to))
            .and_then(|mut it| it.read_to_string(&mut heard));
        if read.is_ok() && !heard.is_empty() {
            return heard.trim().to_owned();
        }
        assert!(Instant::now() < deadline, "the forward leads nowhere: {read:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Kills the daemon and waits until it is gone: it is nobody's child here.
fn kill_daemon(cluster: &Cluster) {
    let status: serde_json::Value = serde_json::from_str(&cluster.ok(&["status", "--json"])).expect("JSON");
    let daemon = status["daemon"].as_i64().expect("it runs");
    let pid = Pid::from_raw(i32::try_from(daemon).expect("a process id")).expect("no process is 0");
    kill_process(pid, Signal::KILL).expect("it is ours");
    let deadline = Instant::now() + PATIENCE;
    while kill_process(pid, Signal::CONT).is_ok() {
        assert!(Instant::now() < deadline, "{daemon} is still there");
        thread::sleep(Duration::from_millis(10));
    }
}

fn down(cluster: &Cluster, lan: &Lan, before: &str) {
    let _ = cluster.ok(&["down"]);
    lan.assert_host_is_as(before);
}

#[test]
fn machines_in_a_bridge_of_the_host_are_hosts_of_the_lan_also_after_the_daemon_was_killed() {
    let (Some(kit), Some(lan)) = (Kit::find(), Lan::make(HostSide::Bridge)) else {
        return;
    };
    let before = lan.host_state();
    let cluster = Cluster::on_lan(
        kit,
        &lan,
        &file(&format!(
            "networks: {{lan: {{mode: bridged, interface: br0}}}}\n\
             machines: {{a: {{forwards: ['{FORWARDED}:9000']}}, b: {{}}}}\n"
        )),
    );
    let _ = cluster.ok(&["up"]);
    let (a, b) = (addresses(&cluster, "a", 0), addresses(&cluster, "b", 0));
    assert_of_lan(&lan, a);
    assert_of_lan(&lan, b);
    let mut guest = Guest::of_cluster(&cluster, "a");
    assert_reaches_all_of_the_lan(&mut guest);
    ping(&mut guest, b.0);
    ping(&mut guest, b.1);
    for who in [Who::One, Who::Two, Who::Host] {
        assert!(lan.pings(who, a.0) && lan.pings(who, a.1), "{who:?}");
    }
    guest.ok("nc -ll -p 9000 -e hostname >/dev/null 2>&1 &");
    assert_eq!(heard_through_the_forward(&lan), guest.ok("hostname"));

    kill_daemon(&cluster);
    let _ = cluster.ok(&["up"]);
    assert!(lan.pings(Who::One, a.0));
    assert_eq!(heard_through_the_forward(&lan), guest.ok("hostname"));
    drop(guest);
    down(&cluster, &lan, &before);
}

#[test]
fn an_ordinary_user_puts_machines_on_a_nic_of_the_host_where_the_policy_allows_it() {
    let (Some(kit), Some(lan)) = (Kit::find(), Lan::make(HostSide::Nic)) else {
        return;
    };
    let before = lan.host_state();
    let user = Unprivileged::make(kit, "allow user=atoll-e2e bridged interface=eth0 via=macvtap\n");
    let bridged = "networks: {lan: {mode: bridged, interface: eth0}}\nmachines: {a: {}, b: {}}\n";
    let cluster = Cluster::of_user(
        kit,
        &lan,
        user,
        &file("networks: {lan: {mode: shared}}\nmachines: {a: {}}\n"),
    );
    let refused = cluster.command(&["up"]).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{words}");
    assert!(words.contains("shared") && words.contains("hint: "), "{words}");

    cluster.rewrite(&file(bridged));
    let _ = cluster.ok(&["up"]);
    let (a, b) = (addresses(&cluster, "a", 0), addresses(&cluster, "b", 0));
    assert_of_lan(&lan, a);
    let mut guest = Guest::of_cluster(&cluster, "a");
    assert_reaches_all_of_the_lan(&mut guest);
    ping(&mut guest, b.0);
    assert!(lan.pings(Who::One, a.0), "{}", a.0);
    assert!(lan.pings(Who::Two, b.1), "{}", b.1);
    drop(guest);
    down(&cluster, &lan, &before);
}

#[test]
fn a_bridge_made_over_the_hosts_nic_carries_the_host_as_well_and_gives_its_addresses_back() {
    let (Some(kit), Some(lan)) = (Kit::find(), Lan::make(HostSide::Nic)) else {
        return;
    };
    let before = lan.host_state();
    let cluster = Cluster::on_lan(
        kit,
        &lan,
        &file("networks: {lan: {mode: bridged, interface: eth0, via: new-bridge}}\nmachines: {a: {}}\n"),
    );
    let _ = cluster.ok(&["up"]);
    let a = addresses(&cluster, "a", 0);
    assert_of_lan(&lan, a);
    let mut guest = Guest::of_cluster(&cluster, "a");
    ping(&mut guest, Who::Host.addresses()[0]);
    ping(&mut guest, INTERNET6);
    assert!(lan.pings(Who::One, a.0) && lan.pings(Who::Host, INTERNET) && lan.pings(Who::Host, INTERNET6));
    drop(guest);
    down(&cluster, &lan, &before);
}

#[test]
fn behind_a_shared_network_is_the_world_and_behind_a_host_network_only_the_host() {
    let (Some(kit), Some(lan)) = (Kit::find(), Lan::make(HostSide::Nic)) else {
        return;
    };
    let before = lan.host_state();
    let asked = lan.listens(Who::One, 8080);
    let cluster = Cluster::on_lan(
        kit,
        &lan,
        &file(
            "networks:\n  nat: {mode: shared, subnet: 10.80.1.0/24}\n  private: {mode: host, subnet: 10.80.2.0/24}\n\
             machines: {a: {nics: [nat]}, b: {nics: [private]}}\n",
        ),
    );
    let _ = cluster.ok(&["up"]);
    let (a, b) = (addresses(&cluster, "a", 0), addresses(&cluster, "b", 0));
    let mut inside = Guest::of_cluster(&cluster, "a");
    let seen = inside.ok(&format!("nc {} {} </dev/null", asked.ip(), asked.port()));
    assert_eq!(
        seen,
        Who::Host.addresses()[0],
        "it is translated to the host's address"
    );
    for address in [INTERNET, INTERNET6, Who::Two.addresses()[1], "10.80.1.1"] {
        ping(&mut inside, address);
    }
    let mut alone = Guest::of_cluster(&cluster, "b");
    ping(&mut alone, "10.80.2.1");
    for address in [Who::One.addresses()[0], INTERNET, INTERNET6] {
        assert_ne!(
            alone.run(&format!("ping -c 1 -W 2 {address}")).status,
            0,
            "{address}"
        );
    }
    for address in [a.0, b.0] {
        assert!(lan.pings(Who::Host, address), "{address}");
    }
    assert!(lan.pings(Who::Host, a.1) && lan.pings(Who::Host, b.1));
    assert!(
        !lan.run(Who::One, &format!("ping -c 1 -W 1 {}", a.0))
            .status
            .success()
    );
    drop((inside, alone));
    down(&cluster, &lan, &before);
}

#[test]
fn a_machine_attached_directly_reads_its_documents_from_a_drive_and_needs_no_daemon() {
    let (Some(kit), Some(lan)) = (Kit::find(), Lan::make(HostSide::Bridge)) else {
        return;
    };
    let before = lan.host_state();
    let cluster = Cluster::on_lan(
        kit,
        &lan,
        &file("networks: {lan: {mode: bridged, interface: br0}}\nmachines: {a: {nics: [{attach: tap}]}}\n"),
    );
    let line = cluster.ok(&["qemu-args", "a"]);
    assert!(
        line.contains("tap,id=net0,fd=3,") && line.contains("driver=vvfat"),
        "{line}"
    );
    let _ = cluster.ok(&["up"]);
    let mut guest = Guest::of_cluster(&cluster, "a");
    let own = guest.ok("ip -4 -o address show dev eth0 scope global | sed 's/.* inet \\([^/]*\\).*/\\1/'");
    assert_reaches_all_of_the_lan(&mut guest);
    assert!(lan.pings(Who::One, &own));
    guest.ok("head -c 1000000 /dev/vda | grep -q '^local-hostname: \"a\"'");

    // Its network is QEMU's alone: nothing of it goes through the daemon, and nothing is undone when that dies.
    kill_daemon(&cluster);
    assert!(lan.pings(Who::Two, &own));
    drop(guest);
    down(&cluster, &lan, &before);
}

#[test]
fn a_control_plane_on_the_lan_and_workers_behind_it_reach_each_other_and_the_lan_by_routes() {
    let (Some(kit), Some(lan)) = (Kit::find(), Lan::make(HostSide::Bridge)) else {
        return;
    };
    let before = lan.host_state();
    // The example, on smaller machines.
    let example = include_str!("../../../examples/lan.yaml");
    let small = "image: 'built:micro'\n  accel: tcg\n  memory: 192M";
    let text = example.replace("image: debian\n  memory: 1G", small);
    assert_ne!(text, example);
    let cluster = Cluster::on_lan(kit, &lan, &text);
    let _ = cluster.ok(&["up"]);
    let outer = addresses(&cluster, "control", 0);
    let of = |machine: &str, nic| cluster.nic(machine, nic)["address"].as_str().unwrap().to_owned();
    let mut guests = ["control", "worker-1", "worker-2"].map(|name| Guest::of_cluster(&cluster, name));
    guests[0].ok(
        "echo 2 >/proc/sys/net/ipv6/conf/all/accept_ra; for nic in eth0 eth1; do \
        echo 2 >/proc/sys/net/ipv6/conf/$nic/accept_ra; done",
    );
    guests[0].ok("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
    // The way back: what an administrator tells the LAN's router.
    lan.ip(Who::Router, &format!("route add 10.80.3.0/24 via {}", outer.0));
    lan.ip(Who::Router, &format!("-6 route add fd80:3::/64 via {}", outer.1));
    let [control, workers @ ..] = &mut guests;
    for worker in workers.iter_mut() {
        ping(worker, of("control", 1));
        ping(worker, outer.0);
        for address in Who::One.addresses() {
            ping(worker, address);
        }
    }
    ping(&mut workers[0], of("worker-2", 0));
    ping(control, of("worker-1", 0));
    assert!(lan.pings(Who::Two, of("worker-1", 0)));
    assert!(lan.pings(Who::Two, cluster.nic("worker-2", 0)["address6"].as_str().unwrap()));
    drop(guests);
    down(&cluster, &lan, &before);
}
