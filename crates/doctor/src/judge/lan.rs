//! The host's own LAN: what `bridged`, `shared` and `host` would find.

use serde::{Deserialize, Serialize};

use super::listed;
use super::nic::{Dmi, Foreign, Nic, foreign};
use crate::check::{Area, Check, Need, Status};

const ALL: &[Need] = &[Need::Bridged, Need::Shared, Need::Host];
const ROUTED: &[Need] = &[Need::Shared];

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lan {
    /// Whether `/sys` shows the same interfaces as `/proc/net/dev`; where it does not, it is another namespace's.
    pub(crate) is_sys_ours: bool,
    pub(crate) bridges: Vec<Bridge>,
    /// What `/etc/qemu/bridge.conf` allows, if it is there.
    pub(crate) bridge_conf: Option<Result<Vec<String>, String>>,
    /// The NIC of the default route.
    pub(crate) nic: Option<Nic>,
    pub(crate) dmi: Dmi,
    /// What the kernel could do in namespaces, where those could be had.
    pub(crate) kernel: Option<Kernel>,
    /// `None`: it is not there. An error: it cannot be opened.
    pub(crate) vhost_net: Option<Result<(), String>>,
    pub(crate) managers: Managers,
    pub(crate) settings: Settings,
}

/// What the kernel could do in a network namespace of our own. `None` where the program that asks it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kernel {
    pub(crate) bridge: Option<Result<(), String>>,
    pub(crate) macvtap: Option<Result<(), String>>,
    pub(crate) masquerade: Option<Result<(), String>>,
}

/// A bridge and the interfaces that are its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bridge {
    pub(crate) name: String,
    pub(crate) ports: Vec<String>,
}

/// Who else looks after the host's network.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Managers {
    pub(crate) firewalld: bool,
    pub(crate) docker: bool,
    pub(crate) network_manager: bool,
    pub(crate) networkd: bool,
}

/// The kernel's settings; `None` where it has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// `net.ipv4.conf`: the larger of `all`'s and the NIC's, which is what holds (ip-sysctl).
    pub(crate) rp_filter: Option<u8>,
    pub(crate) forwarding4: Option<u8>,
    pub(crate) forwarding6: Option<u8>,
    /// `net.bridge.bridge-nf-call-iptables`: whether bridged frames go through the firewall's chains.
    pub(crate) bridge_filter: Option<u8>,
}

/// What that means.
pub(crate) fn judge(lan: &Lan) -> Vec<Check> {
    let mut checks = vec![nic(lan), bridges(lan)];
    checks.extend(lan.bridge_conf.as_ref().map(bridge_conf));
    if let Some(kernel) = &lan.kernel {
        checks.extend(abilities(kernel));
    }
    checks.push(vhost_net(lan));
    checks.extend(managers(lan));
    checks.extend(rp_filter(lan));
    checks.push(forwarding(lan));
    checks
}

fn check(name: &str, status: Status, found: impl Into<String>, needs: &[Need]) -> Check {
    Check::new(Area::Lan, name, status, found).needed_for(needs)
}

/// The NIC to the world, and whether what lies behind it takes frames from other MAC addresses than its own.
fn nic(lan: &Lan) -> Check {
    const NEEDS: &[Need] = &[Need::Bridged];
    let Some(nic) = &lan.nic else {
        let words = "no interface has a default route: there is no LAN to be bridged to";
        return check("nic", Status::Note, words, NEEDS);
    };
    let name = &nic.name;
    let way_out = format!(
        "use `via: proxy-arp` with interface {name}: guests then have addresses of the LAN behind the host's own MAC"
    );
    match foreign(nic, &lan.dmi) {
        Foreign::WiFi => {
            let words = format!(
                "{name} is Wi-Fi: an access point takes frames only from the MAC that joined it, so bridges and macvtaps get no answer there"
            );
            check("nic", Status::Warn, words, NEEDS).fix(way_out)
        }
        Foreign::Cloud(cloud) => {
            let words = format!(
                "{name} ({}) is a NIC of {cloud}, which drops frames from MACs that it did not give out: bridges and macvtaps get no answer there",
                nic.driver.as_deref().unwrap_or("no driver named")
            );
            let fix = format!(
                "{way_out}, and give the addresses to this instance's NIC in the cloud's own settings"
            );
            check("nic", Status::Warn, words, NEEDS).fix(fix)
        }
        Foreign::Guest => {
            let words = format!(
                "{name} is a NIC of a virtual machine: whether its hypervisor takes frames from other MACs is for that to say (libvirt and plain QEMU do; VMware wants \"forged transmits\")"
            );
            check("nic", Status::Note, words, NEEDS)
        }
        Foreign::Bridge => {
            let words =
                format!("the default route leaves by the bridge {name}: guests can be joined to it as it is");
            check("nic", Status::Ok, words, NEEDS)
        }
        Foreign::Virtual => {
            let words =
                format!("the default route leaves by {name}, which is no NIC: bridges and macvtaps need one");
            check("nic", Status::Note, words, NEEDS)
        }
        Foreign::Wire => {
            let driver = nic.driver.as_deref().unwrap_or("its driver is not named");
            check(
                "nic",
                Status::Ok,
                format!("the default route leaves by {name}, a wired NIC ({driver})"),
                NEEDS,
            )
        }
    }
}

