//! Dials: connections that wait on the host until a guest has answered.
//!
//! A forward to one guest hands its connection to a flow at once and lets the guest's answer be the client's. A proxy has to tell
//! its client how the attempt ended before the first byte passes, and a forward to several guests has to try the next one
//! while the client waits. For those the runtime keeps the accepted connection under its [`AcceptId`], the flow's host side is
//! [`Host::Promised`], and one of two actions ends the wait:
//!
//! ```text
//! handle_dial ─▶ attempt ─▶ SYN-SENT ── SYN|ACK ──▶ TcpAdopt: an ordinary flow from here on
//!                   ▲            │
//!                   └── next ────┤ RST, no answer in time, no station with that address
//!                                └── none left ──▶ TcpRefuse, with the reason
//! ```
//!
//! An attempt lasts as long as TCP's handshake does (two minutes) if the guest is there and says nothing, as a guest that starts
//! does; three seconds if nobody has the address, which is what a Linux router gives it; and one second where another
//! target waits for its turn. Dials are bounded by the flow table, since each has one flow there.

use super::*;
use crate::Mode;
use crate::event::HostError;

/// How long an attempt may take where there is another one to make.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an address may go without a station (Linux: `mcast_solicit` and `retrans_time_ms`, three times one second).
const NOBODY: Duration = Duration::from_secs(3);

/// A connection that waits.
#[derive(Debug)]
pub(super) struct Dial {
    /// Where its client is.
    peer: SocketAddr,
    /// Targets that were not tried yet, next one first.
    left: VecDeque<Endpoint>,
    target: Endpoint,
    flow: FlowId,
    /// When this attempt is to be looked at.
    due: Option<Instant>,
    /// The forward that it came to.
    forward: Option<ForwardId>,
    /// What is told if all else fails, too.
    why: HostError,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Dials {
    waiting: BTreeMap<AcceptId, Dial>,
    /// Flows that ended before their guest answered.
    failed: Vec<(AcceptId, HostError)>,
}

impl Dials {
    /// When the first of them is to be looked at.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.values().filter_map(|dial| dial.due).min()
    }

    /// A flow ended that had promised to answer this connection.
    pub(super) fn fail(&mut self, accept: AcceptId, why: HostError) {
        self.failed.push((accept, why));
    }
}

impl Flows {
    /// Connect a client to the first of these targets that answers.
    pub(super) fn dial(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        (accept, peer, forward): (AcceptId, SocketAddr, Option<ForwardId>),
        targets: Vec<Endpoint>,
    ) {
        let mut left = VecDeque::from(targets);
        let Some(target) = left.pop_front() else {
            let why = HostError::HostUnreachable;
            return lan.actions.push_back(Action::TcpRefuse { accept, why });
        };
        let dial = Dial {
            peer,
            left,
            target,
            flow: self.table.next_id(),
            due: None,
            forward,
            why: HostError::Other,
        };
        self.attempt(now, lan, accept, dial);
    }

    /// A host program asks for a guest by address or name; the addresses that were found, of which only guests' count. On a bridged
    /// network, whose addresses are the LAN's, those are guests' that were heard from one.
    pub(crate) fn handle_dial(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        (accept, peer): (AcceptId, SocketAddr),
        (found, port): (Option<Vec<IpAddr>>, u16),
    ) {
        let is_known = |address: IpAddr| lan.mode != Mode::Bridged || lan.neighbors.mac_of(address).is_some();
        let is_neighbor =
            |address: &IpAddr| self.policy.route(*address) == Route::Neighbor && is_known(*address);
        let targets = found.map(|found| {
            let guests = found.into_iter().filter(is_neighbor);
            guests.map(|ip| Endpoint::new(ip, port)).collect::<Vec<_>>()
        });
        match targets {
            Some(targets) if !targets.is_empty() => self.dial(now, lan, (accept, peer, None), targets),
            // A name of ours that nobody has now is a host that is not there; all else is none of our guests.
            Some(_) => lan.actions.push_back(Action::TcpRefuse {
                accept,
                why: HostError::Prohibited,
            }),
            None => lan.actions.push_back(Action::TcpRefuse {
                accept,
                why: HostError::HostUnreachable,
            }),
        }
    }

