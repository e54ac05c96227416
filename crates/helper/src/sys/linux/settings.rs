//! Settings of the host's kernel below `/proc/sys/net`, remembered and put back.
//!
//! Several helpers need the same setting at once, and none may put back what another still needs. So all of a network namespace share one
//! file, which holds the values from before the first of them, and which each locks (shared) for as long as it needs any. Whoever can
//! lock it alone is the last, or the first after a crash: he puts the values back. A second file is locked around each change, so
//! that one comes after the other.
//!
//! Settings of links that were made here are not remembered: they go with the link. `CAP_NET_ADMIN` is enough to write all of
//! them, whatever the files' modes say (`net_ctl_permissions` in net/sysctl_net.c).

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FlockOperation, Mode, OFlags, flock, ftruncate, open, openat};
use rustix::io::Errno;

const FOLDER: &str = "/proc/sys/net";

/// Access to the settings, and the values from before.
#[derive(Debug)]
pub(super) struct Settings {
    folder: OwnedFd,
    /// What was, in the order in which it was changed.
    before: File,
    turn: File,
    needs_any: bool,
}

impl Settings {
    /// To be called while files of root's may be opened.
    pub(super) fn open(journals: &OwnedFd, namespace: u64) -> io::Result<Self> {
        let file = |ending: &str| -> io::Result<File> {
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            Ok(openat(journals, format!("{namespace:x}.{ending}"), flags, mode)?.into())
        };
        Ok(Self {
            folder: open(FOLDER, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?,
            before: file("settings")?,
            turn: file("turn")?,
            needs_any: false,
        })
    }

    /// The value of a setting; `None` where the kernel does not have it.
    pub(super) fn get(&self, path: &str) -> io::Result<Option<String>> {
        let file = match openat(
            &self.folder,
            path,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut text = String::new();
        File::from(file).take(4096).read_to_string(&mut text)?;
        Ok(Some(text.trim_end().to_owned()))
    }

    /// Write a setting of a link of ours; one that the kernel does not have is left.
    pub(super) fn put(&self, path: &str, value: &str) -> io::Result<()> {
        let opened = openat(
            &self.folder,
            path,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        match opened {
            Ok(file) => File::from(file).write_all(value.as_bytes()),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Names below a folder of settings: the links that have some.
    pub(super) fn links(&self, path: &str) -> io::Result<Vec<String>> {
        let folder = match openat(
            &self.folder,
            path,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            folder => folder?,
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(folder)? {
            let name = entry?.file_name().to_str().ok().map(str::to_owned);
            names.extend(name.filter(|name| ![".", "..", "all", "default"].contains(&name.as_str())));
        }
        Ok(names)
    }

    /// Change settings of the host's. What the change of one does to others is remembered when these are listed before it with
    /// `None`; those are put back after it.
    pub(super) fn change(&mut self, changes: &[(String, Option<&str>)]) -> io::Result<()> {
        let turn = self.turn.try_clone()?;
        flock(&turn, FlockOperation::LockExclusive)?;
        let outcome = self.change_in_turn(changes);
        flock(&turn, FlockOperation::Unlock)?;
        outcome
    }

    fn change_in_turn(&mut self, changes: &[(String, Option<&str>)]) -> io::Result<()> {
        if !self.needs_any {
            self.put_back_if_alone()?;
            flock(&self.before, FlockOperation::NonBlockingLockShared)?;
            self.needs_any = true;
        }
        let mut before = self.remembered()?;
        for (path, _) in changes {
            let is_known = before.iter().any(|(known, _)| known == path);
            if let Some(value) = self.get(path)?.filter(|_| !is_known) {
                before.push((path.clone(), value));
            }
        }
        self.remember(&before)?;
        for (path, value) in changes {
            if let Some(value) = value
                && self.get(path)?.is_some_and(|now| now != *value)
            {
                self.put(path, value)?;
            }
        }
        Ok(())
    }

    /// Need none any more. The last one puts back what was.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        let turn = self.turn.try_clone()?;
        flock(&turn, FlockOperation::LockExclusive)?;
        self.needs_any = false;
        let outcome = self.put_back_if_alone();
        let unlocked = flock(&self.before, FlockOperation::Unlock);
        flock(&turn, FlockOperation::Unlock)?;
        outcome.and(Ok(unlocked?))
    }

    fn put_back_if_alone(&mut self) -> io::Result<()> {
        if flock(&self.before, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        let mut outcome = Ok(());
        for (path, value) in self.remembered()?.iter().rev() {
            let is_other = self.get(path)?.is_some_and(|now| now != *value);
            if is_other {
                // One that cannot be put back does not keep the others from it.
                outcome = outcome.and(self.put(path, value));
            }
        }
        self.remember(&[])?;
        outcome
    }

    fn remembered(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut text = String::new();
        self.before.rewind()?;
        self.before.read_to_string(&mut text)?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(pairs
            .map(|(path, value)| (path.to_owned(), value.to_owned()))
            .collect())
    }

    fn remember(&mut self, pairs: &[(String, String)]) -> io::Result<()> {
        let text: String = pairs
            .iter()
            .map(|(path, value)| format!("{path}={value}\n"))
            .collect();
        self.before.rewind()?;
        self.before.write_all(text.as_bytes())?;
        ftruncate(&self.before, u64::try_from(text.len()).unwrap_or(0))?;
        Ok(())
    }
}

/// What makes the host a router of IPv4: of all links, or between its own and this one.
pub(super) fn forwarding4(
    settings: &Settings,
    outside: Option<&str>,
) -> io::Result<Vec<(String, Option<&'static str>)>> {
    if let Some(link) = outside {
        return Ok(vec![(format!("ipv4/conf/{link}/forwarding"), Some("1"))]);
    }
    // `inet_forward_change` in net/ipv4/devinet.c sets these, too.
    let links = settings.links("ipv4/conf")?;
    let mut list = vec![
        ("ipv4/conf/all/accept_redirects".to_owned(), None),
        ("ipv4/conf/default/forwarding".to_owned(), None),
    ];
    list.extend(
        links
            .iter()
            .map(|link| (format!("ipv4/conf/{link}/forwarding"), None)),
    );
    // Put back last to first: the switch for all before what it changes.
    list.push(("ipv4/ip_forward".to_owned(), Some("1")));
    Ok(list)
}

/// What makes the host a router of IPv6: there is one switch, and it ends what hosts learn from other routers unless they are told to go
/// on (`accept_ra` 2).
pub(super) fn forwarding6(settings: &Settings) -> io::Result<Vec<(String, Option<&'static str>)>> {
    let links = settings.links("ipv6/conf")?;
    let mut list = vec![("ipv6/conf/default/forwarding".to_owned(), None)];
    list.extend(
        links
            .iter()
            .map(|link| (format!("ipv6/conf/{link}/forwarding"), None)),
    );
    for link in &links {
        let path = format!("ipv6/conf/{link}/accept_ra");
        if settings.get(&path)?.as_deref() == Some("1") {
            list.insert(0, (path, Some("2")));
        }
    }
    list.push(("ipv6/conf/all/forwarding".to_owned(), Some("1")));
    Ok(list)
}
