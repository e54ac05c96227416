//! `atoll doctor`: what it says of this host is what a test observes by its own means, in places made good and bad on purpose.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use atoll_e2e::with_namespaces;
use rustix::net::{AddressFamily, SocketType, ipproto, socket};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The binary where every user can run it, and a home for whoever does.
struct Place {
    folder: tempfile::TempDir,
    atoll: PathBuf,
}

/// What one run said.
struct Said {
    report: Value,
    status: Option<i32>,
    stderr: String,
}

impl Place {
    fn new() -> Option<Self> {
        let atoll = with_namespaces()?;
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let copy = folder.path().join("atoll");
        fs::copy(atoll, &copy).unwrap();
        let place = Self { folder, atoll: copy };
        for open in [place.folder.path().to_owned(), place.home()] {
            fs::create_dir_all(&open).unwrap();
            fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        }
        Some(place)
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A command with this home, and nothing of ours in its environment that could lead elsewhere.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", self.home()).env("DOCTOR", &self.atoll);
        for variable in [
            "ATOLL_HOME",
            "XDG_CACHE_HOME",
            "XDG_STATE_HOME",
            "XDG_RUNTIME_DIR",
        ] {
            command.env_remove(variable);
        }
        command
    }

    fn doctor(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(&self.atoll);
        said(
            &command
                .arg("doctor")
                .args(arguments)
                .arg("--json")
                .output()
                .unwrap(),
        )
    }

    /// Runs `script`, which runs `$DOCTOR`, in namespaces made by `unshare` with these options.
    fn inside(&self, options: &[&str], script: &str) -> Said {
        let mut command = self.command("unshare");
        command.args(options).args(["bash", "-ec", script]);
        said(&command.output().unwrap())
    }
}

fn said(output: &Output) -> Said {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    Said {
        report: report.unwrap_or_else(|error| panic!("{error}: {output:?}")),
        status: output.status.code(),
        stderr,
    }
}

