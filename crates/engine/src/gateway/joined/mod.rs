//! Networks joined by routing: what passes between guests here and guests of another network of ours.
//!
//! ```text
//! guest ─▶ gateway here ── Action::Route ══▶ Event::Routed ── gateway there ─▶ guest
//!            │ whose address, which rules,              │ who may begin, MTU,
//!            │ one hop less                             │ one hop less, neighbors
//! ```
//!
//! Two gateways are two routers with a link between them, of any MTU. A packet is routed, not translated: both ends see each other's addresses,
//! and TCP is theirs. What one gateway hands to the other is an IP packet with its offloads; the engine that gets it reads it anew and believes
//! nothing of it but which network it came from.
//!
//! - **Who may begin.** A join says for each direction whether guests may begin conversations there. Each gateway keeps [conversations]; what is of
//!   none passes only if it may begin one: a first segment, a datagram, an echo request. A segment from the middle of a connection may, too, if its
//!   sender might have begun it, so that connections outlive a restart of the network; who might not is not answered.
//! - **Whose words.** A packet passes the checks of all that guests send (anti-spoofing, limits), and the rules of its own network's policy when
//!   it begins a conversation. That a network is `internal` says that it has no outside; a joined network is named, and so is inside. `isolate`
//!   and groups divide a network within itself.
//! - **Where to.** To addresses that guests there may have, and from such; not to or from a gateway, its host alias or the metadata address,
//!   nor anything of a link's own or a group's. A gateway's ICMP errors about a conversation pass as those of its guests do.
//! - **Fragments** are put together, judged whole, and cut anew where they must be; a packet that may not be cut is too big for the MTU of
//!   the network it goes to, as that one's gateway says. IPv4 packets with options do not pass: some of them route (RFC 7126).
//! - **Nobody there.** Addresses are [asked for](super::neighbors) on behalf of other networks in a bounded part of the table; who does not answer is
//!   unreachable. Where the other network does not run, it is.
//!
//! Left out: more than one step. A network that is joined with a second is no way to a third.

mod arrive;
mod conversations;
mod leave;
mod said;
mod send;

use std::net::IpAddr;

use atoll_wire::{FrameBuf, Offload};

pub(crate) use arrive::{handle_lost, handle_routed, tell_unreachable};
pub(super) use leave::leave;

use crate::policy::Attempt;
use crate::rng::KeyedHash;
use crate::{Addresses, Counter, Instant, JoinId, JoinedNetwork, Lan, PortId};
use conversations::{Beginner, Conversations, Key};
use said::Said;

/// An IP packet on its way from one network to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedPacket {
    /// It, from its IP header on, with room for an Ethernet header before it.
    pub packet: FrameBuf,
    /// What is still to be done with it; offsets count from the Ethernet header.
    pub offload: Offload,
    /// Behind which port of its own network the sender is: what bounds a sender does so by this. [`u32::MAX`]: the gateway itself.
    pub origin: u32,
    /// It was put together from fragments, and may be cut again.
    pub was_cut: bool,
}

/// The networks that this one is joined with.
#[derive(Debug)]
pub(crate) struct Joined {
    networks: Vec<JoinedNetwork>,
    conversations: Conversations,
}

impl Joined {
    pub(crate) fn new(networks: &[JoinedNetwork], hash: KeyedHash) -> Self {
        Self {
            networks: networks.to_vec(),
            conversations: Conversations::new(hash),
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// The network of which an address is.
    pub(crate) fn network_of(&self, address: IpAddr) -> Option<&JoinedNetwork> {
        self.networks.iter().find(|it| it.addresses.contains(address))
    }

    /// The port is gone.
    pub(crate) fn forget_port(&mut self, port: PortId) {
        self.conversations.forget_port(port);
    }

    /// Conversations that are remembered.
    pub(crate) fn count(&self) -> usize {
        self.conversations.len()
    }
}

/// Whether a guest of a network may have this address: it is none of the gateway's, nor one that stands for several.
fn is_a_guests(addresses: Addresses, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => addresses.subnet.is_some_and(|it| it.is_for_guests(address)),
        IpAddr::V6(address) => addresses.prefix.is_some_and(|it| {
            let is_kept = [it.address, it.gateway(), it.host_alias()].contains(&address);
            it.contains(address) && !is_kept
        }),
    }
}

/// A packet that is to pass between here and there.
#[derive(Clone, Copy, Debug)]
struct Passing {
    said: Said,
    here: IpAddr,
    there: IpAddr,
    /// Whose it is.
    sender: Beginner,
    /// Whether its sender may begin a conversation, as far as the join goes.
    may_begin: bool,
}

/// Why a packet does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// It would begin what may not begin: its sender may be told.
    Beginning,
    /// It is of nothing that is known, or over a limit.
    Silently,
}

