//! `image import` and `save` by the real binary.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

#[expect(dead_code, reason = "other tests use the rest")]
mod home;

use home::Home;
use serde_json::Value;
use std::process::Command;

fn listed(home: &Home) -> Vec<Value> {
    let output = home.command(&["image", "ls", "--json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn qemu_img(home: &Home, arguments: &[&str]) {
    let mut command = Command::new("qemu-img");
    command.current_dir(home.path("demo")).args(arguments);
    assert!(command.output().unwrap().status.success(), "{arguments:?}");
}

#[test]
fn a_file_is_imported_under_its_own_name_or_another() {
    let home = Home::new();
    qemu_img(&home, &["create", "-f", "vmdk", "Web.v2.vmdk", "8M"]);
    for arguments in [
        &["Web.v2.vmdk"][..],
        &["Web.v2.vmdk", "other", "--user", "admin", "--arch", "arm64"],
    ] {
        let output = home
            .command(&[&["image", "import"], arguments].concat())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let images = listed(&home);
    let of = |at: usize| {
        (
            images[at]["name"].as_str(),
            images[at]["arch"].as_str(),
            images[at]["ssh_user"].as_str(),
        )
    };
    assert_eq!(of(0), (Some("other"), Some("aarch64"), Some("admin")));
    assert_eq!(of(1), (Some("web"), Some(std::env::consts::ARCH), None));
    assert_eq!(images[0]["origin"], "imported");
}

#[test]
fn what_cannot_be_imported_is_told_with_what_to_do() {
    let home = Home::new();
    let mut medium = vec![0; 64 * 1024];
    medium[32769..32774].copy_from_slice(b"CD001");
    home.write("setup.iso", &medium);
    home.write("notes.txt", b"not a disk");
    home.write("_.img", &[0; 512]);
    qemu_img(&home, &["create", "-f", "raw", "base.img", "1M"]);
    qemu_img(
        &home,
        &[
            "create",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            "base.img",
            "own.qcow2",
        ],
    );
    let said: Vec<String> = ["setup.iso", "notes.txt", "_.img", "own.qcow2", "absent.img"]
        .iter()
        .map(|file| home.fails(&["image", "import", file], 2))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
    assert_eq!(listed(&home), Vec::<Value>::new());
}

const FILE: &str = "name: demo\nmachines:\n  web: {image: ./base.img, ssh: {user: admin}}\n";

/// The folder of the cluster's state, which a run makes; its hash is in what `qemu-args` prints.
fn machine_folder(home: &Home) -> std::path::PathBuf {
    let output = home.command(&["qemu-args", "web"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let at = text.find("clusters/demo-").unwrap() + "clusters/".len();
    let cluster = &text[at..at + "demo-00112233".len()];
    home.path(&format!("state/clusters/{cluster}/machines/web"))
}

#[test]
fn a_stopped_machines_disk_becomes_an_image() {
    let home = Home::with_file(FILE);
    qemu_img(&home, &["create", "-f", "raw", "base.img", "8M"]);
    let no_disk = home.fails(&["image", "save", "web", "golden"], 2);
    let unknown = home.fails(&["image", "save", "wbe", "golden"], 2);
    insta::assert_snapshot!(format!("{no_disk}\n{unknown}"));
    let folder = machine_folder(&home);
    std::fs::create_dir_all(&folder).unwrap();
    let disk = folder.join("disk.qcow2").display().to_string();
    let base = home.path("demo/base.img").display().to_string();
    qemu_img(&home, &["create", "-f", "qcow2", "-F", "raw", "-b", &base, &disk]);
    let saved = home
        .command(&["image", "save", "web", "golden"])
        .output()
        .unwrap();
    assert!(saved.status.success(), "{saved:?}");
    let said = String::from_utf8(saved.stderr).unwrap();
    assert!(said.contains("cloud-init clean --machine-id"), "{said}");
    let images = listed(&home);
    assert_eq!(images[0]["from"], "machine web of demo");
    assert_eq!(
        (&images[0]["name"], &images[0]["ssh_user"]),
        (&"golden".into(), &"admin".into())
    );
}

/// QEMU holds a lock on the disk of a machine that runs; `qemu-io` holds the same.
#[test]
fn a_disk_that_is_written_to_is_not_saved() {
    let home = Home::with_file(FILE);
    qemu_img(&home, &["create", "-f", "raw", "base.img", "8M"]);
    let folder = machine_folder(&home);
    std::fs::create_dir_all(&folder).unwrap();
    let disk = folder.join("disk.qcow2");
    qemu_img(
        &home,
        &["create", "-f", "qcow2", &disk.display().to_string(), "8M"],
    );
    let mut writer = Command::new("qemu-io");
    writer.args(["-f", "qcow2"]).arg(&disk);
    let mut writer = writer
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Its prompt comes when the disk is open.
    std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut [0; 8]).unwrap();
    let said = home.fails(&["image", "save", "web", "golden"], 1);
    assert!(said.contains("lock"), "{said}");
    assert_eq!(listed(&home), Vec::<Value>::new());
    writer.kill().unwrap();
    writer.wait().unwrap();
}
