//! The host's own link to a network: a TAP of which the network has the other side.
//!
//! Rules come before the first packet can, and addresses are in use at once. The subnets are routed to it as any link's are, by the
//! kernel itself; a network at which the host's routes point already is refused. What a resolver is told goes with the link.
//!
//! What a guest may do to the host by ARP is its settings': the host answers for this link's address only (`arp_ignore`), and says no
//! other address of its own there (`arp_announce`).

use std::os::fd::OwnedFd;

use atoll_ports::attach_tap;
use atoll_wire::Mac;

use super::super::address;
use super::super::host::{Host, failed};
use super::super::journal::Undo;
use super::super::link::{self, Made};
use super::super::names::{LinkName, random};
use super::super::nft::{self, LinkRules};
use super::super::routes;
use super::{existing, grant_named, must_be_free, refuse};
use crate::link::LinkRequest;
use crate::{Grant, Refusal, RefusalKind};

pub(super) fn link(host: &mut Host, wanted: &LinkRequest) -> Result<(Grant, OwnedFd), Refusal> {
    must_be_free(host, wanted.subnet, wanted.prefix)?;
    let clash = routes::clash(&mut host.route, wanted.subnet, wanted.prefix);
    if let Some(sentence) = clash.map_err(failed("list the routes"))? {
        return Err(Refusal::new(RefusalKind::Failed, sentence)
            .with_hint("choose another subnet or prefix for this network"));
    }
    let token = format!("{:08x}", u32::from_ne_bytes(random()));
    let (name, tap) = make(host, wanted, &token)?;
    configure(host, wanted, &name)?;
    rules(host, wanted, (&name, &token))?;
    let index = existing(host, name.as_str())?.index;
    link::set_up(&mut host.route, index).map_err(failed("start the link"))?;
    for (address, len) in wanted.addresses() {
        let add = address::add(&mut host.route, index, address, len);
        add.map_err(failed(&format!("give the link the address {address}/{len}")))?;
    }
    let side = existing(host, name.as_str())?;
    let mut grant = grant_named(host, name.as_str(), &side)?;
    match names(host, wanted, &name) {
        Ok(who) => grant.names = who,
        Err(why) => grant.notes.push(why),
    }
    Ok((grant, tap))
}

/// The TAP, down, under the first name that no other link has.
fn make(host: &mut Host, wanted: &LinkRequest, token: &str) -> Result<(LinkName, OwnedFd), Refusal> {
    let links = link::all(&mut host.route).map_err(failed("list the interfaces"))?;
    let is_free = |name: &LinkName| !links.iter().any(|link| link.name == name.as_str());
    let Some(name) = LinkName::candidates(&wanted.network).find(is_free) else {
        return refuse(format!(
            "all names of interfaces that {} could have are taken",
            wanted.network
        ));
    };
    let device = host.opener.tun().map_err(failed("open /dev/net/tun"))?;
    host.will(Undo::HostLink {
        name: name.clone(),
        token: format!("({token})"),
    })?;
    let tap = attach_tap(device, name.as_str())
        .map_err(|error| Refusal::new(RefusalKind::Failed, error.to_string()))?;
    let [a, b, c, d, e] = random();
    let made = Made {
        name: name.as_str(),
        // Locally administered (IEEE 802, 8.2.2).
        mac: Mac([0x52, a, b, c, d, e]),
        mtu: Some(wanted.mtu),
        alias: &format!("atoll: this host on the network {} ({token})", wanted.network),
    };
    link::set_up_tap(&mut host.route, &made).map_err(failed("set up the link"))?;
    Ok((name, tap))
}

/// Settings of the link, before it is up. They go with it.
fn configure(host: &Host, wanted: &LinkRequest, name: &LinkName) -> Result<(), Refusal> {
    let no_six = if wanted.prefix.is_some() { "0" } else { "1" };
    for (family, setting, value) in [
        // A guest is no router of the host's, and the host none of a guest's.
        ("ipv6", "accept_ra", "0"),
        ("ipv6", "autoconf", "0"),
        ("ipv6", "accept_redirects", "0"),
        ("ipv6", "forwarding", "0"),
        ("ipv6", "disable_ipv6", no_six),
        ("ipv4", "accept_redirects", "0"),
        ("ipv4", "send_redirects", "0"),
        ("ipv4", "accept_source_route", "0"),
        ("ipv4", "forwarding", "0"),
        ("ipv4", "rp_filter", "1"),
        ("ipv4", "arp_ignore", "1"),
        ("ipv4", "arp_announce", "2"),
    ] {
        let put = host
            .settings
            .put(&format!("{family}/conf/{name}/{setting}"), value);
        put.map_err(failed(&format!("set {setting} of the link")))?;
    }
    Ok(())
}

fn rules(host: &mut Host, wanted: &LinkRequest, (name, token): (&LinkName, &str)) -> Result<(), Refusal> {
    let table = format!("atoll_link_{token}");
    host.will(Undo::Table(table.clone()))?;
    let rules = LinkRules {
        table: &table,
        interface: name.as_str(),
        subnet: wanted.subnet,
        prefix: wanted.prefix,
        guests: wanted.guests,
    };
    let socket = host.filter().map_err(failed("reach nf_tables"))?;
    nft::add_link(socket, &rules).map_err(failed("make the rules of nf_tables"))
}

/// Who was told of the network's names; or why nobody was.
fn names(host: &mut Host, wanted: &LinkRequest, name: &LinkName) -> Result<Option<String>, String> {
    let Some(domain) = &wanted.domain else {
        return Ok(None);
    };
    let told = host.opener.resolve(name, wanted);
    told.map(|()| Some("systemd-resolved".to_owned()))
        .map_err(|error| format!("programs of this host do not look up names below {domain} there: {error}"))
}
