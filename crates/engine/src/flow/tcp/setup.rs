//! Handshakes.
//!
//! Outbound: the guest's SYN opens a flow in `Connecting` and the host connects; the guest hears SYN|ACK when that succeeded, RST
//! when it was refused, an ICMP error when there is no way, nothing when nobody answered. Inbound: a forward accepted a
//! connection; the guest gets a SYN from the gateway, and the client waits, accepted, until the guest answers; a guest that
//! refuses resets it, as does one that is not there.

use std::time::Duration;

use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{Endpoint, Seq};

use super::receive::Receiver;
use super::send::{DEFAULT_MSS, Sender};
use super::timers::{Guard, Timers};
use super::{Host, State, TcpFlow};
use crate::action::{Action, Notice};
use crate::event::HostError;
use crate::flow::Cx;
use crate::flow::host_ports::Destination;
use crate::gateway::icmp;
use crate::{AcceptId, FlowId};

/// A guest is absent that answers neither ARP nor neighbor discovery for so long, which is asked with every SYN: after 0, 1, 3 and 7
/// seconds. At the next one, after 15, the client is reset. Linux gives up a neighbour that it does not find after 3; a guest may
/// be starting.
const ABSENT: Duration = Duration::from_secs(12);

/// A connection to be.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) id: FlowId,
    pub(crate) guest: Endpoint,
    pub(crate) remote: Endpoint,
    pub(crate) host: Host,
    /// How many routers the way to the host may have, where the guest wants fewer than is usual.
    pub(crate) hops: Option<u8>,
}

impl TcpFlow {
    /// A guest's SYN to a host at `to`, or to a service of the gateway's own.
    pub(crate) fn outbound(cx: &mut Cx<'_>, opening: Opening, syn: &Header, to: Destination) -> Self {
        let hops = opening.hops;
        let mut flow = Self::new(cx, opening, State::Connecting);
        flow.hear_syn(cx, syn);
        if flow.host.is_socket() {
            let id = flow.id;
            cx.lan.actions.push_back(match to {
                Destination::Address(to) => Action::TcpConnect { flow: id, to, hops },
                Destination::Service(service) => Action::TcpConnectService { flow: id, service },
            });
        } else {
            flow.handle_connected(cx);
        }
        flow
    }

    /// A connection that a forward accepted, towards a guest.
    pub(crate) fn inbound(cx: &mut Cx<'_>, opening: Opening, accept: AcceptId) -> Self {
        let mut flow = Self::new(cx, opening, State::SynSent);
        cx.lan.actions.push_back(Action::TcpAdopt {
            accept,
            flow: flow.id,
        });
        flow.guard_handshake(cx);
        flow.send_syn(cx);
        flow
    }

    /// A connection towards a guest that waits on the host for the guest's answer.
    pub(crate) fn dialled(cx: &mut Cx<'_>, opening: Opening) -> Self {
        let mut flow = Self::new(cx, opening, State::SynSent);
        flow.guard_handshake(cx);
        flow.send_syn(cx);
        flow
    }

    /// The guest did not answer in the time that there is for it.
    pub(crate) fn give_up_dial(&mut self, cx: &mut Cx<'_>, error: HostError) {
        if let Host::Promised { why, .. } = &mut self.host {
            *why = error;
            self.abort(cx);
        }
    }

    fn new(cx: &mut Cx<'_>, opening: Opening, state: State) -> Self {
        let iss = cx.initial_sequence(opening.guest, opening.remote);
        Self {
            id: opening.id,
            guest: opening.guest,
            remote: opening.remote,
            host: opening.host,
            state,
            receiver: Receiver::new(Seq(0), cx.shared.tcp_window, DEFAULT_MSS),
            sender: Sender::new(iss),
            timers: Timers::new(cx.now),
            acked_empty: None,
            held: None,
        }
    }

    /// The smallest shift with which the window field reaches our limit.
    fn our_scale(limit: u32) -> u8 {
        (0..14)
            .find(|shift| limit >> shift <= u32::from(u16::MAX))
            .unwrap_or(14)
    }

    fn hear_syn(&mut self, cx: &Cx<'_>, syn: &Header) {
        self.sender
            .set_options(&syn.options, cx.link_mss(self.guest.family()));
        let scaled = syn.options.window_scale.is_some();
        let limit = if scaled { u32::MAX } else { u32::from(u16::MAX) };
        self.receiver = Receiver::new(syn.seq, cx.shared.tcp_window.min(limit), self.sender.mss());
        if scaled {
            self.receiver.set_scale(Self::our_scale(cx.shared.tcp_window));
        }
        self.sender.set_window(syn, false);
    }

    fn our_options(&self, cx: &Cx<'_>, scaled: bool, sack: bool) -> Options {
        Options {
            mss: Some(cx.link_mss(self.guest.family())),
            window_scale: scaled.then(|| Self::our_scale(cx.shared.tcp_window)),
            sack_permitted: sack,
            ..Options::default()
        }
    }

