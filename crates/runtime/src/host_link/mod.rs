//! The host's own link to a network: a TAP that `atoll-helper` made, with an address of the network's, so that every program of the host
//! reaches every guest.
//!
//! Who runs the command asks the helper, not the network: so root may link a user's network, and a user whom the policy allows. The network
//! says what is to be asked for ([`LinkPlan`]); the command is granted a TAP ([`ask`]) and hands it over with the session of the helper
//! that made it. From then on both are the network's: the link lives until it is taken away, the network ends, or the helper does.
//!
//! | what happens | then |
//! |---|---|
//! | `unlink`, or the network ends | the TAP is closed, and the session ended: the helper undoes the rest |
//! | this process is killed | the kernel closes both, and the helper undoes the rest |
//! | the helper ends | the TAP is closed: its addresses and routes go with it |
//! | the TAP is deleted | the session is ended |
//!
//! Where the host has a file for each domain and no TAPs (macOS), a network of mode `shared` or `host` has the host on it, and only its names
//! are missing. Then the link is the session alone, in which the helper keeps that file: no guest, no address, no rules.
//!
//! To the network the link is otherwise a guest like another, with a lease that lasts as long as it does. Only networks that the host is not on by
//! themselves have such a one (mode `user`), and not isolated ones: the link would be one of the guests that do not hear each other.
//! `docs/theory/link.md` has what guests may do to the host by it.

mod ask;
mod plan;

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use atoll_engine::PortId;
use atoll_helper::{NetworkName, Session};
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::event_loop::About;
use crate::guests::Guests;
use crate::tokens::Source;
use crate::{AttachError, Mode, TapInfo, TapSpec};

pub use ask::{AskError, Asked, LinkWish, ask};
pub use plan::{LinkAddresses, LinkPlan};

/// The name that a link has on the network, unless a guest has it.
const NAME: &str = "link";

/// A link that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkInfo {
    /// The host's interface; of names alone the file that tells of them.
    pub interface: String,
    /// Its MAC address; none where the link is names alone.
    pub mac: Option<String>,
    /// The number of its port; none where the link is names alone.
    pub port: Option<u32>,
    /// The host's addresses on the network.
    pub addresses: Vec<IpAddr>,
    /// The network's ranges, which the host routes there.
    pub routes: Vec<String>,
    /// The network's domain.
    pub domain: String,
    /// Where its names are answered.
    pub resolvers: Vec<IpAddr>,
    /// Who of the host asks there for names of the domain; none where nobody does.
    pub names: Option<String>,
    /// Guests may begin conversations with the host.
    pub guests: bool,
    /// The name that the host has on the network.
    pub name: Option<String>,
    /// What was noticed, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a command hands over.
#[derive(Debug)]
pub struct LinkSpec {
    /// The TAP; none where the link is names alone.
    pub tap: Option<OwnedFd>,
    /// The session of the helper that made it.
    pub session: OwnedFd,
    /// What it was made for.
    pub plan: LinkPlan,
    /// What the helper says of it.
    pub about: LinkAbout,
}

/// What the network has no other way to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAbout {
    /// The host's interface.
    pub interface: String,
    /// Who of the host was told of the domain.
    pub names: Option<String>,
    /// Guests may begin conversations with the host.
    pub guests: bool,
    /// What was noticed.
    pub notes: Vec<String>,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is one.
    #[error("the host is linked already, by {0}")]
    Linked(String),
    /// The host is on the network by itself, or the network is the LAN.
    #[error("a network of mode {0} has no link: {why}", why = why_none(*.0))]
    Mode(Mode),
    /// There are no TAPs here.
    #[error("on macOS the host cannot be linked to a network of mode user")]
    NoTaps,
    /// What came is not what was planned.
    #[error("a link of this network comes {} a TAP", if *.0 { "without" } else { "with" })]
    Unplanned(bool),
    /// Guests do not hear each other, so none would hear the link.
    #[error("an isolated network has no link: its guests would not hear it")]
    Isolated,
    /// No address is left.
    #[error("no address of {0} is left for the link")]
    Exhausted(String),
    /// An address that was asked for is somebody's, or none of the network's.
    #[error("{address} cannot be the link's: {why}")]
    Address {
        /// The address.
        address: IpAddr,
        /// Why.
        why: String,
    },
    /// The TAP was not taken.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The session cannot be watched or is none.
    #[error("the helper's session cannot be held: {0}")]
    Session(#[from] std::io::Error),
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
}

