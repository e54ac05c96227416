//! What can be said only once. Of two arguments that contradict each other the second is refused, instead of one of them being
//! forgotten without a word.

use std::net::IpAddr;

use atoll_control::runtime::{NetworkOptions, StaticLease};

use super::arguments::bad;
use crate::failure::Failure;

/// Names that every network has (see the engine's names).
const BUILT_IN: [&str; 2] = ["gateway", "host"];

pub(super) fn check(options: &NetworkOptions) -> Result<(), Failure> {
    leases(options)?;
    names(options)?;
    forwards(options)
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

fn forwards(options: &NetworkOptions) -> Result<(), Failure> {
    for (count, forward) in options.forwards.iter().enumerate() {
        let mut earlier = options.forwards.iter().take(count);
        let is_same =
            earlier.any(|other| (other.protocol, other.listen) == (forward.protocol, forward.listen));
        if is_same && forward.listen.port() != 0 {
            let why = format!("the {} port is given twice", forward.protocol);
            return Err(bad(
                "--forward",
                &forward.listen.to_string(),
                why,
                "give each host port once",
            ));
        }
    }
    Ok(())
}
