//! Guest to host: the receive side of the guest's connection.
//!
//! `next` is RCV.NXT: every byte before it is in order, and is either with the host socket or in `queue`. `edge` is the right
//! edge of the window as the guest knows it; it never moves left (RFC 9293, 3.8.6), so whatever arrives before it is kept.
//! When the host takes bytes the edge moves right, and the guest is told once that is worth a segment (RFC 9293, 3.8.6.2.2).
//! What all flows of a port hold together is bounded, too: see [`held`](crate::flow::held).

use std::collections::VecDeque;
use std::time::Duration;

use atoll_wire::Seq;
use atoll_wire::tcp::Flags;
use bytes::{Buf, Bytes};

use super::assembler::{Assembler, Blocks};
use super::{Segment, State, TcpFlow};
use crate::action::Action;
use crate::counters::Counter;
use crate::flow::Cx;
use crate::reads::ReadRuns;
use crate::{Instant, PortId};

/// Large reads that the segments on offer may hold back. A host takes what one or two of them brought; what has to wait behind that
/// is copied out, so that it costs what it weighs.
const SHARED_READS: usize = 16;

/// Segments on offer at a time, so that a guest that sends single bytes costs no more than its window.
const MAX_SEGMENTS: usize = 4096;

/// The window of a flow that holds nothing while its port's flows hold much.
const PRESSED_WINDOW: u32 = 64 * 1024;

/// For so long after a segment out of order, or one that was known, the link is taken for one that loses frames, acknowledgements too.
const DISORDER: Duration = Duration::from_secs(1);

/// Acknowledgements for what one read brought over such a link, at most.
const ACKS: u32 = 4;

/// Where the guest's FIN is on its way to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    /// Not seen.
    Open,
    /// Seen at this sequence number, with bytes missing before it.
    Waiting(Seq),
    /// In order; bytes before it may still wait for the host.
    Received,
    /// The host socket was shut down for writing.
    Delivered,
}

#[derive(Debug)]
pub(super) struct Receiver {
    next: Seq,
    edge: Seq,
    limit: u32,
    scaled: bool,
    scale: u8,
    /// The acknowledgement that the guest was told last.
    told: Seq,
    /// What the next segment acknowledges, when that is less than everything.
    acknowledging: Option<Seq>,
    /// When a segment last came out of order, or once more.
    disordered: Option<Instant>,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Reads that `queue` holds back.
    reads: ReadRuns,
    early: Assembler,
    fin: Fin,
    mss: u16,
    /// The host took less than it was offered.
    host_is_full: bool,
    /// The port's flows hold much: no edge opens wide.
    is_pressed: bool,
}

/// What became of a segment's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// The stream went on.
    InOrder,
    /// Kept for later, or known already: the guest is told at once.
    OutOfOrder,
    /// The store for later segments is full.
    Full,
}

impl Receiver {
    /// A receiver for a guest whose SYN has the sequence number `irs`.
    pub(super) fn new(irs: Seq, limit: u32, mss: u16) -> Self {
        let next = irs + 1;
        Self {
            next,
            edge: next,
            limit,
            scaled: false,
            scale: 0,
            told: next,
            acknowledging: None,
            disordered: None,
            queue: VecDeque::new(),
            queued: 0,
            reads: ReadRuns::default(),
            early: Assembler::default(),
            fin: Fin::Open,
            mss,
            host_is_full: false,
            is_pressed: false,
        }
    }

    /// Both sides scale windows (RFC 7323, 2.2).
    pub(super) fn set_scale(&mut self, scale: u8) {
        self.scaled = true;
        self.scale = scale;
    }

    pub(super) fn is_scaled(&self) -> bool {
        self.scaled
    }

    pub(super) fn next(&self) -> Seq {
        self.next
    }

    /// The acknowledgement number of the next segment.
    pub(super) fn acknowledgement(&self) -> Seq {
        self.acknowledging.unwrap_or(self.next)
    }

    /// A segment came out of order, or once more.
    pub(super) fn note_disorder(&mut self, now: Instant) {
        self.disordered = Some(now);
    }

    /// Of what the guest was not told, how much each acknowledgement is to cover.
    fn step(&self, now: Instant) -> u32 {
        let untold = self.next - self.told;
        if self.disordered.is_some_and(|at| now.since(at) < DISORDER) {
            untold.div_ceil(ACKS).max(2 * u32::from(self.mss))
        } else {
            untold
        }
    }

    pub(super) fn outgoing(&self) -> &VecDeque<Bytes> {
        &self.queue
    }

    pub(super) fn has_outgoing(&self) -> bool {
        self.queued > 0
    }

