//! The network, sans-IO.
//!
//! An [`Engine`] is one L2 segment with its gateway: a switch, its ports, the services on it, and the flows that
//! translate guests' conversations to host sockets. It does no I/O, reads no clock and draws no randomness of its own:
//! time and seed are arguments, so the same seed and inputs give the same actions.
//!
//! ```text
//! handle_frame  ─┐                                   ┌─ poll_action: what the runtime shall do
//! handle_event  ─┤   switch ── gateway ── services   ├─ poll_timeout: when to call handle_timeout
//! handle_timeout ┤                 └───── flows      ├─ egress, tcp_outgoing: what to write, borrowed
//! apply         ─┘                                   └─ snapshot: a picture for people
//! ```
//!
//! Readiness, not data, crosses the boundary for streams: [`Action::TcpSend`] says that [`Engine::tcp_outgoing`] has
//! bytes, and the runtime writes them to the socket from the guest's own frames; [`Action::TcpPeek`] asks the runtime
//! to read a socket straight into the frames that will carry the bytes. Ports are served in the same way.
//!
//! After every input the runtime polls actions until there is none.

#![forbid(unsafe_code)]

mod action;
mod boot;
mod clock;
mod collect;
mod command;
mod config;
mod counters;
mod dhcp_options;
mod event;
mod flow;
mod gateway;
mod ids;
mod lan;
mod policy;
mod reads;
mod rng;
mod services;
mod snapshot;
mod switch;
mod time;

pub use action::{Action, Notice};
pub use atoll_wire::Family;
pub use boot::{BootClient, NetBoot};
pub use clock::{ClockReading, ClockState, Leap, TimeServer};
pub use command::{Command, CommandError, ForwardTarget, Router};
pub use config::{
    Addresses, Config, DnsOptions, Documents, HostPort, HostTarget, JoinedNetwork, Lease, Lease6, Limits,
    Mode, Prefix, ServiceTarget, StaticLease, StaticRoute, Subnet,
};
pub use dhcp_options::DhcpOptions;
pub use event::{Datagrams, Event, FileError, HostError, PortConfig, Side};
pub use gateway::joined::RoutedPacket;
pub use ids::{AcceptId, FlowId, ForwardId, JoinId, PortId, QueryId, TransferId, WatchId};
pub use policy::{
    Destination, GuestLimits, GuestPolicy, NamePattern, Network, Policy, PortPolicySnapshot, Rule, Transport,
    Verdict, Who,
};
pub use services::listening::{AGENT, Listening};
pub use services::ntp::ClockQuestion;
pub use snapshot::{FlowSnapshot, PortSnapshot, Snapshot};
pub use time::Instant;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_wire::{Frame, Mac};

use counters::Counter;
use flow::Flows;
use gateway::fragments::Fragments;
use gateway::roll_call::RollCall;
use gateway::router::Advertiser;
use gateway::train::{self, Train};
use lan::Lan;
use rng::Rng;
use services::dhcp::DhcpServer;
use services::dhcp6::Dhcp6Server;
use services::dns::DnsService;
use services::listening::Watches;
use services::names::{NameView, Names};
use services::ntp::NtpServer;
use services::tftp::TftpServer;

/// One network.
#[derive(Debug)]
pub struct Engine {
    lan: Lan,
    flows: Flows,
    names: Names,
    dhcp: DhcpServer,
    dhcp6: Dhcp6Server,
    dns: DnsService,
    ntp: NtpServer,
    tftp: TftpServer,
    router: Advertiser,
    roll_call: RollCall,
    watches: Watches,
    /// Ways by guests into other networks.
    routes: Vec<StaticRoute>,
    /// Packets of which parts are missing.
    fragments: Fragments,
    /// What the latest frame established for the next.
    train: Option<Train>,
}

