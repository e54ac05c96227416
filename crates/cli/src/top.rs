//! `top`: what machines take of the host.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use atoll_control::cluster::usage::{self, Usage};
use clap::Args;

use crate::failure::Failure;
use crate::project::{self, FileArgs};
use crate::shape::Shape;
use crate::table::{or_dash, print};

/// To the terminal's first place, and nothing below (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Arguments of `top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll top                      until Ctrl-C, on a terminal\n  atoll top --once\n  atoll top --json | jq '.[] | select(.cpu_percent > 50) | .machine'\n\nCPU is of one processor of the host; DISK is what the guest reads and writes, NET what it receives and sends, in bytes a second. In a pipe it is measured once."
)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Measure once, on a terminal too
    #[arg(long)]
    once: bool,
    /// How long to measure, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    interval: u64,
    #[command(flatten)]
    shape: Shape,
}

pub(crate) fn top(args: &TopArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let look = || Ok::<_, Failure>(usage::look(&project.paths, &project::status(&project)?));
    let goes_on = io::stdout().is_terminal() && !args.once;
    let mut before = look()?;
    loop {
        std::thread::sleep(Duration::from_millis(args.interval));
        let after = look()?;
        let usages = usage::between(&before, &after);
        if args.shape.print(&usages, &usages)? {
            return Ok(());
        }
        if goes_on {
            write!(io::stdout(), "{CLEAR}")?;
        }
        let rows: Vec<_> = usages.iter().map(row).collect();
        print(
            &[
                "NAME",
                "CPU %",
                "MEMORY",
                "DISK READ",
                "WRITTEN",
                "NET IN",
                "OUT",
                "PID",
            ],
            &rows,
        )?;
        if !goes_on {
            return Ok(());
        }
        before = after;
    }
}

fn row(usage: &Usage) -> Vec<String> {
    vec![
        usage.machine.clone(),
        or_dash(usage.cpu_percent.map(|percent| format!("{percent:.1}"))),
        or_dash(usage.memory_bytes.map(size)),
        or_dash(usage.disk_read_per_second.map(size)),
        or_dash(usage.disk_written_per_second.map(size)),
        or_dash(usage.network_received_per_second.map(size)),
        or_dash(usage.network_sent_per_second.map(size)),
        usage.pid.to_string(),
    ]
}

/// Three digits and a unit, or what is less than one.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = bytes.checked_ilog2().unwrap_or(0) / 10;
    let unit = units.get(power as usize).copied().unwrap_or("B");
    if power == 0 {
        return format!("{bytes} {unit}");
    }
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_a_unit_that_fits() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "15.9 EiB");
    }
}
