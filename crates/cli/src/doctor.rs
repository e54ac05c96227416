//! `doctor`: what this host can do.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use atoll_control::cluster::paths::Places;
use atoll_control::cluster::problem::Problem;
use atoll_doctor::{Area, Check, Report, Settings, Status};
use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::table::print_json;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Each line is found out by trying, where that can be: a machine is started, a socket opened, a TAP made in
a namespace. It needs no privilege and leaves nothing behind but the remembered answers of QEMU.

  ok    it works
  note  good to know; nothing is wrong
  warn  it works, but worse than it could, or may fail later
  fail  what it is needed for cannot work

Exit status:
  0  nothing that `up` needs fails
  1  something does

Example:
  atoll doctor
  atoll doctor --area lan
  atoll doctor --json | jq -r '.checks[] | select(.status == \"fail\") | .name + \": \" + (.fix // .found)'"
)]
pub(crate) struct DoctorArgs {
    /// JSON for programs
    #[arg(long)]
    json: bool,
    /// One area only
    #[arg(long, value_name = "NAME")]
    area: Option<AreaName>,
    /// Try accelerators again instead of believing what is remembered of this boot
    #[arg(long)]
    fresh: bool,
    /// Be the process that tries namespaces
    #[arg(long, hide = true)]
    trial: bool,
}

/// The areas by their names.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum AreaName {
    /// QEMU, accelerators, programs
    Machines,
    /// Folders for state, sockets and images
    Files,
    /// What the user-space network asks of the host
    Network,
    /// What `net exec` needs
    Namespaces,
    /// The host's own LAN: bridges, NICs, the helper
    Lan,
    /// Building images
    Images,
}

impl From<AreaName> for Area {
    fn from(name: AreaName) -> Self {
        match name {
            AreaName::Machines => Self::Machines,
            AreaName::Files => Self::Files,
            AreaName::Network => Self::Network,
            AreaName::Namespaces => Self::Namespaces,
            AreaName::Lan => Self::Lan,
            AreaName::Images => Self::Images,
        }
    }
}

pub(crate) fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    let mut out = io::stdout();
    if args.trial {
        return Ok(writeln!(out, "{}", atoll_doctor::run_trial())?);
    }
    let report = atoll_doctor::examine(&settings(args)?);
    if args.json {
        print_json(&report)?;
    } else {
        out.write_all(text(&report, colours()).as_bytes())?;
    }
    if report.can_up {
        return Ok(());
    }
    let failing = report.failures_of_up().map(|check| check.name.clone());
    let failing = failing.collect::<Vec<_>>().join(", ");
    Err(Failure::environment(
        format!("`up` cannot work on this host: {failing}"),
        None,
    ))
}

fn settings(args: &DoctorArgs) -> Result<Settings, Failure> {
    let places =
        Places::of_process().map_err(|error| Problem::usage(error.to_string()).with_hint(error.hint()))?;
    Ok(Settings {
        program: this_program()?,
        trial: ["doctor", "--trial"].map(str::to_owned).to_vec(),
        qemu_cache: places.images.parent().unwrap_or(Path::new("/")).join("qemu.json"),
        state: places.state,
        runtime: places.runtime,
        images: places.images,
        is_fresh: args.fresh,
        area: args.area.map(Area::from),
    })
}

/// Where it can be run even if its file has been replaced, or lies in a folder that this user may not search.
fn this_program() -> io::Result<PathBuf> {
    let own = Path::new("/proc/self/exe");
    if own.exists() {
        Ok(own.to_owned())
    } else {
        std::env::current_exe()
    }
}

/// Whether standard output takes colours (<https://no-color.org>).
fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The listing: an area's name, then a line a check, with what helps below it.
fn text(report: &Report, has_colours: bool) -> String {
    let width = report
        .checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    let mut area = None;
    for check in &report.checks {
        if area != Some(check.area) {
            let gap = if area.is_some() { "\n" } else { "" };
            let _ = writeln!(text, "{gap}{}", painted(check.area.name(), "1", has_colours));
            area = Some(check.area);
        }
        line(&mut text, check, width, has_colours);
    }
    text
}

fn line(text: &mut String, check: &Check, width: usize, has_colours: bool) {
    let colour = match check.status {
        Status::Ok => "32",
        Status::Note => "36",
        Status::Warn => "33",
        Status::Fail => "31",
    };
    let status = painted(&format!("{:<4}", check.status), colour, has_colours);
    let _ = writeln!(text, "  {status}  {:<width$}  {}", check.name, check.found);
    let indent = " ".repeat(2 + 4 + 2 + width + 2);
    if let Some(fix) = &check.fix {
        let _ = writeln!(text, "{indent}fix: {fix}");
    }
    if check.status == Status::Fail && !check.needed_for.is_empty() {
        let needs: Vec<_> = check.needed_for.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "{indent}needed for: {}", needs.join(", "));
    }
}

fn painted(words: &str, colour: &str, has_colours: bool) -> String {
    if has_colours {
        format!("\x1b[{colour}m{words}\x1b[0m")
    } else {
        words.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_doctor::Need;

    fn report() -> Report {
        let check = |name: &str, area, status, found: &str, fix: Option<&str>, needs: &[Need]| Check {
            name: name.to_owned(),
            area,
            status,
            found: found.to_owned(),
            fix: fix.map(str::to_owned),
            needed_for: needs.to_vec(),
        };
        Report {
            can_up: true,
            checks: vec![
                check(
                    "qemu",
                    Area::Machines,
                    Status::Ok,
                    "QEMU 10.0.2",
                    None,
                    &[Need::Up],
                ),
                check(
                    "kvm",
                    Area::Machines,
                    Status::Warn,
                    "/dev/kvm is not there",
                    Some("modprobe kvm_intel"),
                    &[Need::Up],
                ),
                check(
                    "tap",
                    Area::Namespaces,
                    Status::Fail,
                    "cannot open /dev/net/tun",
                    Some("chmod 0666 /dev/net/tun"),
                    &[Need::NetExec],
                ),
            ],
        }
    }

    #[test]
    fn a_report_reads_by_area_with_what_helps_below_each_line() {
        insta::assert_snapshot!(text(&report(), false), @r"
        machines
          ok    qemu  QEMU 10.0.2
          warn  kvm   /dev/kvm is not there
                      fix: modprobe kvm_intel

        namespaces
          fail  tap   cannot open /dev/net/tun
                      fix: chmod 0666 /dev/net/tun
                      needed for: net exec
        ");
    }

    #[test]
    fn colours_change_nothing_but_the_look() {
        let painted = text(&report(), true);
        assert!(painted.contains("\x1b[31mfail\x1b[0m"));
        let mut plain = painted;
        for code in ["1", "31", "32", "33", "36", "0"] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(plain, text(&report(), false));
    }
}
