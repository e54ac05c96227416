//! QEMU with `-netdev tap` in front of a guest: frames from one TAP to another and back.
//!
//! ```text
//!   guest's kernel ── TAP ── read ──▶ one frame with its virtio_net_hdr ── write ──▶ TAP in a bridge of the host's
//! ```
//!
//! That is what QEMU does without vhost for a driver that takes large segments and unfinished checksums: headers cross as they are, nothing is
//! cut, merged or summed; a turn takes at most as many frames from one side as QEMU's. A frame that the other side refuses is lost.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;

use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::{BenchError, Trying};
use crate::lab::Namespace;
use crate::sys::tap;

/// The largest frame that a TAP hands over, with its header.
const LARGEST: usize = 10 + 14 + 4 + 65_536;

/// Frames in one turn, as `tap_send` of QEMU has it.
const BATCH: usize = 50;

/// Which devices.
#[derive(Debug, Args)]
pub(crate) struct PumpArguments {
    /// TAP device to make in this namespace.
    #[arg(long, value_name = "NAME")]
    tap: String,
    /// TAP device to make in the other one.
    #[arg(long, value_name = "NAME")]
    port: String,
    /// A process in the other namespace.
    #[arg(long, value_name = "PID")]
    port_of: u32,
}

/// Runs until it is killed. Says `ready` once.
#[expect(clippy::print_stdout, reason = "its owner reads this line")]
pub(crate) fn run(arguments: &PumpArguments) -> Result<(), BenchError> {
    let make = |name: &str| tap::open(name).trying(|| format!("cannot make TAP device {name}"));
    let guest = make(&arguments.tap)?;
    let port = Namespace::of(arguments.port_of)?.within(|| make(&arguments.port))?;
    println!("ready");
    io::stdout().flush().trying(|| "cannot write".to_owned())?;
    pump(&guest, &port).trying(|| "the pump failed".to_owned())
}

fn pump(guest: &File, port: &File) -> io::Result<()> {
    let mut buffer = vec![0; LARGEST];
    loop {
        let mut fds = [guest, port].map(|tap| PollFd::from_borrowed_fd(tap.as_fd(), PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let [from_guest, from_port] = fds.map(|fd| !fd.revents().is_empty());
        if from_guest {
            carry(guest, port, &mut buffer)?;
        }
        if from_port {
            carry(port, guest, &mut buffer)?;
        }
    }
}

/// Takes a turn's frames from one device to the other.
fn carry(mut from: &File, mut to: &File, buffer: &mut [u8]) -> io::Result<()> {
    for _ in 0..BATCH {
        match from.read(buffer) {
            Ok(length) => {
                // What the kernel will not have is lost, as on any NIC.
                let _ = to.write(buffer.get(..length).unwrap_or_default());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
