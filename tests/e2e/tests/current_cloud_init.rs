//! A current cloud-init (Debian 13 has 25.1) with its seed at a URL in the serial number as `up` writes it, with
//! `dsmode=net`; in `by_hand.rs` it is as people write it, without. One machine has both families and two NICs, the other has a network without
//! IPv4, where it finds its documents, names, packages and logins all the same. At what programs of either listen appears
//! on the host. Both boot at the same time, and are asked at the same time.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use atoll_e2e::{Cluster, Exec, Files, Kit, LONG_PATIENCE, PATIENCE, Web, debian_disk, with_namespaces};
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const FILE: &str = "
networks:
  lan: {ipv6: fd77:67::/64, host-loopback: true, loopback: true}
  side: {}
  six: {subnet: off, ipv6: fd77:66::/64, host-loopback: true, loopback: true}
defaults:
  image: built:debian-trixie
  accel: tcg
  memory: 1G
  forwards: ['*,except=9999']
  user-data: |
    #cloud-config
    write_files: [{path: /etc/by-up, content: told by user-data}]
machines:
  both: {nics: [lan, side]}
  six: {nics: [six]}
";

/// What a guest without privileges says of itself, one line for each claim.
const LIFE: &str = r#"
cloud-init --version 2>&1
echo "name $(hostname), $(cat /etc/by-up)"
cloud-init status --long
ip -o address show dev eth0 scope global
for default in "$(ip -4 route show default)" "$(ip -6 route show default dev eth0)"; do echo "$default"; done
echo "own $(getent ahostsv6 $(hostname).demo.internal | head -n 1 | cut -d' ' -f1)"
ping -6 -c 1 -W 20 gateway.demo.internal
"#;

/// Packages by name and over IPv6 alone, from a repository of one package at this port of the host.
fn packages(port: u16) -> String {
    format!(
        "echo 'deb [trusted=yes] http://host.demo.internal:{port}/ ./' >/tmp/six.list
        set -- -o Acquire::ForceIPv6=true -o Acquire::Languages=none -o Dir::Etc::sourcelist=/tmp/six.list -o Dir::Etc::sourceparts=-
        sudo apt-get \"$@\" update 2>&1 && apt-cache \"$@\" policy atoll-probe"
    )
}

const REPOSITORY: &str = "Package: atoll-probe\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n\
    Filename: ./probe.deb\nSize: 1\nDescription: nothing\n";

