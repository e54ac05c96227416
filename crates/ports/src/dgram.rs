//! Guests on one unix datagram socket: QEMU's `-netdev dgram` and vfkit's unixgram.
//!
//! A datagram is a frame. Guests are told apart by the path to which their own socket is bound; one that is not bound
//! cannot be answered and so is not attached. vfkit first sends four bytes (`VFKT`), which are no frame but make the
//! guest known.
//!
//! Readiness does not help here: an unconnected datagram socket is "writable" whatever the receivers' queues look like,
//! and macOS reports a full queue as ENOBUFS without any event when it drains. Whoever sends is told [`DgramSent::Busy`]
//! and comes back after a while.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::net::SocketType;

use crate::decoder::MAX_FRAME;
use crate::listener::{ListenError, SocketFile};

/// Bytes asked for the socket's own buffers: vfkit's documentation asks for as much.
const SEND_BUFFER: usize = 1 << 20;
const RECEIVE_BUFFER: usize = 4 << 20;

/// The socket that such guests share.
#[derive(Debug)]
pub struct DgramPort {
    socket: UnixDatagram,
    file: SocketFile,
    /// One byte longer than any frame, so that a longer datagram shows.
    buf: Box<[u8]>,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The path of the guest's socket; `None` if it has none.
    pub guest: Option<PathBuf>,
    /// Its bytes; empty when they are too many for a frame.
    pub bytes: Bytes,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DgramSent {
    /// The guest has it.
    Sent,
    /// The guest's queue is full: try again later.
    Busy,
    /// The guest's socket is no more.
    Gone,
    /// The frame cannot be sent at all, by what the system said; others may.
    Lost,
}

impl DgramPort {
    /// Bind the socket at `path`. A stale socket file is replaced; a live one is never stolen.
    ///
    /// # Errors
    /// Somebody has it, or the file cannot be made.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let (socket, file) = SocketFile::bind(path, SocketType::DGRAM)?;
        for outcome in [
            rustix::net::sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER),
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER),
        ] {
            if let Err(error) = outcome {
                tracing::debug!("{} keeps small buffers: {error}", path.display());
            }
        }
        Ok(Self {
            socket: socket.into(),
            file,
            buf: vec![0; MAX_FRAME + 1].into_boxed_slice(),
        })
    }

    /// The next datagram; `None` when there is none now.
    ///
    /// # Errors
    /// What `recvfrom` reported.
    pub fn receive(&mut self) -> io::Result<Option<Datagram>> {
        match self.socket.recv_from(&mut self.buf) {
            Ok((len, from)) => Ok(Some(Datagram {
                guest: from.as_pathname().map(Path::to_owned),
                bytes: match self.buf.get(..len) {
                    Some(bytes) if len <= MAX_FRAME => Bytes::copy_from_slice(bytes),
                    _ => Bytes::new(),
                },
            })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Send one frame to the guest whose socket is at `guest`.
    #[must_use]
    pub fn send(&self, guest: &Path, frame: &[u8]) -> DgramSent {
        let Err(error) = self.socket.send_to(frame, guest) else {
            return DgramSent::Sent;
        };
        match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {
                DgramSent::Busy
            }
            Some(
                rustix::io::Errno::CONNREFUSED
                | rustix::io::Errno::NOENT
                | rustix::io::Errno::CONNRESET
                | rustix::io::Errno::NOTSOCK
                | rustix::io::Errno::PROTOTYPE
                | rustix::io::Errno::PERM
                | rustix::io::Errno::ACCESS,
            ) => DgramSent::Gone,
            _ => {
                tracing::debug!("a frame for {} is lost: {error}", guest.display());
                DgramSent::Lost
            }
        }
    }

    /// Where its file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

impl AsFd for DgramPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_told_apart_by_their_path_and_answered_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net.sock");
        let mut port = DgramPort::bind(&path).unwrap();
        for name in ["a.sock", "b.sock"] {
            let guest_path = dir.path().join(name);
            let guest = UnixDatagram::bind(&guest_path).unwrap();
            guest.send_to(&[1; 60], &path).unwrap();
            let datagram = port.receive().unwrap().unwrap();
            assert_eq!(datagram.guest.as_deref(), Some(&*guest_path));
            assert_eq!(port.send(&guest_path, &[2; 70]), DgramSent::Sent);
            let mut buf = [0; 100];
            assert_eq!(guest.recv(&mut buf).unwrap(), 70);
        }
        assert_eq!(port.receive().unwrap(), None);
    }

    #[test]
    fn a_guest_without_a_path_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net.sock");
        let mut port = DgramPort::bind(&path).unwrap();
        UnixDatagram::unbound().unwrap().send_to(&[1; 60], &path).unwrap();
        assert_eq!(port.receive().unwrap().unwrap().guest, None);
    }

    #[test]
    fn a_full_queue_is_busy_and_a_closed_guest_gone() {
        let dir = tempfile::tempdir().unwrap();
        let port = DgramPort::bind(&dir.path().join("net.sock")).unwrap();
        let guest_path = dir.path().join("a.sock");
        let guest = UnixDatagram::bind(&guest_path).unwrap();
        let outcome = (0..100_000)
            .map(|_| port.send(&guest_path, &[0; 1500]))
            .find(|outcome| *outcome != DgramSent::Sent);
        assert_eq!(outcome, Some(DgramSent::Busy));
        drop(guest);
        assert_eq!(port.send(&guest_path, &[0; 60]), DgramSent::Gone);
    }

    #[test]
    fn an_oversized_datagram_is_no_frame() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net.sock");
        let mut port = DgramPort::bind(&path).unwrap();
        let guest = UnixDatagram::bind(dir.path().join("a.sock")).unwrap();
        guest.send_to(&vec![1; MAX_FRAME + 1], &path).unwrap();
        assert!(port.receive().unwrap().unwrap().bytes.is_empty());
    }
}