fn bridges(lan: &Lan) -> Check {
    const NEEDS: &[Need] = &[Need::Bridged];
    if !lan.is_sys_ours {
        let words = "/sys shows another network namespace's interfaces: this one's bridges are not known";
        return check("bridges", Status::Note, words, NEEDS)
            .fix("mount -t sysfs sysfs /sys in the namespace, as `ip netns exec` does");
    }
    if lan.bridges.is_empty() {
        let words = "there is no bridge: `via: macvtap` and `via: new-bridge` need none";
        return check("bridges", Status::Note, words, NEEDS);
    }
    let each = lan.bridges.iter().map(|bridge| match bridge.ports.as_slice() {
        [] => format!("{} (no ports)", bridge.name),
        ports => format!("{} ({})", bridge.name, ports.join(", ")),
    });
    let words = format!("bridges and their ports: {}", listed(&each.collect::<Vec<_>>()));
    check("bridges", Status::Ok, words, NEEDS)
}

fn bridge_conf(read: &Result<Vec<String>, String>) -> Check {
    const NEEDS: &[Need] = &[Need::Bridged];
    match read {
        Ok(allowed) if allowed.is_empty() => check(
            "bridge.conf",
            Status::Note,
            "/etc/qemu/bridge.conf allows no bridge",
            NEEDS,
        ),
        Ok(allowed) => check(
            "bridge.conf",
            Status::Ok,
            format!("/etc/qemu/bridge.conf has: {}", allowed.join("; ")),
            NEEDS,
        ),
        Err(reason) => check(
            "bridge.conf",
            Status::Note,
            format!("/etc/qemu/bridge.conf is there, but cannot be read by this user: {reason}"),
            NEEDS,
        ),
    }
}

/// Something that the kernel was asked to make in a namespace.
struct Ability<'a> {
    name: &'a str,
    what: &'a str,
    tried: &'a Option<Result<(), String>>,
    /// What asks for it, and the package that brings it.
    tool: &'a str,
    package: &'a str,
    module: &'a str,
    needs: &'a [Need],
}

fn abilities(kernel: &Kernel) -> Vec<Check> {
    let by_ip = |name, what, tried, needs| Ability {
        name,
        what,
        tried,
        tool: "ip",
        package: "iproute2 (Fedora: iproute)",
        module: name,
        needs,
    };
    let masquerade = Ability {
        name: "masquerade",
        what: "rules of nftables that masquerade",
        tried: &kernel.masquerade,
        tool: "nft",
        package: "nftables",
        module: "nft_masq",
        needs: ROUTED,
    };
    vec![
        ability(&by_ip("bridge", "bridges", &kernel.bridge, ALL)),
        ability(&by_ip("macvtap", "macvtaps", &kernel.macvtap, &[Need::Bridged])),
        ability(&masquerade),
    ]
}

fn ability(ability: &Ability<'_>) -> Check {
    let Ability {
        name, what, needs, ..
    } = ability;
    match ability.tried {
        Some(Ok(())) => {
            let words = format!("the kernel makes {what} (tried in a namespace)");
            check(name, Status::Ok, words, needs)
        }
        Some(Err(reason)) => {
            let words = format!("the kernel did not make {what} in a namespace: {reason}");
            check(name, Status::Warn, words, needs).fix(format!(
                "ask the administrator: modprobe {}; the kernel may have been built without",
                ability.module
            ))
        }
        None => {
            let tool = ability.tool;
            let words = format!("whether the kernel makes {what} could not be tried: there is no `{tool}`");
            check(name, Status::Note, words, needs).fix(format!("install {}", ability.package))
        }
    }
}