impl Said {
    /// The check of a name.
    fn of(&self, name: &str) -> &Value {
        let mut checks = self.report["checks"].as_array().unwrap().iter();
        let found = checks.find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {:#}", self.report))
    }

    fn is(&self, name: &str, status: &str) -> bool {
        self.of(name)["status"] == status
    }

    fn found(&self, name: &str) -> &str {
        self.of(name)["found"].as_str().unwrap()
    }

    fn fix(&self, name: &str) -> &str {
        self.of(name)["fix"].as_str().unwrap_or_default()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

#[test]
fn a_tap_can_be_made_exactly_where_a_command_gets_one() {
    let Some(place) = Place::new() else { return };
    let exec = |command: &mut Command| command.args(["net", "exec", "--", "true"]).status().unwrap();
    let own = place.doctor(&["--area", "namespaces"]);
    assert!(exec(&mut place.command(&place.atoll)).success());
    for name in ["user-namespace", "network-namespace", "tap"] {
        assert!(own.is(name, "ok"), "{:#}", own.report);
    }
    if !is_root() {
        return;
    }
    for (mode, status) in [("0600", "fail"), ("0666", "ok")] {
        let device =
            format!("mount -t tmpfs -o mode=0755 tmpfs /dev/net; mknod -m {mode} /dev/net/tun c 10 200");
        let script = format!(
            "{device}; {NOBODY} \"$DOCTOR\" net exec -- true 2>/dev/null && echo works >&2; \
             {NOBODY} \"$DOCTOR\" doctor --area namespaces --json"
        );
        let said = place.inside(&["--mount"], &script);
        assert!(said.is("tap", status), "{mode}: {:#}", said.report);
        assert_eq!(
            said.stderr.contains("works"),
            status == "ok",
            "{mode}: {}",
            said.stderr
        );
        if status == "fail" {
            assert!(
                said.found("tap").contains("its mode is 0600"),
                "{:#}",
                said.report
            );
            assert!(said.fix("tap").contains("chmod 0666"), "{:#}", said.report);
            assert_eq!(said.status, Some(0), "`up` needs no TAP");
        }
    }
}

#[test]
fn user_namespaces_that_are_forbidden_are_told_with_the_setting() {
    let Some(place) = Place::new() else { return };
    let options = [
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
    ];
    let script = "echo 0 >/proc/sys/user/max_user_namespaces; \"$DOCTOR\" doctor --area namespaces --json";
    let said = place.inside(&options, script);
    assert!(said.is("user-namespace", "fail"), "{:#}", said.report);
    assert!(
        said.fix("user-namespace").contains("user.max_user_namespaces"),
        "{:#}",
        said.report
    );
}

#[test]
fn ping_sockets_are_told_as_they_open() {
    let Some(place) = Place::new() else { return };
    let opens = socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP)).is_ok();
    let own = place.doctor(&["--area", "network"]);
    assert_eq!(own.is("ping", "ok"), opens, "{:#}", own.report);
    if !is_root() {
        return;
    }
    for (range, status) in [("1 0", "fail"), ("0 2147483647", "ok"), ("65535 65535", "fail")] {
        let script = format!(
            "echo {range} >/proc/sys/net/ipv4/ping_group_range; \"$DOCTOR\" doctor --area network --json"
        );
        let said = place.inside(&["--net"], &script);
        assert!(said.is("ping", status), "{range}: {:#}", said.report);
        if status == "fail" {
            assert!(
                said.found("ping").contains(&format!("is {range},")),
                "{:#}",
                said.report
            );
            assert!(said.fix("ping").contains("0 2147483647"), "{:#}", said.report);
        }
    }
}

/// A ROM whose first instructions end QEMU with status 99, by its debugging device: 2 * 49 + 1.
fn tiny_rom(folder: &Path) -> PathBuf {
    const SIZE: usize = 64 << 10;
    /// mov al, 49; out 0xf4, al; 1: hlt; jmp 1b
    const RESET: [u8; 7] = [0xb0, 0x31, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd];
    let mut rom = vec![0xf4; SIZE];
    rom[SIZE - 16..][..RESET.len()].copy_from_slice(&RESET);
    let path = folder.join("rom");
    fs::write(&path, rom).unwrap();
    path
}

#[test]
fn an_accelerator_works_where_a_machine_starts_with_it() {
    let Some(place) = Place::new() else { return };
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let rom = tiny_rom(place.folder.path());
    let starts = |accel: &str, cpu: &str| {
        let mut command = Command::new("timeout");
        command.args([
            "--signal=KILL",
            "30",
            "qemu-system-x86_64",
            "-machine",
            "q35",
            "-nodefaults",
        ]);
        command
            .args(["-display", "none", "-accel", accel, "-cpu", cpu, "-bios"])
            .arg(&rom);
        command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]);
        command.output().unwrap().status.code() == Some(99)
    };
    let said = place.doctor(&["--area", "machines", "--fresh"]);
    assert_eq!(said.is("tcg", "ok"), starts("tcg", "max"), "{:#}", said.report);
    // A kvm may start a machine and be of no use all the same: that is what the doctor's own trial is for.
    assert!(
        !said.is("kvm", "ok") || starts("kvm", "host"),
        "{:#}",
        said.report
    );
    assert!(
        said.is("kvm", "ok") || !said.fix("kvm").is_empty(),
        "{:#}",
        said.report
    );
    let version = Command::new("qemu-system-x86_64")
        .arg("--version")
        .output()
        .unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let number = version.split_whitespace().nth(3).unwrap();
    assert!(
        said.found("qemu").contains(&format!("QEMU {number}")),
        "{:#}",
        said.report
    );
    assert_eq!(said.status, Some(0), "{:#}", said.report);
}

#[test]
fn without_a_qemu_in_path_up_cannot_work_and_the_package_is_named() {
    let Some(place) = Place::new() else { return };
    let empty = place.folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let mut command = place.command(&place.atoll);
    let output = command
        .args(["doctor", "--json"])
        .env("PATH", &empty)
        .output()
        .unwrap();
    let said = said(&output);
    assert_eq!(
        (said.status, &said.report["can_up"]),
        (Some(1), &Value::Bool(false))
    );
    for name in ["qemu", "ssh"] {
        assert!(
            said.is(name, "fail") && !said.fix(name).is_empty(),
            "{:#}",
            said.report
        );
    }
    assert!(
        said.stderr
            .starts_with("error: `up` cannot work on this host: qemu"),
        "{}",
        said.stderr
    );
}

#[test]
fn bridges_of_the_own_namespace_are_listed_with_their_ports() {
    let Some(place) = Place::new() else { return };
    if !is_root() {
        return;
    }
    let make =
        "ip link add br7 type bridge; ip link add v0 type veth peer name v1; ip link set v0 master br7";
    let ask = "\"$DOCTOR\" doctor --area lan --json";
    let shown = place.inside(
        &["--net", "--mount"],
        &format!("mount -t sysfs sysfs /sys; {make}; {ask}"),
    );
    assert!(shown.is("bridges", "ok"), "{:#}", shown.report);
    assert!(shown.found("bridges").ends_with("br7 (v0)"), "{:#}", shown.report);
    // The file system of another namespace shows another namespace's bridges: they are not taken for these.
    let hidden = place.inside(&["--net"], &format!("{make}; {ask}"));
    assert!(hidden.is("bridges", "note"), "{:#}", hidden.report);
    assert!(
        hidden.found("bridges").contains("another network namespace"),
        "{:#}",
        hidden.report
    );
}

