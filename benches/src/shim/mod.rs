//! A namespace's kernel TCP stack in the role of a QEMU guest.
//!
//! The shim stands where QEMU and the guest's driver would stand: on one side a TAP device with TSO and checksum
//! offload, so that the guest's kernel works on segments of up to 64 KiB; on the other side QEMU's `-netdev stream`
//! framing (4-byte big-endian length, then a finished Ethernet frame) on a unix socket to the back end.
//!
//! ```text
//!   guest's kernel ── TAP ──▶ split: cut at gso_size, finish checksums ──▶ one buffer, one write ──▶ back end
//!   guest's kernel ◀─ TAP ── merge: one writev a train of segments ◀── one large read ◀───────────── back end
//! ```
//!
//! Splitting is what a guest without offloads does in its own kernel, merging is what it does with GRO, and the merger
//! verifies checksums as a guest would. The shim is the same for every back end, costs no allocation a frame, and
//! sleeps in `poll` when there is nothing to do. While the back end does not read, the TAP is not read either, so the
//! device's queue fills as a NIC's would.
//!
//! With `--vhost-user` it is the guest's driver instead: nothing is split or merged, and frames cross in shared memory ([`vhost_user`]).
//!
//! Frames can be lost on purpose, each way, by a seeded generator: after splitting and before merging, so that a loss
//! is one frame of the wire.

mod checksum;
mod headers;
mod loss;
mod merge;
mod split;
mod stream;
#[cfg(test)]
mod test_frames;
mod vhost_user;
mod vnet;

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size_force};

use crate::error::{BenchError, Trying};
use crate::sys::tap;
use loss::Loss;
use stream::{Incoming, Outgoing};

/// The shim's arguments.
#[derive(Debug, Args)]
pub(crate) struct ShimArguments {
    /// TAP device to make in this namespace.
    #[arg(long, value_name = "NAME")]
    tap: String,
    /// Socket of the back end.
    #[arg(long, value_name = "PATH", required_unless_present = "listen")]
    connect: Option<PathBuf>,
    /// Wait here for one peer instead, such as another shim.
    #[arg(long, value_name = "PATH", conflicts_with = "connect")]
    listen: Option<PathBuf>,
    /// Speak vhost-user to the back end, with rings in memory that is shared.
    #[arg(long, requires = "connect")]
    vhost_user: bool,
    /// Of each million frames, lose so many, each way.
    #[arg(long, value_name = "N", default_value_t = 0)]
    drop_per_million: u32,
    /// Seed of the losses.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// The socket's buffers. More than QEMU asks for, the same for every back end.
const SOCKET_BUFFER: usize = 1 << 20;

/// How long a back end may take to listen.
const PATIENCE: Duration = Duration::from_secs(8);

/// Runs until the other side closes. Says `ready` once, and at the end what it counted, as JSON.
#[expect(clippy::print_stdout, reason = "its owner reads these lines")]
pub(crate) fn run(arguments: &ShimArguments) -> Result<(), BenchError> {
    let tap = tap::open(&arguments.tap).trying(|| format!("cannot make TAP device {}", arguments.tap))?;
    let socket = socket(arguments)?;
    let losses = [arguments.seed, arguments.seed ^ 0x5bd1_e995]
        .map(|seed| Loss::new(arguments.drop_per_million, seed));
    let bridge = arguments
        .vhost_user
        .then(|| vhost_user::Bridge::new(&tap, &socket));
    let bridge = bridge
        .transpose()
        .trying(|| "cannot set the guest up".to_owned())?;
    println!("ready");
    io::stdout().flush().trying(|| "cannot write".to_owned())?;
    let [outgoing, incoming] = losses;
    if let Some(mut bridge) = bridge {
        let result = bridge.run(&tap, outgoing, incoming);
        println!("{}", bridge.counts());
        return result.trying(|| "the shim failed".to_owned());
    }
    let mut shim = Shim {
        tap,
        socket,
        outgoing: Outgoing::new(outgoing),
        incoming: Incoming::new(incoming),
    };
    let result = shim.run();
    println!("{}", shim.counts());
    result.trying(|| "the shim failed".to_owned())
}

fn socket(arguments: &ShimArguments) -> Result<UnixStream, BenchError> {
    let socket = match (&arguments.connect, &arguments.listen) {
        (Some(path), _) => connect(path).trying(|| format!("cannot connect to {}", path.display()))?,
        (None, Some(path)) => {
            let what = || format!("cannot listen at {}", path.display());
            UnixListener::bind(path)
                .and_then(|listener| listener.accept())
                .trying(what)?
                .0
        }
        (None, None) => return Err(BenchError::Unfit("--connect or --listen is needed".to_owned())),
    };
    let what = || "cannot set up the socket".to_owned();
    set_socket_send_buffer_size_force(&socket, SOCKET_BUFFER).trying(what)?;
    // On a unix stream only the sender's buffer counts; this is for kernels where that changes.
    set_socket_recv_buffer_size(&socket, SOCKET_BUFFER).trying(what)?;
    socket.set_nonblocking(true).trying(what)?;
    Ok(socket)
}

/// Connects as soon as somebody listens: back ends do not all say when they do.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
                    && start.elapsed() < PATIENCE =>
            {
                thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

struct Shim {
    tap: File,
    socket: UnixStream,
    outgoing: Outgoing,
    incoming: Incoming,
}

impl Shim {
    /// One round: wait, move what came from the TAP, move what came from the socket.
    fn run(&mut self) -> io::Result<()> {
        loop {
            let waiting = self.outgoing.is_waiting();
            let (tap, socket) = self.wait(waiting)?;
            if socket.contains(PollFlags::OUT) {
                self.outgoing.write(&self.socket)?;
            }
            if tap.contains(PollFlags::IN) && !self.outgoing.is_waiting() {
                self.outgoing.fill(&self.tap)?;
                self.outgoing.write(&self.socket)?;
            }
            if socket.intersects(PollFlags::IN | PollFlags::HUP)
                && !self.incoming.drain(&self.socket, &self.tap)?
            {
                return Ok(());
            }
        }
    }

    fn wait(&self, waiting: bool) -> io::Result<(PollFlags, PollFlags)> {
        let (on_tap, on_socket) = if waiting {
            (PollFlags::empty(), PollFlags::IN | PollFlags::OUT)
        } else {
            (PollFlags::IN, PollFlags::IN)
        };
        let mut fds = [
            PollFd::from_borrowed_fd(self.tap.as_fd(), on_tap),
            PollFd::from_borrowed_fd(self.socket.as_fd(), on_socket),
        ];
        match poll(&mut fds, None) {
            Ok(_) => Ok((fds[0].revents(), fds[1].revents())),
            Err(rustix::io::Errno::INTR) => Ok((PollFlags::empty(), PollFlags::empty())),
            Err(error) => Err(error.into()),
        }
    }

    fn counts(&self) -> serde_json::Value {
        serde_json::json!({
            "to_backend": self.outgoing.counts(),
            "from_backend": self.incoming.counts(),
        })
    }
}
