//! Files that are taken, and what they mean.

use std::net::Ipv4Addr;

use atoll_spec::{
    Accel, Arch, Attach, Boot, Checksum, Image, Mode, NicModel, Source, SshKey, TimeServer, UserData, Via,
    parse,
};

use crate::accepted;

pub(crate) const FULL: &str = "
name: demo
domain: demo.example
networks:
  lan:
    subnet: 10.1.2.0/24
    host-loopback: true
    isolate: true
    vlans: true
    mtu: 9000
    dns: [1.1.1.1, '127.0.0.1:5353', '::1']
    ipv6: fd77:77::/64
    hosts: {nas: [10.1.2.9, 'fd77:77::9'], host.internal: 10.1.2.254}
    ntp: [10.1.2.254]
    ntp-server: always
  storage:
defaults: {memory: 1G, cpus: 1, ssh: {user: debian}}
machines:
  a:
    image: {url: 'https://example.org/a.qcow2', sha512: SHA512}
    arch: aarch64
    cpus: 2
    memory: 2G
    disk: 10GiB
    nics:
      - {network: lan, model: e1000, mac: 52:54:00:12:34:56, address: [10.1.2.10, 'fd77:77::10']}
      - storage
    user-data: |
      #cloud-config
      packages: [curl]
    ssh: {user: admin, keys: [~/.ssh/id.pub, ssh-ed25519 AAAAC3Nz me]}
    forwards: ['8022:22', '127.0.0.1:5353:53/udp', '9000-9010:9000-9010']
    firmware: ./efi.fd
    accel: tcg
    machine: virt
    kernel: vmlinuz
    initrd: initrd.img
    append: console=ttyAMA0
    qemu-args: [-device, virtio-rng-pci]
  b:
    image: built:micro
    nics: [lan]
    user-data: {file: b.yaml}
";

#[test]
fn every_key_has_its_place() {
    let cluster = accepted(&FULL.replace("SHA512", &"aB".repeat(64)));
    assert_eq!(
        (cluster.name.as_str(), cluster.domain.as_str()),
        ("demo", "demo.example")
    );
    let lan = cluster.network("lan").unwrap();
    assert!(lan.host_loopback && lan.isolate && lan.vlans);
    assert_eq!(lan.mtu, 9000);
    let dns: Vec<_> = lan.dns.iter().map(ToString::to_string).collect();
    assert_eq!(dns, ["1.1.1.1:53", "127.0.0.1:5353", "[::1]:53"]);
    assert_eq!(lan.hosts.len(), 2);
    assert_eq!(lan.ntp, [Ipv4Addr::new(10, 1, 2, 254)]);
    assert_eq!(lan.ntp_server, TimeServer::Always);
    let storage = cluster.network("storage").unwrap();
    assert_eq!(storage.subnet.unwrap().to_string(), "10.77.0.0/24");
    let nas = lan.hosts.values().find(|nas| nas.v6.is_some()).unwrap();
    let nas: Vec<_> = nas.iter().map(|address| address.to_string()).collect();
    assert_eq!(nas, ["10.1.2.9", "fd77:77::9"]);
    assert!(!storage.host_loopback && !storage.isolate && !storage.vlans);
    assert_eq!((storage.mtu, storage.dns.len()), (65520, 0));
}

#[test]
fn every_machine_key_has_its_place() {
    let cluster = accepted(&FULL.replace("SHA512", &"aB".repeat(64)));
    let a = cluster.machine("a").unwrap();
    let Some(Image::Url {
        url,
        checksum: Some(Checksum::Sha512(digest)),
    }) = &a.image
    else {
        panic!("{:?}", a.image)
    };
    assert_eq!(
        (url.as_str(), digest.as_str()),
        ("https://example.org/a.qcow2", "ab".repeat(64).as_str())
    );
    assert_eq!((a.arch, a.cpus, a.accel), (Arch::Aarch64, 2, Accel::Tcg));
    assert_eq!(
        (a.memory.to_string(), a.disk.unwrap().to_string()),
        ("2G".to_owned(), "10G".to_owned())
    );
    assert_eq!(
        a.user_data,
        Some(UserData::Text("#cloud-config\npackages: [curl]\n".to_owned()))
    );
    assert_eq!(a.ssh.user.as_deref(), Some("admin"));
    assert!(matches!(a.ssh.keys[..], [SshKey::File(_), SshKey::Literal(_)]));
    let forwards: Vec<_> = a.forwards.iter().map(ToString::to_string).collect();
    let expected = ["8022:22/tcp", "127.0.0.1:5353:53/udp", "9000-9010:9000-9010/tcp"];
    assert_eq!(forwards, expected);
    assert_eq!(
        (a.firmware.as_deref(), a.machine.as_deref()),
        (Some("./efi.fd".as_ref()), Some("virt"))
    );
    let boot = Boot {
        kernel: "vmlinuz".into(),
        initrd: Some("initrd.img".into()),
        append: "console=ttyAMA0".to_owned(),
    };
    assert_eq!(a.boot, Some(boot));
    assert_eq!(a.qemu_args, ["-device", "virtio-rng-pci"]);
}

