//! Blocking calls that can be given up.
//!
//! A connection, an answer or the next bytes may take as long as the agent's patience. So such calls run on a thread of
//! their own, and the one that waits looks every so often whether the work was called off. A thread that was given up
//! owns nothing but its connection; it ends with the call it is in, at the latest when the agent's patience does.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How soon a call-off is noticed.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// Chunks that may wait between the network and the disk.
const CHUNKS: usize = 4;
const CHUNK: usize = 1 << 17;

/// The work was called off.
#[derive(Debug)]
pub(super) struct CalledOff;

/// What a call gives.
pub(super) fn call<T: Send + 'static>(
    called_off: &AtomicBool,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<io::Result<T>, CalledOff> {
    let (sender, receiver) = sync_channel(1);
    // Nobody may be waiting any more.
    let spawned = spawn(move || drop(sender.send(call())));
    Ok(match spawned {
        Ok(()) => next(called_off, &receiver)?.ok_or_else(|| io::Error::other("the request's thread died")),
        Err(error) => Err(error),
    })
}

/// What a reader gives, in pieces; the last one is an error or the end.
pub(super) fn chunks(mut reader: impl Read + Send + 'static) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = sync_channel(CHUNKS);
    spawn(move || {
        loop {
            let mut chunk = vec![0; CHUNK];
            let read = reader.read(&mut chunk);
            let ends = !matches!(read, Ok(1..));
            let message = read.map(|length| {
                chunk.truncate(length);
                chunk
            });
            if sender.send(message).is_err() || ends {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// The next message; `None` when there will be no other.
pub(super) fn next<T>(called_off: &AtomicBool, messages: &Receiver<T>) -> Result<Option<T>, CalledOff> {
    loop {
        check(called_off)?;
        match messages.recv_timeout(POLL) {
            Ok(message) => return Ok(Some(message)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Does nothing for a while.
pub(super) fn pause(called_off: &AtomicBool, duration: Duration) -> Result<(), CalledOff> {
    let until = Instant::now() + duration;
    loop {
        check(called_off)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(POLL));
    }
}

fn check(called_off: &AtomicBool) -> Result<(), CalledOff> {
    if called_off.load(Ordering::Relaxed) {
        Err(CalledOff)
    } else {
        Ok(())
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name("atoll-download".to_owned())
        .spawn(work)
        .map(drop)
}
