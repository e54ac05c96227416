//! What the server does for each message: RFC 8415 section 18.3, one method a message.

use std::net::Ipv6Addr;
use std::time::Duration;

use dhcproto::v6::{DhcpOption, MessageType, Status};

use super::pool::Ia;
use super::reply::{IaAnswer, Writer};
use super::request::{IaKind, IaRequest, Request};
use super::{Client6, Dhcp6Server, IAS_MAX};
use crate::services::leases::{Binding, Entry, Refused};
use crate::services::names::NameRules;
use crate::{Instant, Notice, Prefix};

/// Time between two notices of one kind.
const NOTICE_INTERVAL: Duration = Duration::from_secs(60);

/// A message and what goes with it.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) client: Client6,
    pub(super) prefix: Prefix,
    pub(super) request: &'a Request,
    pub(super) rules: NameRules<'a>,
}

/// How addresses are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// To be asked for.
    Offer,
    /// By lease, of those that the client names if it may.
    Lease,
}

impl Dhcp6Server {
    /// The answer to a message, if it has one.
    pub(super) fn answer(&mut self, context: &Context<'_>) -> Option<Vec<u8>> {
        let request = context.request;
        if !self.is_valid(request) {
            return None;
        }
        if context.client.unicast {
            return self.refuse_unicast(request);
        }
        match request.kind {
            MessageType::Solicit if request.rapid_commit => Some(self.handle_rapid_commit(context)),
            MessageType::Solicit => Some(self.handle_solicit(context)),
            MessageType::Request | MessageType::Renew | MessageType::Rebind => {
                Some(self.handle_request(context))
            }
            MessageType::Confirm => self.handle_confirm(context),
            MessageType::Release => Some(self.handle_release(context)),
            MessageType::Decline => Some(self.handle_decline(context)),
            _ => Some(self.handle_information_request(context)),
        }
    }

    /// RFC 8415 section 16: which identifiers a message must and must not have.
    fn is_valid(&mut self, request: &Request) -> bool {
        let server = request.server_id.as_deref();
        let for_us = server.is_some_and(|id| self.parameters.is_us(id));
        let (valid, foreign) = match request.kind {
            MessageType::Solicit | MessageType::Confirm | MessageType::Rebind => {
                (request.client_id.is_some() && server.is_none(), false)
            }
            MessageType::Request | MessageType::Renew | MessageType::Release | MessageType::Decline => {
                let valid = request.client_id.is_some() && server.is_some();
                (valid, valid && !for_us)
            }
            MessageType::InformationRequest => (request.ias.is_empty(), server.is_some() && !for_us),
            _ => (false, false),
        };
        self.counters.malformed += u64::from(!valid);
        self.counters.foreign += u64::from(foreign);
        valid && !foreign
    }

    /// Nobody was told that he may speak to us alone.
    fn refuse_unicast(&mut self, request: &Request) -> Option<Vec<u8>> {
        self.counters.unicast += 1;
        let told = matches!(
            request.kind,
            MessageType::Request | MessageType::Renew | MessageType::Release | MessageType::Decline
        );
        told.then(|| {
            let mut writer = self.parameters.begin(MessageType::Reply, request);
            writer.add_status(Status::UseMulticast, "send to ff02::1:2");
            writer.finish()
        })
    }

    fn handle_solicit(&mut self, context: &Context<'_>) -> Vec<u8> {
        let mut writer = self.parameters.begin(MessageType::Advertise, context.request);
        self.grant_all(context, Grant::Offer, &mut writer);
        writer.finish()
    }

    fn handle_rapid_commit(&mut self, context: &Context<'_>) -> Vec<u8> {
        let mut writer = self.parameters.begin(MessageType::Reply, context.request);
        writer.add(&DhcpOption::RapidCommit);
        self.grant_all(context, Grant::Lease, &mut writer);
        writer.finish()
    }

    fn handle_request(&mut self, context: &Context<'_>) -> Vec<u8> {
        let mut writer = self.parameters.begin(MessageType::Reply, context.request);
        self.grant_all(context, Grant::Lease, &mut writer);
        writer.finish()
    }

