//! The documents cloud-init's NoCloud data source asks for, made from plain values.
//!
//! What cloud-init does with `ds=nocloud;s=http://HOST/` (read in its sources, 22.4.2 and 26.2; run with 22.4.2 and 25.1.4):
//!
//! - It fetches `meta-data`, `user-data` and `vendor-data`, newer ones `network-config` first of all; 22.4 never asks
//!   for that one over HTTP and falls back to DHCP on its first NIC. A 404 for meta-data or user-data ends the data
//!   source; one for the other two is borne, but each is asked for again ten times, a second apart. So all four are
//!   always served.
//! - 22.4 takes `ds=nocloud` for a local data source even when its seed is a URL: it fetches the seed in the network
//!   stage and then stops, "in local mode". `dsmode: net` in the served meta-data comes too late: what the serial number
//!   or the kernel command line says wins, and there it has put `local` itself (seen in its log, on Debian 12). Only
//!   `dsmode=net` in the serial number helps, see [`smbios_serial`]; later ones look at the URL and take it as well.
//! - The seed may be at an IPv6 address, `http://[fd77:77::1]/`, where the network has no IPv4. It is fetched in the network
//!   stage, so all depends on what configured the NIC before: without network-config that is cloud-init's fallback, which asks
//!   for DHCPv4 alone before 24.1 and for DHCPv6 as well since (`net/__init__.py`, `generate_fallback_config`). systemd-networkd
//!   follows router advertisements all the same, and DHCPv6 where these say so, so a guest on it has an address (run with
//!   22.4.2, without IPv4); one on ifupdown (Debian's own cloud images) waits for DHCPv4 in vain.
//! - Vendor-data is merged below user-data key by key: a user's `users:` displaces the vendor's list as a whole.
//!   `user:`, however, is another key: when it is set, the default user is appended to whatever `users:` says and
//!   takes name and keys from it, shell, groups and sudo rule from the distribution. That, not `users:`, is why our
//!   keys get in beside a user's own cloud-config.
//! - A vendor script runs in the final stage whatever was merged. Ours does nothing when the ssh user has the keys;
//!   it is there for user-data that sets `user:` itself, or that turns the default user off.
//!
//! JSON strings are valid YAML scalars, so every value from outside is written as one.

use crate::tool::shell_quoted;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The path of each document below the seed URL.
pub const DOCUMENTS: [&str; 4] = ["meta-data", "network-config", "user-data", "vendor-data"];

/// Served as user-data when the user gives none: cloud-init fails on a missing document, not on an empty one.
const NO_USER_DATA: &[u8] = b"#cloud-config\n{}\n";

/// The Ethernet address of one of a machine's NICs.
pub type MacAddress = [u8; 6];

/// One of a machine's NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nic {
    /// By which the guest knows it.
    pub mac: MacAddress,
    /// Its network has IPv4, and gives addresses by DHCP.
    pub ipv4: bool,
    /// Its network has IPv6 and announces its prefix.
    pub ipv6: bool,
    /// Its network gives addresses of IPv6 by DHCPv6; ifupdown would wait in vain where it does not.
    pub dhcp6: bool,
}

/// What the documents of one machine are made from.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// Stays the same over restarts: a new one makes cloud-init run everything anew.
    pub instance_id: &'a str,
    /// The machine's name on its networks.
    pub hostname: &'a str,
    /// The user that `ssh` logs in as; made when the image does not bring it.
    pub ssh_user: &'a str,
    /// Lines of an `authorized_keys` file.
    pub ssh_keys: &'a [String],
    /// The user's own user-data, passed on byte by byte.
    pub user_data: Option<&'a [u8]>,
    /// NICs in order; the first has the best route.
    pub nics: &'a [Nic],
    /// A further script for the final stage of the first boot: its name, and all of it.
    pub script: Option<(&'a str, &'a str)>,
    /// Whether it finds the documents on a drive, so that network-config counts before there is a network, instead of over HTTP.
    pub on_drive: bool,
}

