//! The ways between host and guests beside the plain forward, with the Linux kernel as the guest in a namespace and with micro guests.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use atoll_e2e::{
    AS_WEB, Exec, Guest, Kit, Net, Options, Resolver, TcpEcho, UdpEcho, WEB, WEB6, closed_tcp_port,
    digest_of, play, steps, with_namespaces,
};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const ALIAS: &str = "10.77.0.254";
const ALIAS6: &str = "fd77:77::fe";
/// What is refused is refused long before anything runs out.
const AT_ONCE: Duration = Duration::from_secs(20);

/// The guest's program.
const PEER: &str = env!("CARGO_BIN_EXE_peer");

/// A web server in the namespace, for as long as the command runs.
const SERVE: &str = "cd $(mktemp -d); trap 'kill $(jobs -p)' TERM; echo the page of $HOSTNAME > index.html
    busybox httpd -f -p 80 & busybox httpd -f -p 8080 & sleep 0.2; echo listening; wait";

/// A command that says `listening`, on a network of both families.
fn guest(atoll: &PathBuf, arguments: &[&str], script: &str) -> Exec {
    let exec = Exec::start(atoll, &[&AS_WEB, arguments].concat(), script);
    let _ = exec.says("listening");
    exec
}

/// What curl gets: its exit status and what it was told, errors included.
fn curl(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--max-time", "60", "--noproxy", ""])
        .args(arguments);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn proxy() -> (String, String, String) {
    let port = closed_tcp_port().unwrap();
    let address = format!("127.0.0.1:{port}");
    (
        address.clone(),
        format!("http://{address}"),
        format!("socks5h://{address}"),
    )
}

#[test]
fn a_proxy_leads_to_names_and_addresses_of_both_families() {
    let Some(atoll) = with_namespaces() else { return };
    let (address, http, socks) = proxy();
    let _web = guest(atoll, &["--proxy", &address], SERVE);
    for host in [
        "web",
        "web.atoll.internal",
        "WEB.atoll.internal:8080",
        WEB,
        "[fd77:77::9]",
    ] {
        let url = format!("http://{host}/");
        for way in [
            &["-x", &http][..],
            &["-x", &http, "--proxytunnel"],
            &["-x", &socks],
            &["--socks5-hostname", &address],
        ] {
            let (status, text) = curl(&[way, &[&url]].concat());
            assert!(
                status == Some(0) && text.starts_with("the page of"),
                "{way:?} {url}: {text}"
            );
        }
    }
}

#[test]
fn a_proxy_is_a_way_in_and_to_nowhere_else() {
    let Some(atoll) = with_namespaces() else { return };
    let (address, http, socks) = proxy();
    let elsewhere = TcpEcho::start().unwrap();
    let _web = guest(atoll, &["--proxy", &address, "--host-loopback"], SERVE);
    let began = Instant::now();
    let host = format!("http://{}/", elsewhere.address);
    let alias = format!("http://host.atoll.internal:{}/", elsewhere.address.port());
    for (url, status, reply) in [
        (host.as_str(), "403", "(2)"),
        (&alias, "403", "(2)"),
        ("http://10.77.0.1:53/", "403", "(2)"),
        ("http://localhost/", "502", "(4)"),
        ("http://www.example.org/", "403", "(2)"),
        ("http://nobody.atoll.internal/", "502", "(4)"),
        ("http://10.77.0.99/", "502", "(4)"),
        ("http://web:81/", "502", "(5)"),
        ("http://[fd77:77::9]:81/", "502", "(5)"),
    ] {
        let told = ["-o", "/dev/null", "-w", "%{http_code}"];
        let (_, text) = curl(&[&["-x", &http][..], &told, &[url]].concat());
        assert_eq!(text, status, "{url}");
        let (code, text) = curl(&["-x", &socks, url]);
        assert!(code == Some(97) && text.contains(reply), "{url}: {text}");
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

/// A connection through the proxy, with the first words right behind the request's head.
fn through(proxy: &str, port: u16, first: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [5, 0]);
    let name = b"web.atoll.internal";
    let len = u8::try_from(name.len()).unwrap();
    let request = [
        &[5, 1, 0, 3, len],
        &name[..],
        &port.to_be_bytes(),
        first.as_bytes(),
    ]
    .concat();
    stream.write_all(&request).unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..4], [5, 0, 0, 1], "{reply:?}");
    stream
}

