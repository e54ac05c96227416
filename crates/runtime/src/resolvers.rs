//! The host's resolvers, from `/etc/resolv.conf`, and followed as that changes: a VPN that comes up, another Wi-Fi.
//!
//! Programs that write the file do so in every way there is: in place, by renaming a new one over it, by a symbolic link to another (systemd-resolved
//! and NetworkManager). So what is watched is every folder on the way to it, link by link, for names that come and go and files that were written,
//! and the file itself, which may be written under another name where it is mounted here. Whatever happened, the way is walked and watched
//! anew, and only then is the file read; so nothing falls between. Where a folder is missing, the nearest one above it is watched.
//!
//! What cannot be watched (a mount over the file, a system without inotify) is seen when a guest asks something: the file is read once a second at
//! most, and nothing wakes up for it.
//!
//! A file without a resolver is believed after [`EMPTY_FOR`] only: for a moment it is one that is just being written, or replaced. Then the C library
//! asks 127.0.0.1 (resolv.conf(5)), and so do we. A stub such as systemd's 127.0.0.53 serves us as well as any, for we ask from the host.
//!
//! A link-local address of IPv6 says by its zone on which of the host's links it is (RFC 4007, 11): `fe80::1%eth0`, or the
//! link's number in place of its name. A zone that is not there makes no resolver.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use atoll_engine::Instant;

use crate::sys;

const DNS: u16 = 53;

/// Time between two looks at the file that nothing but a question is the reason for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a file has to be without a resolver, in a row, before that is believed.
const EMPTY_FOR: Duration = Duration::from_millis(500);

/// Links on the way to the file: as many as Linux follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The most that is read of the file, in bytes.
const FILE_MAX: u64 = 64 << 10;

/// What we know of the file.
#[derive(Debug)]
pub(crate) struct Resolvers {
    path: Option<PathBuf>,
    looked: Option<Instant>,
    empty_since: Option<Instant>,
    watch: Option<OwnedFd>,
    servers: Vec<SocketAddr>,
}

impl Resolvers {
    /// These resolvers, or the host's own when there are none.
    pub(crate) fn new(fixed: Option<Vec<SocketAddr>>) -> Self {
        match fixed {
            Some(servers) => Self {
                path: None,
                looked: None,
                empty_since: None,
                watch: None,
                servers,
            },
            None => Self::follow(PathBuf::from("/etc/resolv.conf")),
        }
    }

    fn follow(path: PathBuf) -> Self {
        let servers = believed(read(&path));
        Self {
            path: Some(path),
            looked: None,
            empty_since: None,
            watch: None,
            servers,
        }
    }

    /// The resolvers as they were last read.
    pub(crate) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// A descriptor that becomes readable when something happened to the file, made anew: one that was given before is closed. `None` where
    /// there is no file to follow, or nothing to follow it with.
    pub(crate) fn watch(&mut self) -> Option<BorrowedFd<'_>> {
        let path = self.path.as_ref()?;
        self.watch = match sys::file_changes(&way_to(path), path) {
            Ok(watch) => watch,
            Err(error) => {
                tracing::debug!("{} is looked at when somebody asks: {error}", path.display());
                None
            }
        };
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// The new resolvers, if the host's changed. Something happened to the file, or [`Resolvers::due`] has come.
    pub(crate) fn changed(&mut self, now: Instant) -> Option<&[SocketAddr]> {
        let path = self.path.as_ref()?;
        self.looked = Some(now);
        let found = read(path);
        let is_empty = found.is_empty();
        let servers = believed(found);
        if servers == self.servers {
            self.empty_since = None;
            return None;
        }
        if is_empty && now.since(*self.empty_since.get_or_insert(now)) < EMPTY_FOR {
            return None;
        }
        self.empty_since = None;
        self.servers = servers;
        Some(&self.servers)
    }

    /// The same when a guest asks something.
    pub(crate) fn changed_since_last_look(&mut self, now: Instant) -> Option<&[SocketAddr]> {
        let is_due = self.looked.is_none_or(|looked| now.since(looked) >= LOOK_EVERY);
        is_due.then(|| self.changed(now))?
    }

    /// When to look again although nothing happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.empty_since.map(|since| since + EMPTY_FOR)
    }
}

/// The folders in which the names on the way to a file are, link by link; where one is missing, the nearest above it.
fn way_to(path: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Some(parent) = path.parent() else { break };
        let folder = parent
            .ancestors()
            .find(|folder| folder.is_dir())
            .unwrap_or(parent);
        if !folders.iter().any(|known| known == folder) {
            folders.push(folder.to_owned());
        }
        let Ok(target) = fs::read_link(&path) else { break };
        path = parent.join(target);
    }
    folders
}

