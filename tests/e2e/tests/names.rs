//! DNS as its clients see it: `dig` on the Linux kernel in a namespace, and resolvers of the host's that the tests play.

use atoll_e2e::{AS_WEB, Exec, LONG, Zone, with_namespaces};
use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a script of `dig`s writes, one line each.
fn lines(exec: Exec) -> Vec<String> {
    exec.ok().lines().map(str::to_owned).collect()
}

#[test]
fn own_names_are_answered_with_their_types_and_nothing_else() {
    let Some(atoll) = with_namespaces() else { return };
    let arguments = [
        "--dns-host",
        "nas=10.77.0.77",
        "--dns-wildcards",
        "--dns-service",
        "_http._tcp=web:80",
        "--dns-service",
        "_http._tcp=nas:8080",
        "--dns-service",
        "_ssh._tcp.nas=nas:22",
    ];
    // `search` of the namespace's resolv.conf is the domain.
    let script = r#"
        d() { dig @10.77.0.1 "$@"; }
        status() { grep -o 'status: [A-Z]*' | cut -d' ' -f2; }
        d +short A web.atoll.internal
        d +short AAAA WEB.atoll.INTERNAL
        d +short A a.b.web.atoll.internal
        d +search +short A nas
        getent hosts nas | tr -s ' '
        d +short -x fd77:77::9
        d +short -x 10.77.0.77
        d +tcp +short A nas.atoll.internal
        d +short SRV _http._tcp.atoll.internal | sort
        d +noall +additional SRV _ssh._tcp.nas.atoll.internal | grep -o 'A.*'
        d +noall +answer ANY web.atoll.internal | wc -l
        d AAAA nas.atoll.internal | status
        d AAAA nas.atoll.internal | grep -o 'ANSWER: [0-9], AUTHORITY: [0-9]'
        d A nobody.atoll.internal | status
        d +nsid +bufsize=4096 A nas.atoll.internal | grep -o 'EDNS: version: 0, flags:; udp: [0-9]*'
        d +noedns A nas.atoll.internal | grep -c 'EDNS'
        d +edns=1 +noednsnegotiation A nas.atoll.internal | status
        d AXFR atoll.internal +onesoa | grep -o 'Transfer failed'
        d CH TXT version.bind | status
        for code in notify update status; do d +opcode=$code atoll.internal SOA | status; done
    "#;
    let said = lines(Exec::start(atoll, &[&AS_WEB[..], &arguments].concat(), script));
    let expected = [
        "10.77.0.9",
        "fd77:77::9",
        "10.77.0.9",
        "10.77.0.77",
        "10.77.0.77 nas.atoll.internal",
        "web.atoll.internal.",
        "nas.atoll.internal.",
        "10.77.0.77",
        "0 0 80 web.atoll.internal.",
        "0 0 8080 nas.atoll.internal.",
        "A\t10.77.0.77",
        "1",
        "NOERROR",
        "ANSWER: 0, AUTHORITY: 1",
        "NXDOMAIN",
        "EDNS: version: 0, flags:; udp: 1232",
        "0",
        "BADVERS",
        "Transfer failed",
        "REFUSED",
        "NOTIMP",
        "NOTIMP",
        "NOTIMP",
    ];
    assert_eq!(said, expected);
}

#[test]
fn what_is_malformed_is_a_format_error_or_nothing() {
    let Some(atoll) = with_namespaces() else { return };
    // Header and question as octets; what comes back is shown from the id to the counts. An answer is answered by nobody.
    let script = r#"
        ask() { exec 3<>/dev/udp/10.77.0.1/53; printf "$1" >&3; timeout ${2:-20} dd bs=512 count=1 <&3 2>/dev/null | od -An -tx1 -N6; }
        ask '\x12\x34\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01'
        ask '\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x3fa'
        ask '\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01'
        ask '\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00'
        ask '\x12\x34\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01' 1
        ask '\x12\x34\x01' 1
        dig @10.77.0.1 +short A web.atoll.internal"#;
    let said = lines(Exec::start(atoll, &AS_WEB, script));
    let format_error = " 12 34 81 01 00 00";
    let [answers @ .., last] = &said[..] else {
        panic!("nothing was said")
    };
    assert_eq!(
        (answers, last.as_str()),
        (&[format_error; 4].map(str::to_owned)[..], "10.77.0.9")
    );
}

