//! TCP under stress with the Linux kernel's own TCP as the guest, over a TAP: much at once, losses, readers that stop, and ends in all
//! orders.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use atoll_e2e::{Exec, closed_tcp_port, digest_of, play, steps, with_namespaces};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

const ALIAS: &str = "10.77.0.254";
const GUEST: &str = "10.77.0.9";
const PORT: u16 = 7000;
const MTUS: [&str; 2] = ["1500", "65520"];
/// The guest's program.
const PEER: &str = env!("CARGO_BIN_EXE_peer");
const MEGABYTE: u64 = 1_000_000;

/// Nothing to do before and after.
const GOOD_LINK: (&str, &str) = ("", "");

/// Of a hundred frames about one is lost each way; of those that the guest sends one more comes twice, and five go round by
/// a cable of their own and arrive behind others: counted, not drawn, so that each of it happens even in a short run. What
/// is forwarded to `lo` is lost without a word to the sender.
const BAD_LINK: &str = "
ip link add round type veth peer name back && ip link set round up && ip link set back up
nft -f - <<RULES
table netdev bad {
    chain in {
        type filter hook ingress device tap0 priority 0
        numgen inc mod 97 50 counter drop
    }
    chain out {
        type filter hook egress device tap0 priority 0
        numgen inc mod 101 50 counter fwd to lo
        numgen inc mod 103 50 counter dup to tap0
        numgen inc mod 19 7 counter fwd to round
    }
    chain round {
        type filter hook ingress device back priority 0
        fwd to tap0
    }
}
RULES
";

/// Says so when one of its rules never had a frame.
const WAS_BAD: &str = "nft list table netdev bad | grep 'packets 0 '; true";

/// A network with a guest in a namespace, and what comes before and after the guest's program there.
struct Scene<'a> {
    atoll: &'a PathBuf,
    mtu: &'a str,
    before: &'a str,
    after: &'a str,
}

/// A listener on the host's loopback, and its port.
fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

impl Scene<'_> {
    /// The guest connects to a host. What both tell of it: guest, host.
    fn outbound(&self, guest: &str, host: &str) -> (String, String) {
        let (listener, port) = listen();
        let connect = format!("connect {ALIAS}:{port} {guest}");
        self.meet(&[], &connect, |_| listener.accept().unwrap().0, host)
    }

    /// A client connects to a forward, and so to the guest.
    fn inbound(&self, guest: &str, host: &str) -> (String, String) {
        let port = closed_tcp_port().unwrap();
        let forward = format!("127.0.0.1:{port}:{GUEST}:{PORT}");
        let client = |exec: &Exec| {
            let _ = exec.says("listening");
            TcpStream::connect(("127.0.0.1", port)).unwrap()
        };
        self.meet(
            &["--forward", &forward],
            &format!("listen {PORT} {guest}"),
            client,
            host,
        )
    }

    /// The network ends with the guest's program, so that waits until the host is done: another connection tells.
    fn meet(
        &self,
        arguments: &[&str],
        peer: &str,
        connect: impl FnOnce(&Exec) -> TcpStream,
        host: &str,
    ) -> (String, String) {
        let (done, port) = listen();
        let all = [
            &["--mtu", self.mtu, "--address", GUEST, "--host-loopback"],
            arguments,
        ]
        .concat();
        let (before, after) = (self.before, self.after);
        let script =
            format!("{before}\n{PEER} {peer}\n{after}\n{PEER} connect {ALIAS}:{port} read-all >/dev/null");
        let exec = Exec::start(self.atoll, &all, &script);
        let host = play(connect(&exec), &steps(host).unwrap());
        drop(done.accept().unwrap());
        let guest = exec.ok();
        (
            guest.trim_start_matches("listening\n").trim_end().to_owned(),
            host,
        )
    }

    /// So many megabytes each way at once, with a pause of either reader in the middle.
    fn exchange(&self, megabytes: u64, (guest_pause, host_pause): (u64, u64)) {
        let bytes = megabytes * MEGABYTE;
        let (guest, host) = self.outbound(
            &format!("exchange:1:2:{bytes}:{guest_pause}"),
            &format!("exchange:2:1:{bytes}:{host_pause}"),
        );
        assert_eq!(guest, digest_of(2, bytes), "what the guest received");
        assert_eq!(host, digest_of(1, bytes), "what the host received");
    }
}