#[test]
fn a_default_route_by_a_bridge_and_the_settings_that_meet_it_are_seen() {
    let Some(place) = Place::new() else { return };
    if !is_root() {
        return;
    }
    let script = "mount -t sysfs sysfs /sys; ip link add br7 type bridge; ip link set br7 up; \
        ip address add 192.0.2.2/24 dev br7; ip route add default via 192.0.2.1; \
        echo 1 >/proc/sys/net/ipv4/conf/br7/rp_filter; echo 1 >/proc/sys/net/ipv4/ip_forward; \
        \"$DOCTOR\" doctor --area lan --json";
    let said = place.inside(&["--net", "--mount"], script);
    assert!(said.found("nic").contains("the bridge br7"), "{:#}", said.report);
    assert!(
        said.found("rp-filter").starts_with("rp_filter is 1"),
        "{:#}",
        said.report
    );
    assert!(said.found("forwarding").contains("IPv4 on"), "{:#}", said.report);
    let without = place.inside(&["--net"], "\"$DOCTOR\" doctor --area lan --json");
    assert!(
        without.found("nic").contains("no interface has a default route"),
        "{:#}",
        without.report
    );
}

/// A host of its own, but for its kernel: `/etc`, `/run` and `/usr/local` can be written, and lead nowhere else; one bridge.
const OWN_HOST: &str = "mount -t tmpfs tmpfs /run; mkdir /run/etc; cp -a /etc/. /run/etc; mount --bind /run/etc /etc; \
    mount -t tmpfs -o mode=0755 tmpfs /usr/local; mkdir -p /etc/atoll /usr/local/libexec/atoll; \
    cp \"$HELPER\" /usr/local/libexec/atoll/atoll-helper; mount -t sysfs sysfs /sys; \
    ip link add br7 type bridge; ip link add v0 type veth peer name v1; ip link set v0 master br7";

#[test]
fn a_helper_is_told_as_it_answers_and_its_policy_as_it_allows() {
    let Some(place) = Place::new() else { return };
    if !is_root() {
        return;
    }
    let built = with_namespaces().unwrap().with_file_name("atoll-helper");
    assert!(
        built.is_file(),
        "the helper is not built (cargo build -p atoll-helper)"
    );
    let told = |mode: &str, policy: &str| {
        let script = format!(
            "{OWN_HOST}; chmod {mode} /usr/local/libexec/atoll/atoll-helper; {policy} >/etc/atoll/helper.conf; \
             {NOBODY} \"$DOCTOR\" doctor --area lan --json; ip -o link show type tun >&2"
        );
        let mut command = place.command("unshare");
        command.args(["--net", "--mount", "bash", "-ec", &script]);
        said(&command.env("HELPER", &built).output().unwrap())
    };
    let good = told("4755", "echo allow user=65534 bridged interface=br7");
    assert!(good.is("helper", "ok"), "{:#}", good.report);
    assert!(good.found("helper").contains("mode 4755"), "{:#}", good.report);
    assert!(
        good.found("helper-policy").ends_with("bridged on br7"),
        "{:#}",
        good.report
    );
    assert_eq!(good.stderr, "", "no TAP was made by asking");
    // Neither set-user-ID nor a line in sudoers.
    let closed = told("0755", "echo allow user=65534 shared");
    assert!(
        closed.is("helper", "fail") || closed.is("helper", "note"),
        "{:#}",
        closed.report
    );
    assert!(!closed.fix("helper").is_empty(), "{:#}", closed.report);
    assert!(
        closed.found("helper-policy").ends_with("this user shared"),
        "{:#}",
        closed.report
    );
    // A helper that others could change is not run.
    let open = told("4777", "echo allow user=65534 nonsense");
    assert!(open.is("helper", "fail"), "{:#}", open.report);
    assert!(open.is("helper-policy", "fail"), "{:#}", open.report);
    assert_eq!(open.status, Some(0), "`up` needs no helper");
    let silent = told("4755", "echo allow user=1 shared");
    assert!(silent.is("helper-policy", "fail"), "{:#}", silent.report);
}

#[test]
fn a_host_without_ipv6_or_any_route_says_so() {
    let Some(place) = Place::new() else { return };
    if !is_root() {
        return;
    }
    let script = "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; \"$DOCTOR\" doctor --area network --json";
    let without = place.inside(&["--net"], script);
    assert!(
        without.found("ipv6").contains("disable_ipv6"),
        "{:#}",
        without.report
    );
    assert!(
        without.is("ipv4", "warn") && without.is("resolvers", "warn"),
        "{:#}",
        without.report
    );
    assert_eq!(without.status, Some(0), "`up` works without a way to the world");
    let script = "ip link set lo up; ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up; \
        ip address add 2001:db8::2/64 dev v0 nodad; ip route add default via 2001:db8::1; \
        \"$DOCTOR\" doctor --area network --json";
    let with = place.inside(&["--net"], script);
    assert!(with.is("ipv6", "ok"), "{:#}", with.report);
}

