//! The uplink: the way from a network to the host's own LAN, or to a bridge on which the host's kernel is.
//!
//! What it takes an administrator to make, `atoll_helper` makes: the loop asks it by way of an [`opener`], a thread of its own, for an
//! answer may take a while; what comes back is a TAP like any other, but for the side of the switch that it is on. A session with the helper
//! lives as long as what it granted, and takes it away when it ends, also when this process is killed: nothing of an uplink outlives a network.
//!
//! There is one link for all guests, or, with macvtap, one for each of their MAC addresses, asked for when the engine says that one has
//! spoken ([`Action::OpenUplink`](atoll_engine::Action::OpenUplink)). A network starts only when its uplink is there; of macvtap, when its NIC is.
//!
//! On macOS a link is vmnet's, in this process where that is allowed, else in the helper's ([`vmnet`]): one end of a relay is in the TAP's
//! place, and there is one way to the LAN.
//!
//! | what happens to a link | then |
//! |---|---|
//! | its TAP closes, or is gone when the kernel tells that links changed | it is detached, and asked for again |
//! | the helper ends | the same: what it granted is gone |
//! | the NIC or bridge it leads to is gone | the same, which fails until that is back |
//! | asking fails | it is tried again, at first after [`FIRST_RETRY`], then after twice that time, up to [`LAST_RETRY`] |
//!
//! Each is told in the log once, and in the snapshot for as long as it lasts ([`UplinkInfo::fault`]). Guests and services go on without.

mod opener;
mod routed;
mod spec;
mod vmnet;

pub(crate) use routed::Routed;
pub use spec::{Mode, UplinkInfo, UplinkSpec, UplinkTap, Via};

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use atoll_engine::{Command, Instant, PortConfig, PortId, Router, Side};
use atoll_helper::Grant;
use atoll_ports::TapPort;
use atoll_ports::vmnet::RelayPort;
use atoll_wire::{Mac, Offloads};
use mio::Waker;

use crate::core::Core;
use crate::guests::{Guest, Guests, Link};
use crate::sys;
use crate::tokens::Source;
use crate::{NetworkOptions, StartError};
use opener::{Answer, Key, OpenError, Opened, Opener, Way};

/// How long an uplink that was lost or refused is not asked for.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(32);

/// The uplink of a network; nothing where the network is one of its own.
#[derive(Debug, Default)]
pub(crate) struct Uplinks {
    inner: Option<Uplink>,
}

#[derive(Debug)]
struct Uplink {
    spec: UplinkSpec,
    via: Option<Via>,
    opener: Opener,
    /// What shall be open.
    wanted: BTreeSet<Key>,
    /// What the opener was asked for and has not answered.
    asked: BTreeSet<Key>,
    open: BTreeMap<Key, OpenLink>,
    /// Tells when links of the host changed; `None` where the system does not.
    doorbell: Option<OwnedFd>,
    /// What was granted last.
    grant: Option<Grant>,
    fault: Option<String>,
    retry_at: Option<Instant>,
    patience: Duration,
}

/// A link that is open.
#[derive(Debug)]
struct OpenLink {
    port: PortId,
    interface: String,
    /// The host has it as a link of this name.
    is_link: bool,
    /// Readable when the session that granted it has ended.
    session: OwnedFd,
}