/// The system serial number (`-smbios type=1,serial=…`) that makes every cloud-init since 22.4 fetch its seed from a URL,
/// which ends in `/`.
#[must_use]
pub fn smbios_serial(seed_url: &str) -> String {
    format!("ds=nocloud;dsmode=net;s={seed_url}")
}

/// The documents of a machine by their path below the seed URL.
#[must_use]
pub fn documents(machine: &Machine<'_>) -> BTreeMap<&'static str, Vec<u8>> {
    let [meta_data, network_config, user_data, vendor_data] = DOCUMENTS;
    BTreeMap::from([
        (meta_data, self::meta_data(machine).into_bytes()),
        (network_config, self::network_config(machine.nics).into_bytes()),
        (user_data, machine.user_data.unwrap_or(NO_USER_DATA).to_vec()),
        (vendor_data, self::vendor_data(machine).into_bytes()),
    ])
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn meta_data(machine: &Machine<'_>) -> String {
    let mut text = format!(
        "instance-id: {}\nlocal-hostname: {}\ndsmode: {}\n",
        quoted(machine.instance_id),
        quoted(machine.hostname),
        if machine.on_drive { "local" } else { "net" },
    );
    if !machine.ssh_keys.is_empty() {
        text.push_str("public-keys:\n");
        for key in machine.ssh_keys {
            let _ = writeln!(text, "  - {}", quoted(key));
        }
    }
    text
}

/// Each NIC by its address, so that the names the guest's kernel picks do not matter, with one exception: cloud-init
/// without netplan, on systemd-networkd, takes `dhcp4-overrides` only from an entry that is called as the NIC is (read in
/// 25.1.4, `net/networkd.py`). So they are called what kernels call them. Clones of one image share their DUID, hence
/// `dhcp-identifier: mac`. netplan wants the overrides of both DHCPs to be the same where both are asked.
fn network_config(nics: &[Nic]) -> String {
    let mut text = String::from("version: 2\nethernets:\n");
    if nics.is_empty() {
        text = String::from("version: 2\nethernets: {}\n");
    }
    for (index, nic) in nics.iter().enumerate() {
        let metric = index.saturating_add(1).saturating_mul(100);
        let [a, b, c, d, e, f] = nic.mac;
        let _ = write!(
            text,
            "  eth{index}:\n    \
               match:\n      \
                 macaddress: \"{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}\"\n    \
               dhcp4: {}\n    \
               dhcp6: {}\n    \
               accept-ra: {}\n    \
               dhcp-identifier: mac\n",
            nic.ipv4, nic.dhcp6, nic.ipv6,
        );
        for (family, has) in [(4, nic.ipv4), (6, nic.dhcp6)] {
            if has {
                let _ = write!(
                    text,
                    "    dhcp{family}-overrides:\n      route-metric: {metric}\n"
                );
            }
        }
    }
    text
}

fn vendor_data(machine: &Machine<'_>) -> String {
    let config = format!("#cloud-config\n{:#}\n", vendor_config(machine));
    let mut parts = json!([
        { "type": "text/cloud-config", "filename": "atoll.cfg", "content": config },
        { "type": "text/x-shellscript", "filename": "atoll-ssh-user", "content": login_script(machine) },
    ]);
    if let (Some((name, script)), Some(parts)) = (machine.script, parts.as_array_mut()) {
        parts.push(json!({ "type": "text/x-shellscript", "filename": name, "content": script }));
    }
    format!("#cloud-config-archive\n{parts:#}\n")
}

/// RSA host keys are left out: they take a guest without acceleration many seconds and no client needs them.
fn vendor_config(machine: &Machine<'_>) -> Value {
    let mut config = json!({
        "ssh_pwauth": false,
        "ssh_genkeytypes": ["ed25519", "ecdsa"],
        "ssh_authorized_keys": machine.ssh_keys,
    });
    if machine.ssh_user == "root" {
        config["disable_root"] = json!(false);
    } else {
        config["user"] = json!({ "name": machine.ssh_user, "ssh_authorized_keys": machine.ssh_keys });
    }
    config
}

fn login_script(machine: &Machine<'_>) -> String {
    let mut keys = String::new();
    for key in machine.ssh_keys {
        keys.push_str(key.trim_end());
        keys.push('\n');
    }
    include_str!("nocloud/login.sh")
        .replace("@USER@", &shell_quoted(machine.ssh_user))
        .replace("@KEYS@", &shell_quoted(&keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Vec<String> {
        vec!["ssh-ed25519 AAAAC3Nza you@host".to_owned()]
    }

    fn machine<'a>(keys: &'a [String], nics: &'a [Nic]) -> Machine<'a> {
        Machine {
            instance_id: "i-5f0a",
            hostname: "a",
            ssh_user: "debian",
            ssh_keys: keys,
            user_data: None,
            nics,
            script: None,
            on_drive: false,
        }
    }

    fn document(machine: &Machine<'_>, name: &str) -> String {
        String::from_utf8(documents(machine)[name].clone()).unwrap()
    }

    #[test]
    fn all_four_documents_are_there() {
        let keys = key();
        let documents = documents(&machine(&keys, &[]));
        assert_eq!(documents.keys().copied().collect::<Vec<_>>(), DOCUMENTS);
    }

    #[test]
    fn meta_data_names_instance_host_and_keys() {
        let keys = key();
        insta::assert_snapshot!(document(&machine(&keys, &[]), "meta-data"));
    }

    #[test]
    fn network_config_matches_each_nic_by_its_address() {
        let nic = |last, ipv4, ipv6| Nic {
            mac: [0x52, 0x54, 0, 0, 0, last],
            ipv4,
            ipv6,
            dhcp6: ipv6,
        };
        let nics = [nic(1, true, true), nic(2, true, false), nic(3, false, true)];
        insta::assert_snapshot!(document(&machine(&[], &nics), "network-config"));
    }

    #[test]
    fn a_nic_on_a_lan_asks_for_dhcpv4_and_listens_to_routers() {
        let nic = Nic {
            mac: [0x52, 0x54, 0, 0, 0, 1],
            ipv4: true,
            ipv6: true,
            dhcp6: false,
        };
        let text = document(&machine(&[], &[nic]), "network-config");
        for line in ["dhcp4: true", "dhcp6: false", "accept-ra: true"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("dhcp6-overrides"), "{text}");
    }

    #[test]
    fn documents_on_a_drive_count_before_there_is_a_network() {
        let machine = Machine {
            on_drive: true,
            ..machine(&[], &[])
        };
        assert!(document(&machine, "meta-data").contains("\ndsmode: local\n"));
    }

    #[test]
    fn vendor_data_adds_the_ssh_user_beside_the_users_own_list() {
        let keys = key();
        insta::assert_snapshot!(document(&machine(&keys, &[]), "vendor-data"));
    }

    #[test]
    fn root_is_let_in_only_when_it_is_the_ssh_user() {
        let keys = key();
        let mut machine = machine(&keys, &[]);
        assert!(!document(&machine, "vendor-data").contains("disable_root"));
        machine.ssh_user = "root";
        assert!(document(&machine, "vendor-data").contains(r#"\"disable_root\": false"#));
    }

    #[test]
    fn the_serial_number_says_that_the_seed_needs_the_network() {
        assert_eq!(
            smbios_serial("http://10.0.0.1/"),
            "ds=nocloud;dsmode=net;s=http://10.0.0.1/"
        );
    }

    #[test]
    fn user_data_is_passed_on_unchanged() {
        let keys = key();
        let mut machine = machine(&keys, &[]);
        assert_eq!(document(&machine, "user-data"), "#cloud-config\n{}\n");
        machine.user_data = Some(b"#!/bin/sh\r\n\xff");
        assert_eq!(documents(&machine)["user-data"], b"#!/bin/sh\r\n\xff");
    }
}
