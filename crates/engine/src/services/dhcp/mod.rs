//! The DHCPv4 server of RFC 2131, the only one on its network.
//!
//! A client is its hardware address: `chaddr`, which must be the Ethernet source of the frame. The client identifier
//! (option 61) is echoed (RFC 6842) but names nobody: clones of one image share it, and would share an address.
//!
//! What comes and what is answered (RFC 2131 section 4.3):
//!
//! | message | answer |
//! |---|---|
//! | DISCOVER | OFFER; silence when no address is left |
//! | REQUEST, SELECTING: our server id | ACK, or NAK when the address is not for this client |
//! | REQUEST, SELECTING: another server id | silence; our offer is withdrawn |
//! | REQUEST, INIT-REBOOT: option 50, no server id | ACK; NAK for a foreign network or a wrong address; silence for a client we know nothing of |
//! | REQUEST, RENEWING or REBINDING: `ciaddr` | ACK, also when our table was lost and the address is free; else NAK |
//! | DECLINE | the address rests for a while |
//! | RELEASE | the address is free, and remembered for its owner |
//! | INFORM | ACK without an address |
//!
//! One port gets at most half of the pool, though never less than eight addresses: a guest that takes up leases with
//! invented MAC addresses starves no other port. A client whose port has its share hears nothing (`dhcp_over_share`).
//!
//! States and bounds of addresses are in [`leases`](super::leases). A static lease is never in that table: its address goes to its
//! owner and nobody else, whatever is asked for.
//!
//! Left out: relay agents (`giaddr` is dropped: there is one segment), BOOTP without option 53, RFC 4039 rapid commit,
//! and the probe before an offer (RFC 2131 section 2.2); a client that finds its address in use declines it.

mod pool;
mod reply;
mod request;
mod states;
mod statics;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use atoll_wire::Mac;
use dhcproto::v4::MessageType;

use self::pool::SubnetPool;
use self::reply::Parameters;
use self::request::{Dropped, Request};
use self::statics::{Static, Statics};
use super::leases::{self, Binding, Leases};
use super::names::{NameRules, is_label};
use crate::{CommandError, Config, DhcpOptions, Instant, Lease, Mode, Notice, PortId, StaticLease, Subnet};

/// Where a message came from, as the frame that carried it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// The port by which it came.
    pub(crate) ingress: PortId,
    /// The Ethernet source.
    pub(crate) mac: Mac,
    /// The IP source.
    pub(crate) src: Ipv4Addr,
}

/// A message for a client's port 68, from our port 67.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The UDP payload.
    pub(crate) message: Vec<u8>,
    /// Where it goes.
    pub(crate) to: ReplyTo,
}

/// Where a reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    /// To 255.255.255.255 and the Ethernet broadcast address.
    Broadcast,
    /// To one client, without ARP: it may not have the address yet.
    Unicast {
        /// IP destination.
        ip: Ipv4Addr,
        /// Ethernet destination.
        mac: Mac,
    },
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    malformed: u64,
    foreign: u64,
    exhausted: u64,
    over_share: u64,
    naks: u64,
    declined: u64,
}

/// The server.
#[derive(Debug)]
pub(crate) struct DhcpServer {
    subnet: Subnet,
    lease_time: Duration,
    parameters: Parameters,
    leases: Leases<SubnetPool>,
    statics: Statics,
    /// False until the first input: leases of an earlier run count from then.
    started: bool,
    changed: bool,
    counters: Counters,
    notices: VecDeque<Notice>,
    quiet_exhausted: Option<Instant>,
    quiet_declined: Option<Instant>,
}

