//! `atoll link`: the host on a network of its user's, and off again without a trace.

use atoll_e2e::{LanHost, with_namespaces};

const PEER: &str = env!("CARGO_BIN_EXE_peer");

const API: &str = "--api unix:/run/net/lan.sock";
const JOIN: &str = "/run/atoll net exec --join unix:/run/net/lan.sock";

/// The highest below the host alias.
const HOST: &str = "10.77.0.253";
const HOST6: &str = "fd77:77::fd";

/// A host whose user anna runs a network.
struct World {
    host: LanHost,
    /// The network's process, which the host's end does not end; nor does it end guests.
    network: String,
    guests: Vec<String>,
}

impl World {
    fn make() -> Option<Self> {
        let host = LanHost::make(with_namespaces()?)?;
        let _ = host.run("mkdir -m 0777 /run/net; touch /etc/resolv.conf");
        Some(Self {
            host,
            network: String::new(),
            guests: Vec::new(),
        })
    }

    /// Start the network as anna.
    fn start(&mut self) {
        let (pid, is_up) = self.host.run_as_anna(
            "rm -f /run/net/ready
            /run/atoll net run --subnet 10.77.0.0/24 --ipv6 fd77:77::/64 --api unix:/run/net/lan.sock >/run/net/ready 2>/run/net/log & echo $!
            for i in $(seq 400); do grep -qs ready /run/net/ready && exit; sleep 0.05; done; cat /run/net/log; exit 1",
        );
        assert!(is_up, "the network does not start: {pid}");
        self.network = pid.trim().to_owned();
    }

    /// Start a guest that answers at port 80 of both families.
    fn guest(&mut self, name: &str) {
        self.background(&format!("{JOIN} --name {name} -- {PEER} answer [::]:80"), name);
    }

    fn background(&mut self, command: &str, name: &str) {
        let log = format!("/run/net/{name}.log");
        let pid = self.host.run(&format!(
            "{command} >{log} 2>&1 & echo $!
            for i in $(seq 400); do grep -q listening {log} && exit; sleep 0.05; done; cat {log} >&2; exit 1"
        ));
        self.guests.push(pid.trim().to_owned());
    }

    fn link(&self, options: &str) -> String {
        self.host.run(&format!("/run/atoll link {API} {options} 2>&1"))
    }

    fn unlink(&self) -> String {
        self.host.run(&format!("/run/atoll unlink {API} 2>&1"))
    }

    /// What a guest meets that says a word to the host there.
    fn guest_asks(&self, script: &str) -> String {
        self.host
            .run(&format!("{JOIN} --name evil -- bash -c '{script}' 2>&1"))
    }

    /// What the host hears that says a word to a guest there.
    fn host_asks(&self, place: &str) -> String {
        self.host.run(&format!(
            "timeout 10 {PEER} connect {place} send:hi shutdown read-all 2>&1"
        ))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Those that have ended already are no harm; guests go before their network.
        let _ = self.host.run(&format!(
            "kill {} {} 2>/dev/null; true",
            self.guests.join(" "),
            self.network
        ));
    }
}

/// The helper's process that may change the network.
const HELPER: &str = "for p in $(pgrep -x atoll-helper); do [ $(readlink /proc/$p/ns/net) = $(readlink /proc/self/ns/net) ] && grep -q '^Uid:.*65534' /proc/$p/status && echo $p; done";

/// Says a word to a TCP port, and tells what comes.
fn tcp(address: &str) -> String {
    format!("timeout 5 {PEER} connect {address} send:hi shutdown read-all; ")
}

/// The same to port 7000 of a link-local address, to which the kernel sends no reset.
fn scoped(address: &str) -> String {
    format!("timeout 2 bash -c \"exec 3<>/dev/tcp/{address}%tap0/7000; echo hi >&3; head -c 5 <&3\"; ")
}

