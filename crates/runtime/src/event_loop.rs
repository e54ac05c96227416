//! The loop: wait, take what is ready, let the engine think, do what it asks.
//!
//! A turn waits for readiness (not at all when an earlier turn left work over, for ever when there is neither work nor
//! a timer), then handles each ready thing once, in bounded measure. After each thing the engine's actions are carried
//! out until there is none. The guests for which frames wait are written to at the end of the turn, and before that when much waits: each
//! write wakes the guest's side, which costs more than the write. Requests of handles come between two turns.
//!
//! Everything is opened before the loop's thread starts, and closed when the loop ends: sockets by dropping them, socket files and the newest
//! leases with them. Before that guests are told that their router goes, and what waits for them leaves, for a moment at most.

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use atoll_engine::{Action, Command, Config, Engine, FlowId, Limits, Prefix, Subnet};
use mio::{Events, Poll, Waker};

use crate::automatic::AutomaticForwards;
use crate::capture::Capture;
use crate::core::{Core, Readiness, Ready};
use crate::dns::Dns;
use crate::files::Files;
use crate::flows::Flows;
use crate::forwards::Forwards;
use crate::guests::Guests;
use crate::handle::{Handle, Request};
use crate::host_addresses::HostAddresses;
use crate::host_link::HostLink;
use crate::junction::{JoinSpec, Joins};
use crate::leases::{LeaseStore, Leases};
use crate::proxy::Proxies;
use crate::resolvers::Resolvers;
use crate::spare::Spare;
use crate::tokens::Source;
use crate::uplink::{self, Routed, Uplinks};
use crate::{HostPortSpec, Mode, NetworkOptions, StartError, services};

/// Events taken from the kernel in one turn.
const EVENTS: usize = 1024;

/// How long a network that ends waits for guests that do not read.
const LEAVE: Duration = Duration::from_millis(100);

/// A network, as its own thread sees it.
#[derive(Debug)]
pub(crate) struct EventLoop {
    poll: Poll,
    requests: Receiver<Request>,
    pub(crate) core: Core,
    pub(crate) guests: Guests,
    pub(crate) flows: Flows,
    pub(crate) forwards: Forwards,
    pub(crate) automatic: AutomaticForwards,
    pub(crate) proxies: Proxies,
    pub(crate) dns: Dns,
    pub(crate) resolvers: Resolvers,
    pub(crate) capture: Option<Capture>,
    pub(crate) leases: Option<LeaseStore>,
    pub(crate) spare: Spare,
    pub(crate) files: Files,
    pub(crate) about: About,
    pub(crate) uplinks: Uplinks,
    pub(crate) host_link: HostLink,
    pub(crate) joins: Joins,
    pub(crate) stopping: bool,
    host_addresses: HostAddresses,
}

/// What a snapshot says of the network beside what the engine knows.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) mode: Mode,
    pub(crate) engine_mode: atoll_engine::Mode,
    /// The default router of IPv4, where there is one.
    pub(crate) router: Option<Ipv4Addr>,
    pub(crate) addresses: atoll_engine::Addresses,
    pub(crate) domain: String,
    pub(crate) mtu: u16,
    /// Guests do not hear each other.
    pub(crate) isolate: bool,
    pub(crate) host_ports: Vec<HostPortSpec>,
}

impl About {
    /// The IPv4 address at which the network's services are.
    pub(crate) fn services4(&self) -> Option<Ipv4Addr> {
        self.addresses
            .subnet
            .map(|subnet| self.engine_mode.services4(subnet))
    }

    /// The same of IPv6.
    pub(crate) fn services6(&self) -> Option<Ipv6Addr> {
        self.addresses
            .prefix
            .map(|prefix| self.engine_mode.services6(prefix))
    }

