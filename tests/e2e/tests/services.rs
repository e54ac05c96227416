//! What the gateway offers guests beside names, asked by the clients that people use.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

use atoll_e2e::{Exec, Guest, Kit, Net, Options, with_namespaces};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const BOTH: [&str; 4] = ["--subnet", "10.77.0.0/24", "--ipv6", "fd77:77::/64"];

/// Lets a shell script with this text run as what udhcpc calls, and gives the words that run udhcpc.
fn udhcpc(folder: &tempfile::TempDir, script: &str, arguments: &str) -> String {
    let path = folder.path().join("told");
    fs::write(
        &path,
        format!("#!/bin/sh\n[ \"$1\" = bound ] || exit 0\n{script}\n"),
    )
    .unwrap();
    let path = path.display();
    format!("chmod +x {path}; busybox udhcpc -n -q -f -t 20 -T 1 -i tap0 -s {path} {arguments} 2>/dev/null")
}

#[test]
fn a_real_client_reads_the_hosts_clock_over_both_families_and_dhcp_says_where_it_is() {
    let Some(atoll) = with_namespaces() else { return };
    let folder = tempfile::tempdir().unwrap();
    let dhcp = udhcpc(&folder, "echo ntp $ntpsrv", "-O ntpsrv");
    let script = format!("{dhcp}; ntpdig -j -t 20 10.77.0.1; ntpdig -j -t 20 fd77:77::1");
    let said = Exec::start(atoll, &[&BOTH[..], &["--ntp-server", "always"]].concat(), &script).ok();
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("ntp 10.77.0.1"), "{said}");
    for _ in 0..2 {
        let answer: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        // The namespace has the host's clock: what the client sees of a difference is the way there and back.
        let offset = answer["offset"].as_f64().unwrap();
        assert!(offset.abs() < 5.0, "{said}");
        assert!(matches!(answer["stratum"].as_u64(), Some(10 | 15)), "{said}");
        assert_eq!(answer["leap"], "no-leap", "{said}");
    }
    assert_eq!(lines.next(), None, "{said}");
}

#[test]
fn what_dhcp_is_told_to_tell_arrives_at_a_real_client() {
    let Some(atoll) = with_namespaces() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = udhcpc(
        &folder,
        "echo tftp $tftp; echo boot $bootfile; echo router $router.; echo search $search; env | grep -i opt224",
        "-O 66 -O 67 -O search -O 224",
    );
    let arguments = [
        "--dhcp-option",
        "tftp-server-name=boot.example",
        "--dhcp-option",
        "67=a.kpxe",
        "--dhcp-option",
        "routers=off",
        "--dhcp-option",
        "119=lab.example,example.org",
        "--dhcp-option",
        "224=u16:7,8",
    ];
    let said = Exec::start(atoll, &arguments, &script).ok();
    let expected =
        "tftp boot.example\nboot a.kpxe\nrouter .\nsearch lab.example example.org\nopt224=00070008\n";
    assert_eq!(said, expected);
}

#[test]
fn every_wrong_option_is_one_sentence_with_a_hint() {
    let Some(atoll) = with_namespaces() else { return };
    for arguments in [
        ["--ntp-server", "maybe"],
        ["--dhcp-option", "66"],
        ["--dhcp-option", "53=u8:1"],
        ["--dhcp-option", "224=7"],
        ["--dhcp-option", "nonsense,66=a"],
        ["--dhcp6-option", "23=10.77.0.1"],
        ["--boot", "http-x86-64=boot.efi"],
        ["--boot-server", "boot.example"],
    ] {
        Exec::assert_refused(atoll, arguments);
    }
}

/// A folder to be served, with a file that is not in it beside it; the folder's path.
fn boot_folder(outer: &Path) -> String {
    let served = outer.join("served");
    fs::create_dir_all(served.join("boot")).unwrap();
    let data: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(served.join("boot/data"), data).unwrap();
    fs::write(outer.join("secret"), "secret").unwrap();
    symlink("boot/data", served.join("link")).unwrap();
    symlink("../secret", served.join("escape")).unwrap();
    served.display().to_string()
}

#[test]
fn real_clients_read_a_folder_over_tftp_and_nothing_beside_it() {
    let Some(atoll) = with_namespaces() else { return };
    let outer = tempfile::tempdir().unwrap();
    let folder = boot_folder(outer.path());
    let script = format!(
        "
        cd {outer}
        curl -s --tftp-blksize 1400 tftp://10.77.0.1/boot/data | cmp - {folder}/boot/data && echo curl
        curl -s -g 'tftp://[fd77:77::1]/link' | cmp - {folder}/boot/data && echo link over ipv6
        busybox tftp -g -b 1024 -r boot/data -l got 10.77.0.1 2>/dev/null; cmp got {folder}/boot/data && echo busybox
        curl -s --path-as-is tftp://10.77.0.1/../secret; echo $?
        curl -s tftp://10.77.0.1/escape; echo $?
        curl -s tftp://10.77.0.1/boot; echo $?
        curl -s tftp://10.77.0.1/nothing; echo $?
        curl -s -T secret tftp://10.77.0.1/written; echo $?
        ",
        outer = outer.path().display()
    );
    let said = Exec::start(atoll, &[&BOTH[..], &["--tftp", &folder]].concat(), &script).ok();
    // curl: 68 is "file not found", 69 "access violation".
    assert_eq!(said, "curl\nlink over ipv6\nbusybox\n69\n69\n69\n68\n69\n");
    assert!(!Path::new(&folder).join("written").exists());
}

#[test]
fn a_machine_without_a_disk_boots_by_its_nics_own_firmware() {
    let Some(kit) = Kit::find() else { return };
    let outer = tempfile::tempdir().unwrap();
    let served = outer.path().join("served");
    fs::create_dir(&served).unwrap();
    // Copies: a link that leads out of the folder is not followed. Firmware takes the kernel as a boot loader does, compressed.
    fs::copy(kit.kernel.with_file_name("vmlinuz"), served.join("vmlinuz")).unwrap();
    fs::copy(&kit.initramfs, served.join("initrd")).unwrap();
    let script = format!(
        "#!ipxe\nkernel vmlinuz {} atoll.hostname=diskless initrd=initrd\ninitrd initrd\nboot\n",
        kit.append
    );
    fs::write(served.join("menu.ipxe"), script).unwrap();
    let folder = served.display().to_string();
    let options = Options {
        arguments: &["--tftp", &folder, "--boot", "ipxe=menu.ipxe"],
    };
    let net = Net::start(kit, &options);
    let mut guest = Guest::boot_from_network(kit, &net, "diskless");
    assert_eq!(guest.ok("hostname"), "diskless");
}
