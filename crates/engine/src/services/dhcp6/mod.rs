//! The DHCPv6 server of RFC 8415, the only one on its network.
//!
//! A client is a station's MAC address, the Ethernet source of the frame, and the IAID of one of its identity
//! associations. The DUID is echoed but names nobody: clones of one image share it, and would share an address.
//!
//! What comes and what is answered (RFC 8415 section 18.3):
//!
//! | message | answer |
//! |---|---|
//! | SOLICIT | ADVERTISE with preference 255; REPLY when rapid commit is asked for |
//! | REQUEST | REPLY: the address offered; NotOnLink for one of another network |
//! | RENEW, REBIND | REPLY: the address anew, also when our table was lost; what it cannot keep gets lifetimes of zero |
//! | CONFIRM | REPLY: Success or NotOnLink; silence when it names no address |
//! | RELEASE, DECLINE | REPLY: Success; NoBinding for each association that has not what it names |
//! | INFORMATION-REQUEST | REPLY without addresses |
//!
//! Associations for temporary addresses are told NoAddrsAvail, those for prefixes NoPrefixAvail. What must go to
//! ff02::1:2 but came to our own address is told UseMulticast, or dropped where the RFC says so (section 16).
//!
//! **Which address.** People should be able to guess it: a machine with 10.77.0.10 in 10.77.0.0/24 gets
//! `prefix::10`, the octets behind the whole octets of the subnet's prefix as they are written (10.77.3.10 in
//! 10.77.0.0/16: `prefix::3:10`). That is the station's main address; where the static lease names another, it is
//! that. It goes to the first association in a message and moves with it: the system that a machine boots next has an
//! IAID of its own, and the address is the machine's. Further associations, and stations whose main address is taken,
//! get one below `prefix::d:0:0` by a hash of MAC address and IAID. All of these have a first group of zero behind the
//! prefix, which autoconfigured addresses do not. [`pool`] has the details.
//!
//! Bounds: [`IAS_MAX`] associations a station; the rest is that of [`leases`](super::leases), shares of ports included.
//!
//! Left out: relay agents (there is one segment), Reconfigure, authentication, leasequery.

mod hostnames;
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
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use atoll_wire::Mac;

use self::pool::{Ia, PrefixPool};
use self::reply::Parameters;
use self::request::Request;
use self::statics::{Static, Statics};
use super::leases::{Binding, Leases, Wish};
use super::names::{NameRules, is_label};
use crate::{
    CommandError, Config, DhcpOptions, Instant, Lease6, Mode, Notice, PortId, Prefix, StaticLease, Subnet,
};

/// Associations with an address that one station may have at a time.
const IAS_MAX: usize = 4;

/// Where a message came from, as the frame that carried it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client6 {
    /// The port by which it came.
    pub(crate) ingress: PortId,
    /// The Ethernet source.
    pub(crate) mac: Mac,
    /// The IP source.
    pub(crate) src: Ipv6Addr,
    /// It came to the gateway's own address, not to ff02::1:2.
    pub(crate) unicast: bool,
    /// What the DHCPv4 server gave or would give this station.
    pub(crate) address4: Option<Ipv4Addr>,
}

/// A message for a client's port 546, from our port 547. It goes to the MAC address that asked, without NDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply6 {
    /// IP destination.
    pub(crate) to: Ipv6Addr,
    /// The UDP payload.
    pub(crate) message: Vec<u8>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    malformed: u64,
    foreign: u64,
    unicast: u64,
    exhausted: u64,
    over_share: u64,
    declined: u64,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Dhcp6Server {
    /// Without a prefix nothing is answered.
    prefix: Option<Prefix>,
    /// Whose addresses have counterparts of IPv6.
    subnet: Option<Subnet>,
    lease_time: Duration,
    parameters: Parameters,
    leases: Leases<PrefixPool>,
    statics: Statics,
    /// False until the first input: leases of an earlier run count from then.
    started: bool,
    changed: bool,
    counters: Counters,
    notices: VecDeque<Notice>,
    quiet_exhausted: Option<Instant>,
    quiet_declined: Option<Instant>,
}

