//! What a network's mode asks for and does not take.
//!
//! A bridged network leaves addresses, names and routes to the LAN; in the other modes they are ours. What each mode does not
//! take stands in one table, with what the reader of the error can do instead.

use crate::diagnostic::{Diagnostic, Report, Span};
use crate::file::NetworkFile;
use crate::lan::{Mode, Via};
use crate::name::Name;
use crate::read::Spot;

/// A mode, a key that it does not take, and what to do instead.
const NOT_TAKEN: &[(Mode, &str, &str)] = &[
    (
        Mode::User,
        "interface",
        "mode: bridged puts machines on the LAN of an interface",
    ),
    (Mode::User, "via", "mode: bridged puts machines on the host's LAN"),
    (Mode::Bridged, "subnet", LAN_GIVES_ADDRESSES),
    (Mode::Bridged, "ipv6", LAN_GIVES_ADDRESSES),
    (
        Mode::Bridged,
        "host-loopback",
        "machines reach the host at its address on the LAN",
    ),
    (
        Mode::Bridged,
        "dns",
        "the LAN's DHCP server says which DNS servers to ask",
    ),
    (Mode::Bridged, "hosts", "names on a LAN are its DNS server's"),
    (
        Mode::Bridged,
        "ntp",
        "the LAN's DHCP server says which time servers to ask",
    ),
    (
        Mode::Bridged,
        "ntp-server",
        "the LAN's DHCP server says which time servers to ask",
    ),
    (Mode::Bridged, "dhcp-options", LAN_HAS_DHCP),
    (Mode::Bridged, "dhcp6-options", LAN_HAS_DHCP),
    (Mode::Bridged, "tftp", LAN_HAS_DHCP),
    (Mode::Bridged, "boot", LAN_HAS_DHCP),
    (
        Mode::Bridged,
        "routes",
        "the LAN's DHCP server says which routes there are",
    ),
    (
        Mode::Bridged,
        "host-ports",
        "machines reach the host at its address on the LAN",
    ),
    (Mode::Bridged, "routes-to", OTHERS_ROUTE),
    (Mode::Bridged, "host-sockets", NO_ALIAS),
    (Mode::Bridged, "policy", KERNEL_ROUTES),
    (
        Mode::Shared,
        "via",
        "only a bridged network has several ways; interface says which one leads outside",
    ),
    (Mode::Shared, "host-loopback", HOST_IS_FIRST),
    (Mode::Shared, "host-ports", HOST_IS_FIRST),
    (Mode::Shared, "routes-to", OTHERS_ROUTE),
    (Mode::Shared, "host-sockets", NO_ALIAS),
    (Mode::Shared, "policy", KERNEL_ROUTES),
    (
        Mode::Host,
        "interface",
        "mode: shared leads outside by way of an interface",
    ),
    (
        Mode::Host,
        "via",
        "only a bridged network has several ways onto the LAN",
    ),
    (Mode::Host, "host-loopback", HOST_IS_FIRST),
    (Mode::Host, "host-ports", HOST_IS_FIRST),
    (Mode::Host, "routes-to", OTHERS_ROUTE),
    (Mode::Host, "host-sockets", NO_ALIAS),
    (Mode::Host, "policy", KERNEL_ROUTES),
];

const LAN_GIVES_ADDRESSES: &str = "machines on a LAN have addresses that it gives them";
const LAN_HAS_DHCP: &str = "machines on a LAN hear what its DHCP server says";
const KERNEL_ROUTES: &str =
    "rules and limits are for networks of mode user, whose packets Atoll itself carries";
const OTHERS_ROUTE: &str = "networks of mode user can be joined; elsewhere the host or the LAN routes";
const NO_ALIAS: &str = "only networks of mode user have a host alias";
const HOST_IS_FIRST: &str = "machines reach the host at the first address of the subnet";

/// Reports what does not fit the network's mode.
pub(crate) fn check(name: &Spot<Name>, file: &NetworkFile, report: &mut Report) {
    let mode = mode(file);
    if file.mode.is_none() && file.given.iter().any(|(key, _)| *key == "mode") {
        return; // What it takes is not known: the mode could not be read.
    }
    let of_mode = |span: Span, key: &str| {
        let title = format!(
            "network {:?} is {} and takes no {key}",
            name.value.as_str(),
            adjective(mode)
        );
        let diagnostic = Diagnostic::new(title, span);
        match &file.mode {
            Some(mode) => diagnostic.and(mode.span.clone(), "its mode"),
            None => diagnostic,
        }
    };
    for (_, key, instead) in NOT_TAKEN.iter().filter(|(of, _, _)| *of == mode) {
        if let Some((_, span)) = file.given.iter().find(|(given, _)| given == key) {
            report.push(of_mode(span.clone(), key).with_hint((*instead).to_owned()));
        }
    }
    if mode == Mode::Bridged && file.interface.is_none() && !file.wrong {
        let title = format!(
            "network {:?} is bridged but names no interface",
            name.value.as_str()
        );
        let span = file
            .mode
            .as_ref()
            .map_or(name.span.clone(), |mode| mode.span.clone());
        let hint = "name the host's interface on the LAN, such as interface: eth0".to_owned();
        report.push(Diagnostic::new(title, span).with_hint(hint));
    }
}

/// The mode that the file asks for.
pub(crate) fn mode(file: &NetworkFile) -> Mode {
    file.mode.as_ref().map(|mode| mode.value).unwrap_or_default()
}

fn adjective(mode: Mode) -> &'static str {
    match mode {
        Mode::User => "of mode user",
        Mode::Bridged => "bridged",
        Mode::Shared => "shared",
        Mode::Host => "of mode host",
    }
}

/// A bridge can be made over an interface once.
pub(crate) fn check_bridges(networks: &[(Spot<Name>, NetworkFile)], report: &mut Report) {
    let mut made: Vec<&NetworkFile> = Vec::new();
    for (_, file) in networks {
        let is_new = file.via.as_ref().is_some_and(|via| via.value == Via::NewBridge);
        let Some(interface) = file.interface.as_ref().filter(|_| is_new) else {
            continue;
        };
        let same = |known: &&NetworkFile| {
            known
                .interface
                .as_ref()
                .is_some_and(|it| it.value == interface.value)
        };
        match made
            .iter()
            .copied()
            .find(same)
            .and_then(|known| known.interface.as_ref())
        {
            Some(first) => {
                let title = format!("two networks make a bridge over {}", interface.value);
                let hint = "put the machines on one of them".to_owned();
                let diagnostic = Diagnostic::new(title, interface.span.clone());
                report.push(
                    diagnostic
                        .and(first.span.clone(), "the other one")
                        .with_hint(hint),
                );
            }
            None => made.push(file),
        }
    }
}
