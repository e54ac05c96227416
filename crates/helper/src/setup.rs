//! What an administrator installs, and whether it is installed.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::policy::{Names, PATH};
use crate::{HelperPath, Policy, find, trusted};

/// Where the rule for sudo goes.
pub const SUDOERS: &str = "/etc/sudoers.d/atoll-helper";

/// A rule for sudo: the members of a group start this helper, without arguments, without a password.
///
/// What sudo does to look over the shoulder of a command, a terminal of its own and recordings, puts a pipe in the place of
/// standard input, which is the socket.
#[must_use]
pub fn sudoers(helper: &Path, group: &str) -> String {
    let helper = helper.display();
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "# Members of the group {group} may start the helper of atoll, which asks its own policy ({PATH}) what they may have.\n\
         # Install as {SUDOERS}, owned by root, mode 0440.\n\
         Defaults!{helper} !use_pty, !log_input, !log_output, !requiretty, env_reset\n\
         %{group} ALL=(root) NOPASSWD: {helper} \"\"\n"
    );
    text
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whether it is as it should be.
    pub is_right: bool,
    /// What is so, in a sentence.
    pub sentence: String,
    /// What can be done when it is wrong.
    pub hint: Option<String>,
}

impl Check {
    fn right(sentence: String) -> Self {
        Self {
            is_right: true,
            sentence,
            hint: None,
        }
    }

    fn wrong(sentence: String, hint: &str) -> Self {
        Self {
            is_right: false,
            sentence,
            hint: Some(hint.to_owned()),
        }
    }
}

/// The helper that is installed, or where it would be.
#[must_use]
pub fn installed() -> PathBuf {
    let places = HelperPath::places();
    let found = places.iter().find(|path| trusted::check_program(path).is_ok());
    found.cloned().unwrap_or_else(find::usual_place)
}

/// Look at all that a user needs who starts the helper by sudo.
#[must_use]
pub fn check() -> Vec<Check> {
    let helper = installed();
    vec![check_helper(&helper), check_policy(), check_sudo(&helper)]
}

fn check_helper(helper: &Path) -> Check {
    let name = helper.display();
    match trusted::check_program(helper) {
        Ok(()) => Check::right(format!("{name} belongs to root and nobody else can change it")),
        Err(error) if error.is_missing() => Check::wrong(
            format!("{name} is not installed"),
            "the administrator copies it there: install -D -o root -g root -m 0755 atoll-helper",
        ),
        Err(error) => Check::wrong(
            format!("{name} is not to be run with rights: {error}"),
            "it must belong to root, as must the folders above it, and nobody else may write there",
        ),
    }
}

fn check_policy() -> Check {
    let (text, _) = match trusted::read(Path::new(PATH)) {
        Ok(read) => read,
        Err(error) if error.is_missing() => {
            let hint = "`atoll setup policy` prints one to begin with";
            return Check::wrong(
                format!("there is no policy at {PATH}, so that only root may ask"),
                hint,
            );
        }
        Err(error) => {
            let hint =
                "it must belong to root, as must the folders above it, and nobody else may write there";
            return Check::wrong(format!("the policy is not used: {error}"), hint);
        }
    };
    let file = |path: &str| {
        trusted::read(Path::new(path))
            .map(|(text, _)| text)
            .unwrap_or_default()
    };
    let names = Names::parse(&file("/etc/passwd"), &file("/etc/group"));
    match Policy::parse(PATH, &text, &names) {
        Ok(_) => Check::right(format!("the policy at {PATH} belongs to root and has no mistake")),
        Err(mistakes) => match mistakes.first() {
            Some(mistake) => Check::wrong(format!("the policy is not used: {mistake}"), &mistake.hint),
            None => Check::wrong(format!("the policy at {PATH} has a mistake"), "look at it"),
        },
    }
}

fn check_sudo(helper: &Path) -> Check {
    if rustix::process::geteuid().is_root() {
        return Check::right("root starts the helper without sudo".to_owned());
    }
    let Some(sudo) = find::sudo() else {
        return Check::wrong(
            "sudo is not installed".to_owned(),
            "install it, or use systemd's socket (packaging/systemd)",
        );
    };
    let asked = Command::new(sudo)
        .args(["-n", "-l", "--"])
        .arg(helper)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if asked.is_ok_and(|status| status.success()) {
        return Check::right(format!(
            "sudo starts {} for this user without a password",
            helper.display()
        ));
    }
    Check::wrong(
        format!(
            "sudo does not start {} for this user without a password",
            helper.display()
        ),
        "`atoll setup sudoers` prints the rule; a user who was just put into a group has to log in again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_for_this_program_without_arguments() {
        let text = sudoers(Path::new("/usr/libexec/atoll/atoll-helper"), "atoll");
        assert!(text.ends_with("%atoll ALL=(root) NOPASSWD: /usr/libexec/atoll/atoll-helper \"\"\n"));
        assert!(text.contains("Defaults!/usr/libexec/atoll/atoll-helper !use_pty"));
    }

    #[test]
    fn what_is_missing_is_told_with_what_to_do() {
        let check = check_helper(Path::new("/usr/libexec/atoll-none/atoll-helper"));
        assert!(!check.is_right && check.hint.is_some(), "{check:?}");
    }
}
