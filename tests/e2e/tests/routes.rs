//! Two networks of a cluster that are joined: kernels on both, in namespaces.

use atoll_e2e::{Cluster, Exec, Kit, with_namespaces};
use std::path::PathBuf;

fn file(kit: &Kit) -> String {
    let idle = kit.scripted_machine("exec sleep 1000");
    format!(
        "
networks:
  front: {{subnet: 10.77.10.0/24, ipv6: 'fd77:10::/64', mtu: 1500, routes-to: back}}
  back: {{subnet: 10.77.20.0/24, ipv6: 'fd77:20::/64', mtu: 1400}}
defaults: {{accel: tcg, memory: 96M, arch: x86_64}}
machines:
  web: {{{idle}, nics: [front]}}
  db: {{{idle}, nics: [{{network: back, address: 10.77.20.9}}]}}
"
    )
}

fn join(
    atoll: &PathBuf,
    api: &str,
    (network, name): (&str, &str),
    addresses: [&str; 2],
    script: &str,
) -> Exec {
    let [v4, v6] = addresses;
    let arguments = [
        "--join",
        api,
        "--network",
        network,
        "--name",
        name,
        "--address",
        v4,
        "--address",
        v6,
    ];
    Exec::start(atoll, &arguments, script)
}

#[test]
fn guests_of_joined_networks_speak_as_far_as_they_may() {
    let Some(atoll) = with_namespaces() else { return };
    let Some(kit) = Kit::find() else { return };
    let cluster = Cluster::of(kit, &file(kit));
    let _ = cluster.ok(&["up"]);
    let api = format!("unix:{}", cluster.api().display());
    // busybox's nc hears both families.
    let serve = "until [ -e stop ]; do echo hello | busybox nc -l -p 7000; done & echo ready; exec sleep 300";
    let server = join(
        atoll,
        &api,
        ("back", "server"),
        ["10.77.20.50", "fd77:20::50"],
        &format!("cd \"$(mktemp -d)\"; {serve}"),
    );
    let _ = server.says("ready");
    let script = "
        for to in 10.77.20.50 fd77:20::50; do
          ping -q -c 1 -W 30 $to | grep -o '[01] received'
          until busybox nc $to 7000 </dev/null; do :; done
          for hops in 1 2; do ping -c 1 -W 30 -t $hops $to | grep -o 'From [^ ]*'; done
          ping -c 1 -W 30 -M do -s 1420 $to | grep -o 'From [^ ]*\\|mtu *= *[0-9]*' | tr -d ' '
        done
        getent ahosts db | grep -o '^10[^ ]*' | sort -u
        echo ready; exec sleep 300";
    let client = join(
        atoll,
        &api,
        ("front", "client"),
        ["10.77.10.50", "fd77:10::50"],
        &format!("exec 2>&1; {script}"),
    );
    let _ = client.says("ready");
    let refused = "
        for to in 10.77.10.50 fd77:10::50; do
          ping -c 1 -W 30 $to | grep -o 'From [^ ]*'
          busybox nc $to 7000 </dev/null 2>&1 | grep -o 'refused'
        done
        getent ahosts web || echo no web";
    let other = join(
        atoll,
        &api,
        ("back", "other"),
        ["10.77.20.51", "fd77:20::51"],
        refused,
    );
    assert_eq!(
        other.ok(),
        "From 10.77.20.1\nrefused\nFrom fd77:20::1\nrefused\nno web\n"
    );
    client.signal(rustix::process::Signal::TERM);
    let said = client.end().stdout;
    let expected = "1 received\nhello\nFrom 10.77.10.1\nFrom 10.77.20.1\nFrom10.77.20.1\nmtu=1400\n\
                    1 received\nhello\nFrom fd77:10::1\nFrom fd77:20::1\nFromfd77:20::1\nmtu=1400\n\
                    10.77.20.9\nready\n";
    assert_eq!(said, expected);
}
