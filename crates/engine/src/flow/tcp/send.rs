//! Host to guest: the send side of the guest's connection.
//!
//! `una` is SND.UNA and also the front of the host socket's receive queue: an acknowledgement moves both. `nxt` is SND.NXT, the
//! end of what was ever sent; it never moves back. What is between lies in the kernel and can be peeked at any time.
//!
//! [`TcpFlow::pump`] is the one place that decides to send: first what loss recovery wants again, then new bytes, then FIN. It
//! peeks at most once at a time; what comes back goes out at once, and pumps again, after the others' turn when it was much.
//!
//! Bytes that were acknowledged are `freed` and dropped from the host's queue; those of short messages many at a time, or a while
//! after the last of them ([`Timers::freed`](super::timers::Timers)), or before the socket closes.
//!
//! A guest whose port takes large segments gets as many full segments in one frame as an IP packet holds.

use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{FrameBuf, Seq};

use super::recovery::Recovery;
use super::scoreboard::Scoreboard;
use super::timers::Guard;
use super::{State, TcpFlow};
use crate::PortId;
use crate::action::Action;
use crate::counters::Counter;
use crate::flow::Cx;

/// Frames of the first peek.
const FIRST_BURST: u16 = 4;
/// Frames and bytes of one peek, at most.
const MAX_PEEK: u16 = 128;
const MAX_PEEK_BYTES: u32 = 256 * 1024;
/// A flow that sent this much at once lets others go on before it asks for more.
const TURN_BYTES: u32 = 64 * 1024;
/// A flow with so much under way is one of those that share the guest's link.
const BULK: u32 = 64 * 1024;
/// What the flows that share a link may have under way together, and each of them at least. Windows alone would let the flow whose window
/// grew first keep most of the link.
const SHARED_FLIGHT: u32 = 4 << 20;
const MIN_SHARE: u32 = 256 * 1024;
/// Bytes of TCP payload that an IP packet of either family without options can carry: kernels count IPv6's header, too.
const MAX_PAYLOAD: u16 = 65_535 - 60;
/// A message shorter than this that was acknowledged whole may wait to be dropped from the host's queue with so many others. All
/// else is dropped at once: the kernel counts a buffer as full until its last byte is read, and the peer's window begins with 64 KiB.
const SMALL_MESSAGE: u32 = 512;
const MAX_FREED_ACKS: u8 = 32;
/// What a guest that names no MSS gets (RFC 9293, 3.7.1).
pub(super) const DEFAULT_MSS: u16 = 536;

/// A peek that was asked for.
#[derive(Clone, Copy, Debug)]
struct Peek {
    start: Seq,
    wanted: u32,
}

/// The host's FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    /// The stream goes on as far as we know.
    Open,
    /// The stream ends before this sequence number, which is the FIN's.
    Known(Seq),
}

#[derive(Debug)]
pub(super) struct Sender {
    pub(super) una: Seq,
    pub(super) nxt: Seq,
    pub(super) edge: Seq,
    /// Sequence and acknowledgement number of the segment that set the window last (SND.WL1, SND.WL2).
    window_set_by: (Seq, Seq),
    max_window: u32,
    scale: u8,
    pub(super) mss: u16,
    pub(super) sack: bool,
    pub(super) board: Scoreboard,
    pub(super) dup_acks: u8,
    pub(super) recovery: Option<Recovery>,
    /// Where all that was sent was acknowledged last.
    rest: Seq,
    /// Acknowledged bytes that the host's queue still holds, and the acknowledgements they came with.
    freed: (u32, u8),
    peek: Option<Peek>,
    readable: bool,
    is_bulk: bool,
    fin: Fin,
    /// Frames of the next peek: twice as many as the last filled, so that a byte is not asked for with a hundred buffers.
    burst: u16,
    /// The queue of this port is full: wait to be woken, or for the guest to be behind another.
    blocked: Option<PortId>,
}

impl Sender {
    /// A sender whose SYN has the sequence number `iss`, before anything was sent.
    pub(super) fn new(iss: Seq) -> Self {
        Self {
            una: iss,
            nxt: iss,
            edge: iss,
            window_set_by: (Seq(0), iss),
            max_window: 0,
            scale: 0,
            mss: DEFAULT_MSS,
            sack: false,
            board: Scoreboard::default(),
            dup_acks: 0,
            recovery: None,
            rest: iss,
            freed: (0, 0),
            peek: None,
            readable: false,
            is_bulk: false,
            fin: Fin::Open,
            burst: FIRST_BURST,
            blocked: None,
        }
    }