    /// The guest's FIN arrived in order.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.fin, Fin::Received | Fin::Delivered)
    }

    /// The guest's FIN was passed to the host.
    pub(super) fn is_delivered(&self) -> bool {
        self.fin == Fin::Delivered
    }

    /// The FIN is next for the host: everything before it was taken. Marks it as passed.
    pub(super) fn take_fin(&mut self) -> bool {
        let due = self.fin == Fin::Received && self.queued == 0;
        if due {
            self.fin = Fin::Delivered;
        }
        due
    }

    pub(super) fn sack_blocks(&self) -> Blocks {
        self.early.sack_blocks()
    }

    /// RFC 9293, 3.10.7.4, first check. A segment of length zero at the right edge counts: it is how a full sender acknowledges.
    pub(super) fn is_acceptable(&self, seq: Seq, payload: usize, flags: Flags) -> bool {
        let control = u32::from(flags.syn) + u32::from(flags.fin);
        let len = u32::try_from(payload).unwrap_or(u32::MAX).saturating_add(control);
        if len == 0 {
            return !seq.is_before(self.next) && !seq.is_after(self.edge);
        }
        let last = seq + (len - 1);
        !last.is_before(self.next) && seq.is_before(self.edge)
    }

    /// Take a segment that is acceptable and came `now`.
    pub(super) fn accept(&mut self, now: Instant, (seq, payload): (Seq, Bytes), fin: bool) -> Accepted {
        let before = self.next;
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if fin && self.fin == Fin::Open && !(seq + len).is_after(self.edge) {
            self.fin = Fin::Waiting(seq + len);
        }
        let (start, bytes) = self.trim(seq, payload);
        if start == self.next {
            if self.queue.len() >= MAX_SEGMENTS {
                return Accepted::Full;
            }
            self.push(bytes, Some(now));
            while let Some(bytes) = self.early.take(self.next) {
                self.push(bytes, None);
            }
        } else if !bytes.is_empty() && self.early.insert(start, bytes).is_err() {
            return Accepted::Full;
        }
        if self.fin == Fin::Waiting(self.next) {
            self.next += 1;
            self.fin = Fin::Received;
        }
        if self.next == before {
            Accepted::OutOfOrder
        } else {
            Accepted::InOrder
        }
    }

    /// Cut off what lies before the window, after it, or after a FIN.
    fn trim(&self, seq: Seq, mut bytes: Bytes) -> (Seq, Bytes) {
        let end = match self.fin {
            Fin::Open => self.edge,
            Fin::Waiting(at) => at.min(self.edge),
            Fin::Received | Fin::Delivered => self.next,
        };
        let room = usize::try_from(end.distance_from(seq)).unwrap_or(0);
        bytes.truncate(room);
        let known = usize::try_from(self.next.distance_from(seq)).unwrap_or(0);
        if known == 0 {
            return (seq, bytes);
        }
        bytes.advance(known.min(bytes.len()));
        (self.next, bytes)
    }

    /// Queue bytes that were read at an instant, or (`None`) are a copy already.
    fn push(&mut self, bytes: Bytes, read_at: Option<Instant>) {
        if bytes.is_empty() {
            return;
        }
        self.next += u32::try_from(bytes.len()).expect("a segment is shorter than an IP packet");
        self.queued += bytes.len();
        let is_too_much = match read_at {
            Some(at) => self.reads.push(at, SHARED_READS),
            None => {
                self.reads.push_copy();
                false
            }
        };
        self.queue.push_back(if is_too_much {
            Bytes::copy_from_slice(&bytes)
        } else {
            bytes
        });
    }

    /// The host took `bytes`.
    pub(super) fn taken(&mut self, mut bytes: usize) {
        while let Some(first) = self.queue.front_mut() {
            let part = bytes.min(first.len());
            self.queued -= part;
            bytes -= part;
            first.advance(part);
            if !first.is_empty() {
                break;
            }
            self.queue.pop_front();
            self.reads.pop_front();
        }
    }

    /// Bytes held for a host that does not take them, or until those before them arrive.
    fn held(&self) -> u32 {
        let left = if self.host_is_full { self.queued } else { 0 };
        u32::try_from(left)
            .unwrap_or(u32::MAX)
            .saturating_add(self.early.bytes())
    }

    /// Give up what the guest was not told of: it sends that again. Whether there was any.
    fn forget_untold(&mut self) -> bool {
        let mut untold = self.next - self.told;
        if untold > 0 && self.fin == Fin::Received {
            self.fin = Fin::Open;
            self.next = Seq(self.next.0.wrapping_sub(1));
            untold -= 1;
        }
        let mut left = usize::try_from(untold).unwrap_or(usize::MAX).min(self.queued);
        let any = left > 0;
        while let Some(last) = self.queue.back_mut().filter(|_| left > 0) {
            let part = left.min(last.len());
            last.truncate(last.len() - part);
            left -= part;
            self.queued -= part;
            self.next = Seq(self.next.0.wrapping_sub(u32::try_from(part).unwrap_or(0)));
            if last.is_empty() {
                self.queue.pop_back();
                self.reads.pop_back();
            }
        }
        any
    }

    /// The guest should hear of what it does not know: bytes to acknowledge, or a window that opened by two segments or half
    /// of what it can be, from nothing or by a quarter.
    pub(super) fn has_news(&self) -> bool {
        let opened = self.reachable_edge() - self.edge;
        let was_closed = self.edge - self.next < u32::from(self.mss);
        let worthwhile = (2 * u32::from(self.mss)).min(self.limit / 2);
        self.told != self.next
            || !self.is_finished() && opened >= worthwhile && (was_closed || opened >= self.limit / 4)
    }

    /// Where the edge may stand: the limit counts what is queued.
    fn reachable_edge(&self) -> Seq {
        let queued = u32::try_from(self.queued).unwrap_or(u32::MAX);
        let free = match (self.is_pressed, queued) {
            (false, queued) => self.limit.saturating_sub(queued),
            (true, 0) => self.limit.min(PRESSED_WINDOW),
            (true, _) => 0,
        };
        self.edge.max(self.next + free)
    }

    /// The window field of the next segment; from now on the guest knows this edge.
    pub(super) fn advertise(&mut self) -> u16 {
        let ack = self.acknowledgement();
        let window = (self.reachable_edge() - ack) >> self.scale;
        let field = u16::try_from(window).unwrap_or(u16::MAX);
        // Scaling rounds down: the edge is what the guest computes.
        self.edge = self.edge.max(ack + (u32::from(field) << self.scale));
        self.told = ack;
        field
    }

    /// The window field of a SYN, which is never scaled.
    pub(super) fn advertise_unscaled(&mut self) -> u16 {
        let field = u16::try_from(self.limit).unwrap_or(u16::MAX);
        self.edge = self.edge.max(self.next + u32::from(field));
        self.told = self.next;
        field
    }

    /// Whether segments out of order are kept.
    pub(super) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }
}