fn at_every_mtu((before, after): (&str, &str), test: impl Fn(&Scene<'_>)) {
    let Some(atoll) = with_namespaces() else { return };
    for mtu in MTUS {
        test(&Scene {
            atoll,
            mtu,
            before,
            after,
        });
    }
}

#[test]
fn a_hundred_megabytes_each_way_at_once_arrive_whole() {
    at_every_mtu(GOOD_LINK, |scene| scene.exchange(100, (0, 0)));
}

#[test]
fn a_hundred_megabytes_each_way_at_once_arrive_whole_over_a_bad_link() {
    at_every_mtu((BAD_LINK, WAS_BAD), |scene| scene.exchange(100, (0, 0)));
}

#[test]
fn readers_that_stop_for_three_seconds_lose_nothing() {
    at_every_mtu(GOOD_LINK, |scene| {
        scene.exchange(40, (3000, 0));
        scene.exchange(40, (0, 3000));
    });
}

#[test]
fn readers_that_stop_behind_a_bad_link_lose_nothing() {
    at_every_mtu((BAD_LINK, WAS_BAD), |scene| scene.exchange(20, (3000, 3000)));
}

/// How a connection ends: what the guest does and is to tell, and the same of the host.
const ENDS: [[&str; 4]; 9] = [
    // FIN first from one, then the other, then both at once.
    ["send:a shutdown read-all", "b.", "read-all send:b", "a."],
    ["read-all send:a", "b.", "send:b shutdown read-all", "a."],
    ["send:a shutdown read-all", "b.", "send:b shutdown read-all", "a."],
    // A reset while both are open.
    [
        "send:a read:1 reset",
        "b",
        "read:1 send:b read-all",
        "a ConnectionReset",
    ],
    [
        "read:1 send:a read-all",
        "b ConnectionReset",
        "send:b read:1 reset",
        "a",
    ],
    // A reset after the other closed its side.
    [
        "read-all reset",
        "b.",
        "send:b shutdown read-all",
        "ConnectionReset",
    ],
    [
        "send:a shutdown read-all",
        "ConnectionReset",
        "read-all reset",
        "a.",
    ],
    // A close with bytes unread is a reset (RFC 1122, 4.2.2.13).
    ["read:1", "b", "send:b flood", "ConnectionReset"],
    ["send:a flood", "ConnectionReset", "read:1", "a"],
];

#[test]
fn every_end_of_a_connection_of_the_guests_crosses_as_what_it_is() {
    at_every_mtu(GOOD_LINK, |scene| {
        for [guest, guest_tells, host, host_tells] in ENDS {
            let told = scene.outbound(guest, host);
            assert_eq!(told, (guest_tells.into(), host_tells.into()), "{guest} / {host}");
        }
    });
}

#[test]
fn every_end_of_a_forwards_connection_crosses_as_what_it_is() {
    at_every_mtu(GOOD_LINK, |scene| {
        for [guest, guest_tells, host, host_tells] in ENDS {
            let told = scene.inbound(guest, host);
            assert_eq!(told, (guest_tells.into(), host_tells.into()), "{guest} / {host}");
        }
    });
}

#[test]
fn a_network_that_ends_ends_no_stream_as_if_it_were_whole() {
    let Some(atoll) = with_namespaces() else { return };
    let ((listener, port), (done, done_port)) = (listen(), listen());
    let script = format!(
        "timeout 60 {PEER} connect {ALIAS}:{port} send:a read:1 read-all >/dev/null 2>&1 & {PEER} connect {ALIAS}:{done_port} read-all"
    );
    let exec = Exec::start(atoll, &["--host-loopback"], &script);
    let stream = listener.accept().unwrap().0;
    let begun = play(stream.try_clone().unwrap(), &steps("read:1 send:b").unwrap());
    drop(done.accept().unwrap());
    let _ = exec.end();
    let ended = play(stream, &steps("read-all").unwrap());
    assert_eq!((begun.as_str(), ended.as_str()), ("a", "ConnectionReset"));
}
