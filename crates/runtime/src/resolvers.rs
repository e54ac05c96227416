//! The host's resolvers, from `/etc/resolv.conf`.
//!
//! The file is read again when its modification time changes, looked at no oftener than once a second and only when a guest asks
//! something: nothing wakes up for it. A stub such as systemd's 127.0.0.53 serves us as well as any, for we ask from
//! the host. Without a resolver there the C library asks 127.0.0.1 (resolv.conf(5)), and so do we.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

const DNS: u16 = 53;

/// Time between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What we know of the file.
#[derive(Debug)]
pub(crate) struct Resolvers {
    path: Option<PathBuf>,
    modified: Option<SystemTime>,
    looked: Instant,
    servers: Vec<SocketAddr>,
}

impl Resolvers {
    /// These resolvers, or the host's own when there are none.
    pub(crate) fn new(fixed: Option<Vec<SocketAddr>>) -> Self {
        match fixed {
            Some(servers) => Self {
                path: None,
                modified: None,
                looked: Instant::now(),
                servers,
            },
            None => Self::follow(PathBuf::from("/etc/resolv.conf")),
        }
    }

    fn follow(path: PathBuf) -> Self {
        let mut resolvers = Self {
            path: Some(path),
            modified: None,
            looked: Instant::now(),
            servers: Vec::new(),
        };
        resolvers.read();
        resolvers
    }

    /// The resolvers as they were last read.
    pub(crate) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// The new resolvers, if the host's changed since the last look.
    pub(crate) fn changed(&mut self) -> Option<&[SocketAddr]> {
        if self.path.is_none() || self.looked.elapsed() < LOOK_EVERY {
            return None;
        }
        self.looked = Instant::now();
        self.read().then_some(&self.servers)
    }

    /// Read the file if it was written since; `true` when the resolvers are others now.
    fn read(&mut self) -> bool {
        let Some(path) = &self.path else {
            return false;
        };
        let modified = fs::metadata(path).and_then(|file| file.modified()).ok();
        if modified == self.modified && modified.is_some() {
            return false;
        }
        self.modified = modified;
        let servers = parse(&fs::read_to_string(path).unwrap_or_default());
        let changed = servers != self.servers;
        self.servers = servers;
        changed
    }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = (words.next()? == "nameserver").then(|| words.next())??;
            Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, DNS))
        })
        .collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, DNS).into());
    }
    servers
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
    fn without_a_resolver_the_host_itself_is_asked() {
        assert_eq!(parse("search a\n"), ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn a_file_that_changed_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        fs::write(&path, "nameserver 10.0.0.1\n").unwrap();
        let mut resolvers = Resolvers::follow(path.clone());
        assert!(!resolvers.read());
        fs::write(&path, "nameserver 10.0.0.2\n").unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert!(resolvers.read());
        assert_eq!(resolvers.servers(), ["10.0.0.2:53".parse().unwrap()]);
    }
}
