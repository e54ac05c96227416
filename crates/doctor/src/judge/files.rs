//! Folders: may they be written, have they room, do socket paths fit.

use std::path::PathBuf;

use super::size;
use crate::check::{Area, Check, Need, Status};

/// What is left for anything to work, and for a vendor's image with the disks that grow on it.
const LITTLE: u64 = 256 << 20;
const SCARCE: u64 = 4 << 30;

/// A folder as it was found, or the nearest one above that is there.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    /// Where it should be.
    pub(crate) path: PathBuf,
    /// What is there of it: itself, or the nearest folder above.
    pub(crate) there: PathBuf,
    /// Whether a file could be made in what is there, or why not.
    pub(crate) writable: Result<(), String>,
    /// Bytes that this user may still write.
    pub(crate) free: Option<u64>,
}

/// All of them.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    pub(crate) state: Folder,
    pub(crate) runtime: Folder,
    pub(crate) images: Folder,
    /// What is wrong with who owns the runtime folder.
    pub(crate) intruder: Option<&'static str>,
    /// Whether a socket could be bound beside it, or why not.
    pub(crate) socket: Result<(), String>,
    /// Bytes of the longest socket path that a cluster of ours makes, without its ending zero.
    pub(crate) longest_path: usize,
    /// Bytes that the system takes.
    pub(crate) path_limit: usize,
}

/// What the folders mean.
pub(crate) fn judge(folders: &Folders) -> Vec<Check> {
    vec![
        folder("state", "clusters' state", &folders.state, "ATOLL_HOME"),
        runtime(folders),
        sockets(folders),
        folder("image-cache", "images", &folders.images, "XDG_CACHE_HOME"),
    ]
}

fn check(name: &str, status: Status, found: String) -> Check {
    Check::new(Area::Files, name, status, found).needed_for(&[Need::Up])
}

fn folder(name: &str, what: &str, folder: &Folder, variable: &str) -> Check {
    let path = folder.path.display();
    if let Err(reason) = &folder.writable {
        let words = format!(
            "{what} cannot be written to {path}: {}: {reason}",
            folder.there.display()
        );
        return check(name, Status::Fail, words).fix(format!(
            "make it writable for this user, or set {variable} to a folder that is"
        ));
    }
    let Some(free) = folder.free else {
        return check(name, Status::Ok, format!("{what} can be written to {path}"));
    };
    let words = format!("{what} can be written to {path}, {} free", size(free));
    let (status, fix) = match free {
        0..LITTLE => (Status::Fail, true),
        LITTLE..SCARCE => (Status::Warn, true),
        _ => (Status::Ok, false),
    };
    let fix = fix.then(|| {
        format!("make room (`atoll image prune` removes images), or set {variable} to a larger disk")
    });
    check(name, status, words).fix_if(fix)
}

fn runtime(folders: &Folders) -> Check {
    let path = folders.runtime.path.display();
    if let Some(fault) = folders.intruder {
        let words = format!("sockets would lie in {path}, but {fault}");
        return check("runtime", Status::Fail, words).fix(format!(
            "remove {path}, or set XDG_RUNTIME_DIR to a folder of this user's of at most 16 bytes"
        ));
    }
    match &folders.runtime.writable {
        Ok(()) => check("runtime", Status::Ok, format!("sockets can be made in {path}")),
        Err(reason) => {
            let there = folders.runtime.there.display();
            check(
                "runtime",
                Status::Fail,
                format!("sockets cannot be made in {path}: {there}: {reason}"),
            )
            .fix("set XDG_RUNTIME_DIR to a writable folder of at most 16 bytes, such as /run/user/UID")
        }
    }
}

fn sockets(folders: &Folders) -> Check {
    let Folders {
        longest_path,
        path_limit,
        ..
    } = folders;
    let there = folders.runtime.there.display();
    if let Err(reason) = &folders.socket {
        return check(
            "sockets",
            Status::Fail,
            format!("no unix socket can be bound in {there}: {reason}"),
        )
        .fix("set XDG_RUNTIME_DIR to a folder on a file system that takes sockets, such as tmpfs");
    }
    // The address ends with a zero byte.
    if longest_path >= path_limit {
        let words = format!(
            "the longest socket path has {longest_path} bytes, and this system takes {path_limit} with a zero"
        );
        return check("sockets", Status::Fail, words)
            .fix("set XDG_RUNTIME_DIR to a folder of at most 16 bytes");
    }
    let words =
        format!("a unix socket can be bound; the longest path has {longest_path} of {path_limit} bytes");
    check("sockets", Status::Ok, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(path: &str) -> Folder {
        Folder {
            path: path.into(),
            there: "/home/u".into(),
            writable: Ok(()),
            free: Some(100 << 30),
        }
    }

    fn laptop() -> Folders {
        Folders {
            state: good("/home/u/.local/state/atoll"),
            runtime: good("/run/user/1000/atoll"),
            images: good("/home/u/.cache/atoll/images"),
            intruder: None,
            socket: Ok(()),
            longest_path: 97,
            path_limit: 108,
        }
    }

    fn statuses(folders: &Folders) -> Vec<(String, Status)> {
        let checks = judge(folders);
        assert!(
            checks
                .iter()
                .all(|it| (it.status == Status::Ok) == it.fix.is_none()),
            "{checks:#?}"
        );
        let bad = checks.into_iter().filter(|it| it.status != Status::Ok);
        bad.map(|it| (it.name, it.status)).collect()
    }

    #[test]
    fn a_laptop_has_nothing_to_complain_of() {
        assert_eq!(statuses(&laptop()), []);
    }

    #[test]
    fn a_disk_that_is_nearly_full_is_a_warning_and_a_full_one_a_failure() {
        for (free, expected) in [(1 << 30, Status::Warn), (1 << 20, Status::Fail)] {
            let mut folders = laptop();
            folders.images.free = Some(free);
            assert_eq!(statuses(&folders), [("image-cache".to_owned(), expected)]);
        }
    }

    #[test]
    fn a_home_that_may_not_be_written_is_a_failure_with_the_variable() {
        let mut folders = laptop();
        folders.state.writable = Err("Read-only file system".to_owned());
        let checks = judge(&folders);
        assert_eq!(checks[0].status, Status::Fail);
        assert!(
            checks[0].found.contains("Read-only") && checks[0].fix.as_ref().unwrap().contains("ATOLL_HOME")
        );
    }

    #[test]
    fn another_users_runtime_folder_and_a_path_too_long_are_failures() {
        let mut folders = laptop();
        folders.intruder = Some("another user owns it");
        assert_eq!(statuses(&folders), [("runtime".to_owned(), Status::Fail)]);
        let mut folders = laptop();
        folders.longest_path = 104;
        folders.path_limit = 104;
        assert_eq!(statuses(&folders), [("sockets".to_owned(), Status::Fail)]);
    }
}