    fn attempt(&mut self, now: Instant, lan: &mut Lan, accept: AcceptId, mut dial: Dial) {
        let guest = dial.target;
        let client = (dial.forward, dial.peer);
        let local = self.client_view(lan, guest, client, |remote| Key::Tcp { guest, remote });
        let Some(remote) = local else {
            dial.why = HostError::Exhausted;
            return self.next_attempt(now, lan, accept, dial);
        };
        dial.flow = self.admit(now, lan);
        let wait = if dial.left.is_empty() { NOBODY } else { PATIENCE };
        dial.due = Some(now + wait);
        let opening = tcp::setup::Opening {
            id: dial.flow,
            guest,
            remote,
            host: Host::Promised {
                accept,
                why: HostError::TimedOut,
            },
            hops: None,
        };
        let port = Self::port_of(now, lan, guest.ip);
        let id = dial.flow;
        self.dials.waiting.insert(accept, dial);
        self.add_tcp(now, lan, (id, port), |cx| TcpFlow::dialled(cx, opening));
    }

    /// The target of this dial is no good: the next one, or the end.
    fn next_attempt(&mut self, now: Instant, lan: &mut Lan, accept: AcceptId, mut dial: Dial) {
        if let Some(forward) = dial.forward.and_then(|id| self.forwards.get_mut(&id)) {
            forward.note_failure(now, dial.target);
        }
        match dial.left.pop_front() {
            Some(target) => {
                dial.target = target;
                self.attempt(now, lan, accept, dial);
            }
            None => lan.actions.push_back(Action::TcpRefuse {
                accept,
                why: dial.why,
            }),
        }
    }

    /// The client went away while it waited.
    pub(crate) fn handle_withdrawn(&mut self, now: Instant, lan: &mut Lan, accept: AcceptId) {
        if let Some(dial) = self.dials.waiting.remove(&accept) {
            self.with_tcp(now, lan, dial.flow, |flow, cx| flow.abort(cx));
        }
    }

    /// Go on with the dials whose guest answered, or failed to.
    pub(crate) fn settle_dials(&mut self, now: Instant, lan: &mut Lan) {
        for accept in std::mem::take(&mut self.shared.answered) {
            if let Some(dial) = self.dials.waiting.remove(&accept)
                && let Some(forward) = dial.forward.and_then(|id| self.forwards.get_mut(&id))
            {
                forward.note_success(dial.target);
            }
        }
        // An attempt that fails at once adds to the list again; every turn takes a target from a dial.
        while let Some((accept, why)) = self.dials.failed.pop() {
            if let Some(mut dial) = self.dials.waiting.remove(&accept) {
                dial.why = why;
                self.next_attempt(now, lan, accept, dial);
            }
        }
    }

    /// Attempts whose time is over.
    pub(super) fn handle_dial_timeouts(&mut self, now: Instant, lan: &mut Lan) {
        let is_due = |dial: &Dial| dial.due.is_some_and(|due| due <= now);
        let due: Vec<AcceptId> = self
            .dials
            .waiting
            .iter()
            .filter_map(|(accept, dial)| is_due(dial).then_some(*accept))
            .collect();
        for accept in due {
            let Some(dial) = self.dials.waiting.get_mut(&accept) else {
                continue;
            };
            dial.due = None;
            let is_there = Self::port_of(now, lan, dial.target.ip) != PortId(u32::MAX);
            if is_there && dial.left.is_empty() {
                continue;
            }
            let flow = dial.flow;
            let why = if is_there {
                HostError::TimedOut
            } else {
                HostError::HostUnreachable
            };
            self.with_tcp(now, lan, flow, |flow, cx| flow.give_up_dial(cx, why));
        }
        self.settle_dials(now, lan);
    }
}
