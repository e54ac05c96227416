//! A host with a LAN, for the privileged helper: a network and a mount namespace with users, sudo and a policy of their own.
//!
//! `cable` leads to the LAN, where `far` is a host with addresses of both families; `br0` is a bridge whose one port leads to another host
//! there. Nothing of the real host's network or files is changed: `/etc`, `/run` and `/usr/libexec` are other file systems inside. All
//! of it goes when the process that holds the namespaces is killed.

use crate::PATIENCE;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The user who is not root.
const ANNA: &str = "41000";

/// Run inside, with the folder of the programs as its argument. Whatever fails ends it.
const SETUP: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=0755 etc /mnt
cp -a /etc/passwd /etc/group /etc/shadow /etc/pam.d /etc/security /etc/nsswitch.conf /etc/ld.so.cache /etc/ld.so.conf* /etc/login.defs /etc/iproute2 /mnt 2>/dev/null || true
cp -a /etc/alternatives /mnt
mount --bind /mnt /etc
mount -t tmpfs -o mode=0755 run /run
# The parts of sudo that it loads lie where the helper's folder is made.
[ ! -d /usr/libexec/sudo ] || cp -a /usr/libexec/sudo /run/kept
mount -t tmpfs -o mode=0755 libexec /usr/libexec
[ ! -d /run/kept ] || mv /run/kept /usr/libexec/sudo
mount -t sysfs sys /sys
echo 'anna:x:41000:41000::/:/bin/sh' >>/etc/passwd
echo 'anna:*:19000:0:99999:7:::' >>/etc/shadow
printf 'anna:x:41000:\natoll:x:41001:anna\n' >>/etc/group
echo '@includedir /etc/sudoers.d' >/etc/sudoers
mkdir -m 0750 /etc/sudoers.d
chmod 0440 /etc/sudoers
mkdir -p /etc/atoll /usr/libexec/atoll
install -m 0755 "$1/atoll-helper" /usr/libexec/atoll/
install -m 0755 "$1/lan_client" "$1/acceptor" "$1/atoll" /run/
/run/atoll setup sudoers >/etc/sudoers.d/atoll-helper
chmod 0440 /etc/sudoers.d/atoll-helper
cat >/etc/atoll/helper.conf <<POLICY
allow group=atoll bridged interface=br0
allow user=anna bridged interface=cable via=macvtap,new-bridge
allow user=anna bridged interface=cable via=proxy-arp address=10.9.0.48/28,2001:db8:9::/64
allow user=anna shared
allow user=anna host subnet=192.168.0.0/16
POLICY
ip link set lo up
mkdir /run/netns
ip netns add far
ip netns add other
ip link add cable type veth peer name cable netns far
ip link add port type veth peer name cable netns other
ip link add br0 type bridge
ip link set port master br0
for it in cable port br0; do ip link set $it up; done
ip addr add 10.9.0.2/24 dev cable
ip addr add 2001:db8:9::2/64 dev cable nodad
ip addr add 10.8.0.1/24 dev br0
ip route add default via 10.9.0.1
ip route add 10.66.0.0/16 via 10.9.0.7 metric 7 table 66
ip -6 route add default via 2001:db8:9::1
ip -n far link set lo up
ip -n far addr add 10.9.0.1/24 dev cable
ip -n far addr add 2001:db8:9::1/64 dev cable nodad
ip -n far link set cable up
ip -n other addr add 10.8.0.9/24 dev cable
ip -n other link set cable up
nft 'add table inet own; add chain inet own forward { type filter hook forward priority 5; policy accept; }'
# Until no address is tentative and the bridge's port learns.
for i in $(seq 200); do ip addr | grep -q tentative || break; sleep 0.05; done
echo ready
exec sleep 1000
"#;

/// All that an interface, an address, a route, a rule or a setting shows itself in; without what counts time.
const PICTURE: &str = r#"
ip -d link | sed -E 's/ (hello|tcn|topology_change|gc|hold|message_age|forward_delay)_timer +[0-9.]+//g'
ip addr
ip -6 addr
ip route show table all
ip -6 route show table all
ip neigh show proxy
ip rule
nft list ruleset
cd /proc/sys/net
find . -type f \( -path '*/conf/*' -o -path '*/neigh/*' -o -name ip_forward -o -name 'bridge*' \) ! -name stable_secret | sort |
    xargs grep -H . 2>/dev/null
# A link may go while its settings are read.
true
"#;

/// Where systemd listens.
const SOCKET: &str = "/run/atoll-helper.sock";

/// `CapabilityBoundingSet` of packaging/systemd/atoll-helper@.service.
const UNIT_BOUNDS: &str = "-all,+net_admin,+mknod,+sys_admin,+sys_chroot,+setuid,+setgid,+setpcap";