fn vhost_net(lan: &Lan) -> Check {
    let words = match &lan.vhost_net {
        Some(Ok(())) => {
            return check(
                "vhost-net",
                Status::Ok,
                "/dev/vhost-net opens: the kernel can carry frames of `attach: tap`",
                &[],
            );
        }
        Some(Err(reason)) => {
            format!("/dev/vhost-net cannot be opened: {reason}: `attach: tap` goes through QEMU")
        }
        None => "there is no /dev/vhost-net: `attach: tap` goes through QEMU".to_owned(),
    };
    check("vhost-net", Status::Note, words, &[])
}

/// Others who change the host's network, and what that means for ours.
fn managers(lan: &Lan) -> Vec<Check> {
    let mut checks = Vec::new();
    if lan.managers.firewalld {
        let words = "firewalld is active: it drops what a new bridge sends to the host or through it until the bridge is in a zone";
        checks.push(
            check("firewalld", Status::Warn, words, &[Need::Shared, Need::Host])
                .fix("firewall-cmd --zone=trusted --add-interface=BRIDGE, with the name that `up` tells"),
        );
    }
    if lan.managers.docker {
        checks.push(docker(lan.settings.bridge_filter));
    }
    if lan.managers.network_manager {
        let words = "NetworkManager is active: it leaves bridges and TAPs alone that others made, but brings back the addresses of a NIC that `via: new-bridge` takes them from";
        checks.push(
            check("network-manager", Status::Note, words, &[Need::Bridged])
                .fix("prefer `via: macvtap`, or a bridge that NetworkManager itself makes: nmcli connection add type bridge"),
        );
    }
    if lan.managers.networkd {
        let words = "systemd-networkd is active: an unmanaged interface is left alone, but a .network file that matches every name or the NIC acts on what `via: new-bridge` does";
        checks.push(
            check("systemd-networkd", Status::Note, words, &[Need::Bridged]).fix(
                "prefer `via: macvtap`, or let networkd make the bridge (systemd.netdev(5), Kind=bridge)",
            ),
        );
    }
    checks
}

fn docker(bridge_filter: Option<u8>) -> Check {
    let fix = "iptables -I DOCKER-USER -i BRIDGE -j ACCEPT; iptables -I DOCKER-USER -o BRIDGE -j ACCEPT";
    if bridge_filter == Some(1) {
        let words = "Docker is active, drops what it does not know in FORWARD, and bridged frames go through that, too (bridge-nf-call-iptables is 1)";
        return check("docker", Status::Warn, words, &[Need::Bridged, Need::Shared]).fix(format!(
            "sysctl -w net.bridge.bridge-nf-call-iptables=0 for `bridged`; for `shared`: {fix}"
        ));
    }
    let words =
        "Docker is active, and drops what it does not know in FORWARD: `shared` guests do not get out";
    check("docker", Status::Warn, words, ROUTED).fix(fix)
}

fn rp_filter(lan: &Lan) -> Option<Check> {
    let value = lan.settings.rp_filter?;
    Some(if value == 1 {
        let words = "rp_filter is 1 (strict): packets that come in by another way than the one back are dropped, which meets proxy-ARP and hosts with two ways";
        check("rp-filter", Status::Note, words, &[Need::Bridged])
            .fix("if guests stay unanswered, ask the administrator: sysctl -w net.ipv4.conf.all.rp_filter=2")
    } else {
        let name = if value == 0 { "off" } else { "loose" };
        check(
            "rp-filter",
            Status::Ok,
            format!("rp_filter is {value} ({name})"),
            &[Need::Bridged],
        )
    })
}

