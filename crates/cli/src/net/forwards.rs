//! `--forward` and what it leads to.

use super::arguments::{Lan, bad, hinted};
use super::mode::mac_in;
use super::reach;
use crate::failure::Failure;
use atoll_control::cluster::networks;
use atoll_control::runtime::{AutomaticSpec, ForwardSpec, GuestTarget, Mac};
use atoll_control::spec::{self};

/// One forward for each port of a range.
pub(super) fn forwards(value: &str, lan: Lan, guest: Option<&str>) -> Result<Vec<ForwardSpec>, Failure> {
    if let Some(rest) = value.strip_suffix(",source=keep") {
        let mut made = forwards(rest, lan, guest)?;
        for forward in &mut made {
            forward.manner.keep_source = true;
        }
        return Ok(made);
    }
    if let Some(socket) = value.strip_prefix("unix:") {
        return reach::socket_forward(value, socket, guest, |address| {
            lan.check_guest("--forward", value, address)
        });
    }
    if let (Some(guest), Ok(forward)) = (guest, value.parse::<spec::Forward>()) {
        return Ok(pairs(&forward, &GuestTarget::Name(guest.to_owned()), lan));
    }
    if value.contains(',') {
        // They have no address in common but 127.0.0.1.
        let lan = Lan {
            loopback: None,
            ..lan
        };
        let one = |value: &str| forwards(value, lan, guest);
        return reach::balanced(value, one);
    }
    if let Some((mac, named)) = mac_in(value) {
        let read: spec::GuestForward = hinted("--forward", &named)?;
        return Ok(pairs(&read.forward, &GuestTarget::Mac(Mac(mac.octets())), lan));
    }
    let read: spec::GuestForward = hinted("--forward", value)?;
    let guest = match read.guest {
        spec::Guest::Name(name) => GuestTarget::Name(name.to_string()),
        spec::Guest::Address(address) => {
            lan.check_guest("--forward", value, address)?;
            GuestTarget::Address(address)
        }
    };
    Ok(pairs(&read.forward, &guest, lan))
}

/// `[BIND:]GUEST:*[/PROTOCOL]…`, where the guest may be known already.
pub(super) fn automatic_forward(
    value: &str,
    lan: Lan,
    known: Option<&str>,
) -> Result<AutomaticSpec, Failure> {
    let at = value
        .split(',')
        .next()
        .and_then(|place| place.rfind('*'))
        .unwrap_or(0);
    let (before, star) = value.split_at(at);
    let before = before.strip_suffix(':').unwrap_or(before);
    let (bind, guest) = match known {
        Some(name) => (before, GuestTarget::Name(name.to_owned())),
        None => guest_behind(value, before, lan)?,
    };
    let bind = if bind.is_empty() {
        String::new()
    } else {
        format!("{bind}:")
    };
    let read: spec::AutoForward = hinted("--forward", &format!("{bind}{star}"))?;
    let own = lan
        .loopback
        .map(|addresses| addresses.address(&guest.to_string()));
    Ok(networks::automatic_spec(&read, &guest, own))
}

/// The guest at the end of `[BIND:]GUEST`, and what stands before it.
fn guest_behind<'a>(value: &str, text: &'a str, lan: Lan) -> Result<(&'a str, GuestTarget), Failure> {
    if let Some((bind, mac)) = reach::mac_at_end(text) {
        return Ok((bind, GuestTarget::Mac(mac)));
    }
    let separator = if text.ends_with(']') { ":[" } else { ":" };
    let (bind, guest) = match text.rfind(separator) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => ("", text),
    };
    let read: spec::GuestForward = format!("1:{guest}:1").parse().map_err(|_| {
        bad(
            "--forward",
            value,
            "this names no guest",
            "write GUEST:*, as in web:* or 10.77.0.2:*",
        )
    })?;
    let guest = match read.guest {
        spec::Guest::Name(name) => GuestTarget::Name(name.to_string()),
        spec::Guest::Address(address) => {
            lan.check_guest("--forward", value, address)?;
            GuestTarget::Address(address)
        }
    };
    Ok((bind, guest))
}

fn pairs(forward: &spec::Forward, guest: &GuestTarget, lan: Lan) -> Vec<ForwardSpec> {
    let own = lan
        .loopback
        .map(|addresses| addresses.address(&guest.to_string()));
    networks::forward_specs(forward, guest, own)
}
