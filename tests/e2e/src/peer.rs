//! One end of a TCP connection that does as it is told and tells what it met. Tests run one end themselves, and the other
//! as the program `peer` behind a network.

use atoll_sim::stream::{Sink, Stream};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these words.
    Send(String),
    /// Read so many bytes.
    Read(usize),
    /// Read until the other side's end.
    ReadAll,
    /// Close one's own side.
    Shutdown,
    /// Close by a reset (`SO_LINGER` 0).
    Reset,
    /// Write for as long as the other side does not refuse.
    Flood,
    /// Send a stream and close one's own side, and read another one to its end at the same time.
    Exchange {
        /// The seed of what is sent, and of what is to come.
        seeds: (u64, u64),
        /// Bytes of each.
        bytes: u64,
        /// Stop reading for so many milliseconds in the middle.
        pause: u64,
    },
}

impl FromStr for Step {
    type Err = String;

    /// As words with colons between them: `send:hello`, `read:5`, `exchange:1:2:1000:0`.
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(':').collect();
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        Ok(match words[..] {
            ["send", words] => Self::Send(words.to_owned()),
            ["read", bytes] => Self::Read(usize::try_from(number(bytes)?).unwrap_or(usize::MAX)),
            ["read-all"] => Self::ReadAll,
            ["shutdown"] => Self::Shutdown,
            ["reset"] => Self::Reset,
            ["flood"] => Self::Flood,
            ["exchange", sends, expects, bytes, pause] => Self::Exchange {
                seeds: (number(sends)?, number(expects)?),
                bytes: number(bytes)?,
                pause: number(pause)?,
            },
            _ => return Err(format!("{text} is no step")),
        })
    }
}

/// Steps with spaces between them.
///
/// # Errors
/// With the one that is none.
pub fn steps(text: &str) -> Result<Vec<Step>, String> {
    text.split_whitespace().map(str::parse).collect()
}

/// Takes the steps, then closes the connection. Tells what it read and what failed, with spaces between.
///
/// # Panics
/// When a stream has a wrong byte.
#[must_use]
pub fn play(stream: TcpStream, steps: &[Step]) -> String {
    let mut told = String::new();
    for step in steps {
        if matches!(step, Step::Reset) {
            let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
            break;
        }
        match take(&stream, step) {
            Ok(words) => told.push_str(&words),
            // To write after a reset is EPIPE once the reset was told, and ECONNRESET before.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => told.push_str("ConnectionReset "),
            Err(error) => {
                let _ = write!(told, "{:?} ", error.kind());
            }
        }
    }
    drop(stream);
    told.trim_end().to_owned()
}

fn take(mut stream: &TcpStream, step: &Step) -> io::Result<String> {
    match step {
        Step::Send(words) => stream.write_all(words.as_bytes()).map(|()| String::new()),
        Step::Read(bytes) => {
            let mut buffer = vec![0; *bytes];
            stream.read_exact(&mut buffer)?;
            Ok(format!("{} ", String::from_utf8_lossy(&buffer)))
        }
        Step::ReadAll => {
            let mut text = Vec::new();
            stream.read_to_end(&mut text)?;
            Ok(format!("{}. ", String::from_utf8_lossy(&text)))
        }
        Step::Shutdown => stream.shutdown(Shutdown::Write).map(|()| String::new()),
        Step::Reset => Ok(String::new()),
        Step::Flood => loop {
            stream.write_all(&[7; 64 * 1024])?;
        },
        Step::Exchange { seeds, bytes, pause } => {
            let (sends, expects) = (Stream::new(seeds.0, *bytes), Stream::new(seeds.1, *bytes));
            exchange(stream, sends, expects, Duration::from_millis(*pause))
        }
    }
}

/// Gives the digest of what came.
fn exchange(stream: &TcpStream, sends: Stream, expects: Stream, pause: Duration) -> io::Result<String> {
    thread::scope(|scope| {
        let sender = scope.spawn(|| send(stream, sends));
        let digest = receive(stream, expects, pause)?;
        sender.join().expect("a sender does not panic")?;
        Ok(digest)
    })
}

fn send(mut stream: &TcpStream, sends: Stream) -> io::Result<()> {
    let mut chunk = vec![0; 256 * 1024];
    let mut at = 0;
    while at < sends.len() {
        let len = usize::try_from(sends.len() - at).map_or(chunk.len(), |left| left.min(chunk.len()));
        sends.fill(at, &mut chunk[..len]);
        stream.write_all(&chunk[..len])?;
        at += len as u64;
    }
    stream.shutdown(Shutdown::Write)
}

fn receive(mut stream: &TcpStream, expects: Stream, pause: Duration) -> io::Result<String> {
    let mut sink = Sink::new(expects);
    let mut chunk = vec![0; 256 * 1024];
    let mut pause = Some(pause).filter(|pause| !pause.is_zero());
    loop {
        let got = stream.read(&mut chunk)?;
        if got == 0 {
            break;
        }
        sink.push(&chunk[..got]);
        if sink.len() > expects.len() / 2
            && let Some(pause) = pause.take()
        {
            thread::sleep(pause);
        }
    }
    Ok(digest_in_words(&sink.digest()))
}

/// The digest of a stream, as [`play`] tells it when the whole stream came.
#[must_use]
pub fn digest_of(seed: u64, bytes: u64) -> String {
    digest_in_words(&Stream::new(seed, bytes).digest())
}

fn digest_in_words(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut words, byte| {
        let _ = write!(words, "{byte:02x}");
        words
    })
}
