//! A client of the QEMU Machine Protocol: one JSON object a line over a unix socket.
//!
//! Theory of operation: QEMU greets, the client leaves negotiation mode with `qmp_capabilities`, then each command
//! carries an `id` that its answer repeats; events may arrive between any two lines and are kept (the oldest are
//! dropped beyond `MAX_EVENTS`). An answer with an id of an earlier command, one that had timed out, is dropped.
//! Every wait has a deadline. QEMU serves one client at a time: while another is connected, no greeting comes.
//!
//! Bounds: a line is at most [`MAX_LINE`] bytes; longer ones end the connection. What QEMU writes is checked, not
//! trusted: a guest that broke out of its device model must not be able to exhaust or confuse the supervisor.
//!
//! Source: QEMU `docs/interop/qmp-spec.rst`.

mod line;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, sockopt};
use serde_json::{Value, json};

pub use line::{Event, LineBuffer, MAX_LINE, Message, QmpError, parse_line};

use crate::QemuError;

/// Events kept for [`Qmp::wait_event`]; more than any machine emits between two looks.
const MAX_EVENTS: usize = 256;

/// How long an ordinary command may take; QEMU answers from its main loop.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to one QEMU, past its greeting.
#[derive(Debug)]
pub struct Qmp {
    path: PathBuf,
    stream: UnixStream,
    lines: LineBuffer,
    events: VecDeque<Event>,
    next_id: u64,
}

/// QEMU's view of its guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// QEMU's word for the state: `running`, `paused`, `prelaunch`, `shutdown`, `io-error`…
    pub state: String,
    /// Whether virtual CPUs execute.
    pub running: bool,
}

