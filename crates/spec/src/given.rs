//! Whether an address that the file gives a NIC is one that a guest of its network can have.

use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::diagnostic::{Diagnostic, Report, Span};
use crate::file::NicFile;
use crate::lan::{Mode, Via};
use crate::name::Name;
use crate::networks::PlacedNetwork;
use crate::read::Spot;

/// Reports what is wrong with the addresses of a NIC, which the file speaks of at this place.
pub(crate) fn check(
    machine: &Name,
    nic_span: &Span,
    nic: &NicFile,
    placed: &PlacedNetwork,
    report: &mut Report,
) {
    if placed.network.mode == Mode::Bridged {
        return check_on_lan(machine, nic_span, nic, placed, report);
    }
    if let Some(address) = &nic.addresses.v4
        && let Some(problem) = problem_v4(placed, address.value)
    {
        report_unusable(machine, address, problem, report);
    }
    if let Some(address) = &nic.addresses.v6
        && let Some(problem) = problem_v6(placed, address.value)
    {
        report_unusable(machine, address, problem, report);
    }
}

/// On a LAN a machine has the address that it is given there, but where the host answers for it: that must be told which.
fn check_on_lan(machine: &Name, nic_span: &Span, nic: &NicFile, placed: &PlacedNetwork, report: &mut Report) {
    let (machine, network) = (machine.as_str(), placed.network.name.as_str());
    let given = &nic.addresses;
    let v4 = given.v4.as_ref().map(|address| &address.span);
    let span = v4.or(given.v6.as_ref().map(|address| &address.span));
    let proxied = placed.network.via == Some(Via::ProxyArp);
    match span {
        Some(span) if !proxied => {
            let title = format!(
                "machine {machine:?} cannot choose its address on network {network:?}, which is bridged"
            );
            let hint = "the LAN's DHCP server gives it one: reserve it there for the NIC's MAC".to_owned();
            report.push(Diagnostic::new(title, span.clone()).with_hint(hint));
        }
        None if proxied && !nic.wrong => {
            let title = format!("machine {machine:?} needs an address on network {network:?}");
            let span = nic_span.clone();
            let hint = "via: proxy-arp answers for addresses of the LAN that are free: address: 192.168.1.50";
            report.push(Diagnostic::new(title, span).with_hint(hint.to_owned()));
        }
        _ => {}
    }
}

/// Why no guest of the network can have an address of IPv4, and what to do about it.
fn problem_v4(placed: &PlacedNetwork, address: Ipv4Addr) -> Option<(String, String)> {
    let (mode, network) = (placed.network.mode, placed.network.name.as_str());
    let Some(subnet) = placed.network.subnet else {
        return Some((
            format!("is of IPv4, which network {network:?} does not have"),
            "give the network a subnet".to_owned(),
        ));
    };
    let first = Ipv4Addr::from_bits(subnet.gateway().to_bits() + 1);
    let last = Ipv4Addr::from_bits(subnet.host_alias().to_bits() - 1);
    let reserved = subnet.reserved_for(address).map(|owner| owner_of(mode, owner));
    let problem = problem_of(network, &subnet, subnet.contains(address), reserved)?;
    Some((problem, format!("machines can have {first} to {last}")))
}

/// The same for IPv6.
fn problem_v6(placed: &PlacedNetwork, address: Ipv6Addr) -> Option<(String, String)> {
    let (mode, network) = (placed.network.mode, placed.network.name.as_str());
    let Some(prefix) = placed.network.ipv6 else {
        return Some((
            format!("is of IPv6, which network {network:?} does not have"),
            "give the network a prefix: ipv6: fd77:77::/64".to_owned(),
        ));
    };
    let (gateway, alias) = (prefix.gateway(), prefix.host_alias());
    let reserved = prefix.reserved_for(address).map(|owner| owner_of(mode, owner));
    let problem = problem_of(network, &prefix, prefix.contains(address), reserved)?;
    let hint = format!("machines can have addresses of {prefix} other than {gateway} and {alias}");
    Some((problem, hint))
}

/// What is wrong with an address that is inside the network's range or not, and may be reserved there.
fn problem_of(
    network: &str,
    range: &impl Display,
    is_inside: bool,
    reserved: Option<&str>,
) -> Option<String> {
    if !is_inside {
        return Some(format!("is outside network {network:?}, {range}"));
    }
    reserved.map(|owner| format!("is the {owner} of network {network:?}"))
}

/// Who has an address that is reserved: in modes of the host's, its kernel has the first and the network's services the last.
fn owner_of(mode: Mode, reserved: &'static str) -> &'static str {
    match reserved {
        "gateway" if mode.is_of_the_host() => "host's own address",
        "host alias" if mode.is_of_the_host() => "address of the services",
        owner => owner,
    }
}

/// Reports an address that no guest of the network can have.
fn report_unusable<A: Display>(
    machine: &Name,
    address: &Spot<A>,
    (problem, hint): (String, String),
    report: &mut Report,
) {
    let title = format!(
        "address {} of machine {:?} {problem}",
        address.value,
        machine.as_str()
    );
    report.push(Diagnostic::new(title, address.span.clone()).with_hint(hint));
}