#[test]
fn nics_are_as_given_and_otherwise_derived() {
    let cluster = accepted(&FULL.replace("SHA512", &"aB".repeat(64)));
    let [given, derived] = &cluster.machine("a").unwrap().nics[..] else {
        panic!("two NICs")
    };
    assert_eq!((given.network.as_str(), given.model), ("lan", NicModel::E1000));
    assert_eq!(
        (given.mac.to_string().as_str(), given.address),
        ("52:54:00:12:34:56", Some(Ipv4Addr::new(10, 1, 2, 10)))
    );
    assert_eq!(given.address6, Some("fd77:77::10".parse().unwrap()));
    assert_eq!(
        (derived.network.as_str(), derived.model),
        ("storage", NicModel::VirtioNetPci)
    );
    let storage = cluster.network("storage").unwrap();
    assert!(storage.subnet.unwrap().contains(derived.address.unwrap()));
    let of_mac = storage.ipv6.unwrap().guest(derived.mac);
    assert_eq!(derived.address6, Some(of_mac));
}

#[test]
fn a_machine_takes_from_defaults_what_it_does_not_say() {
    let cluster = accepted(&FULL.replace("SHA512", &"aB".repeat(64)));
    let b = cluster.machine("b").unwrap();
    assert_eq!(
        (b.memory.to_string().as_str(), b.cpus, b.ssh.user.as_deref()),
        ("1G", 1, Some("debian"))
    );
    assert_eq!(b.user_data, Some(UserData::File("b.yaml".into())));
    assert_eq!(b.arch, Arch::X86_64);
}

#[test]
fn ssh_is_taken_from_defaults_key_by_key() {
    let cluster = accepted(
        "defaults: {image: debian, ssh: {user: admin, keys: [default.pub]}}
machines: {a: {ssh: {keys: [own.pub]}}, b: {ssh: {user: root}}}",
    );
    let ssh = |name| cluster.machine(name).unwrap().ssh.clone();
    let key = |path: &str| SshKey::File(path.into());
    assert_eq!(
        (ssh("a").user.as_deref(), ssh("a").keys),
        (Some("admin"), vec![key("own.pub")])
    );
    assert_eq!(
        (ssh("b").user.as_deref(), ssh("b").keys),
        (Some("root"), vec![key("default.pub")])
    );
}

#[test]
fn a_name_and_an_image_are_enough() {
    let cluster = accepted("machines: {a: {image: debian}}");
    assert_eq!(
        (cluster.name.as_str(), cluster.domain.as_str()),
        ("my-demo", "my-demo.internal")
    );
    assert_eq!(cluster.networks[0].name.as_str(), "default");
    assert_eq!(cluster.networks[0].subnet.unwrap().to_string(), "10.77.0.0/24");
    assert_eq!(cluster.networks[0].ipv6.unwrap().network().octets()[0], 0xfd);
    let a = cluster.machine("a").unwrap();
    assert_eq!((a.cpus, a.memory.to_string().as_str(), a.disk), (1, "1G", None));
    assert_eq!(a.nics.len(), 1);
}

#[test]
fn order_is_that_of_the_file() {
    let cluster = accepted("defaults: {image: debian}\nmachines: {web: , db: , app: }");
    let names: Vec<_> = cluster
        .machines
        .iter()
        .map(|machine| machine.name.as_str())
        .collect();
    assert_eq!(names, ["web", "db", "app"]);
}

#[test]
fn merge_keys_give_what_a_mapping_lacks() {
    let cluster =
        accepted("machines:\n  a: &a {image: debian, cpus: 2, memory: 2G}\n  b: {<<: *a, cpus: 4}\n");
    let b = cluster.machine("b").unwrap();
    assert_eq!((b.cpus, b.memory.to_string().as_str()), (4, "2G"));
}

