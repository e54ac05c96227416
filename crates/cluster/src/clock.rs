//! What time it is for a guest that stood still: as late as when it stopped, until somebody sets its clock.
//!
//! QEMU's own clock of a PC (the RTC) follows the host's, but a guest reads it at boot only. So where somebody can log in, the clock is set
//! over ssh: from the RTC, which is exact to a few milliseconds, else to the host's second. Elsewhere the guest finds out by asking a time
//! server, of which its network has one; a daemon that steps its clock (systemd-timesyncd does; chrony only shortly after it began, unless
//! `makestep` says otherwise) needs up to its next question, which may be half an hour away. What was done is told.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ssh::{self, Attempt};
use crate::state::ReadyRule;
use crate::steps::Job;

/// How long a guest may take to let us in; it stood still, and has not to boot.
const PATIENCE: Duration = Duration::from_secs(15);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Less than this is no matter: a look over ssh is not more exact.
const SLACK: u64 = 2;

/// Now, in seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl Job<'_> {
    /// Sets the clock of a machine that goes on, and says how that went, if there is something to say.
    pub(crate) fn set_clock(&self, name: &str, since: u64) -> String {
        let stood = now().saturating_sub(since);
        if stood < SLACK {
            return String::new();
        }
        let known = self.host.shared().state.machine(name).clone();
        let started = known
            .started
            .filter(|started| started.rule == ReadyRule::CloudInit && started.ready);
        let behind = format!("its clock is {stood} s behind until it asks a time server");
        if started.is_none() || known.ssh_port.is_none() {
            return behind;
        }
        let until = Instant::now() + PATIENCE;
        let stop =
            || Instant::now() >= until || self.host.cancelled.load(std::sync::atomic::Ordering::Relaxed);
        let mut why = "it was not reached over ssh";
        // Of a guest that only begins to run again the first packets may be lost.
        while !stop() {
            match ssh::attempt(&self.host.paths, name, &command(now()), &stop) {
                Ok(Attempt::Ran { status: 0, .. }) => {
                    return format!("its clock was {stood} s behind, and is set");
                }
                Ok(Attempt::Ran { .. }) => {
                    why = "who logs in may not set it";
                    break;
                }
                Ok(Attempt::NoLogin(_)) => std::thread::sleep(PAUSE),
                Err(_) => break,
            }
        }
        format!("{behind}: {why}")
    }
}

/// What sets a clock, for who is root or becomes it unasked.
fn command(now: u64) -> String {
    let set = format!("hwclock -u -s 2>/dev/null || date -u -s @{now} >/dev/null");
    format!("if [ \"$(id -u)\" = 0 ]; then {set}; else sudo -n sh -c '{set}'; fi")
}