    /// The IPv4 address that stands for the host.
    pub(crate) fn host4(&self) -> Option<Ipv4Addr> {
        match self.engine_mode {
            atoll_engine::Mode::User => self.addresses.subnet.map(Subnet::host_alias),
            atoll_engine::Mode::Routed => self.router,
            _ => self.addresses.subnet.map(Subnet::gateway),
        }
    }

    /// The same of IPv6.
    pub(crate) fn host6(&self) -> Option<Ipv6Addr> {
        match self.engine_mode {
            atoll_engine::Mode::User => self.addresses.prefix.map(Prefix::host_alias),
            atoll_engine::Mode::Routed => None,
            _ => self.addresses.prefix.map(Prefix::gateway),
        }
    }

    /// The default router of IPv6, where there is one whose address is known before it advertises itself.
    pub(crate) fn router6(&self) -> Option<Ipv6Addr> {
        match self.engine_mode {
            atoll_engine::Mode::User | atoll_engine::Mode::Shared => {
                self.addresses.prefix.map(Prefix::gateway)
            }
            _ => None,
        }
    }

    /// Bits of an IPv6 address that the guest shares with others on its link.
    pub(crate) fn prefix6_len(&self) -> u8 {
        match self.engine_mode {
            atoll_engine::Mode::Routed => 128,
            _ => Prefix::LEN,
        }
    }
}

impl EventLoop {
    /// Open everything.
    pub(crate) fn open(options: NetworkOptions) -> Result<(Self, Handle), StartError> {
        let descriptors = raise_descriptor_limit() / u64::from(options.networks.get());
        let poll = Poll::new().map_err(StartError::Loop)?;
        let registry = poll.registry().try_clone().map_err(StartError::Loop)?;
        let waker = Waker::new(poll.registry(), Source::Waker.into()).map_err(StartError::Loop)?;
        let (sender, requests) = channel();
        let resolvers = Resolvers::new(resolvers_of(&options));
        let (leases, old_leases) = open_leases(&options)?;
        let config = Config {
            limits: limits(descriptors),
            ..config(&options, &resolvers, old_leases)?
        };
        let about = About {
            mode: options.mode(),
            engine_mode: config.mode,
            router: config.router4(),
            addresses: config.addresses(),
            domain: config.domain.clone(),
            mtu: config.mtu,
            isolate: options.isolate,
            host_ports: options.host_ports.clone(),
        };
        let engine = Engine::new(&config, seed().map_err(StartError::Loop)?);
        let mut event_loop = Self {
            poll,
            requests,
            core: Core::new(engine, registry),
            guests: Guests::default(),
            flows: Flows::new(services::sockets(&options.host_ports)),
            forwards: Forwards::new(),
            automatic: AutomaticForwards::default(),
            proxies: Proxies::default(),
            dns: Dns::default(),
            resolvers,
            capture: None,
            leases,
            spare: Spare::new(),
            files: Files::default(),
            about,
            uplinks: Uplinks::default(),
            host_link: HostLink::default(),
            joins: Joins::default(),
            stopping: false,
            host_addresses: HostAddresses::new(&options.policy),
        };
        let waker = Arc::new(waker);
        event_loop.furnish(options, &waker)?;
        let handle = Handle {
            requests: sender,
            waker,
        };
        Ok((event_loop, handle))
    }

    /// Everything in the options that can go wrong.
    fn furnish(&mut self, options: NetworkOptions, waker: &Arc<Waker>) -> Result<(), StartError> {
        self.uplinks = Uplinks::open(&options, &mut self.core, &mut self.guests, waker)?;
        self.joins = Joins::open(&options, waker);
        self.follow_resolvers();
        for lease in options.static_leases {
            self.start_with(Command::SetStaticLease(lease))?;
        }
        for spec in options.forwards {
            self.forwards.add(&mut self.core, spec)?;
        }
        for spec in &options.automatic {
            let of_guest = options.automatic.iter().filter(|it| it.guest == spec.guest);
            let all = of_guest.cloned().collect();
            self.automatic
                .set(&mut self.core, &mut self.forwards, (&spec.guest, all))?;
        }
        for address in options.proxies {
            self.proxies.listen(&self.core, address)?;
        }
        for spec in options.listeners {
            self.guests.listen(&self.core, spec)?;
        }
        if let Some(path) = options.tftp {
            self.files = Files::of(&path).map_err(|source| StartError::Folder { path, source })?;
        }
        if let Some(path) = options.pcap {
            let capture = Capture::create(&path).map_err(|source| StartError::Capture { path, source })?;
            self.capture = Some(capture);
            self.start_with(Command::SetCapture(true))?;
        }
        Ok(())
    }

