//! What handles ask, answered on the loop's thread.

use atoll_engine::{Addresses, Command, Side};

use crate::event_loop::EventLoop;
use crate::handle::{Reply, Request};
use crate::{
    FlowInfo, LeaseInfo, ListenSpec, ListenerInfo, NameInfo, NetworkSnapshot, PortInfo, RequestError,
};

impl EventLoop {
    pub(crate) fn handle_request(&mut self, request: Request) {
        match request {
            Request::Snapshot(reply) => answer(&reply, self.snapshot()),
            Request::AddForward(spec, reply) => answer(&reply, self.forwards.add(&mut self.core, spec)),
            Request::RemoveForward(id, reply) => answer(&reply, self.forwards.remove(&mut self.core, id)),
            Request::SetAutomatic(guest, specs, reply) => {
                let (core, forwards) = (&mut self.core, &mut self.forwards);
                answer(&reply, self.automatic.set(core, forwards, (&guest, specs)));
            }
            Request::Forwards(reply) => answer(&reply, self.forwards.list()),
            Request::Listen(spec, reply) => answer(&reply, self.listen(spec)),
            Request::Unlisten(path, reply) => {
                let found = self.guests.unlisten(&mut self.core, &path);
                answer(
                    &reply,
                    found.then_some(()).ok_or(RequestError::NotListening(path)),
                );
            }
            Request::AttachTap(spec, reply) => {
                let attached = self.guests.attach_tap(&mut self.core, &self.about, spec);
                answer(&reply, attached);
            }
            Request::RetireTap(port, reply) => answer(&reply, self.guests.retire_tap(port)),
            Request::DetachTap(port, reply) => {
                answer(&reply, self.guests.detach_tap(&mut self.core, port));
            }
            Request::PlanLink(wanted, reply) => {
                answer(&reply, self.host_link.plan(&mut self.core, &self.about, wanted));
            }
            Request::Link(spec, reply) => {
                let (core, guests) = (&mut self.core, &mut self.guests);
                answer(&reply, self.host_link.attach(core, guests, &self.about, *spec));
            }
            Request::Unlink(reply) => {
                answer(&reply, self.host_link.detach(&mut self.core, &mut self.guests));
            }
            Request::SetDocuments(label, documents, reply) => {
                answer(&reply, self.apply(Command::SetDocuments { label, documents }));
            }
            Request::SetStaticLease(lease, reply) => {
                answer(&reply, self.apply(Command::SetStaticLease(lease)));
            }
            Request::SetDhcpOptions(mac, options, reply) => {
                answer(&reply, self.apply(Command::SetDhcpOptions { mac, options }));
            }
            Request::SetName(name, addresses, reply) => {
                answer(&reply, self.apply(Command::SetName { name, addresses }));
            }
            Request::AddProxy(address, reply) => answer(&reply, self.proxies.listen(&self.core, address)),
            Request::RemoveProxy(address, reply) => answer(&reply, self.proxies.close(address)),
            Request::ServeProxyClient(stream, peer, reply) => {
                self.proxies.welcome(&self.core, stream, peer);
                answer(&reply, ());
            }
            Request::Shutdown => self.stopping = true,
        }
    }

    fn listen(&mut self, spec: ListenSpec) -> Result<ListenerInfo, RequestError> {
        Ok(self.guests.listen(&self.core, spec)?)
    }

    fn apply(&mut self, command: Command) -> Result<(), RequestError> {
        let now = self.core.now();
        let applied = self.core.engine.apply(now, command);
        applied.map_err(|error| RequestError::Refused(error.to_string()))
    }

    fn snapshot(&self) -> NetworkSnapshot {
        let picture = self.core.engine.snapshot(self.core.now());
        let Addresses { subnet, prefix } = self.about.addresses;
        let (of_taps, of_shared) = (self.guests.tap_counters(), self.guests.vhost_user_counters());
        let leases = picture.leases.into_iter().map(lease_info);
        let leases6 = picture.leases6.into_iter().map(lease6_info);
        let counters = picture.counters.iter().chain(&of_taps).chain(&of_shared);
        NetworkSnapshot {
            mode: self.about.mode,
            uplink: self.uplinks.info(),
            link: self.host_link.info(),
            subnet: subnet.map(|subnet| Addresses::from(subnet).to_string()),
            gateway: self.about.services4(),
            host_alias: self.about.host4(),
            ipv6: prefix.map(|prefix| Addresses::from(prefix).to_string()),
            gateway6: self.about.services6(),
            host_alias6: self.about.host6(),
            domain: self.about.domain.clone(),
            mtu: self.about.mtu,
            resolvers: self.resolvers.servers().to_vec(),
            listeners: self.guests.listeners(),
            forwards: self.forwards.list(),
            proxies: self.proxies.list(),
            host_ports: self.about.host_ports.clone(),
            ports: picture
                .ports
                .into_iter()
                .map(|port| self.port_info(port))
                .collect(),
            leases: leases.chain(leases6).collect(),
            names: picture
                .names
                .into_iter()
                .map(|(name, address)| NameInfo { name, address })
                .collect(),
            flows: picture.flows.iter().map(flow_info).collect(),
            counters: counters
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        }
    }

    fn port_info(&self, port: atoll_engine::PortSnapshot) -> PortInfo {
        PortInfo {
            id: port.port.0,
            label: port.label,
            endpoint: self.guests.endpoint(port.port).to_owned(),
            uplink: port.side != Side::Guest,
            macs: port.macs.iter().map(ToString::to_string).collect(),
            addresses: port.addresses,
            rx_frames: port.rx_frames,
            rx_bytes: port.rx_bytes,
            tx_frames: port.tx_frames,
            tx_bytes: port.tx_bytes,
            tx_dropped: port.tx_dropped,
            queued: port.queued,
            denied: port.policy.denied,
            spoofed: port.policy.spoofed,
            limited: port.policy.limited,
        }
    }
}

fn lease_info(lease: atoll_engine::Lease) -> LeaseInfo {
    LeaseInfo {
        mac: lease.mac.to_string(),
        address: lease.address.into(),
        hostname: lease.hostname,
        remaining_secs: lease.remaining.as_secs(),
    }
}

fn lease6_info(lease: atoll_engine::Lease6) -> LeaseInfo {
    LeaseInfo {
        mac: lease.mac.to_string(),
        address: lease.address.into(),
        hostname: lease.hostname,
        remaining_secs: lease.remaining.as_secs(),
    }
}

fn flow_info(flow: &atoll_engine::FlowSnapshot) -> FlowInfo {
    FlowInfo {
        id: flow.flow.as_u64(),
        protocol: flow.protocol.to_owned(),
        guest: flow.guest,
        host: flow.host,
        state: flow.state.to_owned(),
    }
}

/// Whoever asked may have gone; then nobody wants to know.
fn answer<T>(reply: &Reply<T>, value: T) {
    if reply.try_send(value).is_err() {
        tracing::debug!("nobody waits for an answer any more");
    }
}
