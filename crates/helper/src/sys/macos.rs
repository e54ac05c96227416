//! The helper on macOS before 26, where vmnet is root's.
//!
//! It is one session and one interface, or the names of one network: standard input is a socket, at the other end is who asks. For an
//! interface, in this order:
//!
//! 1. as root: find out who asks, read the policy, start the interface that is asked for and allowed;
//! 2. hand one end of a relay to who asked, and become `nobody` for good;
//! 3. carry frames until the other end of standard input closes, or the interface is lost: asking for another takes root.
//!
//! What is refused leaves the session as it was, for another request. An interface needs no journal: the system takes it back
//! when the process that has it ends, however it ends.
//!
//! Names are a file in `/etc/resolver` ([`crate::resolver`]), which only root can remove. So that session keeps its rights until it
//! ends, and is asked for nothing else meanwhile: whatever comes is refused unread. Files that a killed helper left are removed
//! by the next that starts, whatever that is asked for.
//!
//! **Who asks.** A real user that is not root's started a program that is set-user-ID. Otherwise the kernel knows who connected to the
//! socket at which launchd listens (`LOCAL_PEERCRED`). Of a pair of sockets it knows nothing on macOS; then `sudo` has started the helper, and
//! says for whom (`SUDO_UID`, which it sets itself whatever the caller's environment), or root has.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use atoll_ports::vmnet::{Relay, RelayEnd, RelayPort, VmnetPort, relay_pair, system};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{getgid, getgroups, getuid};

use crate::message::{Channel, Received};
use crate::resolver::{ResolverFile, ResolverFiles};
use crate::{
    Asker, BridgeAcl, Grant, MAX_REQUESTS, NamesRequest, Policy, Refusal, RefusalKind, Reply, Request,
};

/// There is no such flag.
pub(crate) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();
/// There is no such flag; Rust's programs ignore the signal.
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// The user and group `nobody`: -2.
const NOBODY: u32 = u32::MAX - 1;

/// The groups that a process can be in (`NGROUPS_MAX`, and as many again that a directory knows of).
const MOST_GROUPS: usize = 32;