    fn start_with(&mut self, command: Command) -> Result<(), StartError> {
        let now = self.core.now();
        let applied = self.core.engine.apply(now, command);
        applied.map_err(|error| StartError::Config(error.to_string()))
    }

    /// Run until somebody asks for the end.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        self.settle();
        while !self.stopping {
            let timeout = self.timeout();
            if !self.wait(&mut events, timeout) {
                return;
            }
            self.turn(&events);
        }
        self.take_leave(&mut events);
    }

    /// `false` when that is not possible any more.
    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> bool {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                tracing::error!("the event loop ends: {error}");
                false
            }
            _ => true,
        }
    }

    /// The last words to guests, and what else waits for them.
    fn take_leave(&mut self, events: &mut Events) {
        let now = self.core.now();
        let until = now + LEAVE;
        if let Err(error) = self.core.engine.apply(now, Command::Shutdown) {
            tracing::debug!("guests are not told of the end: {error}");
        }
        self.settle();
        while self.guests.any_wait(&self.core) && self.core.now() < until {
            let left = until.since(self.core.now());
            let timeout = self.timeout().map_or(left, |timeout| timeout.min(left));
            if !self.wait(events, Some(timeout)) {
                return;
            }
            self.turn(events);
        }
    }

    /// How long there is nothing to do but for what the kernel or a handle tells.
    fn timeout(&self) -> Option<Duration> {
        if !self.core.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let engine = self.core.engine.poll_timeout();
        let retries = self.guests.retry_at().into_iter().chain(self.uplinks.retry_at());
        let others = retries.chain(self.proxies.due()).chain(self.resolvers.due());
        let due = engine.into_iter().chain(others).min()?;
        Some(due.since(self.core.now()))
    }

    fn turn(&mut self, events: &Events) {
        self.follow_host();
        for event in events {
            let Some(source) = Source::of(event.token()) else {
                continue;
            };
            // An error explains the rest, a connection is made before it can be read, and urgent data tell how to read it.
            for (is, readiness) in [
                (event.is_error(), Readiness::Error),
                (event.is_writable(), Readiness::Writable),
                (event.is_priority(), Readiness::Urgent),
                (event.is_read_closed(), Readiness::ReadClosed),
                (event.is_readable(), Readiness::Readable),
            ] {
                if is {
                    self.core.ready.push(source, readiness);
                }
            }
        }
        for ready in self.core.ready.take() {
            self.handle_ready(ready);
            self.carry_out_all();
            if self.guests.much_waits(&self.core) {
                self.settle();
            }
        }
        self.settle();
        self.uplinks.handle_closed(&mut self.core, &mut self.guests);
        self.host_link.handle_closed(&mut self.core, &mut self.guests);
        self.handle_time();
        if let Some(capture) = &mut self.capture
            && !capture.flush()
        {
            self.end_capture();
        }
    }

    /// The policy knows the host's addresses as they are now.
    fn follow_host(&mut self) {
        if let Some(addresses) = self.host_addresses.changed()
            && let Err(error) = self.start_with(Command::SetHostAddresses(addresses))
        {
            tracing::warn!("the host's addresses are not taken: {error}");
        }
    }

    fn handle_ready(&mut self, ready: Ready) {
        let core = &mut self.core;
        match (ready.source, ready.readiness) {
            (Source::Waker, _) => {
                self.uplinks.handle_answers(core, &mut self.guests);
                self.handle_routed();
                self.handle_requests();
            }
            (Source::Resolvers, _) => self.follow_resolvers(),
            (Source::Links, _) => {
                self.uplinks.handle_change(core, &mut self.guests);
                self.host_link.handle_change(core, &mut self.guests);
            }
            (Source::Listener(id), Readiness::Readable) => {
                self.guests.handle_listener(core, &mut self.spare, id);
            }
            (Source::Guest(id), Readiness::Writable) => self.guests.flush(core, atoll_engine::PortId(id)),
            (Source::Guest(id), _) => self.guests.handle_readable(core, id),
            (Source::Kick(id, ring), _) => self.guests.handle_kick(core, id, ring),
            (Source::Dgram(id), Readiness::Readable) => self.guests.handle_datagrams(core, id),
            (Source::Flow(key), readiness) => self.flows.handle_ready(core, key, readiness),
            (Source::Forward(id), Readiness::Readable) => {
                self.forwards.handle_readable(core, &mut self.spare, id);
            }
            (Source::Dns(key), _) => self.dns.handle_ready(core, key),
            (Source::Proxy(id), Readiness::Readable) => {
                self.proxies.handle_door(core, &mut self.spare, id);
            }
            (Source::Client(key), readiness) => self.proxies.handle_client(core, key, readiness),
            (Source::Listener(_) | Source::Dgram(_) | Source::Forward(_) | Source::Proxy(_), _) => {}
        }
    }

    fn handle_time(&mut self) {
        let now = self.core.now();
        if self.core.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.core.engine.handle_timeout(now);
            self.settle();
        }
        if self.resolvers.due().is_some_and(|due| due <= now) {
            self.follow_resolvers();
            self.settle();
        }
        self.proxies.handle_timeout(now);
        self.uplinks.handle_timeout(now);
        if self.guests.retry_at().is_some_and(|due| due <= now) {
            self.guests.handle_timeout(&mut self.core);
            self.settle();
        }
    }

    /// Packets from networks that this one is joined with.
    fn handle_routed(&mut self) {
        for event in self.joins.take() {
            self.core.tell(event);
            self.carry_out_all();
            if self.guests.much_waits(&self.core) {
                self.settle();
            }
        }
    }

    fn handle_requests(&mut self) {
        while !self.stopping
            && let Ok(request) = self.requests.try_recv()
        {
            self.handle_request(request);
            self.settle();
        }
    }

    /// Carry out what the engine asks, and write what it has for guests, until there is nothing left of either.
    fn settle(&mut self) {
        loop {
            self.carry_out_all();
            if !self.guests.flush_dirty(&mut self.core) {
                return;
            }
        }
    }

    /// Carry out what the engine asks until there is nothing left of it.
    fn carry_out_all(&mut self) {
        loop {
            // Acknowledgements that came together drop bytes together.
            let mut dropped: Option<(FlowId, u32)> = None;
            while let Some(action) = self.core.engine.poll_action() {
                match (&action, &mut dropped) {
                    (Action::TcpDiscard { flow, bytes }, Some((same, sum))) if flow == same => *sum += bytes,
                    _ => {
                        self.flows.tcp_discard(&mut self.core, dropped.take());
                        if let Action::TcpDiscard { flow, bytes } = action {
                            dropped = Some((flow, bytes));
                        } else {
                            self.carry_out(action);
                        }
                    }
                }
            }
            self.flows.tcp_discard(&mut self.core, dropped);
            if !(self.flows.send_datagrams(&mut self.core) | self.forwards.send_datagrams(&mut self.core)) {
                return;
            }
        }
    }

    pub(crate) fn end_capture(&mut self) {
        self.capture = None;
        let now = self.core.now();
        if let Err(error) = self.core.engine.apply(now, Command::SetCapture(false)) {
            tracing::debug!("capture goes on in the engine: {error}");
        }
    }
}

