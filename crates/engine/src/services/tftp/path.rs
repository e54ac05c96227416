//! The file that a client means, as a path below the folder that is served.

/// Bytes of a path that are looked at: what a DHCP message can say is shorter.
const PATH_MAX: usize = 255;

/// The path without anything that leads elsewhere; `None` when it does. Firmware writes a slash first, and Windows' boot manager
/// writes backslashes. The runtime opens it below its folder and nowhere else, whatever this says.
pub(super) fn below(file: &str) -> Option<String> {
    if file.len() > PATH_MAX || file.contains(char::is_control) {
        return None;
    }
    let parts = file.split(['/', '\\']).filter(|part| !matches!(*part, "" | "."));
    let parts: Vec<&str> = parts.collect();
    let stays = !parts.is_empty() && parts.iter().all(|part| *part != "..");
    stays.then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_leads_down_only() {
        for (file, expected) in [
            ("/boot/./a", Some("boot/a")),
            ("\\Boot\\BCD", Some("Boot/BCD")),
            ("//a//b/", Some("a/b")),
            ("..a", Some("..a")),
            ("../a", None),
            ("a/../../b", None),
            ("\\..\\a", None),
            ("/", None),
            ("", None),
            ("a\nb", None),
        ] {
            assert_eq!(below(file).as_deref(), expected, "{file:?}");
        }
    }

    proptest! {
        #[test]
        fn no_path_has_a_part_that_leads_up(file in "[./\\\\a]{0,40}") {
            if let Some(path) = below(&file) {
                prop_assert!(!path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}
