//! One guest's TCP connection, mirrored onto one host socket: translated, not terminated twice.
//!
//! # Theory of operation
//!
//! The host's kernel runs TCP towards the world; here is only what the guest's side needs, and it keeps no copy that the
//! kernel keeps already.
//!
//! - *Guest to host* ([`receive`]): in-order payload lies in the frames it came in and is offered to the socket
//!   ([`Receiver::outgoing`]). The guest gets its acknowledgement after the socket was tried. A socket that is full
//!   closes the window instead of losing bytes: they stay here, bounded by the window that was advertised before, and so do
//!   segments out of order, which SACK reports (RFC 2018).
//! - *Host to guest* ([`send`]): bytes stay in the kernel's receive queue until the guest acknowledges them. A segment is
//!   peeked at its offset straight into the frame that carries it, and again if it is lost; an acknowledgement discards. There
//!   is no congestion window: the link is a queue of ours whose length we see, and what bounds us is the guest's window and
//!   the room in that queue. Loss is found by SACK or three duplicate acknowledgements
//!   (RFC 6675), by a probe of the tail (RFC 8985), else by timeout (RFC 6298): [`recovery`].
//! - *Setup* ([`setup`]): the guest's SYN is answered when the host's connect succeeded, and with what the host got otherwise.
//!   A forward's connection becomes a SYN to the guest; the client waits, accepted, and is reset if the guest refuses.
//! - *Teardown* ([`teardown`]): FIN and RST each cross over as what they are. FIN is a half-close; the flow ends when both sides
//!   are closed. A reset needs its exact sequence number (RFC 5961), all else in the window gets a challenge ACK.
//!
//! ```text
//!  guest's SYN   Connecting ── connected ──> SynReceived ── ACK ──┐
//!  forward       SynSent ────── SYN|ACK ──────────────────────────┴─> Open ── both closed ──> TimeWait ──> Closed
//!  anywhere ── RST, failure, eviction, silence for too long ──> Closed
//! ```
//!
//! Bounds: the window ([`Limits::tcp_window`](crate::Limits)) for bytes kept, [`assembler`]'s count for segments out of
//! order; every other field is of fixed size. Left out: timestamps (never offered, so PAWS does not apply), urgent data.

mod assembler;
mod host;
mod receive;
mod recovery;
mod scoreboard;
mod send;
pub(super) mod setup;
mod teardown;
mod timers;

use std::collections::VecDeque;

use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{Endpoint, FrameBuf, Gso, IpProtocol, Offload, Seq};
use bytes::Bytes;

use crate::action::Action;
use crate::counters::Counter;
use crate::event::HostError;
use crate::flow::Cx;
use crate::lan::partial_checksum;
use crate::{AcceptId, FlowId, Instant, PortId};

pub(crate) use host::{Host, Service};
use receive::Receiver;
use send::Sender;
use timers::Timers;

/// Where a connection stands. Half-closes are in [`Receiver`] and [`Sender`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The guest sent SYN; the host is connecting.
    Connecting,
    /// We answered SYN|ACK.
    SynReceived,
    /// We sent SYN for a forward.
    SynSent,
    /// Data may flow.
    Open,
    /// Both sides are closed; the guest may repeat its FIN.
    TimeWait,
    /// Over: to be taken from the table.
    Closed,
}

/// A segment of the guest, its checksum verified.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    pub(crate) payload: Bytes,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct TcpFlow {
    id: FlowId,
    guest: Endpoint,
    /// The other end, as the guest sees it.
    remote: Endpoint,
    host: Host,
    state: State,
    receiver: Receiver,
    sender: Sender,
    timers: Timers,
    /// When a segment without payload was last acknowledged: a challenge or a keep-alive.
    acked_empty: Option<Instant>,
    /// What is held for a host that does not take it, and for which port that is counted.
    held: Option<(PortId, u32)>,
}

impl TcpFlow {
    pub(crate) fn guest(&self) -> Endpoint {
        self.guest
    }

    pub(crate) fn remote(&self) -> Endpoint {
        self.remote
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether a service of ours is the other end.
    pub(crate) fn is_served(&self) -> bool {
        matches!(self.host, Host::Service(_))
    }

    /// The connection that waits for the guest's answer, and what to tell of it if none comes.
    pub(crate) fn promise(&self) -> Option<(AcceptId, HostError)> {
        match self.host {
            Host::Promised { accept, why } => Some((accept, why)),
            Host::Socket | Host::Service(_) => None,
        }
    }

    /// Whether a new SYN may take this connection's place: in TIME-WAIT, with a later sequence number (RFC 9293, 3.6.1).
    pub(crate) fn may_be_replaced(&self, seq: Seq) -> bool {
        self.state == State::TimeWait && seq.is_after(self.receiver.next())
    }

    /// The state in RFC 9293's words, seen from our end of the guest's connection.
    pub(crate) fn state_name(&self) -> &'static str {
        match (self.state, self.receiver.is_finished(), self.sender.fin_is_sent()) {
            (State::Connecting | State::SynReceived, ..) => "SYN-RECEIVED",
            (State::SynSent, ..) => "SYN-SENT",
            (State::TimeWait, ..) => "TIME-WAIT",
            (State::Closed, ..) => "CLOSED",
            (State::Open, false, false) => "ESTABLISHED",
            (State::Open, true, false) => "CLOSE-WAIT",
            (State::Open, false, true) => "FIN-WAIT",
            (State::Open, true, true) => "LAST-ACK",
        }
    }

