//! What is to be undone, on a file system that outlives the process: `/run/atoll-helper`, which root alone reads.
//!
//! A step is written before it is done, a line of JSON each, and the file is locked for as long as its process lives: a lock needs
//! no process id to be believed. The next helper that starts in the same network namespace undoes what a journal holds that nobody
//! locks. A step can be undone twice, or without having been done. At the end the file is emptied, by a process that could not
//! remove it; who may, removes empty ones.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, ftruncate, mkdir, open, openat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::address::Record;
use super::names::{LinkName, Name};

/// The folder.
pub(super) const FOLDER: &str = "/run/atoll-helper";
const ENDING: &str = ".journal";
/// Longer than 64 requests make it.
const MOST: u64 = 16 << 20;

/// How to undo a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Undo {
    /// Delete a link of ours.
    Link(Name),
    /// Delete the host's link to a network, if it is still that which was made then: another may have its name since.
    HostLink { name: LinkName, token: String },
    /// Delete a table of nf_tables of ours.
    Table(String),
    /// Answer no more on a link for an address.
    Proxy { link: String, address: std::net::IpAddr },
    /// Delete a bridge of ours, and give a card what moved there.
    Move(Moved),
    /// One who needs the settings of the host's kernel less.
    Settings,
}

/// What moved from a card to a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moved {
    pub(super) card: String,
    pub(super) bridge: Name,
    pub(super) addresses: Vec<Record>,
    pub(super) routes: Vec<Record>,
    /// The card's `accept_dad`, where there is IPv6.
    pub(super) accept_dad: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Step(Undo),
    /// So many steps are left.
    Left(usize),
}

/// A journal, locked.
#[derive(Debug)]
pub(super) struct Journal(File);

/// The folder, made if it is not there.
pub(super) fn folder() -> io::Result<OwnedFd> {
    match mkdir(FOLDER, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(FOLDER, flags, Mode::empty())?;
    let status = fstat(&folder)?;
    if status.st_uid != 0 || status.st_mode & 0o077 != 0 {
        return Err(io::Error::other(format!("{FOLDER} is open to others than root")));
    }
    Ok(folder)
}

impl Journal {
    /// A new one. `namespace` tells the network namespaces apart.
    pub(super) fn create(folder: &OwnedFd, namespace: u64) -> io::Result<Self> {
        let number = u64::from_ne_bytes(super::names::random());
        let name = format!("{namespace:x}-{}-{number:016x}{ENDING}", std::process::id());
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self(file.into()))
    }

    /// Those of processes that died, in this namespace.
    pub(super) fn of_the_dead(folder: &OwnedFd, namespace: u64) -> Vec<Self> {
        let begin = format!("{namespace:x}-");
        let names = listed(folder).into_iter().filter(|name| name.starts_with(&begin));
        names.filter_map(|name| Self::take(folder, &name)).collect()
    }

    /// Open one that nobody locks.
    fn take(folder: &OwnedFd, name: &str) -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(folder, name, flags, Mode::empty()).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self(file.into()))
    }

    /// Write a step down, before it is done.
    pub(super) fn add(&mut self, undo: &Undo) -> io::Result<()> {
        self.write(&Line::Step(undo.clone()))
    }

    /// All steps but the first so many are undone.
    pub(super) fn keep(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            ftruncate(&self.0, 0)?;
            return self.0.rewind();
        }
        self.write(&Line::Left(count))
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line).map_err(io::Error::other)?;
        bytes.push(b'\n');
        self.0.seek(SeekFrom::End(0))?;
        self.0.write_all(&bytes)
    }

    /// The steps in it. A line that was not finished is of a step that was not begun.
    pub(super) fn steps(&mut self) -> Vec<Undo> {
        let mut text = String::new();
        if self.0.rewind().is_err() || Read::take(&mut self.0, MOST).read_to_string(&mut text).is_err() {
            return Vec::new();
        }
        read_steps(&text)
    }
}

fn read_steps(text: &str) -> Vec<Undo> {
    let mut steps = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Line::Step(undo)) => steps.push(undo),
            Ok(Line::Left(count)) => steps.truncate(count),
            Err(_) => {}
        }
    }
    steps
}

/// Remove the journals in which nothing is left and that nobody locks.
pub(super) fn tidy(folder: &OwnedFd) {
    for name in listed(folder) {
        let Some(journal) = Journal::take(folder, &name) else {
            continue;
        };
        if fstat(journal.0.as_fd()).is_ok_and(|it| it.st_size == 0) {
            // One that stays is looked at again by the next.
            let _ = unlinkat(folder, name, AtFlags::empty());
        }
    }
}

fn listed(folder: &OwnedFd) -> Vec<String> {
    let Ok(entries) = Dir::read_from(folder) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned));
    names
        .filter(|name| Path::new(name).extension().is_some_and(|it| it == "journal"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::system::names::Kind;

    fn folder() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        let fd = open(folder.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (folder, fd)
    }

    #[test]
    fn what_a_living_process_holds_is_not_the_deads() {
        let (_folder, fd) = folder();
        let mut journal = Journal::create(&fd, 7).unwrap();
        let step = Undo::Link(Name::new(Kind::Tap));
        journal.add(&step).unwrap();
        assert!(Journal::of_the_dead(&fd, 7).is_empty());
        tidy(&fd);
        drop(journal);
        assert!(Journal::of_the_dead(&fd, 8).is_empty(), "another namespace's");
        let mut dead = Journal::of_the_dead(&fd, 7);
        assert_eq!(dead[0].steps(), [step]);
        dead[0].keep(0).unwrap();
        drop(dead);
        assert_eq!(listed(&fd).len(), 1);
        tidy(&fd);
        assert!(listed(&fd).is_empty());
    }

    #[test]
    fn steps_that_were_undone_are_not_undone_again() {
        let (_folder, fd) = folder();
        let mut journal = Journal::create(&fd, 7).unwrap();
        let steps: Vec<Undo> = (0..3).map(|_| Undo::Link(Name::new(Kind::Tap))).collect();
        for step in &steps {
            journal.add(step).unwrap();
        }
        journal.keep(1).unwrap();
        journal.add(&Undo::Settings).unwrap();
        assert_eq!(journal.steps(), [steps[0].clone(), Undo::Settings]);
    }

    #[test]
    fn a_line_that_was_not_finished_is_none() {
        assert_eq!(
            read_steps("{\"step\":\"settings\"}\n{\"step\":{\"link\":\"ato"),
            [Undo::Settings]
        );
        assert_eq!(
            read_steps("{\"step\":{\"link\":\"eth0\"}}\n"),
            [],
            "no link of ours"
        );
    }
}
