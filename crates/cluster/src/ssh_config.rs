//! The cluster's machines in the user's own ssh configuration, for plain `ssh NAME`, scp, rsync, Ansible and editors.
//!
//! Beside the configuration that `atoll ssh` uses, the daemon keeps a fragment in which each machine's block is complete, so that it changes
//! nothing for other hosts. [`install`] adds one line to `~/.ssh/config` that includes it, as the first one: ssh_config(5) takes the first
//! value it finds, and an `Include` behind a `Host` block belongs to that block. Ports that change reach the fragment by itself; when the
//! cluster's state is deleted the line leads nowhere, which ssh ignores, until [`uninstall`] removes it.
//!
//! All else in the file stays byte for byte as it is; it is replaced at once (rename), where it lies if it is a link, with its mode.

use std::path::{Path, PathBuf};

use crate::files::{self, FileError};
use crate::paths::ClusterPaths;
use crate::ssh::{Host, trust};

/// Where the fragment is.
#[must_use]
pub fn fragment_path(paths: &ClusterPaths) -> PathBuf {
    paths.state.join("ssh").join("include")
}

/// Each machine with all that ssh needs to know of it.
#[must_use]
pub(crate) fn fragment(paths: &ClusterPaths, hosts: &[Host]) -> String {
    let trust = trust(paths);
    let mut text = String::from("# Written by atoll.\n");
    for host in hosts {
        text.push_str(&host.entry());
        text.push_str(&trust);
    }
    text
}

/// What became of the user's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was written.
    Changed,
    /// It was as it should be.
    Unchanged,
}

/// Adds the line to `~/.ssh/config` below `home`, once.
///
/// # Errors
/// The file cannot be read or written.
pub fn install(paths: &ClusterPaths, home: &Path) -> Result<Outcome, FileError> {
    change(home, |text| with_line(text, &line(paths)))
}

/// Takes the line out again.
///
/// # Errors
/// The file cannot be read or written.
pub fn uninstall(paths: &ClusterPaths, home: &Path) -> Result<Outcome, FileError> {
    change(home, |text| without_line(text, &line(paths)))
}

/// The path is a pattern (glob(7)), in which OpenSSH 9.2 expands no tokens and no variables, and others may: what could be the
/// beginning of one is left to match itself.
fn line(paths: &ClusterPaths) -> String {
    let path = fragment_path(paths).display().to_string();
    let path = path.replace(['%', '$', '['], "?");
    let path = path.replace('\\', "\\\\").replace('"', "\\\"");
    format!("Include \"{path}\"\n")
}

/// With the line as the first one; from elsewhere in the file, where it could belong to a block, it moves.
fn with_line(text: &str, line: &str) -> String {
    if text.starts_with(line) {
        return text.to_owned();
    }
    format!("{line}{}", without_line(text, line))
}

fn without_line(text: &str, line: &str) -> String {
    let is_it = |other: &str| other.trim() == line.trim();
    text.split_inclusive('\n').filter(|other| !is_it(other)).collect()
}

fn change(home: &Path, edit: impl Fn(&str) -> String) -> Result<Outcome, FileError> {
    let folder = home.join(".ssh");
    let changed = files::edit(&folder.join("config"), |old| {
        let new = edit(old);
        if new != old && !folder.exists() {
            files::make_private(&folder)?;
        }
        Ok::<_, FileError>(new)
    })?;
    Ok(if changed {
        Outcome::Changed
    } else {
        Outcome::Unchanged
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use crate::ssh::write_config;

    fn world() -> (tempfile::TempDir, ClusterPaths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = ClusterPaths {
            state: folder.path().join("a 100% \"state\""),
            run: folder.path().join("run"),
            images: folder.path().join("images"),
        };
        (folder, paths)
    }

    fn host() -> Host {
        Host {
            machine: "web".to_owned(),
            address: Ipv4Addr::new(127, 64, 0, 1).into(),
            user: "debian".to_owned(),
            port: 40_022,
        }
    }

    /// What ssh itself makes of a host's name with this file.
    fn understood(config: &Path, name: &str) -> String {
        let output = Command::new("ssh")
            .arg("-G")
            .arg("-F")
            .arg(config)
            .arg(name)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }

    #[test]
    fn ssh_reaches_a_machine_by_its_name_and_other_hosts_as_before() {
        let (home, paths) = world();
        write_config(&paths, &[host()]).unwrap();
        let config = home.path().join(".ssh/config");
        files::make_private(&home.path().join(".ssh")).unwrap();
        fs::write(&config, "Host *\n  Port 2200\n  User me\n").unwrap();
        let before = understood(&config, "elsewhere");
        assert_eq!(install(&paths, home.path()).unwrap(), Outcome::Changed);
        let text = understood(&config, "web");
        for line in [
            "hostname 127.64.0.1",
            "port 40022",
            "user debian",
            "identitiesonly yes",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in:\n{text}"
            );
        }
        assert_eq!(understood(&config, "elsewhere"), before);
    }

    #[test]
    fn installing_is_done_once_and_undone_to_the_byte() {
        let (home, paths) = world();
        let config = home.path().join(".ssh/config");
        assert_eq!(uninstall(&paths, home.path()).unwrap(), Outcome::Unchanged);
        assert!(!config.exists());
        assert_eq!(install(&paths, home.path()).unwrap(), Outcome::Changed);
        assert_eq!(install(&paths, home.path()).unwrap(), Outcome::Unchanged);
        assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(uninstall(&paths, home.path()).unwrap(), Outcome::Changed);
        assert_eq!(fs::read_to_string(&config).unwrap(), "");
    }

    #[test]
    fn a_link_and_a_mode_stay_as_they_are() {
        let (home, paths) = world();
        files::make_private(&home.path().join(".ssh")).unwrap();
        let kept = home.path().join("dotfiles");
        fs::write(&kept, "Host a\n").unwrap();
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&kept, home.path().join(".ssh/config")).unwrap();
        install(&paths, home.path()).unwrap();
        assert!(fs::read_to_string(&kept).unwrap().ends_with("\"\nHost a\n"));
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(
            fs::symlink_metadata(home.path().join(".ssh/config"))
                .unwrap()
                .is_symlink()
        );
    }

    proptest! {
        #[test]
        fn whatever_is_in_the_file_stays(text in "([ -~]{0,20}\r?\n){0,6}[ -~]{0,20}") {
            let line = "Include \"/state/ssh/include\"\n";
            let with = with_line(&text, line);
            prop_assert_eq!(with_line(&with, line), &with[..]);
            prop_assert_eq!(without_line(&with, line), text);
        }
    }
}