impl Engine {
    /// A network without ports. What the configuration says of addresses does not count where the network is bridged. `seed` is secret: sequence numbers and table hashes are keyed with it.
    #[must_use]
    pub fn new(config: &Config, seed: [u8; 32]) -> Self {
        let Addresses { subnet, prefix: ipv6 } = config.addresses();
        let config = &Config {
            subnet,
            ipv6,
            ..config.clone()
        };
        let mut rng = Rng::new(seed);
        let hash = rng.keyed_hash();
        let dns_seed = rng.fork();
        let mut engine = Self {
            flows: Flows::new(config, hash),
            names: Names::new(config),
            dhcp: DhcpServer::new(config),
            dhcp6: Dhcp6Server::new(config),
            dns: DnsService::new(config, dns_seed),
            ntp: NtpServer::new(config),
            tftp: TftpServer::new(config),
            router: Advertiser::new(config),
            roll_call: RollCall::default(),
            watches: Watches::default(),
            routes: config.routes.clone(),
            lan: Lan::new(config, rng),
            fragments: Fragments::default(),
            train: None,
        };
        for lease in &config.static_leases {
            engine.note_station(lease);
        }
        engine.furnish(config);
        engine
    }

    /// What the policy means to the services: nobody is leased what others may use in turns, and a network without an outside asks
    /// nobody.
    fn furnish(&mut self, config: &Config) {
        for address in config.policy.extra_hosts() {
            match address {
                IpAddr::V4(address) => self.dhcp.withhold(address, config.gateway_mac),
                IpAddr::V6(address) => self.dhcp6.withhold(address, config.gateway_mac),
            }
        }
        if config.policy.internal {
            self.dns.set_resolvers(Instant::ZERO, Vec::new());
        }
    }

    /// Frames that wait for a port, first to go first. A frame leaves the queue by [`Event::Transmitted`].
    #[must_use]
    pub fn egress(&self, port: PortId) -> &VecDeque<Frame> {
        self.lan.switch.egress(port)
    }

    /// Bytes that a flow's host socket is to be given, in order, as slices of the frames in which they came.
    pub fn tcp_outgoing(&self, flow: FlowId) -> impl ExactSizeIterator<Item = &[u8]> {
        self.flows.outgoing(flow)
    }

    /// Dynamic leases that have not expired at `now`.
    #[must_use]
    pub fn leases(&self, now: Instant) -> Vec<Lease> {
        self.dhcp.leases(now)
    }

    /// Leases of IPv6 that have not expired at `now`.
    #[must_use]
    pub fn leases6(&self, now: Instant) -> Vec<Lease6> {
        self.dhcp6.leases(now)
    }

    /// The address that DHCP would offer to this MAC address; `None` when none is left.
    #[must_use]
    pub fn address_for(&self, now: Instant, mac: Mac) -> Option<Ipv4Addr> {
        self.dhcp.address_for(now, mac)
    }

    /// The address that DHCPv6 would offer to this MAC address; `None` where that follows from what the guest says of
    /// itself, because somebody else has the address that goes with its IPv4 address.
    #[must_use]
    pub fn address6_for(&self, now: Instant, mac: Mac) -> Option<Ipv6Addr> {
        self.dhcp6.address_for(mac, self.address_for(now, mac))
    }

