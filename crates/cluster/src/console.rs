//! A machine's serial console: what it wrote, and a terminal on it.
//!
//! Everything the guest writes is in the log, whether or not anybody is attached; QEMU serves one client at a time.
//! [`attach`] passes bytes both ways until the input ends, the machine closes the console, or Ctrl-] is typed on a terminal.
//! The input is read by a thread of its own: when the machine goes first, that thread ends with the process.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Ctrl-], telnet's escape.
const ESCAPE: u8 = 0x1d;

/// As much of a log as its last lines are looked for in.
const TAIL_BYTES: u64 = 16 << 10;

/// How long after the end of piped input the machine's answer is still waited for, since its last byte.
const LINGER: Duration = Duration::from_secs(2);

/// The last lines of a console log, without escape sequences and blank lines; none when there is no log.
pub fn tail(log: &Path, lines: usize) -> Vec<String> {
    let Ok(text) = read_tail(log) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&text);
    let all: Vec<String> = text
        .lines()
        .map(printable)
        .filter(|line| !line.trim().is_empty())
        .collect();
    all[all.len().saturating_sub(lines)..].to_vec()
}

fn read_tail(log: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut text = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// The line without control sequences (ECMA-48), which a guest could use to play tricks on the reader's terminal.
pub fn printable(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => skip_sequence(&mut chars),
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.trim_end().to_owned()
}

fn skip_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        // CSI: parameters and intermediates, then one final byte.
        Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
        // Strings such as a window's title end with BEL or ESC \.
        Some(']' | 'P' | '^' | '_') => {
            while let Some(c) = chars.next() {
                if c == '\x07' || (c == '\x1b' && chars.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

/// A terminal in raw mode until dropped.
#[derive(Debug)]
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self(None));
        }
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, before);
        }
    }
}

/// Why an attached console ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Ctrl-] was typed, or the input ended.
    ByUser,
    /// The machine closed it: it stopped.
    ByMachine,
}

/// Attaches standard input and output to the console at this socket.
pub fn attach(socket: &Path) -> io::Result<Ended> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LINGER))?;
    let terminal = io::stdin().is_terminal();
    let _raw = Raw::enter()?;
    let (ended, why) = mpsc::channel();
    let input_ended = Arc::new(AtomicBool::new(false));
    let (input, to_guest, flag) = (ended.clone(), stream.try_clone()?, Arc::clone(&input_ended));
    thread::spawn(move || {
        copy_input(io::stdin().lock(), &to_guest, terminal);
        flag.store(true, Ordering::Release);
        let _ = input.send(Ended::ByUser);
    });
    let from_guest = stream.try_clone()?;
    let output = thread::spawn(move || {
        copy_output(&from_guest, &input_ended);
        let _ = ended.send(Ended::ByMachine);
    });
    let why = why.recv().unwrap_or(Ended::ByMachine);
    if why == Ended::ByUser && !terminal {
        // The machine may still be answering what came through the pipe.
        let _ = output.join();
    }
    let _ = stream.shutdown(Shutdown::Both);
    Ok(why)
}

fn copy_input(mut input: impl Read, mut to_guest: &UnixStream, terminal: bool) {
    let mut chunk = [0; 1024];
    loop {
        let Ok(count) = input.read(&mut chunk) else { return };
        let typed = &chunk[..count];
        let escape = typed.iter().position(|byte| terminal && *byte == ESCAPE);
        if to_guest.write_all(&typed[..escape.unwrap_or(count)]).is_err() || count == 0 || escape.is_some() {
            return;
        }
    }
}

/// Until the machine closes it; once the input has ended, until the machine is silent for [`LINGER`].
fn copy_output(mut from_guest: &UnixStream, input_ended: &AtomicBool) {
    let mut chunk = [0; 4096];
    loop {
        let count = match from_guest.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => continue,
                io::ErrorKind::WouldBlock if !input_ended.load(Ordering::Acquire) => continue,
                _ => return,
            },
        };
        let mut output = io::stdout().lock();
        if output
            .write_all(&chunk[..count])
            .and_then(|()| output.flush())
            .is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_has_neither_blank_lines_nor_control_sequences() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("console.log");
        std::fs::write(
            &log,
            "one\r\n\x1b[1;31mtwo\x1b[0m\r\n\r\n\x1b]0;title\x07three\tfour\n",
        )
        .unwrap();
        assert_eq!(tail(&log, 2), ["two", "three four"]);
        assert_eq!(tail(&folder.path().join("none"), 2), [""; 0]);
    }

    #[test]
    fn the_escape_key_ends_a_terminal_and_passes_through_a_pipe() {
        let (guest, host) = UnixStream::pair().unwrap();
        copy_input(&b"ab\x1dcd"[..], &host, true);
        copy_input(&b"\x1dX"[..], &host, false);
        drop(host);
        let mut got = Vec::new();
        (&guest).read_to_end(&mut got).unwrap();
        assert_eq!(got, b"ab\x1dX");
    }
}