#[test]
fn what_the_world_says_passes_untouched_over_udp_and_tcp() {
    let Some(atoll) = with_namespaces() else { return };
    let zone = Zone::start("127.0.0.1:0", 7).expect("the loopback has a port");
    let dns = zone.address.to_string();
    let script = r#"
        d() { dig @10.77.0.1 "$@"; }
        d +noall +answer A KnOwN.eXample
        d +dnssec +noall +answer A signed.example | tr -s '\t ' ' ' | cut -d' ' -f4-7
        d +dnssec A signed.example | grep -o 'flags: [a-z ]*;' | head -1
        d +dnssec A signed.example | grep -o 'flags: do'
        d +noall +answer A signed.example | wc -l
        d +short DNSKEY signed.example | cut -c1-7
        d +bufsize=512 +ignore TXT long.example | grep -o 'flags: [a-z ]*;' | head -1
        d +bufsize=512 +short TXT long.example | wc -l
        d +tcp +short TXT long.example | wc -l
        for n in $(seq 20); do d +short A n$n.example; done | uniq"#;
    let arguments = ["--dns", &dns, "--mtu", "1500"];
    let said = lines(Exec::start(atoll, &[&AS_WEB[..], &arguments].concat(), script));
    let long = LONG.to_string();
    let expected = [
        "KnOwN.eXample.\t\t3600\tIN\tA\t192.0.2.7",
        "A 192.0.2.7",
        "RRSIG A 13 2",
        "flags: qr rd ra ad;",
        "flags: do",
        "1",
        "257 3 1",
        "flags: qr tc rd ra;",
        &long,
        &long,
        "192.0.2.7",
    ];
    assert_eq!(said, expected);
    let heard = zone.heard();
    assert!(heard.iter().any(|it| it.name == "KnOwN.eXample"), "{heard:?}");
    assert!(
        heard.iter().any(|it| it.tcp && it.name == "long.example"),
        "{heard:?}"
    );
    let many: Vec<_> = heard.iter().filter(|it| it.name.starts_with('n')).collect();
    let ids: BTreeSet<u16> = many.iter().map(|it| it.id).collect();
    let ports: BTreeSet<u16> = many.iter().map(|it| it.port).collect();
    // Two of twenty being alike is a matter of chance; all of them in a row are none.
    assert!(many.len() == 20 && ids.len() > 15 && ports.len() > 10, "{many:?}");
}

