//! Rules over `clippy.toml`: the walls against `std`.
//!
//! Clippy reads one `clippy.toml`, the nearest: a crate's own replaces the workspace's. So a crate's
//! own must repeat the workspace's keys, forbid what [`STD_WALLS`] lists, and give each ban a reason.

use super::rules::STD_WALLS;
use super::{CheckError, Finding, read};
use std::path::Path;

/// Applies the rules to the `clippy.toml` files below `root`.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>, CheckError> {
    let common = read(&root.join("clippy.toml"))?;
    let mut findings = Vec::new();
    for wall in &STD_WALLS {
        let path = format!("{}/clippy.toml", wall.folder);
        match read(&root.join(&path)) {
            Ok(text) => findings.extend(compare(&path, &text, &common, wall.forbidden)),
            Err(_) => findings.push(Finding::new(path, "is missing: the wall against std is not kept")),
        }
    }
    Ok(findings)
}

fn compare(path: &str, text: &str, common: &str, forbidden: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let settings = common
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in settings.filter(|line| !text.lines().any(|own| own.trim() == *line)) {
        findings.push(Finding::new(
            path,
            format!("does not repeat the workspace's `{line}`"),
        ));
    }
    let bans: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("{ path = "))
        .collect();
    for name in forbidden {
        if !bans
            .iter()
            .any(|ban| ban.starts_with(&format!("{{ path = \"{name}\"")))
        {
            findings.push(Finding::new(path, format!("does not forbid {name}")));
        }
    }
    for ban in bans.iter().filter(|ban| !ban.contains("reason = \"")) {
        findings.push(Finding::new(path, format!("gives no reason: {ban}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::compare;

    const WALL: &str =
        "limit = 5\nbans = [\n    { path = \"std::thread::spawn\", reason = \"no threads\" },\n]\n";

    fn findings(text: &str) -> Vec<String> {
        let found = compare(
            "clippy.toml",
            text,
            "# common\nlimit = 5\n",
            &["std::thread::spawn"],
        );
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_complete_wall_passes() {
        assert_eq!(findings(WALL), [""; 0]);
    }

    #[test]
    fn a_setting_of_the_workspace_that_is_not_repeated_is_found() {
        let found = findings(&WALL.replace("limit = 5", "limit = 9"));
        assert_eq!(
            found,
            ["clippy.toml: does not repeat the workspace's `limit = 5`"]
        );
    }

    #[test]
    fn a_call_that_is_not_forbidden_is_found() {
        let found = findings(&WALL.replace("spawn", "scope"));
        assert_eq!(found, ["clippy.toml: does not forbid std::thread::spawn"]);
    }

    #[test]
    fn a_ban_that_is_commented_out_is_found() {
        let found = findings(&WALL.replace("{ path", "# { path"));
        assert_eq!(found, ["clippy.toml: does not forbid std::thread::spawn"]);
    }

    #[test]
    fn a_ban_without_a_reason_is_found() {
        let found = findings(&WALL.replace(", reason = \"no threads\"", ""));
        assert_eq!(
            found,
            ["clippy.toml: gives no reason: { path = \"std::thread::spawn\" },"]
        );
    }
}