#[test]
fn what_follows_the_head_is_the_guests_and_each_side_ends_by_itself() {
    let Some(atoll) = with_namespaces() else { return };
    for (guest_does, first, host_does, guest_tells, host_tells) in [
        (
            "read-all send:bye",
            "hello",
            "send:_you shutdown read-all",
            "hello_you.",
            "bye.",
        ),
        (
            "send:bye shutdown read-all",
            "",
            "read-all send:hello",
            "hello.",
            "bye.",
        ),
        ("read:5 reset", "hello", "read-all", "hello", "ConnectionReset"),
    ] {
        let (address, ..) = proxy();
        let script = format!("{PEER} listen 7000 {guest_does}");
        let exec = guest(atoll, &["--proxy", &address], &script);
        let stream = through(&address, 7000, first);
        assert_eq!(play(stream, &steps(host_does).unwrap()), host_tells);
        let said = exec.ok();
        assert_eq!(said.trim_start_matches("listening\n").trim(), guest_tells);
    }
}

#[test]
fn much_passes_a_proxy_both_ways_at_once() {
    let Some(atoll) = with_namespaces() else { return };
    let (address, ..) = proxy();
    let bytes = 64_000_000;
    let script = format!("{PEER} listen 7000 exchange:1:2:{bytes}:0");
    let exec = guest(atoll, &["--proxy", &address], &script);
    let stream = through(&address, 7000, "");
    let told = play(stream, &steps(&format!("exchange:2:1:{bytes}:0")).unwrap());
    assert_eq!(told, digest_of(1, bytes));
    assert!(exec.ok().contains(&digest_of(2, bytes)));
}

#[test]
fn a_proxy_leads_to_a_machine_that_qemu_runs() {
    let Some(kit) = Kit::find() else { return };
    let (address, http, socks) = proxy();
    let net = Net::start(
        kit,
        &Options {
            arguments: &["--proxy", &address],
        },
    );
    let mut guests = Guest::start_all(kit, &net, &["a"]);
    guests[0].ok("mkdir -p /tmp/www && echo the page of a > /tmp/www/index.html && httpd -p 80 -h /tmp/www");
    let own = guests[0].ok("ip -4 -o address show scope global | sed 's/.*inet \\([0-9.]*\\).*/\\1/'");
    for host in [own.trim(), "a.atoll.internal"] {
        let url = format!("http://{host}/");
        for way in [&http, &socks] {
            let (status, text) = curl(&["-x", way, &url]);
            assert!(
                status == Some(0) && text.contains("the page of a"),
                "{way} {url}: {text}"
            );
        }
    }
}

/// A folder for sockets, whose paths must be short.
fn folder() -> tempfile::TempDir {
    tempfile::TempDir::with_prefix_in("atoll-reach-", "/tmp").unwrap()
}

#[test]
fn a_unix_socket_of_the_host_leads_to_a_guest() {
    let Some(atoll) = with_namespaces() else { return };
    let folder = folder();
    let path = folder.path().join("web.sock");
    let socket = path.display().to_string();
    // A stale file is replaced.
    drop(UnixListener::bind(&path).unwrap());
    let forward = format!("unix:{socket}:web:80");
    let web = guest(atoll, &["--forward", &forward], SERVE);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let (status, text) = curl(&["--unix-socket", &socket, "http://web/"]);
    assert!(status == Some(0) && text.starts_with("the page of"), "{text}");
    // A live one is never stolen.
    let second = Exec::start(atoll, &["--forward", &forward], "true").end();
    assert_eq!(second.status, Some(1), "{}", second.stderr);
    assert!(
        second.stderr.contains(&format!("{socket} is in use by")),
        "{}",
        second.stderr
    );
    web.signal(rustix::process::Signal::TERM);
    let _ = web.end();
    assert!(!path.exists());
}