impl TcpFlow {
    /// Payload and FIN of an acceptable segment in the open state.
    pub(super) fn handle_data(&mut self, cx: &mut Cx<'_>, segment: Segment) {
        if segment.payload.is_empty() && !segment.header.flags.fin {
            return;
        }
        let idle = !self.receiver.has_outgoing();
        let Segment { header, payload } = segment;
        if header.seq.is_after(self.receiver.next) && self.is_full(cx) {
            cx.lan.counters.count(Counter::TcpHeldFull);
            return self.send_ack(cx);
        }
        match self
            .receiver
            .accept(cx.now, (header.seq, payload), header.flags.fin)
        {
            Accepted::InOrder => {
                let filled_hole = self.receiver.has_early();
                self.offer(cx, idle);
                if filled_hole {
                    self.send_ack(cx);
                }
            }
            Accepted::OutOfOrder => {
                self.receiver.note_disorder(cx.now);
                cx.lan.counters.count(Counter::TcpOutOfOrder);
                self.send_ack(cx);
            }
            Accepted::Full => {
                cx.lan.counters.count(Counter::TcpOutOfOrderFull);
                self.send_ack(cx);
            }
        }
        self.note_held(cx);
    }

    /// Offer what is in order to the host. `idle`: nothing was on offer before.
    fn offer(&mut self, cx: &mut Cx<'_>, idle: bool) {
        if !self.host.is_socket() {
            self.feed_service(cx);
        } else if !self.receiver.has_outgoing() {
            self.after_taken(cx);
        } else if idle {
            cx.lan.actions.push_back(Action::TcpSend(self.id));
        } else if self.receiver.host_is_full {
            // The host said so already: the guest hears that this is kept, and that the window closes; or that it is not.
            self.forget_if_full(cx);
            self.send_ack(cx);
        }
    }

    /// The host socket took bytes, or none because it is full.
    pub(crate) fn handle_sent(&mut self, cx: &mut Cx<'_>, bytes: usize) {
        self.receiver.taken(bytes);
        self.receiver.host_is_full = self.receiver.has_outgoing();
        if self.receiver.host_is_full {
            self.forget_if_full(cx);
        }
        self.note_held(cx);
        self.note_pressure(cx);
        self.after_taken(cx);
        self.close_if_finished(cx);
    }

    /// What this flow holds, and for which port.
    pub(crate) fn held(&self) -> Option<(PortId, u32)> {
        self.held
    }

    /// The port for which this flow's bytes count.
    fn holding_port(&self, cx: &Cx<'_>) -> PortId {
        let counted = self.held.map(|(port, _)| port);
        counted
            .or_else(|| cx.port_of(self.guest.ip))
            .unwrap_or(PortId(u32::MAX))
    }

