//! A current cloud-init (Debian 13 has 25.1) with its seed at a URL in the serial number as `up` writes it, with
//! `dsmode=net`. In `by_hand.rs` it is as people write it, without.

use atoll_e2e::{Cluster, Kit};

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

#[test]
fn a_current_cloud_init_takes_its_seed_from_up() {
    let Some(kit) = Kit::find() else { return };
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
}

/// The metrics of routes, which only the network-config names: the proof that it was applied.
fn metrics(routes: &str) -> Vec<String> {
    let metric = |line: &str| Some(line.split_once(" metric ")?.1.split(' ').next()?.to_owned());
    let mut metrics: Vec<String> = routes.lines().filter_map(metric).collect();
    metrics.sort();
    metrics
}
