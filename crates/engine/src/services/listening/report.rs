//! What a guest says of itself: the ports at which its programs listen.
//!
//! A report is text of at most [`BODY_MAX`] bytes, a line a port: `tcp 80` or `udp 53`. It names all of them, so that a lost report is made
//! good by the next one, and an empty one says that nobody listens. Of more than [`PORTS_MAX`] the first in order count: TCP before UDP, low
//! before high. Anything else in a line makes all of it no report.

use std::collections::BTreeSet;

/// The longest report, in bytes.
pub(crate) const BODY_MAX: u64 = 8 << 10;
/// Ports of one report that count.
pub(crate) const PORTS_MAX: usize = 128;

/// A port at which a guest's program listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listening {
    /// For TCP connections.
    Tcp(u16),
    /// For UDP datagrams.
    Udp(u16),
}

/// The ports of a report; `None` when it is none.
pub(crate) fn parse(body: &[u8]) -> Option<BTreeSet<Listening>> {
    let mut ports = BTreeSet::new();
    for line in str::from_utf8(body).ok()?.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(protocol) = words.next() else {
            continue;
        };
        let digits = words.next()?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let port = digits.parse().ok().filter(|port| is_number && *port != 0)?;
        ports.insert(match protocol {
            "tcp" => Listening::Tcp(port),
            "udp" => Listening::Udp(port),
            _ => return None,
        });
        if words.next().is_some() {
            return None;
        }
        if ports.len() > PORTS_MAX {
            ports.pop_last();
        }
    }
    Some(ports)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(ports: &[Listening]) -> Option<BTreeSet<Listening>> {
        Some(ports.iter().copied().collect())
    }

    #[test]
    fn a_report_is_a_line_a_port() {
        let both = [Listening::Tcp(80), Listening::Udp(53)];
        assert_eq!(parse(b"tcp 80\nudp 53\n"), set(&both));
        assert_eq!(parse(b"\n udp  53 \r\ntcp 80\ntcp 80"), set(&both));
        assert_eq!(parse(b""), set(&[]));
    }

    #[test]
    fn anything_else_is_no_report() {
        for body in [
            "tcp",
            "80",
            "tcp 0",
            "tcp 65536",
            "tcp +1",
            "tcp 80 81",
            "sctp 80",
            "tcp 80\n<html>",
            "tcp -1",
        ] {
            assert_eq!(parse(body.as_bytes()), None, "{body}");
        }
        assert_eq!(parse(b"tcp 80\n\xff"), None);
    }

    #[test]
    fn of_too_many_ports_the_first_count() {
        let body: String = (1..=u16::MAX).rev().map(|port| format!("udp {port}\n")).collect();
        let ports = parse(format!("{body}tcp 9\n").as_bytes()).unwrap();
        assert_eq!(ports.len(), PORTS_MAX);
        assert_eq!(ports.first(), Some(&Listening::Tcp(9)));
        assert_eq!(ports.last(), Some(&Listening::Udp(127)));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(ports) = parse(&body) {
                prop_assert!(ports.len() <= PORTS_MAX);
            }
        }

        #[test]
        fn what_is_written_is_read(ports in prop::collection::btree_set((any::<bool>(), 1..u16::MAX), 0..100)) {
            let name = |(udp, port): &(bool, u16)| format!("{} {port}\n", if *udp { "udp" } else { "tcp" });
            let body: String = ports.iter().map(name).collect();
            let read = parse(body.as_bytes()).unwrap();
            prop_assert_eq!(read.len(), ports.len());
        }
    }
}
