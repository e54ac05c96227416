//! A world for a network to reach: two network namespaces and a cable between them.
//!
//! `here` is where `atoll net run` is started, with an address, a default route and leave to open ping sockets; `there`
//! is the other end: a host, and the router to an address range of which it says that it is unreachable.

use std::process::{Child, Command, Stdio};

/// The host at the other end.
pub const THERE: &str = "198.18.7.2";
/// An address on the cable that nobody has.
pub const NOBODY: &str = "198.18.7.99";
/// An address that the router at the other end says is unreachable.
pub const UNREACHABLE: &str = "198.18.9.1";

/// The two namespaces, deleted when dropped, with the programs that were started there.
#[derive(Debug)]
pub struct World {
    here: String,
    there: String,
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
        let id = std::process::id();
        let world = Self {
            here: format!("atoll-{id}-here"),
            there: format!("atoll-{id}-there"),
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

    /// The namespace in which the network is to run.
    #[must_use]
    pub fn here(&self) -> &str {
        &self.here
    }

    /// Run a program at the other end until the world ends.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run_there(&mut self, program: &str, arguments: &[&str]) {
        let child = Command::new("ip")
            .args(["netns", "exec", &self.there, program])
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
        for namespace in [&self.here, &self.there] {
            let _ = Command::new("ip")
                .args(["netns", "delete", namespace])
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("iproute2 is installed");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {words}", arguments.join(" "));
}