impl Dhcp6Server {
    /// A server for a network. Leases of an earlier run go on from the first `now` that it hears; those that no
    /// longer fit the configuration are dropped, as are static leases on addresses that no guest can have.
    pub(crate) fn new(config: &Config) -> Self {
        // The host answers for what was configured, and for nothing else.
        let has_pool = config.mode != Mode::Routed;
        let mut server = Self {
            prefix: config.ipv6,
            subnet: config.subnet.filter(|_| has_pool),
            lease_time: config.lease_time.max(Duration::from_secs(1)),
            parameters: Parameters::new(config),
            leases: Leases::new(
                PrefixPool::new(config.ipv6.filter(|_| has_pool)),
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
            let _ = server.enter_static(Instant::ZERO, lease);
        }
        for lease in server.leases.in_order(&config.leases6, |lease| lease.address) {
            if !lease.remaining.is_zero() {
                server.restore(lease);
            }
        }
        server.changed = false;
        server
    }

    /// Leases that have not expired, by address; those of static addresses too, once their owner has asked for them.
    pub(crate) fn leases(&self, now: Instant) -> Vec<Lease6> {
        let now = if self.started { now } else { Instant::ZERO };
        let leases = self.leases.bound().filter_map(|(address, entry)| {
            let Ia { mac, iaid } = entry.owner?;
            Some(Lease6 {
                mac,
                iaid,
                address,
                hostname: entry.hostname.clone(),
                remaining: entry.at.since(now),
            })
        });
        leases.filter(|lease| !lease.remaining.is_zero()).collect()
    }

    /// The station that has a host name (lower case), by static lease or because it gave itself that.
    pub(crate) fn owner_of_name(&self, name: &str) -> Option<Mac> {
        let leased = || self.leases.owner_of_name(name).map(|owner| owner.mac);
        self.statics.owner_of_name(name).or_else(leased)
    }

    /// The station that has a host name (lower case) by static lease.
    pub(crate) fn static_owner_of_name(&self, name: &str) -> Option<Mac> {
        self.statics.owner_of_name(name)
    }

    /// Host names with their stations. One that is configured may stand for a client's too.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, Mac)> {
        let mac = |address| Some(self.leases.entry(address)?.owner?.mac);
        let learnt = self.leases.named();
        let learnt = learnt.filter_map(move |(name, address)| Some((name, mac(address)?)));
        learnt.chain(self.statics.names())
    }

    /// The host name of a station.
    pub(crate) fn name_of(&self, mac: Mac) -> Option<&str> {
        let fixed = self.statics.get(mac).and_then(|entry| entry.hostname.as_deref());
        fixed.or_else(|| self.learnt_name_of(mac))
    }

    /// The host name that a station gave itself.
    fn learnt_name_of(&self, mac: Mac) -> Option<&str> {
        let mut leases = self.leases.addresses_of(mac);
        leases.find_map(|(_, entry)| entry.hostname.as_deref())
    }

    /// The address of a station: that of its static lease, else one that it has by lease; then the one that has its
    /// host name.
    pub(crate) fn address_of(&self, mac: Mac) -> Option<Ipv6Addr> {
        let fixed = self.statics.get(mac).filter(|entry| entry.configured);
        let leased = self
            .leases
            .addresses_of(mac)
            .filter(|(_, entry)| entry.is_bound());
        let leased = || leased.min_by_key(|(_, entry)| entry.hostname.is_none());
        fixed
            .map(|entry| entry.address)
            .or_else(|| leased().map(|(address, _)| address))
    }

    /// The station that has an address by static lease or lease.
    pub(crate) fn owner_of(&self, address: Ipv6Addr) -> Option<Mac> {
        let leased = || self.leases.entry(address).filter(|entry| entry.is_bound());
        self.statics
            .configured_owner_of(address)
            .or_else(|| leased()?.owner.map(|owner| owner.mac))
    }

    /// Whether an address from `first` to `last` is leased. Says yes when there are too many to look at.
    pub(crate) fn has_lease_between(&self, first: Ipv6Addr, last: Ipv6Addr) -> bool {
        self.statics.has_between(first, last) || self.leases.has_bound_between(first, last)
    }

    /// Lease an address to nobody: it is kept for a station that never asks.
    pub(crate) fn withhold(&mut self, address: Ipv6Addr, nobody: Mac) {
        self.changed |= self.leases.reserve(nobody, address);
    }

