//! One file on its way to one client.
//!
//! | state | entered by | left by |
//! |---|---|---|
//! | opening | a request | the file is open: offering, or sending where no option was asked for; it is not there: gone |
//! | offering | options were taken: OACK is sent | ACK 0: sending |
//! | sending | blocks go out, a window of them at a time | the last block is acknowledged: gone |
//!
//! A block that is not acknowledged in time goes out again with all behind it, [`TRIES`] times. Where the window is larger than one, an
//! acknowledgement that is behind what was sent tells of a loss (RFC 7440, 4), and what is behind it goes out at once; an old one that
//! comes again does nothing, else every block would go out twice from then on ("Sorcerer's Apprentice", RFC 1123, 4.2.3.1).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::packet;
use crate::Instant;

/// How often a window goes out that nobody acknowledges.
pub(super) const TRIES: u32 = 6;
/// RFC 1350 says nothing; firmware asks again after seconds.
const TIMEOUT: Duration = Duration::from_secs(1);
/// RFC 1350, 1.
const BLOCK: u16 = 512;
/// RFC 2348, which has 65464 at most; several of ours fit a window.
const BLOCK_MIN: u16 = 8;
const BLOCK_MAX: u16 = 16_384;
/// Blocks of one window, where RFC 7440 has 65535.
const WINDOW_MAX: u16 = 32;
/// Bytes of one window: all of it may be in memory at once.
const WINDOW_BYTES: u16 = 49_152;

/// What is sent, and what is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Packet(Vec<u8>),
    /// So many bytes from there.
    Read {
        offset: u64,
        len: u32,
    },
    /// It is over, well or not.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opening,
    Offering,
    Sending,
}

#[derive(Debug)]
pub(super) struct Transfer {
    state: State,
    block: u16,
    window: u16,
    timeout: Duration,
    wants_size: bool,
    /// Options that are taken, but for the size.
    taken: Vec<(&'static str, u64)>,
    size: u64,
    /// Blocks that are acknowledged.
    acknowledged: u64,
    /// The blocks behind them that were read.
    waiting: VecDeque<Bytes>,
    /// How many of these went out.
    sent: usize,
    is_reading: bool,
    /// This window went out again because of an acknowledgement.
    is_repaired: bool,
    tries: u32,
    due: Option<Instant>,
}

impl Transfer {
    /// A transfer that waits for its file; `room` is what a packet has for data.
    pub(super) fn new(options: &[(String, String)], room: u16) -> Self {
        let room = room.min(BLOCK_MAX);
        let mut transfer = Self {
            state: State::Opening,
            block: BLOCK.min(room),
            window: 1,
            timeout: TIMEOUT,
            wants_size: false,
            taken: Vec::new(),
            size: 0,
            acknowledged: 0,
            waiting: VecDeque::new(),
            sent: 0,
            is_reading: false,
            is_repaired: false,
            tries: 0,
            due: None,
        };
        for (name, value) in options {
            transfer.take(name, value, room);
        }
        transfer.narrow();
        transfer
    }

    /// A window of large blocks has fewer of them; a server may take less than it was asked for (RFC 7440, 3).
    fn narrow(&mut self) {
        self.window = self.window.min((WINDOW_BYTES / self.block).max(1));
        for (name, value) in &mut self.taken {
            if *name == "windowsize" {
                *value = self.window.into();
            }
        }
    }

    /// An option that makes no sense is left out, as RFC 2347 has it; so is the second of a name.
    fn take(&mut self, name: &str, value: &str, room: u16) {
        let Ok(number) = value.parse::<u64>() else { return };
        let small = u16::try_from(number).unwrap_or(u16::MAX);
        let is_new = |taken: &[(&str, u64)]| taken.iter().all(|(other, _)| *other != name);
        if !is_new(&self.taken) {
            return;
        }
        match name {
            "blksize" if small >= BLOCK_MIN => {
                self.block = small.min(room);
                self.taken.push(("blksize", self.block.into()));
            }
            "windowsize" if small >= 1 => {
                self.window = small.min(WINDOW_MAX);
                self.taken.push(("windowsize", self.window.into()));
            }
            "timeout" if (1..=255).contains(&number) => {
                self.timeout = Duration::from_secs(number);
                self.taken.push(("timeout", number));
            }
            "tsize" => self.wants_size = true,
            _ => {}
        }
    }

    /// When [`Transfer::handle_timeout`] is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the client has said a word since its request.
    pub(super) fn is_under_way(&self) -> bool {
        self.state == State::Sending && self.acknowledged > 0
    }