/// A network with the host and nobody else asks nobody else, unless it is told to.
fn resolvers_of(options: &NetworkOptions) -> Option<Vec<SocketAddr>> {
    let nobody = || (options.mode() == Mode::Host).then(Vec::new);
    options.resolvers.clone().or_else(nobody)
}

fn open_leases(options: &NetworkOptions) -> Result<(Option<LeaseStore>, Leases), StartError> {
    let Some(folder) = &options.state_dir else {
        return Ok((None, Leases::default()));
    };
    let (store, leases) = LeaseStore::open(folder)?;
    Ok((Some(store), leases))
}

fn config(options: &NetworkOptions, resolvers: &Resolvers, leases: Leases) -> Result<Config, StartError> {
    let routed = Routed::of(options)?;
    let defaults = Config::new(routed.map_or(options.addresses, |routed| routed.addresses));
    let mode = routed.map_or(options.mode().into(), |_| atoll_engine::Mode::Routed);
    Ok(Config {
        mode,
        router: routed.and_then(|routed| routed.router),
        pinned_uplinks: uplink::is_pinned(options),
        routes: options.routes.clone(),
        joined: JoinSpec::numbered(&options.joined),
        gateway_mac: options.gateway_mac.unwrap_or(defaults.gateway_mac),
        mtu: options.mtu,
        host_loopback: options.host_loopback,
        host_ports: services::host_ports(&options.host_ports),
        isolate: options.isolate,
        domain: options.domain.clone(),
        names: options.names.clone(),
        leases: leases.v4,
        leases6: leases.v6,
        ntp: options.ntp.clone(),
        ntp6: options.ntp6.clone(),
        time_server: options.time_server,
        tftp: options.tftp.is_some(),
        net_boot: options.net_boot.clone(),
        dhcp_options: options.dhcp_options.clone(),
        dhcp_options_of: options.dhcp_options_of.clone(),
        dns: options.dns.clone(),
        lease_time: options.lease_time,
        resolvers: resolvers.servers().to_vec(),
        documents: options.documents.clone(),
        policy: options.policy.clone(),
        ..defaults
    })
}

