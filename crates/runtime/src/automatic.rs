//! Forwards that appear and go by themselves: a port of the host for every port at which a guest says that it listens.
//!
//! The engine tells what a guest reported ([`Action::Listening`](atoll_engine::Action::Listening)); here is what becomes of it. Every change
//! of a report is carried out at once, each port by the first rule that applies:
//!
//! | the guest's port | the host's |
//! |---|---|
//! | left out by `except`, or of another protocol | none |
//! | one to which another forward leads already, such as the one for ssh | none: that one is it |
//! | ephemeral, 32768 to 60999 | none: what listens there for a moment is nobody's service |
//! | UDP 68, 546, 5353, 5355, TCP 5355 | none: clients of DHCP and names of the link |
//! | below 1024, and this user may not have it | 10000 higher |
//! | taken on the host, by whomever | the next that is free, of [`TRIES`]; told in the log, with both names, once a port |
//! | all others | its own number |
//!
//! Nothing on the host is displaced. A port that found no place is tried again when the guest's report changes. Bounds: as many ports a guest as the
//! engine reports, [`MOST`] a network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use atoll_engine::{Command, Listening, WatchId};

use crate::core::Core;
use crate::forwards::Forwards;
use crate::{AutomaticSpec, ForwardError, ForwardId, ForwardSpec, GuestTarget, Manner, Protocol};

/// Host ports that are tried for one of a guest.
const TRIES: u16 = 16;
/// Forwards of this kind in a network.
const MOST: usize = 1024;
/// Linux's ephemeral ports, as they are set everywhere (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;
/// Sockets of every Linux that are nobody's service: DHCP's clients, mDNS, and LLMNR, at which systemd-resolved listens over TCP, too
/// (RFC 4795, section 2).
const OF_THE_LINK: [Listening; 5] = [
    Listening::Udp(68),
    Listening::Udp(546),
    Listening::Udp(5353),
    Listening::Udp(5355),
    Listening::Tcp(5355),
];

