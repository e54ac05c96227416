//! Where the [policy](crate::policy) meets the flows: whether a guest may open one, and hear from a peer.
//!
//! A connection is judged when its SYN opens it. A UDP socket or echo identifier has many peers: the latest that was permitted is in the flow, and
//! only another one is judged. What stays inside (services of the gateway) is nobody's business here, nor are
//! [listed ports](super::host_ports) of the host alias.

use super::*;
use crate::policy::{Attempt, Transport};

impl Flows {
    /// Whether a guest may have a flow to `remote`; if not, that was counted.
    pub(super) fn permits(
        &self,
        now: Instant,
        lan: &mut Lan,
        port: PortId,
        (transport, remote): (Transport, Endpoint),
    ) -> bool {
        if !lan.firewall.has_rules() || !self.is_beyond(remote.ip) {
            return true;
        }
        let judged = lan.firewall.judge(now, port, attempt(transport, remote));
        if let Err(counter) = judged {
            lan.counters.count(counter);
            lan.firewall.note_denied(port);
        }
        judged.is_ok()
    }

    /// The same for one datagram of a flow that may be open already. If not, the guest was told.
    pub(super) fn permits_datagram(
        &self,
        now: Instant,
        lan: &mut Lan,
        packet: &Packet,
        (flow, transport, remote): (Option<FlowId>, Transport, Endpoint),
    ) -> bool {
        if !lan.firewall.has_rules() || self.latest_peer(flow) == Some(remote) {
            return true;
        }
        let permitted = self.permits(now, lan, packet.ingress, (transport, remote));
        if !permitted {
            icmp::send_unreachable(lan, now, &packet.quote(), Unreachable::Prohibited);
        }
        permitted
    }

    /// Whether the guest behind a port may begin one more flow now; if not, that was counted.
    pub(super) fn may_begin(now: Instant, lan: &mut Lan, port: PortId) -> bool {
        if !lan.firewall.has_limits() {
            return true;
        }
        let taken = lan.firewall.take_flow(now, port);
        taken.map_err(|counter| lan.counters.count(counter)).is_ok()
    }

    /// Where a port has as many flows as it may, its least recently used one goes.
    pub(super) fn make_room(&mut self, now: Instant, lan: &mut Lan, port: PortId) {
        if !lan.firewall.has_limits() {
            return;
        }
        let most = lan.firewall.most_flows(port);
        while let Some(victim) = self.table.victim_of(port, most) {
            lan.counters.count(Counter::LimitedFlows);
            lan.firewall.note_limited(port);
            self.evict(now, lan, victim);
        }
    }

    fn is_beyond(&self, address: IpAddr) -> bool {
        matches!(self.policy.route(address), Route::Outside | Route::HostAlias)
    }

    fn latest_peer(&self, flow: Option<FlowId>) -> Option<Endpoint> {
        match self.table.get(flow?)? {
            Flow::Tcp(flow) => Some(flow.remote()),
            Flow::Udp(flow) => Some(flow.last_peer()),
            Flow::Echo(flow) => Some(flow.last_peer()),
        }
    }
}

impl Cx<'_> {
    /// Whether a guest may hear from a peer that is not the latest of its flow; if not, `count` datagrams were lost and counted.
    pub(super) fn permits_reply(
        &mut self,
        guest: IpAddr,
        (transport, peer): (Transport, Endpoint),
        count: u64,
    ) -> bool {
        if !self.lan.firewall.has_rules() {
            return true;
        }
        let port = self.port_of(guest).unwrap_or(PortId(u32::MAX));
        let judged = self.lan.firewall.judge(self.now, port, attempt(transport, peer));
        if judged.is_err() {
            self.lan.counters.add(Counter::DeniedReply, count);
        }
        judged.is_ok()
    }
}

fn attempt(transport: Transport, remote: Endpoint) -> Attempt {
    Attempt {
        transport,
        to: remote.ip,
        port: remote.port,
    }
}