    /// Tell the sum what this flow holds now.
    fn note_held(&mut self, cx: &mut Cx<'_>) {
        let before = self.held.map_or(0, |(_, bytes)| bytes);
        let after = self.receiver.held();
        if before != after {
            let port = self.holding_port(cx);
            cx.shared.held.change(port, before, after);
            self.held = (after > 0).then_some((port, after));
        }
    }

    /// Whether the port's flows hold so much that nothing more is kept.
    fn is_full(&self, cx: &Cx<'_>) -> bool {
        !cx.shared.held.is_nothing() && cx.shared.held.is_full(self.holding_port(cx))
    }

    fn forget_if_full(&mut self, cx: &mut Cx<'_>) {
        if self.is_full(cx) && self.receiver.forget_untold() {
            cx.lan.counters.count(Counter::TcpHeldFull);
        }
    }

    /// Whether windows are to close.
    pub(super) fn note_pressure(&mut self, cx: &Cx<'_>) {
        self.receiver.is_pressed =
            !cx.shared.held.is_nothing() && cx.shared.held.is_much(self.holding_port(cx));
    }

    pub(super) fn after_taken(&mut self, cx: &mut Cx<'_>) {
        if self.receiver.take_fin() {
            self.act(cx, Action::TcpShutdown(self.id));
        }
        if self.state == State::Open && self.receiver.has_news() {
            self.acknowledge(cx);
        }
    }

    /// Acknowledge everything: at once, as receive offload does, or in steps (RFC 5681, 4.2) where a single acknowledgement might be lost.
    /// A guest that is recovering from a loss has nothing else to go on, and waits for its retransmission timeout.
    fn acknowledge(&mut self, cx: &mut Cx<'_>) {
        let step = self.receiver.step(cx.now);
        while self.receiver.next - self.receiver.told > step {
            self.receiver.acknowledging = Some(self.receiver.told + step);
            self.send_ack(cx);
        }
        self.receiver.acknowledging = None;
        self.send_ack(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many segments on offer lie in the reads that they came in, when each of these came in order, at a microsecond.
    fn shared(segments: &[(u64, Bytes)]) -> usize {
        let mut receiver = Receiver::new(Seq(0), 1 << 20, 1460);
        let mut seq = Seq(1);
        receiver.edge = seq + (1 << 20);
        for (at, segment) in segments {
            let at = Instant::ZERO + Duration::from_micros(*at);
            let accepted = receiver.accept(at, (seq, segment.clone()), false);
            assert_eq!(accepted, Accepted::InOrder);
            seq += u32::try_from(segment.len()).unwrap();
        }
        let lies_there = |(offered, sent): &(&Bytes, &(u64, Bytes))| offered.as_ptr() == sent.1.as_ptr();
        let count = receiver.queue.iter().zip(segments).filter(lies_there).count();
        receiver.taken(receiver.queued);
        assert_eq!((receiver.reads.count(), receiver.queue.len()), (0, 0));
        count
    }

    #[test]
    fn what_waits_for_the_host_holds_few_reads_back() {
        let reads = (0..100).map(|at| (at, Bytes::from(vec![7; 4096])));
        let segments: Vec<_> = reads.map(|(at, read)| (at, read.slice(..100))).collect();
        assert_eq!(shared(&segments), SHARED_READS);
    }

    #[test]
    fn segments_of_one_read_are_not_copied_however_many_they_are_and_whatever_lies_between() {
        let read = Bytes::from(vec![7; 256 * 1024]);
        for every in [1, 8] {
            let segments: Vec<_> = (0..170)
                .step_by(every)
                .map(|number| 1518 * number + 58)
                .map(|from| (1, read.slice(from..from + 1460)))
                .collect();
            assert_eq!(shared(&segments), segments.len());
        }
    }

    #[test]
    fn what_the_guest_was_not_told_of_can_be_given_up() {
        let mut receiver = Receiver::new(Seq(0), 1 << 20, 1460);
        receiver.edge = Seq(1) + (1 << 20);
        let bytes = Bytes::from(vec![7; 100]);
        receiver.accept(Instant::ZERO, (Seq(1), bytes.clone()), false);
        receiver.advertise();
        receiver.accept(Instant::ZERO, (Seq(101), bytes.clone()), false);
        receiver.accept(Instant::ZERO, (Seq(201), bytes.clone()), true);
        assert_eq!(receiver.next, Seq(302));
        assert!(receiver.forget_untold());
        assert_eq!((receiver.next, receiver.queued), (Seq(101), 100));
        assert!(!receiver.forget_untold(), "the rest was acknowledged");
        receiver.accept(Instant::ZERO, (Seq(101), bytes), true);
        assert_eq!((receiver.next, receiver.queued), (Seq(202), 200), "it came again");
        receiver.taken(200);
        assert!(receiver.take_fin());
    }
}