    /// Each association its answer, then what the client asks for besides.
    fn grant_all(&mut self, context: &Context<'_>, grant: Grant, writer: &mut Writer) {
        let request = context.request;
        let mut given = Vec::new();
        let hostname = self.host_name(context);
        for ia in &request.ias {
            let answer = match ia.kind {
                IaKind::Addresses => self.grant(context, ia, grant, &given, hostname.clone()),
                IaKind::Temporary => empty(ia, (Status::NoAddrsAvail, "no temporary addresses here")),
                IaKind::Prefixes => empty(ia, (Status::NoPrefixAvail, "no prefixes here")),
            };
            given.extend(answer.address);
            self.parameters.add_ia(writer, &answer);
        }
        let fqdn = self.fqdn(context);
        fqdn.iter().for_each(|fqdn| writer.add_fqdn(fqdn));
        self.parameters.add_options(writer, request, context.client.mac);
    }

    /// An address for one association; `given` are those of the message's earlier ones.
    fn grant(
        &mut self,
        context: &Context<'_>,
        ia: &IaRequest,
        grant: Grant,
        given: &[Ipv6Addr],
        hostname: Option<String>,
    ) -> IaAnswer {
        let is_foreign = |address: &Ipv6Addr| !context.prefix.contains(*address);
        if context.request.kind == MessageType::Request && ia.addresses.iter().any(is_foreign) {
            return empty(ia, (Status::NotOnLink, "not on this network"));
        }
        let owner = Ia {
            mac: context.client.mac,
            iaid: ia.iaid,
        };
        let address = match grant {
            Grant::Offer => self.offer(context, owner, ia, given),
            Grant::Lease => self.lease(context, owner, ia, given, hostname),
        };
        match address {
            Ok(address) => IaAnswer {
                kind: ia.kind,
                iaid: ia.iaid,
                address: Some(address),
                ended: ended(context.request, ia, Some(address)),
                status: None,
            },
            Err(refused) => {
                self.note_refused(context.now, refused);
                IaAnswer {
                    ended: ended(context.request, ia, None),
                    ..empty(ia, (Status::NoAddrsAvail, "no address is left for you"))
                }
            }
        }
    }

    fn offer(
        &mut self,
        context: &Context<'_>,
        owner: Ia,
        ia: &IaRequest,
        given: &[Ipv6Addr],
    ) -> Result<Ipv6Addr, Refused> {
        if self.ias_of(owner) >= IAS_MAX {
            return Err(Refused::OverShare);
        }
        let mut requested = ia.addresses.iter().copied();
        let mut wish = self.wish(owner, &context.client, given.is_empty());
        wish.requested = requested.find(|address| !given.contains(address));
        self.leases.offer(context.now, &wish)
    }

    /// For the first association of a message what is reserved for its station; else the address that the association
    /// has or was offered; else one that it names; else one as for an offer. What another of the station's associations
    /// has moves only to one that is new.
    fn lease(
        &mut self,
        context: &Context<'_>,
        owner: Ia,
        ia: &IaRequest,
        given: &[Ipv6Addr],
        hostname: Option<String>,
    ) -> Result<Ipv6Addr, Refused> {
        if self.ias_of(owner) >= IAS_MAX {
            return Err(Refused::OverShare);
        }
        let is_live = |at: &Ipv6Addr| self.leases.entry(*at).is_some_and(Entry::is_live);
        let known = self.leases.address_of(owner).filter(is_live);
        let is_new = matches!(context.request.kind, MessageType::Solicit | MessageType::Request);
        let is_open = |at: &Ipv6Addr| match is_new && known.is_none() {
            true => self.leases.is_available_to(owner.mac, *at),
            false => self.leases.is_available(owner, *at),
        };
        let mut wish = self.wish(owner, &context.client, given.is_empty());
        wish.preferred = wish.preferred.filter(is_open);
        let fixed = wish
            .preferred
            .filter(|at| self.statics.owner_of(*at) == Some(owner.mac));
        let mut named = ia.addresses.iter().copied();
        let named = named.find(|named| !given.contains(named) && is_open(named));
        let address = fixed
            .or(known)
            .or(named)
            .or_else(|| self.leases.choose(context.now, &wish))
            .ok_or(Refused::Exhausted)?;
        let binding = Binding {
            owner,
            address,
            until: context.now + self.lease_time,
            hostname,
            via: Some(context.client.ingress),
        };
        self.leases.try_bind(context.now, binding)?;
        self.changed = true;
        Ok(address)
    }

