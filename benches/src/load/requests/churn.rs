//! New connections at a steady rate.
//!
//! An open loop: a connection is begun when its time has come, whatever became of those before it, as independent
//! clients would. Each connects, sends a byte, waits for it to come back, and closes.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use serde_json::json;

use super::{PATIENCE, server, tell};
use crate::error::{BenchError, Trying};

struct Open {
    stream: TcpStream,
    begun: Instant,
    asked: bool,
}

struct Load {
    epoll: OwnedFd,
    open: HashMap<RawFd, Open>,
    /// In the order in which they were begun, with those that have ended: for finding the late ones.
    queue: VecDeque<(RawFd, Instant)>,
    completed: u32,
    failed: u32,
    first_failure: Option<String>,
}

pub(super) fn churn(rate: u32, seconds: u32) -> Result<(), BenchError> {
    let mut load = Load {
        epoll: epoll::create(CreateFlags::CLOEXEC).trying(|| "cannot wait for sockets".to_owned())?,
        open: HashMap::new(),
        queue: VecDeque::new(),
        completed: 0,
        failed: 0,
        first_failure: None,
    };
    let total = rate.saturating_mul(seconds);
    let step = Duration::from_secs(1) / rate.max(1);
    let start = Instant::now();
    let mut begun = 0;
    let mut late = Duration::ZERO;
    while begun < total || !load.open.is_empty() {
        let due = start + step * begun;
        let now = Instant::now();
        if begun < total && now >= due {
            late = late.max(now - due);
            load.begin(begun);
            begun += 1;
            continue;
        }
        let wake = if begun < total {
            due
        } else {
            now + Duration::from_millis(100)
        };
        load.wait(wake).trying(|| "cannot wait for sockets".to_owned())?;
        load.give_up_on_late();
    }
    tell(&json!({
        "completed": load.completed, "failed": load.failed, "failure": load.first_failure,
        "seconds": start.elapsed().as_secs_f64(), "latest_start_ms": late.as_secs_f64() * 1000.0,
    }))
}

impl Load {
    fn begin(&mut self, index: u32) {
        match self.try_begin(index) {
            Ok((fd, open)) => {
                self.queue.push_back((fd, open.begun));
                self.open.insert(fd, open);
            }
            Err(error) => self.fail(&format!("cannot begin: {error}")),
        }
    }

    fn try_begin(&self, index: u32) -> io::Result<(RawFd, Open)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        match connect(&socket, &server(index)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        let fd = stream.as_raw_fd();
        let number = u64::try_from(fd).map_err(io::Error::other)?;
        epoll::add(&self.epoll, &stream, EventData::new_u64(number), EventFlags::OUT)?;
        let begun = Instant::now();
        Ok((
            fd,
            Open {
                stream,
                begun,
                asked: false,
            },
        ))
    }

    /// Handles what happens until `wake` at the latest; at least looks once.
    fn wait(&mut self, wake: Instant) -> io::Result<()> {
        let left = wake.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut events = [MaybeUninit::<Event>::uninit(); 256];
        let (ready, _) = match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Err(Errno::INTR) => return Ok(()),
            other => other?,
        };
        for event in ready {
            let data = event.data;
            if let Ok(fd) = RawFd::try_from(data.u64()) {
                self.advance(fd);
            }
        }
        Ok(())
    }

    fn advance(&mut self, fd: RawFd) {
        let Some(open) = self.open.get_mut(&fd) else {
            return;
        };
        match step(&self.epoll, open) {
            Ok(false) => {}
            Ok(true) => {
                self.open.remove(&fd);
                self.completed += 1;
            }
            Err(error) => {
                self.open.remove(&fd);
                self.fail(&error.to_string());
            }
        }
    }

    fn give_up_on_late(&mut self) {
        while let Some((fd, begun)) = self.queue.front().copied() {
            let running = self.open.get(&fd).is_some_and(|open| open.begun == begun);
            if running && begun.elapsed() < PATIENCE {
                return;
            }
            self.queue.pop_front();
            if running {
                self.open.remove(&fd);
                self.fail("no answer in time");
            }
        }
    }

    fn fail(&mut self, why: &str) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| why.to_owned());
    }
}

/// Moves one connection on: asks once it stands, and is done (true) when the answer has come.
fn step(epoll: &OwnedFd, open: &mut Open) -> io::Result<bool> {
    if let Some(error) = open.stream.take_error()? {
        return Err(error);
    }
    if !open.asked {
        open.stream.write_all(&[1])?;
        open.asked = true;
        let number = u64::try_from(open.stream.as_raw_fd()).map_err(io::Error::other)?;
        epoll::modify(epoll, &open.stream, EventData::new_u64(number), EventFlags::IN)?;
        return Ok(false);
    }
    match open.stream.read(&mut [0]) {
        Ok(0) => Err(io::Error::other("closed without an answer")),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
