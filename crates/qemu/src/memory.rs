//! A machine's memory and devices in a file, and back: what QEMU calls a migration, to a file.
//!
//! **Saving.** The CPUs stand still first ([`Qmp::stop`](crate::Qmp::stop)), so nothing changes while the file is written, and what the
//! guest had asked its disks for is done. Afterwards QEMU has let go of its disks (`postmigrate`): it can be ended, or goes on with
//! [`Qmp::cont`](crate::Qmp::cont), which takes them back.
//!
//! **Loading.** A QEMU started with [`Launch::waits_for_memory`](crate::Launch) has no guest yet. It must be the machine that was saved: same
//! devices, memory and processors, and the machine type by its full name ([`Qmp::machine_type`]), since a newer QEMU means another machine by
//! the short one. Its CPUs stand still when all is loaded.
//!
//! **Bounds.** A saving or loading that makes no end is given up at its deadline, or when its caller says so; a saving is cancelled and the guest
//! can go on. What cannot be saved at all, such as memory that a vhost-user network shares, QEMU says beforehand.
//!
//! Sources: QEMU `docs/devel/migration/main.rst`, `qapi/migration.json`; `file:` came with 8.2.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::qmp::QmpError;
use crate::{Capabilities, QemuError, Qmp, Version, shell_line};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(10);

/// How long a saving that is called off may take to end.
const CANCEL: Duration = Duration::from_secs(5);

/// Bytes a second: no bound; QEMU's own of 128 MiB/s is for networks.
const BANDWIDTH: u64 = u64::MAX >> 1;