    /// A picture of the network as it stands at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let mut ports = self.lan.switch.snapshot(now);
        for port in &mut ports {
            if port.side != Side::Guest {
                continue;
            }
            port.addresses = port
                .macs
                .iter()
                .flat_map(|&mac| self.lan.neighbors.addresses_of(mac))
                .collect();
            port.policy = self.lan.firewall.snapshot(port.port);
        }
        let mut counters = self.lan.counters.all();
        counters.extend(self.dhcp.counters());
        counters.extend(self.dhcp6.counters());
        counters.extend(self.dns.counters());
        counters.extend(self.ntp.counters());
        counters.extend(self.tftp.counters());
        Snapshot {
            ports,
            leases: self.dhcp.leases(now),
            leases6: self.dhcp6.leases(now),
            names: self.name_view().all(),
            flows: self.flows.snapshot(),
            conversations: self.lan.joined.count(),
            counters,
        }
    }

    /// A frame came from a port.
    pub fn handle_frame(&mut self, now: Instant, port: PortId, frame: Frame) {
        if self.lan.firewall.has_limits() && !self.lan.takes_from(now, port, &frame) {
            return;
        }
        let Err(frame) = train::follow(self, now, port, frame) else {
            return;
        };
        self.train = None;
        gateway::handle_frame(self, now, port, frame);
        self.collect(now);
    }

    /// Something happened on the host.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        self.train = None;
        let lan = &mut self.lan;
        lan.clock = now;
        let (names, dhcp, dhcp6) = (&self.names, &self.dhcp, &self.dhcp6);
        let resolve = |lan: &Lan, name: &str| {
            let view = NameView {
                names,
                dhcp,
                dhcp6,
                heard: &lan.neighbors,
            };
            let station = lan.address_of_station(now, name);
            station
                .map(|address| vec![address])
                .or_else(|| view.look_up(name))
        };
        match event {
            Event::PortAttached { port, port_config } => {
                let is_guest = port_config.side == Side::Guest;
                let label = port_config.label.as_deref();
                lan.firewall.attach(port, label);
                let group = lan.firewall.group_of(label);
                lan.switch.attach(port, port_config, group);
                gateway::ask_for_uplinks(lan);
                if is_guest {
                    self.router.handle_attached(now, lan);
                    self.roll_call.handle_attached(now, lan);
                }
            }
            Event::PortDetached(port) => {
                lan.switch.detach(port);
                lan.firewall.detach(port);
                lan.joined.forget_port(port);
                gateway::ask_for_uplinks(lan);
                self.fragments.forget_port(port);
                self.ntp.forget_port(port);
                self.tftp.forget_port(port);
                self.watches.handle_detached(now, port);
                self.flows.handle_room(now, lan, port);
            }
            Event::Transmitted { port, frames } => {
                if lan.switch.transmitted(port, frames) {
                    self.flows.handle_room(now, lan, port);
                }
            }
            Event::TcpAccepted {
                forward,
                accept,
                peer,
            } => {
                let led = self
                    .flows
                    .handle_accepted(now, lan, (forward, accept, peer), &resolve);
                if !led {
                    self.roll_call.handle_wanted(now, lan);
                }
            }
            Event::TcpDialled {
                accept,
                peer,
                guest,
                port,
            } => {
                let found = guest.addresses(lan, &resolve);
                if found.is_none() {
                    self.roll_call.handle_wanted(now, lan);
                }
                self.flows.handle_dial(now, lan, (accept, peer), (found, port));
            }
            Event::TcpWithdrawn(accept) => self.flows.handle_withdrawn(now, lan, accept),
            Event::UdpForwarded {
                forward,
                from,
                datagrams,
            } => {
                self.flows
                    .handle_forwarded(now, lan, (forward, from, datagrams), &resolve);
            }
            Event::UdpOverflow { sent, received } => {
                lan.counters.add(Counter::HostSendDropped, sent);
                lan.counters.add(Counter::HostReceiveDropped, received);
            }
            Event::Routed { from, packet } => gateway::joined::handle_routed(lan, now, from, packet),
            Event::RouteLost(lost) => gateway::joined::tell_unreachable(lan, now, &lost.packet),
            Event::DnsAnswered { query, message } => self.dns.handle_answer(now, query, &message),
            Event::DnsFailed(query) => self.dns.handle_failure(now, query),
            Event::FileOpened { transfer, size } => self.tftp.handle_opened(now, transfer, size),
            Event::FileRead { transfer, data } => self.tftp.handle_data(now, transfer, data),
            Event::FileFailed { transfer, error } => self.tftp.handle_failed(transfer, error),
            Event::ClockRead { question, reading } => {
                let (from, to, message) = self.ntp.answer(&question, &reading);
                let answer = atoll_wire::FrameBuf::copy_from(&message).into();
                lan.send_udp(now, (from, to), answer, false);
            }
            other => self.flows.handle_event(now, lan, other),
        }
        self.collect(now);
    }

    /// The time of [`Engine::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.train = None;
        self.lan.clock = now;
        self.lan.handle_timeout(now);
        gateway::handle_timeout(self, now);
        self.router.handle_timeout(now, &mut self.lan);
        self.roll_call.handle_timeout(now, &mut self.lan);
        self.dhcp.handle_timeout(now);
        self.dhcp6.handle_timeout(now);
        self.dns.handle_timeout(now);
        self.tftp.handle_timeout(now);
        self.flows.handle_timeout(now, &mut self.lan);
        for (watch, ports) in self.watches.handle_timeout(now) {
            self.lan.actions.push_back(Action::Listening { watch, ports });
        }
        self.collect(now);
    }

    /// A person or script wants a change.
    ///
    /// # Errors
    /// Refused without effect when the command contradicts the network's configuration.
    pub fn apply(&mut self, now: Instant, command: Command) -> Result<(), CommandError> {
        self.train = None;
        self.lan.clock = now;
        match command {
            Command::AddForward { forward, guest, port } => {
                for address in guest.fixed_addresses() {
                    self.check_guest_address(address)?;
                }
                if !self.flows.add_forward(forward, guest, port) {
                    return Err(CommandError::DuplicateForward(forward));
                }
            }
            Command::KeepSource(forward) => self.flows.keep_source(forward),
            Command::RemoveForward(forward) => self.flows.remove_forward(forward),
            Command::Watch { watch, guest } => {
                for address in guest.fixed_addresses() {
                    self.check_guest_address(address)?;
                }
                self.watches.add(watch, guest);
                self.flows.take_reports(true);
            }
            Command::Unwatch(watch) => {
                self.watches.remove(watch);
                self.flows.take_reports(!self.watches.is_empty());
            }
            Command::SetResolvers(resolvers) if !self.lan.firewall.is_internal() => {
                self.dns.set_resolvers(now, resolvers);
            }
            Command::SetResolvers(_) => {}
            Command::SetHostAddresses(addresses) => self.lan.firewall.set_host_addresses(&addresses),
            Command::SetStaticLease(lease) => {
                self.note_station(&lease);
                if self.lan.mode == Mode::Bridged {
                    return Ok(());
                }
                self.dhcp6.check_static_lease(&lease)?;
                self.dhcp.set_static_lease(now, lease.clone())?;
                self.dhcp6.set_static_lease(now, &lease)?;
            }
            Command::RemoveStaticLease(mac) => {
                self.lan.stations.retain(|_, named| *named != mac);
                self.dhcp.remove_static_lease(mac);
                self.dhcp6.remove_static_lease(mac);
            }
            Command::SetDhcpOptions { mac, options } => {
                self.dhcp.set_options(mac, &options);
                self.dhcp6.set_options(mac, &options);
            }
            Command::SetName { name, addresses } => self.names.set(&name, &addresses),
            Command::SetDocuments { label, documents } => self.flows.set_documents(label, documents),
            Command::SetRouter(router) => self.router.set_router(now, &mut self.lan, router),
            Command::SetCapture(capture) => self.lan.capture = capture,
            Command::Shutdown => self.router.handle_shutdown(now, &mut self.lan),
        }
        self.collect(now);
        Ok(())
    }

    /// The next thing the runtime shall do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.lan.actions.pop_front()
    }

    /// When [`Engine::handle_timeout`] is to be called, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timeouts = [
            self.lan.neighbors.poll_timeout(),
            self.fragments.poll_timeout(),
            self.router.poll_timeout(),
            self.roll_call.poll_timeout(),
            self.watches.poll_timeout(),
            self.dhcp.poll_timeout(),
            self.dhcp6.poll_timeout(),
            self.dns.poll_timeout(),
            self.tftp.poll_timeout(),
            self.flows.poll_timeout(),
        ];
        timeouts.into_iter().flatten().min()
    }

    fn check_guest_address(&self, address: IpAddr) -> Result<(), CommandError> {
        if self.lan.is_for_guests(address) {
            return Ok(());
        }
        let network = self.lan.addresses;
        Err(CommandError::NotAGuestAddress { address, network })
    }

    /// A guest of a bridged network gets its name from whoever configures the network: DHCP, which gives the others theirs, is the LAN's.
    fn note_station(&mut self, lease: &StaticLease) {
        if let (Mode::Bridged, Some(name)) = (self.lan.mode, &lease.hostname) {
            self.lan.stations.insert(name.to_ascii_lowercase(), lease.mac);
        }
    }
}