#[test]
fn ten_thousand_questions_that_nobody_answers_are_in_nobodys_way() {
    let Some(atoll) = with_namespaces() else { return };
    let zone = Zone::start("127.0.0.1:0", 7).expect("the loopback has a port");
    // Bound and never read: it does not even refuse.
    let dead = UdpSocket::bind("127.0.0.1:0").expect("the loopback has a port");
    let dead = format!("dead.example={}", dead.local_addr().expect("it is bound"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let api = format!("unix:{}", folder.path().join("api.sock").display());
    let dns = zone.address.to_string();
    let arguments = ["--dns", &dns, "--dns-for", &dead, "--api", &api];
    let flood = r#"
        echo ready; q='\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01x\x04dead\x07example\x00\x00\x01\x00\x01'
        while [ ! -e $GO ]; do sleep 0.05; done
        for n in $(seq 10000); do printf "\x12\x34$q" > /dev/udp/10.77.0.1/53; done
        echo flooded
        dig @10.77.0.1 +short +tries=1 +time=60 A own.example
        ping -q -c 1 -W 30 10.77.0.1 | grep -o '1 received'
        dig @10.77.0.1 +tries=1 +time=60 A y.dead.example | grep -o 'status: SERVFAIL'
        while [ ! -e $DONE ]; do sleep 0.05; done"#;
    let (go, done) = (folder.path().join("go"), folder.path().join("done"));
    let flood = flood.replace("$GO", &go.display().to_string());
    // The network ends with this command.
    let flood = flood.replace("$DONE", &done.display().to_string());
    let flooding = Exec::start(atoll, &[&AS_WEB[..], &arguments].concat(), &flood);
    let _ = flooding.says("ready");
    let join = ["--join", &api, "--name", "other"];
    let other = "for n in $(seq 40); do dig @10.77.0.1 +short +tries=1 +time=30 A n$n.example; sleep 0.05; done | uniq -c; ping -q -c 1 -W 30 10.77.0.1 | grep -o '1 received'";
    let other = Exec::start(atoll, &join, &format!("echo ready; {other}"));
    let _ = other.says("ready");
    fs::write(&go, "").expect("the folder takes a file");
    let said = lines(other);
    assert_eq!(
        said[1..],
        ["     40 192.0.2.7".to_owned(), "1 received".to_owned()]
    );
    fs::write(&done, "").expect("the folder takes a file");
    let said = lines(flooding);
    assert_eq!(
        said,
        ["ready", "flooded", "192.0.2.7", "1 received", "status: SERVFAIL"]
    );
}

/// Writes what a host's resolv.conf says.
fn write(path: &Path, server: &str) {
    fs::write(path, format!("nameserver {server}\n")).expect("the folder takes a file");
}

#[test]
fn the_hosts_resolvers_are_followed_however_their_file_changes() {
    let Some(atoll) = with_namespaces() else { return };
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a resolver at port 53 takes root");
        return;
    }
    let servers = ["127.77.53.1", "127.77.53.2", "127.77.53.3", "127.77.53.4"];
    let zones = servers.iter().zip(1..);
    let zones: Vec<Zone> = zones
        .map(|(server, last)| Zone::start(&format!("{server}:53"), last).expect("nobody else is there"))
        .collect();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let in_folder = |name: &str| folder.path().join(name);
    let etc = in_folder("etc");
    let copied = Command::new("cp").args(["-a", "/etc"]).arg(&etc).status();
    assert!(copied.expect("cp runs").success());
    let path = etc.join("resolv.conf");
    // A link of the host's leads where the copy has nothing.
    let _ = fs::remove_file(&path);
    write(&path, servers[0]);
    // One name, whose answers are good for an hour: what is kept has to go with the resolver that said it.
    let script = "while :; do echo at $(dig @10.77.0.1 +short +nocookie +tries=1 +time=5 A one.example); sleep 0.05; done";
    let inside = format!("mount --bind {} /etc && exec \"$0\" \"$@\"", etc.display());
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &inside]).arg(atoll);
    command.args(["net", "exec", "--", "bash", "-c", script]);
    let exec = Exec::launch(command);
    let _ = exec.says("at 192.0.2.1");
    let resolved = in_folder("resolved");
    fs::create_dir(&resolved).expect("a folder of one's own");
    let steps: [&dyn Fn(); 3] = [
        &|| write(&path, servers[1]),
        &|| {
            // As NetworkManager and systemd-resolved do: a link, swapped in; then the file behind it.
            write(&resolved.join("stub"), servers[2]);
            symlink(resolved.join("stub"), etc.join("new")).expect("a link");
            fs::rename(etc.join("new"), &path).expect("a rename");
        },
        &|| {
            write(&resolved.join("new"), servers[3]);
            fs::rename(resolved.join("new"), resolved.join("stub")).expect("a rename");
        },
    ];
    for (step, last) in steps.iter().zip(2..) {
        step();
        let began = Instant::now();
        let _ = exec.says(&format!("at 192.0.2.{last}"));
        let took = began.elapsed();
        assert!(took < Duration::from_secs(30), "followed after {took:?}");
    }
    assert!(zones.iter().all(|zone| !zone.heard().is_empty()));
}
