//! Forwards: what comes to a host port goes to a guest.
//!
//! The runtime listens; here is where a forward leads, looked up at every connection, since a name may move. The guest sees
//! its clients at the gateway's address, at the client's own port if that is free.

use super::*;
use crate::AcceptId;
use crate::ForwardTarget;

/// Local ports for clients whose own is taken (RFC 6335: dynamic ports).
const DYNAMIC_PORTS: std::ops::Range<u16> = 49152..65535;
/// How often another port is tried.
const TRIES: u16 = 64;

#[derive(Debug)]
pub(super) struct Forward {
    pub(super) guest: ForwardTarget,
    pub(super) port: u16,
}

impl Flows {
    /// `false` when the name is taken.
    pub(crate) fn add_forward(&mut self, id: ForwardId, guest: ForwardTarget, port: u16) -> bool {
        let free = !self.forwards.contains_key(&id);
        if free {
            self.forwards.insert(id, Forward { guest, port });
        }
        free
    }

    pub(crate) fn remove_forward(&mut self, id: ForwardId) {
        self.forwards.remove(&id);
    }

    /// Where a forward leads now. `resolve` finds the address of a name.
    fn target(
        &self,
        lan: &Lan,
        id: ForwardId,
        resolve: impl FnOnce(&Lan, &str) -> Option<IpAddr>,
    ) -> Option<Endpoint> {
        let forward = self.forwards.get(&id)?;
        let address = match &forward.guest {
            ForwardTarget::Address(address) => Some(*address),
            ForwardTarget::Mac(mac) => lan.address_of(*mac),
            ForwardTarget::Name(name) => resolve(lan, name),
        };
        let is_neighbor = |address: &IpAddr| self.policy.route(*address) == Route::Neighbor;
        Some(Endpoint::new(address.filter(is_neighbor)?, forward.port))
    }

    /// A port of the gateway's address at which the guest can see a client, which may be of another family.
    pub(super) fn free_local(
        &self,
        lan: &mut Lan,
        guest: Endpoint,
        preferred: u16,
        key: impl Fn(Endpoint) -> Key,
    ) -> Option<Endpoint> {
        let gateway = lan.gateway_towards(guest.ip)?;
        let is_free = |port: &u16| *port >= 1024 && !self.table.contains(&key(Endpoint::new(gateway, *port)));
        let mut others =
            (0..TRIES).map(|_| DYNAMIC_PORTS.start + lan.rng.below(DYNAMIC_PORTS.end - DYNAMIC_PORTS.start));
        let port = Some(preferred).filter(is_free).or_else(|| others.find(is_free))?;
        Some(Endpoint::new(gateway, port))
    }

    /// A connection came to a forward. `false` when its guest's address is not known.
    pub(crate) fn handle_accepted(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        (forward, accept, peer): (ForwardId, AcceptId, SocketAddr),
        resolve: impl FnOnce(&Lan, &str) -> Option<IpAddr>,
    ) -> bool {
        let guest = self.target(lan, forward, resolve);
        let is_known = guest.is_some();
        let remote = guest
            .and_then(|guest| self.free_local(lan, guest, peer.port(), |remote| Key::Tcp { guest, remote }));
        let (Some(guest), Some(remote)) = (guest, remote) else {
            lan.actions.push_back(Action::TcpRefuse { accept });
            return is_known;
        };
        let id = self.admit(now, lan);
        let opening = tcp::setup::Opening {
            id,
            guest,
            remote,
            host: Host::Socket,
        };
        let port = Self::port_of(now, lan, guest.ip);
        self.add_tcp(now, lan, (id, port), |cx| TcpFlow::inbound(cx, opening, accept));
        true
    }

    /// Datagrams came to a forward.
    pub(crate) fn handle_forwarded(
        &mut self,
        now: Instant,
        lan: &mut Lan,
        (forward, from, datagrams): (ForwardId, SocketAddr, Vec<Datagrams>),
        resolve: impl FnOnce(&Lan, &str) -> Option<IpAddr>,
    ) {
        match self.target(lan, forward, resolve) {
            Some(guest) => self.deliver_forwarded(now, lan, (forward, from), guest, datagrams),
            None => {
                let lost = datagrams.iter().map(Datagrams::count).sum();
                lan.counters.add(Counter::HostDatagramDropped, lost);
            }
        }
    }
}
