//! What each of the two processes gives up before the first byte of a client's is read.
//!
//! | | first process | second process ([`super::opener`]) |
//! |---|---|---|
//! | user, groups | 65534, none | 0, none |
//! | capabilities | `CAP_NET_ADMIN` | `CAP_MKNOD` |
//! | root folder | that of the journals, which this user cannot read | the host's |
//! | system calls | [`FIRST`] | [`SECOND`] |
//!
//! Both: no new privileges, nothing inheritable, bounding and ambient sets empty, not dumpable, no core file. A system call that is not
//! in the list is refused with EPERM, not punished: a helper that is killed in the middle leaves the host half changed.

use std::collections::BTreeMap;
use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use rustix::thread::{Gid, Uid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// `nobody` of every system.
const NOBODY: u32 = 65534;

/// Files, polling and waiting, memory, and what a program needs to end.
const BOTH: [libc::c_long; 37] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_dup3,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_getsockopt,
    libc::SYS_shutdown,
    libc::SYS_ppoll,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_exit_group,
];

/// Netlink sockets, `TUNSETIFF`, the journal's end, and to wait for the second process.
const FIRST: [libc::c_long; 8] = [
    libc::SYS_socket,
    libc::SYS_ioctl,
    libc::SYS_ftruncate,
    libc::SYS_fdatasync,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
];

/// A node that is made, files that are removed, and a connection to the system's bus.
const SECOND: [libc::c_long; 6] = [
    libc::SYS_mknodat,
    libc::SYS_unlinkat,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
];

/// Keep what changes the network, as a user that has nothing else.
pub(super) fn drop_to_network() -> io::Result<()> {
    common()?;
    set_thread_groups(&[])?;
    let (gid, uid) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
    set_thread_res_gid(gid, gid, gid)?;
    // Otherwise a change of the user takes all capabilities away.
    set_keep_capabilities(true)?;
    set_thread_res_uid(uid, uid, uid)?;
    keep(CapabilitySet::NET_ADMIN)?;
    set_keep_capabilities(false)?;
    allow(&FIRST)
}

/// Keep what opens root's own device files, and makes one.
pub(super) fn drop_to_devices() -> io::Result<()> {
    common()?;
    set_thread_groups(&[])?;
    // For a program that is set-user-ID, the real user is another.
    let (gid, uid) = (Gid::ROOT, Uid::ROOT);
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    keep(CapabilitySet::MKNOD)?;
    allow(&SECOND)
}

fn common() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_no_new_privs(true)?;
    // Where the kernel has no ambient set there is nothing to clear.
    let _ = clear_ambient_capability_set();
    for capability in CapabilitySet::all().iter() {
        // One that this kernel does not have is in no set.
        let _ = remove_capability_from_bounding_set(capability);
    }
    Ok(())
}

/// Changing the user makes a process dumpable again as the system's setting has it, so that comes last.
fn keep(capability: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets {
        effective: capability,
        permitted: capability,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn allow(more: &[libc::c_long]) -> io::Result<()> {
    let calls = BOTH.iter().chain(more).chain(&LEGACY);
    let rules: BTreeMap<i64, Vec<_>> = calls.map(|call| (*call, Vec::new())).collect();
    let wrong = |error: seccompiler::BackendError| io::Error::other(error.to_string());
    let target = TargetArch::try_from(std::env::consts::ARCH).map_err(wrong)?;
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, target).map_err(wrong)?;
    let program = BpfProgram::try_from(filter).map_err(wrong)?;
    seccompiler::apply_filter(&program).map_err(|error| io::Error::other(error.to_string()))
}

/// Older forms, which C libraries use where an architecture has them.
#[cfg(target_arch = "x86_64")]
const LEGACY: [libc::c_long; 5] = [
    libc::SYS_poll,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_dup2,
];
/// Older forms, which this architecture does not have.
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: [libc::c_long; 0] = [];
