//! The machine's own package sources, as apt understands them, whichever way they are written down; and the same for
//! another release, by changing the suite, so that no mirror is ever named here.

use crate::build::release::Release;
use crate::build::{BuildError, packages};
use crate::tool;
use std::fmt::Write as _;
use std::path::Path;

/// Where Debian's keys lie on a Debian machine; apt trusts other places by itself.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Debian's sources: a release, its updates and its security fixes, without backports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    /// The release's code name.
    pub(crate) suite: String,
    entries: Vec<Entry>,
    keyring: Option<&'static str>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    uri: String,
    /// As it is written: `bookworm-updates`, `stable`.
    suite: String,
    /// What the suite's code name has behind the release's: nothing, `-updates`, `-security`.
    suffix: String,
    component: String,
}

impl Sources {
    /// Those of this machine.
    pub(crate) fn of_this_machine() -> Result<Self, BuildError> {
        const FORMAT: &str = "$(ORIGIN)\t$(CODENAME)\t$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)";
        let mut command = packages::APT_GET.command()?;
        let targets = tool::run(command.args(["indextargets", "--format", FORMAT, "Created-By: Packages"]))?;
        let keyring = Path::new(KEYRING).exists().then_some(KEYRING);
        Self::parse(&String::from_utf8_lossy(&targets), keyring).ok_or(BuildError::Incomplete {
            package: "apt".to_owned(),
            what: "list of Debian's packages",
        })
    }

    /// Those of this machine, or of another release from the same mirrors.
    pub(crate) fn of(release: Option<&Release>) -> Result<Self, BuildError> {
        let own = Self::of_this_machine()?;
        Ok(match release {
            Some(release) => own.for_release(release),
            None => own,
        })
    }

    fn parse(targets: &str, keyring: Option<&'static str>) -> Option<Self> {
        let fields = |line: &str| -> Option<[String; 4]> {
            let mut fields = line.split('\t');
            (fields.next()? == "Debian").then_some(())?;
            let mut next = || fields.next().map(str::to_owned);
            Some([next()?, next()?, next()?, next()?])
        };
        let found: Vec<[String; 4]> = targets.lines().filter_map(fields).collect();
        let [suite, ..] = found.iter().find(|[codename, ..]| !codename.contains('-'))?;
        let suite = suite.clone();
        let entry = |[codename, uri, written, component]: [String; 4]| Entry {
            uri,
            suite: written,
            suffix: codename.strip_prefix(&suite).unwrap_or_default().to_owned(),
            component,
        };
        let entries = found.into_iter().map(entry).collect();
        Some(Self {
            suite,
            entries,
            keyring,
        })
    }

    fn for_release(mut self, release: &Release) -> Self {
        if release.is_rolling() {
            self.entries.retain(|entry| entry.suffix.is_empty());
        }
        for entry in &mut self.entries {
            entry.suite = format!("{release}{}", entry.suffix);
        }
        self.suite = release.name().to_owned();
        self
    }

    /// As lines of `sources.list`, with these options beside the keys.
    pub(crate) fn list(&self, options: &[&str]) -> String {
        let keyring = self.keyring.map(|path| format!("signed-by={path}"));
        let options: Vec<&str> = keyring
            .iter()
            .map(String::as_str)
            .chain(options.iter().copied())
            .collect();
        let options = match options.as_slice() {
            [] => String::new(),
            options => format!("[{}] ", options.join(" ")),
        };
        let mut list = String::new();
        for Entry {
            uri,
            suite,
            component,
            ..
        } in &self.entries
        {
            let _ = writeln!(list, "deb {options}{uri} {suite} {component}");
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "Debian Backports\tbookworm-backports\thttp://mirror.test/debian/\tbookworm-backports\tmain\n\
        Debian\tbookworm-security\thttp://mirror.test/security/\tbookworm-security\tmain\n\
        Debian\tbookworm\thttp://mirror.test/debian/\tbookworm\tmain\n\
        Node\tnodistro\thttp://other.test/\tnodistro\tmain\n";

    fn of_release(targets: &str, release: &str) -> String {
        let sources = Sources::parse(targets, None).unwrap();
        sources.for_release(&release.parse().unwrap()).list(&[])
    }

    #[test]
    fn backports_and_other_vendors_are_left_out() {
        let found = Sources::parse(TARGETS, Some("/k.gpg")).unwrap();
        assert_eq!(found.suite, "bookworm");
        assert_eq!(
            found.list(&[]),
            "deb [signed-by=/k.gpg] http://mirror.test/security/ bookworm-security main\n\
             deb [signed-by=/k.gpg] http://mirror.test/debian/ bookworm main\n"
        );
    }

    #[test]
    fn another_release_comes_from_the_same_mirrors() {
        assert_eq!(
            of_release(TARGETS, "trixie"),
            "deb http://mirror.test/security/ trixie-security main\n\
             deb http://mirror.test/debian/ trixie main\n"
        );
    }

    #[test]
    fn suites_written_by_standing_are_changed_by_their_code_names() {
        let targets = "Debian\ttrixie\thttp://mirror.test/debian/\tstable\tmain\n\
            Debian\ttrixie-updates\thttp://mirror.test/debian/\tstable-updates\tmain\n";
        assert_eq!(Sources::parse(targets, None).unwrap().suite, "trixie");
        assert_eq!(
            of_release(targets, "bookworm"),
            "deb http://mirror.test/debian/ bookworm main\n\
             deb http://mirror.test/debian/ bookworm-updates main\n"
        );
    }

    #[test]
    fn where_packages_arrive_there_are_no_fixes_beside_them() {
        assert_eq!(
            of_release(TARGETS, "sid"),
            "deb http://mirror.test/debian/ sid main\n"
        );
    }

    #[test]
    fn options_stand_beside_the_keys() {
        let sources = Sources::parse(TARGETS, Some("/k.gpg")).unwrap();
        let list = sources.list(&["target=Packages"]);
        assert!(
            list.starts_with("deb [signed-by=/k.gpg target=Packages] http://mirror.test/"),
            "{list}"
        );
    }

    #[test]
    fn a_machine_without_debian_sources_has_no_suite() {
        assert_eq!(
            Sources::parse("Ubuntu\tnoble\thttp://mirror.test/\tnoble\tmain\n", None),
            None
        );
    }
}
