//! A LAN in network namespaces: a router with a DHCP server, two other hosts, and the host on which `atoll` is to run.
//!
//! ```text
//!  router ── sw (a bridge: 192.168.77.1, 2001:db8:77::1; dnsmasq: DHCP and router advertisements)
//!   │        ├── one   192.168.77.11, 2001:db8:77::11
//!   │        ├── two   192.168.77.12, 2001:db8:77::12
//!   │        └── host  192.168.77.10, 2001:db8:77::10  on its NIC `eth0`, or on the bridge `br0` over it
//!   └── the internet: 198.51.100.7, 2001:db8:ff::7
//! ```
//!
//! Everything is deleted when it is dropped, and nothing of the machine's own network is touched.

use crate::PATIENCE;
use crate::world::within;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the internet is.
pub const INTERNET: &str = "198.51.100.7";
/// The same over IPv6.
pub const INTERNET6: &str = "2001:db8:ff::7";

/// Who is on the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Gives addresses, and leads to the internet.
    Router,
    /// A host.
    One,
    /// Another one.
    Two,
    /// Where `atoll` is started.
    Host,
}

impl Who {
    const ALL: [Self; 4] = [Self::Router, Self::One, Self::Two, Self::Host];

    const fn word(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::One => "one",
            Self::Two => "two",
            Self::Host => "host",
        }
    }

    /// Its addresses on the LAN, IPv4 first.
    #[must_use]
    pub const fn addresses(self) -> [&'static str; 2] {
        match self {
            Self::Router => ["192.168.77.1", "2001:db8:77::1"],
            Self::One => ["192.168.77.11", "2001:db8:77::11"],
            Self::Two => ["192.168.77.12", "2001:db8:77::12"],
            Self::Host => ["192.168.77.10", "2001:db8:77::10"],
        }
    }
}

/// How the host is on the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSide {
    /// Its NIC `eth0` has the addresses.
    Nic,
    /// A bridge `br0` over `eth0` has them.
    Bridge,
}

/// The LAN.
#[derive(Debug)]
pub struct Lan {
    id: String,
    dnsmasq: Option<Child>,
    folder: TempDir,
}

impl Lan {
    /// Makes it, or `None` where that is not possible: then the reason was printed.
    ///
    /// # Panics
    /// When a command that should work for root does not, or with the reason where `ATOLL_E2E` is `required`.
    #[must_use]
    pub fn make(side: HostSide) -> Option<Self> {
        if let Err(reason) = possible() {
            crate::kit::skip(&reason);
            return None;
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut lan = Self {
            id: format!("atoll-{}-{number}", std::process::id()),
            dnsmasq: None,
            folder: TempDir::with_prefix("atoll-lan-").expect("a folder for leases"),
        };
        for who in Who::ALL {
            ip(&["netns", "add", &lan.namespace(who)]);
            lan.set(
                who,
                "net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.dad_transmits=0",
            );
            lan.ip(who, "link set lo up");
        }
        lan.make_router();
        for who in [Who::One, Who::Two, Who::Host] {
            lan.plug_in(who);
        }
        for who in [Who::One, Who::Two] {
            lan.address(who, "eth0");
        }
        if side == HostSide::Bridge {
            lan.ip(
                Who::Host,
                "link add br0 address 02:00:00:77:00:0a type bridge forward_delay 0",
            );
            lan.ip(Who::Host, "link set eth0 master br0");
            lan.ip(Who::Host, "link set br0 up");
        }
        lan.address(Who::Host, if side == HostSide::Bridge { "br0" } else { "eth0" });
        lan.start_dnsmasq();
        // Even without asking whether an address is anybody's, the kernel takes its time to believe in it.
        let _ = lan.ok(
            Who::Host,
            "while ip -6 address show tentative | grep -q inet6; do sleep 0.1; done",
        );
        Some(lan)
    }

    /// The name of somebody's network namespace.
    #[must_use]
    pub fn namespace(&self, who: Who) -> String {
        format!("{}-{}", self.id, who.word())
    }

    fn make_router(&self) {
        let router = Who::Router;
        self.ip(router, "link add sw type bridge forward_delay 0 mcast_snooping 0");
        self.ip(router, "link set sw up");
        self.ip(router, "address add 192.168.77.1/24 dev sw");
        self.ip(router, "address add 2001:db8:77::1/64 dev sw nodad");
        self.ip(router, &format!("address add {INTERNET}/32 dev lo"));
        self.ip(router, &format!("address add {INTERNET6}/128 dev lo nodad"));
        self.set(router, "net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    }

    /// A cable from the switch to `eth0` of a host.
    fn plug_in(&self, who: Who) {
        let (cable, peer) = (who.word(), self.namespace(who));
        self.ip(
            Who::Router,
            &format!("link add {cable} type veth peer name eth0 netns {peer}"),
        );
        self.ip(Who::Router, &format!("link set {cable} master sw"));
        self.ip(Who::Router, &format!("link set {cable} up"));
        self.ip(who, "link set eth0 up");
    }

    fn address(&self, who: Who, interface: &str) {
        let [v4, v6] = who.addresses();
        self.ip(who, &format!("address add {v4}/24 dev {interface}"));
        self.ip(who, &format!("address add {v6}/64 dev {interface} nodad"));
        self.ip(
            who,
            &format!("route add default via 192.168.77.1 dev {interface}"),
        );
        self.ip(
            who,
            &format!("-6 route add default via 2001:db8:77::1 dev {interface}"),
        );
    }

    fn start_dnsmasq(&mut self) {
        let leases = self.folder.path().join("leases");
        let mut command = self.command(Who::Router, "dnsmasq");
        command
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--pid-file=",
                "--user=root",
            ])
            .args([
                "--interface=sw",
                "--bind-interfaces",
                "--except-interface=lo",
                "--port=0",
            ])
            .args([
                "--dhcp-range=192.168.77.100,192.168.77.150,1h",
                "--dhcp-authoritative",
                "--no-ping",
            ])
            .args([
                "--enable-ra",
                "--dhcp-range=2001:db8:77::,ra-only,64,1h",
                "--log-facility=/dev/null",
            ])
            .arg(format!("--dhcp-leasefile={}", leases.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.dnsmasq = Some(command.spawn().expect("dnsmasq was found"));
    }

    /// What the DHCP server has given, a line a lease.
    #[must_use]
    pub fn leases(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("leases")).unwrap_or_default()
    }

    /// A command in somebody's namespace.
    #[must_use]
    pub fn command(&self, who: Who, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(who), program]);
        command
    }