/// Starts a helper for each connection, until it is dropped.
#[derive(Debug)]
pub struct Acceptor {
    child: Child,
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // It has ended already when these fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The host, until it is dropped.
#[derive(Debug)]
pub struct LanHost {
    holder: Child,
}

impl LanHost {
    /// Make it, or `None` where that is not permitted or a program is missing: then the reason was printed.
    ///
    /// # Panics
    /// When a command that should work for root does not; or when end-to-end tests are required.
    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    #[must_use]
    pub fn make(atoll: &Path) -> Option<Self> {
        let folder = atoll.parent()?;
        let missing = if !rustix::process::geteuid().is_root() {
            Some("making network namespaces takes root".to_owned())
        } else if !folder.join("atoll-helper").is_file() {
            Some(format!("there is no atoll-helper in {}", folder.display()))
        } else {
            let programs = ["/usr/bin/sudo", "/usr/bin/nsenter", "/usr/bin/setpriv"];
            programs
                .iter()
                .find(|it| !Path::new(it).is_file())
                .map(|it| format!("{it} is missing"))
        };
        if let Some(reason) = missing {
            let is_required = std::env::var_os("ATOLL_E2E").is_some_and(|value| value == "required");
            assert!(!is_required, "end-to-end tests are required, but {reason}");
            eprintln!("skipped: {reason}");
            return None;
        }
        let mut holder = Command::new("unshare")
            .args(["-n", "-m", "sh", "-c", SETUP, "sh"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux is installed");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it is text");
        let host = Self { holder };
        assert_eq!(line, "ready\n", "the host was not made");
        Some(host)
    }

    /// Run a script as root of the host.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn run(&self, script: &str) -> String {
        let output = self
            .enter()
            .args(["sh", "-c", script])
            .output()
            .expect("util-linux is installed");
        words(&output, script)
    }

    /// Run a script as the user; its output and whether it succeeded.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run_as_anna(&self, script: &str) -> (String, bool) {
        let mut command = self.enter();
        command.args(become_anna()).args(["sh", "-c", script]);
        let output = command.output().expect("util-linux is installed");
        let both = [&output.stdout[..], &output.stderr].concat();
        (
            String::from_utf8_lossy(&both).into_owned(),
            output.status.success(),
        )
    }

    /// What it looks like.
    #[must_use]
    pub fn picture(&self) -> String {
        self.run(PICTURE)
    }

    /// Wait until it looks like that again; what is different in the end.
    #[must_use]
    pub fn difference(&self, before: &str) -> String {
        let mut difference = String::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let now = self.picture();
            if now == before {
                return String::new();
            }
            difference.clear();
            let gone = before.lines().filter(|line| !now.lines().any(|it| it == *line));
            let come = now.lines().filter(|line| !before.lines().any(|it| it == *line));
            for line in gone {
                let _ = writeln!(difference, "- {line}");
            }
            for line in come {
                let _ = writeln!(difference, "+ {line}");
            }
            if difference.is_empty() {
                difference.push_str("the order of the lines");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        difference
    }

    /// A client of the helper, run by the user.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn client(&self) -> LanClient {
        let mut child = self
            .enter()
            .args(become_anna())
            .arg("/run/lan_client")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux is installed");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        LanClient { child, input, output }
    }

    /// Listens as systemd does for the socket of the package, and with no more rights than the package's unit leaves; until dropped.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    pub fn acceptor(&self) -> Acceptor {
        let child = self
            .enter()
            .args(["setpriv", "--no-new-privs", "--bounding-set", UNIT_BOUNDS])
            .args(["/run/acceptor", SOCKET, "/usr/libexec/atoll/atoll-helper"])
            .stdin(Stdio::null())
            .spawn()
            .expect("util-linux is installed");
        let made = Acceptor { child };
        let _ = self.run(&format!(
            "for i in $(seq 200); do [ -S {SOCKET} ] && exit; sleep 0.05; done; exit 1"
        ));
        made
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-m", "-n"]);
        command
    }
}

impl Drop for LanHost {
    fn drop(&mut self) {
        // It has ended already when these fail.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn become_anna() -> [&'static str; 6] {
    ["setpriv", "--reuid", ANNA, "--regid", ANNA, "--init-groups"]
}

fn words(output: &Output, script: &str) -> String {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A client of the helper; dropping it ends its session.
#[derive(Debug)]
pub struct LanClient {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl LanClient {
    /// One command, and what comes of it.
    ///
    /// # Panics
    /// When the client has ended.
    pub fn tell(&mut self, line: &str) -> String {
        let input = self.input.as_mut().expect("it is closed at the end only");
        writeln!(input, "{line}").expect("the client reads");
        let mut answer = String::new();
        let _ = self
            .output
            .read_line(&mut answer)
            .expect("the client answers text");
        answer.trim_end().to_owned()
    }

    /// End it without a chance to say good-bye.
    ///
    /// # Panics
    /// When it has ended.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        let _ = self.child.wait();
    }
}

impl Drop for LanClient {
    fn drop(&mut self) {
        self.input = None;
        // Its status says nothing that its answers have not said.
        let _ = self.child.wait();
    }
}
