//! Micro guests on one network: what they reach, what they do not, and that one cannot hinder another.

use atoll_e2e::{
    Guest, Kit, LONG_PATIENCE, Net, Options, TcpEcho, UdpEcho, checksum, closed_tcp_port, make_data, transfer,
};
use std::time::Duration;

const HOST_ALIAS: &str = "10.77.0.254";
const WITH_HOST: Options<'static> = Options {
    arguments: &["--host-loopback"],
};
const ALONE: Options<'static> = Options { arguments: &[] };

/// Ten random megabytes in `/tmp/data`; gives their checksum.
fn ten_megabytes(guest: &mut Guest) -> String {
    make_data(guest, 10)
}

#[test]
fn every_pair_of_three_guests_pings_and_moves_ten_megabytes() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &ALONE);
    let mut guests = Guest::start_all(kit, &net, &["a", "b", "c"]);
    let sums: Vec<String> = guests.iter_mut().map(ten_megabytes).collect();
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
fn datagrams_go_both_ways_between_guests() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &ALONE);
    let mut guests = Guest::start_all(kit, &net, &["a", "b"]);
    for (from, to) in [(0, 1), (1, 0)] {
        guests[to].ok("probe udp-echo 9001 >/dev/null 2>&1 &");
        // 9001 is 0x2329: who asks before it listens is refused.
        guests[to].ok("until grep -q ':2329 ' /proc/net/udp; do sleep 0.1; done");
        let server = guests[to].address();
        assert_eq!(
            guests[from].ok(&format!("probe udp-ask {server}:9001 50")),
            "50 echoed"
        );
    }
}

#[test]
fn each_guest_reaches_tcp_and_udp_servers_of_the_host() {
    let Some(kit) = Kit::find() else { return };
    let (tcp, udp) = (TcpEcho::start().unwrap(), UdpEcho::start().unwrap());
    let net = Net::start(kit, &WITH_HOST);
    for guest in &mut Guest::start_all(kit, &net, &["a", "b", "c"]) {
        let expected = ten_megabytes(guest);
        let port = tcp.address.port();
        let command = format!("nc -w 10 {HOST_ALIAS} {port} </tmp/data >/tmp/got");
        let echoed = guest.begin(&command).wait(guest, LONG_PATIENCE);
        assert_eq!(echoed.status, 0, "{}: {}", guest.name, echoed.text);
        assert_eq!(checksum(guest, "/tmp/got"), expected, "{}", guest.name);
        let port = udp.address.port();
        assert_eq!(
            guest.ok(&format!("probe udp-ask {HOST_ALIAS}:{port} 50")),
            "50 echoed",
            "{}",
            guest.name
        );
    }
}

#[test]
fn a_closed_port_of_the_host_is_refused() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &WITH_HOST);
    let mut guests = Guest::start_all(kit, &net, &["a"]);
    let answer = guests[0].run(&format!(
        "probe connect {HOST_ALIAS}:{}",
        closed_tcp_port().unwrap()
    ));
    assert_eq!(answer.text, "refused");
}

#[test]
fn without_leave_the_host_refuses_a_port_that_is_open() {
    let Some(kit) = Kit::find() else { return };
    let tcp = TcpEcho::start().unwrap();
    let net = Net::start(kit, &ALONE);
    let mut guests = Guest::start_all(kit, &net, &["a"]);
    let answer = guests[0].run(&format!("probe connect {HOST_ALIAS}:{}", tcp.address.port()));
    assert_eq!(answer.text, "refused");
}

#[test]
fn an_address_where_nothing_is_does_not_answer() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &ALONE);
    let mut guests = Guest::start_all(kit, &net, &["a"]);
    let answer = guests[0].run("ping -c 2 -W 2 10.77.0.200");
    assert_ne!(answer.status, 0, "{}", answer.text);
    assert!(answer.text.contains("100% packet loss"), "{}", answer.text);
}

#[test]
fn a_stopped_guest_takes_no_throughput_from_the_others() {
    let Some(kit) = Kit::find() else { return };
    let net = Net::start(kit, &ALONE);
    let mut guests = Guest::start_all(kit, &net, &["a", "b", "c"]);
    let stopped = guests.pop().unwrap();
    let [sender, receiver] = guests.get_disjoint_mut([0, 1]).unwrap();
    let expected = ten_megabytes(sender);
    let (arrived, before) = transfer(sender, receiver, 9000);
    assert_eq!(arrived, expected);

    // While it is stopped its queue is kept full: by pings too large to be few, and by broadcasts.
    sender.ok(&format!("ping -c 1 -W 10 {}", stopped.address()));
    stopped.freeze();
    sender.ok(&format!(
        "ping -A -s 1400 {} >/dev/null 2>&1 & echo $! >/tmp/flood",
        stopped.address()
    ));
    let (arrived, during) = transfer(sender, receiver, 9001);
    sender.ok("kill $(cat /tmp/flood)");
    stopped.thaw();
    assert_eq!(arrived, expected);
    let (arrived, after) = transfer(sender, receiver, 9002);
    assert_eq!(arrived, expected);
    println!("10 MB: {before:?} before, {during:?} with a stopped guest, {after:?} after");
    // The machine may be busy with something else in any of the three. A port that blocks the switch would stop the
    // transfer altogether.
    assert!(
        during < before.max(after) * 5 + Duration::from_secs(10),
        "{before:?} before, {during:?} with a stopped guest, {after:?} after"
    );

    let mut guests = [stopped];
    let address = sender.address();
    guests[0].ok(&format!("ping -c 1 -W 10 {address}"));
}