    /// What was counted, by name.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = self.counters;
        [
            ("dhcp6_malformed", counters.malformed),
            ("dhcp6_foreign", counters.foreign),
            ("dhcp6_unicast", counters.unicast),
            ("dhcp6_exhausted", counters.exhausted),
            ("dhcp6_over_share", counters.over_share),
            ("dhcp6_declined", counters.declined),
        ]
        .into_iter()
    }

    /// A message came to port 547. `rules` say which host names no client may take.
    pub(crate) fn handle_message(
        &mut self,
        now: Instant,
        client: Client6,
        payload: &[u8],
        rules: NameRules<'_>,
    ) -> Option<Reply6> {
        let prefix = self.prefix?;
        self.handle_timeout(now);
        let on_link = client.src.is_unicast_link_local() || self.is_guest_address(client.src);
        let request = match Request::parse(payload) {
            Some(request) if client.mac.is_station() && on_link => request,
            _ => {
                self.counters.malformed += 1;
                return None;
            }
        };
        let context = states::Context {
            now,
            client,
            prefix,
            request: &request,
            rules,
        };
        self.answer(&context).map(|message| Reply6 {
            to: client.src,
            message,
        })
    }

    /// The time of [`Dhcp6Server::poll_timeout`] has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if !self.started {
            self.started = true;
            self.leases.shift(now.elapsed());
        }
        self.changed |= self.leases.expire(now);
    }

    /// Whether [`Dhcp6Server::set_static_lease`] would take this.
    pub(crate) fn check_static_lease(&self, lease: &StaticLease) -> Result<(), CommandError> {
        let Some(address) = lease.address6 else {
            return Ok(());
        };
        if !self.is_guest_address(address) {
            let network = crate::Addresses {
                subnet: self.subnet,
                prefix: self.prefix,
            };
            let address = address.into();
            return Err(CommandError::NotAGuestAddress { address, network });
        }
        let owner = self.statics.configured_owner_of(address);
        if owner.is_some_and(|owner| owner != lease.mac) {
            let address = address.into();
            return Err(CommandError::AddressTaken { address });
        }
        Ok(())
    }

    /// An address belongs to a MAC address for good: the one named, else the one that goes with the IPv4 address;
    /// replaces the MAC's earlier one. Whoever has the address by lease is told at its next renewal.
    pub(crate) fn set_static_lease(&mut self, now: Instant, lease: &StaticLease) -> Result<(), CommandError> {
        self.handle_timeout(now);
        self.enter_static(now, lease)
    }

    /// What a MAC address had for good is an address like any other.
    pub(crate) fn remove_static_lease(&mut self, mac: Mac) {
        if let Some(entry) = self.statics.remove(mac) {
            self.changed |= self.leases.unreserve(entry.address);
        }
    }

    /// The address that a station has or would be offered first; `None` where that follows from the IAID that it will
    /// name. `address4` is its IPv4 address.
    pub(crate) fn address_for(&self, mac: Mac, address4: Option<Ipv4Addr>) -> Option<Ipv6Addr> {
        let main = self.main_address(mac, address4);
        let main = main.filter(|main| self.leases.is_available_to(mac, *main));
        let reserved = main.filter(|_| self.statics.get(mac).is_some());
        reserved.or_else(|| self.address_of(mac)).or(main)
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

    /// When [`Dhcp6Server::handle_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let next = self.leases.next_expiry();
        if self.started {
            next
        } else {
            next.map(|_| Instant::ZERO)
        }
    }

    /// The address that a station should have.
    fn main_address(&self, mac: Mac, address4: Option<Ipv4Addr>) -> Option<Ipv6Addr> {
        let fixed = self.statics.get(mac).map(|entry| entry.address);
        fixed.or_else(|| self.counterpart(address4?))
    }

    /// The address that goes with an IPv4 address of the network.
    fn counterpart(&self, address4: Ipv4Addr) -> Option<Ipv6Addr> {
        let subnet = self.subnet.filter(|subnet| subnet.contains(address4))?;
        pool::counterpart(self.prefix?, subnet, address4)
    }

    fn is_guest_address(&self, address: Ipv6Addr) -> bool {
        self.prefix
            .is_some_and(|prefix| pool::is_guest_address(prefix, address))
    }

    fn enter_static(&mut self, now: Instant, lease: &StaticLease) -> Result<(), CommandError> {
        self.check_static_lease(lease)?;
        let implied = lease.address.and_then(|address| self.counterpart(address));
        let implied =
            implied.filter(|address| self.statics.owner_of(*address).is_none_or(|mac| mac == lease.mac));
        let address = lease.address6.or(implied);
        let earlier = self.statics.remove(lease.mac).map(|entry| entry.address);
        if let Some(earlier) = earlier.filter(|earlier| Some(*earlier) != address) {
            self.changed |= self.leases.unreserve(earlier);
        }
        let Some(address) = address else {
            return Ok(());
        };
        // One that only goes with an IPv4 address yields to one that was named.
        if let Some(other) = self.statics.owner_of(address) {
            self.statics.remove(other);
        }
        let hostname = lease.hostname.as_deref().map(str::to_ascii_lowercase);
        let entry = Static {
            address,
            configured: lease.address6.is_some(),
            hostname: hostname.filter(|name| is_label(name)),
        };
        self.statics.insert(lease.mac, entry);
        self.changed |= self.leases.forget_all_but(now, lease.mac, address);
        self.changed |= self.leases.reserve(lease.mac, address);
        Ok(())
    }

    fn restore(&mut self, lease: &Lease6) {
        let owner = Ia {
            mac: lease.mac,
            iaid: lease.iaid,
        };
        if self.leases.address_of(owner).is_some() || self.ias_of(owner) >= IAS_MAX {
            return;
        }
        let binding = Binding {
            owner,
            address: lease.address,
            until: Instant::ZERO + lease.remaining,
            hostname: lease.hostname.clone().filter(|name| is_label(name)),
            via: None,
        };
        // One that no longer fits is dropped, and of two for one address the first stays.
        if self.leases.is_available(owner, lease.address) {
            let _ = self.leases.try_bind(Instant::ZERO, binding);
        }
    }

    /// Associations of the same station, but for this one, that have an address or an offer.
    fn ias_of(&self, but: Ia) -> usize {
        let all = self.leases.addresses_of(but.mac);
        all.filter(|(_, entry)| entry.is_live() && entry.owner != Some(but))
            .count()
    }

    /// What an association should have, leaving aside what it asks for; `main`: it is the first of its station.
    fn wish(&self, owner: Ia, client: &Client6, main: bool) -> Wish<PrefixPool> {
        Wish {
            owner,
            via: client.ingress,
            preferred: self.main_address(owner.mac, client.address4).filter(|_| main),
            requested: None,
        }
    }
}