/// What appears by itself of one guest, as one line of the configuration has it.
#[derive(Debug)]
struct Automatic {
    spec: AutomaticSpec,
    /// The forwards that are there.
    made: BTreeMap<(Listening, IpAddr), ForwardId>,
    /// The ports of which the log has a warning: a guest that opens and closes them all the time fills no disk.
    warned: BTreeSet<Listening>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct AutomaticForwards {
    all: BTreeMap<WatchId, Automatic>,
    last_id: u32,
}

impl AutomaticForwards {
    /// What appears by itself of this guest from now on, in place of what did. What is the same stays, with its forwards.
    pub(crate) fn set(
        &mut self,
        core: &mut Core,
        forwards: &mut Forwards,
        (guest, specs): (&GuestTarget, Vec<AutomaticSpec>),
    ) -> Result<(), ForwardError> {
        let of_guest = self.all.iter().filter(|(_, it)| it.spec.guest == *guest);
        let old: Vec<WatchId> = of_guest
            .filter(|(_, it)| !specs.contains(&it.spec))
            .map(|(id, _)| *id)
            .collect();
        for id in old {
            self.remove(core, forwards, id);
        }
        for spec in specs {
            if !self.all.values().any(|it| it.spec == spec) {
                self.add(core, spec)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, core: &mut Core, spec: AutomaticSpec) -> Result<(), ForwardError> {
        let watch = WatchId(self.last_id + 1);
        let guest = spec.guest.clone().into();
        let now = core.now();
        let asked = core.engine.apply(now, Command::Watch { watch, guest });
        asked.map_err(|error| ForwardError::Guest(error.to_string()))?;
        self.last_id = watch.0;
        let automatic = Automatic {
            spec,
            made: BTreeMap::new(),
            warned: BTreeSet::new(),
        };
        self.all.insert(watch, automatic);
        Ok(())
    }

    fn remove(&mut self, core: &mut Core, forwards: &mut Forwards, watch: WatchId) {
        self.handle_listening(core, forwards, watch, &[]);
        self.all.remove(&watch);
        let now = core.now();
        if let Err(error) = core.engine.apply(now, Command::Unwatch(watch)) {
            tracing::debug!("a guest is still watched: {error}");
        }
    }

    /// `Action::Listening`.
    pub(crate) fn handle_listening(
        &mut self,
        core: &mut Core,
        forwards: &mut Forwards,
        watch: WatchId,
        ports: &[Listening],
    ) {
        let total: usize = self.all.values().map(|it| it.made.len()).sum();
        let Some(automatic) = self.all.get_mut(&watch) else {
            return;
        };
        let Automatic { spec, made, warned } = automatic;
        made.retain(|(port, _), id| {
            let stays = ports.contains(port);
            if !stays {
                // Somebody may have removed it by hand.
                let _ = forwards.remove(core, *id);
            }
            stays
        });
        let mut room = MOST.saturating_sub(total);
        let asked_for = asked_for(forwards, spec);
        for &port in ports {
            if !spec.takes(port) || asked_for.contains(&parts(port)) {
                continue;
            }
            for &address in &spec.addresses {
                if made.contains_key(&(port, address)) || room == 0 {
                    continue;
                }
                let (id, warning) = appear(core, forwards, spec, (port, address));
                if let Some(warning) = warning {
                    warn_once(warned, port, &warning);
                }
                if let Some(id) = id {
                    room -= 1;
                    made.insert((port, address), id);
                }
            }
        }
    }
}

impl AutomaticSpec {
    /// Whether a port of the guest's is to appear.
    fn takes(&self, listening: Listening) -> bool {
        let (protocol, port) = parts(listening);
        let is_left_out = self.except.iter().any(|ports| ports.contains(&port));
        self.protocol.is_none_or(|only| only == protocol)
            && !is_left_out
            && !OF_THE_LINK.contains(&listening)
            && !EPHEMERAL.contains(&port)
    }
}

fn parts(listening: Listening) -> (Protocol, u16) {
    match listening {
        Listening::Tcp(port) => (Protocol::Tcp, port),
        Listening::Udp(port) => (Protocol::Udp, port),
    }
}

/// The guest's ports to which forwards lead that somebody asked for by themselves.
fn asked_for(forwards: &Forwards, spec: &AutomaticSpec) -> Vec<(Protocol, u16)> {
    let all = forwards.list().into_iter();
    all.filter(|it| !it.automatic && it.guest == spec.guest)
        .map(|it| (it.protocol, it.guest_port))
        .collect()
}

fn warn_once(warned: &mut BTreeSet<Listening>, port: Listening, warning: &str) {
    if warned.insert(port) {
        tracing::warn!("{warning}");
    } else {
        tracing::debug!("{warning}");
    }
}

/// Make a forward for a port, at its own number or near it; and what there is to say if it is not its own.
fn appear(
    core: &mut Core,
    forwards: &mut Forwards,
    spec: &AutomaticSpec,
    (listening, address): (Listening, IpAddr),
) -> (Option<ForwardId>, Option<String>) {
    let (protocol, port) = parts(listening);
    let (mut candidate, mut first) = (port, None::<ForwardError>);
    for _ in 0..TRIES {
        let wanted = ForwardSpec {
            protocol,
            listen: SocketAddr::new(address, candidate).into(),
            guest: spec.guest.clone(),
            guest_port: port,
            manner: Manner {
                renumber: false,
                keep_source: spec.keep_source,
            },
        };
        let next = match forwards.add(core, wanted) {
            Ok(info) => {
                forwards.note_automatic(info.id, port);
                let elsewhere =
                    |why| format!("port {port} of {} is found at {}: {why}", spec.guest, info.listen);
                return (Some(info.id), first.map(elsewhere));
            }
            Err(why @ ForwardError::Forbidden { .. }) => {
                first.get_or_insert(why);
                candidate.checked_add(Manner::RENUMBERED_BY)
            }
            Err(why @ (ForwardError::Taken { .. } | ForwardError::Clash { .. })) => {
                first.get_or_insert(why);
                candidate.checked_add(1)
            }
            Err(why) => {
                first.get_or_insert(why);
                None
            }
        };
        match next {
            Some(next) => candidate = next,
            None => break,
        }
    }
    let nowhere = |why| format!("port {port} of {} is not forwarded: {why}", spec.guest);
    (None, first.map(nowhere))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> AutomaticSpec {
        AutomaticSpec {
            guest: GuestTarget::Name("web".to_owned()),
            addresses: vec![std::net::Ipv4Addr::LOCALHOST.into()],
            protocol: None,
            except: vec![22..=22, 9000..=9010],
            keep_source: false,
        }
    }

    #[test]
    fn what_is_nobodys_service_does_not_appear() {
        use Listening::{Tcp, Udp};
        for (port, expected) in [
            (Tcp(80), true),
            (Udp(53), true),
            (Tcp(22), false),
            (Udp(22), false),
            (Tcp(9005), false),
            (Tcp(32_767), true),
            (Tcp(32_768), false),
            (Udp(60_999), false),
            (Tcp(61_000), true),
            (Udp(68), false),
            (Tcp(68), true),
            (Udp(5355), false),
            (Tcp(5355), false),
        ] {
            assert_eq!(spec().takes(port), expected, "{port:?}");
        }
        let only = AutomaticSpec {
            protocol: Some(Protocol::Udp),
            ..spec()
        };
        assert!(only.takes(Udp(53)) && !only.takes(Tcp(80)));
    }
}
