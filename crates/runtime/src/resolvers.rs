//! The host's resolvers, from `/etc/resolv.conf`.
//!
//! The file is read again when its modification time changes, looked at no oftener than once a second and only when a guest asks
//! something: nothing wakes up for it. A stub such as systemd's 127.0.0.53 serves us as well as any, for we ask from
//! the host. Without a resolver there the C library asks 127.0.0.1 (resolv.conf(5)), and so do we.
//!
//! A link-local address of IPv6 says by its zone on which of the host's links it is (RFC 4007, 11): `fe80::1%eth0`, or the
//! link's number in place of its name. A zone that is not there makes no resolver.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::sys;

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
    let mut servers: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = (words.next()? == "nameserver").then(|| words.next())??;
            resolver(address, DNS)
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
