//! Lines of QMP: cutting the byte stream, and telling the kinds of message apart. Pure.

use std::io;

use serde_json::Value;

/// Longest line taken from QEMU; the longest honest one (`query-qmp-schema`, unused here) has some 300 KiB.
pub const MAX_LINE: usize = 1 << 20;

/// What can go wrong in a conversation with QEMU.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// QEMU closed the connection.
    #[error("QEMU closed the connection")]
    Closed,
    /// Nothing came in time.
    #[error("QEMU did not answer in time (waiting for {waiting_for})")]
    Timeout {
        /// The command, event or phase.
        waiting_for: String,
    },
    /// A line beyond [`MAX_LINE`].
    #[error("QEMU sent a line of more than {MAX_LINE} bytes")]
    TooLong,
    /// A line that is no message of the protocol.
    #[error("QEMU sent a line that is not QMP: {start:?}")]
    Malformed {
        /// How it begins.
        start: String,
    },
    /// A message of the wrong kind for this moment.
    #[error("QEMU sent {what} in place of its greeting")]
    OutOfTurn {
        /// The kind of message.
        what: &'static str,
    },
    /// An answer without a field that it must have.
    #[error("QEMU's answer has no {field}")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// QEMU understood and refused.
    #[error("QEMU refused {command}: {description}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's class of error, mostly `GenericError`.
        class: String,
        /// QEMU's own words.
        description: String,
    },
}

/// Something that happened in QEMU.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name, such as `SHUTDOWN`.
    pub name: String,
    /// Its data; null when it has none.
    pub data: Value,
}

/// One line from QEMU.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// The first line of a connection.
    Greeting,
    /// The answer to a command that succeeded.
    Return {
        /// The command's id.
        id: Option<u64>,
        /// What it returned.
        value: Value,
    },
    /// The answer to a command that did not.
    Failure {
        /// The command's id.
        id: Option<u64>,
        /// QEMU's class of error.
        class: String,
        /// QEMU's words.
        description: String,
    },
    /// An event.
    Event(Event),
}

impl Message {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Greeting => "a greeting",
            Self::Return { .. } => "an answer",
            Self::Failure { .. } => "an error",
            Self::Event(_) => "an event",
        }
    }
}

/// Reads one line, without its line end.
///
/// # Errors
///
/// [`QmpError::Malformed`] when it is not a JSON object of one of the four kinds.
pub fn parse_line(line: &[u8]) -> Result<Message, QmpError> {
    let malformed = || {
        let start = line.get(..line.len().min(80)).unwrap_or_default();
        QmpError::Malformed {
            start: String::from_utf8_lossy(start).into_owned(),
        }
    };
    let Ok(Value::Object(mut object)) = serde_json::from_slice(line) else {
        return Err(malformed());
    };
    let id = object.get("id").and_then(Value::as_u64);
    if object.get("QMP").is_some_and(Value::is_object) {
        return Ok(Message::Greeting);
    }
    if let Some(value) = object.remove("return") {
        return Ok(Message::Return { id, value });
    }
    if let Some(error) = object.get("error") {
        let text = |field| error.get(field).and_then(Value::as_str).map(str::to_owned);
        let (Some(class), Some(description)) = (text("class"), text("desc")) else {
            return Err(malformed());
        };
        return Ok(Message::Failure {
            id,
            class,
            description,
        });
    }
    match object.get("event").and_then(Value::as_str) {
        Some(name) => {
            let name = name.to_owned();
            let data = object.remove("data").unwrap_or(Value::Null);
            Ok(Message::Event(Event { name, data }))
        }
        None => Err(malformed()),
    }
}

/// Bytes that came but are not yet a line.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// How far the bytes are known to hold no line end.
    searched: usize,
}

impl LineBuffer {
    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next line that is not blank, without its line end.
    ///
    /// # Errors
    ///
    /// [`QmpError::TooLong`] once more than [`MAX_LINE`] bytes came without a line end.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, QmpError> {
        loop {
            let rest = self.bytes.get(self.searched..).unwrap_or_default();
            let Some(offset) = rest.iter().position(|&byte| byte == b'\n') else {
                self.searched = self.bytes.len();
                return if self.bytes.len() > MAX_LINE {
                    Err(QmpError::TooLong)
                } else {
                    Ok(None)
                };
            };
            let end = self.searched + offset;
            let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
            self.searched = 0;
            if line.len() > MAX_LINE {
                return Err(QmpError::TooLong);
            }
            line.truncate(line.trim_ascii_end().len());
            if !line.is_empty() {
                return Ok(Some(line));
            }
        }
    }
}
