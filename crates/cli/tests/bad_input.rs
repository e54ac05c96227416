//! Bad input, given to the real binary in a home of its own: what is said, and the exit status.
//!
//! What differs between machines (paths, ports, process ids, durations) is redacted.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

mod home;
#[path = "bad_input/mode.rs"]
mod mode;
#[path = "bad_input/names.rs"]
mod names;
#[path = "bad_input/policy.rs"]
mod policy;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixListener;
use std::process::Command;

use home::Home;

/// A machine that gets as far as its network without any image.
const KERNEL: &str = "kernel: ./vmlinuz, accel: tcg, memory: 64M";

#[test]
fn an_unknown_key_is_shown_in_its_line() {
    let home = Home::with_file("machines:\n  a:\n    image: debian\n    memroy: 2G\n");
    insta::assert_snapshot!(home.fails(&["up"], 2));
}

#[test]
fn a_subnet_that_is_none_is_shown_in_its_line() {
    let home = Home::with_file("networks:\n  lan: {subnet: 10.77.0.5/24}\nmachines:\n  a: {image: debian}\n");
    insta::assert_snapshot!(home.fails(&["up"], 2));
}

#[test]
fn two_machines_with_one_address_are_both_shown() {
    let home = Home::with_file(
        "defaults: {image: debian}\nmachines:\n  a: {nics: [{address: 10.77.0.9}]}\n  b: {nics: [{address: 10.77.0.9}]}\n",
    );
    insta::assert_snapshot!(home.fails(&["up"], 2));
}

#[test]
fn a_machine_that_is_not_in_the_file_is_refused_with_those_that_are() {
    let home = Home::with_file("defaults: {image: ./none.qcow2}\nmachines: {a: {}, b: {}}\n");
    insta::assert_snapshot!(home.fails(&["up", "c"], 2));
    home.leaves_nothing_running();
}

#[test]
fn a_forward_to_an_unknown_machine_is_refused() {
    let home = Home::with_file("defaults: {image: debian}\nmachines: {a: {}, b: {}}\n");
    insta::assert_snapshot!(home.fails(&["forward", "c", "8080:80"], 2));
}

#[test]
fn a_forward_that_is_none_is_refused() {
    let home = Home::with_file("machines: {a: {image: debian}}\n");
    insta::assert_snapshot!(home.fails(&["forward", "a", "8080"], 2));
}

#[test]
fn without_a_cluster_file_the_way_out_is_told() {
    let home = Home::new();
    insta::assert_snapshot!(home.fails(&["ls"], 2));
}

#[test]
fn a_host_port_that_is_taken_is_named_with_its_owner() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let home = Home::with_file(&format!(
        "machines:\n  a: {{{KERNEL}, forwards: [\"{port}:80\"]}}\n"
    ));
    home.write("vmlinuz", b"no kernel");
    let said = home.fails(&["up"], 2);
    insta::assert_snapshot!(said.replace(&format!(":{port}"), ":[PORT]"));
    home.leaves_nothing_running();
}

#[test]
fn a_missing_image_is_named() {
    let home = Home::with_file("machines:\n  a: {image: ./none.qcow2}\n");
    insta::assert_snapshot!(home.fails(&["up"], 2));
    home.leaves_nothing_running();
}

#[test]
fn an_unknown_image_name_is_refused_with_those_there_are() {
    let home = Home::with_file("machines:\n  a: {image: debain}\n");
    insta::assert_snapshot!(home.fails(&["up"], 2));
    home.leaves_nothing_running();
}

#[test]
fn a_wrong_checksum_is_told_with_both_digests() {
    let port = serve(vec![7; 4096]);
    let digest = "0".repeat(64);
    let home = Home::with_file(&format!(
        "machines:\n  a:\n    image: {{url: \"http://127.0.0.1:{port}/disk.img\", sha256: \"{digest}\"}}\n"
    ));
    let said = home.fails(&["up"], 2);
    insta::assert_snapshot!(said.replace(&format!(":{port}"), ":[PORT]"));
    home.leaves_nothing_running();
}

#[test]
fn without_qemu_the_package_is_named() {
    let home = Home::with_file("machines:\n  a: {image: debian, arch: x86_64}\n");
    let mut command = home.command(&["up"]);
    command.env("PATH", home.path("no-programs"));
    insta::assert_snapshot!(home.fails_with(command, 2));
    home.leaves_nothing_running();
}

#[test]
fn without_space_the_folder_is_named() {
    let port = serve(vec![7; 4 << 20]);
    let home = Home::with_file(&format!(
        "machines:\n  a: {{image: \"http://127.0.0.1:{port}/disk.img\"}}\n"
    ));
    home.make_folder("cache");
    let script = r#"mount -t tmpfs -o size=1m tmpfs "$XDG_CACHE_HOME" && exec "$0" up"#;
    let mut command = home.wrapped(&[
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
    ]);
    command.arg(home::BINARY);
    let said = home.fails_with(command, 2);
    insta::assert_snapshot!(said.replace(&format!(":{port}"), ":[PORT]"));
    home.leaves_nothing_running();
}

