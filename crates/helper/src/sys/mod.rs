//! What differs between systems, and what needs `unsafe`.

use std::path::Path;
use std::process::ExitCode;

use crate::policy::{Names, PATH};
use crate::{Policy, Refusal, RefusalKind, trusted};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as system;

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod other;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
use other as system;

pub(crate) use places::{POLICY, SOCKET};

#[cfg(target_os = "macos")]
use places::{RESOLVER, RESOLVER_JOURNAL};

/// `/etc` and `/var` are symbolic links on macOS, and no trusted path goes through one.
#[cfg(target_os = "macos")]
mod places {
    /// Where launchd listens for a helper.
    pub(crate) const SOCKET: &str = "/var/run/atoll-helper.sock";
    /// The rules.
    pub(crate) const POLICY: &str = "/private/etc/atoll/helper.conf";
    /// Users that are not in the system's directory, and groups.
    pub(super) const USERS: [&str; 2] = ["/private/etc/passwd", "/private/etc/group"];
    /// Files that name the resolvers of single domains (resolver(5)).
    pub(super) const RESOLVER: &str = "/private/etc/resolver";
    /// Whose they are. It outlives a restart, as they do.
    pub(super) const RESOLVER_JOURNAL: &str = "/private/var/db/atoll-helper";
}

#[cfg(not(target_os = "macos"))]
mod places {
    /// Where systemd listens for a helper.
    pub(crate) const SOCKET: &str = "/run/atoll-helper.sock";
    /// The rules.
    pub(crate) const POLICY: &str = "/etc/atoll/helper.conf";
    /// Users and groups.
    pub(super) const USERS: [&str; 2] = ["/etc/passwd", "/etc/group"];
}

pub(crate) use system::{CLOSE_ON_EXEC, NO_SIGNAL};

/// Be the helper: serve the session whose socket is standard input, undo all that was done, and return.
#[must_use]
pub fn serve() -> ExitCode {
    system::serve()
}

#[expect(clippy::print_stderr, reason = "there is no socket on which it could be said")]
fn usage() -> ExitCode {
    eprintln!("atoll-helper is started by atoll: its standard input is a unix socket, on which it is asked");
    ExitCode::from(2)
}

/// The rules; or why there are none, which is then the answer to every request.
fn load_policy() -> Result<Policy, Refusal> {
    let denied = |sentence: String| Refusal::new(RefusalKind::Denied, sentence);
    let text = match trusted::read(Path::new(PATH)) {
        Ok((text, _)) => text,
        Err(error) if error.is_missing() => return Ok(Policy::default()),
        Err(error) => {
            let hint =
                "it must belong to root, as must the folders above it, and nobody else may write there";
            return Err(denied(format!("the policy is not used: {error}")).with_hint(hint));
        }
    };
    let file = |path: &str| {
        trusted::read(Path::new(path))
            .map(|(text, _)| text)
            .unwrap_or_default()
    };
    let [users, groups] = places::USERS.map(file);
    let names = Names::parse(&users, &groups);
    Policy::parse(PATH, &text, &names).map_err(|mistakes| {
        let first = mistakes.first();
        let sentence = first.map(ToString::to_string).unwrap_or_default();
        let hint = first.map(|mistake| mistake.hint.clone()).unwrap_or_default();
        denied(format!("the policy is not used: {sentence}")).with_hint(hint)
    })
}
