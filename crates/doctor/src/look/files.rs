//! Tries folders: a file and a socket are made in each and removed at once.
//!
//! A folder that is not there is not made: the nearest one above it answers in its place.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::examine::Settings;
use crate::judge::files::{Folder, Folders};

/// `sun_path` (unix(7); `sys/un.h` on macOS), with its ending zero.
const PATH_LIMIT: usize = 108;
const PATH_LIMIT_MACOS: usize = 104;

/// What a cluster puts below the runtime folder at most: its hash, a machine's name, `.tty`.
const LONGEST_BELOW: usize = "/01234567/".len() + 63 + ".tty".len();

/// All folders.
pub(crate) fn folders(settings: &Settings) -> Folders {
    let runtime = folder(&settings.runtime);
    Folders {
        state: folder(&settings.state),
        images: folder(&settings.images),
        intruder: intruder(&settings.runtime),
        socket: try_socket(&runtime.there).map_err(|error| error.to_string()),
        longest_path: settings.runtime.as_os_str().len() + LONGEST_BELOW,
        path_limit: if std::env::consts::OS == "macos" {
            PATH_LIMIT_MACOS
        } else {
            PATH_LIMIT
        },
        runtime,
    }
}

fn folder(path: &Path) -> Folder {
    let there = path.ancestors().find(|folder| folder.symlink_metadata().is_ok());
    let there = there.unwrap_or(Path::new("/")).to_owned();
    Folder {
        path: path.to_owned(),
        writable: try_file(&there).map_err(|error| error.to_string()),
        free: free(&there),
        there,
    }
}

/// Bytes that this user may still write there.
fn free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A name that nobody else has.
fn own_name(folder: &Path, what: &str) -> PathBuf {
    folder.join(format!(".atoll-doctor-{}.{what}", std::process::id()))
}

fn try_file(folder: &Path) -> io::Result<()> {
    let path = own_name(folder, &format!("{:?}", std::thread::current().id()));
    File::create_new(&path)?;
    fs::remove_file(&path)
}

fn try_socket(folder: &Path) -> io::Result<()> {
    let path = own_name(folder, "socket");
    UnixListener::bind(&path)?;
    fs::remove_file(&path)
}

/// What keeps a runtime folder that is there from being ours alone.
fn intruder(path: &Path) -> Option<&'static str> {
    let found = path.symlink_metadata().ok()?;
    if !found.is_dir() {
        Some("it is not a folder")
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        Some("another user owns it")
    } else if found.mode() & 0o077 != 0 {
        Some("others may enter it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_judged_by_the_one_above_and_not_made() {
        let home = tempfile::tempdir().unwrap();
        let found = folder(&home.path().join("a/b"));
        assert_eq!((found.there.as_path(), &found.writable), (home.path(), &Ok(())));
        assert!(found.free.is_some());
        assert_eq!(
            fs::read_dir(home.path()).unwrap().count(),
            0,
            "nothing is left behind"
        );
    }

    #[test]
    fn a_socket_is_tried_and_gone() {
        let home = tempfile::tempdir().unwrap();
        try_socket(home.path()).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(folder(&file.join("below")).writable.is_err());
    }

    #[test]
    fn a_runtime_folder_that_others_may_enter_is_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("atoll");
        assert_eq!(intruder(&path), None);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(intruder(&path), Some("others may enter it"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(intruder(&path), None);
    }
}