/// The resolvers that a file names; none where there is no such file.
fn read(path: &Path) -> Vec<SocketAddr> {
    let bytes = read_bytes(path).unwrap_or_else(|error| {
        tracing::debug!("{}: {error}", path.display());
        Vec::new()
    });
    parse(&String::from_utf8_lossy(&bytes))
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Another kind of file could keep us waiting.
    if fs::metadata(path)?.is_file() {
        File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Without a resolver it is this host.
fn believed(servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
    match servers.is_empty() {
        true => vec![(Ipv4Addr::LOCALHOST, DNS).into()],
        false => servers,
    }
}

/// A resolver as people write it: `1.1.1.1`, `127.0.0.1:5353`, `2606:4700::1111`, `[::1]:5353`, `fe80::1%eth0` or
/// `[fe80::1%eth0]:5353`; port 53 when left out. `None` when it is none, or its zone is no link of this host.
#[must_use]
pub fn parse_resolver(text: &str) -> Option<SocketAddr> {
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            let port = match rest {
                "" => DNS,
                _ => rest.strip_prefix(':')?.parse().ok()?,
            };
            (address.parse::<Ipv6Addr>().is_ok() || address.contains('%')).then_some((address, port))?
        }
        None => match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => (address, port.parse().ok()?),
            _ => (text, DNS),
        },
    };
    resolver(address, port).filter(|resolver| {
        let ip = resolver.ip();
        port != 0 && !ip.is_unspecified() && !ip.is_multicast()
    })
}

fn resolver(address: &str, port: u16) -> Option<SocketAddr> {
    let Some((address, zone)) = address.split_once('%') else {
        return Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let scope = zone.parse().ok().or_else(|| sys::link_number(zone))?;
    Some(SocketAddrV6::new(address, port, 0, scope).into())
}

fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = (words.next()? == "nameserver").then(|| words.next())??;
            resolver(address, DNS)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nameserver_lines_count() {
        let text = "# nameserver 1.1.1.1\nsearch a b\nnameserver 127.0.0.53\n nameserver\t2001:db8::1 \nnameserver nonsense\noptions edns0\n";
        assert_eq!(
            parse(text),
            [
                "127.0.0.53:53".parse().unwrap(),
                "[2001:db8::1]:53".parse().unwrap()
            ]
        );
    }

    #[test]
    fn a_link_local_resolver_is_on_the_link_that_its_zone_names() {
        let [resolver] = parse("nameserver fe80::1%7\n")[..] else {
            panic!("one resolver")
        };
        assert_eq!(
            resolver,
            SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, 7).into()
        );
        assert_eq!(parse_resolver("[fe80::1%7]:5353").map(|it| it.port()), Some(5353));
        if let Some(number) = sys::link_number("lo") {
            let expected = SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, number);
            assert_eq!(parse_resolver("fe80::1%lo"), Some(expected.into()));
        }
        assert_eq!(parse_resolver("fe80::1%no-such-link"), None);
    }

    #[test]
    fn resolvers_are_read_as_people_write_them() {
        for (text, expected) in [
            ("1.1.1.1", Some("1.1.1.1:53")),
            ("127.0.0.1:5353", Some("127.0.0.1:5353")),
            ("2001:db8::1", Some("[2001:db8::1]:53")),
            ("[2001:db8::1]", Some("[2001:db8::1]:53")),
            ("[::1]:5353", Some("[::1]:5353")),
            ("[1.1.1.1]:53", None),
            ("[::1]5353", None),
            ("1.1.1.1:0", None),
            ("1.1.1.1:", None),
            ("ff02::fb", None),
            ("::", None),
            ("", None),
            ("resolver", None),
        ] {
            let expected = expected.map(|expected| expected.parse().unwrap());
            assert_eq!(parse_resolver(text), expected, "{text}");
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::since_origin(Duration::from_millis(millis))
    }

    fn server(text: &str) -> Vec<SocketAddr> {
        vec![parse_resolver(text).unwrap()]
    }

    #[test]
    fn a_file_without_a_resolver_is_this_host_once_it_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let mut resolvers = Resolvers::follow(path.clone());
        assert_eq!(resolvers.servers(), server("127.0.0.1"));
        fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        assert_eq!(resolvers.changed(at(0)), Some(&server("10.0.0.1")[..]));
        fs::write(&path, "search a\n").unwrap();
        assert_eq!(resolvers.changed(at(100)), None);
        assert_eq!(resolvers.due(), Some(at(600)));
        fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        assert_eq!(resolvers.changed(at(200)), None);
        assert_eq!(resolvers.due(), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(resolvers.changed(at(300)), None);
        assert_eq!(resolvers.changed(at(800)), Some(&server("127.0.0.1")[..]));
        assert_eq!(resolvers.due(), None);
    }

    #[test]
    fn a_question_looks_at_the_file_once_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        let mut resolvers = Resolvers::follow(path.clone());
        assert_eq!(resolvers.changed_since_last_look(at(0)), None);
        fs::write(&path, "nameserver 10.0.0.2\n").unwrap();
        assert_eq!(resolvers.changed_since_last_look(at(999)), None);
        let changed = resolvers.changed_since_last_look(at(1000));
        assert_eq!(changed, Some(&server("10.0.0.2")[..]));
        let mut fixed = Resolvers::new(Some(server("10.0.0.3")));
        assert_eq!(fixed.changed_since_last_look(at(5000)), None);
        assert!(fixed.watch().is_none());
    }

    #[test]
    fn a_link_is_followed_through_every_folder_on_its_way() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let path = etc.join("resolv.conf");
        std::os::unix::fs::symlink("../run/resolve/stub.conf", &path).unwrap();
        let missing = etc.join("..");
        assert_eq!(way_to(&path), [etc.clone(), missing]);
        fs::create_dir_all(dir.path().join("run/resolve")).unwrap();
        assert_eq!(way_to(&path), [etc.clone(), etc.join("../run/resolve")]);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("resolv.conf", &path).unwrap();
        assert_eq!(way_to(&path), [etc], "a link to itself ends");
    }
}

