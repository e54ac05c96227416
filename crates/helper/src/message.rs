//! Messages on a socket: a packet each where the system has packets that keep their order, a line each where it has not (macOS).
//!
//! With the last byte of a message may come one descriptor. Who does not ask for one does not get one: the kernel closes it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair, sockopt,
};

use crate::MAX_MESSAGE;
use crate::sys::CLOSE_ON_EXEC;

/// One end of a session.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: OwnedFd,
    is_packets: bool,
    /// Of a stream: what came behind the last message.
    rest: Vec<u8>,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message, and the descriptor that came with it, if one was asked for.
    Message(Vec<u8>, Option<OwnedFd>),
    /// A message that is too long to be one.
    TooLong,
    /// The other end closed.
    End,
}

/// Two ends. The first closes when another program is run, and so does the second, until it becomes somebody's standard input.
pub(crate) fn pair() -> io::Result<(Channel, OwnedFd)> {
    let of_type = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::empty(), None);
    let (ours, theirs) = match of_type(SocketType::SEQPACKET) {
        Err(Errno::PROTONOSUPPORT | Errno::PROTOTYPE | Errno::OPNOTSUPP) => of_type(SocketType::STREAM),
        pair => pair,
    }?;
    for fd in [&ours, &theirs] {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok((Channel::new(ours)?, theirs))
}

impl Channel {
    /// Take over an end of a socket.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let is_packets = match sockopt::socket_type(&fd)? {
            SocketType::SEQPACKET => true,
            SocketType::STREAM => false,
            _ => return Err(Errno::PROTOTYPE.into()),
        };
        Ok(Self {
            fd,
            is_packets,
            rest: Vec::new(),
        })
    }

    /// Send a message. A message holds no line break: it is JSON.
    pub(crate) fn send(&self, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let end: &[u8] = if self.is_packets { b"" } else { b"\n" };
        let whole = [message, end].concat();
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let mut sent = 0;
        while sent < whole.len() {
            let part = [IoSlice::new(&whole[sent..])];
            match sendmsg(&self.fd, &part, &mut control, crate::sys::NO_SIGNAL) {
                Ok(count) => {
                    sent += count;
                    control.clear();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Wait for a message. Of the descriptor that may come with it the kernel is told that it is not wanted.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        self.next(|fd, buf| Ok((retry(|| recv(fd, &mut *buf, RecvFlags::empty()))?.1, None)))
    }

    /// Wait for a message and the descriptor that comes with it.
    pub(crate) fn receive_with_fd(&mut self) -> io::Result<Received> {
        self.next(|fd, buf| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut part = [IoSliceMut::new(buf)];
            let count = retry(|| recvmsg(fd, &mut part, &mut control, CLOSE_ON_EXEC))?.bytes;
            let mut came = None;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    came = fds.last();
                }
            }
            Ok((count, came))
        })
    }

    fn next(
        &mut self,
        mut read: impl FnMut(BorrowedFd<'_>, &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)>,
    ) -> io::Result<Received> {
        let mut came = None;
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Received::Message(line, came));
            }
            if self.rest.len() > MAX_MESSAGE {
                return Ok(Received::TooLong);
            }
            let mut buf = [0; MAX_MESSAGE + 1];
            let (count, fd) = read(self.fd.as_fd(), &mut buf)?;
            came = fd.or(came);
            let read = buf.get(..count).unwrap_or_default();
            match (count, self.is_packets) {
                (0, _) => return Ok(Received::End),
                (_, true) if count > MAX_MESSAGE => return Ok(Received::TooLong),
                (_, true) => return Ok(Received::Message(read.to_vec(), came)),
                (_, false) => self.rest.extend_from_slice(read),
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.rest.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(kind: SocketType) -> (Channel, Channel) {
        let (a, b) = socketpair(AddressFamily::UNIX, kind, SocketFlags::empty(), None).unwrap();
        (Channel::new(a).unwrap(), Channel::new(b).unwrap())
    }

    fn text(received: Received) -> String {
        match received {
            Received::Message(bytes, _) => String::from_utf8(bytes).unwrap(),
            other => panic!("no message: {other:?}"),
        }
    }

    #[test]
    fn messages_come_one_by_one_on_packets_and_on_streams() {
        for kind in [SocketType::SEQPACKET, SocketType::STREAM] {
            let (a, mut b) = both(kind);
            a.send(b"{}", None).unwrap();
            a.send(b"[1]", None).unwrap();
            assert_eq!(text(b.receive().unwrap()), "{}");
            assert_eq!(text(b.receive().unwrap()), "[1]");
            drop(a);
            assert!(matches!(b.receive().unwrap(), Received::End));
        }
    }

    #[test]
    fn a_descriptor_comes_with_its_message_to_who_asks_for_it() {
        for kind in [SocketType::SEQPACKET, SocketType::STREAM] {
            let (a, mut b) = both(kind);
            a.send(b"1", Some(a.as_fd())).unwrap();
            assert!(matches!(
                b.receive_with_fd().unwrap(),
                Received::Message(_, Some(_))
            ));
            a.send(b"2", Some(a.as_fd())).unwrap();
            assert!(matches!(b.receive().unwrap(), Received::Message(_, None)));
        }
    }

    #[test]
    fn what_is_too_long_is_no_message() {
        for kind in [SocketType::SEQPACKET, SocketType::STREAM] {
            let (a, mut b) = both(kind);
            a.send(&[b'x'; MAX_MESSAGE], None).unwrap();
            assert_eq!(text(b.receive().unwrap()).len(), MAX_MESSAGE);
            a.send(&[b'x'; MAX_MESSAGE + 1], None).unwrap();
            assert!(matches!(b.receive().unwrap(), Received::TooLong));
        }
    }

    #[test]
    fn datagrams_are_no_session() {
        let (a, _b) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::empty(), None).unwrap();
        Channel::new(a).unwrap_err();
    }
}
