//! `image ls`, `rm` and `prune` by the real binary, with disks that machines of clusters lie on.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

#[expect(dead_code, reason = "other tests use the rest")]
mod home;

use home::Home;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// Puts an image into the store's folder, as an earlier run would have.
fn have_image(home: &Home, name: &str, serial: u32) -> PathBuf {
    let folder = home.path(&format!("cache/atoll/images/images/{name}-x86_64+{serial}"));
    std::fs::create_dir_all(&folder).unwrap();
    let disk = folder.join("disk.img");
    std::fs::write(&disk, vec![serial.to_be_bytes()[3]; 3 << 20]).unwrap();
    let manifest = format!(
        r#"{{"name": "{name}", "arch": "x86_64", "origin": "built", "from": "a test", "bytes": 3145728,
            "boot": {{"disk": {{"path": "disk.img", "format": "raw"}}}}}}"#
    );
    std::fs::write(folder.join("image.json"), manifest).unwrap();
    disk
}

/// A machine of a cluster that was brought up once, its disk on this base.
fn have_machine(home: &Home, machine: &str, base: &PathBuf) {
    let folder = home.path(&format!("state/clusters/demo-00112233/machines/{machine}"));
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new("qemu-img");
    command
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(base);
    assert!(command.arg(folder.join("disk.qcow2")).status().unwrap().success());
}

fn names(home: &Home) -> Vec<String> {
    let output = home.command(&["image", "ls", "--json"]).output().unwrap();
    let images: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    images
        .iter()
        .map(|image| image["name"].as_str().unwrap().to_owned())
        .collect()
}

fn said(home: &Home, arguments: &[&str]) -> String {
    let output = home.command(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn pruning_keeps_what_machines_lie_on_and_what_is_young() {
    let home = Home::new();
    let old = have_image(&home, "a", 1);
    have_image(&home, "a", 2);
    have_image(&home, "b", 1);
    have_machine(&home, "web", &old);
    assert_eq!(said(&home, &["image", "prune"]), "removed 0 images, 0 MiB\n");
    let all = ["image", "prune", "--all", "--older-than", "1d"];
    assert_eq!(said(&home, &all), "removed 0 images, 0 MiB\n");
    let would = said(&home, &["image", "prune", "--all", "-n"]);
    assert_eq!(
        would,
        "would remove a (x86_64, 4 MiB)\nwould remove b (x86_64, 4 MiB)\nwould remove 2 images, 7 MiB\n"
    );
    assert_eq!(names(&home), ["a", "a", "b"]);
    said(&home, &["image", "prune", "--all"]);
    assert_eq!(names(&home), ["a"]);
    assert!(old.exists());
}

#[test]
fn an_image_that_a_machine_lies_on_is_not_removed_by_name() {
    let home = Home::new();
    let disk = have_image(&home, "a", 1);
    have_machine(&home, "web", &disk);
    have_machine(&home, "db", &disk);
    insta::assert_snapshot!(home.fails(&["image", "rm", "a"], 2));
    let listed = home.command(&["image", "ls"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("demo/db +1") || listed.contains("demo/web +1"),
        "{listed}"
    );
    std::fs::remove_dir_all(home.path("state/clusters")).unwrap();
    assert_eq!(said(&home, &["image", "rm", "a"]), "removed a (x86_64, 4 MiB)\n");
}

#[test]
fn an_age_that_is_none_is_refused() {
    let home = Home::new();
    let said = home.fails(&["image", "prune", "--older-than", "soon"], 2);
    assert!(said.contains("write a number and m, h, d or w"), "{said}");
}
