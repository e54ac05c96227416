//! What can be said only once. Of two arguments that contradict each other the second is refused, instead of one of them being
//! forgotten without a word.

use std::net::IpAddr;

use atoll_control::runtime::{ForwardSpec, HostPortSpec, HostSide, NetworkOptions, StaticLease};

use super::arguments::bad;
use crate::failure::Failure;

/// Names that every network has (see the engine's names).
const BUILT_IN: [&str; 2] = ["gateway", "host"];

pub(super) fn check(options: &NetworkOptions) -> Result<(), Failure> {
    leases(options)?;
    names(options)?;
    forwards(options)?;
    host_ports(&options.host_ports)
}

/// Of one MAC address there is one lease, with an address of each family at most.
fn leases(options: &NetworkOptions) -> Result<(), Failure> {
    for (count, lease) in options.static_leases.iter().enumerate() {
        for address in addresses(lease) {
            let mut earlier = options.static_leases.iter().take(count);
            if let Some(owner) = earlier.find(|other| addresses(other).any(|taken| taken == address)) {
                let value = format!("{}={address}", lease.mac);
                let why = format!("{} has {address} already", owner.mac);
                return Err(bad("--lease", &value, why, "give each address once"));
            }
        }
    }
    Ok(())
}

fn addresses(lease: &StaticLease) -> impl Iterator<Item = IpAddr> {
    let v4 = lease.address.map(IpAddr::from);
    v4.into_iter().chain(lease.address6.map(IpAddr::from))
}

fn names(options: &NetworkOptions) -> Result<(), Failure> {
    for name in options.names.keys() {
        let label = name
            .strip_suffix(&options.domain)
            .and_then(|head| head.strip_suffix('.'))
            .unwrap_or(name);
        if BUILT_IN.contains(&label) {
            let why = "every network has this name of itself";
            return Err(bad("--dns-host", name, why, "choose another name"));
        }
    }
    Ok(())
}

/// A port at the alias leads to one place; and a UDP port of the host is reached at one port of it, since its answers come from there.
fn host_ports(listed: &[HostPortSpec]) -> Result<(), Failure> {
    let is_udp = |listed: &HostPortSpec| matches!(listed.to, HostSide::Udp(_));
    for (count, port) in listed.iter().enumerate() {
        let mut earlier = listed
            .iter()
            .take(count)
            .filter(|other| is_udp(other) == is_udp(port));
        let clashes = |other: &&HostPortSpec| other.port == port.port || is_udp(port) && other.to == port.to;
        if earlier.any(|other| clashes(&other)) {
            let value = match &port.to {
                HostSide::Tcp(to) => format!("{to}:{}", port.port),
                HostSide::Udp(to) => format!("{to}:{}/udp", port.port),
                HostSide::Socket(path) => format!("{}=unix:{}", port.port, path.display()),
            };
            let why = "one of its two ports is given already";
            return Err(bad("--host-port", &value, why, "give each port once"));
        }
    }
    Ok(())
}

fn forwards(options: &NetworkOptions) -> Result<(), Failure> {
    for (count, forward) in options.forwards.iter().enumerate() {
        let mut earlier = options.forwards.iter().take(count);
        let clash = earlier
            .find(|other| other.protocol == forward.protocol && other.listen.conflicts_with(&forward.listen));
        if let Some(other) = clash {
            let place = |forward: &ForwardSpec| format!("port {} of {}", forward.guest_port, forward.guest);
            let why = format!(
                "this leads to {} already, and cannot lead to {}",
                place(other),
                place(forward)
            );
            let hint = "give each place of the host once";
            return Err(bad("--forward", &forward.listen.to_string(), why, hint));
        }
    }
    Ok(())
}