    /// What the guest's SYN said. `link_mss` is what the LAN carries.
    pub(super) fn set_options(&mut self, options: &Options, link_mss: u16) {
        self.mss = options.mss.unwrap_or(DEFAULT_MSS).clamp(64, link_mss);
        self.scale = options.window_scale.unwrap_or(0);
        self.sack = options.sack_permitted;
    }

    /// There may be something to peek.
    pub(super) fn set_readable(&mut self) {
        self.readable = true;
    }

    pub(super) fn may_sack(&self) -> bool {
        self.sack
    }

    pub(super) fn mss(&self) -> u16 {
        self.mss
    }

    pub(super) fn next(&self) -> Seq {
        self.nxt
    }

    pub(super) fn unacknowledged(&self) -> Seq {
        self.una
    }

    /// Our SYN was sent.
    pub(super) fn syn_sent(&mut self) {
        self.nxt = self.una + 1;
    }

    /// Our SYN was acknowledged: data begins.
    pub(super) fn syn_acknowledged(&mut self) {
        self.una = self.nxt;
        self.rest = self.nxt;
    }

    pub(super) fn fin_is_sent(&self) -> bool {
        matches!(self.fin, Fin::Known(at) if self.nxt.is_after(at))
    }

    pub(super) fn fin_is_acknowledged(&self) -> bool {
        matches!(self.fin, Fin::Known(at) if self.una.is_after(at))
    }

    /// RFC 5961, 5.2: neither of what was never sent nor older than any window we saw.
    pub(super) fn ack_is_acceptable(&self, ack: Seq) -> bool {
        let oldest = i64::from(self.max_window.max(u32::from(u16::MAX)));
        !ack.is_after(self.nxt) && i64::from(ack.distance_from(self.una)) >= -oldest
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.nxt - self.una
    }

    /// RFC 9293, 3.10.7.4: the window counts if the segment is no older than the last that set it. Whether it changed.
    pub(super) fn update_window(&mut self, header: &Header, scaled: bool) -> bool {
        let (seq, ack) = self.window_set_by;
        if header.seq.is_before(seq) || header.seq == seq && header.ack.is_before(ack) {
            return false;
        }
        self.window_set_by = (header.seq, header.ack);
        let window = u32::from(header.window) << if scaled { self.scale } else { 0 };
        self.max_window = self.max_window.max(window);
        let edge = header.ack + window;
        let changed = edge != self.edge;
        self.edge = edge;
        changed
    }

    /// The first window, from the segment that completed the handshake.
    pub(super) fn set_window(&mut self, header: &Header, scaled: bool) {
        self.window_set_by = (header.seq, header.ack);
        self.update_window(header, scaled);
    }

    /// Everything before `ack` arrived. Returns the bytes of the stream among it.
    fn advance(&mut self, ack: Seq) -> u32 {
        let data_end = match self.fin {
            Fin::Known(at) => ack.min(at),
            Fin::Open => ack,
        };
        let bytes = u32::try_from(data_end.distance_from(self.una)).unwrap_or(0);
        self.una = ack;
        self.note_advance();
        bytes
    }

    /// The range to peek next: lost bytes first, then new ones, as far as no more than `most_in_flight` is under way.
    fn wanted(&self, most_in_flight: impl FnOnce() -> u32) -> Option<(Seq, u32)> {
        if let Some((start, end)) = self.lost() {
            let end = match self.fin {
                Fin::Known(at) => end.min(at),
                Fin::Open => end,
            };
            return start.is_before(end).then(|| (start, end - start));
        }
        if !self.readable || self.fin != Fin::Open {
            return None;
        }
        let window = u32::try_from(self.edge.distance_from(self.nxt)).unwrap_or(0);
        let usable = window.min(most_in_flight().saturating_sub(self.in_flight()));
        // Sender's silly window avoidance (RFC 9293, 3.8.6.2.1): a full segment, or half of the largest window, or nothing is
        // on its way that would bring a larger one.
        let worthwhile =
            usable >= u32::from(self.mss) || usable >= self.max_window / 2 || self.in_flight() == 0;
        (usable > 0 && worthwhile).then_some((self.nxt, usable))
    }
}

impl TcpFlow {
    /// Whether this flow shares its guest's link, when that is another than it was: then its guest's flows are to be counted anew.
    pub(crate) fn note_bulk(&mut self) -> Option<bool> {
        let is_bulk = self.sender.in_flight() >= BULK;
        let changed = is_bulk != self.sender.is_bulk;
        self.sender.is_bulk = is_bulk;
        changed.then_some(is_bulk)
    }

    /// Whether this flow is counted among those that share its guest's link.
    pub(crate) fn is_bulk(&self) -> bool {
        self.sender.is_bulk
    }