/// Where a machine's memory goes, and how long that may take.
#[derive(Clone, Copy)]
pub struct MemoryFile<'a> {
    /// The file.
    pub path: &'a Path,
    /// How long it may take.
    pub deadline: Duration,
    /// Whether nobody wants it any more.
    pub is_off: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for MemoryFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryFile")
            .field("path", &self.path)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Qmp {
    /// The machine type by its full name, such as `pc-q35-10.0`.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn machine_type(&mut self) -> Result<String, QemuError> {
        let asked = json!({ "path": "/machine", "property": "type" });
        let class = self.execute("qom-get", Some(asked))?;
        let name = class.as_str().and_then(|class| class.strip_suffix("-machine"));
        name.map(str::to_owned).ok_or_else(|| {
            self.error(QmpError::Missing {
                field: "machine type",
            })
        })
    }

    /// Why its memory cannot be saved, in QEMU's words; `None` when it can.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn memory_blocker(&mut self) -> Result<Option<String>, QemuError> {
        let state = self.execute("query-migrate", None)?;
        let reasons = state.get("blocked-reasons").and_then(Value::as_array);
        let words = reasons.into_iter().flatten().filter_map(Value::as_str);
        let words = words.collect::<Vec<_>>().join("; ");
        Ok((!words.is_empty()).then_some(words))
    }

    /// Writes memory and devices of a guest whose CPUs stand still. The file is not synced.
    ///
    /// # Errors
    ///
    /// [`QemuError::Memory`] with QEMU's words, or that it was given up; the guest can go on then. As [`Qmp::execute`].
    pub fn save_memory(&mut self, file: MemoryFile<'_>, qemu: &Capabilities) -> Result<(), QemuError> {
        self.execute(
            "migrate-set-parameters",
            Some(json!({ "max-bandwidth": BANDWIDTH })),
        )?;
        let uri = uri(file.path, qemu.version, ">");
        self.execute("migrate", Some(json!({ "uri": uri })))?;
        let result = self.wait_for_memory(file, "save");
        if result.is_err() {
            self.end_saving().ok();
        }
        result
    }

    /// Reads memory and devices into a QEMU that waits for them; its CPUs stand still.
    ///
    /// # Errors
    ///
    /// [`QemuError::Memory`] with QEMU's words, or that it was given up; that QEMU is of no use then. As [`Qmp::execute`].
    pub fn load_memory(&mut self, file: MemoryFile<'_>, qemu: &Capabilities) -> Result<(), QemuError> {
        let uri = uri(file.path, qemu.version, "<");
        self.execute("migrate-incoming", Some(json!({ "uri": uri })))?;
        self.wait_for_memory(file, "load")
    }

    /// Calls off a saving that is under way, and waits for its end; none is as good.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn end_saving(&mut self) -> Result<(), QemuError> {
        self.execute("migrate_cancel", None)?;
        let until = Instant::now() + CANCEL;
        while matches!(
            self.memory_state()?.0.as_str(),
            "active" | "setup" | "device" | "cancelling"
        ) && Instant::now() < until
        {
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn wait_for_memory(&mut self, file: MemoryFile<'_>, action: &'static str) -> Result<(), QemuError> {
        let failed = |reason: String| QemuError::Memory {
            action,
            path: file.path.to_owned(),
            reason,
        };
        let until = Instant::now() + file.deadline;
        loop {
            let state = self.memory_state();
            let (state, words) = match state {
                // A QEMU that cannot load what it is given ends, and says why to its standard error.
                Err(QemuError::Qmp {
                    source: QmpError::Closed,
                    ..
                }) => {
                    return Err(failed("QEMU ended over it".to_owned()));
                }
                other => other?,
            };
            match state.as_str() {
                "completed" => return Ok(()),
                "failed" | "cancelled" => return Err(failed(words.unwrap_or(state))),
                _ => {}
            }
            if (file.is_off)() {
                return Err(failed("it was called off".to_owned()));
            }
            if Instant::now() >= until {
                return Err(failed(format!("not within {} s", file.deadline.as_secs())));
            }
            thread::sleep(LOOK);
        }
    }

    /// QEMU's word for how far it is, and what it says of a failure.
    fn memory_state(&mut self) -> Result<(String, Option<String>), QemuError> {
        let state = self.execute("query-migrate", None)?;
        let text = |key| state.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok((
            text("status").unwrap_or_else(|| "none".to_owned()),
            text("error-desc"),
        ))
    }

    /// Notes the state of disks, all at one moment and under one name, inside their files.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`]: a disk that is not qcow2, or has the name already. Then none has it.
    pub fn snapshot_disks(&mut self, nodes: &[String], name: &str) -> Result<(), QemuError> {
        if nodes.is_empty() {
            return Ok(());
        }
        let action = |node: &String| {
            let data = json!({ "device": node, "name": name });
            json!({ "type": "blockdev-snapshot-internal-sync", "data": data })
        };
        let actions: Vec<Value> = nodes.iter().map(action).collect();
        self.execute("transaction", Some(json!({ "actions": actions })))
            .map(drop)
    }

    /// Deletes what [`Qmp::snapshot_disks`] noted in one disk.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`]: the disk has none of that name.
    pub fn delete_disk_snapshot(&mut self, node: &str, name: &str) -> Result<(), QemuError> {
        let which = json!({ "device": node, "name": name });
        self.execute("blockdev-snapshot-delete-internal-sync", Some(which))
            .map(drop)
    }
}

/// Where QEMU writes or reads. Before it knew files, a shell stands in between.
fn uri(path: &Path, version: Version, direction: &str) -> String {
    // Our own folders have names in UTF-8; of others QMP, which is JSON, could not speak.
    let file = path.to_string_lossy();
    if (version.major, version.minor) >= (8, 2) {
        return format!("file:{file}");
    }
    let quoted = shell_line([path.as_os_str()]);
    format!("exec:cat {direction}{}", quoted.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_that_knows_no_files_gets_them_through_a_shell() {
        let path = Path::new("/s/a b/memory");
        let of = |major, minor| uri(path, Version::new(major, minor, 0), ">");
        assert_eq!(of(8, 2), "file:/s/a b/memory");
        assert_eq!(of(8, 1), "exec:cat >'/s/a b/memory'");
    }
}