/// The engine's secret.
fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}

/// The engine's bounds, where what it opens has to do with so many descriptors. Some are kept back for guests, forwards, files, and
/// questions to resolvers, each of which may be tried four times: three of eight where there are few, one of sixteen where there are many. So a
/// guest that opens all it can meets the flow table's bound, where its own flows make room, and the others find what they need.
pub(crate) fn limits(descriptors: u64) -> Limits {
    let most = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let kept = (most / 8 * 3).min((most / 16).max(2048));
    let defaults = Limits::default();
    Limits {
        flows: defaults.flows.min(most - kept),
        dns_queries: defaults.dns_queries.min((kept / 6).max(1)),
        ..defaults
    }
}

/// Every flow is a descriptor: use as many as we may. How many that is.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // What macOS grants at most (OPEN_MAX), though it reports no limit.
    const MODEST: u64 = 10_240;
    let limit = getrlimit(Resource::Nofile);
    for current in [limit.maximum, Some(MODEST)] {
        let raised = Rlimit {
            current,
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return current.unwrap_or(u64::MAX);
        }
    }
    tracing::debug!("the number of descriptors stays at {:?}", limit.current);
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_and_questions_leave_descriptors_for_the_rest() {
        for descriptors in [64, 128, 256, 1024, 20_000, 1 << 20, u64::MAX] {
            let limits = limits(descriptors);
            let taken = limits.flows + 4 * limits.dns_queries;
            let left = descriptors - taken as u64;
            assert!(left >= (descriptors / 8).min(512), "{descriptors}: {limits:?}");
        }
        let (many, usual) = (limits(u64::MAX), Limits::default());
        assert_eq!((many.flows, many.dns_queries), (usual.flows, usual.dns_queries));
    }
}