#[test]
fn root_reaches_every_guest_of_a_users_network_and_no_guest_reaches_the_host() {
    let Some(mut world) = World::make() else { return };
    let before = world.host.picture();
    world.start();
    world.guest("a");
    world.guest("b");
    let said = world.link("");
    for line in [
        "interface  atoll-lan",
        "address    10.77.0.253, fd77:77::fd",
        "routes     10.77.0.0/24, fd77:77::/64",
        "guests     only answer the host",
        "systemd-resolved, if it runs, is in another network namespace",
        "server=/atoll.internal/ADDRESS",
    ] {
        assert!(said.contains(line), "{line:?} is not in {said}");
    }
    let routes = world
        .host
        .run("ip route show dev atoll-lan; ip -6 route show dev atoll-lan | grep -v fe80");
    assert_eq!(routes.lines().count(), 2, "{routes}");

    // By address, in both families, with names from the network's resolver.
    for name in ["a", "b"] {
        for (kind, server) in [("a", "10.77.0.1"), ("aaaa", "fd77:77::1")] {
            let answer = world.host.run(&format!(
                "busybox nslookup -type={kind} {name}.atoll.internal {server} | sed -n 's/^Address: *//p' | tail -1"
            ));
            let address = answer.trim();
            let place = if kind == "a" {
                format!("{address}:80")
            } else {
                format!("[{address}]:80")
            };
            let heard = world.host_asks(&place);
            assert!(heard.contains("hi at"), "{name} at {place}: {heard}");
            let _ = world.host.run(&format!("busybox ping -c 1 -W 5 {address}"));
        }
    }
    let mut twice = world.link("");
    assert!(twice.contains("linked already: nothing was done"), "{twice}");
    twice = world.link("--json");
    assert!(twice.contains(r#""was_there": true"#), "{twice}");

    guests_do_not_reach_the_host(&mut world);

    assert_eq!(world.unlink(), "atoll-lan is gone\n");
    assert_eq!(world.host.difference(&before), "");
    assert_eq!(world.unlink(), "there was no link\n");
    // Guests go on, and it works again.
    let _ = world.link("--name other --address 10.77.0.200");
    let heard = world.host.run("ip -br addr show dev atoll-other");
    assert!(
        heard.contains("10.77.0.200/24") && heard.contains("fd77:77::fd/64"),
        "{heard}"
    );
    let _ = world.unlink();
    assert_eq!(world.host.difference(&before), "");
}

/// Whatever a hostile guest sends: to the link's addresses, to the host's others by way of the link, and through the host.
fn guests_do_not_reach_the_host(world: &mut World) {
    world.background(&format!("{PEER} answer [::]:7000"), "server");
    let local = world
        .host
        .run("ip -6 -br addr show dev atoll-lan | grep -o 'fe80[^/]*'");
    let local = local.trim();
    assert!(
        world.host_asks(&format!("{HOST}:7000")).contains("hi at"),
        "the server answers the host itself"
    );
    let refused = world.guest_asks(&[tcp(&format!("{HOST}:7000")), tcp(&format!("[{HOST6}]:7000"))].concat());
    assert_eq!(
        refused, "ConnectionRefused\nConnectionRefused\n",
        "refused at once, in both families"
    );
    let silent = world.guest_asks(&format!(
        "ip link show tap0 >/dev/null; {} ping -c1 -W1 {HOST} >/dev/null && echo pong; \
        ping -c1 -W1 {HOST6} >/dev/null && echo pong; \
        (exec 3<>/dev/udp/{HOST}/7000; echo hi >&3; timeout 1 head -c 2 <&3); (exec 3<>/dev/udp/{HOST6}/7000; echo hi >&3; timeout 1 head -c 2 <&3); true",
        scoped(local)
    ));
    assert!(!silent.contains("hi at") && !silent.contains("pong"), "{silent}");
    assert!(
        silent.contains("Permission denied"),
        "datagrams are prohibited: {silent}"
    );
    // The host has other addresses and is a router, for somebody else.
    let _ = world.host.run("echo 1 >/proc/sys/net/ipv4/ip_forward");
    let through = world.guest_asks(&format!(
        "ip route add 10.9.0.0/24 via {HOST}; {} ping -c1 -W1 10.9.0.1 >/dev/null && echo pong; \
        ip addr add 10.200.0.9/32 dev tap0; ip route replace {HOST}/32 dev tap0 src 10.200.0.9; {} true",
        tcp("10.9.0.2:7000"),
        tcp(&format!("{HOST}:7000")).replace("timeout 5", "timeout 1"),
    ));
    assert!(
        !through.contains("hi at") && !through.contains("pong"),
        "{through}"
    );
    let _ = world.host.run("echo 0 >/proc/sys/net/ipv4/ip_forward");
}

#[test]
fn a_user_links_what_the_policy_allows_and_clashes_are_refused_with_both_names() {
    let Some(mut world) = World::make() else { return };
    world.start();
    let link = |world: &World, options: &str| {
        world
            .host
            .run_as_anna(&format!("/run/atoll link {API} {options} 2>&1"))
    };
    let before = world.host.picture();
    let (words, is_linked) = link(&world, "");
    assert!(!is_linked, "{words}");
    assert!(
        words.contains("the policy does not allow user 41000 a link to the network of 10.77.0.0/24 and fd77:77::/64 with the names below atoll.internal")
            && words.contains("allow user=41000 link subnet=10.77.0.0/24"),
        "{words}"
    );
    let _ = world
        .host
        .run("echo 'allow user=anna link' >>/etc/atoll/helper.conf");
    let (words, is_linked) = link(&world, "--allow-guests");
    assert!(!is_linked && words.contains(", open to its guests"), "{words}");
    assert_eq!(world.host.difference(&before), "");

    // What the host has already is not taken from it.
    for (add, words) in [
        (
            "route add 10.77.0.0/16 via 10.9.0.1",
            "10.77.0.0/24 is in use: the host has the route 10.77.0.0/16 by way of cable",
        ),
        (
            "route add 10.77.0.64/26 via 10.9.0.1 table 66",
            "the host has the route 10.77.0.64/26 by way of cable",
        ),
        (
            "-6 route add fd77:77::/48 via 2001:db8:9::1",
            "fd77:77::/64 is in use: the host has the route fd77:77::/48 by way of cable",
        ),
        (
            "addr add 10.77.0.9/24 dev br0",
            "10.77.0.0/24 is in use: the host has the address 10.77.0.9/24",
        ),
    ] {
        let _ = world.host.run(&format!("ip {add}"));
        let (said, is_linked) = link(&world, "");
        assert!(!is_linked && said.contains(words), "{add}: {said}");
        let _ = world.host.run(&format!("ip {}", add.replace(" add ", " del ")));
    }
    assert_eq!(world.host.difference(&before), "");

    let (words, is_linked) = link(&world, "");
    assert!(is_linked && words.contains(HOST), "{words}");
    let _ = world.host.run_as_anna(&format!("/run/atoll unlink {API}"));
    assert_eq!(world.host.difference(&before), "");

    // Guests begin what the administrator and the user let them.
    let _ = world
        .host
        .run("echo 'allow user=anna link guests=begin' >>/etc/atoll/helper.conf");
    let (words, is_linked) = link(&world, "--allow-guests");
    assert!(
        is_linked && words.contains("guests     may open connections to the host"),
        "{words}"
    );
    world.background(&format!("{PEER} answer [::]:7000"), "server");
    let heard = world.guest_asks(&[tcp(&format!("{HOST}:7000")), tcp(&format!("[{HOST6}]:7000"))].concat());
    assert_eq!(heard.matches("hi at").count(), 2, "{heard}");
    let (words, _) = world.host.run_as_anna(&format!("/run/atoll unlink {API}"));
    assert_eq!(words, "atoll-lan is gone\n");
    assert_eq!(world.host.difference(&before), "");
}

#[test]
fn nothing_is_left_of_a_link_whoever_is_killed() {
    let Some(mut world) = World::make() else { return };
    let before = world.host.picture();
    world.start();
    world.guest("a");
    let linked = |world: &World| {
        let words = world.link("");
        assert!(words.contains("interface  atoll-lan\n"), "{words}");
        assert_ne!(world.host.picture(), before);
    };

    linked(&world);
    let _ = world.host.run(&format!("kill -9 $({HELPER})"));
    assert_eq!(world.host.difference(&before), "", "the helper");

    // The next one finds its name free.
    linked(&world);
    let _ = world.host.run("ip link del atoll-lan");
    assert_eq!(world.host.difference(&before), "", "the interface");

    linked(&world);
    let _ = world.host.run(&format!("kill -9 {}", world.network));
    assert_eq!(world.host.difference(&before), "", "the network");

    // Its socket is its own until it has ended.
    let ended = "for i in $(seq 1000); do grep -qs '^State:[[:space:]]*[^Z[:space:]]' /proc/$network/status || exit 0; sleep 0.02; done; exit 1";
    let _ = world.host.run(&format!("network={}; {ended}", world.network));
    world.start();
    linked(&world);
    let _ = world.host.run(&format!("kill {}", world.network));
    assert_eq!(world.host.difference(&before), "", "the network's own end");
    assert_eq!(world.host.run("ls /run/atoll-helper | grep journal; true"), "");
}

/// A host with systemd-resolved, the bus between it and others, and processes of its own, so that the first of them is in the host's network
/// namespace. Its first argument is resolved's program, its second the folder of ours.
const RESOLVED: &str = r#"
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs run /run
mount -t sysfs sys /sys
mkdir -p /run/dbus /run/systemd/resolve
ip link set lo up
for file in passwd group; do cp /etc/$file /run/$file; done
grep -q ^systemd-resolve: /run/passwd || echo 'systemd-resolve:x:994:994::/:/usr/sbin/nologin' >>/run/passwd
grep -q ^systemd-resolve: /run/group || echo 'systemd-resolve:x:994:' >>/run/group
echo 'nameserver 127.0.0.53' >/run/resolv.conf
for file in passwd group resolv.conf; do mount --bind /run/$file /etc/$file; done
chown systemd-resolve: /run/systemd/resolve
cat >/run/bus.conf <<BUS
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow send_type="signal"/><allow receive_sender="*"/></policy></busconfig>
BUS
until_it_is() { for i in $(seq 200); do "$@" && return; sleep 0.05; done; echo "not so: $*"; exit 1; }
is_known() { getent ahosts web.atoll.internal >/dev/null; }
listens() { grep -q ':0035 ' /proc/net/udp; }
dbus-daemon --config-file=/run/bus.conf --nofork 2>/run/bus.log &
until_it_is test -S /run/dbus/system_bus_socket
"$1" >/run/resolved.log 2>&1 &
until_it_is listens
"$2/atoll" net run --subnet 10.77.0.0/24 --ipv6 fd77:77::/64 --api unix:/run/lan.sock >/run/ready &
until_it_is grep -q ready /run/ready
"$2/atoll" net exec --join unix:/run/lan.sock --name web -- sh -c 'echo up >/run/web; exec sleep 100' &
until_it_is test -s /run/web
"$2/atoll" link --api unix:/run/lan.sock
getent ahosts web.atoll.internal | awk '{print "found " $1}' | sort -u
getent ahosts web || echo 'no name by itself'
"$2/atoll" unlink --api unix:/run/lan.sock
is_known || echo 'unknown again'
"#;

#[test]
fn where_systemd_resolved_runs_programs_find_machines_by_name() {
    let Some(atoll) = with_namespaces() else { return };
    let named = std::env::var("ATOLL_E2E_RESOLVED");
    let program = named.unwrap_or_else(|_| "/usr/lib/systemd/systemd-resolved".to_owned());
    for needed in [program.as_str(), "/usr/bin/dbus-daemon"] {
        if !std::path::Path::new(needed).is_file() {
            eprintln!("skipped: there is no {needed}; ATOLL_E2E_RESOLVED names systemd-resolved elsewhere");
            return;
        }
    }
    let output = std::process::Command::new("unshare")
        .args([
            "-n",
            "-m",
            "-p",
            "-f",
            "--kill-child",
            "bash",
            "-c",
            RESOLVED,
            "bash",
            &program,
        ])
        .arg(atoll.parent().expect("it lies in a folder"))
        .stdin(std::process::Stdio::null())
        .output()
        .expect("util-linux is installed");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    for line in [
        "names      *.atoll.internal, by systemd-resolved",
        "found 10.77.0.",
        "found fd77:77::",
        "no name by itself",
        "unknown again",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
    assert!(!said.contains("note: "), "{said}");
}