    /// Acknowledgement, window and SACK of an acceptable segment.
    pub(super) fn handle_ack(&mut self, cx: &mut Cx<'_>, header: &Header, payload: usize) {
        let window_changed = self.sender.update_window(header, true);
        let ack = header.ack;
        let advanced = ack.is_after(self.sender.una);
        if advanced {
            let bytes = self.sender.advance(ack);
            self.timers.acknowledged(cx.now, ack);
            if bytes > 0 {
                self.free(cx, bytes);
            }
        } else if ack == self.sender.una && self.sender.in_flight() > 0 && payload == 0 && !window_changed {
            self.sender.dup_acks = self.sender.dup_acks.saturating_add(1);
        }
        self.sender.note_sack(&header.options);
        self.sender.detect_loss();
        let window_is_open = self.sender.edge.is_after(self.sender.nxt);
        if self.sender.in_flight() == 0 && (window_is_open || advanced) {
            // With nothing under way only a closed window is guarded, and only while there is something to send.
            self.timers.disarm();
        } else if advanced {
            self.timers.rearm(cx.now, self.sender.tail_guard());
        }
    }

    /// Acknowledged bytes need not stay in the host's queue.
    fn free(&mut self, cx: &mut Cx<'_>, bytes: u32) {
        if !self.host.is_socket() {
            self.host.discard(bytes);
            // The service may have stopped for want of room.
            return self.feed_service(cx);
        }
        let (freed, acks) = self.sender.freed;
        self.sender.freed = (freed + bytes, acks + 1);
        let is_at_rest = self.sender.in_flight() == 0;
        let message = self.sender.una - self.sender.rest;
        if is_at_rest {
            self.sender.rest = self.sender.una;
        }
        if !is_at_rest || message > SMALL_MESSAGE || acks + 1 >= MAX_FREED_ACKS {
            self.discard(cx);
        } else {
            self.timers.freed(cx.now);
        }
    }

    /// Drop what was freed from the host's queue.
    pub(super) fn discard(&mut self, cx: &mut Cx<'_>) {
        self.timers.discarded();
        let (bytes, _) = std::mem::take(&mut self.sender.freed);
        if bytes > 0 {
            self.act(cx, Action::TcpDiscard { flow: self.id, bytes });
        }
    }

    /// The host socket has something.
    pub(crate) fn handle_readable(&mut self, cx: &mut Cx<'_>) {
        self.sender.readable = true;
        self.pump(cx);
    }

    /// The port's queue is short again.
    pub(crate) fn handle_room(&mut self, cx: &mut Cx<'_>) {
        self.sender.blocked = None;
        self.pump(cx);
    }