    /// The file is open.
    pub(super) fn handle_opened(&mut self, now: Instant, size: u64) -> Vec<Output> {
        if self.state != State::Opening {
            return Vec::new();
        }
        self.size = size;
        if self.wants_size {
            self.taken.push(("tsize", size));
        }
        if self.taken.is_empty() {
            self.state = State::Sending;
            return self.proceed(now);
        }
        self.state = State::Offering;
        self.wait(now);
        vec![Output::Packet(packet::options(&self.taken))]
    }

    /// What was asked for was read. A file that became shorter ends where it does.
    pub(super) fn handle_data(&mut self, now: Instant, mut data: Bytes) -> Vec<Output> {
        if !std::mem::take(&mut self.is_reading) {
            return Vec::new();
        }
        let block = usize::from(self.block);
        let room = usize::from(self.window) - self.waiting.len();
        for _ in 0..room {
            let part = data.split_to(block.min(data.len()));
            let is_last = part.len() < block;
            self.waiting.push_back(part);
            if is_last {
                break;
            }
        }
        self.proceed(now)
    }

    /// The client has everything up to a block, whose number is taken modulo 2^16: a file may have more blocks than that.
    pub(super) fn handle_ack(&mut self, now: Instant, number: u16) -> Vec<Output> {
        match self.state {
            State::Opening => return Vec::new(),
            State::Offering if number == 0 => {
                self.state = State::Sending;
                self.tries = 0;
            }
            State::Offering => return Vec::new(),
            State::Sending => {
                let distance = usize::from(number.wrapping_sub(self.number(0)));
                if distance > self.sent {
                    return Vec::new();
                }
                if distance == 0 && (self.window == 1 || self.sent == 0 || self.is_repaired) {
                    return Vec::new();
                }
                self.is_repaired = distance == 0;
                if distance > 0 {
                    self.tries = 0;
                }
                let last = self.waiting.drain(..distance).next_back();
                self.acknowledged += u64::try_from(distance).unwrap_or(0);
                if last.is_some_and(|last| last.len() < usize::from(self.block)) {
                    self.due = None;
                    return vec![Output::Done];
                }
                // What went out behind it was lost, or will come twice.
                self.sent = 0;
            }
        }
        self.proceed(now)
    }

    /// The time of [`Transfer::due`] has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Output> {
        self.tries += 1;
        if self.tries >= TRIES {
            self.due = None;
            return vec![Output::Done];
        }
        match self.state {
            State::Offering => {
                self.wait(now);
                vec![Output::Packet(packet::options(&self.taken))]
            }
            _ => {
                self.sent = 0;
                self.is_repaired = false;
                self.proceed(now)
            }
        }
    }

    /// Sends what is read and reads what is missing of a window.
    fn proceed(&mut self, now: Instant) -> Vec<Output> {
        let mut outputs = Vec::new();
        let is_whole = self.is_last_read() || self.waiting.len() == usize::from(self.window);
        if is_whole {
            for index in self.sent..self.waiting.len() {
                let number = self.number(u64::try_from(index).unwrap_or(0) + 1);
                outputs.push(Output::Packet(packet::data(number, &self.waiting[index])));
            }
            self.sent = self.waiting.len();
            self.wait(now);
        } else if !self.is_reading {
            self.is_reading = true;
            self.due = None;
            let read = u64::try_from(self.waiting.len()).unwrap_or(0);
            let missing = u32::from(self.window) - u32::try_from(self.waiting.len()).unwrap_or(0);
            outputs.push(Output::Read {
                offset: (self.acknowledged + read) * u64::from(self.block),
                len: missing * u32::from(self.block),
            });
        }
        outputs
    }

    fn is_last_read(&self) -> bool {
        let block = usize::from(self.block);
        self.waiting.back().is_some_and(|last| last.len() < block)
    }

    fn wait(&mut self, now: Instant) {
        // Each time twice as long, but for a client that said how long.
        let factor = match self.taken.iter().any(|(name, _)| *name == "timeout") {
            true => 1,
            false => 1 << self.tries,
        };
        self.due = Some(now + self.timeout * factor);
    }

    /// The number of the block so many behind the last one that is acknowledged.
    fn number(&self, behind: u64) -> u16 {
        let [.., a, b] = (self.acknowledged + behind).to_be_bytes();
        u16::from_be_bytes([a, b])
    }
}
