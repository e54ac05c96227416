//! How a connection ends.
//!
//! FIN crosses as FIN: the guest's becomes `shutdown(SHUT_WR)` once the host has all bytes before it; the host's becomes our
//! FIN once the guest was sent all bytes before it. When both are through and ours is acknowledged, the socket closes; if the
//! guest closed last it is done, else it may repeat its FIN for a while and TIME-WAIT answers. RST crosses as RST.

use atoll_wire::Seq;
use atoll_wire::tcp::{Flags, Options};

use super::timers::Due;
use super::{State, TcpFlow};
use crate::action::Action;
use crate::event::HostError;
use crate::flow::Cx;

impl TcpFlow {
    pub(super) fn enter(&mut self, cx: &Cx<'_>, state: State) {
        self.state = state;
        self.timers.enter_state(cx.now);
    }

    /// The guest resets. Only the exact sequence number ends the connection (RFC 5961, 3.2). A guest for which it was over
    /// already says so of any late segment: what it sent before is still on its way to the host, and gets there. In TIME-WAIT, where
    /// the host has all, it makes way for the connection that the guest wants instead (RFC 9293, 3.10.7.4).
    pub(super) fn handle_reset(&mut self, cx: &mut Cx<'_>, seq: Seq) {
        if self.state == State::TimeWait {
            if seq == self.receiver.next() {
                self.state = State::Closed;
            }
            return;
        }
        if self.receiver.is_finished() && self.sender.fin_is_acknowledged() {
            return;
        }
        if seq == self.receiver.next() {
            self.abort_host(cx);
        } else {
            self.send_challenge(cx);
        }
    }

    /// Reset the host's side and forget the guest's.
    pub(super) fn abort_host(&mut self, cx: &mut Cx<'_>) {
        if self.state != State::TimeWait {
            self.act(cx, Action::TcpReset(self.id));
        }
        self.state = State::Closed;
    }

    /// Reset both sides: the flow has to go.
    pub(crate) fn abort(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.state, State::TimeWait | State::Closed) {
            self.send_reset(cx);
        }
        self.abort_host(cx);
    }

    /// The host's connection failed or broke.
    pub(crate) fn handle_failed(&mut self, cx: &mut Cx<'_>, error: HostError) {
        match self.state {
            State::Connecting => {
                self.act(cx, Action::Close(self.id));
                self.fail_connecting(cx, error);
            }
            State::TimeWait | State::Closed => {}
            State::SynReceived | State::SynSent | State::Open => {
                self.act(cx, Action::Close(self.id));
                self.send_reset(cx);
                self.state = State::Closed;
            }
        }
    }

    /// RST to the guest, at the sequence number it expects.
    pub(super) fn send_reset(&mut self, cx: &mut Cx<'_>) {
        if self.state == State::SynSent {
            return self.send_control(cx, Flags::RST, self.sender.next(), Options::default());
        }
        self.send_control(cx, Flags::RST_ACK, self.sender.next(), Options::default());
    }

    /// RST in answer to a segment that acknowledges what we never sent (RFC 9293, 3.10.7).
    pub(super) fn refuse_segment(&mut self, cx: &mut Cx<'_>, ack: Seq) {
        self.send_control(cx, Flags::RST, ack, Options::default());
    }

    /// End the flow when both directions are through.
    pub(super) fn close_if_finished(&mut self, cx: &mut Cx<'_>) {
        if self.state != State::Open || !self.receiver.is_delivered() || !self.sender.fin_is_acknowledged() {
            return;
        }
        // A socket that closes with bytes unread resets.
        self.discard(cx);
        self.act(cx, Action::Close(self.id));
        self.timers.disarm();
        self.enter(cx, State::TimeWait);
    }

    /// The time of [`TcpFlow::next_due`] has come.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.state == State::TimeWait {
            if self.timers.time_wait_is_over(cx.now) {
                self.state = State::Closed;
            }
            return;
        }
        match self.timers.poll_due(cx.now, self.is_in_handshake()) {
            None => {}
            Some(Due::GiveUp) if self.state == State::Connecting => {
                self.handle_failed(cx, HostError::TimedOut);
            }
            Some(Due::GiveUp) => self.abort(cx),
            Some(Due::Probe) => self.probe(cx),
            Some(Due::Discard) => self.discard(cx),
            Some(Due::ProbeTail) => self.probe_tail(cx),
            Some(Due::Retransmit) if self.state == State::Open => self.retransmit(cx),
            Some(Due::Retransmit) => self.repeat_handshake(cx),
        }
    }

    /// When [`TcpFlow::handle_timeout`] is to be called.
    pub(crate) fn next_due(&self) -> crate::Instant {
        if self.state == State::TimeWait {
            return self.timers.time_wait_end();
        }
        self.timers.next_due(self.is_in_handshake())
    }

    fn is_in_handshake(&self) -> bool {
        matches!(
            self.state,
            State::Connecting | State::SynReceived | State::SynSent
        )
    }
}
