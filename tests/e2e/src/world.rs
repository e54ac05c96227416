//! A world for a network to reach: two network namespaces and a cable between them.
//!
//! `here` is where `atoll` is started, with addresses and a default route of both families and leave to open ping sockets;
//! `there` is the other end: a host, and the router to an address range of which it says that it is unreachable. Where the world
//! is made longer, it is also the router to a host `beyond`, behind a link that takes 1400 bytes.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// The host at the other end.
pub const THERE: &str = "198.18.7.2";
/// The same over IPv6.
pub const THERE6: &str = "2001:db8:7::2";
/// An address on the cable that nobody has.
pub const NOBODY: &str = "198.18.7.99";
/// An address that the router at the other end says is unreachable.
pub const UNREACHABLE: &str = "198.18.9.1";
/// The same over IPv6.
pub const UNREACHABLE6: &str = "2001:db8:9::1";

/// The host behind the router, where there is one.
pub const BEYOND: &str = "198.18.8.2";
/// The same over IPv6.
pub const BEYOND6: &str = "2001:db8:8::2";

/// The two namespaces, deleted when dropped, with the programs that were started there.
#[derive(Debug)]
pub struct World {
    here: String,
    there: String,
    beyond: String,
    programs: Vec<Child>,
}

impl World {
    /// Make it, or `None` where that is not permitted: then the reason was printed.
    ///
    /// # Panics
    /// When a command that should work for root does not.
    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    #[must_use]
    pub fn make() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces takes root");
            return None;
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", std::process::id());
        let world = Self {
            here: format!("atoll-{id}-here"),
            there: format!("atoll-{id}-there"),
            beyond: format!("atoll-{id}-beyond"),
            programs: Vec::new(),
        };
        let (here, there) = (&world.here, &world.there);
        for command in [
            format!("netns add {here}"),
            format!("netns add {there}"),
            format!("-n {here} link add cable type veth peer name cable netns {there}"),
            format!("-n {here} address add 198.18.7.1/24 dev cable"),
            format!("-n {there} address add {THERE}/24 dev cable"),
            format!("-n {here} link set lo up"),
            format!("-n {here} link set cable up"),
            format!("-n {there} link set cable up"),
            format!("-n {here} route add default via {THERE}"),
            format!("-n {there} route add unreachable 198.18.9.0/24"),
            format!("netns exec {there} sysctl -q -w net.ipv4.ip_forward=1"),
            format!("netns exec {there} sysctl -q -w net.ipv6.conf.all.forwarding=1"),
            format!("-n {here} address add 2001:db8:7::1/64 dev cable nodad"),
            format!("-n {there} address add {THERE6}/64 dev cable nodad"),
            format!("-n {here} -6 route add default via {THERE6}"),
            format!("-n {there} -6 route add unreachable 2001:db8:9::/64"),
        ] {
            ip(&command.split(' ').collect::<Vec<_>>());
        }
        ip(&[
            "netns",
            "exec",
            here,
            "sysctl",
            "-q",
            "-w",
            "net.ipv4.ping_group_range=0 2147483647",
        ]);
        Some(world)
    }

    /// Put a host behind the other end. The routers tell of every packet that ends with them, not of one a second.
    ///
    /// # Panics
    /// When a command that should work for root does not.
    pub fn lengthen(&self) {
        let (there, beyond) = (&self.there, &self.beyond);
        for command in [
            format!("netns add {beyond}"),
            format!("-n {beyond} link set lo up"),
            format!("-n {there} link add far type veth peer name far netns {beyond}"),
            format!("-n {there} address add 198.18.8.1/24 dev far"),
            format!("-n {beyond} address add {BEYOND}/24 dev far"),
            format!("-n {there} address add 2001:db8:8::1/64 dev far nodad"),
            format!("-n {beyond} address add {BEYOND6}/64 dev far nodad"),
            format!("-n {there} link set far up mtu 1400"),
            format!("-n {beyond} link set far up mtu 1400"),
            format!("-n {beyond} route add default via 198.18.8.1"),
            format!("-n {beyond} -6 route add default via 2001:db8:8::1"),
        ] {
            ip(&command.split(' ').collect::<Vec<_>>());
        }
        for namespace in [there, beyond] {
            for setting in ["net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"] {
                ip(&["netns", "exec", namespace, "sysctl", "-q", "-w", setting]);
            }
        }
    }

    /// The namespace in which the network is to run.
    #[must_use]
    pub fn here(&self) -> &str {
        &self.here
    }

    /// Take IPv6 from the namespace in which the network is to run.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn forget_ipv6(&self) {
        let setting = "net.ipv6.conf.all.disable_ipv6=1";
        ip(&["netns", "exec", &self.here, "sysctl", "-q", "-w", setting]);
    }

    /// Open something in the namespace in which the network is to run.
    ///
    /// # Panics
    /// When that panics, or the namespace cannot be entered.
    pub fn open_here<T: Send>(&self, open: impl FnOnce() -> T + Send) -> T {
        within(&self.here, open)
    }

    /// Open something at the other end.
    ///
    /// # Panics
    /// When that panics, or the namespace cannot be entered.
    pub fn open_there<T: Send>(&self, open: impl FnOnce() -> T + Send) -> T {
        within(&self.there, open)
    }

    /// Run a program at the other end until the world ends.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run_there(&mut self, program: &str, arguments: &[&str]) {
        self.run_in(&self.there.clone(), program, arguments);
    }

    /// Run a program at the host behind the other end until the world ends.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run_beyond(&mut self, program: &str, arguments: &[&str]) {
        self.run_in(&self.beyond.clone(), program, arguments);
    }

    /// Wait until something listens at each of these TCP ports there, over either family.
    ///
    /// # Panics
    /// When nothing does in good time.
    pub fn wait_beyond(&self, ports: &[u16]) {
        let deadline = Instant::now() + PATIENCE;
        let listens = |port: u16| {
            within(&self.beyond, || {
                TcpStream::connect((BEYOND, port)).is_ok() && TcpStream::connect((BEYOND6, port)).is_ok()
            })
        };
        while !ports.iter().all(|port| listens(*port)) {
            assert!(Instant::now() < deadline, "nothing listens at one of {ports:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn run_in(&mut self, namespace: &str, program: &str, arguments: &[&str]) {
        let child = Command::new("ip")
            .args(["netns", "exec", namespace, program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.programs.push(child.expect("ip starts, as it did before"));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for program in &mut self.programs {
            // It has ended already when these fail.
            let _ = program.kill();
            let _ = program.wait();
        }
        for namespace in [&self.here, &self.there, &self.beyond] {
            let _ = Command::new("ip")
                .args(["netns", "delete", namespace])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// On a thread of its own, for a thread does not come back. What it opens stays in the namespace, whoever uses it.
pub(crate) fn within<T: Send>(namespace: &str, open: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        let file = File::open(format!("/run/netns/{namespace}")).expect("ip made it");
        let entered = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
        entered.expect("root may enter it");
        open()
    };
    let opened = thread::scope(|scope| scope.spawn(enter).join());
    opened.expect("what is opened there does not panic")
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("iproute2 is installed");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {words}", arguments.join(" "));
}
