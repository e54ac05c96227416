//! Rules over `cargo metadata`: who imports whom.
//!
//! Only what ends up in the product counts: normal and build dependencies. What a test uses is the
//! test's own affair. The graph holds the dependencies of Linux and macOS.

use super::rules::{CRATES, Crate, IMPURE, PLATFORM_CRATES, RESERVED, TOOLS};
use super::{CheckError, Finding};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Where every dependency has its line.
pub(super) const DOCUMENT: &str = "docs/dependencies.md";

/// A dependency as a manifest of ours names it.
#[derive(Debug, Clone)]
struct Direct {
    name: String,
    /// The `cfg(…)` it is bound to, if any.
    platform: Option<String>,
}

/// What the rules need of `cargo metadata`: our packages with what their manifests name, and the
/// names each package of the whole graph resolves to.
#[derive(Debug, Default)]
pub(super) struct Imports {
    ours: BTreeMap<String, Vec<Direct>>,
    resolved: BTreeMap<String, BTreeSet<String>>,
    /// What our manifests name for any purpose, tests included, without our own crates.
    named: BTreeSet<String>,
}

/// Runs `cargo metadata` in `root`.
pub(super) fn load(root: &Path) -> Result<Imports, CheckError> {
    let failed = |words: String| CheckError::Metadata { words };
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args(["metadata", "--format-version=1"])
        .args([
            "--filter-platform=x86_64-unknown-linux-gnu",
            "--filter-platform=aarch64-apple-darwin",
        ])
        .output()
        .map_err(|cause| failed(cause.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let metadata = serde_json::from_slice(&output.stdout).map_err(|cause| failed(cause.to_string()))?;
    Ok(parse(&metadata))
}

/// Picks the graph out of `metadata`. Fields that are missing read as empty: a test of the rules
/// names only what it is about.
fn parse(metadata: &Value) -> Imports {
    let mut names = BTreeMap::new();
    let mut imports = Imports::default();
    for package in list(&metadata["packages"]) {
        let name = word(&package["name"]);
        names.insert(word(&package["id"]), name.clone());
        if package["source"].is_null() {
            let foreign = list(&package["dependencies"]).filter(|it| !it["source"].is_null());
            imports.named.extend(foreign.map(|it| word(&it["name"])));
            let direct = list(&package["dependencies"])
                .filter(|it| in_product(&it["kind"]))
                .map(|it| Direct {
                    name: word(&it["name"]),
                    platform: it["target"].as_str().map(str::to_owned),
                });
            imports.ours.insert(name, direct.collect());
        }
    }
    let name_of = |id: &Value| names.get(&word(id)).cloned();
    for node in list(&metadata["resolve"]["nodes"]) {
        let Some(name) = name_of(&node["id"]) else {
            continue;
        };
        let used = list(&node["deps"])
            .filter(|dependency| list(&dependency["dep_kinds"]).any(|kind| in_product(&kind["kind"])))
            .filter_map(|dependency| name_of(&dependency["pkg"]));
        imports.resolved.entry(name).or_default().extend(used);
    }
    imports
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `cargo metadata` writes a normal dependency's kind as null.
fn in_product(kind: &Value) -> bool {
    kind.as_str().is_none_or(|kind| kind == "build")
}

/// Applies the rules to `imports`.
pub(super) fn check(imports: &Imports) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, direct) in &imports.ours {
        if TOOLS.contains(&name.as_str()) {
            continue;
        }
        let Some(rule) = CRATES.iter().find(|rule| rule.name == name) else {
            let problem = "this crate has no line in the table of the walls (xtask/src/walls/rules.rs)";
            findings.push(Finding::new(name, problem));
            continue;
        };
        findings.extend(direction(rule, direct, imports));
        findings.extend(reserved(name, direct));
        findings.extend(platform(name, direct));
        if rule.pure {
            findings.extend(impure(name, imports));
        }
    }
    findings
}

/// Every dependency has its line in the document about them, in the first column.
pub(super) fn undocumented(imports: &Imports, document: &str) -> Vec<Finding> {
    let has_line = |name: &str| {
        let start = format!("| `{name}` |");
        document.lines().any(|line| line.starts_with(&start))
    };
    let missing = imports.named.iter().filter(|name| !has_line(name));
    missing
        .map(|name| {
            Finding::new(
                DOCUMENT,
                format!("has no line about {name}: why, what it saves, how to leave it"),
            )
        })
        .collect()
}

/// Our crates import only those left of them.
fn direction(rule: &Crate, direct: &[Direct], imports: &Imports) -> Vec<Finding> {
    let ours = direct.iter().filter(|it| imports.ours.contains_key(&it.name));
    let wrong = ours.filter(|it| !rule.may_use.contains(&it.name.as_str()));
    wrong
        .map(|it| Finding::new(rule.name, format!("must not import {}", it.name)))
        .collect()
}

/// Dependencies with a fixed place are named nowhere else.
fn reserved(name: &str, direct: &[Direct]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in &RESERVED {
        for used in direct
            .iter()
            .filter(|it| rule.dependencies.contains(&it.name.as_str()))
        {
            if !rule.users.contains(&name) {
                findings.push(Finding::new(
                    name,
                    format!("must not use {}: {}", used.name, rule.reason),
                ));
            }
        }
    }
    findings
}

/// Only the crates that know the operating system have dependencies that differ by it.
fn platform(name: &str, direct: &[Direct]) -> Vec<Finding> {
    if PLATFORM_CRATES.contains(&name) {
        return Vec::new();
    }
    let bound = direct
        .iter()
        .filter_map(|it| it.platform.as_ref().map(|platform| (&it.name, platform)));
    bound
        .map(|(used, platform)| Finding::new(name, format!("must not bind {used} to a platform: {platform}")))
        .collect()
}

/// A pure crate reaches no I/O, with the way by which it does.
fn impure(name: &str, imports: &Imports) -> Vec<Finding> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = vec![name];
    let mut findings = Vec::new();
    while let Some(user) = queue.pop() {
        for used in imports.resolved.get(user).into_iter().flatten() {
            if used == name || came_from.contains_key(used.as_str()) {
                continue;
            }
            came_from.insert(used, user);
            queue.push(used);
            if IMPURE.contains(&used.as_str()) {
                let way = way_to(used, &came_from).join(" -> ");
                findings.push(Finding::new(
                    name,
                    format!("must stay free of I/O, but reaches {used}: {way}"),
                ));
            }
        }
    }
    findings
}

fn way_to<'a>(end: &'a str, came_from: &BTreeMap<&'a str, &'a str>) -> Vec<&'a str> {
    let mut way: Vec<&str> = std::iter::successors(Some(end), |here| came_from.get(here).copied()).collect();
    way.reverse();
    way
}

#[cfg(test)]
#[path = "imports_tests.rs"]
mod tests;