#[test]
fn a_qemu_that_dies_at_start_is_quoted() {
    let home = Home::with_file(&format!(
        "machines:\n  a: {{{KERNEL}, qemu-args: [\"-nonsense\"]}}\n"
    ));
    home.write("vmlinuz", b"no kernel");
    insta::assert_snapshot!(home.fails(&["up"], 2));
    home.leaves_nothing_running();
}

/// Answers every HTTP request with these bytes, for as long as the test runs.
fn serve(body: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                request.extend(byte);
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            // The client may have seen enough.
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&body));
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    port
}

#[test]
fn an_ipv6_prefix_that_no_network_can_have_is_refused_with_the_reason() {
    let home = Home::new();
    for (value, words) in [
        ("on", "\"on\" is no IPv6 prefix"),
        ("fd77::/48", "its prefix length is not 64"),
        ("fd77::", "the prefix length is missing"),
        ("fd77::5/64", "the address has bits beyond its prefix"),
        ("ff02::/64", "it lies in ff00::/8 (multicast)"),
        ("fe80::/64", "it lies in fe80::/10 (link-local)"),
        ("::ffff:10.0.0.0/64", "it lies in ::ffff:0:0/96 (IPv4-mapped)"),
        ("::1/128", "it lies in ::1/128 (loopback)"),
        (
            "::/64",
            "it lies in ::/16 (unspecified, loopback and IPv4-mapped)",
        ),
    ] {
        let said = home.fails(&["net", "run", "--ipv6", value], 2);
        assert!(said.starts_with(&format!("error: --ipv6 {value}: ")), "{said}");
        assert!(said.contains(words) && said.contains("\nhint: "), "{said}");
    }
}