#[test]
fn a_lower_limit_of_descriptors_is_room_for_fewer_flows() {
    let Some(place) = Place::new() else { return };
    let room = |limit: &str| {
        let script = format!("{limit} \"$DOCTOR\" doctor --area network --json");
        let output = place.command("bash").args(["-ec", &script]).output().unwrap();
        let said = said(&output);
        let words: Vec<_> = said.found("descriptors").split(' ').map(str::to_owned).collect();
        let at = words.iter().position(|word| word == "flows").unwrap();
        (words[at - 1].parse::<usize>().unwrap(), said)
    };
    let (all, _) = room("");
    let (few, said) = room("ulimit -n 1024;");
    assert!(few < 1024 && few < all, "{few} of {all}");
    assert!(
        said.found("descriptors").contains("raised to 1024:"),
        "{:#}",
        said.report
    );
    assert!(said.is("descriptors", "warn"), "{:#}", said.report);
}

#[test]
fn disks_that_are_full_or_read_only_are_told() {
    let Some(place) = Place::new() else { return };
    if !is_root() {
        return;
    }
    for (option, words) in [("size=1m", "KiB free"), ("ro", "Read-only file system")] {
        let script = format!(
            "mkdir \"$HOME/.cache\"; mount -t tmpfs -o {option} tmpfs \"$HOME/.cache\"; \
             \"$DOCTOR\" doctor --area files --json; rmdir \"$HOME/.cache\" 2>/dev/null || true"
        );
        let mut command = place.command("unshare");
        command.args(["--mount", "bash", "-c", &script]);
        let said = said(&command.output().unwrap());
        fs::remove_dir(place.home().join(".cache")).unwrap();
        assert!(said.is("image-cache", "fail"), "{option}: {:#}", said.report);
        let found = said.found("image-cache");
        assert!(
            found.contains(words) || option != "ro" && found.contains("free"),
            "{:#}",
            said.report
        );
        assert!(said.is("state", "ok"), "{option}: {:#}", said.report);
    }
}

#[test]
fn a_program_that_hangs_holds_up_nobody_and_is_told() {
    let Some(place) = Place::new() else { return };
    let folder = place.folder.path().join("bin");
    fs::create_dir(&folder).unwrap();
    for program in ["nft", "qemu-img"] {
        let path = folder.join(program);
        fs::write(&path, "#!/bin/sh\nexec sleep 600\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let begun = Instant::now();
    let mut command = place.command(&place.atoll);
    let said = said(
        &command
            .args(["doctor", "--json"])
            .env("PATH", path)
            .output()
            .unwrap(),
    );
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(said.is("masquerade", "warn"), "{:#}", said.report);
    assert!(said.is("qemu-img", "fail"), "{:#}", said.report);
    for name in ["masquerade", "qemu-img"] {
        assert!(
            said.found(name).contains("did not end within"),
            "{:#}",
            said.report
        );
    }
    assert!(
        said.is("ssh", "ok") && said.is("bridge", "ok"),
        "{:#}",
        said.report
    );
}

#[test]
fn nothing_is_left_behind_but_what_qemu_answered() {
    let Some(place) = Place::new() else { return };
    let links = || fs::read_to_string("/proc/net/dev").unwrap().lines().count();
    let before = links();
    let _ = place.doctor(&[]);
    assert_eq!(links(), before);
    let mut files = Vec::new();
    let mut folders = vec![place.home()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    assert_eq!(files, [place.home().join(".cache/atoll/qemu.json")]);
}

#[test]
fn the_listing_is_plain_where_nobody_watches_and_by_area_where_asked() {
    let Some(place) = Place::new() else { return };
    let listing = |arguments: &[&str]| {
        let output = place
            .command(&place.atoll)
            .arg("doctor")
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let all = listing(&[]);
    assert!(!all.contains('\x1b'), "{all}");
    let headings: Vec<_> = all
        .lines()
        .filter(|it| !it.is_empty() && !it.starts_with(' '))
        .collect();
    assert_eq!(
        headings,
        ["machines", "files", "network", "namespaces", "lan", "images"]
    );
    let one = listing(&["--area", "files"]);
    assert!(one.starts_with("files\n  "), "{one}");
    assert!(!one.contains("\n\n"), "one area only:\n{one}");
}
