//! The helper: is it there, does it answer this user, and what does its policy allow.

use super::listed;
use crate::check::{Area, Check, Need, Status};

const NEEDS: &[Need] = &[Need::Bridged, Need::Shared, Need::Host];

/// A sentence and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) sentence: String,
    pub(crate) hint: Option<String>,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Helper {
    /// By which way this user gets to it.
    pub(crate) way: Way,
    /// The policy's file.
    pub(crate) policy: Policy,
    pub(crate) policy_path: String,
    pub(crate) is_root: bool,
}

/// A way to the helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing is installed in any of these places.
    Missing(Vec<String>),
    /// It is there, but not to be used.
    Unusable(Said),
    /// It is there, and whether it answered a question to which the answer is no.
    Found {
        way: String,
        /// Owner and mode of the program, where there is one to look at.
        program: Option<(String, u32, u32)>,
        answer: Result<(), Said>,
    },
}

/// Its rules, as far as this user may know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Missing,
    /// This user cannot read it, which is no fault.
    Unreadable(String),
    /// It allows nobody anything, for these reasons.
    Wrong(Vec<String>),
    /// What it allows this user.
    Read(Vec<String>),
}

/// What that means.
pub(crate) fn judge(helper: &Helper) -> Vec<Check> {
    vec![way(helper), policy(helper)]
}

fn check(name: &str, status: Status, found: impl Into<String>) -> Check {
    Check::new(Area::Lan, name, status, found).needed_for(NEEDS)
}

fn way(helper: &Helper) -> Check {
    match &helper.way {
        Way::Missing(places) => {
            let words = format!(
                "atoll-helper is not installed ({}): only `mode: user` can be used, which needs no helper",
                places.join(", ")
            );
            check("helper", Status::Note, words)
                .fix("for `bridged`, `shared` and `host` ask the administrator to install atoll-helper: see docs/lan.md")
        }
        Way::Unusable(said) => check("helper", Status::Fail, said.sentence.clone()).fix_if(said.hint.clone()),
        Way::Found { way, program, answer } => {
            let owner = program
                .as_ref()
                .map(|(path, uid, mode)| format!(" ({path} belongs to uid {uid}, mode {mode:04o})"));
            let owner = owner.unwrap_or_default();
            match answer {
                Ok(()) => check("helper", Status::Ok, format!("{way} answers this user{owner}")),
                Err(said) => check("helper", Status::Fail, format!("{}{owner}", said.sentence))
                    .fix_if(said.hint.clone()),
            }
        }
    }
}

fn policy(helper: &Helper) -> Check {
    let path = &helper.policy_path;
    let name = "helper-policy";
    if helper.is_root {
        return check(
            name,
            Status::Ok,
            format!("root may have everything, whatever {path} says"),
        );
    }
    match &helper.policy {
        Policy::Missing => check(
            name,
            Status::Note,
            format!("there is no {path}: the helper serves root alone"),
        )
        .fix(format!(
            "the administrator writes {path}: a line is, for example, `allow group=atoll shared`"
        )),
        Policy::Unreadable(reason) => check(
            name,
            Status::Note,
            format!("what {path} allows this user is not known before it is asked: {reason}"),
        ),
        Policy::Wrong(mistakes) => check(
            name,
            Status::Fail,
            format!(
                "{path} allows nobody anything, for it is wrong: {}",
                mistakes.join("; ")
            ),
        )
        .fix(format!("the administrator puts {path} right")),
        Policy::Read(allowed) if allowed.is_empty() => check(
            name,
            Status::Fail,
            format!("{path} allows this user nothing that was looked for"),
        )
        .fix(format!(
            "the administrator adds a line to {path}, for example `allow user=NAME shared`"
        )),
        Policy::Read(allowed) => check(
            name,
            Status::Ok,
            format!("{path} allows this user {}", listed(allowed)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helper(way: Way, policy: Policy) -> Helper {
        Helper {
            way,
            policy,
            policy_path: "/etc/atoll/helper.conf".to_owned(),
            is_root: false,
        }
    }

    fn found(answer: Result<(), Said>) -> Way {
        Way::Found {
            way: "sudo -n /usr/libexec/atoll/atoll-helper".to_owned(),
            program: Some(("/usr/libexec/atoll/atoll-helper".to_owned(), 0, 0o755)),
            answer,
        }
    }

    fn statuses(helper: &Helper) -> Vec<Status> {
        judge(helper).iter().map(|it| it.status).collect()
    }

    #[test]
    fn a_host_without_a_helper_lacks_nothing_that_up_needs() {
        let checks = judge(&helper(
            Way::Missing(vec!["/usr/libexec".to_owned()]),
            Policy::Missing,
        ));
        assert!(
            checks
                .iter()
                .all(|it| it.status == Status::Note && it.fix.is_some()),
            "{checks:#?}"
        );
        assert!(checks.iter().all(|it| !it.needed_for.contains(&Need::Up)));
    }

    #[test]
    fn a_helper_that_answers_and_allows_is_good_and_tells_its_owner_and_mode() {
        let allowed = ["shared", "host"].map(str::to_owned).to_vec();
        let good = helper(found(Ok(())), Policy::Read(allowed));
        assert_eq!(statuses(&good), [Status::Ok, Status::Ok]);
        let checks = judge(&good);
        assert!(checks[0].found.contains("uid 0, mode 0755"), "{checks:#?}");
        assert!(checks[1].found.ends_with("shared and host"), "{checks:#?}");
    }

    #[test]
    fn a_sudo_that_asks_for_a_password_is_a_failure_in_its_own_words() {
        let said = Said {
            sentence: "sudo -n … ended without an answer: sudo: a password is required".to_owned(),
            hint: Some("`atoll setup sudoers --check` says what is missing".to_owned()),
        };
        let checks = judge(&helper(
            found(Err(said)),
            Policy::Unreadable("Permission denied".to_owned()),
        ));
        assert_eq!((checks[0].status, checks[1].status), (Status::Fail, Status::Note));
        assert!(checks[0].found.contains("a password is required"), "{checks:#?}");
    }

    #[test]
    fn a_policy_that_is_wrong_or_silent_about_this_user_is_a_failure() {
        for policy in [
            Policy::Wrong(vec!["line 3: no such mode".to_owned()]),
            Policy::Read(Vec::new()),
        ] {
            assert_eq!(
                statuses(&helper(found(Ok(())), policy)),
                [Status::Ok, Status::Fail]
            );
        }
    }
}
