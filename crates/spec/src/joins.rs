//! Networks of the file that are joined by routing: `routes-to` names those whose machines a network's own may begin conversations with.

use crate::diagnostic::{Diagnostic, Report};
use crate::lan::Mode;
use crate::name::Name;
use crate::networks::PlacedNetwork;
use crate::read::Spot;
use crate::route::{ROUTES, overlaps};
use crate::text::nearest;

/// Reports what is wrong with `routes-to`. Where a part of the networks could not be read, a name that is not found says nothing.
pub(crate) fn check(placed: &[PlacedNetwork], networks_wrong: bool, report: &mut Report) {
    for from in placed {
        for (at, to) in from.routes_to.iter().enumerate() {
            if let Some(first) = from.routes_to[..at].iter().find(|known| known.value == to.value) {
                let title = format!("network {:?} routes to {:?} twice", name(from), to.value.as_str());
                report.push(Diagnostic::new(title, to.span.clone()).and(first.span.clone(), "here, too"));
                continue;
            }
            match placed.iter().find(|other| other.network.name == to.value) {
                Some(other) => check_pair(from, other, to, report),
                None if networks_wrong => {}
                None => report.push(unknown(from, to, placed)),
            }
        }
    }
    placed
        .iter()
        .for_each(|network| check_routes(network, placed, report));
}

fn name(placed: &PlacedNetwork) -> &str {
    placed.network.name.as_str()
}

fn unknown(from: &PlacedNetwork, to: &Spot<Name>, placed: &[PlacedNetwork]) -> Diagnostic {
    let wanted = to.value.as_str();
    let title = format!(
        "network {:?} routes to {wanted:?}, which is no network",
        name(from)
    );
    let others = placed.iter().map(name).filter(|other| *other != name(from));
    let hint = match nearest(wanted, others.clone()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("the others are: {}", others.collect::<Vec<_>>().join(", ")),
    };
    Diagnostic::new(title, to.span.clone()).with_hint(hint)
}

fn check_pair(from: &PlacedNetwork, other: &PlacedNetwork, to: &Spot<Name>, report: &mut Report) {
    let (here, there) = (&from.network, &other.network);
    if here.name == there.name {
        let title = format!("network {:?} routes to itself", name(from));
        let hint = "machines of one network reach each other anyway".to_owned();
        return report.push(Diagnostic::new(title, to.span.clone()).with_hint(hint));
    }
    if here.mode != Mode::User {
        return; // It takes no such key.
    }
    if there.mode != Mode::User {
        let title = format!(
            "network {:?} cannot be routed to: its packets are not Atoll's to route",
            name(other)
        );
        let hint = "networks of mode user can be joined; machines with a NIC on both reach both".to_owned();
        return report.push(Diagnostic::new(title, to.span.clone()).with_hint(hint));
    }
    let both4 = here.subnet.is_some() && there.subnet.is_some();
    let both6 = here.ipv6.is_some() && there.ipv6.is_some();
    if !both4 && !both6 {
        let title = format!(
            "networks {:?} and {:?} have no family of addresses in common",
            name(from),
            name(other)
        );
        let hint = "give both of them a subnet, or both of them ipv6".to_owned();
        report.push(Diagnostic::new(title, to.span.clone()).with_hint(hint));
    }
}

/// A route by way of a machine must not lead where a join does; and guests are told so many routes.
fn check_routes(network: &PlacedNetwork, placed: &[PlacedNetwork], report: &mut Report) {
    let joined = |other: &&PlacedNetwork| {
        let leads = |from: &PlacedNetwork, to: &PlacedNetwork| {
            from.routes_to.iter().any(|it| it.value == to.network.name)
        };
        other.network.name != network.network.name && (leads(network, other) || leads(other, network))
    };
    let joined: Vec<&PlacedNetwork> = placed.iter().filter(joined).collect();
    for to in network.routes.iter().filter_map(|route| route.to.as_ref()) {
        if let Some(other) = joined.iter().find(|other| overlaps(&other.network, to.value)) {
            let title = format!(
                "the route to {} leads to network {:?}, which network {:?} is joined with",
                to.value,
                name(other),
                name(network)
            );
            let hint = "leave out the route, or routes-to".to_owned();
            report.push(Diagnostic::new(title, to.span.clone()).with_hint(hint));
        }
    }
    if let (Some(last), true) = (
        network.routes_to.last(),
        joined.len() + network.routes.len() > ROUTES,
    ) {
        let title = format!(
            "network {:?} has more than {ROUTES} routes, with those to joined networks",
            name(network)
        );
        report.push(Diagnostic::new(title, last.span.clone()));
    }
}
