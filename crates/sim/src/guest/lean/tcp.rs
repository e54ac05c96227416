//! One connection of a lean guest: handshake, teardown, and the meeting of its two directions.

use std::net::SocketAddrV4;
use std::time::Duration;

use atoll_engine::Instant;
use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{FrameBuf, Gso, Seq};
use bytes::Bytes;

use super::program::Profile;
use super::receiver::Receiver;
use super::sender::{Heard, Sender};
use super::watch::{Watch, place};
use crate::stream::{Sink, Stream};

const SYN_AGAIN: Duration = Duration::from_secs(1);

/// What a connection begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) port: u16,
    /// Whom to connect to; nobody when listening.
    pub(super) remote: Option<SocketAddrV4>,
    pub(super) outgoing: Stream,
    pub(super) expects: Stream,
    pub(super) link_mss: u16,
    /// Segments may be sent that are larger than the link takes.
    pub(super) large: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Listening,
    SynSent,
    SynReceived,
    Open,
    Closed,
}

type Outgoing = (SocketAddrV4, Header, FrameBuf);

/// A connection.
#[derive(Debug)]
pub struct Connection {
    port: u16,
    remote: Option<SocketAddrV4>,
    profile: Profile,
    link_mss: u16,
    large: bool,
    pub(super) phase: Phase,
    pub(super) irs: u32,
    /// How far the engine's window fields are shifted.
    shift: u8,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    watch: Watch,
    syn_again: Option<Instant>,
    pub(super) ack_now: bool,
    /// The other side closed first: we have no TIME-WAIT.
    closes_last: bool,
    pub(super) was_reset: bool,
    outbox: Vec<Outgoing>,
}

impl Connection {
    pub(super) fn new(opening: Opening, profile: Profile) -> Self {
        let mss = u64::from(profile.mss.unwrap_or(536));
        Self {
            port: opening.port,
            remote: opening.remote,
            profile,
            link_mss: opening.link_mss,
            large: opening.large,
            phase: if opening.remote.is_some() {
                Phase::SynSent
            } else {
                Phase::Listening
            },
            irs: 0,
            shift: 0,
            sender: Sender::new(opening.outgoing, profile.waits),
            receiver: Receiver::new(Sink::new(opening.expects), profile.buffer, mss),
            watch: Watch::new(profile, opening.link_mss, opening.expects),
            syn_again: opening.remote.map(|_| Instant::ZERO),
            ack_now: false,
            closes_last: false,
            was_reset: false,
            outbox: Vec::new(),
        }
    }

    /// Nobody knows of it any more.
    pub(super) fn forget(&mut self) {
        self.phase = Phase::Closed;
        self.outbox.clear();
    }

    /// The segment size towards the engine.
    pub(super) fn mss(&self) -> u16 {
        self.sender.mss
    }

    pub(super) fn is_for(&self, from: SocketAddrV4, header: &Header) -> bool {
        let is_awaited = self.phase == Phase::Listening && header.flags.syn;
        self.port == header.dst_port
            && self.phase != Phase::Closed
            && (is_awaited || self.remote == Some(from))
    }

    pub(super) fn inspect(&mut self, header: &Header, payload: &[u8], gso: Gso) {
        self.watch.inspect(header, payload, gso);
    }

