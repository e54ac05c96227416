//! What each request does. Whatever fails, the caller undoes what was done for it.

mod host_link;
mod lan;
mod own;
mod proxy;

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;

use atoll_ports::attach_tap;
use atoll_wire::Mac;

use super::host::{Host, failed};
use super::journal::Undo;
use super::link::{self, Link, Made};
use super::names::{Kind, Name, random};
use super::{address, nft};
use crate::{Grant, Ipv4Net, Ipv6Net, Refusal, RefusalKind, Request};

/// Carry out a request that the policy allows.
pub(super) fn carry_out(host: &mut Host, request: &Request) -> Result<(Grant, OwnedFd), Refusal> {
    match request {
        Request::Bridge { bridge } => lan::bridge(host, bridge),
        Request::NewBridge { interface } => lan::new_bridge(host, interface),
        Request::Macvtap { interface, mac } => lan::macvtap(host, interface, *mac),
        Request::Own {
            reach,
            network,
            subnet,
            prefix,
            mtu,
            outside,
        } => {
            let wanted = own::Wanted {
                reach: *reach,
                network,
                subnet: *subnet,
                prefix: *prefix,
                mtu: *mtu,
                outside: outside.as_ref(),
            };
            own::own(host, &wanted)
        }
        Request::Link(wanted) => host_link::link(host, wanted),
        Request::Names(_) => {
            refuse("on Linux the resolver is told of names together with a link's interface, and not alone")
        }
        Request::ProxyArp { interface, addresses } => proxy::proxy_arp(host, interface, addresses),
    }
}

fn refuse<T>(sentence: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(RefusalKind::Failed, sentence))
}

/// The link of this name, or a sentence that there is none.
fn existing(host: &mut Host, name: &str) -> Result<Link, Refusal> {
    let found = link::by_name(&mut host.route, name).map_err(failed("list the interfaces"))?;
    found.ok_or_else(|| {
        Refusal::new(RefusalKind::Failed, format!("there is no interface {name}"))
            .with_hint("`ip link` lists the interfaces")
    })
}

/// A MAC address of ours, which a bridge never takes for its own: it takes the lowest of its ports.
fn high_mac() -> Mac {
    let [a, b, c, d, e] = random();
    Mac([0xfe, a, b, c, d, e])
}

/// A TAP that is up, with a virtio_net_hdr. The host itself has no address on it.
fn tap(host: &mut Host, mtu: u16, alias: &str) -> Result<(Name, u32, OwnedFd), Refusal> {
    let name = Name::new(Kind::Tap);
    let device = host.opener.tun().map_err(failed("open /dev/net/tun"))?;
    host.will(Undo::Link(name.clone()))?;
    let tap = attach_tap(device, name.as_str())
        .map_err(|error| Refusal::new(RefusalKind::Failed, error.to_string()))?;
    silence(host, &name)?;
    let made = Made {
        name: name.as_str(),
        mac: high_mac(),
        mtu: Some(mtu),
        alias,
    };
    let index = link::set_up_tap(&mut host.route, &made).map_err(failed("set up the TAP"))?;
    Ok((name, index, tap))
}

/// A TAP that is a bridge's port.
fn port(host: &mut Host, bridge: u32, mtu: u16, alias: &str) -> Result<(Name, OwnedFd), Refusal> {
    let (name, index, tap) = tap(host, mtu, alias)?;
    link::set_master(&mut host.route, index, bridge).map_err(failed("put the TAP into the bridge"))?;
    link::set_up(&mut host.route, index).map_err(failed("start the TAP"))?;
    Ok((name, tap))
}

/// The host does not speak IPv6 on a link by itself: no link-local address, no solicitations.
fn silence(host: &Host, name: &Name) -> Result<(), Refusal> {
    let path = format!("ipv6/conf/{name}/disable_ipv6");
    host.settings
        .put(&path, "1")
        .map_err(failed("keep IPv6 from the TAP"))
}

/// Guests on addresses that the host has elsewhere would take these from it.
fn must_be_free(host: &mut Host, subnet: Option<Ipv4Net>, prefix: Option<Ipv6Net>) -> Result<(), Refusal> {
    let taken = address::addresses(&mut host.route, None).map_err(failed("list the addresses"))?;
    for record in &taken {
        let len = record.prefix_len();
        let other = match record.address() {
            Some(IpAddr::V4(it)) => subnet
                .filter(|net| net.overlaps(&Ipv4Net::around(it, len)))
                .map(|net| net.to_string()),
            Some(IpAddr::V6(it)) => prefix
                .filter(|net| net.overlaps(&Ipv6Net::around(it, len)))
                .map(|net| net.to_string()),
            None => None,
        };
        if let (Some(range), Some(address)) = (other, record.address()) {
            return refuse(format!(
                "{range} is in use: the host has the address {address}/{len}"
            ))
            .map_err(|refusal: Refusal| {
                refusal.with_hint("choose another subnet or prefix for this network")
            });
        }
    }
    Ok(())
}

/// The host's addresses on a link: link-local, and the others.
fn host_side(host: &mut Host, index: u32) -> Result<(Option<Ipv6Addr>, Vec<IpAddr>), Refusal> {
    let list = address::addresses(&mut host.route, Some(index)).map_err(failed("list the addresses"))?;
    let is_link_local = |it: &IpAddr| matches!(it, IpAddr::V6(it) if it.is_unicast_link_local());
    let (local, others): (Vec<_>, Vec<_>) = list
        .iter()
        .filter_map(address::Record::address)
        .partition(is_link_local);
    let local = local.into_iter().find_map(|it| match it {
        IpAddr::V6(it) => Some(it),
        IpAddr::V4(_) => None,
    });
    Ok((local, others))
}

/// What there is to say of a grant by way of a link of the host's.
fn grant(host: &mut Host, interface: &Name, side: &Link) -> Result<Grant, Refusal> {
    grant_named(host, interface.as_str(), side)
}

fn grant_named(host: &mut Host, interface: &str, side: &Link) -> Result<Grant, Refusal> {
    let (link_local, addresses) = host_side(host, side.index)?;
    Ok(Grant {
        interface: interface.to_owned(),
        mtu: side.packet_mtu(),
        mac: side.mac.unwrap_or(Mac([0; 6])),
        link_local,
        host: addresses,
        notes: Vec::new(),
        names: None,
    })
}

/// What keeps forwarded packets from passing, where that can be seen.
fn obstacles(host: &mut Host) -> Vec<String> {
    // A kernel without nf_tables has no such chains.
    host.filter().and_then(nft::obstacles).unwrap_or_default()
}
