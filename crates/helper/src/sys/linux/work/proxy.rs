//! A TAP to which addresses are routed, and for which the host answers on a card.
//!
//! For guests the host answers whatever they ask for over IPv4 (`proxy_arp` of the TAP), so that they may believe to be on the LAN.
//! Over IPv6 they need the host as their router: its link-local address is in the grant.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use super::super::address::{self, link_local};
use super::super::host::{Host, failed};
use super::super::journal::Undo;
use super::super::link;
use super::super::names::Name;
use super::super::settings::{forwarding4, forwarding6};
use super::{existing, grant, obstacles, refuse, tap};
use crate::{Grant, InterfaceName, Refusal};

pub(super) fn proxy_arp(
    host: &mut Host,
    name: &InterfaceName,
    addresses: &[IpAddr],
) -> Result<(Grant, OwnedFd), Refusal> {
    let card = existing(host, name.as_str())?;
    let own = address::addresses(&mut host.route, None).map_err(failed("list the addresses"))?;
    let taken = addresses
        .iter()
        .find(|it| own.iter().any(|record| record.address() == Some(**it)));
    if let Some(address) = taken {
        return refuse(format!("{address} is the host's own address"));
    }
    let (interface, index, fd) = tap(host, card.packet_mtu(), "atoll: guests that are answered for")?;
    configure(host, &interface)?;
    link::set_up(&mut host.route, index).map_err(failed("start the TAP"))?;
    let has_six = addresses.iter().any(IpAddr::is_ipv6);
    if has_six {
        let mac = existing(host, interface.as_str())?.mac;
        let local = mac.map(link_local).unwrap_or(std::net::Ipv6Addr::UNSPECIFIED);
        address::add(&mut host.route, index, local.into(), 64).map_err(failed("give the TAP its address"))?;
    }
    forward(host, name, (addresses.iter().any(IpAddr::is_ipv4), has_six))?;
    for address in addresses {
        address::add_host_route(&mut host.route, index, *address)
            .map_err(failed(&format!("route {address} to the TAP")))?;
        host.will(Undo::Proxy {
            link: name.as_str().to_owned(),
            address: *address,
        })?;
        address::set_proxy(&mut host.route, card.index, *address, true)
            .map_err(failed(&format!("answer for {address} on {name}")))?;
    }
    let notes = obstacles(host);
    let side = existing(host, interface.as_str())?;
    let mut grant = grant(host, &interface, &side)?;
    grant.notes = notes;
    Ok((grant, fd))
}

/// Settings of the TAP, before it is up: unlike other TAPs it is a link of the host's.
fn configure(host: &Host, name: &Name) -> Result<(), Refusal> {
    for (path, value) in [
        (format!("ipv6/conf/{name}/accept_ra"), "0"),
        (format!("ipv6/conf/{name}/autoconf"), "0"),
        (format!("ipv6/conf/{name}/addr_gen_mode"), "1"),
        (format!("ipv6/conf/{name}/disable_ipv6"), "0"),
        (format!("ipv6/conf/{name}/forwarding"), "1"),
        (format!("ipv6/conf/{name}/accept_redirects"), "0"),
        (format!("ipv4/conf/{name}/accept_redirects"), "0"),
        (format!("ipv4/conf/{name}/forwarding"), "1"),
        (format!("ipv4/conf/{name}/proxy_arp"), "1"),
        // Answer at once: the delay is for several hosts that answer (arp_process in net/ipv4/arp.c).
        (format!("ipv4/neigh/{name}/proxy_delay"), "0"),
    ] {
        host.settings
            .put(&path, value)
            .map_err(failed("set the TAP up"))?;
    }
    Ok(())
}

fn forward(host: &mut Host, card: &InterfaceName, (four, six): (bool, bool)) -> Result<(), Refusal> {
    let mut changes = Vec::new();
    if four {
        changes
            .extend(forwarding4(&host.settings, Some(card.as_str())).map_err(failed("read the settings"))?);
    }
    if six {
        changes.push((format!("ipv6/conf/{card}/proxy_ndp"), Some("1")));
        changes.extend(forwarding6(&host.settings).map_err(failed("read the settings"))?);
    }
    host.will(Undo::Settings)?;
    host.settings
        .change(&changes)
        .map_err(failed("let the host forward"))
}
