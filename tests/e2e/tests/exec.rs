//! Commands in namespaces: the Linux kernel's own TCP as the guest, over a TAP.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use atoll_e2e::{
    Exec, Guest, Kit, Net, Options, PATIENCE, TcpEcho, UdpEcho, closed_tcp_port, with_namespaces,
};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

const ALIAS: &str = "10.77.0.254";

/// Waits until something listens on this TCP port inside.
fn listening(port: u16) -> String {
    format!("until grep -q ':{port:04X} 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; do :; done; echo listening")
}

#[test]
fn the_command_finds_itself_on_the_network() {
    let Some(atoll) = with_namespaces() else { return };
    let script = "id -u; ip -4 -o address show dev tap0; ip route; ip link show tap0; ip link show lo; cat /etc/resolv.conf";
    let arguments = ["--address", "10.77.0.9", "--domain", "lab.internal"];
    let said = Exec::start(atoll, &arguments, script).ok();
    for words in [
        "0\n",
        "inet 10.77.0.9/24",
        "default via 10.77.0.1 dev tap0",
        "mtu 65520",
        "lo: <LOOPBACK,UP",
        "nameserver 10.77.0.1\n",
        "search lab.internal\n",
    ] {
        assert!(said.contains(words), "{words} is missing:\n{said}");
    }
}

#[test]
fn the_same_name_has_the_same_address_and_another_name_another() {
    let Some(atoll) = with_namespaces() else { return };
    let address = |name: &str| {
        Exec::start(
            atoll,
            &["--name", name],
            "hostname -I || ip -4 -o address show dev tap0",
        )
        .ok()
    };
    assert_eq!(address("a"), address("a"));
    assert_ne!(address("a"), address("b"));
}

#[test]
fn the_networks_names_are_resolved_by_the_c_library() {
    let Some(atoll) = with_namespaces() else { return };
    let script = "getent ahostsv4 nas | head -1; getent ahostsv4 probe.atoll.internal | head -1";
    let arguments = [
        "--dns-host",
        "nas=10.77.0.77",
        "--name",
        "probe",
        "--address",
        "10.77.0.9",
    ];
    let said = Exec::start(atoll, &arguments, script).ok();
    let mut addresses = said.lines().filter_map(|line| line.split_whitespace().next());
    assert_eq!(addresses.next(), Some("10.77.0.77"));
    assert_eq!(addresses.next(), Some("10.77.0.9"));
}

/// A hundred megabytes to an echo server on the host's loopback and back.
fn come_back(mtu: &str) {
    let Some(atoll) = with_namespaces() else { return };
    let echo = TcpEcho::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let script = format!(
        "head -c 100000000 /dev/urandom >{0}; sha256sum <{0}; busybox nc {ALIAS} {1} <{0} | sha256sum",
        data.display(),
        echo.address.port()
    );
    let said = Exec::start(atoll, &["--host-loopback", "--mtu", mtu], &script).ok();
    let mut sums = said.lines();
    assert_eq!(sums.next(), sums.next(), "{said}");
}

#[test]
fn a_hundred_megabytes_come_back_as_they_went_at_mtu_1500() {
    come_back("1500");
}

#[test]
fn a_hundred_megabytes_come_back_as_they_went_at_mtu_65520() {
    come_back("65520");
}

#[test]
fn what_was_sent_last_arrives_though_the_command_has_ended() {
    let Some(atoll) = with_namespaces() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("head -c 3000000 /dev/zero >/dev/tcp/{ALIAS}/{port}");
    let exec = Exec::start(atoll, &["--host-loopback"], &script);
    let (received, count) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        received.send(bytes.len()).unwrap();
    });
    assert_eq!(count.recv_timeout(PATIENCE), Ok(3_000_000));
    assert_eq!(exec.ok(), "");
}

#[test]
fn datagrams_are_answered() {
    let Some(atoll) = with_namespaces() else { return };
    let echo = UdpEcho::start().unwrap();
    let script = format!(
        "exec 3<>/dev/udp/{ALIAS}/{}; echo hello >&3; timeout 60 dd bs=100 count=1 status=none <&3",
        echo.address.port()
    );
    assert_eq!(Exec::start(atoll, &["--host-loopback"], &script).ok(), "hello\n");
}

#[test]
fn a_closed_port_is_refused_and_so_is_the_hosts_loopback_where_it_is_not_allowed() {
    let Some(atoll) = with_namespaces() else { return };
    let open = TcpEcho::start().unwrap().address.port();
    for (arguments, port) in [
        (&["--host-loopback"][..], closed_tcp_port().unwrap()),
        (&[], open),
    ] {
        let script = format!("exec 3<>/dev/tcp/{ALIAS}/{port}");
        let ended = Exec::start(atoll, arguments, &script).end();
        assert!(ended.stderr.contains("Connection refused"), "{ended:?}");
    }
}

