//! The arguments that say how host and guests reach each other, beside `--forward`.

use std::net::{IpAddr, SocketAddr};

use atoll_control::cluster::reach as words;
use atoll_control::runtime::{
    ForwardSpec, GuestTarget, HostPortSpec, HostSide, ListenAt, Mac, Manner, Protocol,
};
use atoll_control::spec;

use super::arguments::{bad, each, hinted, unix};
use crate::failure::Failure;

const MAC_LEN: usize = "52:54:00:12:34:56".len();

/// `--proxy`.
pub(super) fn proxies(values: &[String]) -> Result<Vec<SocketAddr>, Failure> {
    each(values, |value| {
        hinted::<spec::ProxyAddress>("--proxy", value).map(|proxy| proxy.0)
    })
}

/// `--host-port` and `--host-socket`.
pub(super) fn host_ports(ports: &[String], sockets: &[String]) -> Result<Vec<HostPortSpec>, Failure> {
    let mut listed = each(ports, host_port)?;
    listed.extend(each(sockets, host_socket)?);
    Ok(listed)
}

fn host_port(value: &str) -> Result<HostPortSpec, Failure> {
    hinted::<spec::HostPort>("--host-port", value).map(words::host_port)
}

fn host_socket(value: &str) -> Result<HostPortSpec, Failure> {
    const HINT: &str = "write PORT=unix:PATH, as in 2375=unix:/run/docker.sock";
    let read = value
        .split_once('=')
        .and_then(|(number, path)| Some((number.parse::<spec::PortNumber>().ok()?, path)));
    let Some((port, path)) = read else {
        return Err(bad("--host-socket", value, "this is no port with a socket", HINT));
    };
    let path = unix("--host-socket", path)?;
    if path.is_relative() {
        return Err(bad(
            "--host-socket",
            value,
            "the path is relative",
            "write it from the root on",
        ));
    }
    Ok(HostPortSpec {
        port: port.get(),
        to: HostSide::Socket(path),
    })
}

/// `--forward unix:PATH:GUEST:PORT`, of which `socket` is what follows the first colon; the guest may be left out where it is known.
/// `check` says whether an address is a guest's.
pub(super) fn socket_forward(
    value: &str,
    socket: &str,
    known: Option<&str>,
    check: impl Fn(IpAddr) -> Result<(), Failure>,
) -> Result<Vec<ForwardSpec>, Failure> {
    let wrong = || {
        bad(
            "--forward",
            value,
            "this is no forward of a unix socket",
            "write unix:PATH:GUEST:PORT, as in unix:/tmp/docker.sock:10.77.0.2:2375",
        )
    };
    let (rest, number) = socket.rsplit_once(':').ok_or_else(wrong)?;
    let guest_port: spec::PortNumber = number.parse().map_err(|_| wrong())?;
    let guest_port = guest_port.get();
    if let Some((path, mac)) = mac_behind(rest) {
        return Ok(vec![socket_to(path, GuestTarget::Mac(mac), guest_port)]);
    }
    let separator = if rest.ends_with(']') { ":[" } else { ":" };
    let (path, guest) = match (rest.rfind(separator), known) {
        (Some(at), _) => (&rest[..at], &rest[at + 1..]),
        (None, Some(guest)) => (rest, guest),
        (None, None) => return Err(wrong()),
    };
    let guest = match format!("1:{guest}:1").parse::<spec::GuestForward>() {
        Ok(spec::GuestForward {
            guest: spec::Guest::Address(address),
            ..
        }) => {
            check(address)?;
            GuestTarget::Address(address)
        }
        Ok(spec::GuestForward {
            guest: spec::Guest::Name(name),
            ..
        }) => GuestTarget::Name(name.to_string()),
        Err(_) => return Err(wrong()),
    };
    if path.is_empty() {
        return Err(wrong());
    }
    Ok(vec![socket_to(path, guest, guest_port)])
}

fn socket_to(path: &str, guest: GuestTarget, guest_port: u16) -> ForwardSpec {
    ForwardSpec {
        protocol: Protocol::Tcp,
        listen: ListenAt::Socket(path.into()),
        guest,
        guest_port,
        manner: Manner::default(),
    }
}

/// A path and the MAC address behind it.
fn mac_behind(text: &str) -> Option<(&str, Mac)> {
    let at = text.len().checked_sub(MAC_LEN)?;
    let mac: spec::Mac = text.get(at..)?.parse().ok()?;
    let path = text[..at].strip_suffix(':').filter(|path| !path.is_empty())?;
    Some((path, Mac(mac.octets())))
}

/// A MAC address, with or without something before it.
pub(super) fn mac_at_end(text: &str) -> Option<(&str, Mac)> {
    let at = text.len().checked_sub(MAC_LEN)?;
    let mac: spec::Mac = text.get(at..)?.parse().ok()?;
    let before = &text[..at];
    Some((before.strip_suffix(':').unwrap_or(before), Mac(mac.octets())))
}

