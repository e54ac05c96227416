//! Machines of two architectures on one network, from one file: an Arm one on `virt`, a PC on `q35`.

use atoll_e2e::{Cluster, Guest, Kit, make_data, transfer};

const FILE: &str = "
defaults: {image: 'built:micro', accel: tcg, memory: 256M}
machines:
  arm: {arch: aarch64}
  pc: {arch: x86_64}
";

#[test]
fn an_arm_machine_and_a_pc_get_addresses_ping_and_move_ten_megabytes() {
    let Some(kit) = Kit::find() else { return };
    if !kit.has_micro("aarch64") {
        return;
    }
    let cluster = Cluster::of(kit, FILE);
    let _ = cluster.ok(&["up"]);
    let mut guests = ["arm", "pc"].map(|name| Guest::of_cluster(&cluster, name));
    for (guest, arch) in guests.iter_mut().zip(["aarch64", "x86_64"]) {
        assert_eq!(guest.ok("uname -m"), arch);
        // What the file's network gave, not what the guest could have made up.
        let addresses = guest.ok("ip -4 -o address show dev eth0");
        assert!(
            addresses.contains(&format!(" {}/24 ", guest.address())),
            "{addresses}"
        );
    }
    for (from, to) in [(0, 1), (1, 0)] {
        let [sender, receiver] = guests.get_disjoint_mut([from, to]).unwrap();
        sender.ok(&format!("ping -c 1 -W 10 {}", receiver.name));
        let sent = make_data(sender, 10);
        let (arrived, _) = transfer(sender, receiver, 9000);
        assert_eq!(arrived, sent, "{} to {}", sender.name, receiver.name);
    }
    drop(guests);
    // Pressing the power button is how `down` begins; what it did stands in its last line for each.
    let down = cluster.command(&["down"]).output().unwrap();
    let said = String::from_utf8_lossy(&down.stderr);
    assert!(said.contains("arm: stop (powered down)"), "{said}");
}