    pub(super) fn take_segments(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.outbox)
    }

    /// A segment came.
    pub(super) fn handle_segment(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        header: &Header,
        payload: Bytes,
    ) {
        match self.phase {
            Phase::Listening => {
                self.remote = Some(from);
                self.hear_syn(header);
                self.phase = Phase::SynReceived;
                self.syn_again = Some(now);
            }
            Phase::SynSent => self.handle_syn_ack(header),
            Phase::SynReceived | Phase::Open => self.handle_synchronized(now, header, payload),
            Phase::Closed => {}
        }
    }

    fn hear_syn(&mut self, header: &Header) {
        let options = header.options;
        self.irs = header.seq.0;
        let scales = options.window_scale.is_some() && self.profile.scale.is_some();
        self.shift = if scales {
            options.window_scale.unwrap_or(0)
        } else {
            0
        };
        self.receiver.shift = if scales {
            self.profile.scale.unwrap_or(0)
        } else {
            0
        };
        self.sender.mss = options.mss.unwrap_or(536).min(self.link_mss);
        let mss = u64::from(self.sender.mss);
        self.sender.largest = if self.large {
            (65_495 / mss).max(1) * mss
        } else {
            mss
        };
        self.sender.sack = options.sack_permitted && self.profile.sack;
    }

    fn handle_syn_ack(&mut self, header: &Header) {
        let acknowledges = header.flags.ack && header.ack == Seq(self.profile.iss) + 1;
        if acknowledges && header.flags.rst {
            self.was_reset = true;
            self.phase = Phase::Closed;
        } else if acknowledges && header.flags.syn {
            self.hear_syn(header);
            self.sender.open(u64::from(header.window));
            self.open();
            self.ack_now = true;
        }
    }

    fn open(&mut self) {
        self.phase = Phase::Open;
        self.syn_again = None;
    }

    fn handle_synchronized(&mut self, now: Instant, header: &Header, payload: Bytes) {
        if header.flags.syn {
            // Our ACK or SYN|ACK was lost.
            (self.ack_now, self.syn_again) = (true, self.syn_again.map(|_| now));
            return;
        }
        let start = place(self.irs, self.receiver.next(), header.seq);
        let len = payload.len() as u64 + u64::from(header.flags.fin);
        if header.flags.rst {
            self.handle_reset(start);
            return;
        }
        let is_acceptable = self.receiver.is_acceptable(start, len);
        // What is old tells nothing new but for its acknowledgement, which is as good as any.
        let ack = place(self.profile.iss, self.sender.next(), header.ack);
        if self.phase == Phase::SynReceived && ack >= 1 && is_acceptable {
            self.sender.open(u64::from(header.window) << self.shift);
            self.open();
        }
        if self.phase != Phase::Open {
            return;
        }
        self.handle_ack(now, header, ack, len == 0);
        if len > 0 {
            self.ack_now |=
                !is_acceptable || self.receiver.handle_data(now, start, payload, header.flags.fin);
        } else if start < self.receiver.next() {
            self.ack_now = true;
        }
        if self.ack_now && (len > 0 || start < self.receiver.next()) {
            self.answer();
        }
        self.closes_last |= self.receiver.is_finished() && !self.sender.fin_was_sent();
        if self.closes_last && self.sender.fin_is_acknowledged() {
            self.phase = Phase::Closed;
        }
    }

    fn handle_ack(&mut self, now: Instant, header: &Header, ack: u64, is_pure: bool) {
        let mut reports = [(0, 0); atoll_wire::tcp::MAX_SACK_BLOCKS];
        let mut count = 0;
        for (left, right) in header.options.sack.into_iter().flatten() {
            let near = |seq| place(self.profile.iss, self.sender.next(), seq);
            reports[count] = (near(left), near(right));
            count += 1;
        }
        let heard = Heard {
            ack,
            window: u64::from(header.window) << self.shift,
            reports: &reports[..count],
            is_pure,
        };
        self.sender.handle_ack(now, heard);
    }

    /// Only the exact place ends the connection (RFC 5961, 3.2).
    fn handle_reset(&mut self, start: u64) {
        if start == self.receiver.next() {
            self.was_reset = true;
            self.phase = Phase::Closed;
        } else if self.receiver.is_acceptable(start, 0) {
            self.ack_now = true;
        }
    }

    /// Let program and timers act.
    pub(super) fn run(&mut self, now: Instant) {
        match self.phase {
            Phase::Listening | Phase::Closed => return,
            Phase::SynSent | Phase::SynReceived => {
                if self.syn_again.is_some_and(|at| at <= now) {
                    self.syn_again = Some(now + SYN_AGAIN);
                    self.send_syn();
                }
                return;
            }
            Phase::Open => {}
        }
        self.sender.handle_timeout(now);
        if self.sender.take_probe() {
            self.emit(
                Flags::ACK,
                self.sender.una() - 1,
                FrameBuf::zeroed(0),
                Options::default(),
            );
        }
        while let Some(out) = self.sender.poll(now) {
            let mut buf = FrameBuf::zeroed(out.bytes);
            self.sender.stream.fill(out.start - 1, buf.payload_mut());
            let flags = Flags {
                psh: out.bytes > 0,
                fin: out.fin,
                ..Flags::ACK
            };
            self.emit(flags, out.start, buf, Options::default());
        }
        if self.ack_now || self.receiver.owes_ack(now) {
            self.answer();
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Listening | Phase::Closed => None,
            Phase::SynSent | Phase::SynReceived => self.syn_again,
            Phase::Open => [self.sender.next_due(), self.receiver.next_due()]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    fn send_syn(&mut self) {
        let options = Options {
            mss: self.profile.mss,
            window_scale: self.profile.scale,
            sack_permitted: self.profile.sack,
            ..Options::default()
        };
        let flags = if self.phase == Phase::SynSent {
            Flags::SYN
        } else {
            Flags::SYN_ACK
        };
        self.emit(flags, 0, FrameBuf::zeroed(0), options);
    }

    /// Say where we stand.
    fn answer(&mut self) {
        self.ack_now = false;
        let mut options = Options::default();
        if self.sender.sack {
            let seq = |place: u64| Seq(self.irs) + low(place);
            let reports = self.receiver.reports();
            for (block, (left, right)) in options.sack.iter_mut().zip(reports) {
                *block = Some((seq(left), seq(right)));
            }
        }
        self.emit(Flags::ACK, self.sender.next(), FrameBuf::zeroed(0), options);
    }

    pub(super) fn emit(&mut self, flags: Flags, start: u64, buf: FrameBuf, options: Options) {
        let Some(remote) = self.remote else { return };
        let window = if flags.syn {
            self.receiver.advertise_unscaled()
        } else {
            self.receiver.advertise()
        };
        let next = self.receiver.next();
        let shift = if flags.syn { 0 } else { self.receiver.shift };
        self.watch.allowed = self.watch.allowed.max(next + (u64::from(window) << shift));
        let len = buf.len() as u64 + u64::from(flags.syn) + u64::from(flags.fin);
        self.watch.sent = self.watch.sent.max(start + len);
        let header = Header {
            src_port: self.port,
            dst_port: remote.port(),
            seq: Seq(self.profile.iss) + low(start),
            ack: if flags.ack {
                Seq(self.irs) + low(next)
            } else {
                Seq(0)
            },
            flags,
            window,
            options,
        };
        self.outbox.push((remote, header, buf));
    }
}

/// The low 32 bits.
fn low(place: u64) -> u32 {
    let [a, b, c, d, ..] = place.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