    /// RFC 8415 section 18.3.3: whether the client's addresses are of this network is all that is asked.
    fn handle_confirm(&mut self, context: &Context<'_>) -> Option<Vec<u8>> {
        let mut addresses = context.request.ias.iter().flat_map(|ia| &ia.addresses).peekable();
        addresses.peek()?;
        let (status, why) = match addresses.all(|address| context.prefix.contains(*address)) {
            true => (Status::Success, "on this network"),
            false => (Status::NotOnLink, "not on this network"),
        };
        let mut writer = self.parameters.begin(MessageType::Reply, context.request);
        writer.add_status(status, why);
        Some(writer.finish())
    }

    fn handle_release(&mut self, context: &Context<'_>) -> Vec<u8> {
        self.end_all(context, "released", |server, owner, address| {
            let released = server.leases.release(context.now, owner, address);
            server.changed |= released;
            released
        })
    }

    fn handle_decline(&mut self, context: &Context<'_>) -> Vec<u8> {
        self.end_all(context, "declined", |server, owner, address| {
            let has = server.leases.address_of(owner) == Some(address);
            // A static address stays its owner's: there is no other to give, and a person should look.
            let fixed = server.statics.owner_of(address) == Some(owner.mac);
            if has && (fixed || server.leases.decline(context.now, owner, address)) {
                server.note_declined(context.now, address);
                server.changed |= !fixed;
            }
            has
        })
    }

    /// `end` says for each address that is named whether the association has it.
    fn end_all(
        &mut self,
        context: &Context<'_>,
        what: &str,
        end: impl Fn(&mut Self, Ia, Ipv6Addr) -> bool,
    ) -> Vec<u8> {
        let request = context.request;
        let mut writer = self.parameters.begin(MessageType::Reply, request);
        writer.add_status(Status::Success, what);
        for ia in &request.ias {
            let owner = Ia {
                mac: context.client.mac,
                iaid: ia.iaid,
            };
            let mut had = false;
            for address in ia.addresses.iter().filter(|_| ia.kind == IaKind::Addresses) {
                had |= end(self, owner, *address);
            }
            if !had {
                self.parameters
                    .add_ia(&mut writer, &empty(ia, (Status::NoBinding, "not yours")));
            }
        }
        writer.finish()
    }

    fn handle_information_request(&self, context: &Context<'_>) -> Vec<u8> {
        let mut writer = self.parameters.begin(MessageType::Reply, context.request);
        self.parameters
            .add_options(&mut writer, context.request, context.client.mac);
        writer.finish()
    }

    fn note_refused(&mut self, now: Instant, refused: Refused) {
        if refused == Refused::OverShare {
            self.counters.over_share += 1;
            return;
        }
        self.counters.exhausted += 1;
        if self.quiet_exhausted.is_none_or(|until| until <= now) {
            self.quiet_exhausted = Some(now + NOTICE_INTERVAL);
            self.notices.push_back(Notice::PoolExhausted);
        }
    }

    fn note_declined(&mut self, now: Instant, address: Ipv6Addr) {
        self.counters.declined += 1;
        if self.quiet_declined.is_none_or(|until| until <= now) {
            self.quiet_declined = Some(now + NOTICE_INTERVAL);
            let address = address.into();
            self.notices.push_back(Notice::AddressDeclined { address });
        }
    }
}

/// What a client has to give up: whatever else it says that it has.
fn ended(request: &Request, ia: &IaRequest, address: Option<Ipv6Addr>) -> Vec<Ipv6Addr> {
    let has = matches!(request.kind, MessageType::Renew | MessageType::Rebind);
    let mut others = ia.addresses.clone();
    others.retain(|other| has && Some(*other) != address);
    others.sort_unstable();
    others.dedup();
    others
}

/// An answer without an address.
fn empty(ia: &IaRequest, status: (Status, &'static str)) -> IaAnswer {
    IaAnswer {
        kind: ia.kind,
        iaid: ia.iaid,
        address: None,
        ended: Vec::new(),
        status: Some(status),
    }
}
