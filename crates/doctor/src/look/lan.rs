//! Reads the host's interfaces, and who looks after them.
//!
//! Interfaces are read from `/sys`, which shows those of the namespace in which it was mounted; `/proc/net` shows the process's own,
//! so that the two are compared. Daemons are told by their processes, not by D-Bus, which may not answer; where other users'
//! processes are hidden, by the folders that they have in `/run`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::procfs::{processes, setting, word};
use crate::judge::lan::{Bridge, Lan, Managers, Settings};
use crate::judge::nic::{Dmi, Nic};

const LINKS: &str = "/sys/class/net";

/// Everything but what is tried in namespaces.
pub(crate) fn lan() -> Lan {
    let listed = interfaces();
    let shown: BTreeSet<String> = names_in(Path::new(LINKS))
        .into_iter()
        // `bonding_masters` is a file there.
        .filter(|name| Path::new(LINKS).join(name).is_dir())
        .collect();
    let nic = default_interface();
    Lan {
        is_sys_ours: listed == shown,
        bridges: if listed == shown { bridges() } else { Vec::new() },
        bridge_conf: bridge_conf(),
        settings: settings(nic.as_deref()),
        nic: nic.map(|name| describe(&name)),
        dmi: Dmi {
            vendor: dmi("sys_vendor"),
            product: dmi("product_name"),
            asset_tag: dmi("chassis_asset_tag"),
        },
        kernel: None,
        vhost_net: vhost_net(),
        managers: managers(),
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|it| it.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The interfaces of our own namespace: a name before a colon on each line but the two of the heading.
fn interfaces() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

/// The bridges that `/sys` shows.
pub(crate) fn bridges() -> Vec<Bridge> {
    names_in(Path::new(LINKS))
        .iter()
        .filter_map(|name| bridge(name))
        .collect()
}

fn bridge(name: &str) -> Option<Bridge> {
    let folder = Path::new(LINKS).join(name);
    folder.join("bridge").is_dir().then(|| Bridge {
        name: name.to_owned(),
        ports: names_in(&folder.join("brif")),
    })
}

/// The interface of the default route with the smallest metric, of IPv4, else of IPv6.
pub(crate) fn default_interface() -> Option<String> {
    let v4 = default_of(&fs::read_to_string("/proc/net/route").unwrap_or_default());
    v4.or_else(|| default_of6(&fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default()))
}

/// Columns: interface, destination, gateway, flags, references, use, metric, mask.
fn default_of(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (&[name, destination], metric, mask) = (words.get(..2)?, words.get(6)?, words.get(7)?) else {
            return None;
        };
        let is_default = destination == "00000000" && *mask == "00000000";
        is_default.then_some((metric.parse::<u64>().ok()?, name.to_owned()))
    });
    routes.min().map(|(_, name)| name)
}

/// Columns: destination, its length, source, its length, next hop, metric, references, use, flags, interface; numbers are hexadecimal.
/// The kernel's own entry that says "unreachable" is on `lo`.
fn default_of6(table: &str) -> Option<String> {
    let routes = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (length, metric, name) = (words.get(1)?, words.get(5)?, words.get(9)?);
        let is_default = *length == "00" && *name != "lo";
        is_default.then_some((u64::from_str_radix(metric, 16).ok()?, (*name).to_owned()))
    });
    routes.min().map(|(_, name)| name)
}

fn describe(name: &str) -> Nic {
    let folder = Path::new(LINKS).join(name);
    let driver = fs::read_link(folder.join("device/driver")).ok();
    let driver = driver
        .as_deref()
        .and_then(Path::file_name)
        .and_then(|it| it.to_str());
    Nic {
        name: name.to_owned(),
        driver: driver.map(str::to_owned),
        is_wireless: folder.join("wireless").exists() || folder.join("phy80211").exists(),
        is_bridge: folder.join("bridge").is_dir(),
    }
}

fn dmi(name: &str) -> String {
    let text = fs::read_to_string(Path::new("/sys/class/dmi/id").join(name)).unwrap_or_default();
    text.trim().to_owned()
}

/// The lines of qemu-bridge-helper's file that say something.
fn bridge_conf() -> Option<Result<Vec<String>, String>> {
    match fs::read_to_string("/etc/qemu/bridge.conf") {
        Ok(text) => {
            let lines = text.lines().map(str::trim);
            let said = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            Some(Ok(said.map(str::to_owned).collect()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

fn settings(nic: Option<&str>) -> Settings {
    let filter = |name: &str| setting::<u8>(&format!("net/ipv4/conf/{name}/rp_filter"));
    Settings {
        rp_filter: filter("all").max(nic.and_then(filter)),
        forwarding4: setting("net/ipv4/ip_forward"),
        forwarding6: setting("net/ipv6/conf/all/forwarding"),
        bridge_filter: setting("net/bridge/bridge-nf-call-iptables"),
    }
}

fn vhost_net() -> Option<Result<(), String>> {
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/vhost-net");
    match opened {
        Ok(_) => Some(Ok(())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(error.to_string())),
    }
}

fn managers() -> Managers {
    let running = processes();
    let are_hidden = word::<String>("/proc/1/comm").is_none();
    let is_active = |process: &str, folder: &str| {
        running.iter().any(|it| it == process) || (are_hidden && Path::new(folder).exists())
    };
    Managers {
        firewalld: is_active("firewalld", "/run/firewalld"),
        docker: is_active("dockerd", "/run/docker.pid"),
        network_manager: is_active("NetworkManager", "/run/NetworkManager"),
        // The kernel keeps 15 bytes of a name.
        networkd: is_active("systemd-network", "/run/systemd/netif"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_smallest_metric_counts() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n";
        assert_eq!(default_of(table).as_deref(), Some("eth0"));
        assert_eq!(default_of("Iface\nnonsense\n"), None);
    }

    #[test]
    fn the_kernels_own_unreachable_route_of_ipv6_is_none() {
        let zero = "0".repeat(32);
        let line = |metric: &str, name: &str| {
            format!("{zero} 00 {zero} 00 {zero} {metric} 00000001 00000000 00000003 {name}\n")
        };
        assert_eq!(default_of6(&line("ffffffff", "lo")), None);
        let table = line("00000400", "wlan0") + &line("00000064", "eth0") + &line("ffffffff", "lo");
        assert_eq!(default_of6(&table).as_deref(), Some("eth0"));
    }
}
