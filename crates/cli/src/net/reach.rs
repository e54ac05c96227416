//! The arguments that say how host and guests reach each other, beside `--forward`.

use std::net::{Ipv4Addr, SocketAddr};

use super::arguments::{bad, each};
use crate::failure::Failure;

/// `--proxy`.
pub(super) fn proxies(values: &[String]) -> Result<Vec<SocketAddr>, Failure> {
    let read = |value: &str| {
        let port = |text: &str| text.parse().ok().map(|port| (Ipv4Addr::LOCALHOST, port).into());
        port(value).or_else(|| value.parse().ok()).ok_or_else(|| {
            bad(
                "--proxy",
                value,
                "this is no port of the host",
                "write a port, or an address with one, as in 127.0.0.1:1080 or [::1]:1080",
            )
        })
    };
    each(values, read)
}
