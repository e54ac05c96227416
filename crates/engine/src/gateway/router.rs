//! The gateway as IPv6's default router: router advertisements (RFC 4861, 6.2; RFC 8106).
//!
//! An advertisement says: this is a default router, its MAC address and the link's MTU; the prefix is on this link, make
//! addresses of it; the resolver and the domain; and that DHCPv6 has addresses, too (M and O).
//!
//! | when | to |
//! |---|---|
//! | a guest with an address asks | it, at once (6.2.6) |
//! | a guest without one asks | all, after at most half a second |
//! | a port is attached | all, [`INITIAL`] times, [`INITIAL_INTERVAL`] apart at most |
//! | [`MIN_INTERVAL`] to [`MAX_INTERVAL`] after the one before, while ports are attached | all |
//! | the network ends | all, with a lifetime of zero |
//!
//! Where the host's kernel is the router (a shared network), what it does not say itself is said here in its name: from its MAC and link-local
//! address, which the runtime tells when the uplink is there, to guests only. Until then, and on a network without a router, the lifetime
//! as a router is zero: prefix, resolver and MTU hold all the same. Where the kernel routes single addresses (proxy ARP) no prefix is
//! told: what a guest made of it would lead nowhere. [Routes by way of guests](super::relay) lead here,
//! and so do those to [joined networks](super::joined).
//!
//! What goes to all goes at most once in [`MIN_DELAY`], whatever guests do; one answer to each question bounds the rest. Times are drawn
//! from the engine's randomness. The lifetimes of the prefix are those that RFC 9096 has routers use, so that a network which
//! comes back with another prefix does not leave the old one to its guests for a month.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use atoll_wire::Mac;
use atoll_wire::ndp::{self, ALL_NODES, RouterAdvertisement};

use crate::config::Config;
use crate::counters::Counter;
use crate::lan::{DEFAULT_TTL, Lan};
use crate::{Instant, JoinedNetwork, Mode, Prefix, Router, StaticRoute};

/// RFC 4861, 6.2.1: `MinRtrAdvInterval` and `MaxRtrAdvInterval`.
const MIN_INTERVAL: Duration = Duration::from_secs(200);
const MAX_INTERVAL: Duration = Duration::from_secs(600);
/// `AdvDefaultLifetime`.
const LIFETIME: Duration = Duration::from_secs(1800);
/// RFC 4861, 10: `MAX_INITIAL_RTR_ADVERTISEMENTS` and `MAX_INITIAL_RTR_ADVERT_INTERVAL`.
const INITIAL: u8 = 3;
const INITIAL_INTERVAL: Duration = Duration::from_secs(16);
/// `MIN_DELAY_BETWEEN_RAS`.
const MIN_DELAY: Duration = Duration::from_secs(3);
/// `MAX_RA_DELAY_TIME`.
const MAX_ANSWER_DELAY: Duration = Duration::from_millis(500);
/// RFC 9096, 3.4: limits of a prefix's lifetimes.
const VALID: Duration = Duration::from_secs(5400);
const PREFERRED: Duration = Duration::from_secs(2700);
/// RFC 8106, 5.1: three times `MaxRtrAdvInterval`.
const RESOLVER_LIFETIME: Duration = Duration::from_secs(1800);

#[derive(Debug)]
pub(crate) struct Advertiser {
    /// Without a prefix there is no router.
    prefix: Option<Prefix>,
    mode: Mode,
    /// Networks to which guests know the way.
    routes: Vec<(Ipv6Addr, u8)>,
    /// Who routes where that is not us.
    router: Option<Router>,
    /// The domain in DNS's wire form.
    domain: Vec<u8>,
    /// When all are told next.
    due: Option<Instant>,
    /// When all were told last.
    told: Option<Instant>,
    /// How many of the first ones are left.
    initial: u8,
}

impl Advertiser {
    pub(crate) fn new(config: &Config) -> Self {
        let route = |route: &StaticRoute| match route.to {
            IpAddr::V6(to) => Some((to, route.prefix_len)),
            IpAddr::V4(_) => None,
        };
        // One advertisement is for all, and who is on both networks knows better.
        let joined = |joined: &JoinedNetwork| match joined.addresses.prefix {
            Some(prefix) if joined.on_both.is_empty() => Some((prefix.address, Prefix::LEN)),
            _ => None,
        };
        Self {
            prefix: config.ipv6,
            mode: config.mode,
            routes: config
                .routes
                .iter()
                .filter_map(route)
                .chain(config.joined.iter().filter_map(joined))
                .collect(),
            router: None,
            domain: wire_form(&config.domain),
            due: None,
            told: None,
            initial: 0,
        }
    }

