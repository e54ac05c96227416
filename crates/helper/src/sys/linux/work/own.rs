//! A bridge of its own: `shared` and `host`.
//!
//! The host has the first address of both families, used at once. It believes no router that a guest claims to be. Packets between the
//! bridge and elsewhere pass by the rules of one table ([`super::super::nft`]).

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;

use atoll_wire::Mac;

use super::super::address::{self, link_local};
use super::super::host::{Host, failed};
use super::super::journal::Undo;
use super::super::link::{self, Made};
use super::super::names::{Kind, Name, random};
use super::super::nft::{self, Rules};
use super::super::settings::{forwarding4, forwarding6};
use super::{existing, grant, must_be_free, obstacles, port};
use crate::net::NetworkName;
use crate::{Grant, InterfaceName, Ipv4Net, Ipv6Net, Reach, Refusal};

/// What is wanted.
pub(super) struct Wanted<'a> {
    pub(super) reach: Reach,
    pub(super) network: &'a NetworkName,
    pub(super) subnet: Option<Ipv4Net>,
    pub(super) prefix: Option<Ipv6Net>,
    pub(super) mtu: u16,
    pub(super) outside: Option<&'a InterfaceName>,
}

pub(super) fn own(host: &mut Host, wanted: &Wanted<'_>) -> Result<(Grant, OwnedFd), Refusal> {
    if let Some(name) = wanted.outside {
        existing(host, name.as_str())?;
    }
    must_be_free(host, wanted.subnet, wanted.prefix)?;
    let name = Name::new(Kind::Bridge);
    host.will(Undo::Link(name.clone()))?;
    let [a, b, c, d, e] = random();
    // Locally administered (IEEE 802, 8.2.2).
    let mac = Mac([0x52, a, b, c, d, e]);
    let made = Made {
        name: name.as_str(),
        mac,
        mtu: Some(wanted.mtu),
        alias: &format!("atoll: {} network {}", wanted.reach, wanted.network),
    };
    let index = link::add_bridge(&mut host.route, &made).map_err(failed("make a bridge"))?;
    configure(host, wanted, &name)?;
    let alias = format!("atoll: guests of {}", wanted.network);
    let (interface, tap) = port(host, index, wanted.mtu, &alias)?;
    link::set_up(&mut host.route, index).map_err(failed("start the bridge"))?;
    give_addresses(host, wanted, (index, mac))?;
    let notes = rules(host, wanted, &name)?;
    if wanted.reach == Reach::Shared {
        forward(host, wanted)?;
    }
    let side = existing(host, name.as_str())?;
    let mut grant = grant(host, &interface, &side)?;
    grant.notes = notes;
    Ok((grant, tap))
}

/// Settings of the bridge, before it is up.
fn configure(host: &Host, wanted: &Wanted<'_>, name: &Name) -> Result<(), Refusal> {
    let routes = if wanted.reach == Reach::Shared { "1" } else { "0" };
    for (path, value) in [
        // A guest is no router of the host's.
        ("ipv6/conf", ("accept_ra", "0")),
        ("ipv6/conf", ("autoconf", "0")),
        ("ipv6/conf", ("accept_redirects", "0")),
        ("ipv4/conf", ("accept_redirects", "0")),
        // The link-local address is given by hand, so that it is there at once.
        ("ipv6/conf", ("addr_gen_mode", "1")),
        ("ipv6/conf", ("forwarding", routes)),
        ("ipv4/conf", ("forwarding", routes)),
        // A guest is not believed that it is somebody from elsewhere (RFC 3704).
        ("ipv4/conf", ("rp_filter", "1")),
    ] {
        let (setting, value) = value;
        let put = host.settings.put(&format!("{path}/{name}/{setting}"), value);
        put.map_err(failed(&format!("set {setting} of the bridge")))?;
    }
    Ok(())
}

fn give_addresses(host: &mut Host, wanted: &Wanted<'_>, (index, mac): (u32, Mac)) -> Result<(), Refusal> {
    let mut list: Vec<(IpAddr, u8)> = Vec::new();
    list.extend(wanted.subnet.map(|net| (net.first_host().into(), net.len())));
    list.extend(wanted.prefix.map(|net| (net.first_host().into(), net.len())));
    for (address, len) in list {
        let add = address::add(&mut host.route, index, address, len);
        add.map_err(failed(&format!("give the bridge the address {address}/{len}")))?;
    }
    let local: Ipv6Addr = link_local(mac);
    let add = address::add(&mut host.route, index, local.into(), 64);
    if wanted.prefix.is_some() {
        return add.map_err(failed("give the bridge its link-local address"));
    }
    // A host without IPv6 does without.
    Ok(())
}

fn rules(host: &mut Host, wanted: &Wanted<'_>, name: &Name) -> Result<Vec<String>, Refusal> {
    let notes = if wanted.reach == Reach::Shared {
        obstacles(host)
    } else {
        Vec::new()
    };
    let table = format!("atoll_{}", name.digits());
    host.will(Undo::Table(table.clone()))?;
    let rules = Rules {
        table: &table,
        bridge: name.as_str(),
        reach: wanted.reach,
        subnet: wanted.subnet,
        prefix: wanted.prefix,
        outside: wanted.outside.map(InterfaceName::as_str),
    };
    let socket = host.filter().map_err(failed("reach nf_tables"))?;
    nft::add(socket, &rules).map_err(failed("make the rules of nf_tables"))?;
    Ok(notes)
}

/// The host routes from now on.
fn forward(host: &mut Host, wanted: &Wanted<'_>) -> Result<(), Refusal> {
    let mut changes = Vec::new();
    if wanted.subnet.is_some() {
        let outside = wanted.outside.map(InterfaceName::as_str);
        changes.extend(forwarding4(&host.settings, outside).map_err(failed("read the settings"))?);
    }
    if wanted.prefix.is_some() {
        changes.extend(forwarding6(&host.settings).map_err(failed("read the settings"))?);
    }
    host.will(Undo::Settings)?;
    host.settings
        .change(&changes)
        .map_err(failed("let the host forward"))
}
