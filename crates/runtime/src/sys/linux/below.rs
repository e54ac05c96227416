//! Files below a folder, and no others.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

/// Opens a file for reading, whose path the kernel keeps below the folder (Linux 5.6). It says EAGAIN where a rename took place
/// meanwhile, which a second try gets over.
pub(crate) fn open_below(folder: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = || openat2(&folder, path, flags, Mode::empty(), resolve);
    match open() {
        Err(Errno::AGAIN) => open(),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir, write};
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_is_followed_as_long_as_it_stays_inside() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("served");
        create_dir(&inner).unwrap();
        write(inner.join("file"), "inside").unwrap();
        write(outer.path().join("file"), "outside").unwrap();
        symlink("file", inner.join("link")).unwrap();
        symlink("../file", inner.join("escape")).unwrap();
        let folder = File::open(&inner).unwrap();
        let mut words = String::new();
        let mut file = File::from(open_below(&folder, "link").unwrap());
        file.read_to_string(&mut words).unwrap();
        assert_eq!(words, "inside");
        assert_eq!(open_below(&folder, "escape").unwrap_err(), Errno::XDEV);
    }
}