    /// Send what can be sent.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>) {
        while self.state == State::Open && self.sender.peek.is_none() && !self.is_blocked(cx) {
            let Some(peek) = self.next_peek(cx) else { break };
            if self.host.is_socket() {
                cx.lan.actions.push_back(peek);
                return;
            }
            let Action::TcpPeek {
                offset,
                segment,
                count,
                ..
            } = peek
            else {
                return;
            };
            let (segments, end) = self.host.peek(offset, segment, count);
            self.take_peeked(cx, segments, end);
        }
        self.send_fin(cx);
        self.guard_window(cx);
    }

    /// Whether the guest is still behind the port whose queue was full.
    fn is_blocked(&self, cx: &Cx<'_>) -> bool {
        let port = self.sender.blocked;
        port.is_some() && port == cx.port_of(self.guest.ip)
    }

    fn next_peek(&mut self, cx: &mut Cx<'_>) -> Option<Action> {
        let most_in_flight = || match cx.shared.bulk_flows(self.guest.ip) {
            0 | 1 => u32::MAX,
            flows => (SHARED_FLIGHT / flows).max(MIN_SHARE),
        };
        let (start, wanted) = self.sender.wanted(most_in_flight)?;
        let mss = u32::from(self.sender.mss);
        let Some(room) = cx.room_towards(self.guest.ip) else {
            self.sender.blocked = cx.wait_for_room(self.guest.ip, self.id);
            return None;
        };
        let most = if cx.offloads_towards(self.guest.ip).tcp(self.guest.family()) {
            (u32::from(MAX_PAYLOAD) / mss).max(1) * mss
        } else {
            mss
        };
        let segment = wanted.min(most);
        let count = u16::try_from(wanted.min(room.max(mss)).min(MAX_PEEK_BYTES) / segment)
            .unwrap_or(u16::MAX)
            .clamp(1, self.sender.burst);
        self.sender.peek = Some(Peek {
            start,
            wanted: segment * u32::from(count),
        });
        let (freed, _) = self.sender.freed;
        Some(Action::TcpPeek {
            flow: self.id,
            offset: start - self.sender.una + freed,
            segment: u16::try_from(segment).expect("a segment fits an IP packet"),
            count,
        })
    }

    /// The answer to a peek.
    pub(crate) fn handle_peeked(&mut self, cx: &mut Cx<'_>, segments: Vec<FrameBuf>, end: bool) {
        if self.state == State::Open {
            let bytes = self.take_peeked(cx, segments, end);
            if self.sender.readable && bytes >= TURN_BYTES {
                self.act(cx, Action::TcpAgain(self.id));
            } else {
                self.pump(cx);
            }
        }
        self.close_if_finished(cx);
    }

    /// Send what was peeked. How many bytes that was.
    fn take_peeked(&mut self, cx: &mut Cx<'_>, segments: Vec<FrameBuf>, end: bool) -> u32 {
        let Some(peek) = self.sender.peek.take() else {
            return 0;
        };
        let again = peek.start.is_before(self.sender.nxt);
        let mut seq = peek.start;
        let filled = u16::try_from(segments.len()).unwrap_or(u16::MAX);
        self.sender.burst = filled.saturating_mul(2).clamp(FIRST_BURST, MAX_PEEK);
        let bytes = segments.iter().map(FrameBuf::len).sum::<usize>();
        let got_all = usize::try_from(peek.wanted).is_ok_and(|wanted| bytes >= wanted) && !end;
        let mut left = segments.len();
        for segment in segments {
            left -= 1;
            let next = seq + u32::try_from(segment.len()).unwrap_or(0);
            // Acknowledged while the peek was under way: nothing to send.
            if next.is_after(self.sender.una) && seq != next {
                // PSH ends what a guest's receive offload merges, so it stands where the host's data ends for now.
                let flags = Flags {
                    psh: left == 0 && !got_all,
                    ..Flags::ACK
                };
                self.send_data(cx, (seq, flags), segment);
            }
            seq = next;
        }
        let got = seq - peek.start;
        if !again {
            self.sender.readable = got_all;
            if end {
                self.sender.fin = Fin::Known(seq);
            }
        } else if got == 0 {
            // Nothing lies where bytes were sent from: the socket is broken, and its error will say so.
            self.sender.recovery = None;
        } else {
            self.sender.note_repeated(seq);
        }
        got
    }

    fn send_data(&mut self, cx: &mut Cx<'_>, (seq, flags): (Seq, Flags), segment: FrameBuf) {
        let end = seq + u32::try_from(segment.len()).unwrap_or(0);
        if seq.is_before(self.sender.nxt) {
            cx.lan.counters.count(Counter::TcpRetransmit);
            self.timers.drop_sample();
        } else {
            self.timers.start_sample(cx.now, end);
        }
        self.sender.nxt = self.sender.nxt.max(end);
        self.timers.arm(cx.now, self.sender.tail_guard());
        self.emit(cx, flags, seq, Options::default(), segment);
    }

    /// FIN goes once, when all before it was sent; again when recovery stands at it.
    fn send_fin(&mut self, cx: &mut Cx<'_>) {
        let Fin::Known(at) = self.sender.fin else { return };
        let lost = self.sender.lost().is_some_and(|(start, _)| start == at);
        if self.state != State::Open || self.sender.nxt != at && !lost {
            return;
        }
        self.sender.nxt = at + 1;
        self.sender.note_repeated(at + 1);
        self.timers.arm(cx.now, self.sender.tail_guard());
        self.send_control(cx, Flags::FIN_ACK, at, Options::default());
    }

    /// Nothing is on its way that would bring news of the window: probe for it.
    fn guard_window(&mut self, cx: &mut Cx<'_>) {
        let sender = &self.sender;
        if self.state == State::Open
            && sender.in_flight() == 0
            && sender.readable
            && !sender.edge.is_after(sender.nxt)
        {
            self.timers.arm(cx.now, Guard::Probe);
        }
    }

    /// The guard's time is up.
    pub(super) fn retransmit(&mut self, cx: &mut Cx<'_>) {
        cx.lan.counters.count(Counter::TcpTimeout);
        self.sender.recover_from_timeout();
        self.pump(cx);
    }

    /// Nothing was heard for a while: perhaps the end of what was sent is lost.
    pub(super) fn probe_tail(&mut self, cx: &mut Cx<'_>) {
        cx.lan.counters.count(Counter::TcpTailProbe);
        self.sender.recover_tail();
        self.pump(cx);
    }

    /// A segment before the window, which the guest must answer with its own (RFC 9293, 3.8.6.1).
    pub(super) fn probe(&mut self, cx: &mut Cx<'_>) {
        let before = Seq(self.sender.nxt.0.wrapping_sub(1));
        self.send_control(cx, Flags::ACK, before, Options::default());
    }
}