    /// Runs a shell script in somebody's namespace; gives what it wrote, and its status.
    ///
    /// # Panics
    /// When there is no shell.
    #[must_use]
    pub fn run(&self, who: Who, script: &str) -> Output {
        let mut command = self.command(who, "sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command.output().expect("ip was found")
    }

    /// As [`Lan::run`] for what must succeed.
    ///
    /// # Panics
    /// With what it said, when it does not.
    pub fn ok(&self, who: Who, script: &str) -> String {
        let output = self.run(who, script);
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script} at {who:?}: {said}\n{words}");
        said
    }

    /// Whether somebody's ping of an address is answered, within some seconds.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "addresses of several types, most of them small"
    )]
    #[must_use]
    pub fn pings(&self, who: Who, address: impl ToString) -> bool {
        let script = format!(
            "ping -c 1 -W 2 {0} || ping -c 5 -i 0.5 -W 2 {0}",
            address.to_string()
        );
        self.run(who, &script).status.success()
    }

    /// Opens something in somebody's namespace.
    ///
    /// # Panics
    /// When that panics.
    pub fn open<T: Send>(&self, who: Who, open: impl FnOnce() -> T + Send) -> T {
        within(&self.namespace(who), open)
    }

    /// `ip` in somebody's namespace.
    ///
    /// # Panics
    /// When it fails.
    pub fn ip(&self, who: Who, arguments: &str) {
        let namespace = self.namespace(who);
        let mut words = vec!["-n", &namespace];
        words.extend(arguments.split(' '));
        ip(&words);
    }

    fn set(&self, who: Who, settings: &str) {
        let _ = self.ok(who, &format!("sysctl -q -w {settings}"));
    }

    /// All that can be set of the host's network, as text: links, addresses, routes, rules, forwarding tables, nftables, sysctls.
    #[must_use]
    pub fn host_state(&self) -> String {
        let script = "ip -o link show | sed 's/ state [A-Z]* / /'; ip -o address show | sed 's/valid_lft.*//'; ip rule; ip -6 rule; \
            ip route show table all; ip -6 route show table all | sed 's/ expires [0-9]*sec//'; \
            ip neighbour show proxy; ip -6 neighbour show proxy; bridge link show; bridge vlan show; nft list ruleset; \
            sysctl -a 2>/dev/null | grep '^net\\.' | grep -v -e conntrack_count -e neigh | sort";
        self.ok(Who::Host, script)
    }

    /// Waits until the host's network is what it was.
    ///
    /// # Panics
    /// With the lines that differ, when it does not become so.
    pub fn assert_host_is_as(&self, before: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.host_state();
            if now == before {
                return;
            }
            if Instant::now() >= deadline {
                panic!(
                    "the host's network is not what it was:\n{}",
                    differences(before, &now)
                );
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Listens with TCP at one of somebody's addresses and says who asked, until the returned program is dropped.
    ///
    /// # Panics
    /// When it cannot.
    pub fn listens(&self, who: Who, port: u16) -> std::net::SocketAddr {
        let address: IpAddr = who.addresses()[0].parse().expect("an address");
        let listener = self.open(who, || std::net::TcpListener::bind((address, port)));
        let listener = listener.expect("the port is free");
        let bound = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let peer = stream.peer_addr().map(|peer| peer.ip().to_string());
                let _ = stream.write_all(peer.unwrap_or_default().as_bytes());
            }
        });
        bound
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        if let Some(dnsmasq) = &mut self.dnsmasq {
            // It has ended already when these fail.
            let _ = dnsmasq.kill();
            let _ = dnsmasq.wait();
        }
        for who in Who::ALL {
            let _ = Command::new("ip")
                .args(["netns", "delete", &self.namespace(who)])
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("making network namespaces takes root".to_owned());
    }
    for (program, package) in [
        ("ip", "iproute2"),
        ("dnsmasq", "dnsmasq-base"),
        ("nft", "nftables"),
    ] {
        let found = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // `ip` knows another word for it, and fails; that it starts is enough.
        found.map_err(|error| format!("{program} cannot be run ({error}): Debian has it in {package}"))?;
    }
    Ok(())
}

fn differences(before: &str, now: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), now.lines().collect());
    let gone = old
        .iter()
        .filter(|line| !new.contains(line))
        .map(|line| format!("- {line}\n"));
    let come = new
        .iter()
        .filter(|line| !old.contains(line))
        .map(|line| format!("+ {line}\n"));
    gone.chain(come).collect()
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip was found");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {words}", arguments.join(" "));
}