impl Uplinks {
    /// Open the uplink of a network that is about to start.
    pub(crate) fn open(
        options: &NetworkOptions,
        core: &mut Core,
        guests: &mut Guests,
        waker: &Arc<Waker>,
    ) -> Result<Self, StartError> {
        let Some(spec) = options.uplink.clone() else {
            return Ok(Self::default());
        };
        let via = via_of(&spec);
        if let Some(via) = via.filter(|_| vmnet::is_here()) {
            return Err(failed(OpenError::OneWay(via)));
        }
        let opener = Opener::start(options, via, Arc::clone(waker)).map_err(failed)?;
        let doorbell = sys::link_changes().map_err(StartError::Loop)?;
        if let Some(doorbell) = &doorbell {
            core.watch_reading(doorbell, Source::Links)
                .map_err(StartError::Loop)?;
        }
        let mut uplink = Uplink {
            spec,
            via,
            opener,
            wanted: BTreeSet::new(),
            asked: BTreeSet::new(),
            open: BTreeMap::new(),
            doorbell,
            grant: None,
            fault: None,
            retry_at: None,
            patience: FIRST_RETRY,
        };
        if via == Some(Via::Macvtap) {
            uplink.check_interface().map_err(failed)?;
        } else {
            uplink.want(None);
            let Answer { key, opened } = uplink.opener.wait();
            uplink.asked.remove(&key);
            uplink
                .attach(core, guests, key, opened.map_err(failed)?)
                .map_err(failed)?;
        }
        Ok(Self { inner: Some(uplink) })
    }

    /// `Action::OpenUplink`.
    pub(crate) fn want(&mut self, mac: Mac) {
        if let Some(uplink) = &mut self.inner {
            uplink.want(Some(mac));
        }
    }

    /// `Action::CloseUplink`.
    pub(crate) fn give_up(&mut self, core: &mut Core, guests: &mut Guests, mac: Mac) {
        if let Some(uplink) = &mut self.inner {
            uplink.wanted.remove(&Some(mac));
            uplink.close(core, guests, Some(mac), "its guest is gone");
        }
    }

    /// The opener has answered.
    pub(crate) fn handle_answers(&mut self, core: &mut Core, guests: &mut Guests) {
        let Some(uplink) = &mut self.inner else { return };
        while let Some(Answer { key, opened }) = uplink.opener.try_next() {
            uplink.asked.remove(&key);
            if !uplink.wanted.contains(&key) {
                uplink.opener.close(key);
                continue;
            }
            let attached = opened.and_then(|opened| uplink.attach(core, guests, key, opened));
            if let Err(error) = attached {
                let now = core.now();
                uplink.fail(now, error.to_string());
            }
        }
    }

    /// Links of the host changed, or a session ended: those that are gone are detached.
    pub(crate) fn handle_change(&mut self, core: &mut Core, guests: &mut Guests) {
        let Some(uplink) = &mut self.inner else { return };
        uplink.silence_doorbell();
        let gone: Vec<(Key, String)> = uplink
            .open
            .iter()
            .filter_map(|(key, link)| Some((*key, uplink.fault_of(link)?)))
            .collect();
        for (key, why) in gone {
            uplink.lose(core, guests, key, why);
        }
        // What was missing may be there again.
        if uplink.fault.is_some() && uplink.check_interface().is_ok() {
            uplink.retry_at = uplink.retry_at.map(|at| at.min(core.now() + FIRST_RETRY));
        }
    }

    /// Ports of uplinks that closed by themselves.
    pub(crate) fn handle_closed(&mut self, core: &mut Core, guests: &mut Guests) {
        for port in guests.take_closed_uplinks() {
            let Some(uplink) = &mut self.inner else { return };
            let mut open = uplink.open.iter();
            if let Some(key) = open.find(|(_, link)| link.port == port).map(|(key, _)| *key) {
                uplink.lose(core, guests, key, "its interface was deleted".to_owned());
            }
        }
    }

