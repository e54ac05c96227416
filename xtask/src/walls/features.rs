//! The feature table names tests; a test that it names exists.
//!
//! In `docs/features.md` what stands in backticks and has at least two underscores is the name of a test function.

use super::Finding;
use super::tree::SourceFile;

/// The table.
const DOCUMENT: &str = "docs/features.md";

/// Every name in the table that no source file has as a function.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let Some(table) = files.iter().find(|file| file.path == DOCUMENT) else {
        return vec![Finding::new(DOCUMENT, "is missing")];
    };
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(table.text.lines()) {
        for name in line.split('`').skip(1).step_by(2).filter(|word| is_test(word)) {
            if !files.iter().any(|file| has_function(file, name)) {
                let problem = format!("names the test {name}, which is nowhere");
                findings.push(Finding::new(format!("{DOCUMENT}:{number}"), problem));
            }
        }
    }
    findings
}

fn is_test(word: &str) -> bool {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(is_name) && word.matches('_').count() >= 2
}

fn has_function(file: &SourceFile, name: &str) -> bool {
    file.is_rust() && file.text.contains(&format!("fn {name}("))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_test_that_the_table_names_and_nobody_wrote_is_found() {
        let source = file(
            "tests/e2e/tests/dgram.rs",
            "#[test]\nfn two_share_one_socket() {}\n",
        );
        let table = |name: &str| {
            file(
                DOCUMENT,
                &format!("# Features\n| 2 | yes | `dgram`: `{name}` |\n"),
            )
        };
        assert_eq!(check(&[table("two_share_one_socket"), source]), []);
        let source = file(
            "tests/e2e/tests/dgram.rs",
            "#[test]\nfn two_share_one_socket() {}\n",
        );
        let found = check(&[table("two_share_a_socket"), source]);
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["docs/features.md:2: names the test two_share_a_socket, which is nowhere"]
        );
    }

    #[test]
    fn a_table_that_is_gone_is_found() {
        assert_eq!(check(&[]).len(), 1);
    }
}
