//! When a process started: with its id, what tells it from every other process.
//!
//! Linux says it in `/proc/PID/stat` in ticks since boot (`proc_pid_stat(5)`), to which the boot's own id is added.
//! Elsewhere `ps` says it to the second, which POSIX lets us ask in one format with `-o`. Both are opaque text here.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The start time of a process; `None` if there is none of that id, or it is dead and not yet reaped.
pub(super) fn start_time(pid: i32) -> Option<String> {
    if Path::new("/proc/self/stat").exists() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let ticks = parse_stat(&stat)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        return Some(format!("{}:{ticks}", boot.trim()));
    }
    let mut ps = Command::new("/bin/ps");
    ps.args(["-o", "stat=", "-o", "lstart=", "-p", &pid.to_string()]);
    // The same words whatever the caller's language and place.
    ps.env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null());
    parse_ps(&String::from_utf8_lossy(&ps.output().ok()?.stdout))
}

/// Field 22 of `/proc/PID/stat`, unless field 3 says that the process is dead.
///
/// Field 2 is the program's name in parentheses and may hold spaces and parentheses itself: count from the last.
fn parse_stat(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    // `state` was field 3; skipping 4 to 21 leaves 22.
    fields.nth(18)?.parse().ok()
}

/// `Ss   Sat Nov 22 10:51:42 2025`.
fn parse_ps(output: &str) -> Option<String> {
    let (state, start) = output.trim().split_once(' ')?;
    (!state.starts_with('Z'))
        .then(|| start.trim().to_owned())
        .filter(|start| !start.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(state: &str, name: &str) -> String {
        let middle: Vec<String> = (4..=21).map(|field| field.to_string()).collect();
        format!("17 ({name}) {state} {} 987654 23 24", middle.join(" "))
    }

    #[test]
    fn the_start_time_is_found_behind_any_program_name() {
        for name in ["qemu", "a b", "x) S 1 2 3", "((", ""] {
            assert_eq!(parse_stat(&stat("S", name)), Some(987_654), "{name}");
        }
    }

    #[test]
    fn the_dead_have_no_start_time() {
        assert_eq!(parse_stat(&stat("Z", "qemu")), None);
        assert_eq!(parse_stat(&stat("X", "qemu")), None);
        assert_eq!(parse_ps("Z    Sat Nov 22 10:51:42 2025\n"), None);
        assert_eq!(parse_ps(""), None);
    }

    #[test]
    fn ps_output_is_read_without_its_state() {
        let expected = Some("Sat Nov 22 10:51:42 2025".to_owned());
        assert_eq!(parse_ps("Ss   Sat Nov 22 10:51:42 2025\n"), expected);
        assert_eq!(parse_ps("R+   Sat Nov 22 10:51:42 2025\n"), expected);
    }

    #[test]
    fn this_process_has_one_start_time() {
        let pid = i32::try_from(std::process::id()).expect("process ids are positive 32-bit numbers");
        let first = start_time(pid);
        assert!(first.is_some());
        assert_eq!(first, start_time(pid));
    }
}
