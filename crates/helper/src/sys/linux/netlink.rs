//! Netlink: messages, their attributes, and sockets (netlink(7), rtnetlink(7), linux/netlink.h).
//!
//! A request is a header of 16 bytes, a fixed part, and attributes, each a length, a type and a value padded to four bytes. Numbers are
//! in the machine's byte order, those of nf_tables in the network's. What the kernel answers is read with checks all the same.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

pub(super) const REQUEST: u16 = 0x01;
pub(super) const ACK: u16 = 0x04;
pub(super) const DUMP: u16 = 0x300;
pub(super) const EXCL: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;

const NESTED: u16 = 0x8000;
const TYPE: u16 = 0x3fff;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const DUMP_INTERRUPTED: u16 = 0x10;

/// Bytes of the header: length, type, flags, number, port.
const HEADER: usize = 16;

/// A message, or the attributes of one.
#[derive(Debug, Clone)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A request of this type; that it is a request, and wants an answer, is added to the flags.
    pub(super) fn new(kind: u16, flags: u16) -> Self {
        // Length and number are filled in at the end; the port is the kernel's to know.
        let (kind, flags) = (kind.to_ne_bytes(), (REQUEST | flags).to_ne_bytes());
        Self([&[0; 4][..], &kind, &flags, &[0; 8]].concat())
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.put(value);
    }

    /// An attribute that is a string with its NUL.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), b"\0"].concat());
    }

    /// An attribute that holds attributes.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self(Vec::new());
        fill(&mut inner);
        self.attribute(kind | NESTED, &inner.0);
    }

    /// What follows the header.
    #[cfg(test)]
    pub(super) fn attributes(&self) -> Vec<u8> {
        self.0.get(HEADER..).unwrap_or_default().to_vec()
    }

    fn finish(mut self, number: u32) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0[8..12].copy_from_slice(&number.to_ne_bytes());
        self.0
    }
}

/// A socket, on which one request is under way at a time.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    number: u32,
}

impl Socket {
    /// Of rtnetlink, which has no number, or another protocol.
    pub(super) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        Ok(Self { fd, number: 0 })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Carry a request out.
    pub(super) fn request(&mut self, message: Message) -> io::Result<()> {
        self.requests(vec![message], 1)
    }

    /// Send messages as one, of which so many are answered: the first refusal counts.
    pub(super) fn requests(&mut self, messages: Vec<Message>, mut answers: usize) -> io::Result<()> {
        let mut all = Vec::new();
        let first = self.number + 1;
        for message in messages {
            self.number += 1;
            all.extend(message.finish(self.number));
        }
        send(&self.fd, &all, SendFlags::empty())?;
        let mut outcome = Ok(());
        while answers > 0 {
            let buf = self.receive()?;
            for (header, body) in parts(&buf) {
                if header.number < first || header.kind != ERROR {
                    continue;
                }
                answers = answers.saturating_sub(1);
                outcome = outcome.and(errno(body));
                // A batch that is wrong as a whole is answered once.
                if header.number == first && outcome.is_err() {
                    return outcome;
                }
            }
        }
        outcome
    }

    /// Ask for a list: the bodies of the messages that come, behind their headers.
    pub(super) fn dump(&mut self, message: &Message) -> io::Result<Vec<Vec<u8>>> {
        const TRIES: usize = 8;
        for _ in 0..TRIES {
            if let Some(list) = self.dump_once(message.clone())? {
                return Ok(list);
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// `None` when what is listed changed meanwhile.
    fn dump_once(&mut self, message: Message) -> io::Result<Option<Vec<Vec<u8>>>> {
        self.number += 1;
        let number = self.number;
        send(&self.fd, &message.finish(number), SendFlags::empty())?;
        let mut list = Vec::new();
        let mut is_whole = true;
        loop {
            let buf = self.receive()?;
            for (header, body) in parts(&buf) {
                if header.number != number {
                    continue;
                }
                is_whole &= header.flags & DUMP_INTERRUPTED == 0;
                match header.kind {
                    DONE => return Ok(is_whole.then_some(list)),
                    ERROR => return errno(body).and(Err(Errno::PROTO.into())),
                    _ => list.push(body.to_vec()),
                }
            }
        }
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buf = vec![0; 1 << 16];
        let count = loop {
            match recv(&self.fd, &mut buf[..], RecvFlags::empty()) {
                Ok((_, count)) => break count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        buf.truncate(count);
        Ok(buf)
    }
}

/// What of a header counts.
struct Header {
    kind: u16,
    flags: u16,
    number: u32,
}

/// The messages in what was received.
fn parts(buf: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    let mut rest = buf;
    std::iter::from_fn(move || {
        let len = usize::try_from(number(rest)?).ok()?;
        let message = rest.get(..len)?;
        let header = Header {
            kind: short(message.get(4..)?)?,
            flags: short(message.get(6..)?)?,
            number: number(message.get(8..)?)?,
        };
        let body = message.get(HEADER..)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((header, body))
    })
}

fn errno(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
        None => Err(Errno::PROTO.into()),
    }
}

/// The attributes behind a fixed part: type and value.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = usize::from(short(rest)?);
        let kind = short(rest.get(2..)?)? & TYPE;
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The attribute of this type.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A string without its NUL.
pub(super) fn text_of(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(b"\0").unwrap_or(value)).into_owned()
}

/// The number at the beginning.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

pub(super) fn short(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut message = Message(Vec::new());
        message.text(3, "eth0");
        message.nest(18, |inner| inner.attribute(1, &[7]));
        let found: Vec<(u16, Vec<u8>)> = attributes(&message.0)
            .map(|(kind, it)| (kind, it.to_vec()))
            .collect();
        assert_eq!(found[0], (3, b"eth0\0".to_vec()));
        assert_eq!(found[1].0, 18);
        assert_eq!(find(&found[1].1, 1), Some(&[7][..]));
        assert_eq!(message.0.len() % 4, 0);
    }

    #[test]
    fn a_length_that_leads_out_ends_the_list() {
        for bytes in [&[255, 0, 1, 0, 0, 0, 0, 0][..], &[0; 8], &[3, 0, 1, 0], &[1]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
            assert!(parts(bytes).count() <= 1);
        }
    }

    #[test]
    fn a_message_says_how_long_it_is() {
        let mut message = Message::new(16, ACK);
        message.put(&[0; 16]);
        let bytes = message.finish(9);
        let (header, body) = parts(&bytes).next().unwrap();
        assert_eq!((header.kind, header.flags, header.number), (16, REQUEST | ACK, 9));
        assert_eq!(body.len(), 16);
    }
}
