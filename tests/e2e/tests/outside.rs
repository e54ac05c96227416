//! What lies beyond the gateway: hosts, names, and what is said of those that are not there.

use atoll_e2e::{Guest, Kit, NOBODY, Net, Options, Resolver, THERE, UNREACHABLE, World, checksum};

#[test]
fn a_guest_hears_the_truth_about_the_world() {
    let Some(kit) = Kit::find() else { return };
    let Some(mut world) = World::make() else { return };
    let files = tempfile::tempdir().unwrap();
    let page: Vec<u8> = (0..5_000_000_u32)
        .flat_map(|n| n.to_le_bytes().into_iter().take(1))
        .collect();
    std::fs::write(files.path().join("file"), &page).unwrap();
    world.run_there(
        "busybox",
        &["httpd", "-f", "-p", "80", "-h", files.path().to_str().unwrap()],
    );

    let net = Net::start_inside(kit, &Options::default(), world.here());
    let mut guests = Guest::start_all(kit, &net, &["a"]);
    let guest = &mut guests[0];

    let ping = guest.ok(&format!("ping -c 3 -W 10 {THERE}"));
    assert!(ping.contains("3 packets received"), "{ping}");
    for silent in [NOBODY, UNREACHABLE] {
        let ping = guest.run(&format!("ping -c 1 -W 3 {silent}"));
        assert!(
            ping.status != 0 && ping.text.contains("100% packet loss"),
            "{}",
            ping.text
        );
    }

    guest.ok(&format!("wget -q -O /tmp/file http://{THERE}/file"));
    let expected = files.path().join("file");
    let sum = std::process::Command::new("sha256sum")
        .arg(expected)
        .output()
        .unwrap()
        .stdout;
    let sum = String::from_utf8(sum).unwrap();
    assert_eq!(Some(checksum(guest, "/tmp/file").as_str()), sum.split(' ').next());

    assert_eq!(guest.run(&format!("probe connect {THERE}:81")).text, "refused");
    let unreachable = guest.run(&format!("wget -q -O - http://{UNREACHABLE}/"));
    assert!(
        unreachable.status != 0 && unreachable.text.contains("No route to host"),
        "{}",
        unreachable.text
    );
}

#[test]
fn names_are_asked_of_the_hosts_resolver_and_answered_with_its_words() {
    let Some(kit) = Kit::find() else { return };
    let resolver = Resolver::start().unwrap();
    let dns = resolver.address.to_string();
    let net = Net::start(
        kit,
        &Options {
            arguments: &["--dns", &dns, "--dns-host", "nas=10.77.0.77"],
        },
    );
    let mut guests = Guest::start_all(kit, &net, &["a"]);
    let guest = &mut guests[0];
    let known = guest.ok("nslookup -type=a known.example");
    assert!(known.contains("192.0.2.77"), "{known}");
    let own = guest.ok("nslookup -type=a nas.atoll.internal");
    assert!(own.contains("10.77.0.77"), "{own}");
    for (name, words) in [
        ("nobody.example", "NXDOMAIN"),
        ("nobody.atoll.internal", "NXDOMAIN"),
        ("broken.example", "SERVFAIL"),
    ] {
        let answer = guest.run(&format!("nslookup -type=a {name}"));
        assert!(answer.text.contains(words), "{name}: {}", answer.text);
    }
    // A name without an address: neither an answer nor an error.
    let empty = guest.ok("nslookup -type=a empty.example");
    assert!(empty.trim_end().ends_with("Non-authoritative answer:"), "{empty}");
}

#[test]
fn a_resolver_that_is_dead_is_a_failure_and_not_a_missing_name() {
    let Some(kit) = Kit::find() else { return };
    // Bound and never read: it does not even refuse.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let dns = silent.local_addr().unwrap().to_string();
    let net = Net::start(
        kit,
        &Options {
            arguments: &["--dns", &dns],
        },
    );
    let mut guests = Guest::start_all(kit, &net, &["a"]);
    // busybox gives up after five seconds by itself, and says so; we must not make it "no such name".
    let answer = guests[0].run("nslookup -type=a known.example");
    assert_ne!(answer.status, 0, "{}", answer.text);
    assert!(!answer.text.contains("NXDOMAIN"), "{}", answer.text);
}