#[test]
fn a_forward_leads_into_the_namespace() {
    let Some(atoll) = with_namespaces() else { return };
    let port = closed_tcp_port().unwrap();
    let script = format!("busybox nc -l -p 7000 </dev/null >&2 & {}; wait", listening(7000));
    let exec = Exec::start(atoll, &["--forward", &format!("{port}:7000")], &script);
    let _ = exec.says("listening");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"from the host").unwrap();
    drop(stream);
    assert_eq!(exec.end().stderr, "from the host");
}

#[test]
fn the_exit_status_is_the_commands() {
    let Some(atoll) = with_namespaces() else { return };
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137)] {
        let ended = Exec::start(atoll, &[], script).end();
        assert_eq!(
            (ended.status, ended.stderr.as_str()),
            (Some(status), ""),
            "{script}"
        );
    }
    for (program, status, words) in [
        ("no-such-program", 127, "error: no-such-program was not found"),
        (
            "/etc/passwd",
            126,
            "error: cannot run /etc/passwd: Permission denied",
        ),
    ] {
        let mut command = Command::new(atoll);
        command.args(["net", "exec", "--", program]);
        let ended = Exec::launch(command).end();
        assert_eq!(ended.status, Some(status));
        assert!(ended.stderr.starts_with(words), "{ended:?}");
    }
}

#[test]
fn signals_reach_the_command_and_its_answer_counts() {
    let Some(atoll) = with_namespaces() else { return };
    let plain = Exec::start(atoll, &[], "echo runs; exec sleep 600");
    let _ = plain.says("runs");
    plain.signal(Signal::TERM);
    assert_eq!(plain.end().status, Some(143));
    for signal in [Signal::TERM, Signal::HUP] {
        let script = "trap 'kill $!; exit 5' TERM HUP; sleep 600 & echo runs; wait";
        let trapping = Exec::start(atoll, &[], script);
        let _ = trapping.says("runs");
        trapping.signal(signal);
        assert_eq!(trapping.end().status, Some(5));
    }
}

#[test]
fn a_command_whose_starter_is_killed_ends_and_nothing_is_left() {
    let Some(atoll) = with_namespaces() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(atoll);
    command
        .args(["net", "exec", "--", "bash", "-c", "echo pid $$; exec sleep 600"])
        .env("TMPDIR", folder.path())
        .env("HOME", folder.path())
        .current_dir(folder.path());
    let links = || {
        Command::new("ip")
            .args(["-o", "link"])
            .output()
            .unwrap()
            .stdout
            .len()
    };
    let before = links();
    let exec = Exec::launch(command);
    let pid = exec.says("pid ");
    exec.signal(Signal::KILL);
    assert_eq!(
        exec.end().status,
        None,
        "it was killed, and its command's pipes are closed"
    );
    assert!(!Path::new("/proc").join(pid).join("exe").exists());
    assert_eq!(links(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn two_namespaces_meet_on_a_network_that_runs() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(kit) = Kit::find() else { return };
    let api = &["--api", "unix:{folder}/api.sock"];
    let net = Net::start(kit, &Options { arguments: api });
    let join = format!("unix:{}", net.folder().join("api.sock").display());
    let (data, idle) = (net.folder().join("data"), net.folder().join("idle"));
    // busybox's nc ends when the other side has sent FIN, so the receiver's own input stays open.
    let script = format!(
        "mkfifo {0}; busybox nc -l -p 7000 <>{0} | sha256sum & {1}; wait",
        idle.display(),
        listening(7000)
    );
    let server = Exec::start(atoll, &["--join", &join, "--name", "server"], &script);
    let _ = server.says("listening");
    let script = format!(
        "head -c 30000000 /dev/urandom >{0}; sha256sum <{0}; busybox nc server 7000 <{0}",
        data.display()
    );
    let client = Exec::start(atoll, &["--join", &join], &script);
    assert_eq!(client.ok(), server.ok().replace("listening\n", ""));
    let again = Exec::start(atoll, &["--join", &join, "--name", "server"], "true");
    assert_eq!(again.ok(), "", "its name is free again");
}

#[test]
fn a_namespace_and_a_machine_meet() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(kit) = Kit::find() else { return };
    let api = &["--api", "unix:{folder}/api.sock"];
    let net = Net::start(kit, &Options { arguments: api });
    let join = format!("unix:{}", net.folder().join("api.sock").display());
    let mut guests = Guest::start_all(kit, &net, &["a"]);
    let guest = guests[0].address();
    // A guest without offloads gets what the namespace sends in large segments with unfinished checksums.
    let script = format!(
        "busybox ping -c 1 -W 60 {guest} >&2; ip -4 -o address show dev tap0; head -c 2000000 /dev/zero | busybox nc {guest} 7000"
    );
    guests[0].ok("mkfifo /tmp/idle; nc -l -p 7000 <>/tmp/idle >/tmp/got & receiver=$!");
    guests[0].ok(&format!(
        "until grep -q ':{:04X} 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; do :; done",
        7000
    ));
    let ended = Exec::start(atoll, &["--join", &join, "--address", "10.77.0.9"], &script).end();
    assert!(ended.stderr.contains("1 packets received"), "{ended:?}");
    let received = guests[0]
        .begin("wait $receiver")
        .wait(&guests[0], Duration::from_secs(240));
    assert_eq!((ended.status, received.status), (Some(0), 0), "{ended:?}");
    assert_eq!(guests[0].ok("wc -c </tmp/got").trim(), "2000000");
}

#[test]
fn what_cannot_be_joined_is_said() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(kit) = Kit::find() else { return };
    let api = &[
        "--api",
        "unix:{folder}/api.sock",
        "--lease",
        "52:54:00:00:00:05=10.77.0.5",
    ];
    let net = Net::start(kit, &Options { arguments: api });
    let join = format!("unix:{}", net.folder().join("api.sock").display());
    let nobody = format!("unix:{}", net.folder().join("nobody.sock").display());
    for (arguments, status, words) in [
        (&["--join", nobody.as_str()][..], 1, "nothing answers at"),
        (
            &["--join", &join, "--address", "10.77.0.1"],
            1,
            "10.77.0.1 is not an address for a guest",
        ),
        (
            &["--join", &join, "--address", "10.77.0.5"],
            1,
            "10.77.0.5 belongs to another machine",
        ),
        (
            &["--join", &join, "--name", "gateway"],
            1,
            "the name gateway is taken",
        ),
        (
            &["--join", &join, "--network", "lan"],
            2,
            "there is no network lan here",
        ),
        (&["--join", &join, "--mtu", "1500"], 2, "cannot be used with"),
        (&["--mtu", "1"], 2, "--mtu 1: an MTU is 576 to 65520 bytes"),
    ] {
        let ended = Exec::start(atoll, arguments, "echo ran").end();
        assert_eq!(
            (ended.status, ended.stdout.as_str()),
            (Some(status), ""),
            "{ended:?}"
        );
        assert!(ended.stderr.contains(words), "{ended:?}");
    }
}

