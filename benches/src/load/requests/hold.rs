//! Many connections that do nothing.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::{PATIENCE, server, tell};
use crate::error::{BenchError, Trying};

/// Threads that open connections at the same time: connecting takes a round trip, not the processor.
const OPENERS: u32 = 16;

/// Failures after which the rest is not tried.
const MOST_FAILURES: u32 = 64;

pub(super) fn hold(count: u32) -> Result<(), BenchError> {
    let (streams, failures) = open(count);
    tell(&json!({"opened": streams.len(), "failed": failures.len(), "failure": failures.first()}))?;
    for line in io::stdin().lock().lines() {
        line.trying(|| "cannot read".to_owned())?;
        let alive = streams.iter().filter(|stream| answers(stream)).count();
        tell(&json!({"alive": alive}))?;
    }
    Ok(())
}

/// Opens connections; those that fail say why. After some failures no more are tried: each may have taken long.
fn open(count: u32) -> (Vec<TcpStream>, Vec<String>) {
    let failed = AtomicU32::new(0);
    let one = |index| {
        let stream = TcpStream::connect_timeout(&server(index), PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // Used once, so that both sides know that it stands.
        if answers(&stream) {
            Ok(stream)
        } else {
            Err(io::Error::other("no answer"))
        }
    };
    let share = |opener| {
        let indices = (opener..count).step_by(usize::try_from(OPENERS).unwrap_or(1));
        let going_on = indices.take_while(|_| failed.load(Ordering::Relaxed) < MOST_FAILURES);
        let tried = going_on.map(one).inspect(|result| {
            failed.fetch_add(u32::from(result.is_err()), Ordering::Relaxed);
        });
        tried.collect::<Vec<_>>()
    };
    let share = &share;
    let results: Vec<io::Result<TcpStream>> = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..OPENERS)
            .map(|opener| scope.spawn(move || share(opener)))
            .collect();
        let joined = openers.into_iter().filter_map(|opener| opener.join().ok());
        joined.flatten().collect()
    });
    let (mut streams, mut failures) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(stream) => streams.push(stream),
            Err(error) => failures.push(error.to_string()),
        }
    }
    (streams, failures)
}

fn answers(mut stream: &TcpStream) -> bool {
    stream.write_all(&[1]).is_ok() && stream.read_exact(&mut [0]).is_ok()
}