impl DhcpServer {
    /// A server for a network. Leases of an earlier run go on from the first `now` that it hears; those that no
    /// longer fit the configuration are dropped, as are static leases on addresses that no guest can have.
    pub(crate) fn new(config: &Config) -> Self {
        // The host answers for what was configured, and for nothing else.
        let has_pool = config.mode != Mode::Routed;
        let mut server = Self {
            subnet: config.subnet.unwrap_or(Subnet::NONE),
            lease_time: config.lease_time.max(Duration::from_secs(1)),
            parameters: Parameters::new(config),
            leases: Leases::new(
                SubnetPool::new(config.subnet.filter(|_| has_pool).unwrap_or(Subnet::NONE)),
                config.limits.leases,
            ),
            statics: Statics::default(),
            started: false,
            changed: false,
            counters: Counters::default(),
            notices: VecDeque::new(),
            quiet_exhausted: None,
            quiet_declined: None,
        };
        for lease in &config.static_leases {
            let _ = server.enter_static(Instant::ZERO, lease.clone());
        }
        for lease in config.leases.iter().filter(|lease| !lease.remaining.is_zero()) {
            server.restore(lease);
        }
        server.changed = false;
        server
    }

    /// Dynamic leases that have not expired, by address.
    pub(crate) fn leases(&self, now: Instant) -> Vec<Lease> {
        let now = if self.started { now } else { Instant::ZERO };
        let lease = |(address, entry): (Ipv4Addr, &leases::Entry<Mac>)| {
            let remaining = entry.at.since(now);
            Some(Lease {
                mac: entry.owner?,
                address,
                hostname: entry.hostname.clone(),
                remaining,
            })
        };
        let leases = self.leases.bound().filter_map(lease);
        leases.filter(|lease| !lease.remaining.is_zero()).collect()
    }

    /// The station that has a host name (lower case), by static lease or because it gave itself that.
    pub(crate) fn owner_of_name(&self, name: &str) -> Option<Mac> {
        self.statics
            .owner_of_name(name)
            .or_else(|| self.leases.owner_of_name(name))
    }

    /// The host name of a station.
    pub(crate) fn name_of(&self, mac: Mac) -> Option<&str> {
        match self.statics.get(mac) {
            Some(entry) => entry.name(),
            None => self.bound(mac)?.1.hostname.as_deref(),
        }
    }

    /// The address of a station, by static lease or lease.
    pub(crate) fn address_of(&self, mac: Mac) -> Option<Ipv4Addr> {
        let fixed = self.statics.get(mac).map(|entry| entry.address);
        fixed.or_else(|| self.bound(mac).map(|(address, _)| address))
    }

    /// The station that has an address.
    pub(crate) fn owner_of(&self, address: Ipv4Addr) -> Option<Mac> {
        let leased = || self.leases.entry(address).filter(|entry| entry.is_bound());
        self.statics.owner_of(address).or_else(|| leased()?.owner)
    }

    /// The station that has a host name (lower case) by static lease.
    pub(crate) fn static_owner_of_name(&self, name: &str) -> Option<Mac> {
        self.statics.owner_of_name(name)
    }

