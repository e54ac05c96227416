//! Forwards: what comes to a host port goes to a guest.
//!
//! The runtime listens; here is where a forward leads, looked up at every connection, since a name may move. The guest sees
//! its clients at the gateway's address, at the client's own port if that is free; or, where the forward keeps its clients' sources, at their
//! own address and port. The guest's answers come here either way, since we are its router: that is so for a client of the world, of
//! the guest's family, in a network whose packets no other router carries. Every other client is seen at the gateway's.

use super::*;
use crate::ForwardTarget;
use crate::event::HostError;

/// Local ports for clients whose own is taken (RFC 6335: dynamic ports).
const DYNAMIC_PORTS: std::ops::Range<u16> = 49152..65535;
/// How often another port is tried.
const TRIES: u16 = 64;

/// How long a guest that did not answer is the last to be tried.
const DOWN: Duration = Duration::from_secs(10);

/// Finds the addresses of a name, see [`NameView::look_up`](crate::services::names::NameView::look_up).
type Resolve<'a> = &'a dyn Fn(&Lan, &str) -> Option<Vec<IpAddr>>;

#[derive(Debug)]
pub(super) struct Forward {
    guest: ForwardTarget,
    port: u16,
    keep_source: bool,
    /// Whose turn it is among several.
    turn: usize,
    /// Those of several that did not answer, and when.
    down: Vec<(Endpoint, Instant)>,
}

impl Forward {
    pub(super) fn note_failure(&mut self, now: Instant, target: Endpoint) {
        self.note_success(target);
        self.down.retain(|(_, at)| now.since(*at) < DOWN);
        self.down.push((target, now));
    }

    pub(super) fn note_success(&mut self, target: Endpoint) {
        self.down.retain(|(other, _)| *other != target);
    }

    /// Several targets in the order in which this client tries them: round and round, those that failed of late last.
    fn in_turn(&mut self, now: Instant, mut targets: Vec<Endpoint>) -> Vec<Endpoint> {
        if targets.len() > 1 {
            let first = self.turn % targets.len();
            targets.rotate_left(first);
            self.turn = first + 1;
            let is_down = |target: &Endpoint| {
                let mut failures = self.down.iter();
                failures.any(|(other, at)| other == target && now.since(*at) < DOWN)
            };
            targets.sort_by_key(is_down);
        }
        targets
    }
}

impl ForwardTarget {
    /// The addresses in it.
    pub(crate) fn fixed_addresses(&self) -> Vec<IpAddr> {
        match self {
            Self::Address(address) => vec![*address],
            Self::Name(_) | Self::Mac(_) => Vec::new(),
            Self::OneOf(several) => several.iter().flat_map(Self::fixed_addresses).collect(),
        }
    }

    /// All addresses that it has now; `None` when nobody has the name.
    pub(crate) fn addresses(&self, lan: &Lan, resolve: Resolve<'_>) -> Option<Vec<IpAddr>> {
        match self {
            Self::Address(address) => Some(vec![*address]),
            Self::Mac(mac) => lan.address_of(*mac).map(|address| vec![address]),
            Self::Name(name) => resolve(lan, name),
            Self::OneOf(several) => {
                let found = several.iter().filter_map(|one| one.addresses(lan, resolve));
                Some(found.flatten().collect())
            }
        }
    }
}

impl Flows {
    /// `false` when the name is taken.
    pub(crate) fn add_forward(&mut self, id: ForwardId, guest: ForwardTarget, port: u16) -> bool {
        let free = !self.forwards.contains_key(&id);
        if free {
            let forward = Forward {
                guest,
                port,
                keep_source: false,
                turn: 0,
                down: Vec::new(),
            };
            self.forwards.insert(id, forward);
        }
        free
    }

    pub(crate) fn keep_source(&mut self, id: ForwardId) {
        if let Some(forward) = self.forwards.get_mut(&id) {
            forward.keep_source = true;
            self.keeps_sources = true;
        }
    }

    pub(crate) fn remove_forward(&mut self, id: ForwardId) {
        self.forwards.remove(&id);
    }

    /// Where a forward leads now: for each of its guests the first address.
    fn targets(&self, lan: &Lan, id: ForwardId, resolve: Resolve<'_>) -> Vec<Endpoint> {
        let Some(forward) = self.forwards.get(&id) else {
            return Vec::new();
        };
        let first = |target: &ForwardTarget| {
            let address = target.addresses(lan, resolve)?.first().copied()?;
            let is_neighbor = self.policy.route(address) == Route::Neighbor;
            is_neighbor.then(|| Endpoint::new(address, forward.port))
        };
        match &forward.guest {
            ForwardTarget::OneOf(several) => several.iter().filter_map(first).collect(),
            one => first(one).into_iter().collect(),
        }
    }

    /// Where the guest sees a client of the forward.
    pub(super) fn client_view(
        &self,
        lan: &mut Lan,
        guest: Endpoint,
        (forward, client): (Option<ForwardId>, SocketAddr),
        key: impl Fn(Endpoint) -> Key,
    ) -> Option<Endpoint> {
        let forward = forward.and_then(|id| self.forwards.get(&id));
        let own = forward
            .filter(|forward| forward.keep_source)
            .map(|_| Endpoint::new(client.ip(), client.port()));
        let is_answered_here = |own: &Endpoint| {
            own.port != 0 && own.family() == guest.family() && self.policy.route(own.ip) == Route::Outside
        };
        own.filter(|own| is_answered_here(own) && !self.table.contains(&key(*own)))
            .or_else(|| self.free_local(lan, guest, client.port(), key))
    }

    /// A port of the gateway's address at which the guest can see a client, which may be of another family.
    fn free_local(
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
        (id, accept, peer): (ForwardId, AcceptId, SocketAddr),
        resolve: Resolve<'_>,
    ) -> bool {
        let targets = self.targets(lan, id, resolve);
        let Some(forward) = self.forwards.get_mut(&id) else {
            let why = HostError::HostUnreachable;
            lan.actions.push_back(Action::TcpRefuse { accept, why });
            return true;
        };
        if let ForwardTarget::OneOf(several) = &forward.guest {
            let are_known = targets.len() == several.len();
            let targets = forward.in_turn(now, targets);
            self.dial(now, lan, (accept, peer, Some(id)), targets);
            return are_known;
        }
        let guest = targets.first().copied();
        let is_known = guest.is_some();
        let remote = guest.and_then(|guest| {
            self.client_view(lan, guest, (Some(id), peer), |remote| Key::Tcp { guest, remote })
        });
        let (Some(guest), Some(remote)) = (guest, remote) else {
            let why = HostError::HostUnreachable;
            lan.actions.push_back(Action::TcpRefuse { accept, why });
            return is_known;
        };
        let id = self.admit(now, lan);
        let opening = tcp::setup::Opening {
            id,
            guest,
            remote,
            host: Host::Socket,
            hops: None,
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
        (id, from, datagrams): (ForwardId, SocketAddr, Vec<Datagrams>),
        resolve: Resolve<'_>,
    ) {
        let targets = self.targets(lan, id, resolve);
        // A client keeps the guest that it has for as long as the forward leads there.
        let known = self.forwarded_to(id, from);
        let guest = known.filter(|guest| targets.contains(guest)).or_else(|| {
            let forward = self.forwards.get_mut(&id)?;
            forward.in_turn(now, targets).first().copied()
        });
        match guest {
            Some(guest) => self.deliver_forwarded(now, lan, (id, from), guest, datagrams),
            None => {
                let lost = datagrams.iter().map(Datagrams::count).sum();
                lan.counters.add(Counter::HostDatagramDropped, lost);
            }
        }
    }
}