/// Runs a script in a mount namespace in which `/dev/net` is empty.
fn without_devices(atoll: &Path, script: &str) -> atoll_e2e::Ended {
    // Where whoever is not root can run it.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let copy = folder.path().join("atoll");
    std::fs::copy(atoll, &copy).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let script = format!(
        "mount -t tmpfs -o mode=0755 tmpfs /dev/net && {}",
        script.replace("ATOLL", &copy.display().to_string())
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "bash", "-c", &script]);
    Exec::launch(command).end()
}

const AS_NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups ATOLL net exec --";

#[test]
fn nobody_needs_to_be_root() {
    let Some(atoll) = with_namespaces() else { return };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let script = "id -u; cat /proc/self/uid_map; grep -c nameserver /etc/resolv.conf; busybox ping -c 1 -W 60 10.77.0.1 | grep received";
    let ended = without_devices(
        atoll,
        &format!("mknod -m 0666 /dev/net/tun c 10 200 && {AS_NOBODY} sh -c '{script}'"),
    );
    let lines: Vec<_> = ended
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "0",
            "0 65534 1",
            "2",
            "1 packets transmitted, 1 packets received, 0% packet loss"
        ],
        "{ended:?}"
    );
}

#[test]
fn a_device_that_is_missing_or_forbidden_is_named_with_what_helps() {
    let Some(atoll) = with_namespaces() else { return };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for (device, words, hint) in [
        (
            "true",
            "cannot open /dev/net/tun: No such file",
            "mknod -m 0666 /dev/net/tun c 10 200",
        ),
        (
            "mknod -m 0600 /dev/net/tun c 10 200",
            "(its mode is 0600)",
            "chmod 0666 /dev/net/tun",
        ),
        (
            "mknod -m 0666 /dev/net/tun c 10 254",
            "No such device",
            "modprobe tun",
        ),
    ] {
        let ended = without_devices(atoll, &format!("{device} && {AS_NOBODY} echo ran"));
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert!(
            ended.stderr.contains(words) && ended.stderr.contains(hint),
            "{ended:?}"
        );
        assert_eq!(ended.stderr.lines().count(), 2, "{ended:?}");
    }
}

#[test]
fn a_host_without_user_namespaces_is_told_with_the_setting() {
    let Some(atoll) = with_namespaces() else { return };
    let script = format!(
        "echo 0 >/proc/sys/user/max_user_namespaces; {} net exec -- echo ran",
        atoll.display()
    );
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "bash",
        "-c",
        &script,
    ]);
    let ended = Exec::launch(command).end();
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.contains("cannot make a user namespace"), "{ended:?}");
    assert!(ended.stderr.contains("user.max_user_namespaces"), "{ended:?}");
}