    /// When what was lost is asked for again.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.inner.as_ref().and_then(|uplink| uplink.retry_at)
    }

    /// Ask again for what is wanted and not there.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let Some(uplink) = &mut self.inner else { return };
        if uplink.retry_at.is_none_or(|at| at > now) {
            return;
        }
        uplink.retry_at = None;
        let missing = uplink.wanted.iter().filter(|key| !uplink.open.contains_key(key));
        for key in missing.copied().collect::<Vec<_>>() {
            uplink.want(key);
        }
    }

    /// How it stands.
    pub(crate) fn info(&self) -> Option<UplinkInfo> {
        let uplink = self.inner.as_ref()?;
        let grant = uplink.grant.as_ref().filter(|_| !uplink.open.is_empty());
        let tap = |(key, link): (&Key, &OpenLink)| UplinkTap {
            interface: link.interface.clone(),
            port: link.port.0,
            guest: key.map(|mac| mac.to_string()),
        };
        Some(UplinkInfo {
            via: uplink.via,
            interface: uplink.name().to_owned(),
            fault: uplink.fault.clone(),
            mac: grant.map(|grant| grant.mac.to_string()),
            link_local: grant.and_then(|grant| grant.link_local),
            host: grant.map_or_else(Vec::new, |grant| grant.host.clone()),
            mtu: grant.map(|grant| grant.mtu),
            taps: uplink.open.iter().map(tap).collect(),
        })
    }
}

impl Uplink {
    /// The NIC or bridge that it was asked for, or the network's name.
    fn name(&self) -> &str {
        match &self.spec {
            UplinkSpec::Bridged { interface, .. } => interface,
            UplinkSpec::Shared { network, .. } | UplinkSpec::Host { network } => network,
        }
    }

    /// That the interface of the host's that it leads to is there, where one was named.
    fn check_interface(&self) -> Result<(), OpenError> {
        let named = match &self.spec {
            UplinkSpec::Bridged { interface, .. } => Some(interface),
            UplinkSpec::Shared { outside, .. } => outside.as_ref(),
            UplinkSpec::Host { .. } => None,
        };
        match named.filter(|name| sys::link_number(name).is_none()) {
            Some(name) => Err(OpenError::NoInterface(name.clone())),
            None => Ok(()),
        }
    }

    fn want(&mut self, key: Key) {
        self.wanted.insert(key);
        if !self.open.contains_key(&key) && self.asked.insert(key) {
            self.opener.open(key);
        }
    }

    fn attach(
        &mut self,
        core: &mut Core,
        guests: &mut Guests,
        key: Key,
        opened: Opened,
    ) -> Result<(), OpenError> {
        let Opened { grant, way, session } = opened;
        let is_link = matches!(way, Way::Tap(_));
        let port = PortId(guests.next_id());
        let (link, offloads) = link_by(way, core, port)?;
        core.watch_reading(&session, Source::Links)
            .map_err(OpenError::Watch)?;
        let config = PortConfig {
            label: None,
            offloads,
            side: key.map_or(Side::Uplink, Side::Pinned),
        };
        let guest = Guest {
            attached_at: None,
            endpoint: format!("uplink {}", grant.interface),
            link,
            is_uplink: true,
            awaits_room: false,
        };
        guests.insert(core, port, guest, config);
        let link = OpenLink {
            port,
            interface: grant.interface.clone(),
            is_link,
            session,
        };
        self.open.insert(key, link);
        for note in &grant.notes {
            tracing::warn!("the uplink {}: {note}", grant.interface);
        }
        self.set_router(core, grant.link_local.map(|link_local| (grant.mac, link_local)));
        self.grant = Some(grant);
        if self.wanted.iter().all(|key| self.open.contains_key(key)) {
            if self.fault.take().is_some() {
                tracing::warn!("the uplink {} is there again", self.name());
            }
            self.patience = FIRST_RETRY;
            self.retry_at = None;
        }
        Ok(())
    }

    /// The host's kernel routes for guests of a shared network or answers for them, or does not any more.
    fn set_router(&self, core: &mut Core, router: Option<(Mac, std::net::Ipv6Addr)>) {
        if self.spec.mode() != Mode::Shared && self.via != Some(Via::ProxyArp) {
            return;
        }
        let router = router.map(|(mac, link_local)| Router { mac, link_local });
        let now = core.now();
        if let Err(error) = core.engine.apply(now, Command::SetRouter(router)) {
            tracing::warn!("guests are not told of their router: {error}");
        }
    }