    /// Host names with their stations. One that is configured may stand for a client's too.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, Mac)> {
        let mac = |address| self.leases.entry(address)?.owner;
        let learnt = self.leases.named();
        let learnt = learnt.filter_map(move |(name, address)| Some((name, mac(address)?)));
        learnt.chain(self.statics.names())
    }

    /// Lease an address to nobody: it is kept for a station that never asks.
    pub(crate) fn withhold(&mut self, address: Ipv4Addr, nobody: Mac) {
        self.changed |= self.leases.reserve(nobody, address);
    }

    /// What was counted, by name.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = self.counters;
        [
            ("dhcp_malformed", counters.malformed),
            ("dhcp_foreign", counters.foreign),
            ("dhcp_exhausted", counters.exhausted),
            ("dhcp_over_share", counters.over_share),
            ("dhcp_naks", counters.naks),
            ("dhcp_declined", counters.declined),
        ]
        .into_iter()
    }

    /// A message came to port 67. `rules` say which host names no client may take.
    pub(crate) fn handle_message(
        &mut self,
        now: Instant,
        client: Client,
        payload: &[u8],
        rules: NameRules<'_>,
    ) -> Option<Reply> {
        self.handle_timeout(now);
        let request = match Request::parse(payload, client) {
            Ok(request) => request,
            Err(dropped) => {
                match dropped {
                    Dropped::Malformed => self.counters.malformed += 1,
                    Dropped::Foreign => self.counters.foreign += 1,
                }
                return None;
            }
        };
        match request.kind {
            MessageType::Discover => self.handle_discover(now, &request, rules),
            MessageType::Request => self.handle_request(now, &request, rules),
            MessageType::Inform => self.handle_inform(client, &request),
            MessageType::Decline => {
                self.handle_decline(now, &request);
                None
            }
            MessageType::Release => {
                self.handle_release(now, &request);
                None
            }
            _ => {
                self.counters.malformed += 1;
                None
            }
        }
    }

    /// The time of [`DhcpServer::poll_timeout`] has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if !self.started {
            self.started = true;
            self.leases.shift(now.elapsed());
        }
        self.changed |= self.leases.expire(now);
    }

    /// An address belongs to a MAC address for good; replaces the MAC's earlier one. Whoever has the address by lease
    /// is told at its next renewal.
    pub(crate) fn set_static_lease(&mut self, now: Instant, lease: StaticLease) -> Result<(), CommandError> {
        self.handle_timeout(now);
        self.enter_static(now, lease)
    }

    /// What a MAC address had for good is an address like any other.
    pub(crate) fn remove_static_lease(&mut self, mac: Mac) {
        if let Some(entry) = self.statics.remove(mac) {
            let _ = self.leases.unreserve(entry.address);
        }
    }

    /// The address that a client would be offered that asks for none.
    pub(crate) fn address_for(&self, now: Instant, mac: Mac) -> Option<Ipv4Addr> {
        let fixed = self.statics.get(mac).map(|entry| entry.address);
        // By which port it would come makes no difference to which it is.
        let wish = pool::wish(mac, PortId(0), None);
        fixed.or_else(|| self.leases.choose(now, &wish))
    }

    /// What a guest is told beside what all are told; it hears of a change when it asks next.
    pub(crate) fn set_options(&mut self, mac: Mac, options: &DhcpOptions) {
        self.parameters.set_options(mac, options);
    }

    /// Whether leases changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The next thing for the log. Bounded in rate.
    pub(crate) fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// When [`DhcpServer::handle_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let next = self.leases.next_expiry();
        if self.started {
            next
        } else {
            next.map(|_| Instant::ZERO)
        }
    }

    /// The lease of a station.
    fn bound(&self, mac: Mac) -> Option<(Ipv4Addr, &leases::Entry<Mac>)> {
        self.leases.addresses_of(mac).find(|(_, entry)| entry.is_bound())
    }

    fn enter_static(&mut self, now: Instant, lease: StaticLease) -> Result<(), CommandError> {
        let StaticLease {
            mac,
            address: Some(address),
            hostname,
            ..
        } = lease
        else {
            return Ok(());
        };
        if !self.subnet.is_for_guests(address) {
            return Err(CommandError::NotAGuestAddress {
                address: address.into(),
                network: self.subnet.into(),
            });
        }
        if self.statics.owner_of(address).is_some_and(|owner| owner != mac) {
            return Err(CommandError::AddressTaken {
                address: address.into(),
            });
        }
        let hostname = hostname
            .map(|name| name.to_ascii_lowercase())
            .filter(|name| is_label(name));
        let entry = Static {
            address,
            hostname,
            learnt: None,
        };
        if let Some(earlier) = self.statics.insert(mac, entry) {
            let _ = self.leases.unreserve(earlier.address);
        }
        self.changed |= self.leases.forget(now, mac);
        self.changed |= self.leases.reserve(mac, address);
        Ok(())
    }

    fn restore(&mut self, lease: &Lease) {
        if self.statics.get(lease.mac).is_some() || self.leases.address_of(lease.mac).is_some() {
            return;
        }
        let binding = Binding {
            owner: lease.mac,
            address: lease.address,
            until: Instant::ZERO + lease.remaining,
            hostname: lease.hostname.clone().filter(|name| is_label(name)),
            via: None,
        };
        // One that no longer fits is dropped.
        let _ = self.leases.try_bind(Instant::ZERO, binding);
    }
}
