//! Systems on which there is nothing yet that the helper could do.

use std::os::fd::AsFd;
use std::process::ExitCode;

use rustix::net::{RecvFlags, SendFlags};

use crate::message::{Channel, Received};
use crate::{MAX_REQUESTS, Refusal, RefusalKind, Reply};

/// There is no such flag.
pub(crate) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();
/// There is no such flag; the helper ignores the signal.
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// Refuses every request.
pub(super) fn serve() -> ExitCode {
    let Ok(mut channel) = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .and_then(Channel::new)
    else {
        return ExitCode::FAILURE;
    };
    let refusal = Reply::Refused(Refusal::new(
        RefusalKind::Failed,
        "atoll-helper makes no interfaces on this system",
    ));
    for _ in 0..MAX_REQUESTS {
        match channel.receive() {
            Ok(Received::Message(..)) if channel.send(&refusal.encode(), None).is_ok() => {}
            _ => break,
        }
    }
    ExitCode::SUCCESS
}
