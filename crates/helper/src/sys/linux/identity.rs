//! Who asks. Only what the kernel vouches for counts, and what takes rights away.
//!
//! - A real user that is not root's: the program is set-user-ID, and who started it is who asks.
//! - Otherwise the other end of standard input, a socket: who made the pair, or who connected to the socket at which systemd listens.
//!   The kernel noted who that was (`SO_PEERCRED`, `SO_PEERGROUPS`). An end that has a name is refused: it is a service's that somebody
//!   connected to, and the kernel would vouch for the service instead of for who is behind it.
//! - `SUDO_UID` is what `sudo` says of who started it. It gives nothing; but when it is there and is another than who made the
//!   socket, somebody handed over a socket of somebody else's, and is refused.

use std::io;
use std::os::fd::AsFd;

use rustix::net::{getpeername, sockopt};
use rustix::process::{getgid, getgroups, getuid};

use super::calls;
use crate::Asker;

/// Find out who asks.
pub(super) fn of(stdin: impl AsFd, sudo_uid: Option<&str>) -> Result<Asker, String> {
    if !getuid().is_root() {
        let failed = |error| format!("cannot tell the groups of who asks: {error}");
        let groups = getgroups().map_err(failed)?;
        let mut groups: Vec<u32> = groups.iter().map(|group| group.as_raw()).collect();
        groups.push(getgid().as_raw());
        return Ok(Asker {
            uid: getuid().as_raw(),
            groups,
        });
    }
    let asker = peer(stdin)?;
    match sudo_uid {
        Some(word) if word.parse() != Ok(asker.uid) => Err(format!(
            "standard input is a socket of user {}, but user {word} started sudo",
            asker.uid
        )),
        _ => Ok(asker),
    }
}

fn peer(stdin: impl AsFd) -> Result<Asker, String> {
    if has_name(&stdin) {
        return Err("standard input is connected to a service, not to who asks".to_owned());
    }
    let failed = |error: io::Error| format!("cannot tell who asks: {error}");
    let credentials = sockopt::socket_peercred(&stdin).map_err(|error| failed(error.into()))?;
    let mut groups = calls::peer_groups(&stdin).map_err(failed)?;
    groups.push(credentials.gid.as_raw());
    Ok(Asker {
        uid: credentials.uid.as_raw(),
        groups,
    })
}

fn has_name(stdin: impl AsFd) -> bool {
    // An address that is a family and nothing else is no name.
    const UNNAMED: usize = size_of::<libc::sa_family_t>();
    match getpeername(stdin) {
        Ok(Some(address)) => usize::try_from(address.addr_len()).map_or(true, |len| len > UNNAMED),
        Ok(None) => false,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn who_made_the_pair_asks() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let asker = of(&ours, None).unwrap();
        assert_eq!(asker.uid, getuid().as_raw());
        assert!(asker.groups.contains(&getgid().as_raw()));
    }

    #[test]
    fn who_connected_asks_and_not_whom_one_connected_to() {
        if !getuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let (server, _) = listener.accept().unwrap();
        assert_eq!(of(&server, None).unwrap().uid, 0);
        let refused = of(&client, None).unwrap_err();
        assert!(refused.contains("connected to a service"), "{refused}");
    }

    #[test]
    fn a_socket_of_somebody_else_is_refused_under_sudo() {
        if !getuid().is_root() {
            return;
        }
        let (ours, _theirs) = UnixStream::pair().unwrap();
        of(&ours, Some("0")).unwrap();
        for word in ["1000", "", "x"] {
            of(&ours, Some(word)).unwrap_err();
        }
    }
}
