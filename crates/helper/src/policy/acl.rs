//! QEMU's `/etc/qemu/bridge.conf`: who may have a TAP in which bridge from `qemu-bridge-helper`.
//!
//! Lines are `allow BRIDGE`, `allow all`, `deny BRIDGE`, `deny all`, `include FILE`. A bridge is allowed when a line allows it and none
//! denies it. QEMU's helper gives its rights to read others' files up before it reads: that a file is readable by the
//! asker is how an administrator says whom it is for. So a file that the asker cannot read does not count here, either.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::net::InterfaceName;
use crate::trusted::{self, Untrusted};

use super::Asker;

const PATH: &str = "/etc/qemu/bridge.conf";

/// Files that include files end somewhere.
const DEPTH: usize = 8;
/// Lines of all files.
const LINES: usize = 4000;

/// The lines of the files that the asker can read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BridgeAcl {
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    allows: bool,
    /// `None` is all.
    bridge: Option<String>,
}

impl BridgeAcl {
    /// Read the file for somebody. One with a mistake, or that somebody else than root could write, counts as one that denies
    /// all.
    #[must_use]
    pub fn load(asker: &Asker) -> Self {
        let mut acl = Self::default();
        if acl.read(Path::new(PATH), asker, 0).is_none() {
            acl.lines = Vec::new();
        }
        acl
    }

    /// Whether a bridge is allowed.
    #[must_use]
    pub fn allows(&self, bridge: &InterfaceName) -> bool {
        let about = |line: &&Line| line.bridge.as_ref().is_none_or(|name| name == bridge.as_str());
        let any = |allows: bool| self.lines.iter().filter(about).any(|line| line.allows == allows);
        any(true) && !any(false)
    }

    /// `None` when nothing of it counts.
    fn read(&mut self, path: &Path, asker: &Asker, depth: usize) -> Option<()> {
        let (text, metadata) = match trusted::read(path) {
            Ok(it) => it,
            Err(Untrusted::Open(_, error)) if error.kind() == std::io::ErrorKind::NotFound => return Some(()),
            Err(_) => return None,
        };
        if !is_readable(&metadata, asker) {
            return Some(());
        }
        for line in text.lines() {
            match self.line(line)? {
                Some(include) if depth < DEPTH => self.read(Path::new(include), asker, depth + 1)?,
                Some(_) => return None,
                None => {}
            }
        }
        Some(())
    }

    /// Take a line in; the file that it includes. `None` when it is wrong.
    fn line<'a>(&mut self, line: &'a str) -> Option<Option<&'a str>> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Some(None);
        }
        let (verb, name) = line.split_once(char::is_whitespace)?;
        let name = name.trim();
        let allows = match verb {
            "include" => return Some(Some(name)),
            "allow" => true,
            "deny" => false,
            _ => return None,
        };
        let bridge = (name != "all").then(|| name.to_owned());
        self.lines.push(Line { allows, bridge });
        (self.lines.len() <= LINES).then_some(None)
    }
}

fn is_readable(metadata: &Metadata, asker: &Asker) -> bool {
    let bit = if metadata.uid() == asker.uid {
        0o400
    } else if asker.groups.contains(&metadata.gid()) {
        0o040
    } else {
        0o004
    };
    asker.uid == 0 || metadata.mode() & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(text: &str) -> Option<BridgeAcl> {
        let mut acl = BridgeAcl::default();
        for line in text.lines() {
            acl.line(line)?;
        }
        Some(acl)
    }

    fn allows(text: &str, bridge: &str) -> bool {
        acl(text).unwrap().allows(&bridge.parse().unwrap())
    }

    #[test]
    fn a_line_that_denies_outweighs_one_that_allows() {
        assert!(allows("# ours\nallow br0\n", "br0"));
        assert!(!allows("allow br0", "br1"));
        assert!(allows("allow all", "br1"));
        assert!(!allows("deny br1\nallow all", "br1"));
        assert!(!allows("allow br0\ndeny all", "br0"));
        assert!(!allows("", "br0"));
    }

    #[test]
    fn a_file_with_a_mistake_says_nothing() {
        for text in ["allow", "permit br0", "allow br0\nbr1"] {
            assert_eq!(acl(text), None, "{text}");
        }
    }
}
