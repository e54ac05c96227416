//! Links of macOS: an interface of vmnet's, and a relay to it.
//!
//! Where this process may use vmnet (from macOS 26 on, signed so), the relay runs here, on a thread of its own: calls into the framework
//! may take their time, and the loop never waits for them. Where it may not, the same relay runs in the helper. To the loop both are
//! the same: a datagram socket with a frame in each datagram, and a descriptor that is readable when the other side has ended.
//!
//! A relay here asks for its interface again when that is lost; the helper's, which has given its rights away, ends, and is asked for
//! again like any link.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Instant;

use atoll_helper::{Grant, Request};
use atoll_ports::vmnet::{Relay, RelayEnd, RelayPort, Vmnet, VmnetPort, relay_pair, system};

use super::opener::{OpenError, Opened, Way};

/// Whether this system has vmnet.
pub(super) fn is_here() -> bool {
    system().is_ok()
}

/// What a helper's descriptor is on this system.
pub(super) fn way_of(fd: OwnedFd) -> Way {
    if is_here() { Way::Relay(fd) } else { Way::Tap(fd) }
}

/// A relay that runs in this process. Dropping it ends it, and the interface with it.
#[derive(Debug)]
pub(super) struct Here {
    /// Its end is the relay's.
    session: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// A link in this process; `None` where the helper is to be asked.
pub(super) fn open(request: &Request) -> Result<Option<(Opened, Here)>, OpenError> {
    let Ok(vmnet) = system() else {
        return Ok(None);
    };
    match open_with(vmnet, request) {
        Err(OpenError::Vmnet(error)) if error.is_forbidden() && !rustix::process::geteuid().is_root() => {
            tracing::debug!("vmnet is not for this process ({error}): the helper is asked");
            Ok(None)
        }
        outcome => outcome.map(Some),
    }
}

fn open_with(vmnet: Box<dyn Vmnet>, request: &Request) -> Result<(Opened, Here), OpenError> {
    let options = request.vmnet()?;
    let origin = Instant::now();
    let mut vmnet = VmnetPort::start(vmnet, options, origin.elapsed())?;
    let grant = Grant::of_vmnet(vmnet.wait_for_start(origin.elapsed())?);
    let (ours, theirs) = relay_pair().map_err(OpenError::Relay)?;
    let relay = Relay::new(vmnet, RelayPort::new(theirs).map_err(OpenError::Relay)?);
    let (session, relays) = UnixStream::pair().map_err(OpenError::Watch)?;
    let watched = session.as_fd().try_clone_to_owned().map_err(OpenError::Watch)?;
    let run = move || match relay.run(&relays, origin) {
        RelayEnd::Closed => {}
        end @ (RelayEnd::Lost | RelayEnd::Broken(_)) => tracing::warn!("the relay to vmnet ended: {end:?}"),
    };
    let thread = std::thread::Builder::new()
        .name("atoll-vmnet".to_owned())
        .spawn(run);
    let opened = Opened {
        grant,
        way: Way::Relay(ours),
        session: watched,
    };
    let here = Here {
        session: Some(session),
        thread: Some(thread.map_err(OpenError::Thread)?),
    };
    Ok((opened, here))
}

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && let Err(error) = session.shutdown(std::net::Shutdown::Both)
            && error.kind() != io::ErrorKind::NotConnected
        {
            tracing::debug!("a relay is not told that it ends: {error}");
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of a relay to vmnet panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use atoll_ports::vmnet::Status;
    use atoll_ports::vmnet::fake::{FakeSystem, fake};
    use atoll_wire::Frame;

    use super::*;

    fn bridged() -> Request {
        Request::Bridge {
            bridge: "en0".parse().unwrap(),
        }
    }

    fn opened() -> (RelayPort, OwnedFd, Here, FakeSystem) {
        let (vmnet, system) = fake();
        let (opened, here) = open_with(vmnet, &bridged()).unwrap();
        assert_eq!(opened.grant.mtu, 1500);
        let Way::Relay(fd) = opened.way else {
            panic!("a relay is granted");
        };
        (RelayPort::new(fd).unwrap(), opened.session, here, system)
    }

    /// Wait until it is so.
    fn eventually(mut is_so: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < end, "it did not come to be");
            std::thread::yield_now();
        }
    }

    #[test]
    fn frames_cross_until_the_link_is_dropped() {
        let (mut port, session, here, system) = opened();
        let frame = Frame::plain(vec![7; 60].into());
        let queue = VecDeque::from([frame.clone()]);
        assert_eq!(port.write(Duration::ZERO, &queue).unwrap().frames, 1);
        eventually(|| system.world().outgoing.len() == 1);
        system.send(vec![7; 60]);
        let mut frames = Vec::new();
        eventually(|| port.read(&mut frames).is_ok() && !frames.is_empty());
        assert_eq!(frames, [frame]);
        drop(here);
        assert!(system.is_idle());
        assert!(super::super::has_ended(&session));
    }

    #[test]
    fn an_interface_that_is_lost_comes_back_behind_the_same_link() {
        let (mut port, session, _here, system) = opened();
        system.vanish(Status::Failure);
        let queue = VecDeque::from([Frame::plain(vec![7; 60].into())]);
        port.write(Duration::ZERO, &queue).unwrap();
        eventually(|| system.world().starts == 2 && system.is_running());
        assert!(!super::super::has_ended(&session));
    }

    #[test]
    fn a_refusal_says_whether_the_helper_could_do_it() {
        for (status, is_forbidden) in [(Status::NotAuthorized, true), (Status::SharingServiceBusy, false)] {
            let (vmnet, system) = fake();
            system.world().refuses = Some(status);
            let Err(OpenError::Vmnet(error)) = open_with(vmnet, &bridged()) else {
                panic!("{status}");
            };
            assert_eq!(error.is_forbidden(), is_forbidden);
        }
    }
}