    /// Bytes for the host socket, in order.
    pub(crate) fn outgoing(&self) -> &VecDeque<Bytes> {
        self.receiver.outgoing()
    }

    /// A segment came from the guest.
    pub(crate) fn handle_segment(&mut self, cx: &mut Cx<'_>, segment: Segment) {
        self.timers.heard(cx.now);
        match self.state {
            State::Connecting => self.handle_segment_connecting(cx, &segment.header),
            State::SynSent => self.handle_segment_syn_sent(cx, &segment.header),
            State::SynReceived | State::Open | State::TimeWait => {
                self.handle_segment_synchronized(cx, segment);
            }
            State::Closed => {}
        }
    }

    /// RFC 9293, 3.10.7.4, with RFC 5961's answers to what comes blindly.
    fn handle_segment_synchronized(&mut self, cx: &mut Cx<'_>, segment: Segment) {
        let header = segment.header;
        if header.flags.syn && self.state == State::SynReceived && header.seq + 1 == self.receiver.next() {
            return self.repeat_handshake(cx);
        }
        if !self
            .receiver
            .is_acceptable(header.seq, segment.payload.len(), header.flags)
        {
            cx.lan.counters.count(Counter::TcpUnacceptable);
            if !segment.payload.is_empty() || header.flags.fin {
                // A repeated segment or a window probe: say where we stand.
                self.receiver.note_disorder(cx.now);
                self.send_ack(cx);
            } else if !header.flags.rst {
                // A keep-alive, or one of two ends that correct each other without end.
                self.send_limited_ack(cx);
            }
            return;
        }
        if header.flags.rst {
            return self.handle_reset(cx, header.seq);
        }
        if header.flags.syn || !header.flags.ack {
            return self.send_challenge(cx);
        }
        if self.state == State::SynReceived && !self.handle_handshake_ack(cx, &header) {
            return;
        }
        if !self.sender.ack_is_acceptable(header.ack) {
            return self.send_challenge(cx);
        }
        self.handle_ack(cx, &header, segment.payload.len());
        if self.state == State::Open {
            self.handle_data(cx, segment);
        }
        self.pump(cx);
        self.close_if_finished(cx);
    }

    /// Send a segment without payload that says where we stand.
    fn send_ack(&mut self, cx: &mut Cx<'_>) {
        self.send_control(cx, Flags::ACK, self.sender.next(), Options::default());
    }

    /// An ACK in answer to what no honest peer would send now.
    fn send_challenge(&mut self, cx: &mut Cx<'_>) {
        if self.send_limited_ack(cx) {
            cx.lan.counters.count(Counter::TcpChallenge);
        }
    }

    /// An ACK in answer to a segment without payload, ten times a second at most (RFC 5961, 7). Whether it was sent.
    fn send_limited_ack(&mut self, cx: &mut Cx<'_>) -> bool {
        const INTERVAL: std::time::Duration = std::time::Duration::from_millis(100);
        let is_due = self.acked_empty.is_none_or(|at| cx.now.since(at) >= INTERVAL);
        if is_due {
            self.acked_empty = Some(cx.now);
            self.send_ack(cx);
        }
        is_due
    }

    fn send_control(&mut self, cx: &mut Cx<'_>, flags: Flags, seq: Seq, options: Options) {
        self.emit(cx, flags, seq, options, FrameBuf::zeroed(0));
    }

    /// Send a segment. Acknowledgement, SACK and window are what they are now.
    fn emit(&mut self, cx: &mut Cx<'_>, flags: Flags, seq: Seq, mut options: Options, mut buf: FrameBuf) {
        if flags.ack && !flags.syn && !flags.rst && self.sender.may_sack() {
            options.sack = self.receiver.sack_blocks();
            if buf.len() + options.emitted_len() > usize::from(self.sender.mss()) {
                // Options count against the segment (RFC 6691); the acknowledgement of what came early carried these blocks.
                options.sack = assembler::Blocks::default();
            }
        }
        self.note_pressure(cx);
        let window = if flags.syn {
            self.receiver.advertise_unscaled()
        } else {
            self.receiver.advertise()
        };
        let header = Header {
            src_port: self.remote.port,
            dst_port: self.guest.port,
            seq,
            ack: if flags.ack {
                self.receiver.acknowledgement()
            } else {
                Seq(0)
            },
            flags,
            window,
            options,
        };
        let (src, dst) = (self.remote.ip, self.guest.ip);
        let payload = buf.len();
        let offload = if cx.offloads_towards(dst).checksum {
            header.push_partial(&mut buf, src, dst);
            self.offload(payload)
        } else {
            header.push(&mut buf, src, dst);
            Offload::default()
        };
        cx.lan
            .send_ip(cx.now, (src, dst), IpProtocol::Tcp, (buf, offload));
    }

    /// What is left to do for a segment whose checksum is partial.
    fn offload(&self, payload: usize) -> Offload {
        let size = self.sender.mss();
        Offload {
            checksum: partial_checksum(self.guest.ip, 16),
            gso: if payload > usize::from(size) {
                Gso::tcp(self.guest.family(), size)
            } else {
                Gso::None
            },
        }
    }

    fn act(&self, cx: &mut Cx<'_>, action: Action) {
        if self.host.is_socket() {
            cx.lan.actions.push_back(action);
        }
    }
}
