//! The listing of the catalogue, by the real binary in a home of its own.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic, too")]

#[expect(dead_code, reason = "other tests use the rest")]
mod home;

use home::Home;
use serde_json::Value;

fn listed(home: &Home, arguments: &[&str]) -> String {
    let mut command = home.command(&["image", "ls", "--catalogue"]);
    command.env("ATOLL_IMAGE_MIRROR", "http://127.0.0.1:9");
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_catalogue_tells_names_architectures_and_sources() {
    let home = Home::new();
    let table = listed(&home, &[]);
    let row = "debian-13     debian, debian-trixie    aarch64  http://127.0.0.1:9/images/cloud/trixie/latest/debian-13-generic-arm64.qcow2";
    assert!(table.starts_with("NAME "), "{table}");
    assert!(table.lines().any(|line| line == row), "{table}");
    assert!(!home.path("cache").exists(), "looking makes no folder");
}

#[test]
fn the_catalogue_for_programs_has_every_image_once() {
    let images: Vec<Value> = serde_json::from_str(&listed(&Home::new(), &["--json"])).unwrap();
    let mut keys: Vec<_> = images
        .iter()
        .map(|image| (image["name"].as_str().unwrap(), image["arch"].as_str().unwrap()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    assert!(keys.contains(&("alpine-3.22", "aarch64")), "{keys:?}");
    assert_eq!(keys.len(), images.len());
    let complete = |image: &Value| image["source"].is_string() && image["checksums"].is_string();
    assert!(images.iter().all(complete));
}

fn write_own(home: &Home, text: &str) {
    let folder = home.path("home/.config/atoll");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("images.yaml"), text).unwrap();
}

#[test]
fn the_users_own_images_are_listed_first() {
    let home = Home::new();
    write_own(
        &home,
        "images:\n  own: {url: 'https://h.example/{debian-arch}.img', arch: [aarch64]}\n",
    );
    let images: Vec<Value> = serde_json::from_str(&listed(&home, &["--json"])).unwrap();
    let own = &images[0];
    assert_eq!((&own["name"], &own["own"]), (&"own".into(), &true.into()));
    assert_eq!(own["source"], "https://h.example/arm64.img");
    assert_eq!(own["checksums"], Value::Null);
    assert_eq!(images[1]["own"], false);
}

#[test]
fn a_mistake_in_the_users_images_is_shown_with_its_line() {
    let home = Home::new();
    write_own(&home, "images:\n  own:\n    ulr: https://h.example/a.img\n");
    insta::assert_snapshot!(home.fails(&["image", "ls", "--catalogue"], 2));
    assert_eq!(
        home.fails(&["image", "pull", "own"], 2),
        home.fails(&["image", "ls", "--catalogue"], 2),
    );
}