/// Where the system tells of changes; elsewhere there is nothing to test.
#[cfg(test)]
mod following {
    use std::os::unix::fs::symlink;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    /// Waits until something happens to the file; gives what it says then.
    fn next(resolvers: &mut Resolvers, millis: u64) -> Vec<SocketAddr> {
        let watch = resolvers.watch.as_ref().unwrap();
        let mut waits = [PollFd::new(watch, PollFlags::IN)];
        let most = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut waits, Some(&most)), Ok(1), "nobody told");
        assert!(resolvers.watch().is_some());
        let now = Instant::since_origin(Duration::from_millis(millis));
        resolvers.changed(now);
        resolvers.servers().to_vec()
    }

    /// What happens to the file, and what it says afterwards.
    fn follows(path: &Path, steps: &[(&str, &dyn Fn())]) {
        let mut resolvers = Resolvers::follow(path.to_owned());
        if resolvers.watch().is_none() {
            return;
        }
        for (expected, happens) in steps {
            happens();
            let expected = vec![parse_resolver(expected).unwrap()];
            // One change may be told in several pieces.
            while next(&mut resolvers, 0) != expected {}
        }
    }

    fn write(path: &Path, server: &str) {
        fs::write(path, format!("nameserver {server}\n")).unwrap();
    }

    #[test]
    fn a_file_that_is_written_in_place_renamed_over_and_made_again_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let other = dir.path().join("resolv.conf.new");
        write(&path, "10.0.0.1");
        follows(
            &path,
            &[
                ("10.0.0.2", &|| write(&path, "10.0.0.2")),
                ("10.0.0.3", &|| {
                    write(&other, "10.0.0.3");
                    fs::rename(&other, &path).unwrap();
                }),
                ("10.0.0.4", &|| {
                    fs::remove_file(&path).unwrap();
                    write(&path, "10.0.0.4");
                }),
            ],
        );
    }

    #[test]
    fn a_link_that_is_swapped_and_a_file_that_is_replaced_behind_it_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let in_dir = |name: &str| dir.path().join(name);
        let (path, resolved, manager) = (in_dir("etc/resolv.conf"), in_dir("resolved"), in_dir("manager"));
        fs::create_dir(in_dir("etc")).unwrap();
        fs::create_dir(&resolved).unwrap();
        write(&resolved.join("stub"), "127.0.0.53");
        symlink("../resolved/stub", &path).unwrap();
        follows(
            &path,
            &[
                ("10.0.0.2", &|| {
                    write(&resolved.join("new"), "10.0.0.2");
                    fs::rename(resolved.join("new"), resolved.join("stub")).unwrap();
                }),
                ("10.0.0.3", &|| {
                    fs::create_dir(&manager).unwrap();
                    write(&manager.join("conf"), "10.0.0.3");
                    symlink("../manager/conf", in_dir("etc/link")).unwrap();
                    fs::rename(in_dir("etc/link"), &path).unwrap();
                }),
                ("10.0.0.4", &|| write(&manager.join("conf"), "10.0.0.4")),
            ],
        );
    }

    #[test]
    fn a_file_written_under_another_name_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        for folder in [&here, &there] {
            fs::create_dir(folder).unwrap();
        }
        let (path, other) = (here.join("resolv.conf"), there.join("resolv.conf"));
        write(&other, "10.0.0.1");
        fs::hard_link(&other, &path).unwrap();
        follows(&path, &[("10.0.0.2", &|| write(&other, "10.0.0.2"))]);
    }

    #[test]
    fn a_file_whose_folder_is_not_there_yet_is_found_when_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/resolve/resolv.conf");
        let folder = path.parent().unwrap().to_owned();
        let mut resolvers = Resolvers::follow(path.clone());
        if resolvers.watch().is_none() {
            return;
        }
        fs::create_dir_all(&folder).unwrap();
        write(&path, "10.0.0.1");
        let expected = vec![parse_resolver("10.0.0.1").unwrap()];
        while next(&mut resolvers, 0) != expected {}
    }
}