#[test]
fn networks_without_subnet_get_one_that_is_free() {
    let cluster = accepted(
        "networks: {a: , b: {subnet: 10.77.0.0/23}, c: }\nmachines: {m: {image: debian, nics: [a, b, c]}}",
    );
    let subnets: Vec<_> = cluster
        .networks
        .iter()
        .map(|network| network.subnet.unwrap().to_string())
        .collect();
    assert_eq!(subnets, ["10.77.2.0/24", "10.77.0.0/23", "10.77.3.0/24"]);
}

#[test]
fn a_network_can_do_without_one_family() {
    let cluster = accepted(
        "networks: {four: {ipv6: off}, six: {subnet: off}, small: {mtu: 1279}}
machines: {a: {image: debian, nics: [four, {network: six, address: 'FD77::5'}, six, small]}}"
            .replace("subnet: off", "subnet: off, ipv6: 'fd77::/64'")
            .as_str(),
    );
    let [four, given, derived, small] = &cluster.machine("a").unwrap().nics[..] else {
        panic!("four NICs")
    };
    assert_eq!(four.addresses().count(), 1);
    assert!(four.address.is_some() && small.address6.is_none());
    assert_eq!(
        (given.address, given.address6),
        (None, Some("fd77::5".parse().unwrap()))
    );
    assert!(derived.address.is_none() && derived.address6.is_some());
}

#[test]
fn networks_without_a_prefix_get_one_that_follows_from_the_names() {
    let prefixes = |text: &str| -> Vec<_> {
        let cluster = accepted(text);
        cluster
            .networks
            .iter()
            .map(|network| network.ipv6.unwrap())
            .collect()
    };
    let text = "networks: {a: , b: }\nmachines: {m: {image: debian, nics: [a, b]}}";
    let [a, b] = prefixes(text)[..] else {
        panic!("two networks")
    };
    assert_ne!(a, b);
    assert_eq!(prefixes(text), [a, b]);
    let taken = text.replace("b: }", &format!("b: {{ipv6: '{a}'}}}}"));
    let [other, given] = prefixes(&taken)[..] else {
        panic!("two networks")
    };
    assert!(given == a && other != a && other != b);
    assert_ne!(prefixes(&format!("name: other\n{text}")), [a, b]);
}

#[test]
fn a_state_written_before_there_was_ipv6_is_still_read() {
    let mut json = serde_json::to_value(accepted("machines: {a: {image: debian}}")).unwrap();
    json["networks"][0].as_object_mut().unwrap().remove("ipv6");
    json["networks"][0]["hosts"] = serde_json::json!({ "nas": "10.77.0.9" });
    json["machines"][0]["nics"][0]
        .as_object_mut()
        .unwrap()
        .remove("address6");
    let cluster: atoll_spec::Cluster = serde_json::from_value(json).unwrap();
    assert_eq!(cluster.networks[0].ipv6, None);
    assert_eq!(
        cluster.networks[0].hosts.values().next().unwrap().iter().count(),
        1
    );
}

#[test]
fn a_cluster_survives_json() {
    let cluster = accepted(&FULL.replace("SHA512", &"aB".repeat(64)));
    let json = serde_json::to_string(&cluster).unwrap();
    assert_eq!(
        serde_json::from_str::<atoll_spec::Cluster>(&json).unwrap(),
        cluster
    );
}

#[test]
fn a_network_whose_nics_are_all_virtio_takes_large_packets() {
    let mtu_with = |model: &str| {
        let nics = format!("[{{}}, {{model: {model}}}]");
        let text = format!("machines: {{a: {{image: debian}}, b: {{image: debian, nics: {nics}}}}}");
        accepted(&text).networks[0].mtu
    };
    assert_eq!(mtu_with("virtio-net-device"), 65520);
    assert_eq!(mtu_with("e1000"), 1500);
}

const MODES: &str = "
networks:
  lan: {mode: bridged, interface: br0, via: bridge}
  wifi: {mode: bridged, interface: wlan0, via: proxy-arp}
  nat: {mode: shared, interface: eth0}
  private: {mode: host, ipv6: off}
  ours:
    routes:
      - {to: 192.168.10.0/24, via: a}
      - {to: 'fd00:10::/64', via: a}
      - {to: 172.16.0.0/12, via: 10.77.2.9}
machines:
  a: {image: debian, nics: [lan, nat, private, ours]}
  b: {image: debian, nics: [{network: lan, attach: tap}, {network: wifi, address: 192.168.1.50}], forwards: ['8022:22']}
";

