//! Each rule over imports, shown to fail on a graph made up for it.

use super::{check, parse, undocumented};
use serde_json::{Value, json};

/// One of our packages whose manifest names `dependencies`.
fn ours(name: &str, dependencies: &[Value]) -> Value {
    json!({ "id": name, "name": name, "source": null, "dependencies": dependencies })
}

fn foreign(name: &str) -> Value {
    json!({ "id": name, "name": name, "source": "registry", "dependencies": [] })
}

fn uses(name: &str) -> Value {
    json!({ "name": name, "kind": null, "target": null })
}

fn resolves(name: &str, kind: Option<&str>, used: &[&str]) -> Value {
    let deps: Vec<Value> = used
        .iter()
        .map(|it| json!({ "pkg": it, "dep_kinds": [{ "kind": kind, "target": null }] }))
        .collect();
    json!({ "id": name, "deps": deps })
}

fn findings(packages: &[Value], nodes: &[Value]) -> Vec<String> {
    let metadata = json!({ "packages": packages, "resolve": { "nodes": nodes } });
    check(&parse(&metadata)).iter().map(ToString::to_string).collect()
}

#[test]
fn an_import_against_the_direction_is_found() {
    let packages = [
        ours("atoll-wire", &[uses("atoll-engine")]),
        ours("atoll-engine", &[uses("atoll-wire")]),
    ];
    assert_eq!(
        findings(&packages, &[]),
        ["atoll-wire: must not import atoll-engine"]
    );
}

#[test]
fn control_must_not_import_packets_or_the_engine() {
    let packages = [
        ours("atoll-wire", &[]),
        ours("atoll-engine", &[]),
        ours("atoll-control", &[uses("atoll-wire"), uses("atoll-engine")]),
    ];
    let expected = [
        "atoll-control: must not import atoll-wire",
        "atoll-control: must not import atoll-engine",
    ];
    assert_eq!(findings(&packages, &[]), expected);
}

#[test]
fn the_network_is_usable_without_machines() {
    let machines = ["atoll-qemu", "atoll-images", "atoll-cluster"];
    let mut packages: Vec<Value> = machines.iter().map(|name| ours(name, &[])).collect();
    packages.push(ours(
        "atoll-runtime",
        &[
            uses(machines[0]),
            uses(machines[1]),
            uses(machines[2]),
            uses("clap"),
        ],
    ));
    let found = findings(&packages, &[]);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(
        found
            .iter()
            .all(|line| line.starts_with("atoll-runtime: must not")),
        "{found:#?}"
    );
}

#[test]
fn an_import_in_the_direction_is_free() {
    let packages = [
        ours("atoll-wire", &[]),
        ours("atoll-engine", &[uses("atoll-wire"), uses("bytes")]),
    ];
    assert_eq!(findings(&packages, &[]), [""; 0]);
}

#[test]
fn a_dependency_out_of_its_place_is_found_with_the_reason() {
    let found = findings(&[ours("atoll-cluster", &[uses("tokio")])], &[]);
    assert_eq!(
        found,
        ["atoll-cluster: must not use tokio: the data path has one event loop of its own"]
    );
}

#[test]
fn the_engine_draws_no_randomness() {
    let found = findings(&[ours("atoll-engine", &[uses("rand")])], &[]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("atoll-engine: must not use rand:"),
        "{found:?}"
    );
}

#[test]
fn a_pure_crate_that_reaches_io_is_found_with_the_way() {
    let packages = [
        ours("atoll-spec", &[uses("yaml")]),
        foreign("yaml"),
        foreign("include"),
        foreign("ureq"),
    ];
    let nodes = [
        resolves("atoll-spec", None, &["yaml"]),
        resolves("yaml", None, &["include"]),
        resolves("include", None, &["ureq"]),
    ];
    let way = "atoll-spec -> yaml -> include -> ureq";
    let expected = format!("atoll-spec: must stay free of I/O, but reaches ureq: {way}");
    assert_eq!(findings(&packages, &nodes), [expected]);
}

#[test]
fn what_a_test_uses_is_not_part_of_the_product() {
    let dev = json!({ "name": "tokio", "kind": "dev", "target": null });
    let packages = [ours("atoll-engine", &[dev]), foreign("tokio")];
    let nodes = [resolves("atoll-engine", Some("dev"), &["tokio"])];
    assert_eq!(findings(&packages, &nodes), [""; 0]);
}

#[test]
fn a_platform_dependency_outside_its_crates_is_found() {
    let bound = [json!({ "name": "block2", "kind": null, "target": "cfg(target_os = \"macos\")" })];
    let found = findings(&[ours("atoll-cluster", &bound), ours("atoll-ports", &bound)], &[]);
    let expected = "atoll-cluster: must not bind block2 to a platform: cfg(target_os = \"macos\")";
    assert_eq!(found, [expected]);
}

#[test]
fn a_crate_without_a_rule_is_found() {
    let found = findings(&[ours("atoll-new", &[]), ours("xtask", &[uses("anything")])], &[]);
    assert_eq!(
        found,
        ["atoll-new: this crate has no line in the table of the walls (xtask/src/walls/rules.rs)"]
    );
}

#[test]
fn a_dependency_without_a_line_in_the_document_is_found() {
    let named = |name: &str| json!({ "name": name, "kind": "dev", "target": null, "source": "registry" });
    let package = ours(
        "atoll-engine",
        &[named("proptest"), named("bytes"), uses("atoll-wire")],
    );
    let metadata = json!({ "packages": [package], "resolve": { "nodes": [] } });
    let found = undocumented(
        &parse(&metadata),
        "| `bytes` | shared | no |\nproptest, `proptest`\n",
    );
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["docs/dependencies.md: has no line about proptest: why, what it saves, how to leave it"]
    );
}
