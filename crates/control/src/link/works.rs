//! Whether a link works, tried as the host's programs will use it.
//!
//! The network's resolver is asked for the name that the link has there: an answer has gone all the way and back. Then the host's own
//! resolver is, if it was told of the domain: a host whose programs do not ask systemd-resolved is told so.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use atoll_runtime::LinkInfo;

/// How long the first answer is waited for, and when the question is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(200);

const DNS: u16 = 53;

/// What is not as it should be, a sentence each.
pub(super) fn notes(info: &LinkInfo) -> Vec<String> {
    let mut notes = Vec::new();
    let name = match &info.name {
        Some(name) => format!("{name}.{}", info.domain),
        None => info.domain.clone(),
    };
    for resolver in &info.resolvers {
        if let Err(error) = ask(*resolver, &name) {
            notes.push(format!(
                "the network's resolver {resolver} does not answer: {error}"
            ));
        }
    }
    if info.names.is_some() && info.name.is_some() && !host_knows(&name, &info.addresses) {
        notes.push(format!(
            "systemd-resolved knows the names below {}, but this host's programs do not ask it: /etc/resolv.conf names another resolver",
            info.domain
        ));
    }
    notes
}

fn host_knows(name: &str, addresses: &[IpAddr]) -> bool {
    let Ok(mut found) = (name, 0).to_socket_addrs() else {
        return false;
    };
    found.any(|found| addresses.contains(&found.ip()))
}

/// Ask until an answer comes.
fn ask(resolver: IpAddr, name: &str) -> io::Result<()> {
    let any: IpAddr = match resolver {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(SocketAddr::new(resolver, DNS))?;
    socket.set_read_timeout(Some(AGAIN))?;
    let question = question(name);
    let until = Instant::now() + PATIENCE;
    loop {
        // An error that an earlier question met is told here, and is over.
        let _ = socket.send(&question);
        let mut answer = [0; 512];
        match socket.recv(&mut answer) {
            Ok(count) if is_answer(&question, answer.get(..count).unwrap_or_default()) => return Ok(()),
            Ok(_) => {}
            Err(error) if Instant::now() >= until => return Err(error),
            // Refused at once, as when the address is not reachable yet.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => std::thread::sleep(AGAIN),
            Err(_) => {}
        }
    }
}

/// A question for IPv4 addresses (RFC 1035, 4.1).
fn question(name: &str) -> Vec<u8> {
    const NUMBER: [u8; 2] = [0xa7, 0x01];
    // Number; recursion desired; one question and nothing else.
    let mut message = [&NUMBER[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend(label.as_bytes());
    }
    // The root; type A, class IN.
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn is_answer(question: &[u8], answer: &[u8]) -> bool {
    const RESPONSE: u8 = 0x80;
    answer.len() >= 12 && answer[..2] == question[..2] && answer[2] & RESPONSE != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_head_labels_and_a_type() {
        let message = question("link.atoll.internal");
        assert_eq!(message[12..], *b"\x04link\x05atoll\x08internal\0\0\x01\0\x01");
        let mut answer = message.clone();
        assert!(!is_answer(&message, &answer), "a question is none");
        answer[2] |= 0x80;
        assert!(is_answer(&message, &answer));
        answer[0] ^= 1;
        assert!(!is_answer(&message, &answer));
        assert!(!is_answer(&message, &[0xa7]));
    }
}
