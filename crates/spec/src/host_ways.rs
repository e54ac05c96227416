//! That the ways between guests and programs of the host do not get into each other's way: a port of the host alias leads to one place,
//! and a port of the host is listened at once.

use std::net::Ipv4Addr;

use crate::automatic::ForwardEntry;
use crate::check::PlacedMachine;
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::file::NetworkFile;
use crate::forward::{Forward, Protocol};
use crate::host_side::ProxyAddress;
use crate::networks::PlacedNetwork;
use crate::read::Spot;

/// A port of the alias, where it is spoken of, and the port of the host that it leads to, if it is one.
type Listed<'a> = (Protocol, u16, Option<u16>, &'a Span);

/// Each port at the alias once; and a UDP port of the host once, since its answers come from there.
pub(crate) fn check_alias(file: &NetworkFile, report: &mut Report) {
    let ports = file.host_ports.iter().flat_map(|several| &several.0);
    let ports = ports.map(|Spot { value, span }| (value.protocol, value.guest, Some(value.host), span));
    let sockets = file.host_sockets.iter().flat_map(|entries| &entries.0);
    let sockets = sockets.map(|(port, _)| (Protocol::Tcp, port.value.get(), None, &port.span));
    let mut seen: Vec<Listed<'_>> = Vec::new();
    for listed in ports.chain(sockets) {
        let (protocol, guest, host, span) = listed;
        let clashes = |other: &&Listed<'_>| {
            other.0 == protocol && (other.1 == guest || protocol == Protocol::Udp && other.2 == host)
        };
        if let Some((_, taken, _, first)) = seen.iter().find(clashes) {
            let title = match *taken == guest {
                true => format!("port {guest}/{protocol} of the host alias leads to two places"),
                false => "a UDP port of the host is reached at two ports of the host alias".to_owned(),
            };
            report.push(Diagnostic::new(title, span.clone()).and((*first).clone(), "the other one"));
        }
        seen.push(listed);
    }
}

/// No two proxies, and no proxy and forward, may listen at one port of the host. One that the host is to choose is nobody else's. A
/// machine may have an address of the host's loopback for itself.
pub(crate) fn check_proxies(
    networks: &[PlacedNetwork],
    machines: &[PlacedMachine],
    loopbacks: &[Option<Ipv4Addr>],
    report: &mut Report,
) {
    let entries = machines.iter().zip(loopbacks).flat_map(|(machine, own)| {
        let entries = machine.file.forwards.iter().flatten();
        entries.map(move |entry| (entry, *own))
    });
    let fixed = entries.filter_map(|(entry, own)| match &entry.value {
        ForwardEntry::Fixed(forward) => Some((forward.at(own), &entry.span)),
        ForwardEntry::Automatic(_) => None,
    });
    let forwards: Vec<(Forward, &Span)> = fixed.collect();
    let mut seen: Vec<&Spot<ProxyAddress>> = Vec::new();
    for proxy in networks.iter().flat_map(|placed| &placed.proxies) {
        let address = proxy.value.0;
        let listens = |(forward, _): &&(Forward, &Span)| {
            let is_tcp = forward.protocol() == Protocol::Tcp;
            is_tcp && forward.listeners().any(|(listen, _)| listen == address)
        };
        let other = seen.iter().find(|other| other.value == proxy.value);
        let other = other.map(|other| (&other.span, "the other proxy"));
        let other = other.or_else(|| Some((forwards.iter().find(listens)?.1, "the forward")));
        if let Some((first, what)) = other.filter(|_| address.port() != 0) {
            let title = format!("port {address} of the host is wanted twice");
            report.push(Diagnostic::new(title, proxy.span.clone()).and(first.clone(), what));
        }
        seen.push(proxy);
    }
}