/// Whoever connects is told the port at which the guest listens.
const LISTENERS: &str = "sudo systemd-run --quiet --unit listeners python3 -c '
import selectors, socket
waiting = selectors.DefaultSelector()
for place in ((\"::\", 8080), (\"::\", 8081), (\"::\", 9999), (\"::1\", 7777)):
    family = dict(family=socket.AF_INET6, dualstack_ipv6=place[0] == \"::\")
    waiting.register(socket.create_server(place, **family), selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        client, _ = key.fileobj.accept()
        client.sendall(b\"%d\" % key.fileobj.getsockname()[1])
        client.close()
'";

/// One of the two machines.
struct Machine<'a> {
    cluster: &'a Cluster,
    name: &'static str,
}

impl Machine<'_> {
    fn says(&self, command: &str) -> String {
        self.cluster.ok(&["ssh", self.name, "--", command])
    }

    /// Configured by the documents from this place, at the address that it was told, with the names and the packages of the network.
    fn lives(&self, seed: &str, web: Option<&Web>) {
        let packages = web.map(|web| packages(web.address.port())).unwrap_or_default();
        let said = self.says(&format!("{LIFE}{packages}"));
        let own = self.cluster.nic(self.name, 0)["address6"].clone();
        let own = own.as_str().unwrap();
        let name = format!("name {}, told by user-data\n", self.name);
        let seed = format!("DataSourceNoCloudNet [seed=dmi,http://{seed}");
        let of_life = [
            " 25.",
            &name,
            "status: done\n",
            &seed,
            &format!(" inet6 {own}/"),
            " via fe80::1 ",
            &format!("own {own}\n"),
            " 1 received",
        ];
        let of_packages = ["http://host.demo.internal:", "Candidate: 1.0"];
        let of_packages = of_packages.iter().filter(|_| web.is_some());
        for words in of_life.iter().chain(of_packages) {
            assert!(said.contains(words), "{}: {words} is missing:\n{said}", self.name);
        }
        let metrics: &[&str] = if self.name == "both" { &["100", "200"] } else { &[] };
        assert_eq!(metrics_of_networkd(&said), metrics, "{said}");
        assert_eq!(said.contains(" inet 10."), self.name == "both", "{said}");
    }

    /// Ports that appear and go with a program of the guest; one of them is somebody else's on the host.
    fn is_heard(&self) {
        let own = self.own_loopback();
        let taken = TcpListener::bind((own, 8081)).unwrap();
        let _ = self.says(LISTENERS);
        let at = |port| SocketAddr::new(own, port);
        until(|| told_by(at(8080)).as_deref() == Some("8080"));
        until(|| told_by(at(8082)).as_deref() == Some("8081"));
        for left_out in [9999, 7777] {
            assert_eq!(told_by(at(left_out)), None, "{left_out} of {}", self.name);
        }
        drop(taken);
        let _ = self.says("sudo systemctl stop listeners");
        until(|| TcpStream::connect(at(8080)).is_err() && TcpStream::connect(at(8082)).is_err());
    }

    /// Its address of the host's loopback.
    fn own_loopback(&self) -> IpAddr {
        let listed = self.cluster.ok(&["ls", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let mut machines = listed["machines"].as_array().unwrap().iter();
        let own = machines.find(|it| it["name"] == self.name).unwrap();
        own["loopback"].as_str().unwrap().parse().unwrap()
    }
}

#[test]
fn a_current_cloud_init_takes_its_seed_from_up_over_either_family() {
    let Some(kit) = Kit::find() else { return };
    // Without this one only root may ping.
    let _ = debian_disk(kit, Some("trixie"), &["linux-sysctl-defaults"]);
    let cluster = Cluster::of(kit, FILE);
    // Two cores that are busy with something else boot them all the same.
    let _ = cluster.ok(&["up", "--timeout", "1200"]);
    let machine = |name| Machine {
        cluster: &cluster,
        name,
    };
    let (both, six) = (machine("both"), machine("six"));
    // A host whose loopback has no IPv6 has no server there.
    let listener = TcpListener::bind("[::1]:0").ok();
    let files = Files::from([("/./Packages".to_owned(), REPOSITORY.as_bytes().to_vec())]);
    let web = listener.map(|listener| Web::serve(listener, files).unwrap());
    let web = web.as_ref();
    thread::scope(|scope| {
        scope.spawn(|| {
            both.lives("10.", web);
            both.is_heard();
        });
        six.lives("[fd77:66::1]/", web);
        six.is_heard();
    });
    logs_in_by_name(&cluster);
}

/// From another host of the network without IPv4, which knows the machine by its AAAA record alone.
fn logs_in_by_name(cluster: &Cluster) {
    let Some(atoll) = with_namespaces() else { return };
    let hosts = cluster.folder().join("hosts");
    std::fs::write(&hosts, cluster.ok(&["ssh-config"])).unwrap();
    let join = format!("unix:{}", cluster.api().display());
    let script = format!(
        "ip -4 -o address show dev tap0 | wc -l
        ssh -F {} -o HostName=six.demo.internal -o Port=22 six hostname",
        hosts.display()
    );
    let said = Exec::start(atoll, &["--join", &join, "--network", "six"], &script).ok();
    assert_eq!(said, "0\nsix\n");
}

/// The metrics of routes by DHCP, which only the network-config names: the proof that it was applied.
fn metrics_of_networkd(said: &str) -> Vec<String> {
    let routes = said
        .lines()
        .filter(|line| line.starts_with("default ") && line.contains(" proto dhcp "));
    let metric = |line: &str| Some(line.split_once(" metric ")?.1.split(' ').next()?.to_owned());
    let mut metrics: Vec<String> = routes.filter_map(metric).collect();
    metrics.sort();
    metrics
}

/// What whoever listens there says; `None` where nobody does, or where the guest refuses.
fn told_by(place: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(place).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut told = String::new();
    let _ = stream.read_to_string(&mut told).ok()?;
    Some(told).filter(|told| !told.is_empty())
}

fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG_PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not so within {LONG_PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
