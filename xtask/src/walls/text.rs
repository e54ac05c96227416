//! Rules over plain text: crate roots, length of files, names of mirrors.

use super::Finding;
use super::rules::{CRATES, MAX_LINES, MIRROR_DOMAINS, MIRROR_LABELS};
use super::tree::SourceFile;
use std::path::Path;

/// Applies the rules to one file.
pub(super) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.is_rust() {
        findings.extend(length(file));
        findings.extend(forbid(file));
    }
    findings.extend(mirrors(file));
    findings
}

/// Crate roots of the rules that do not exist, so that moving one does not lose its rule.
pub(super) fn missing_roots(root: &Path) -> Vec<Finding> {
    let paths = CRATES.iter().filter_map(|rule| rule.forbids_unsafe);
    let missing = paths.filter(|path| !root.join(path).is_file());
    missing
        .map(|path| Finding::new(path, "is a crate root in the table of the walls, but is missing"))
        .collect()
}

fn length(file: &SourceFile) -> Option<Finding> {
    let lines = file.text.lines().count();
    let problem = || format!("has {lines} lines; {MAX_LINES} are the most: split it by concern");
    (lines > MAX_LINES).then(|| Finding::new(&file.path, problem()))
}

fn forbid(file: &SourceFile) -> Option<Finding> {
    let is_root = CRATES
        .iter()
        .any(|rule| rule.forbids_unsafe == Some(file.path.as_str()));
    let says_so = file
        .text
        .lines()
        .any(|line| line.trim() == "#![forbid(unsafe_code)]");
    (is_root && !says_so).then(|| Finding::new(&file.path, "must say #![forbid(unsafe_code)]"))
}

fn mirrors(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(file.text.lines()) {
        for host in line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-')) {
            if is_mirror(host) {
                let place = format!("{}:{number}", file.path);
                let problem =
                    format!("names the package mirror {host}; derive it from the machine's own sources");
                findings.push(Finding::new(place, problem));
            }
        }
    }
    findings
}

/// Whether `host` is a mirror: a known first label, any labels between (a country), a known domain.
fn is_mirror(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let Some((first, rest)) = host.split_once('.') else {
        return false;
    };
    let in_domain = |domain: &str| rest == domain || rest.ends_with(&format!(".{domain}"));
    MIRROR_LABELS.contains(&first) && MIRROR_DOMAINS.into_iter().any(in_domain)
}

#[cfg(test)]
mod tests {
    use super::{check, missing_roots};
    use crate::walls::rules::{MAX_LINES, MIRROR_DOMAINS, MIRROR_LABELS};
    use crate::walls::tree::SourceFile;
    use std::path::Path;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let file = SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_is_too_long_from_the_line_after_the_limit() {
        assert_eq!(
            findings("crates/wire/src/arp.rs", &"\n".repeat(MAX_LINES)),
            [""; 0]
        );
        let found = findings("crates/wire/src/arp.rs", &"\n".repeat(MAX_LINES + 1));
        assert_eq!(
            found,
            ["crates/wire/src/arp.rs: has 601 lines; 600 are the most: split it by concern"]
        );
    }

    #[test]
    fn a_crate_root_that_does_not_forbid_unsafe_is_found() {
        let found = findings(
            "crates/engine/src/lib.rs",
            "//! #![forbid(unsafe_code)]\n#![deny(unsafe_code)]\n",
        );
        assert_eq!(
            found,
            ["crates/engine/src/lib.rs: must say #![forbid(unsafe_code)]"]
        );
        assert_eq!(
            findings(
                "crates/engine/src/lib.rs",
                "//! Engine.\n#![forbid(unsafe_code)]\n"
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_crate_root_that_has_moved_is_found() {
        let found = missing_roots(Path::new("/nonexistent"));
        assert!(!found.is_empty());
    }

    #[test]
    fn every_mirror_is_found_in_any_file() {
        for label in MIRROR_LABELS {
            for domain in MIRROR_DOMAINS {
                let text = format!("first line\nURIs: http://{label}.{domain}/debian\n");
                let found = findings("scripts/deps.sh", &text);
                assert_eq!(found.len(), 1, "{text}");
                assert!(
                    found[0].starts_with("scripts/deps.sh:2: names the package mirror"),
                    "{found:?}"
                );
            }
        }
    }

    #[test]
    fn a_country_mirror_is_found() {
        let text = format!(
            "deb http://{}.de.{}/debian stable main",
            MIRROR_LABELS[1], MIRROR_DOMAINS[0]
        );
        assert_eq!(findings("docs/setup.md", &text).len(), 1);
    }

    #[test]
    fn hosts_of_cloud_images_are_free() {
        let text = "https://cloud.debian.org/images https://cloud-images.ubuntu.com/releases";
        assert_eq!(findings("crates/images/src/catalogue.rs", text), [""; 0]);
    }
}
