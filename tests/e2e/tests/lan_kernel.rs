//! Guests on the host's LAN, behind its kernel, or with the host alone: the Linux kernel as the guest (a namespace on a TAP) beside a
//! micro machine, on a LAN of namespaces with a DHCP server and a metadata service of its own.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use atoll_e2e::{Frames, Guest, HostSide, INTERNET, INTERNET6, Kit, Lan, Net, Options, Who};
use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The gateway's MAC address, which nobody on the LAN is to see.
const OURS: &str = "ether src 52:55:0a:4d:00:01";
const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace on the network, in which a shell runs what is written to its files.
struct Kernel {
    child: Child,
    folder: PathBuf,
    count: u32,
}

/// What a DHCP client does with what it was told (udhcpc's script).
const CONFIGURE: &str = "#!/bin/sh
[ \"$1\" = bound ] || exit 0
ip address replace $ip/${mask:-24} dev $interface
[ -z \"$router\" ] || ip route replace default via $router dev $interface
";

/// Runs each `N.sh` when it comes, and leaves what it said in `N.out` and how it ended in `N.end`.
const SHELL: &str = "
n=1
while [ -d {folder} ]; do
    if [ -e {folder}/$n.sh ]; then
        sh {folder}/$n.sh >{folder}/$n.out 2>&1; echo $? >{folder}/$n.part; mv {folder}/$n.part {folder}/$n.end; n=$((n+1))
    fi
    sleep 0.05
done";

impl Kernel {
    fn join(kit: &Kit, net: &Net, name: &str) -> Self {
        let folder = net.folder().join(name);
        fs::create_dir(&folder).unwrap();
        let place = folder.display().to_string();
        fs::write(folder.join("configure"), CONFIGURE).unwrap();
        let made = Command::new("chmod")
            .args(["+x", &format!("{place}/configure")])
            .status();
        assert!(made.unwrap().success());
        let api = format!("unix:{}", net.folder().join("api.sock").display());
        let child = Command::new(&kit.atoll)
            .args(["net", "exec", "--join", &api, "--name", name, "--", "sh", "-c"])
            .arg(SHELL.replace("{folder}", &place))
            .stdin(Stdio::null())
            .spawn();
        Self {
            child: child.unwrap(),
            folder,
            count: 0,
        }
    }

    /// Runs a shell script; gives what it wrote, and whether it succeeded.
    fn run(&mut self, script: &str) -> (String, bool) {
        self.count += 1;
        let file = |ending: &str| self.folder.join(format!("{}.{ending}", self.count));
        fs::write(file("part"), script).unwrap();
        fs::rename(file("part"), file("sh")).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !file("end").exists() {
            assert!(Instant::now() < deadline, "`{script}` does not end");
            thread::sleep(Duration::from_millis(20));
        }
        let said = fs::read_to_string(file("out")).unwrap();
        (said, fs::read_to_string(file("end")).unwrap().trim() == "0")
    }

    fn ok(&mut self, script: &str) -> String {
        let (said, is_well) = self.run(script);
        assert!(is_well, "`{script}` failed: {said}");
        said
    }

    /// Runs a script until it succeeds.
    fn eventually(&mut self, script: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while !self.run(script).1 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(200));
        }
        self.ok(script)
    }

    /// Ask the network's DHCP server for an address; gives it.
    fn lease(&mut self) -> String {
        let configure = self.folder.join("configure");
        let client = format!(
            "busybox udhcpc -n -q -f -t 20 -T 1 -i tap0 -s {}",
            configure.display()
        );
        self.ok(&client);
        let told = self.ok("ip -4 -o address show dev tap0 | sed 's/.*inet //; s,/.*,,'");
        told.lines().last().unwrap().trim().to_owned()
    }

    fn pings(&mut self, address: &str) {
        self.eventually(&format!("ping -c 1 -W 2 {address}"));
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // It ends when its folder is gone; what is below needs that no longer.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the router of a cloud has at the metadata address, which no guest of ours is to read.
fn serve_metadata(lan: &Lan) -> Child {
    lan.ip(Who::Router, "address add 169.254.169.254/32 dev sw");
    let mut command = lan.command(Who::Router, "busybox");
    command
        .args(["httpd", "-f", "-p", "169.254.169.254:80", "-h", "/usr/share"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

/// What the metadata address answers.
const METADATA: &str = "exec bash -c 'exec 3<>/dev/tcp/169.254.169.254/80; printf \"GET /meta-data HTTP/1.0\\r\\n\\r\\n\" >&3; head -1 <&3'";

/// The network on the host, with its API and a forward to the first micro guest and to the namespace `one`.
fn start(kit: &Kit, lan: &Lan, arguments: &[&str]) -> Net {
    let common = [
        "--api",
        "unix:{folder}/api.sock",
        "--forward",
        "0:52:54:00:77:00:02:22",
        "--forward",
        "0:one:2222",
    ];
    let arguments = [arguments, &common].concat();
    Net::start_inside(
        kit,
        &Options {
            arguments: &arguments,
        },
        &lan.namespace(Who::Host),
    )
}

/// The host's network, when its addresses have been found to be nobody else's.
fn settled(lan: &Lan) -> String {
    let _ = lan.ok(
        Who::Host,
        "for i in $(seq 100); do ip address | grep -q tentative || exit 0; sleep 0.1; done; exit 1",
    );
    lan.host_state()
}

fn ping_guest(lan: &Lan, who: Who, address: &str) {
    assert!(lan.pings(who, address), "{who:?} does not reach {address}");
}

/// A server in the namespace, reached through the network's own forward on the host.
fn forwards_reach(lan: &Lan, net: &Net, guest: &mut Kernel) {
    guest.ok("(setsid busybox nc -ll -p 2222 -e echo reached >/dev/null 2>&1 &)");
    let listen = net.forwards()[1];
    let deadline = Instant::now() + PATIENCE;
    let mut told = String::new();
    while told.trim() != "reached" && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(200));
        told.clear();
        let stream = lan.open(Who::Host, || TcpStream::connect(listen));
        // One that is refused is tried again.
        let _ = stream.and_then(|mut stream| stream.read_to_string(&mut told));
    }
    assert_eq!(told.trim(), "reached", "{}", net.words());
}

/// Both guests on the LAN in either way.
fn bridged(side: HostSide, arguments: &[&str], hears_host: bool) {
    let (Some(kit), Some(lan)) = (Kit::find(), Lan::make(side)) else {
        return;
    };
    let mut cloud = serve_metadata(&lan);
    let before = settled(&lan);
    let frames = Frames::of_host(&lan);
    let net = start(kit, &lan, arguments);
    let mut kernel = Kernel::join(kit, &net, "one");
    let address = kernel.lease();
    assert!(lan.leases().contains(&address), "{address}: {}", lan.leases());
    let mut micros = Guest::start_all(kit, &net, &["micro"]);
    let micro = &mut micros[0];
    let theirs = micro.address().to_string();
    assert!(lan.leases().contains(&theirs), "{theirs}: {}", lan.leases());
    // The router advertises every few seconds, and answers one who asks after a delay (RFC 4861, 6.2.6).
    micro.ok("until ip -6 route | grep -q ^default && ip -6 address show dev eth0 scope global | grep -v tentative | grep -q 2001:db8:77:; do sleep 0.1; done");

    // The LAN, the world behind its router, and each other; both families, both ways.
    for there in [Who::One, Who::Two] {
        for to in there.addresses() {
            kernel.pings(to);
            micro.ok(&format!("ping -c 3 -W 2 {to}"));
        }
        ping_guest(&lan, there, &address);
        ping_guest(&lan, there, &theirs);
    }
    for to in [INTERNET, INTERNET6, &theirs] {
        kernel.pings(to);
    }
    micro.ok(&format!(
        "ping -c 3 -W 2 {INTERNET} && ping -c 3 -W 2 {INTERNET6}"
    ));
    micro.ok(&format!("ping -c 3 -W 2 {address}"));
    if hears_host {
        ping_guest(&lan, Who::Host, &address);
    }
    let own =
        kernel.eventually("ip -6 -o address show dev tap0 scope global | grep -o '2001:db8:77:[0-9a-f:]*'");
    ping_guest(&lan, Who::One, own.trim());

    // Who asks the metadata address asks this network, which has no documents to give, and not the LAN.
    let (answer, _) = kernel.run(METADATA);
    assert!(answer.contains("Connection refused"), "{answer}");
    forwards_reach(&lan, &net, &mut kernel);

    drop((kernel, micros));
    let (status, _folder) = net.terminate();
    assert!(status.success());
    // What has our MAC address, and what only a server says; that of the LAN goes the other way.
    assert_eq!(frames.taken_by(OURS), Vec::<String>::new());
    let served = "udp src port 67 and not src host 192.168.77.1";
    assert_eq!(frames.taken_by(served), Vec::<String>::new());
    let advertised = "icmp6 and ip6[40] == 134 and not ether src host $ROUTER";
    let router = lan.ok(Who::Router, "cat /sys/class/net/sw/address");
    assert_eq!(
        frames.taken_by(&advertised.replace("host $ROUTER", router.trim())),
        Vec::<String>::new()
    );
    assert_eq!(
        frames.taken_by("host 169.254.169.254 and not arp"),
        Vec::<String>::new()
    );
    lan.assert_host_is_as(&before);
    cloud.kill().unwrap();
    cloud.wait().unwrap();
}

#[test]
fn guests_on_a_bridge_of_the_hosts_are_hosts_of_its_lan() {
    bridged(
        HostSide::Bridge,
        &["--mode", "bridged", "--interface", "br0"],
        true,
    );
}

#[test]
fn guests_on_macvtaps_are_hosts_of_the_lan() {
    let macvtap = ["--mode", "bridged", "--interface", "eth0", "--via", "macvtap"];
    bridged(HostSide::Nic, &macvtap, false);
}

/// Two namespaces, with what a mode without the LAN's DHCP server gives them.
fn with_host(mode: &str, reaches_world: bool) {
    let (Some(kit), Some(lan)) = (Kit::find(), Lan::make(HostSide::Nic)) else {
        return;
    };
    let before = settled(&lan);
    let frames = Frames::of_host(&lan);
    let arguments = [
        "--mode",
        mode,
        "--subnet",
        "10.78.0.0/24",
        "--ipv6",
        "fd78:78::/64",
    ];
    let net = start(kit, &lan, &arguments);
    let mut one = Kernel::join(kit, &net, "one");
    let mut micros = Guest::start_all(kit, &net, &["micro"]);
    let micro = &mut micros[0];
    let address = one.ok("ip -4 -o address show dev tap0 | sed 's/.*inet //; s,/.*,,'");
    let (address, theirs) = (address.trim(), micro.address().to_string());
    assert!(theirs.starts_with("10.78.0."), "{theirs}");
    for to in ["10.78.0.1", "fd78:78::1", "10.78.0.254", "fd78:78::fe", &theirs] {
        one.pings(to);
    }
    micro.ok(&format!("ping -c 3 -W 2 10.78.0.1 && ping -c 3 -W 2 {address}"));
    for guest in [address, &theirs] {
        ping_guest(&lan, Who::Host, guest);
    }
    let [lan_host, _] = Who::One.addresses();
    for to in [lan_host, INTERNET] {
        let (said, is_reached) = one.run(&format!("ping -c 2 -W 2 {to}"));
        assert_eq!(is_reached, reaches_world, "{to}: {said}");
    }
    let reached = micro.run(&format!("ping -c 2 -W 2 {INTERNET}")).status == 0;
    assert_eq!(reached, reaches_world, "the micro guest");
    if reaches_world {
        one.pings(INTERNET6);
        micro.ok(&format!("ping -c 5 -W 2 {INTERNET6}"));
    }
    forwards_reach(&lan, &net, &mut one);
    drop((one, micros));
    let (status, _folder) = net.terminate();
    assert!(status.success());
    assert_eq!(frames.taken_by(OURS), Vec::<String>::new());
    assert_eq!(
        frames.taken_by("net 10.78.0.0/24 or ip6 net fd78:78::/64"),
        Vec::<String>::new()
    );
    lan.assert_host_is_as(&before);
}

#[test]
fn guests_of_a_shared_network_reach_the_world_behind_the_kernel() {
    with_host("shared", true);
}

#[test]
fn guests_of_a_host_network_reach_the_host_and_each_other_only() {
    with_host("host", false);
}

/// The MAC address of a namespace that joins as `one`, which follows from its name.
const ONE: &str = "52:56:80:bf:77:33";
/// That of the first micro guest.
const MICRO: &str = "52:54:00:77:00:02";

/// Every frame on the host's cable is from the host's own MAC address, or from somebody else's on the LAN.
fn assert_only_known_stations(lan: &Lan, frames: &Frames) {
    let mut filter = String::from("ether multicast or not ether multicast");
    for (who, interface) in [
        (Who::Host, "eth0"),
        (Who::One, "eth0"),
        (Who::Two, "eth0"),
        (Who::Router, "sw"),
        (Who::Router, "host"),
    ] {
        let mac = lan.ok(who, &format!("cat /sys/class/net/{interface}/address"));
        filter = format!("({filter}) and not ether src {}", mac.trim());
    }
    assert_eq!(frames.taken_by(&filter), Vec::<String>::new());
}

#[test]
fn guests_for_which_the_host_answers_are_hosts_of_the_lan_with_the_hosts_own_mac_address() {
    const ADDRESSES: [&str; 2] = ["192.168.77.60", "2001:db8:77::60"];
    const THEIRS: &str = "192.168.77.61";
    let (Some(kit), Some(lan)) = (Kit::find(), Lan::make(HostSide::Nic)) else {
        return;
    };
    let before = settled(&lan);
    let frames = Frames::of_host(&lan);
    let [v4, v6] = ADDRESSES.map(|address| format!("{ONE}={address}"));
    let micros = format!("{MICRO}={THEIRS}");
    let leases = ["--lease", &v4, "--lease", &v6, "--lease", &micros];
    let way = ["--mode", "bridged", "--interface", "eth0", "--via", "proxy-arp"];
    let net = start(kit, &lan, &[&way[..], &leases].concat());
    let mut one = Kernel::join(kit, &net, "one");
    // What it was given has come by DHCP, without a word of ours.
    let mut micros = Guest::start_all(kit, &net, &["micro"]);
    let micro = &mut micros[0];
    assert_eq!(micro.address().to_string(), THEIRS);

    for there in [Who::Router, Who::One, Who::Two, Who::Host] {
        for to in there.addresses() {
            one.pings(to);
        }
        for to in ADDRESSES.into_iter().chain([THEIRS]) {
            ping_guest(&lan, there, to);
        }
        micro.ok(&format!("ping -c 3 -W 2 {}", there.addresses()[0]));
    }
    for to in [INTERNET, INTERNET6, THEIRS] {
        one.pings(to);
    }
    micro.ok(&format!(
        "ping -c 3 -W 2 {INTERNET} && ping -c 3 -W 2 {}",
        ADDRESSES[0]
    ));
    // A lease by DHCP in the namespace, too, is the same one.
    assert_eq!(one.lease(), ADDRESSES[0]);
    let (answer, _) = one.run(METADATA);
    assert!(answer.contains("Connection refused"), "{answer}");
    forwards_reach(&lan, &net, &mut one);

    drop((one, micros));
    let (status, _folder) = net.terminate();
    assert!(status.success());
    assert_only_known_stations(&lan, &frames);
    assert_ne!(
        frames.taken_by(&format!("src host {THEIRS}")),
        Vec::<String>::new()
    );
    assert_eq!(
        frames.taken_by("host 169.254.169.254 or udp port 67 and not host 192.168.77.1"),
        Vec::<String>::new()
    );
    lan.assert_host_is_as(&before);
}

#[test]
fn an_address_that_is_not_the_lans_is_refused_before_anything_is_done() {
    let (Some(kit), Some(lan)) = (Kit::find(), Lan::make(HostSide::Nic)) else {
        return;
    };
    let before = settled(&lan);
    let mut command = lan.command(Who::Host, &kit.atoll.display().to_string());
    command.args([
        "net",
        "run",
        "--mode",
        "bridged",
        "--interface",
        "eth0",
        "--via",
        "proxy-arp",
    ]);
    command.args(["--lease", &format!("{ONE}=192.168.78.60")]);
    let ended = command.stdin(Stdio::null()).output().unwrap();
    let words = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{words}");
    assert!(
        words.contains("192.168.78.60 is no address of the LAN of eth0"),
        "{words}"
    );
    assert!(
        words.contains("hint: the host is there as 192.168.77.10/24"),
        "{words}"
    );
    lan.assert_host_is_as(&before);
}

#[test]
fn a_bridge_that_goes_is_told_and_comes_back() {
    let (Some(kit), Some(lan)) = (Kit::find(), Lan::make(HostSide::Bridge)) else {
        return;
    };
    let net = start(kit, &lan, &["--mode", "bridged", "--interface", "br0"]);
    let mut kernel = Kernel::join(kit, &net, "one");
    kernel.lease();
    lan.ip(Who::Host, "link delete br0");
    let told = |words: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !net.words().contains(words) {
            assert!(Instant::now() < deadline, "{words}: {}", net.words());
            thread::sleep(Duration::from_millis(50));
        }
    };
    told("the uplink br0 does not work: there is no interface br0");
    lan.ip(Who::Host, "link add br0 type bridge forward_delay 0");
    lan.ip(Who::Host, "link set eth0 master br0");
    lan.ip(Who::Host, "link set br0 up");
    told("the uplink br0 is there again");
    kernel.pings(Who::One.addresses()[0]);
    let (status, _folder) = net.terminate();
    assert!(status.success());
}
