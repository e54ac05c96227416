//! Questions to the host's resolvers: one fresh socket each.
//!
//! A UDP socket is connected, so that only its resolver is heard and a refusal is an error of the socket; the kernel
//! chooses a random port. Over TCP the message goes behind its length, two bytes, and so comes the answer (RFC 1035, 4.2.2).
//! Time is the engine's affair, and so is what counts as an answer: a UDP question goes on listening until `DnsForget`, so that
//! a datagram that somebody made up takes nobody's place (RFC 5452, 9.1). A connection, which its resolver alone can write to, ends
//! with its answer, and either with its failure.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use atoll_engine::{Event, QueryId};
use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, connect, recv, send, socket};

use crate::core::{Core, Readiness};
use crate::tokens::{Key, Slab, Source};

/// The largest message: what two bytes can say.
const MAX_MESSAGE: usize = 65_535;

/// All questions under way.
#[derive(Debug, Default)]
pub(crate) struct Dns {
    questions: Slab<Question>,
    keys: HashMap<QueryId, Key>,
}

#[derive(Debug)]
struct Question {
    id: QueryId,
    socket: OwnedFd,
    tcp: bool,
    /// What is still to be sent.
    outgoing: Bytes,
    /// What came over TCP.
    incoming: Vec<u8>,
}

/// What became of a question.
enum Outcome {
    Pending,
    Answered(Bytes),
    Failed,
}

impl AsFd for Question {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Dns {
    /// `Action::DnsAsk`.
    pub(crate) fn ask(&mut self, core: &mut Core, id: QueryId, server: SocketAddr, question: (bool, Bytes)) {
        let (tcp, message) = question;
        let socket = match open(server, tcp) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!("cannot ask {server}: {error}");
                core.tell(Event::DnsFailed(id));
                return;
            }
        };
        let question = Question {
            id,
            socket,
            tcp,
            outgoing: if tcp { with_length(&message) } else { message },
            incoming: Vec::new(),
        };
        let mut watched: io::Result<()> = Ok(());
        let key = self.questions.insert_with(|key| {
            watched = core.watch(&question, Source::Dns(key));
            question
        });
        self.keys.insert(id, key);
        if watched.is_err() {
            self.finish(core, key, Event::DnsFailed(id));
        } else if !tcp {
            self.handle_ready(core, key);
        }
    }

    /// `Action::DnsForget`.
    pub(crate) fn forget(&mut self, id: QueryId) {
        if let Some(key) = self.keys.remove(&id) {
            self.questions.remove(key);
        }
    }

    /// A question's socket is ready in some way: go on as far as it goes.
    pub(crate) fn handle_ready(&mut self, core: &mut Core, key: Key) {
        let Some(question) = self.questions.get_mut(key) else {
            return;
        };
        let id = question.id;
        match question.proceed() {
            Ok(Outcome::Pending) => {}
            Ok(Outcome::Answered(message)) if question.tcp => {
                self.finish(core, key, Event::DnsAnswered { query: id, message });
            }
            Ok(Outcome::Answered(message)) => {
                core.tell(Event::DnsAnswered { query: id, message });
                // If that was not it, another may wait already.
                core.ready.push(Source::Dns(key), Readiness::Readable);
            }
            Ok(Outcome::Failed) => self.finish(core, key, Event::DnsFailed(id)),
            Err(errno) => {
                tracing::debug!("a resolver does not answer: {errno}");
                self.finish(core, key, Event::DnsFailed(id));
            }
        }
    }

    fn finish(&mut self, core: &mut Core, key: Key, event: Event) {
        if let Some(question) = self.questions.remove(key) {
            self.keys.remove(&question.id);
            core.tell(event);
        }
    }
}

impl Question {
    fn proceed(&mut self) -> Result<Outcome, Errno> {
        while !self.outgoing.is_empty() {
            match send(&self.socket, &self.outgoing, SendFlags::empty()) {
                Ok(count) => self.outgoing = self.outgoing.slice(count.min(self.outgoing.len())..),
                Err(Errno::AGAIN | Errno::NOTCONN | Errno::INPROGRESS) => return Ok(Outcome::Pending),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        let mut buf = [0_u8; MAX_MESSAGE];
        loop {
            match recv(&self.socket, &mut buf[..], RecvFlags::empty()) {
                Ok((_, 0)) if self.tcp => return Ok(Outcome::Failed),
                Ok((_, count)) => {
                    let received = buf.get(..count).unwrap_or_default();
                    if !self.tcp {
                        return Ok(Outcome::Answered(Bytes::copy_from_slice(received)));
                    }
                    self.incoming.extend_from_slice(received);
                    if let Some(message) = whole(&self.incoming) {
                        return Ok(Outcome::Answered(Bytes::copy_from_slice(message)));
                    }
                }
                Err(Errno::AGAIN) => return Ok(Outcome::Pending),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

fn open(server: SocketAddr, tcp: bool) -> io::Result<OwnedFd> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = if tcp {
        SocketType::STREAM
    } else {
        SocketType::DGRAM
    };
    let fd = socket(family, kind, None)?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    match connect(&fd, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(fd),
        Err(errno) => Err(errno.into()),
    }
}

fn with_length(message: &[u8]) -> Bytes {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    bytes.into()
}

/// The message behind its length, if all of it came.
fn whole(incoming: &[u8]) -> Option<&[u8]> {
    let (length, rest) = incoming.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_when_its_last_byte_came() {
        let sent = with_length(b"question");
        for len in 0..sent.len() {
            assert_eq!(whole(&sent[..len]), None, "{len}");
        }
        assert_eq!(whole(&sent), Some(&b"question"[..]));
    }
}