fn why_none(mode: Mode) -> &'static str {
    if mode == Mode::Bridged {
        "it is the host's own LAN"
    } else {
        "the host is on it already"
    }
}

impl LinkError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Linked(_) => Some("`atoll unlink` takes it away"),
            Self::Address { .. } | Self::Exhausted(_) => Some("say which: --address ADDRESS"),
            Self::Isolated => Some("`atoll forward` and `--proxy` lead to its guests"),
            Self::NoTaps => Some(
                "`atoll forward`, `--proxy` and `atoll ssh-config --install` reach its machines; modes shared and host have the host on them",
            ),
            Self::Attach(error) => error.hint(),
            Self::Unplanned(_) => Some("atoll and the network should be of one version"),
            Self::Mode(_) | Self::Session(_) | Self::Stopped => None,
        }
    }
}

/// A link that was taken off its network. Dropping it ends the session, and waits until the helper has undone what it did.
#[derive(Debug)]
pub struct Unlinked {
    /// What it was.
    pub info: LinkInfo,
    session: Session,
}

impl Unlinked {
    /// Wait until nothing of it is left on the host.
    #[must_use]
    pub fn finish(self) -> LinkInfo {
        drop(self.session);
        self.info
    }
}

/// A network's link.
#[derive(Debug, Default)]
pub(crate) struct HostLink(Option<Open>);

#[derive(Debug)]
struct Open {
    info: LinkInfo,
    session: Session,
}

impl HostLink {
    /// How it stands.
    pub(crate) fn info(&self) -> Option<LinkInfo> {
        self.0.as_ref().map(|open| open.info.clone())
    }

    /// Take a TAP and its session over.
    pub(crate) fn attach(
        &mut self,
        core: &mut Core,
        guests: &mut Guests,
        about: &About,
        spec: LinkSpec,
    ) -> Result<LinkInfo, LinkError> {
        let kind = self.kind(about)?;
        let LinkSpec {
            tap,
            session,
            plan,
            about: told,
        } = spec;
        let session = Session::adopt(session)?;
        let attached = match (tap, kind) {
            (Some(tap), Kind::Guest) => {
                take(core, guests, about, (tap, &plan), &told.interface).map(|(tap, name)| (Some(tap), name))
            }
            (None, Kind::Names) => Ok((None, None)),
            (_, kind) => Err(LinkError::Unplanned(kind == Kind::Names)),
        };
        let watched = attached.and_then(|taken| {
            core.watch_reading(&session, Source::Links)
                .map(|()| taken)
                .map_err(LinkError::Session)
        });
        let (info, name) = match watched {
            Ok(taken) => taken,
            Err(error) => {
                end_elsewhere(session);
                return Err(error);
            }
        };
        let info = LinkInfo {
            interface: told.interface,
            mac: info.as_ref().map(|info| info.mac.clone()),
            port: info.map(|info| info.port),
            addresses: plan.addresses(),
            routes: plan.subnet.into_iter().chain(plan.prefix).collect(),
            domain: plan.domain,
            resolvers: plan.resolvers,
            names: told.names,
            guests: told.guests,
            name,
            notes: told.notes,
        };
        tracing::info!("the host is linked by {}", info.interface);
        self.0 = Some(Open {
            info: info.clone(),
            session,
        });
        Ok(info)
    }

    /// Take the link off; `None` if there is none.
    pub(crate) fn detach(&mut self, core: &mut Core, guests: &mut Guests) -> Option<Unlinked> {
        let Open { info, session } = self.0.take()?;
        if let Err(error) = core.unwatch(&session) {
            tracing::debug!("a session is watched on: {error}");
        }
        if let Some(port) = info.port {
            guests.detach_tap(core, port);
        }
        Some(Unlinked { info, session })
    }

