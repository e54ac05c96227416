//! What the programs of real machines see of a network: DHCP clients, tracers, scanners, and what carries data. Each group is a
//! script in `clients/`, which runs in a namespace behind the network and tells what it missed.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use atoll_e2e::{Exec, THERE, THERE6, UdpEcho, World, with_namespaces};
use std::net::UdpSocket;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
const ADDRESSES: [&str; 6] = [
    "--ipv6",
    "fd77:77::/64",
    "--address",
    "10.77.0.9",
    "--address",
    "fd77:77::9",
];

/// Runs one of the scripts behind a network in the world's namespace.
fn run(world: &World, script: &str, arguments: &[&str]) {
    let Some(atoll) = with_namespaces() else { return };
    let command = format!("exec bash {SCRIPTS}/{script}.sh");
    let arguments = [&ADDRESSES[..], arguments].concat();
    let ended = Exec::start_inside(atoll, world.here(), &arguments, &command).end();
    assert_eq!(
        ended.status,
        Some(0),
        "{script}: {}{}",
        ended.stdout,
        ended.stderr
    );
}

/// A world whose farther host serves web pages at port 80.
fn with_web() -> Option<(World, tempfile::TempDir)> {
    let mut world = World::make()?;
    world.lengthen();
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("index.html"), "beyond\n").unwrap();
    let folder = files.path().to_str().unwrap();
    world.run_beyond("busybox", &["httpd", "-f", "-p", "80", "-h", folder]);
    world.wait_beyond(&[80]);
    Some((world, files))
}

#[test]
fn tracers_find_every_router_on_the_way_and_what_its_link_takes() {
    let Some((world, _files)) = with_web() else { return };
    run(&world, "ways", &["--mtu", "1500"]);
}

#[test]
fn scanners_and_probes_see_what_a_real_host_would_show() {
    let Some((world, _files)) = with_web() else { return };
    run(&world, "probes", &["--mtu", "1500"]);
}

const TOLD: [&str; 8] = [
    "--mtu",
    "9000",
    "--domain",
    "lab.internal",
    "--ntp",
    "198.18.7.2",
    "--route",
    "192.168.10.0/24=10.77.0.5",
];

#[test]
fn dhcp_clients_are_bound_told_everything_renewed_and_released() {
    let Some(world) = World::make() else { return };
    run(&world, "leases4", &TOLD);
}

#[test]
fn clients_of_ipv6_follow_the_router_and_its_dhcp_server() {
    let Some(world) = World::make() else { return };
    run(&world, "leases6", &TOLD);
}

#[test]
fn what_carries_data_carries_it_both_ways_and_over_both_families() {
    let Some((mut world, _files)) = with_web() else {
        return;
    };
    world.run_beyond("iperf3", &["-s"]);
    for address in [THERE, THERE6] {
        let socket = world.open_there(|| UdpSocket::bind((address, 7007)));
        UdpEcho::serve(socket.unwrap()).unwrap();
    }
    world.wait_beyond(&[5201]);
    run(&world, "transfers", &["--mtu", "1500"]);
}