#[test]
fn a_network_has_the_mode_it_asks_for() {
    let cluster = accepted(MODES);
    let modes = cluster
        .networks
        .iter()
        .map(|it| (it.name.as_str(), it.mode, it.via, it.mtu));
    let expected = [
        ("lan", Mode::Bridged, Some(Via::Bridge), 1500),
        ("wifi", Mode::Bridged, Some(Via::ProxyArp), 1500),
        ("nat", Mode::Shared, None, 1500),
        ("private", Mode::Host, None, 1500),
        ("ours", Mode::User, None, 65520),
    ];
    assert_eq!(modes.collect::<Vec<_>>(), expected);
    let lan = cluster.network("lan").unwrap();
    assert_eq!((lan.subnet, lan.ipv6), (None, None));
    assert_eq!(lan.interface.as_ref().unwrap().as_str(), "br0");
    let services = |name: &str| cluster.network(name).unwrap().services().unwrap().to_string();
    assert_eq!(
        [
            services("lan"),
            services("nat"),
            services("private"),
            services("ours")
        ],
        ["169.254.169.254", "10.77.0.254", "10.77.1.254", "10.77.2.1"]
    );
}

#[test]
fn a_lan_gives_the_addresses_and_the_host_reaches_the_nic_that_goes_through_a_switch() {
    let cluster = accepted(MODES);
    let a = cluster.machine("a").unwrap();
    assert_eq!(a.nics[0].addresses().count(), 0);
    assert_eq!(a.served_nic(), Some(&a.nics[0]));
    let b = cluster.machine("b").unwrap();
    assert_eq!(
        (b.nics[0].attach, b.served_nic()),
        (Attach::Tap, Some(&b.nics[1]))
    );
    assert_eq!(b.nics[1].address, Some(Ipv4Addr::new(192, 168, 1, 50)));
}

#[test]
fn a_route_by_way_of_a_machine_goes_to_its_address() {
    let cluster = accepted(MODES);
    let own = &cluster.machine("a").unwrap().nics[3];
    let routes = cluster.network("ours").unwrap().routes.iter();
    let routes: Vec<_> = routes
        .map(|route| (route.to.to_string(), Some(route.via)))
        .collect();
    let expected = [
        ("192.168.10.0/24".to_owned(), own.address.map(Into::into)),
        ("fd00:10::/64".to_owned(), own.address6.map(Into::into)),
        (
            "172.16.0.0/12".to_owned(),
            Some(Ipv4Addr::new(10, 77, 2, 9).into()),
        ),
    ];
    assert_eq!(routes, expected);
}

#[test]
fn one_cluster_on_two_hosts_has_other_macs_on_the_lan_and_the_same_elsewhere() {
    let macs = |host| {
        let source = Source {
            host,
            ..Source::new("atoll.yaml")
        };
        let cluster = parse(&source, MODES).unwrap();
        let a = cluster.machine("a").unwrap();
        (a.nics[0].mac, a.nics[3].mac)
    };
    let (first, second) = (macs("one"), macs("two"));
    assert_ne!(first.0, second.0);
    assert_eq!(first.1, second.1);
    assert_eq!(macs("one"), first);
}

#[test]
fn machines_may_have_addresses_of_the_hosts_loopback_for_themselves() {
    const FILE: &str = "
name: demo
networks: {lan: {loopback: true}, other: {}}
machines:
  a: {image: debian, nics: [lan], forwards: ['22:22', '6443:6443']}
  b: {image: debian, nics: [lan, other], forwards: ['22:22', '6443:6443']}
  c: {image: debian, nics: [other, lan], forwards: ['22:22']}
";
    let cluster = accepted(FILE);
    let own: Vec<_> = cluster.machines.iter().map(|machine| machine.loopback).collect();
    assert!(
        own[0].is_some() && own[1].is_some() && own[0] != own[1],
        "{own:?}"
    );
    assert_eq!(own[2], None);
    let without_b = accepted(&FILE.replace("  b:", "  d:"));
    assert_eq!(without_b.machines[0].loopback, own[0]);
}

#[test]
fn what_a_machine_listens_at_may_appear_by_itself() {
    let cluster =
        accepted("machines: {a: {image: debian, forwards: ['8080:80', '*', '[::1]:*/tcp,except=22']}}");
    let a = &cluster.machines[0];
    assert_eq!(a.forwards.len(), 1);
    let automatic: Vec<_> = a.automatic.iter().map(ToString::to_string).collect();
    assert_eq!(automatic, ["*", "[::1]:*/tcp,except=22"]);
}