#[test]
fn a_network_without_any_address_is_refused() {
    let home = Home::new();
    insta::assert_snapshot!(home.fails(&["net", "run", "--subnet", "off", "--ipv6", "off"], 2), @r#"
    error: --subnet off: without IPv6 this leaves no address at all
    hint: leave out --subnet off or --ipv6 off
    "#);
    insta::assert_snapshot!(home.fails(&["net", "run", "--subnet", "off", "--mtu", "1279"], 2), @r#"
    error: --subnet off: IPv6, which is all that this leaves, needs an MTU of 1280 bytes at least
    hint: give a larger --mtu
    "#);
    insta::assert_snapshot!(home.fails(&["net", "run", "--ipv6", "fd77::/64", "--mtu", "1279"], 2), @r#"
    error: --ipv6 fd77::/64: IPv6 needs an MTU of 1280 bytes at least
    hint: give a larger --mtu, or --ipv6 off
    "#);
}

#[test]
fn addresses_that_a_guest_cannot_have_are_refused() {
    let home = Home::new();
    let fails = |arguments: &[&str]| {
        let all = [&["net", "run", "--ipv6", "fd77::/64"], arguments].concat();
        home.fails(&all, 2)
    };
    insta::assert_snapshot!(fails(&["--lease", "52:54:00:00:00:01=fd77::1"]), @r#"
    error: --lease 52:54:00:00:00:01=fd77::1: fd77::1 is the gateway
    hint: guests are in 10.77.0.0/24 and fd77::/64
    "#);
    insta::assert_snapshot!(fails(&["--lease", "52:54:00:00:00:01=fd78::9"]), @r#"
    error: --lease 52:54:00:00:00:01=fd78::9: fd78::9 is not in fd77::/64
    hint: guests are in 10.77.0.0/24 and fd77::/64
    "#);
    insta::assert_snapshot!(fails(&["--lease", "52:54:00:00:00:01=fd77::9", "--lease", "52:54:00:00:00:01=fd77::8"]), @r#"
    error: --lease 52:54:00:00:00:01=fd77::8: there is an IPv6 address already
    hint: a second one can be of IPv4 only
    "#);
    insta::assert_snapshot!(fails(&["--lease", "52:54:00:00:00:01=nas"]), @r#"
    error: --lease 52:54:00:00:00:01=nas: "nas" is no IP address
    hint: write MAC=ADDRESS, as in 52:54:00:12:34:56=10.77.0.5
    "#);
    insta::assert_snapshot!(fails(&["--dns-host", "nas=fd77::9", "--dns-host", "nas=fd77::8"]), @r#"
    error: --dns-host nas=fd77::8: there is an IPv6 address already
    hint: a second one can be of IPv4 only
    "#);
    insta::assert_snapshot!(fails(&["--forward", "[::1]:8080:[fd77::fe]:80"]), @r#"
    error: --forward [::1]:8080:[fd77::fe]:80: fd77::fe is the host alias
    hint: guests are in 10.77.0.0/24 and fd77::/64
    "#);
    insta::assert_snapshot!(fails(&["--forward", "[::1]:8080:[fd78::9]:80"]), @r#"
    error: --forward [::1]:8080:[fd78::9]:80: fd78::9 is not in fd77::/64
    hint: guests are in 10.77.0.0/24 and fd77::/64
    "#);
    insta::assert_snapshot!(fails(&["--forward", "*:0:10.77.0.9:80"]), @r#"
    error: --forward *:0:10.77.0.9:80: "*:0:10.77.0.9:80" is no forward: the host cannot choose one port for both families
    hint: give the host's port, or one forward for 0.0.0.0 and one for [::]
    "#);
    insta::assert_snapshot!(fails(&["--dns", "fe80::1%no-such-link"]), @r#"
    error: --dns fe80::1%no-such-link: this is no resolver's address
    hint: write 1.1.1.1, 127.0.0.1:5353, [::1]:5353, or fe80::1%LINK with a link of this host
    "#);
    insta::assert_snapshot!(home.fails(&["net", "run", "--subnet", "off", "--lease", "52:54:00:00:00:01=10.77.0.9"], 2), @r#"
    error: --lease 52:54:00:00:00:01=10.77.0.9: this network has no IPv4
    hint: guests are in fd86:e2f4:f350:a78d::/64
    "#);
}

#[test]
fn a_path_for_two_kinds_of_socket_is_refused() {
    let (one, other) = ("unix:/tmp/guest.sock", "unix:/tmp/guest.sock");
    let said = Home::new().fails(&["net", "run", "--qemu", one, "--vhost-user", other], 2);
    assert!(
        said.starts_with("error: --vhost-user unix:/tmp/guest.sock: the path is given twice"),
        "{said}"
    );
}

#[test]
fn what_can_be_said_once_is_not_taken_twice() {
    let home = Home::with_file("");
    let run = |arguments: &[&str]| home.fails(&[&["net", "run"], arguments].concat(), 2);
    let (one, two) = ("52:54:00:00:00:01=10.77.0.5", "52:54:00:00:00:02=10.77.0.5");
    insta::assert_snapshot!(run(&["--lease", one, "--lease", two]), @r"
    error: --lease 52:54:00:00:00:02=10.77.0.5: 52:54:00:00:00:01 has 10.77.0.5 already
    hint: give each address once
    ");
    let two = "52:54:00:00:00:01=10.77.0.6";
    insta::assert_snapshot!(run(&["--lease", one, "--lease", two]), @r"
    error: --lease 52:54:00:00:00:01=10.77.0.6: there is an IPv4 address already
    hint: a second one can be of IPv6 only
    ");
    insta::assert_snapshot!(run(&["--dns-host", "gateway=10.77.0.9"]), @r"
    error: --dns-host gateway: every network has this name of itself
    hint: choose another name
    ");
    let (one, two) = ("8000-8005:10.77.0.2:80-85", "8005:10.77.0.3:80");
    insta::assert_snapshot!(run(&["--forward", one, "--forward", two]), @r"
    error: --forward 127.0.0.1:8005: this leads to port 85 of 10.77.0.2 already, and cannot lead to port 80 of 10.77.0.3
    hint: give each place of the host once
    ");
    insta::assert_snapshot!(run(&["--qemu", "unix:a.sock", "--api", "unix:a.sock"]), @r"
    error: --api unix:a.sock: the path is given twice
    hint: give each socket its own path
    ");
}

#[test]
fn a_state_folder_of_another_network_is_named_with_its_owner() {
    let home = Home::new();
    home.make_folder("kept");
    let mut lock = File::create(home.path("kept/lock")).unwrap();
    lock.lock().unwrap();
    writeln!(lock, "{}", std::process::id()).unwrap();
    let state = home.path("kept").display().to_string();
    insta::assert_snapshot!(home.fails(&["net", "run", "--state", &state], 1), @r"
    error: the state folder [HOME]/kept is in use by the network of process [N]
    hint: give each network a folder of its own, or end that one
    ");
}

#[test]
fn an_occupied_api_socket_is_named_with_its_owner() {
    let home = Home::new();
    let _live = UnixListener::bind(home.path("api.sock")).unwrap();
    let api = format!("unix:{}", home.path("api.sock").display());
    insta::assert_snapshot!(home.fails(&["net", "run", "--api", &api], 1));
}

#[test]
fn every_subcommand_has_a_help_with_an_example() {
    for subcommand in [
        "up",
        "down",
        "restart",
        "rm",
        "ls",
        "status",
        "ssh",
        "console",
        "logs",
        "forward",
        "qemu-args",
        "net run",
        "image",
        "image ls",
        "image pull",
        "image import",
        "image save",
        "image build",
        "image rm",
        "image prune",
        "forward add",
        "forward rm",
        "forward ls",
        "completions",
        "schema",
    ] {
        let output = Command::new(home::BINARY)
            .args(subcommand.split(' '))
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && help.contains("Example:"),
            "{subcommand}:\n{help}"
        );
    }
}
