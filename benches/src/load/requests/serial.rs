//! One request at a time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{PATIENCE, server, tell};
use crate::error::{BenchError, Trying};
use crate::stats::quantile;

fn connected(index: u32) -> Result<TcpStream, BenchError> {
    let what = || format!("cannot connect to {}", server(index));
    let stream = TcpStream::connect_timeout(&server(index), PATIENCE).trying(what)?;
    stream.set_nodelay(true).trying(what)?;
    stream.set_read_timeout(Some(PATIENCE)).trying(what)?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream) -> Result<(), BenchError> {
    let what = || "no answer".to_owned();
    stream.write_all(&[1]).trying(what)?;
    stream.read_exact(&mut [0]).trying(what)
}

/// Times of an exchange over a connection that stands.
pub(super) fn latency(seconds: u32) -> Result<(), BenchError> {
    let mut stream = connected(0)?;
    // The first is slower: neighbours are looked up, caches are cold.
    exchange(&mut stream)?;
    let mut micros = Vec::with_capacity(1 << 20);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds.into()) {
        let begin = Instant::now();
        exchange(&mut stream)?;
        micros.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    let rate = f64::from(u32::try_from(micros.len()).unwrap_or(u32::MAX)) / start.elapsed().as_secs_f64();
    micros.sort_by(f64::total_cmp);
    tell(&json!({"p50": quantile(&micros, 0.5), "p99": quantile(&micros, 0.99), "rate": rate}))
}

/// Connections a second, each used once.
pub(super) fn connect(seconds: u32) -> Result<(), BenchError> {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(seconds.into()) {
        exchange(&mut connected(count)?)?;
        count += 1;
    }
    tell(&json!({"rate": f64::from(count) / start.elapsed().as_secs_f64()}))
}
