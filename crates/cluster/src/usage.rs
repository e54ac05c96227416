//! What machines take of the host: counters of their QEMU and of their ports, and what two looks at them make of it.
//!
//! | what | from |
//! |---|---|
//! | processor, memory | `/proc/PID/stat` and `status`; where there is no such folder `ps`, whose times are whole seconds on some systems |
//! | disk | QEMU's own count of what its guest read and wrote (QMP `query-blockstats`), whatever the host had cached |
//! | network | the counters of the machine's ports; none for NICs on a LAN without a network of ours |
//!
//! A number that cannot be had is absent, not 0.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use atoll_qemu::Qmp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::paths::ClusterPaths;
use crate::status::{MachineStatus, Status};

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ` of the Linux kernel, 100 on every architecture that Atoll runs on
/// (include/asm-generic/param.h).
const TICKS: u64 = 100;

/// How long QEMU may take to greet; it serves one client at a time.
const GREETING: Duration = Duration::from_millis(500);

/// The counters of one machine at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    machine: String,
    pid: i32,
    at: Instant,
    cpu: Option<Duration>,
    memory: Option<u64>,
    /// Bytes read and written.
    disk: Option<(u64, u64)>,
    /// Bytes that the guest received and sent.
    network: Option<(u64, u64)>,
}

/// What one machine takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Usage {
    /// The machine.
    pub machine: String,
    /// The process id of its QEMU.
    pub pid: i32,
    /// Of one processor of the host, in percent; with several virtual ones more than 100.
    pub cpu_percent: Option<f64>,
    /// Memory of the host that its QEMU has, in bytes.
    pub memory_bytes: Option<u64>,
    /// Bytes a second that the guest read of its disks.
    pub disk_read_per_second: Option<u64>,
    /// Bytes a second that the guest wrote to its disks.
    pub disk_written_per_second: Option<u64>,
    /// Bytes a second that came to the guest.
    pub network_received_per_second: Option<u64>,
    /// Bytes a second that the guest sent.
    pub network_sent_per_second: Option<u64>,
}

/// A look at every machine that runs.
#[must_use]
pub fn look(paths: &ClusterPaths, status: &Status) -> Vec<Sample> {
    let running = status
        .machines
        .iter()
        .filter_map(|machine| Some((machine, machine.pid?)));
    let samples = running.map(|(machine, pid)| {
        let (cpu, memory) = process(pid);
        Sample {
            machine: machine.name.clone(),
            pid,
            disk: disk(paths, &machine.name),
            network: network(machine, status),
            at: Instant::now(),
            cpu,
            memory,
        }
    });
    samples.collect()
}

/// What was taken between two looks, of machines that ran all the time.
#[must_use]
pub fn between(before: &[Sample], after: &[Sample]) -> Vec<Usage> {
    let pairs = after.iter().filter_map(|after| {
        let same = |it: &&Sample| it.machine == after.machine && it.pid == after.pid;
        Some((before.iter().find(same)?, after))
    });
    pairs.map(|(before, after)| usage(before, after)).collect()
}

fn usage(before: &Sample, after: &Sample) -> Usage {
    let elapsed = after.at.duration_since(before.at).max(Duration::from_millis(1));
    let rate = |pick: fn((u64, u64)) -> u64, before: Option<(u64, u64)>, after: Option<(u64, u64)>| {
        // A port that was attached anew begins again.
        let bytes = pick(after?).saturating_sub(pick(before?));
        let rate = u128::from(bytes) * 1000 / elapsed.as_millis();
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    };
    let cpu = before.cpu.zip(after.cpu).map(|(before, after)| {
        let percent = after.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64() * 100.0;
        (percent * 10.0).round() / 10.0
    });
    Usage {
        machine: after.machine.clone(),
        pid: after.pid,
        cpu_percent: cpu,
        memory_bytes: after.memory,
        disk_read_per_second: rate(|it| it.0, before.disk, after.disk),
        disk_written_per_second: rate(|it| it.1, before.disk, after.disk),
        network_received_per_second: rate(|it| it.0, before.network, after.network),
        network_sent_per_second: rate(|it| it.1, before.network, after.network),
    }
}

/// Processor time and memory of a process.
fn process(pid: i32) -> (Option<Duration>, Option<u64>) {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            (cpu_of_stat(&stat), memory_of_status(&status))
        }
        Err(_) => by_ps(pid),
    }
}

/// `utime` and `stime`, the 14th and 15th field (proc_pid_stat(5)). The second is a name in parentheses, which may have some itself.
fn cpu_of_stat(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut times = rest.split(' ').skip(11);
    let ticks = times
        .next()?
        .parse::<u64>()
        .ok()?
        .checked_add(times.next()?.parse().ok()?)?;
    Some(Duration::from_millis(ticks.saturating_mul(1000 / TICKS)))
}

fn memory_of_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn by_ps(pid: i32) -> (Option<Duration>, Option<u64>) {
    let output = Command::new("ps")
        .args(["-o", "time=,rss=", "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    of_ps(&text.unwrap_or_default())
}

/// `[DAYS-]HOURS:MINUTES:SECONDS` or `MINUTES:SECONDS.HUNDREDTHS`, and KiB.
fn of_ps(text: &str) -> (Option<Duration>, Option<u64>) {
    let mut words = text.split_whitespace();
    let time = words.next().and_then(|time| {
        let (days, time) = time.split_once('-').unwrap_or(("0", time));
        let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let seconds = whole.split(':').try_fold(0_u64, |sum, part| {
            sum.checked_mul(60)?.checked_add(part.parse().ok()?)
        });
        let seconds = seconds?.checked_add(days.parse::<u64>().ok()?.checked_mul(86_400)?)?;
        Some(Duration::from_secs(seconds) + Duration::from_millis(fraction.parse::<u64>().ok()?.min(99) * 10))
    });
    let memory = words
        .next()
        .and_then(|rss| rss.parse::<u64>().ok()?.checked_mul(1024));
    (time, memory)
}

fn disk(paths: &ClusterPaths, machine: &str) -> Option<(u64, u64)> {
    let mut qmp = Qmp::connect(&paths.qmp_socket(machine), GREETING).ok()?;
    of_blockstats(&qmp.execute("query-blockstats", None).ok()?)
}

fn of_blockstats(stats: &Value) -> Option<(u64, u64)> {
    let count = |device: &Value, key: &str| device["stats"][key].as_u64().unwrap_or(0);
    let sum = |(read, written): (u64, u64), device: &Value| {
        let read = read.saturating_add(count(device, "rd_bytes"));
        (read, written.saturating_add(count(device, "wr_bytes")))
    };
    Some(stats.as_array()?.iter().fold((0, 0), sum))
}

/// A port receives what its guest sends.
fn network(machine: &MachineStatus, status: &Status) -> Option<(u64, u64)> {
    let ports = machine.nics.iter().filter_map(|nic| {
        let network = status
            .networks
            .iter()
            .find(|network| network.name == nic.network)?;
        let mut ports = network.snapshot.ports.iter().filter(|port| !port.uplink);
        ports.find(|port| port.macs.contains(&nic.mac))
    });
    let mut ports = ports.map(|port| (port.tx_bytes, port.rx_bytes)).peekable();
    ports.peek()?;
    Some(ports.fold((0, 0), |sum, it| {
        (sum.0.saturating_add(it.0), sum.1.saturating_add(it.1))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let stat = "7 (a ) R (b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 100 0 0";
        assert_eq!(cpu_of_stat(stat), Some(Duration::from_secs(2)));
        assert_eq!(memory_of_status("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2 << 20));
        let own = i32::try_from(std::process::id()).unwrap();
        let (cpu, memory) = process(own);
        assert!(cpu.is_some() && memory.is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn ps_of_linux_and_of_macos_are_read() {
        let of = |text| of_ps(text).0.unwrap();
        assert_eq!(of(" 00:01:02  2048\n"), Duration::from_secs(62));
        assert_eq!(of("2-00:00:01 1"), Duration::from_secs(172_801));
        assert_eq!(of("  1:02.50 1"), Duration::from_millis(62_500));
        assert_eq!(of_ps(" 00:01:02  2048\n").1, Some(2 << 20));
        assert_eq!(of_ps(""), (None, None));
    }

    #[test]
    fn rates_are_of_the_time_between_and_what_begins_anew_is_none() {
        let at = Instant::now();
        let before = Sample {
            machine: "a".to_owned(),
            pid: 7,
            at,
            cpu: Some(Duration::from_secs(1)),
            memory: Some(5),
            disk: Some((100, 1000)),
            network: None,
        };
        let after = Sample {
            at: at + Duration::from_secs(2),
            cpu: Some(Duration::from_secs(4)),
            disk: Some((300, 10)),
            ..before.clone()
        };
        let usage = between(std::slice::from_ref(&before), std::slice::from_ref(&after));
        assert_eq!(usage[0].cpu_percent, Some(150.0));
        assert_eq!(
            (usage[0].disk_read_per_second, usage[0].disk_written_per_second),
            (Some(100), Some(0))
        );
        assert_eq!(usage[0].network_sent_per_second, None);
        let other = Sample { pid: 8, ..after };
        assert_eq!(between(&[before], &[other]), []);
    }

    #[test]
    fn disks_are_added_up() {
        let stats = serde_json::json!([
            { "stats": { "rd_bytes": 1, "wr_bytes": 2 } }, { "stats": { "rd_bytes": 10 } }, {},
        ]);
        assert_eq!(of_blockstats(&stats), Some((11, 2)));
    }
}
