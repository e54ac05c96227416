//! Letting a child inherit descriptors, and no other child.
//!
//! Every descriptor of ours is closed by exec, since threads start programs side by side. Taking the flag off in this process would
//! let any program through that is started at that moment; so it is taken off in the child, after fork.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

/// Has the command's program inherit these, under the same numbers. They must stay open until it was started.
pub(super) fn let_through(command: &mut Command, inherited: &[BorrowedFd<'_>]) {
    if inherited.is_empty() {
        return; // Without anything to do after fork, std may start the program in a quicker way.
    }
    let numbers: Vec<RawFd> = inherited.iter().map(AsRawFd::as_raw_fd).collect();
    let keep = move || {
        for &number in &numbers {
            // SAFETY: the child has the descriptors that its parent held open when it forked, and this is one of them.
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec, `keep` makes one system call a descriptor (fcntl, async-signal-safe by signal-safety(7)); it
    // allocates nothing and takes no lock.
    unsafe { command.pre_exec(keep) };
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    fn tells(inherited: bool) -> String {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"through").unwrap();
        let number = file.as_raw_fd();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("printf there >&{number}")]);
        if inherited {
            let_through(&mut command, &[file.as_fd()]);
        }
        command.output().unwrap();
        let mut text = String::new();
        std::io::Seek::rewind(&mut file).unwrap();
        File::read_to_string(&mut file, &mut text).unwrap();
        text
    }

    #[test]
    fn a_child_has_the_descriptor_that_it_is_to_inherit_under_its_number() {
        assert_eq!(tells(true), "throughthere");
    }

    #[test]
    fn no_other_child_has_it() {
        assert_eq!(tells(false), "through");
    }
}