fn forwarding(lan: &Lan) -> Check {
    let is = |value: Option<u8>| {
        if value.is_some_and(|it| it > 0) {
            "on"
        } else {
            "off"
        }
    };
    let words = format!(
        "the host forwards packets: IPv4 {}, IPv6 {}; the helper switches on what a `shared` network needs, and off again",
        is(lan.settings.forwarding4),
        is(lan.settings.forwarding6)
    );
    check("forwarding", Status::Note, words, ROUTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(checks: &[Check], name: &str) -> Check {
        let found = checks.iter().find(|it| it.name == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {checks:#?}"))
            .clone()
    }

    fn nic(name: &str, driver: &str) -> Nic {
        Nic {
            name: name.to_owned(),
            driver: Some(driver.to_owned()),
            ..Nic::default()
        }
    }

    fn workstation() -> Lan {
        Lan {
            is_sys_ours: true,
            nic: Some(nic("enp0s31f6", "e1000e")),
            kernel: Some(Kernel {
                bridge: Some(Ok(())),
                macvtap: Some(Ok(())),
                masquerade: Some(Ok(())),
            }),
            vhost_net: Some(Ok(())),
            settings: Settings {
                rp_filter: Some(2),
                ..Settings::default()
            },
            ..Lan::default()
        }
    }

    #[test]
    fn a_wired_workstation_has_nothing_to_complain_of() {
        let checks = judge(&workstation());
        assert!(checks.iter().all(|it| it.status <= Status::Note), "{checks:#?}");
        assert_eq!(of(&checks, "nic").status, Status::Ok);
    }

    #[test]
    fn a_wifi_laptop_is_led_to_proxy_arp() {
        let mut laptop = workstation();
        laptop.nic = Some(Nic {
            is_wireless: true,
            ..nic("wlp3s0", "iwlwifi")
        });
        laptop.managers.network_manager = true;
        let checks = judge(&laptop);
        let nic = of(&checks, "nic");
        assert_eq!(nic.status, Status::Warn);
        assert!(nic.found.contains("Wi-Fi") && nic.fix.unwrap().contains("proxy-arp"));
        assert!(of(&checks, "network-manager").found.contains("new-bridge"));
    }

    #[test]
    fn a_cloud_vm_is_led_to_proxy_arp_and_the_clouds_own_settings() {
        let mut vm = workstation();
        vm.nic = Some(nic("ens5", "ena"));
        vm.dmi.vendor = "Amazon EC2".to_owned();
        vm.managers.networkd = true;
        let checks = judge(&vm);
        let nic = of(&checks, "nic");
        assert_eq!(nic.status, Status::Warn);
        assert!(nic.found.contains("Amazon EC2"), "{nic:?}");
        assert!(nic.fix.unwrap().contains("cloud's own settings"));
        assert_eq!(of(&checks, "systemd-networkd").status, Status::Note);
    }

    #[test]
    fn rhel_with_firewalld_is_told_of_the_zone() {
        let mut rhel = workstation();
        rhel.managers.firewalld = true;
        rhel.managers.network_manager = true;
        rhel.settings.rp_filter = Some(1);
        rhel.bridges = vec![Bridge {
            name: "br0".to_owned(),
            ports: vec!["eno1".to_owned()],
        }];
        rhel.bridge_conf = Some(Ok(vec!["allow br0".to_owned()]));
        let checks = judge(&rhel);
        let firewalld = of(&checks, "firewalld");
        assert_eq!(firewalld.status, Status::Warn);
        assert_eq!(firewalld.needed_for, [Need::Shared, Need::Host]);
        assert!(of(&checks, "bridges").found.contains("br0 (eno1)"));
        assert!(of(&checks, "bridge.conf").found.contains("allow br0"));
        assert_eq!(of(&checks, "rp-filter").status, Status::Note);
    }

    #[test]
    fn docker_touches_bridged_networks_only_where_bridged_frames_are_filtered() {
        let mut host = workstation();
        host.managers.docker = true;
        assert_eq!(of(&judge(&host), "docker").needed_for, [Need::Shared]);
        host.settings.bridge_filter = Some(1);
        assert_eq!(
            of(&judge(&host), "docker").needed_for,
            [Need::Bridged, Need::Shared]
        );
    }

    #[test]
    fn what_a_kernel_refused_in_a_namespace_is_a_warning_and_what_was_not_tried_is_not() {
        let mut host = workstation();
        host.kernel = Some(Kernel {
            bridge: Some(Err("Unknown device type.".to_owned())),
            macvtap: Some(Ok(())),
            masquerade: None,
        });
        let checks = judge(&host);
        assert_eq!(of(&checks, "bridge").status, Status::Warn);
        assert_eq!(of(&checks, "masquerade").status, Status::Note);
    }

    #[test]
    fn interfaces_of_another_namespace_are_not_taken_for_ours() {
        let mut inside = workstation();
        inside.is_sys_ours = false;
        inside.nic = None;
        let bridges = of(&judge(&inside), "bridges");
        assert!(bridges.found.contains("another network namespace"), "{bridges:?}");
    }
}