#[test]
fn each_side_of_a_unix_sockets_connection_ends_by_itself_and_nothing_is_lost() {
    let Some(atoll) = with_namespaces() else { return };
    let folder = folder();
    let path = folder.path().join("a.sock");
    let bytes = 8_000_000;
    let script = format!("{PEER} listen 7000 exchange:1:2:{bytes}:200");
    let forward = format!("unix:{}:7000", path.display());
    let exec = guest(atoll, &["--forward", &forward], &script);
    let mut stream = UnixStream::connect(&path).unwrap();
    let mut half = stream.try_clone().unwrap();
    let expected = atoll_sim::stream::Stream::new(2, bytes);
    let sender = std::thread::spawn(move || {
        let mut all = vec![0; usize::try_from(expected.len()).unwrap()];
        expected.fill(0, &mut all);
        half.write_all(&all).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
    });
    let mut sink = atoll_sim::stream::Sink::new(atoll_sim::stream::Stream::new(1, bytes));
    let mut chunk = [0; 65_536];
    loop {
        match stream.read(&mut chunk).unwrap() {
            0 => break,
            len => sink.push(&chunk[..len]),
        }
    }
    sender.join().unwrap();
    assert_eq!(sink.len(), bytes);
    assert!(exec.ok().contains(&digest_of(2, bytes)));
}

#[test]
fn a_guest_reaches_a_unix_socket_of_the_host_over_both_families() {
    let Some(atoll) = with_namespaces() else { return };
    let folder = folder();
    let path = folder.path().join("echo.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut words = String::new();
            stream.read_to_string(&mut words).unwrap();
            stream.write_all(words.to_uppercase().as_bytes()).unwrap();
        }
    });
    let listed = format!("2375=unix:{}", path.display());
    let absent = format!("2376=unix:{}", folder.path().join("absent.sock").display());
    let script = format!(
        "for host in host.atoll.internal {ALIAS} [{ALIAS6}]; do {PEER} connect $host:2375 send:hello shutdown read-all; done
        {PEER} connect {ALIAS}:2376 read-all; {PEER} connect [{ALIAS6}]:2377 read-all"
    );
    let arguments = [&AS_WEB[..], &["--host-socket", &listed, "--host-socket", &absent]].concat();
    let said = Exec::start(atoll, &arguments, &script).ok();
    assert_eq!(
        said,
        "HELLO.\nHELLO.\nHELLO.\nConnectionRefused\nConnectionRefused\n"
    );
}

#[test]
fn a_guest_reaches_listed_ports_of_the_host_and_no_others() {
    let Some(atoll) = with_namespaces() else { return };
    let listed = TcpEcho::start().unwrap();
    let listed6 = TcpListener::bind(("::1", listed.address.port())).unwrap();
    let _listed6 = TcpEcho::serve(listed6).unwrap();
    let other = TcpEcho::start().unwrap();
    let udp = UdpEcho::start().unwrap();
    let (tcp, udp) = (listed.address.port(), udp.address.port());
    let script = format!(
        "for host in host.atoll.internal {ALIAS} [{ALIAS6}]; do {PEER} connect $host:5432 send:hello shutdown read-all; done
        for port in {tcp} {} {udp}; do {PEER} connect {ALIAS}:$port read-all; {PEER} connect [{ALIAS6}]:$port read-all; done
        exec 3<>/dev/udp/{ALIAS}/5353; echo question >&3; timeout 20 dd bs=100 count=1 status=none <&3",
        other.address.port()
    );
    let arguments = [
        "--host-port",
        &format!("{tcp}:5432"),
        "--host-port",
        &format!("{udp}:5353/udp"),
    ];
    let ended = Exec::start(atoll, &[&AS_WEB[..], &arguments].concat(), &script).end();
    let refused = "ConnectionRefused\n".repeat(6);
    assert_eq!(
        ended.stdout,
        format!("{}{refused}question\n", "hello.\n".repeat(3))
    );
}