    /// A session may have ended.
    pub(crate) fn handle_change(&mut self, core: &mut Core, guests: &mut Guests) {
        let has_ended = |open: &Open| crate::uplink::has_ended(open.session.as_fd());
        if self.0.as_ref().is_some_and(has_ended)
            && let Some(Unlinked { info, .. }) = self.detach(core, guests)
        {
            tracing::warn!("the link {} is gone: atoll-helper has ended", info.interface);
        }
    }

    /// The TAP may have closed by itself.
    pub(crate) fn handle_closed(&mut self, core: &mut Core, guests: &mut Guests) {
        let is_gone = |open: &Open| {
            let port = open.info.port;
            port.is_some_and(|port| !guests.guests.contains_key(&PortId(port)))
        };
        if self.0.as_ref().is_some_and(is_gone)
            && let Some(Unlinked { info, session }) = self.detach(core, guests)
        {
            tracing::warn!("the link {} is gone: its interface was deleted", info.interface);
            end_elsewhere(session);
        }
    }

    /// What a link would be.
    fn kind(&self, about: &About) -> Result<Kind, LinkError> {
        match &self.0 {
            Some(open) => Err(LinkError::Linked(open.info.interface.clone())),
            None => kind(about.mode, about.isolate, crate::sys::HAS_RESOLVER_FILES),
        }
    }
}

/// What a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A guest on the network.
    Guest,
    /// The names of a network that the host is on.
    Names,
}

fn kind(mode: Mode, isolate: bool, has_resolver_files: bool) -> Result<Kind, LinkError> {
    match mode {
        Mode::Shared | Mode::Host if has_resolver_files => Ok(Kind::Names),
        Mode::User if has_resolver_files => Err(LinkError::NoTaps),
        Mode::User if isolate => Err(LinkError::Isolated),
        Mode::User => Ok(Kind::Guest),
        mode => Err(LinkError::Mode(mode)),
    }
}

/// Make the TAP a guest; its name there, if it has one.
fn take(
    core: &mut Core,
    guests: &mut Guests,
    about: &About,
    (tap, plan): (OwnedFd, &LinkPlan),
    interface: &str,
) -> Result<(TapInfo, Option<String>), LinkError> {
    let name = Some(NAME.to_owned()).filter(|name| !crate::taps::has_name(core, name));
    let spec = TapSpec {
        fd: tap,
        name: name.clone(),
        address: plan.address,
        address6: plan.address6,
    };
    let info = guests.attach_tap(core, about, spec)?;
    guests.rename(PortId(info.port), format!("link {interface}"));
    Ok((info, name))
}

/// The helper has little left to do then, but the loop waits for nobody.
fn end_elsewhere(session: Session) {
    let ended = std::thread::Builder::new()
        .name("atoll-unlink".to_owned())
        .spawn(move || drop(session));
    if let Err(error) = ended {
        tracing::warn!("the end of a link was not waited for: {error}");
    }
}

/// What of a word is a network's name to the helper: the rest is left out.
fn network_name(word: &str) -> Option<NetworkName> {
    let is_fit = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let word: String = word.chars().filter(is_fit).take(63).collect();
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_a_guest_or_names_or_a_sentence_by_mode_and_system() {
        let of = |mode, has_files| kind(mode, false, has_files).map_err(|error| error.to_string());
        assert_eq!(of(Mode::User, false), Ok(Kind::Guest));
        for mode in [Mode::Shared, Mode::Host] {
            assert_eq!(of(mode, true), Ok(Kind::Names));
            assert_eq!(
                kind(mode, true, true).ok(),
                Some(Kind::Names),
                "the host hears all"
            );
            assert!(of(mode, false).unwrap_err().contains("the host is on it already"));
        }
        for has_files in [false, true] {
            assert!(of(Mode::Bridged, has_files).unwrap_err().contains("LAN"));
        }
        let none = kind(Mode::User, false, true).unwrap_err();
        assert_eq!(
            none.to_string(),
            "on macOS the host cannot be linked to a network of mode user"
        );
        let hint = none.hint().unwrap();
        assert!(hint.contains("--proxy") && hint.contains("ssh-config"), "{hint}");
    }
}
