//! A current cloud-init (Debian 13 has 25.1), beside that of Debian 12 in `by_hand.rs`: its seed at a URL in the serial
//! number, as `up` writes it (with `dsmode=net`) and as people do (without).

use atoll_e2e::{ByHand, Cluster, Debian, Files, Kit, Net, Options, Web, debian_disk};
use std::net::SocketAddr;
use std::path::Path;

const RELEASE: &str = "trixie";
const BY_HAND: (&str, &str) = ("52:54:00:77:13:01", "10.77.0.31");

const FILE: &str = "
networks: {lan: {}, side: {}}
machines:
  new:
    image: built:debian-trixie
    accel: tcg
    memory: 1G
    nics: [lan, side]
    user-data: |
      #cloud-config
      write_files: [{path: /etc/by-up, content: told by user-data}]
";

fn seed(key: &str) -> Files {
    let (mac, _) = BY_HAND;
    let meta_data = "instance-id: plain-1\nlocal-hostname: plain\n".to_owned();
    let user_data = format!("#cloud-config\nssh_authorized_keys: ['{key}']\n");
    let network = format!(
        "version: 2\nethernets:\n  eth0:\n    match: {{macaddress: '{mac}'}}\n    dhcp4: true\n    dhcp4-overrides: {{route-metric: 777}}\n"
    );
    let files = [
        ("/meta-data", meta_data),
        ("/user-data", user_data),
        ("/vendor-data", String::new()),
        ("/network-config", network),
    ];
    files
        .map(|(path, text)| (path.to_owned(), text.into_bytes()))
        .into()
}

/// Starts QEMU as people type it, without `dsmode`; the guest boots while something else goes on.
fn start_by_hand(net: &Net, web: &Web, ssh: SocketAddr, disk: &Path) -> Debian {
    let (mac, _) = BY_HAND;
    Debian::start(&ByHand {
        name: "plain",
        folder: net.folder(),
        disk,
        socket: &net.socket(),
        device: &format!("virtio-net-pci,mac={mac}"),
        seed: &format!("http://10.77.0.254:{}/", web.address.port()),
        ssh,
    })
}

/// Both boot at the same time: each takes a processor of its own for a minute.
#[test]
fn a_current_cloud_init_takes_its_seed_from_up_and_from_a_plain_serial_number() {
    let Some(kit) = Kit::find() else { return };
    let disk = debian_disk(kit, Some(RELEASE));
    let (mac, address) = BY_HAND;
    let (lease, forward) = (format!("{mac}={address}"), format!("127.0.0.1:0:{address}:22"));
    let arguments = ["--host-loopback", "--lease", &lease, "--forward", &forward];
    let net = Net::start(
        kit,
        &Options {
            arguments: &arguments,
        },
    );
    let web = Web::start(seed(&Debian::make_key(net.folder()))).unwrap();
    let mut plain = start_by_hand(&net, &web, net.forwards()[0], &disk);

    let cluster = Cluster::of(kit, FILE);
    let _ = cluster.ok(&["up"]);
    let new = |command: &str| cluster.ok(&["ssh", "new", "--", command]);
    assert!(new("cloud-init --version 2>&1").contains(" 25."));
    assert_eq!(new("hostname"), "new");
    assert_eq!(new("cat /etc/by-up"), "told by user-data");
    let seed = "DataSourceNoCloudNet [seed=dmi,http://10.";
    let found = new("cloud-init status --long");
    assert!(found.contains("status: done") && found.contains(seed), "{found}");
    assert_eq!(metrics(&new("ip -4 route show default")), ["100", "200"]);

    plain.wait_until_ready();
    assert_eq!(plain.ok("hostname"), "plain");
    let found = plain.ok("cloud-init status --long");
    assert!(
        found.contains(&format!("[seed=dmi,http://10.77.0.254:{}/]", web.address.port())),
        "{found}"
    );
    let addresses = plain.ok("ip -4 -o address show scope global");
    assert!(addresses.contains(&format!(" {address}/24 ")), "{addresses}");
    assert_eq!(metrics(&plain.ok("ip -4 route show default")), ["777"]);
    drop((plain, net));
}

/// The metrics of routes, which only the network-config names: the proof that it was applied.
fn metrics(routes: &str) -> Vec<String> {
    let metric = |line: &str| Some(line.split_once(" metric ")?.1.split(' ').next()?.to_owned());
    let mut metrics: Vec<String> = routes.lines().filter_map(metric).collect();
    metrics.sort();
    metrics
}
