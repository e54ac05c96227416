//! Rules over tokens: `unsafe` and operating system conditions stay in their places.
//!
//! The source is cut into tokens, so that a word in a comment or a string is not taken for code.

use super::Finding;
use super::rules::PLATFORM_PLACES;
use super::tree::SourceFile;
use proc_macro2::{TokenStream, TokenTree};
use std::str::FromStr;

/// Words that are the operating system's business, and what to call them.
const PLATFORM_WORDS: [(&str, &str); 4] = [
    ("unsafe", "`unsafe`"),
    ("target_os", "`cfg(target_os)`"),
    ("target_vendor", "`cfg(target_vendor)`"),
    ("target_family", "`cfg(target_family)`"),
];

/// Applies the rules to a Rust file; others have no tokens.
pub(super) fn check(file: &SourceFile) -> Vec<Finding> {
    if !file.is_rust() || PLATFORM_PLACES.iter().any(|place| file.path.starts_with(place)) {
        return Vec::new();
    }
    match TokenStream::from_str(&file.text) {
        Ok(tokens) => {
            let mut findings = Vec::new();
            walk(tokens, &file.path, &mut findings);
            findings
        }
        Err(error) => vec![Finding::new(&file.path, format!("is not Rust: {error}"))],
    }
}

fn walk(tokens: TokenStream, path: &str, findings: &mut Vec<Finding>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => walk(group.stream(), path, findings),
            TokenTree::Ident(word) => {
                let Some((_, name)) = PLATFORM_WORDS.iter().find(|(known, _)| word == known) else {
                    continue;
                };
                let place = format!("{path}:{}", word.span().start().line);
                let allowed = PLATFORM_PLACES.join(", ");
                findings.push(Finding::new(
                    place,
                    format!("{name} is allowed only in {allowed}"),
                ));
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::walls::tree::SourceFile;

    fn places(path: &str, text: &str) -> Vec<String> {
        let file = SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&file).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn unsafe_outside_its_places_is_found_by_line() {
        let text = "fn read() {\n    unsafe { core::hint::unreachable_unchecked() }\n}\n";
        assert_eq!(
            places("crates/runtime/src/flows.rs", text),
            ["crates/runtime/src/flows.rs:2"]
        );
    }

    #[test]
    fn an_operating_system_condition_is_found_in_every_form() {
        for text in [
            "#[cfg(target_os = \"linux\")] fn read() {}",
            "#[cfg(any(unix, not(target_os = \"macos\")))] fn read() {}",
            "fn read() -> bool { cfg!(target_vendor = \"apple\") }",
            "#![cfg_attr(target_family = \"unix\", expect(dead_code))]",
        ] {
            assert_eq!(places("crates/engine/src/lib.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn their_places_may_hold_both() {
        let text = "#[cfg(target_os = \"linux\")] unsafe fn read() {}";
        for path in [
            "crates/ports/src/tap.rs",
            "crates/runtime/src/sys.rs",
            "crates/qemu/src/process/run.rs",
        ] {
            assert_eq!(places(path, text), [""; 0], "{path}");
        }
        assert_eq!(places("crates/runtime/src/system.rs", text).len(), 2);
    }

    #[test]
    fn words_in_comments_and_strings_are_not_code() {
        let text = "//! unsafe\n#![forbid(unsafe_code)]\n/* unsafe */ const WORD: &str = \"unsafe\";";
        assert_eq!(places("crates/engine/src/lib.rs", text), [""; 0]);
    }

    #[test]
    fn a_file_that_cannot_be_cut_into_tokens_is_found() {
        assert_eq!(
            places("crates/engine/src/lib.rs", "fn open( {"),
            ["crates/engine/src/lib.rs"]
        );
    }
}
