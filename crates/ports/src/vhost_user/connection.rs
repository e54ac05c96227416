//! The socket of a front end: messages with their descriptors in, answers out.
//!
//! Nothing waits. A message that came in part stays until the rest is there; what is read at a time is first a header and then
//! exactly its payload, so that descriptors are never taken for another message's (unix(7) keeps them with the bytes they were sent with).
//! An answer is a few bytes to somebody who waits for it: when the socket does not take it at once, the front end does not read, and is
//! closed.

use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags, recvmsg};

use super::VhostUserError;
use super::message::{HEADER_LEN, Header, MAX_REGIONS, MessageError, Request};
use crate::sys::CLOSE_ON_EXEC;

#[derive(Debug)]
pub(super) struct Connection {
    socket: UnixStream,
    header: Option<Header>,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// What reading came to.
#[derive(Debug)]
pub(super) enum Incoming {
    Message(Header, Request),
    /// The kernel has no more; it tells when it has.
    Nothing,
    Closed,
}

impl Connection {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            header: None,
            bytes: Vec::new(),
            descriptors: Vec::new(),
        }
    }

    /// The next message, if it is whole.
    pub(super) fn receive(&mut self) -> Result<Incoming, VhostUserError> {
        loop {
            let wanted = self.header.map_or(HEADER_LEN, |header| header.size);
            if self.bytes.len() < wanted {
                match self.read(wanted - self.bytes.len()) {
                    Ok(0) => return Ok(Incoming::Closed),
                    Ok(_) => continue,
                    Err(Errno::AGAIN) => return Ok(Incoming::Nothing),
                    Err(Errno::INTR) => continue,
                    Err(Errno::CONNRESET) => return Ok(Incoming::Closed),
                    Err(error) => return Err(VhostUserError::Io(error.into())),
                }
            }
            let bytes = std::mem::take(&mut self.bytes);
            if let Some(header) = self.header.take() {
                let descriptors = std::mem::take(&mut self.descriptors);
                let request = Request::parse(header, &bytes, descriptors)?;
                return Ok(Incoming::Message(header, request));
            }
            let bytes = bytes.first_chunk().ok_or(MessageError::Size(0))?;
            self.header = Some(Header::parse(*bytes)?);
        }
    }

    /// Read up to `len` bytes and the descriptors that come with them.
    fn read(&mut self, len: usize) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_REGIONS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let filled = self.bytes.len();
        self.bytes.resize(filled + len, 0);
        let received = recvmsg(
            &self.socket,
            &mut [IoSliceMut::new(&mut self.bytes[filled..])],
            &mut control,
            CLOSE_ON_EXEC,
        );
        let count = received.as_ref().map_or(0, |received| received.bytes);
        self.bytes.truncate(filled + count);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        // More descriptors than any message has: the kernel closed the rest.
        if received?.flags.contains(ReturnFlags::CTRUNC) || self.descriptors.len() > MAX_REGIONS {
            return Err(Errno::TOOMANYREFS);
        }
        Ok(count)
    }

    /// Answer a message.
    pub(super) fn answer(&self, header: Header, payload: &[u8]) -> Result<(), VhostUserError> {
        let bytes = header.reply(payload);
        match (&self.socket).write(&bytes) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) => Err(VhostUserError::NotReading),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(VhostUserError::NotReading),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<MessageError> for VhostUserError {
    fn from(error: MessageError) -> Self {
        Self::Message(error)
    }
}

impl From<io::Error> for VhostUserError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
