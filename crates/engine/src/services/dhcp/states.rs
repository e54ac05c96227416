//! What the server does for each message: RFC 2131 section 4.3, one method a message or client state.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::v4::MessageType;

use super::pool;
use super::reply::Answer;
use super::request::Request;
use super::statics::Static;
use super::{Client, DhcpServer, Reply, ReplyTo};
use crate::services::leases::{Binding, Pool as _, Refused};
use crate::services::names::NameRules;
use crate::{Instant, Notice};

/// Leases that a client wants shorter than ours are not made shorter than this.
const LEASE_MIN: Duration = Duration::from_secs(60);
/// Time between two notices of one kind.
const NOTICE_INTERVAL: Duration = Duration::from_secs(60);

impl DhcpServer {
    pub(super) fn handle_discover(
        &mut self,
        now: Instant,
        request: &Request,
        rules: NameRules<'_>,
    ) -> Option<Reply> {
        let fixed = self.statics.get(request.chaddr).map(|entry| entry.address);
        let wish = pool::wish(request.chaddr, request.ingress, request.requested);
        match fixed.map_or_else(|| self.leases.offer(now, &wish), Ok) {
            Ok(address) => Some(self.grant(request, MessageType::Offer, address, rules)),
            Err(Refused::OverShare) => {
                self.counters.over_share += 1;
                None
            }
            Err(_) => {
                self.note_exhausted(now);
                None
            }
        }
    }

    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        request: &Request,
        rules: NameRules<'_>,
    ) -> Option<Reply> {
        let mac = request.chaddr;
        match (request.server, request.requested) {
            (Some(server), _) if server != self.parameters.server => {
                self.leases.withdraw_offer(now, mac);
                None
            }
            (Some(_), Some(address)) => self.bind_or_nak(now, request, address, rules),
            (None, Some(address)) if request.ciaddr.is_unspecified() => {
                self.handle_init_reboot(now, request, address, rules)
            }
            // A server id does not belong into a renewal, but some clients leave it there.
            _ if !request.ciaddr.is_unspecified() => self.bind_or_nak(now, request, request.ciaddr, rules),
            _ => {
                self.counters.malformed += 1;
                None
            }
        }
    }

    /// RFC 2131 section 4.3.2: on the right network, a server says nothing about clients it does not know.
    fn handle_init_reboot(
        &mut self,
        now: Instant,
        request: &Request,
        address: Ipv4Addr,
        rules: NameRules<'_>,
    ) -> Option<Reply> {
        let fixed = self.statics.get(request.chaddr).map(|entry| entry.address);
        match fixed.or_else(|| self.leases.address_of(request.chaddr)) {
            _ if !self.subnet.contains(address) => Some(self.nak(request, "not on this network")),
            None => None,
            Some(known) if known != address => Some(self.nak(request, "not your address")),
            Some(_) => self.bind_or_nak(now, request, address, rules),
        }
    }

    pub(super) fn handle_inform(&mut self, client: Client, request: &Request) -> Option<Reply> {
        let address = [request.ciaddr, client.src]
            .into_iter()
            .find(|address| !address.is_unspecified())?;
        if !self.leases.pool().contains(address) {
            self.counters.malformed += 1;
            return None;
        }
        let hostname = self.statics.get(request.chaddr).and_then(Static::name);
        let answer = Answer {
            kind: MessageType::Ack,
            address: Ipv4Addr::UNSPECIFIED,
            lease: None,
            hostname,
        };
        Some(Reply {
            message: self.parameters.answer(request, answer),
            to: ReplyTo::Unicast {
                ip: address,
                mac: request.chaddr,
            },
        })
    }

    pub(super) fn handle_decline(&mut self, now: Instant, request: &Request) {
        let Some(address) = request.requested.filter(|_| self.is_for_us(request)) else {
            return;
        };
        let fixed = self
            .statics
            .get(request.chaddr)
            .is_some_and(|entry| entry.address == address);
        // A static address stays its owner's: there is no other to give, and a person should look.
        if fixed || self.leases.decline(now, request.chaddr, address) {
            self.counters.declined += 1;
            self.changed |= !fixed;
            if self.quiet_declined.is_none_or(|until| until <= now) {
                self.quiet_declined = Some(now + NOTICE_INTERVAL);
                self.notices.push_back(Notice::AddressDeclined {
                    address: address.into(),
                });
            }
        }
    }

    pub(super) fn handle_release(&mut self, now: Instant, request: &Request) {
        if !self.is_for_us(request) {
            return;
        }
        self.changed |= self.leases.release(now, request.chaddr, request.ciaddr);
        if let Some(entry) = self
            .statics
            .get_mut(request.chaddr)
            .filter(|entry| entry.address == request.ciaddr)
        {
            entry.learnt = None;
        }
    }

    fn is_for_us(&self, request: &Request) -> bool {
        request
            .server
            .is_none_or(|server| server == self.parameters.server)
    }

    /// Gives the client the address for the lease time, if it may have it.
    fn bind_or_nak(
        &mut self,
        now: Instant,
        request: &Request,
        address: Ipv4Addr,
        rules: NameRules<'_>,
    ) -> Option<Reply> {
        let mac = request.chaddr;
        if !self.subnet.contains(address) {
            return Some(self.nak(request, "not on this network"));
        }
        let hostname = self.host_name(request, rules);
        let bound = match self.statics.get_mut(mac) {
            Some(entry) if entry.address == address => {
                entry.learnt = hostname;
                Ok(())
            }
            Some(_) => Err(Refused::Unavailable),
            None => {
                let until = now + self.lease_for(request);
                self.leases.try_bind(
                    now,
                    Binding {
                        owner: mac,
                        address,
                        until,
                        hostname,
                        via: Some(request.ingress),
                    },
                )
            }
        };
        match bound {
            Ok(()) => {
                self.changed = true;
                Some(self.grant(request, MessageType::Ack, address, rules))
            }
            Err(Refused::OverShare) => {
                self.counters.over_share += 1;
                None
            }
            Err(Refused::Unavailable | Refused::Exhausted) => Some(self.nak(request, "not your address")),
        }
    }

    /// OFFER or ACK, to where RFC 2131 section 4.1 says.
    fn grant(&self, request: &Request, kind: MessageType, address: Ipv4Addr, rules: NameRules<'_>) -> Reply {
        let accepted = self.host_name(request, rules);
        let fixed = self
            .statics
            .get(request.chaddr)
            .and_then(|entry| entry.hostname.as_deref());
        let answer = Answer {
            kind,
            address,
            lease: Some(self.lease_for(request)),
            hostname: fixed.or(accepted.as_deref()),
        };
        let renewing = kind == MessageType::Ack && !request.ciaddr.is_unspecified();
        let to = if request.flags.broadcast() && !renewing {
            ReplyTo::Broadcast
        } else {
            ReplyTo::Unicast {
                ip: address,
                mac: request.chaddr,
            }
        };
        Reply {
            message: self.parameters.answer(request, answer),
            to,
        }
    }

    /// A NAK is broadcast: the client's address may not work here.
    fn nak(&mut self, request: &Request, why: &str) -> Reply {
        self.counters.naks += 1;
        Reply {
            message: self.parameters.nak(request, why),
            to: ReplyTo::Broadcast,
        }
    }

    /// The lease time that the client wants, within ours.
    fn lease_for(&self, request: &Request) -> Duration {
        let wanted = request
            .lease_time
            .map(|seconds| Duration::from_secs(u64::from(seconds)));
        wanted
            .unwrap_or(self.lease_time)
            .clamp(LEASE_MIN.min(self.lease_time), self.lease_time)
    }

    /// The name that a client gives itself, if it is one and nobody else's.
    fn host_name(&self, request: &Request, rules: NameRules<'_>) -> Option<String> {
        let mac = request.chaddr;
        let label = rules.label_for(request.hostname.as_deref()?, mac)?;
        self.owner_of_name(&label)
            .is_none_or(|owner| owner == mac)
            .then_some(label)
    }

    fn note_exhausted(&mut self, now: Instant) {
        self.counters.exhausted += 1;
        if self.quiet_exhausted.is_none_or(|until| until <= now) {
            self.quiet_exhausted = Some(now + NOTICE_INTERVAL);
            self.notices.push_back(Notice::PoolExhausted);
        }
    }
}