/// `--forward` to several guests: what `one` makes of it with each of them, with one guest in the place of the others.
pub(super) fn balanced(
    value: &str,
    one: impl Fn(&str) -> Result<Vec<ForwardSpec>, Failure>,
) -> Result<Vec<ForwardSpec>, Failure> {
    if value.split(',').any(has_mac) {
        let hint = "give addresses or names, or a forward for each";
        return Err(bad(
            "--forward",
            value,
            "several guests are not given by MAC address",
            hint,
        ));
    }
    let (before, guests, after) = guests_of(value);
    let mut all = Vec::new();
    for guest in guests.split(',') {
        let forwards = one(&format!("{before}{guest}{after}"))?;
        if all.is_empty() {
            all = vec![Vec::new(); forwards.len()];
        }
        for (several, forward) in all.iter_mut().zip(forwards) {
            if several
                .iter()
                .any(|other: &ForwardSpec| other.guest == forward.guest)
            {
                let why = format!("{} is given twice", forward.guest);
                return Err(bad("--forward", value, why, "give each guest once"));
            }
            several.push(forward);
        }
    }
    let merge = |several: Vec<ForwardSpec>| {
        let guests = several.iter().map(|forward| forward.guest.clone()).collect();
        let first = several.into_iter().next()?;
        let guest = GuestTarget::OneOf(guests);
        Some(ForwardSpec { guest, ..first })
    };
    Ok(all.into_iter().filter_map(merge).collect())
}

/// Whether a part of a list of guests begins or ends with a MAC address, whose colons would be taken for the forward's.
fn has_mac(part: &str) -> bool {
    let end = part.len().checked_sub(MAC_LEN).and_then(|at| part.get(at..));
    let mut ends = end.into_iter().chain(part.get(..MAC_LEN));
    ends.any(|text| text.parse::<spec::Mac>().is_ok())
}

/// The field between colons in which the first comma is, and what stands before and after it. Colons in brackets are an address's.
fn guests_of(value: &str) -> (&str, &str, &str) {
    let mut inside = false;
    let is_separator = |c: char| {
        inside = (inside || c == '[') && c != ']';
        c == ':' && !inside
    };
    let comma = value.find(',').unwrap_or(0);
    let separators: Vec<usize> = value.match_indices(is_separator).map(|(at, _)| at).collect();
    let start = separators.iter().rfind(|at| **at < comma).map_or(0, |at| at + 1);
    let end = separators
        .iter()
        .find(|at| **at > comma)
        .map_or(value.len(), |at| *at);
    (&value[..start], &value[start..end], &value[end..])
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_host_socket_is_a_port_and_a_path_from_the_root_on() {
        let read = host_socket("2375=unix:/run/a").unwrap();
        assert_eq!((read.port, read.to), (2375, HostSide::Socket("/run/a".into())));
        for text in ["2375", "2375=/run/a", "0=unix:/run/a", "2375=unix:a", "a=unix:/a"] {
            assert!(host_socket(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mac_address_may_end_a_text() {
        let mac = "52:54:00:12:34:56";
        assert_eq!(mac_at_end(mac).unwrap().0, "");
        assert_eq!(mac_at_end(&format!("[::1]:{mac}")).unwrap().0, "[::1]");
        assert!(mac_at_end("web").is_none() && mac_at_end("127.0.0.1:a").is_none());
    }

    #[test]
    fn several_guests_are_the_field_with_commas() {
        for (value, parts) in [
            ("80:a,b:80", ("80:", "a,b", ":80")),
            (
                "[::1]:80:[fd77::2],10.77.0.3,web:80/tcp",
                ("[::1]:80:", "[fd77::2],10.77.0.3,web", ":80/tcp"),
            ),
            (",", ("", ",", "")),
            ("a,b", ("", "a,b", "")),
        ] {
            assert_eq!(guests_of(value), parts, "{value}");
        }
        let one = |value: &str| {
            let read: spec::GuestForward = value.parse().map_err(|_| bad("--forward", value, "no", "no"))?;
            let listen = ListenAt::Address((Ipv4Addr::LOCALHOST, 80).into());
            Ok(vec![ForwardSpec {
                protocol: Protocol::Tcp,
                listen,
                guest: GuestTarget::Name(read.guest.to_string()),
                guest_port: 80,
                manner: Manner::default(),
            }])
        };
        let made = balanced("80:a,b:80", one).unwrap();
        assert_eq!((made.len(), made[0].guest.to_string()), (1, "a,b".to_owned()));
        let macs = "80:52:54:00:12:34:56,52:54:00:12:34:57:80";
        for value in [macs, "80:a,52:54:00:12:34:56:80"] {
            let refused = format!("{:?}", balanced(value, one).unwrap_err());
            assert!(refused.contains("by MAC address"), "{refused}");
        }
        for value in ["80:a,a:80", "80:a,,b:80", "80:a,b", "8,0:a:80", "80:a:8,0"] {
            assert!(balanced(value, one).is_err(), "{value}");
        }
    }

    #[test]
    fn a_sockets_path_may_hold_colons_and_its_guest_brackets() {
        let read = |socket: &str, known| socket_forward(socket, socket, known, |_| Ok(()));
        for (socket, path, guest) in [
            ("/tmp/a.sock:web:80", "/tmp/a.sock", "web"),
            ("/tmp/a:b.sock:10.77.0.2:80", "/tmp/a:b.sock", "10.77.0.2"),
            ("/tmp/a.sock:[fd77::2]:80", "/tmp/a.sock", "fd77::2"),
            (
                "/tmp/a.sock:52:54:00:12:34:56:80",
                "/tmp/a.sock",
                "52:54:00:12:34:56",
            ),
        ] {
            let forwards = read(socket, None).unwrap();
            assert_eq!(forwards[0].listen, ListenAt::Socket(path.into()));
            assert_eq!(forwards[0].guest.to_string(), guest);
        }
        assert_eq!(
            read("/tmp/a.sock:80", Some("exec")).unwrap()[0].guest.to_string(),
            "exec"
        );
        for socket in [
            "/tmp/a.sock",
            "/tmp/a.sock:80",
            ":web:80",
            "/tmp/a:web:0",
            "/tmp/a:we b:80",
        ] {
            assert!(read(socket, None).is_err(), "{socket}");
        }
    }
}