/// Be the helper.
pub(super) fn serve() -> ExitCode {
    let Ok(mut channel) = io::stdin().as_fd().try_clone_to_owned().and_then(Channel::new) else {
        return super::usage();
    };
    resolver_files().undo_the_dead();
    let asker = asker(channel.as_fd());
    let policy = super::load_policy();
    for _ in 0..MAX_REQUESTS {
        let outcome = match channel.receive() {
            Ok(Received::Message(message, _)) => asker
                .as_ref()
                .map_err(|sentence| Refusal::new(RefusalKind::Failed, sentence.as_str()))
                .and_then(|asker| open(&message, asker, &policy)),
            Ok(Received::TooLong) => Err(Refusal::new(RefusalKind::Malformed, "the request is too long")),
            Ok(Received::End) | Err(_) => return ExitCode::SUCCESS,
        };
        let reply = match outcome {
            Ok(Opened::Interface(interface)) => return carry(&channel, *interface),
            Ok(Opened::Names(grant, file)) => return hold(channel, grant, file),
            Err(refusal) => Reply::Refused(refusal),
        };
        if channel.send(&reply.encode(), None).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// What was granted.
enum Opened {
    Interface(Box<Interface>),
    Names(Grant, ResolverFile),
}

struct Interface {
    grant: Grant,
    relay: Relay,
    theirs: OwnedFd,
    origin: Instant,
}

fn open(message: &[u8], asker: &Asker, policy: &Result<Policy, Refusal>) -> Result<Opened, Refusal> {
    let request = Request::decode(message)?;
    match policy {
        Ok(policy) => policy.judge(asker, &BridgeAcl::default(), &request)?,
        Err(_) if asker.uid == 0 => {}
        Err(refusal) => return Err(refusal.clone()),
    }
    match request {
        Request::Names(names) => tell(&names),
        request => start(&request),
    }
}

fn resolver_files() -> ResolverFiles {
    ResolverFiles::new(super::RESOLVER, super::RESOLVER_JOURNAL)
}

/// Tell the system's resolver of a domain.
fn tell(names: &NamesRequest) -> Result<Opened, Refusal> {
    // What ends the terminal's programs does not end this one: the network will hold the session.
    let _ = rustix::process::setsid();
    let files = resolver_files();
    let file = files.write(names)?;
    let grant = Grant::of_names(&files.path(&names.domain), Path::new(super::RESOLVER));
    Ok(Opened::Names(grant, file))
}

/// Wait for the session's end, and take back what the resolver was told.
fn hold(mut channel: Channel, grant: Grant, file: ResolverFile) -> ExitCode {
    let mut reply = Reply::Granted(grant);
    while channel.send(&reply.encode(), None).is_ok() {
        match channel.receive() {
            Ok(Received::Message(..)) => {
                let sentence = "this session has names already, and nothing else";
                reply = Reply::Refused(Refusal::new(RefusalKind::Failed, sentence));
            }
            Ok(Received::TooLong | Received::End) | Err(_) => break,
        }
    }
    drop(file);
    ExitCode::SUCCESS
}

/// Start an interface.
fn start(request: &Request) -> Result<Opened, Refusal> {
    let options = request.vmnet()?;
    let origin = Instant::now();
    let mut vmnet = VmnetPort::start(system()?, options, origin.elapsed())?;
    let grant = Grant::of_vmnet(vmnet.wait_for_start(origin.elapsed())?);
    let failed =
        |error: io::Error| Refusal::new(RefusalKind::Failed, format!("cannot make a relay: {error}"));
    let (ours, theirs) = relay_pair().map_err(failed)?;
    let relay = Relay::new(vmnet, RelayPort::new(ours).map_err(failed)?).ending_with_interface();
    Ok(Opened::Interface(Box::new(Interface {
        grant,
        relay,
        theirs,
        origin,
    })))
}

/// Everything after the interface is there. Nobody is told of it before the rights are gone.
fn carry(channel: &Channel, interface: Interface) -> ExitCode {
    let Interface {
        grant,
        relay,
        theirs,
        origin,
    } = interface;
    if let Err(error) = become_nobody() {
        let refusal = Refusal::new(
            RefusalKind::Failed,
            format!("atoll-helper cannot give its rights away: {error}"),
        );
        let _ = channel.send(&Reply::Refused(refusal).encode(), None);
        return ExitCode::FAILURE;
    }
    if channel
        .send(&Reply::Granted(grant).encode(), Some(theirs.as_fd()))
        .is_err()
    {
        return ExitCode::SUCCESS;
    }
    drop(theirs);
    match relay.run(channel, origin) {
        RelayEnd::Closed => ExitCode::SUCCESS,
        RelayEnd::Lost | RelayEnd::Broken(_) => ExitCode::FAILURE,
    }
}

/// Give up root for good, if it is root's.
fn become_nobody() -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    // SAFETY: no groups are read from nowhere.
    let groups = unsafe { libc::setgroups(0, std::ptr::null()) };
    // SAFETY: numbers only.
    let group = unsafe { libc::setgid(NOBODY) };
    // SAFETY: numbers only.
    let user = unsafe { libc::setuid(NOBODY) };
    // SAFETY: numbers only. It must fail.
    let is_back = unsafe { libc::setuid(0) } == 0;
    if (groups, group, user, is_back) == (0, 0, 0, false) {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Who asks; or why that is not known.
fn asker(stdin: BorrowedFd<'_>) -> Result<Asker, String> {
    if !getuid().is_root() {
        let groups = getgroups().map_err(|error| format!("cannot tell the groups of who asks: {error}"))?;
        let groups = groups
            .iter()
            .map(|group| group.as_raw())
            .chain([getgid().as_raw()]);
        return Ok(Asker {
            uid: getuid().as_raw(),
            groups: groups.collect(),
        });
    }
    if let Some(asker) = peer(stdin) {
        return Ok(asker);
    }
    let word = |name| std::env::var(name).ok();
    let Some(uid) = word("SUDO_UID") else {
        return Ok(Asker {
            uid: 0,
            groups: vec![0],
        });
    };
    let unknown = || "sudo does not say for whom it started atoll-helper".to_owned();
    let uid = uid.parse().map_err(|_| unknown())?;
    let gid = word("SUDO_GID")
        .and_then(|gid| gid.parse().ok())
        .ok_or_else(unknown)?;
    let name = word("SUDO_USER")
        .and_then(|name| CString::new(name).ok())
        .ok_or_else(unknown)?;
    Ok(Asker {
        uid,
        groups: groups_of(&name, gid),
    })
}

/// Who connected to this socket.
fn peer(stdin: BorrowedFd<'_>) -> Option<Asker> {
    // SAFETY: all zeroes is a value of it: numbers only.
    let mut credentials: libc::xucred = unsafe { std::mem::zeroed() };
    let mut len = libc::socklen_t::try_from(size_of::<libc::xucred>()).ok()?;
    // SAFETY: `credentials` and `len` are valid for writes, and `len` holds the size of `credentials`.
    let status = unsafe {
        libc::getsockopt(
            stdin.as_raw_fd(),
            libc::SOL_LOCAL,
            libc::LOCAL_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut len,
        )
    };
    let count = usize::try_from(credentials.cr_ngroups).ok()?;
    if status != 0 || credentials.cr_version != libc::XUCRED_VERSION || count == 0 {
        return None;
    }
    Some(Asker {
        uid: credentials.cr_uid,
        groups: credentials.cr_groups.iter().copied().take(count).collect(),
    })
}

/// The groups of a user, as the system's directory knows them.
fn groups_of(name: &CString, gid: u32) -> Vec<u32> {
    let mut groups = [0; MOST_GROUPS];
    let mut count = libc::c_int::try_from(groups.len()).unwrap_or(0);
    let base = gid.cast_signed();
    // SAFETY: `name` is a C string, `groups` is valid for writes of `count` numbers, and `count` for a write.
    let status = unsafe { libc::getgrouplist(name.as_ptr(), base, groups.as_mut_ptr(), &raw mut count) };
    if status != 0 {
        return vec![gid];
    }
    let known = groups.iter().take(usize::try_from(count).unwrap_or(0));
    known.map(|group: &libc::c_int| group.cast_unsigned()).collect()
}