    fn send_syn(&mut self, cx: &mut Cx<'_>) {
        let options = self.our_options(cx, true, true);
        self.send_control(cx, Flags::SYN, self.sender.unacknowledged(), options);
    }

    fn send_syn_ack(&mut self, cx: &mut Cx<'_>) {
        let options = self.our_options(cx, self.receiver.is_scaled(), self.sender.may_sack());
        self.send_control(cx, Flags::SYN_ACK, self.sender.unacknowledged(), options);
    }

    /// Our SYN or SYN|ACK was not answered in time, or the guest repeats its own.
    pub(super) fn repeat_handshake(&mut self, cx: &mut Cx<'_>) {
        self.timers.drop_sample();
        match self.state {
            State::SynReceived => self.send_syn_ack(cx),
            State::SynSent if self.is_for_nobody(cx) => self.abort(cx),
            State::SynSent => self.send_syn(cx),
            State::Connecting | State::Open | State::TimeWait | State::Closed => {}
        }
    }

    /// Whether the guest has not even said for so long that it has its address. One that did may be slow.
    fn is_for_nobody(&self, cx: &Cx<'_>) -> bool {
        self.timers.in_state_for(cx.now) >= ABSENT && !cx.lan.is_reachable(cx.now, self.guest.ip)
    }

    /// Our SYN is about to be sent. Its answer is the first sample of the round trip (RFC 6298, 2.2).
    fn guard_handshake(&mut self, cx: &Cx<'_>) {
        self.sender.syn_sent();
        self.timers.arm(cx.now, Guard::Retransmit);
        self.timers.start_sample(cx.now, self.sender.next());
    }

    /// The host connected.
    pub(crate) fn handle_connected(&mut self, cx: &mut Cx<'_>) {
        if self.state == State::Connecting {
            self.enter(cx, State::SynReceived);
            self.guard_handshake(cx);
            self.send_syn_ack(cx);
        }
    }

    /// The guest insists while the host connects: a repeated SYN is one connection; a reset ends the attempt.
    pub(super) fn handle_segment_connecting(&mut self, cx: &mut Cx<'_>, header: &Header) {
        if header.flags.rst && header.seq == self.receiver.next() {
            self.act(cx, Action::Close(self.id));
            self.state = State::Closed;
        }
    }

    /// The acknowledgement that completes an outbound handshake. `false` when it acknowledges something else.
    pub(super) fn handle_handshake_ack(&mut self, cx: &mut Cx<'_>, header: &Header) -> bool {
        if header.ack != self.sender.next() {
            self.refuse_segment(cx, header.ack);
            return false;
        }
        self.sender.syn_acknowledged();
        self.sender.set_window(header, true);
        self.open(cx);
        true
    }

    /// The guest answers our SYN (RFC 9293, 3.10.7.3).
    pub(super) fn handle_segment_syn_sent(&mut self, cx: &mut Cx<'_>, header: &Header) {
        let acknowledges = header.flags.ack && header.ack == self.sender.next();
        if header.flags.rst {
            if acknowledges {
                if let Host::Promised { why, .. } = &mut self.host {
                    *why = HostError::Refused;
                }
                self.abort_host(cx);
            }
            return;
        }
        if header.flags.ack && !acknowledges {
            return self.refuse_segment(cx, header.ack);
        }
        if !header.flags.syn {
            return;
        }
        self.hear_syn(cx, header);
        if !acknowledges {
            // Both open at once (RFC 9293, 3.5).
            self.enter(cx, State::SynReceived);
            return self.send_syn_ack(cx);
        }
        self.sender.syn_acknowledged();
        self.open(cx);
        self.send_ack(cx);
        self.pump(cx);
        self.close_if_finished(cx);
    }

    fn open(&mut self, cx: &mut Cx<'_>) {
        if let Host::Promised { accept, .. } = self.host {
            self.host = Host::Socket;
            cx.shared.answered.push(accept);
            cx.lan.actions.push_back(Action::TcpAdopt {
                accept,
                flow: self.id,
            });
        }
        self.enter(cx, State::Open);
        self.timers.acknowledged(cx.now, self.sender.next());
        self.timers.disarm();
    }

    /// The host could not connect: tell the guest what happened.
    pub(super) fn fail_connecting(&mut self, cx: &mut Cx<'_>, error: HostError) {
        self.state = State::Closed;
        match error {
            HostError::Refused | HostError::Reset | HostError::Other => self.send_reset(cx),
            HostError::Exhausted => {
                cx.lan.notice(cx.now, Notice::HostExhausted);
                self.send_reset(cx);
            }
            HostError::TimedOut => {}
            _ => icmp::send_error_for_flow(cx.lan, cx.now, &self.quote(), error),
        }
    }

    /// The guest's SYN, as far as an ICMP error quotes it.
    fn quote(&self) -> icmp::Quote {
        let seq = Seq(self.receiver.next().0.wrapping_sub(1));
        icmp::Quote::tcp(self.guest, self.remote, seq)
    }
}