impl Qmp {
    /// Connects, awaits the greeting and leaves negotiation mode.
    ///
    /// # Errors
    ///
    /// [`QemuError::Qmp`]: no socket, nobody behind it, no greeting within `timeout` (another client holds it, or QEMU is
    /// stopped), or a greeting that is none.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, QemuError> {
        Self::try_connect(path, timeout).map_err(|source| QemuError::Qmp {
            path: path.to_owned(),
            source,
        })
    }

    fn try_connect(path: &Path, timeout: Duration) -> Result<Self, QmpError> {
        let deadline = Instant::now() + timeout;
        let stream = connect_unix(path, timeout)?;
        let (lines, events) = (LineBuffer::default(), VecDeque::new());
        let mut qmp = Self {
            path: path.to_owned(),
            stream,
            lines,
            events,
            next_id: 1,
        };
        match qmp.read_message("the greeting", deadline)? {
            Message::Greeting => {}
            other => return Err(QmpError::OutOfTurn { what: other.kind() }),
        }
        qmp.call("qmp_capabilities", None, deadline)?;
        Ok(qmp)
    }

    /// Runs one command and returns what QEMU returned.
    ///
    /// # Errors
    ///
    /// [`QemuError::Qmp`]; [`QmpError::Refused`] inside it when QEMU understood and said no.
    pub fn execute(&mut self, command: &str, arguments: Option<Value>) -> Result<Value, QemuError> {
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        let result = self.call(command, arguments, deadline);
        result.map_err(|source| QemuError::Qmp {
            path: self.path.clone(),
            source,
        })
    }

    /// The state of the guest.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn query_status(&mut self) -> Result<Status, QemuError> {
        let value = self.execute("query-status", None)?;
        let state = self.text(&value, "status")?;
        let running = value
            .get("running")
            .and_then(Value::as_bool)
            .unwrap_or(state == "running");
        Ok(Status { state, running })
    }

    /// The name QEMU was started with (`-name guest=…`).
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn query_name(&mut self) -> Result<Option<String>, QemuError> {
        let value = self.execute("query-name", None)?;
        Ok(value.get("name").and_then(Value::as_str).map(str::to_owned))
    }

    /// The machine's UUID; all zero unless one was given.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn query_uuid(&mut self) -> Result<String, QemuError> {
        let value = self.execute("query-uuid", None)?;
        self.text(&value, "UUID")
    }

    /// Presses the power button; the guest decides what to do about it.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn system_powerdown(&mut self) -> Result<(), QemuError> {
        self.execute("system_powerdown", None).map(drop)
    }

    /// Halts the virtual CPUs.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn stop(&mut self) -> Result<(), QemuError> {
        self.execute("stop", None).map(drop)
    }

    /// Lets the virtual CPUs run.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn cont(&mut self) -> Result<(), QemuError> {
        self.execute("cont", None).map(drop)
    }

    /// Ends QEMU without asking the guest; disk caches are flushed. A connection that closes counts as an answer.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn quit(&mut self) -> Result<(), QemuError> {
        match self.execute("quit", None) {
            Ok(_)
            | Err(QemuError::Qmp {
                source: QmpError::Closed,
                ..
            }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The next event of this name, waiting up to `timeout`; events of other names that come first are dropped.
    ///
    /// # Errors
    ///
    /// [`QemuError::Qmp`]: the connection failed. No event in time is `None`.
    pub fn wait_event(&mut self, name: &str, timeout: Duration) -> Result<Option<Event>, QemuError> {
        let deadline = Instant::now() + timeout;
        loop {
            while let Some(event) = self.events.pop_front() {
                if event.name == name {
                    return Ok(Some(event));
                }
            }
            match self.read_message(name, deadline) {
                Ok(Message::Event(event)) => self.keep(event),
                Ok(_) => {}
                Err(QmpError::Timeout { .. }) => return Ok(None),
                Err(source) => {
                    return Err(QemuError::Qmp {
                        path: self.path.clone(),
                        source,
                    });
                }
            }
        }
    }

    pub(crate) fn error(&self, source: QmpError) -> QemuError {
        QemuError::Qmp {
            path: self.path.clone(),
            source,
        }
    }

    fn text(&self, value: &Value, field: &'static str) -> Result<String, QemuError> {
        let text = value.get(field).and_then(Value::as_str).map(str::to_owned);
        let missing = || QemuError::Qmp {
            path: self.path.clone(),
            source: QmpError::Missing { field },
        };
        text.ok_or_else(missing)
    }

    fn call(
        &mut self,
        command: &str,
        arguments: Option<Value>,
        deadline: Instant,
    ) -> Result<Value, QmpError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut request = json!({ "execute": command, "id": id });
        if let Some(arguments) = arguments {
            request["arguments"] = arguments;
        }
        self.send(&request, command, deadline)?;
        loop {
            match self.read_message(command, deadline)? {
                Message::Return {
                    id: Some(answered),
                    value,
                } if answered == id => return Ok(value),
                // QEMU leaves the id out only when it could not parse the request.
                Message::Failure {
                    id: answered,
                    class,
                    description,
                } if answered.is_none_or(|answered| answered == id) => {
                    return Err(QmpError::Refused {
                        command: command.to_owned(),
                        class,
                        description,
                    });
                }
                Message::Event(event) => self.keep(event),
                Message::Greeting | Message::Return { .. } | Message::Failure { .. } => {}
            }
        }
    }

    fn send(&mut self, request: &Value, waiting_for: &str, deadline: Instant) -> Result<(), QmpError> {
        let mut line = request.to_string();
        line.push('\n');
        let left = time_left(deadline, waiting_for)?;
        self.stream.set_write_timeout(Some(left))?;
        self.stream
            .write_all(line.as_bytes())
            .map_err(|error| classify(error, waiting_for))
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn read_message(&mut self, waiting_for: &str, deadline: Instant) -> Result<Message, QmpError> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(line) = self.lines.next_line()? {
                return parse_line(&line);
            }
            self.stream
                .set_read_timeout(Some(time_left(deadline, waiting_for)?))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(QmpError::Closed),
                Ok(count) => self.lines.push(chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(classify(error, waiting_for)),
            }
        }
    }
}

/// Time until `deadline`, never zero, which would mean "for ever" to a socket.
fn time_left(deadline: Instant, waiting_for: &str) -> Result<Duration, QmpError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(QmpError::Timeout {
            waiting_for: waiting_for.to_owned(),
        });
    }
    Ok(left.max(Duration::from_millis(1)))
}

fn classify(error: io::Error, waiting_for: &str) -> QmpError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => QmpError::Timeout {
            waiting_for: waiting_for.to_owned(),
        },
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => QmpError::Closed,
        _ => QmpError::Io(error),
    }
}

/// Connects with a time limit: a QEMU that is stopped leaves its listen queue full, and `connect` would wait for ever.
fn connect_unix(path: &Path, timeout: Duration) -> Result<UnixStream, QmpError> {
    let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
    let socket =
        rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).map_err(io::Error::from)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC).map_err(io::Error::from)?;
    let timeout = Some(timeout.max(Duration::from_millis(1)));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, timeout).map_err(io::Error::from)?;
    let connected = rustix::net::connect(&socket, &address).map_err(io::Error::from);
    connected.map_err(|error| classify(error, "a free place in QEMU's listen queue"))?;
    Ok(UnixStream::from(socket))
}