#[test]
fn clients_of_one_forward_go_to_several_guests_in_turn_and_past_one_that_refuses() {
    let Some(kit) = Kit::find() else { return };
    let port = closed_tcp_port().unwrap();
    let forward = format!("{port}:a,b:80");
    let net = Net::start(
        kit,
        &Options {
            arguments: &["--forward", &forward],
        },
    );
    let mut guests = Guest::start_all(kit, &net, &["a", "b"]);
    for (guest, name) in guests.iter_mut().zip(["a", "b"]) {
        guest.ok(&format!(
            "mkdir -p /tmp/www && echo {name} > /tmp/www/index.html && httpd -p 80 -h /tmp/www"
        ));
    }
    let url = format!("http://127.0.0.1:{port}/");
    let ask = || {
        let (status, text) = curl(&[&url]);
        assert_eq!(status, Some(0), "{text}");
        text.trim().to_owned()
    };
    let four: Vec<String> = (0..4).map(|_| ask()).collect();
    assert!(
        four == ["a", "b", "a", "b"] || four == ["b", "a", "b", "a"],
        "{four:?}"
    );
    guests[0].ok("killall httpd");
    for _ in 0..6 {
        assert_eq!(ask(), "b", "a refuses, and no client notices");
    }
}

#[test]
fn a_clash_of_two_forwards_names_both() {
    let Some(atoll) = with_namespaces() else { return };
    let arguments = ["--forward", "0.0.0.0:8080:a:80", "--forward", "8080:b:81"];
    let ended = Exec::start(atoll, &arguments, "true").end();
    assert_eq!(ended.status, Some(2));
    let words = "leads to port 80 of a already, and cannot lead to port 81 of b";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}

#[test]
fn dns_answers_below_machines_and_asks_elsewhere_by_suffix() {
    let Some(atoll) = with_namespaces() else { return };
    // Nobody answers what is asked of the usual one.
    let dns = format!("127.0.0.1:{}", closed_tcp_port().unwrap());
    let corp = Resolver::start().unwrap();
    let split = format!("known.example={}", corp.address);
    let script = "dig +short A shop.web.atoll.internal @10.77.0.1
        dig +short AAAA shop.web.atoll.internal @fd77:77::1
        dig +short A known.example @10.77.0.1
        dig nobody.example @10.77.0.1 | grep -o 'status: [A-Z]*'";
    let arguments = [
        "--dns",
        &dns,
        "--dns-for",
        &split,
        "--dns-wildcards",
        "--dns-rebind-protection",
        "--dns-cache",
        "off",
    ];
    let said = Exec::start(atoll, &[&AS_WEB[..], &arguments].concat(), script).ok();
    assert_eq!(said, format!("{WEB}\n{WEB6}\n192.0.2.77\nstatus: SERVFAIL\n"));
}

#[test]
fn every_wrong_way_is_one_sentence_with_a_hint() {
    let Some(atoll) = with_namespaces() else { return };
    for arguments in [
        ["--proxy", "nowhere"],
        ["--host-port", "5432/icmp"],
        ["--host-socket", "2375=/run/docker.sock"],
        ["--forward", "unix:/tmp/a.sock:web:0"],
        ["--forward", "80:a,a:80"],
        ["--dns-for", "corp.example"],
        ["--dns-for", "a.atoll.internal=192.0.2.1"],
        ["--dns-cache", "much"],
        ["--ntp", "pool.example"],
    ] {
        Exec::assert_refused(atoll, arguments);
    }
}