    /// Who routes for the guests of a shared or routed network; all are told when that changes.
    pub(crate) fn set_router(&mut self, now: Instant, lan: &mut Lan, router: Option<Router>) {
        self.router = router;
        self.handle_attached(now, lan);
    }

    /// A guest is there who may not ask.
    pub(crate) fn handle_attached(&mut self, now: Instant, lan: &mut Lan) {
        if self.prefix.is_some() {
            self.initial = INITIAL;
            self.tell_within(now, lan, MAX_ANSWER_DELAY);
        }
    }

    /// A guest asks: from its address, or from `::`.
    pub(crate) fn handle_solicitation(&mut self, now: Instant, lan: &mut Lan, (src, mac): (Ipv6Addr, Mac)) {
        if src.is_unspecified() {
            self.tell_within(now, lan, MAX_ANSWER_DELAY);
        } else {
            self.send(now, lan, (src, mac), LIFETIME);
        }
    }

    /// The network ends: hosts look for another router at once.
    pub(crate) fn handle_shutdown(&mut self, now: Instant, lan: &mut Lan) {
        self.due = None;
        self.send(now, lan, (ALL_NODES, ndp::group_mac(ALL_NODES)), Duration::ZERO);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, lan: &mut Lan) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        if lan.switch.is_deserted() {
            self.due = None;
            return;
        }
        self.told = Some(now);
        self.send(now, lan, (ALL_NODES, ndp::group_mac(ALL_NODES)), LIFETIME);
        self.initial = self.initial.saturating_sub(1);
        let spread = draw(lan, MAX_INTERVAL - MIN_INTERVAL);
        let interval = MIN_INTERVAL + spread;
        self.due = Some(
            now + if self.initial > 0 {
                interval.min(INITIAL_INTERVAL)
            } else {
                interval
            },
        );
    }

    /// Tell all within this time, or as soon after the time before as may be.
    fn tell_within(&mut self, now: Instant, lan: &mut Lan, delay: Duration) {
        let at = now + draw(lan, delay);
        let at = self.told.map_or(at, |told| at.max(told + MIN_DELAY));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Whose advertisement it is, and whether that is a default router.
    fn sender(&self, lan: &Lan) -> (Ipv6Addr, Mac, bool) {
        match (self.mode, self.router) {
            (Mode::Shared | Mode::Routed, Some(router)) => (router.link_local, router.mac, true),
            (mode, _) => (lan.link_local, lan.mac, mode == Mode::User),
        }
    }

    fn send(&self, now: Instant, lan: &mut Lan, (dst, mac): (Ipv6Addr, Mac), lifetime: Duration) {
        let Some(prefix) = self.prefix else { return };
        lan.counters.count(Counter::RouterAdvertisement);
        let (src, src_mac, is_router) = self.sender(lan);
        let advertisement = RouterAdvertisement {
            hop_limit: DEFAULT_TTL,
            managed: true,
            other: true,
            lifetime: if is_router { lifetime } else { Duration::ZERO },
            mac: src_mac,
            mtu: u32::from(lan.mtu),
            prefix: (self.mode != Mode::Routed).then_some((prefix.address, VALID, PREFERRED)),
            routes: self.routes.clone(),
            route_lifetime: lifetime,
            resolver: (self.mode.services6(prefix), RESOLVER_LIFETIME.min(lifetime)),
            domain: self.domain.clone(),
        };
        let buf = advertisement.emit(src, dst);
        lan.send_advertisement(now, (src, src_mac), (dst, mac), buf);
    }
}

/// A time below `bound`, in milliseconds.
fn draw(lan: &mut Lan, bound: Duration) -> Duration {
    let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(lan.rng.next_u64() % millis)
}

/// A domain as DNS writes it (RFC 1035, 3.1); nothing for one that it cannot write.
fn wire_form(domain: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in domain.split('.') {
        match u8::try_from(label.len()) {
            Ok(len @ 1..=63) => {
                wire.push(len);
                wire.extend_from_slice(label.as_bytes());
            }
            _ => return Vec::new(),
        }
    }
    wire.push(0);
    if wire.len() > 255 { Vec::new() } else { wire }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_written_as_dns_writes_it_or_not_at_all() {
        assert_eq!(wire_form("lab.internal"), b"\x03lab\x08internal\0");
        let long = "a".repeat(64);
        for bad in ["", "a..b", ".", &long, &"abcdefg.".repeat(40)] {
            assert_eq!(wire_form(bad), b"", "{bad}");
        }
    }
}
