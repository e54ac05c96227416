//! The command line that people use today, by hand: `qemu-system-x86_64` with a Debian image, cloud-init from a plain
//! web server on the host, and `atoll net run` as the network. Both boot at the same time, each on a processor of its own: Debian 12 on
//! an e1000, and Debian 13, whose cloud-init (25.1) brings its own network-config, on virtio.

use atoll_e2e::{ByHand, Debian, Files, Kit, Net, Options, Web, debian_disk};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

const HOST_ALIAS: &str = "10.77.0.254";
const PREFIX: &str = "fd77:77::/64";
const GATEWAY6: &str = "fd77:77::1";
const ALIAS6: &str = "fd77:77::fe";
/// The lease of the virtio guest, and what the other one makes of its MAC.
const VIRTIO6: &str = "fd77:77::22";
const E1000_6: &str = "fd77:77::5054:ff:fe77:1001";
const E1000: (&str, &str) = ("52:54:00:77:10:01", "10.77.0.21");
const VIRTIO: (&str, &str) = ("52:54:00:77:10:02", "10.77.0.22");

/// The seeds of both guests by path; what the user-data asks for, and the metric of the network-config, show whether
/// cloud-init did it.
fn seeds(names: &[&str], key: &str) -> Files {
    let user_data = format!(
        "#cloud-config\nssh_authorized_keys:\n  - {key}\nwrite_files:\n  - path: /etc/by-hand\n    content: told by user-data\n"
    );
    let files = |name: &&str| {
        let meta_data = format!("instance-id: {name}-1\nlocal-hostname: {name}\n");
        [
            (format!("/{name}/meta-data"), meta_data.into_bytes()),
            (format!("/{name}/user-data"), user_data.clone().into_bytes()),
            (format!("/{name}/vendor-data"), Vec::new()),
        ]
    };
    let network = format!(
        "version: 2\nethernets:\n  eth0:\n    match: {{macaddress: '{}'}}\n    dhcp4: true\n    dhcp4-overrides: {{route-metric: 777}}\n",
        VIRTIO.0
    );
    let network = ("/new/network-config".to_owned(), network.into_bytes());
    names.iter().flat_map(files).chain([network]).collect()
}

/// Starts QEMU for one guest; `places` are the folder of its files, the disk and the socket of the network.
fn start(name: &str, device: &str, web: &Web, ssh: SocketAddr, places: [&Path; 3]) -> Debian {
    let [folder, disk, socket] = places;
    let seed = format!("http://{HOST_ALIAS}:{}/{name}/", web.address.port());
    Debian::start(&ByHand {
        name,
        folder,
        disk,
        socket,
        device,
        seed: &seed,
        ssh,
    })
}

fn is_configured(guest: &Debian, name: &str, address: &str, driver: &str) {
    assert_eq!(guest.ok("hostname"), name);
    assert_eq!(guest.ok("cat /etc/by-hand"), "told by user-data");
    let addresses = guest.ok("ip -4 -o address show scope global");
    assert!(
        addresses.contains(&format!(" {address}/24 ")),
        "{name}: {addresses}"
    );
    let drivers = guest.ok("readlink /sys/class/net/*/device/driver");
    assert!(drivers.ends_with(&format!("/{driver}")), "{name}: {drivers}");
}

/// Both have the addresses they are to have, and reach gateway, host and each other, by name as well.
fn meet_over_ipv6(old: &Debian, new: &Debian) {
    for (guest, address) in [(old, E1000_6), (new, VIRTIO6)] {
        let addresses = guest.ok("ip -6 -o address show scope global");
        assert!(addresses.contains(&format!(" {address}/")), "{addresses}");
        let _ = guest.ok(&format!("sudo ping -6 -c 1 -W 20 {GATEWAY6}"));
    }
    // A host whose loopback has no IPv6 has no server there.
    if let Ok(listener) = TcpListener::bind("[::1]:0") {
        let files = Files::from([("/hello".to_owned(), b"over IPv6".to_vec())]);
        let web = Web::serve(listener, files).expect("a listener has an address");
        let url = format!("http://[{ALIAS6}]:{}/hello", web.address.port());
        assert_eq!(old.ok(&format!("curl -sf -m 60 '{url}'")), "over IPv6");
    }
    let found = old.ok("getent ahostsv6 new | head -1 | cut -d' ' -f1");
    assert_eq!(found, VIRTIO6);
    let banner = old.ok("timeout 60 bash -c \"exec 3<>/dev/tcp/$(getent ahostsv6 new | head -1 | cut -d' ' -f1)/22; head -c 4 <&3\"");
    assert_eq!(banner, "SSH-");
}

#[test]
fn debian_guests_on_e1000_and_virtio_configure_themselves_and_meet() {
    let Some(kit) = Kit::find() else { return };
    let disk = debian_disk(kit, None, &[]);
    let current_disk = debian_disk(kit, Some("trixie"), &[]);
    let virtio_lease6 = format!("{}={VIRTIO6}", VIRTIO.0);
    let (e1000_lease, virtio_lease) = (
        format!("{}={}", E1000.0, E1000.1),
        format!("{}={}", VIRTIO.0, VIRTIO.1),
    );
    let (e1000_ssh, virtio_ssh) = (
        format!("127.0.0.1:0:{}:22", E1000.1),
        format!("127.0.0.1:0:{}:22", VIRTIO.1),
    );
    let arguments = [
        "--host-loopback",
        "--lease",
        &e1000_lease,
        "--lease",
        &virtio_lease,
        "--lease",
        &virtio_lease6,
        "--ipv6",
        PREFIX,
        "--forward",
        &e1000_ssh,
        "--forward",
        &virtio_ssh,
    ];
    let net = Net::start(
        kit,
        &Options {
            arguments: &arguments,
        },
    );
    let web = Web::start(seeds(&["old", "new"], &Debian::make_key(net.folder()))).unwrap();
    let forwards = net.forwards();
    let socket = net.socket();
    let places = |disk| [net.folder(), disk, socket.as_path()];
    let e1000 = format!("e1000,mac={}", E1000.0);
    let virtio = format!("virtio-net-pci,mac={}", VIRTIO.0);
    let mut old = start("old", &e1000, &web, forwards[0], places(&disk));
    let mut new = start("new", &virtio, &web, forwards[1], places(&current_disk));
    old.wait_until_ready();
    new.wait_until_ready();

    is_configured(&old, "old", E1000.1, "e1000");
    is_configured(&new, "new", VIRTIO.1, "virtio_net");
    let found = new.ok("cloud-init --version 2>&1 && cloud-init status --long");
    let seed = format!("[seed=dmi,http://{HOST_ALIAS}:{}/new/]", web.address.port());
    assert!(found.contains(" 25.") && found.contains(&seed), "{found}");
    let routes = new.ok("ip -4 route show default");
    assert!(routes.contains(" metric 777"), "{routes}");
    let _ = old.ok(&format!("ping -c 3 -W 20 {}", VIRTIO.1));
    let _ = new.ok(&format!("sudo ping -c 3 -W 20 {}", E1000.1));
    // By name as well, which is the network's DNS.
    let _ = old.ok("ping -c 1 -W 20 new");
    meet_over_ipv6(&old, &new);
    drop((old, new, net));
}
