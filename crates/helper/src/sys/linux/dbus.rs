//! As much of D-Bus as it takes to call methods of a service on the system's bus (D-Bus specification 0.43): authentication by what the
//! kernel says of us (`EXTERNAL`), calls, and their answers. No signals, no descriptors, no introspection, nothing that is served.
//!
//! A message is a header (kind, flags, length of the body, number, fields) and a body; each value is aligned to its own size from the message's
//! beginning. We write in the order of small machines first (`l`) and read both. What comes is the bus's, which is root's; it is read with
//! bounds all the same, and what takes longer than [`PATIENCE`] is given up.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long all calls on one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of the longest answer that is read, and of the longest line of the authentication.
const LONGEST: usize = 64 << 10;
const LINE: usize = 512;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
/// A service that does not run is not started for this.
const NO_AUTO_START: u8 = 2;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    /// The bus.
    #[error("the system's bus: {0}")]
    Bus(#[from] io::Error),
    /// What the other side says: the error's name, and a sentence if there is one.
    #[error("{text} ({name})")]
    Refused { name: String, text: String },
}

/// Whose method is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) destination: &'static str,
    pub(super) path: &'static str,
    pub(super) interface: &'static str,
}

const BUS: Target = Target {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

/// Values, as they are written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    /// `i`.
    pub(super) fn int(&mut self, value: i32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    /// `u`.
    fn uint(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    /// `b`.
    pub(super) fn boolean(&mut self, value: bool) {
        self.uint(value.into());
    }

    /// `s`, and `o`.
    pub(super) fn string(&mut self, value: &str) {
        self.uint(u32::try_from(value.len()).unwrap_or(0));
        self.0.extend(value.as_bytes());
        self.0.push(0);
    }

    /// `g`.
    fn signature(&mut self, value: &str) {
        self.0.push(u8::try_from(value.len()).unwrap_or(0));
        self.0.extend(value.as_bytes());
        self.0.push(0);
    }

    /// The beginning of a structure.
    pub(super) fn structure(&mut self) {
        self.align(8);
    }

    /// `a…` of elements with this alignment. The length counts the elements, and not what aligns the first.
    pub(super) fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) {
        self.uint(0);
        let at = self.0.len() - 4;
        self.align(alignment);
        let begin = self.0.len();
        fill(self);
        let len = u32::try_from(self.0.len() - begin).unwrap_or(0);
        self.0[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }

    fn field(&mut self, code: u8, kind: &str, value: &str) {
        self.structure();
        self.byte(code);
        self.signature(kind);
        if kind == "g" {
            self.signature(value);
        } else {
            self.string(value);
        }
    }
}

/// A call's bytes.
fn call(number: u32, target: Target, member: &str, (signature, body): (&str, &Body)) -> Vec<u8> {
    let mut message = Body(vec![b'l', CALL, NO_AUTO_START, 1]);
    message.uint(u32::try_from(body.0.len()).unwrap_or(0));
    message.uint(number);
    message.array(8, |fields| {
        fields.field(PATH, "o", target.path);
        fields.field(INTERFACE, "s", target.interface);
        fields.field(MEMBER, "s", member);
        fields.field(DESTINATION, "s", target.destination);
        if !signature.is_empty() {
            fields.field(SIGNATURE, "g", signature);
        }
    });
    message.align(8);
    message.0.extend(&body.0);
    message.0
}

/// A connection to the system's bus.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    number: u32,
    until: Instant,
}

impl Bus {
    /// Connect, and say who we are: the user 0, as the kernel tells the bus.
    pub(super) fn connect(path: &str) -> Result<Self, BusError> {
        let stream = UnixStream::connect(path)?;
        let mut bus = Self {
            stream,
            number: 0,
            until: Instant::now() + PATIENCE,
        };
        // "30" is "0" in hexadecimal.
        bus.stream.write_all(b"\0AUTH EXTERNAL 30\r\n")?;
        let answer = bus.line()?;
        if !answer.starts_with("OK ") {
            let text = format!("it does not take us for root: {}", answer.trim_end());
            return Err(io::Error::other(text).into());
        }
        bus.stream.write_all(b"BEGIN\r\n")?;
        bus.call(BUS, "Hello", ("", &Body::default()))?;
        Ok(bus)
    }

    /// Call a method, and wait until it has been carried out.
    pub(super) fn call(
        &mut self,
        target: Target,
        member: &str,
        arguments: (&str, &Body),
    ) -> Result<(), BusError> {
        self.number += 1;
        self.stream
            .write_all(&call(self.number, target, member, arguments))?;
        loop {
            let mut head = [0; HEAD];
            self.read(&mut head)?;
            let lengths = Lengths::parse(&head)
                .ok_or(Errno::PROTO)
                .map_err(io::Error::from)?;
            let mut rest = vec![0; lengths.rest()];
            self.read(&mut rest)?;
            let whole = [&head[..], &rest].concat();
            let answer = Answer::parse(&whole)
                .ok_or(Errno::PROTO)
                .map_err(io::Error::from)?;
            if answer.to != Some(self.number) {
                // A signal, such as the name that we were given.
                continue;
            }
            return match answer.kind {
                RETURN => Ok(()),
                _ => Err(BusError::Refused {
                    name: answer.error.unwrap_or_default(),
                    text: answer.text.unwrap_or_default(),
                }),
            };
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read(&mut byte)?;
            line.extend(byte);
            if line.len() > LINE {
                return Err(Errno::PROTO.into());
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn read(&mut self, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            self.wait()?;
            match self.stream.read(buf) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => buf = buf.get_mut(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok();
            match poll(
                &mut [PollFd::new(&self.stream.as_fd(), PollFlags::IN)],
                left.as_ref(),
            ) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                // To read now would be to wait without an end.
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Bytes of a header up to its fields.
const HEAD: usize = 16;

/// What of a message follows its first sixteen bytes.
struct Lengths {
    fields: usize,
    body: usize,
}

impl Lengths {
    fn parse(head: &[u8]) -> Option<Self> {
        let order = Order::parse(head)?;
        let part = |at: usize| {
            usize::try_from(order.number(head, at)?)
                .ok()
                .filter(|it| *it <= LONGEST)
        };
        Some(Self {
            fields: part(12)?,
            body: part(4)?,
        })
    }

    /// Where the body begins.
    fn begin(&self) -> usize {
        (HEAD + self.fields).next_multiple_of(8)
    }

    fn rest(&self) -> usize {
        self.begin() - HEAD + self.body
    }
}

/// The order of a message's bytes.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn parse(head: &[u8]) -> Option<Self> {
        match head.first()? {
            b'l' => Some(Self::Little),
            b'B' => Some(Self::Big),
            _ => None,
        }
    }

    fn number(self, bytes: &[u8], at: usize) -> Option<u32> {
        let four = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(four),
            Self::Big => u32::from_be_bytes(four),
        })
    }

    fn text(self, bytes: &[u8], at: usize) -> Option<(String, usize)> {
        let len = usize::try_from(self.number(bytes, at)?).ok()?;
        let begin = at.checked_add(4)?;
        let end = begin.checked_add(len)?;
        let text = String::from_utf8_lossy(bytes.get(begin..end)?).into_owned();
        Some((text, end.checked_add(1)?))
    }
}

/// What of a message counts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    kind: u8,
    /// The number of the call.
    to: Option<u32>,
    error: Option<String>,
    /// The first value of an error, if it is a string.
    text: Option<String>,
}

impl Answer {
    fn parse(message: &[u8]) -> Option<Self> {
        let order = Order::parse(message)?;
        let lengths = Lengths::parse(message)?;
        let mut answer = Self {
            kind: *message.get(1)?,
            ..Self::default()
        };
        let fields = message.get(..HEAD.checked_add(lengths.fields)?)?;
        let mut at = HEAD;
        let mut signature = String::new();
        while at < fields.len() {
            at = at.next_multiple_of(8);
            if at >= fields.len() {
                break;
            }
            let code = *fields.get(at)?;
            // Those of which the meaning is known have one value each.
            let kind = fields.get(at + 1..at + 4)?;
            at += 4;
            match (kind, code) {
                ([1, b'u', 0], _) => {
                    let number = order.number(fields, at)?;
                    if code == REPLY_SERIAL {
                        answer.to = Some(number);
                    }
                    at += 4;
                }
                ([1, b's' | b'o', 0], _) => {
                    let (text, end) = order.text(fields, at)?;
                    if code == ERROR_NAME {
                        answer.error = Some(text);
                    }
                    at = end;
                }
                ([1, b'g', 0], _) => {
                    let len = usize::from(*fields.get(at)?);
                    let text = fields.get(at + 1..at + 1 + len)?;
                    if code == SIGNATURE {
                        signature = String::from_utf8_lossy(text).into_owned();
                    }
                    at += len + 2;
                }
                _ => return None,
            }
        }
        if answer.kind == ERROR && signature.starts_with('s') {
            answer.text = order.text(message, lengths.begin()).map(|(text, _)| text);
        }
        Some(answer)
    }
}

#[cfg(test)]
#[path = "dbus_tests.rs"]
mod tests;
