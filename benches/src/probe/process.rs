//! What `/proc` tells of a back end: a process and its descendants.

use std::fs;

use crate::error::{BenchError, Trying};

/// `/proc` counts processor time in these, whatever the kernel's own tick is (`USER_HZ`).
const TICKS_A_SECOND: f64 = 100.0;

/// A process and all that descend from it.
pub(crate) fn tree(root: u32) -> Result<Vec<u32>, BenchError> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")
        .trying(|| "cannot list /proc".to_owned())?
        .flatten()
    {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        // Processes end while this reads; those are no part of the tree any more.
        if let Some(pid) = pid
            && let Ok(stat) = stat(pid)
        {
            parents.push((pid, stat.parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| pid));
        next += 1;
    }
    Ok(found)
}

struct Stat {
    parent: u32,
    ticks: u64,
    /// Ticks of children that ended and were waited for.
    children_ticks: u64,
}

fn stat(pid: u32) -> Result<Stat, BenchError> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).trying(|| format!("cannot read {path}"))?;
    parse_stat(&text).ok_or_else(|| BenchError::Answer {
        program: path,
        missing: "processor times".to_owned(),
    })
}

/// The name in brackets may hold anything, so fields are counted from its end: field 3, the state, is the first.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        ticks: number(14)? + number(15)?,
        children_ticks: number(16)? + number(17)?,
    })
}

/// Processor seconds that a process and its descendants, ended ones included, have used.
pub(crate) fn processor_seconds(root: u32) -> Result<f64, BenchError> {
    let mut ticks = 0;
    for pid in tree(root)? {
        if let Ok(stat) = stat(pid) {
            ticks += stat.ticks + stat.children_ticks;
        }
    }
    Ok(f64::from(u32::try_from(ticks).unwrap_or(u32::MAX)) / TICKS_A_SECOND)
}

/// Resident memory of the one process, in bytes.
pub(crate) fn resident(pid: u32) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).trying(|| format!("cannot read {path}"))?;
    number_of(&text, "Rss:")
        .map(|kib| kib * 1024.0)
        .ok_or_else(|| BenchError::Answer {
            program: path,
            missing: "Rss".to_owned(),
        })
}

/// Memory of the kernel's own objects, sockets among them, on the whole machine, in bytes.
pub(crate) fn kernel_memory() -> Result<f64, BenchError> {
    let text = fs::read_to_string("/proc/meminfo").trying(|| "cannot read /proc/meminfo".to_owned())?;
    number_of(&text, "Slab:")
        .map(|kib| kib * 1024.0)
        .ok_or_else(|| BenchError::Answer {
            program: "/proc/meminfo".to_owned(),
            missing: "Slab".to_owned(),
        })
}

/// The number of a line that starts with `name`, whatever its unit.
fn number_of(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let number: u32 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(f64::from(number))
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/fd");
    let count = fs::read_dir(&path)
        .trying(|| format!("cannot list {path}"))?
        .count();
    Ok(f64::from(u32::try_from(count).unwrap_or(u32::MAX)))
}

/// How often the process's threads were switched away from: an upper bound of how often they woke up.
pub(crate) fn switches(pid: u32) -> Result<f64, BenchError> {
    let path = format!("/proc/{pid}/task");
    let mut total = 0.0;
    for entry in fs::read_dir(&path)
        .trying(|| format!("cannot list {path}"))?
        .flatten()
    {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let of = |name| number_of(&status, name).unwrap_or(0.0);
        total += of("voluntary_ctxt_switches:") + of("nonvoluntary_ctxt_switches:");
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::{number_of, parse_stat, tree};

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194304 1 2 3 4 150 50 20 10 20 0 1 0 5 6 7";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.parent, stat.ticks, stat.children_ticks), (3, 200, 30));
    }

    #[test]
    fn a_field_is_found_by_its_name() {
        assert_eq!(number_of("Pss: 3 kB\nRss:   42 kB\n", "Rss:"), Some(42.0));
        assert_eq!(number_of("Pss: 3 kB\n", "Rss:"), None);
    }

    #[test]
    fn a_process_is_in_its_own_tree() {
        let own = std::process::id();
        assert!(tree(own).unwrap().contains(&own));
    }
}
