//! On the host's own LAN: a TAP in a bridge, a bridge over a card, a macvtap.

use std::os::fd::OwnedFd;

use atoll_ports::attach_tap;
use atoll_wire::Mac;

use super::super::address;
use super::super::host::{Host, failed};
use super::super::journal::{Moved, Undo};
use super::super::link::{self, Link, Made};
use super::super::names::{Kind, Name};
use super::{existing, grant, host_side, port, refuse, silence};
use crate::{Grant, InterfaceName, Refusal, RefusalKind};

pub(super) fn bridge(host: &mut Host, name: &InterfaceName) -> Result<(Grant, OwnedFd), Refusal> {
    let bridge = existing(host, name.as_str())?;
    if !bridge.is_bridge() {
        return Err(Refusal::new(RefusalKind::Failed, format!("{name} is no bridge"))
            .with_hint("macvtap and new-bridge are the ways by way of a network card"));
    }
    // A port with a smaller MTU would take the bridge's down with it.
    let (interface, tap) = port(
        host,
        bridge.index,
        bridge.packet_mtu(),
        "atoll: a guest in this bridge",
    )?;
    // One without a port had no address of its own until now.
    let bridge = existing(host, name.as_str())?;
    Ok((grant(host, &interface, &bridge)?, tap))
}

/// A card that guests can be put on.
fn card(host: &mut Host, name: &InterfaceName) -> Result<Link, Refusal> {
    let card = existing(host, name.as_str())?;
    if !card.is_ethernet {
        return refuse(format!("{name} is no Ethernet interface"));
    }
    if !card.is_up {
        return Err(Refusal::new(RefusalKind::Failed, format!("{name} is not up"))
            .with_hint(format!("the administrator starts it: ip link set {name} up")));
    }
    Ok(card)
}

pub(super) fn macvtap(host: &mut Host, name: &InterfaceName, mac: Mac) -> Result<(Grant, OwnedFd), Refusal> {
    let card = card(host, name)?;
    if card.mac == Some(mac) {
        return refuse(format!("{mac} is the address of {name} itself"));
    }
    let interface = Name::new(Kind::Macvtap);
    host.will(Undo::Link(interface.clone()))?;
    let made = Made {
        name: interface.as_str(),
        mac,
        mtu: Some(card.packet_mtu()),
        alias: "atoll: a guest",
    };
    let index = link::add_macvtap(&mut host.route, &made, card.index)
        .map_err(failed(&format!("make a macvtap on {name}")))?;
    silence(host, &interface)?;
    link::set_up_macvtap(&mut host.route, index).map_err(failed("start the macvtap"))?;
    let device = host
        .opener
        .macvtap(&interface)
        .map_err(failed("open the macvtap's device"))?;
    let tap = attach_tap(device, interface.as_str())
        .map_err(|error| Refusal::new(RefusalKind::Failed, error.to_string()))?;
    Ok((grant(host, &interface, &card)?, tap))
}

pub(super) fn new_bridge(host: &mut Host, name: &InterfaceName) -> Result<(Grant, OwnedFd), Refusal> {
    let card = card(host, name)?;
    if card.is_bridge() {
        return refuse(format!("{name} is a bridge itself"));
    }
    if card.master.is_some() {
        return Err(Refusal::new(
            RefusalKind::Failed,
            format!("{name} is part of another interface already"),
        )
        .with_hint("a TAP in that one is what `via: bridge` gives, if it is a bridge"));
    }
    let Some(mac) = card.mac else {
        return refuse(format!("{name} has no Ethernet address"));
    };
    let (moved, bridge) = prepare(host, &card)?;
    let made = Made {
        name: bridge.as_str(),
        mac,
        mtu: Some(card.packet_mtu()),
        alias: &format!("atoll: over {name}"),
    };
    let index = link::add_bridge(&mut host.route, &made).map_err(failed("make a bridge"))?;
    as_on(host, &bridge, name)?;
    // The TAP first: it has a carrier, and so has then the bridge when the addresses come.
    let (interface, tap) = port(host, index, card.packet_mtu(), "atoll: a guest in this bridge")?;
    link::set_master(&mut host.route, card.index, index)
        .map_err(failed(&format!("put {name} into a bridge")))
        .map_err(|refusal| refusal.with_hint("Wi-Fi cannot be bridged; `via: proxy-arp` is the way there"))?;
    link::set_up(&mut host.route, index).map_err(failed("start the bridge"))?;
    transfer(host, &moved, (&card, index))?;
    let side = existing(host, bridge.as_str())?;
    let mut grant = grant(host, &interface, &side)?;
    // The kernel gives it once the carrier is there; with the same MAC address it is the card's.
    grant.link_local = grant.link_local.or(host_side(host, card.index)?.0);
    Ok((grant, tap))
}

/// What will move, written down.
fn prepare(host: &mut Host, card: &Link) -> Result<(Moved, Name), Refusal> {
    let addresses =
        address::movable_addresses(&mut host.route, card.index).map_err(failed("list the addresses"))?;
    let routes = address::movable_routes(&mut host.route, card.index).map_err(failed("list the routes"))?;
    let Some(routes) = routes else {
        return refuse(format!(
            "a route by way of {} has several ways or a shared next hop, and cannot be moved",
            card.name
        ));
    };
    let accept_dad = host.settings.get(&format!("ipv6/conf/{}/accept_dad", card.name));
    let accept_dad = accept_dad.map_err(failed("read the card's settings"))?;
    let bridge = Name::new(Kind::Bridge);
    let moved = Moved {
        card: card.name.clone(),
        bridge: bridge.clone(),
        addresses,
        routes,
        accept_dad,
    };
    host.will(Undo::Move(moved.clone()))?;
    Ok((moved, bridge))
}

/// The host hears its LAN's routers on the bridge as it did on the card.
fn as_on(host: &Host, bridge: &Name, card: &InterfaceName) -> Result<(), Refusal> {
    for setting in [
        "disable_ipv6",
        "accept_ra",
        "autoconf",
        "use_tempaddr",
        "addr_gen_mode",
        "forwarding",
    ] {
        let value = host.settings.get(&format!("ipv6/conf/{card}/{setting}"));
        if let Some(value) = value.map_err(failed("read the card's settings"))? {
            let put = host
                .settings
                .put(&format!("ipv6/conf/{bridge}/{setting}"), &value);
            put.map_err(failed("set the bridge up as the card"))?;
        }
    }
    Ok(())
}

/// From a card to a bridge. The addresses go first: the routes need them where they are going.
fn transfer(host: &mut Host, moved: &Moved, (card, bridge): (&Link, u32)) -> Result<(), Refusal> {
    for record in &moved.routes {
        address::take_route(&mut host.route, record, card.index).map_err(failed("move a route"))?;
    }
    for record in &moved.addresses {
        address::take_address(&mut host.route, record, card.index).map_err(failed("move an address"))?;
    }
    host.put_all(moved, bridge, moved.bridge.as_str())
        .map_err(failed("move the addresses and routes"))
}
