//! Which host this is: what tells it from every other one that may put the same cluster on the same LAN.

use std::fs;

/// Where systemd and D-Bus keep an id that is the machine's own from its installation on (machine-id(5)).
const FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// The machine's id, or its name where it has none.
pub fn id() -> String {
    let read = |path: &str| fs::read_to_string(path).ok();
    let ids = FILES.into_iter().filter_map(read);
    let mut ids = ids.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
    ids.next()
        .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned())
}