/// Whether a packet passes; if not, that was counted. A conversation that begins is known from then on.
fn judge(lan: &mut Lan, now: Instant, passing: &Passing) -> Result<(), Refused> {
    let (ends, is_from_here) = ((passing.here, passing.there), passing.sender.is_here());
    let talk = match passing.said {
        Said::Talk(talk, _) => talk,
        // It is about a packet that came the other way.
        Said::Error { talk, .. } => {
            let key = Key::of(talk, ends, !is_from_here);
            let is_known = lan.joined.conversations.beginner(now, &key).is_some();
            return is_known
                .then_some(())
                .ok_or_else(|| refused(lan, Refused::Silently));
        }
    };
    let key = Key::of(talk, ends, is_from_here);
    let conversations = &mut lan.joined.conversations;
    let beginner = conversations.beginner(now, &key);
    // Only who began a connection may begin it anew.
    let is_known = beginner.is_some_and(|it| !passing.said.is_syn() || it.is_here() == is_from_here);
    if !is_known {
        begin(lan, now, passing, key)?;
    }
    let ends = passing.said.ends();
    lan.joined.conversations.note(now, &key, is_from_here, ends);
    Ok(())
}

fn begin(lan: &mut Lan, now: Instant, passing: &Passing, key: Key) -> Result<(), Refused> {
    if !passing.said.may_begin() {
        return Err(refused(lan, Refused::Silently));
    }
    if !passing.may_begin {
        let is_first = !matches!(passing.said, Said::Talk(_, Some(_))) || passing.said.is_syn();
        let why = if is_first {
            Refused::Beginning
        } else {
            Refused::Silently
        };
        return Err(refused(lan, why));
    }
    let most = match passing.sender {
        Beginner::Here(port) => permits(lan, now, port, &key)?,
        Beginner::There(..) => usize::MAX,
    };
    let conversations = &mut lan.joined.conversations;
    if conversations.begin(now, key, passing.sender, most)
        && let Beginner::Here(port) = passing.sender
    {
        lan.counters.count(Counter::LimitedFlows);
        lan.firewall.note_limited(port);
    }
    Ok(())
}

/// Whether rules and limits let a guest begin a conversation, and how many it may have.
fn permits(lan: &mut Lan, now: Instant, port: PortId, key: &Key) -> Result<usize, Refused> {
    let there = key.there();
    let attempt = Attempt {
        transport: key.transport(),
        to: there.ip,
        port: there.port,
    };
    if let Err(counter) = lan.firewall.judge_inside(now, port, attempt) {
        lan.counters.count(counter);
        lan.firewall.note_denied(port);
        return Err(Refused::Beginning);
    }
    if let Err(counter) = lan.firewall.take_flow(now, port) {
        lan.counters.count(counter);
        return Err(Refused::Silently);
    }
    Ok(lan.firewall.most_flows(port))
}

fn refused(lan: &mut Lan, why: Refused) -> Refused {
    lan.counters.count(Counter::RouteRefused);
    why
}

/// One hop less, in a sound header.
fn take_hop(packet: &mut [u8]) {
    super::relay::take_hop(packet);
}

/// The join of that number.
fn network(lan: &Lan, join: JoinId) -> Option<&JoinedNetwork> {
    lan.joined.networks.iter().find(|it| it.join == join)
}