    /// Why a link is not what it was.
    fn fault_of(&self, link: &OpenLink) -> Option<String> {
        if let Err(error) = self.check_interface() {
            return Some(error.to_string());
        }
        if link.is_link && sys::link_number(&link.interface).is_none() {
            return Some(format!("the interface {} is gone", link.interface));
        }
        has_ended(&link.session).then(|| "atoll-helper has ended".to_owned())
    }

    fn lose(&mut self, core: &mut Core, guests: &mut Guests, key: Key, why: String) {
        self.close(core, guests, key, &why);
        self.set_router(core, None);
        self.fail(core.now(), why);
    }

    fn close(&mut self, core: &mut Core, guests: &mut Guests, key: Key, why: &str) {
        if let Some(link) = self.open.remove(&key) {
            // The opener has a copy, so closing this one would not end the watch.
            if let Err(error) = core.unwatch(&link.session) {
                tracing::debug!("a session is watched on: {error}");
            }
            guests.detach(core, link.port, why);
            // That was us.
            let _ = guests.take_closed_uplinks();
            self.opener.close(key);
        }
    }

    fn fail(&mut self, now: Instant, why: String) {
        if self.fault.as_ref() != Some(&why) {
            tracing::warn!("the uplink {} does not work: {why}", self.name());
        }
        self.fault = Some(why);
        self.retry_at = Some(now + self.patience);
        self.patience = (self.patience * 2).min(LAST_RETRY);
    }

    /// What the kernel told is looked up afresh.
    fn silence_doorbell(&self) {
        if let Some(doorbell) = &self.doorbell {
            let mut told = [0; 4096];
            let flags = rustix::net::RecvFlags::DONTWAIT;
            // Until there is nothing left, or more was lost than is of interest.
            while rustix::net::recv(doorbell, &mut told[..], flags).is_ok() {}
        }
    }
}

/// The port of a link, watched, and what it takes as it is.
fn link_by(way: Way, core: &mut Core, port: PortId) -> Result<(Link, Offloads), OpenError> {
    let source = Source::Guest(port.0);
    match way {
        Way::Tap(fd) => {
            let tap = TapPort::new(fd)?;
            core.watch_reading(&tap, source).map_err(OpenError::Watch)?;
            let offloads = tap.offloads();
            Ok((Link::Tap(tap), offloads))
        }
        Way::Relay(fd) => {
            let relay = RelayPort::new(fd).map_err(OpenError::Relay)?;
            core.watch(&relay, source).map_err(OpenError::Watch)?;
            Ok((Link::Relay(Box::new(relay)), Offloads::default()))
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn failed(error: OpenError) -> StartError {
    StartError::Uplink {
        hint: error.hint(),
        why: error.to_string(),
    }
}

/// How a network comes to the LAN.
fn via_of(spec: &UplinkSpec) -> Option<Via> {
    match spec {
        UplinkSpec::Bridged { via: Some(via), .. } => Some(*via),
        UplinkSpec::Bridged { interface, .. } if sys::is_bridge(interface) => Some(Via::Bridge),
        UplinkSpec::Bridged { .. } if vmnet::is_here() => None,
        UplinkSpec::Bridged { .. } => Some(Via::Macvtap),
        UplinkSpec::Shared { .. } | UplinkSpec::Host { .. } => None,
    }
}

/// Whether each of a guest's addresses has an uplink of its own.
pub(crate) fn is_pinned(options: &NetworkOptions) -> bool {
    options.uplink.as_ref().and_then(via_of) == Some(Via::Macvtap)
}

/// Whether the other end of a session is closed: nothing is ever said unasked.
pub(crate) fn has_ended(session: impl AsFd) -> bool {
    let flags = rustix::net::RecvFlags::DONTWAIT | rustix::net::RecvFlags::PEEK;
    let mut byte = [0];
    matches!(
        rustix::net::recv(session, &mut byte[..], flags),
        Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::PIPE)
    )
}
