//! Answers by which the world's DNS names addresses that are not the world's.
//!
//! A page from outside can have its own name lead to a machine of ours once it is loaded, and then speaks to it as to
//! its own server (DNS rebinding). Where protection is on, an answer with such an address reaches nobody: the client
//! is told that the name has none. Resolvers that were configured for a suffix are believed, as that is their use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cache::Records;
use super::question::Question;
use crate::Addresses;

/// Whether an answer names an address of ours, or a private one.
pub(super) fn names_own(addresses: Addresses, question: &Question, answer: &[u8]) -> bool {
    // What cannot be read here can be read by no client either.
    let records = Records::read(answer, &question.section).unwrap_or_default();
    let data = records
        .addresses
        .into_iter()
        .filter_map(|place| answer.get(place));
    data.filter_map(address)
        .any(|address| addresses.contains(address) || is_private(address))
}

pub(super) fn address(data: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(data).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(data).map(IpAddr::from);
    v4.or_else(|_| v6()).ok()
}

fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_private4(address),
        IpAddr::V6(address) => is_private6(address),
    }
}

/// This host, private networks (RFC 1918), loopback, link-local, and addresses behind a carrier's translation
/// (RFC 6598).
fn is_private4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || (a == 100 && b & 0xc0 == 64)
}

fn is_private6(address: Ipv6Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_told_from_the_worlds() {
        let private = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "::",
            "::1",
            "::ffff:10.1.2.3",
            "fd77::1",
            "fe80::1",
        ];
        for address in private {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in [
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }
}
