//! systemd-resolved is told which names are a link's (org.freedesktop.resolve1(5)).
//!
//! It keeps what it is told for a link until the link goes, so there is nothing to undo. Names below the domain are asked of the network's
//! resolver, and others never are (`SetLinkDefaultRoute`). The domain is for routing only: as a search domain it would answer
//! single words such as `wpad` by the name that a guest has given itself.
//!
//! Numbers of links mean something in one network namespace only, and resolved is in that of process 1: where ours is another, the number
//! would be a link's of the host. Who sees the same `/proc/PID/net/dev` is in the same one: the kernel numbers that file for each
//! namespace, and lets everybody look.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::dbus::{Body, Bus, BusError, Target};
use crate::link::DomainName;

const SOCKET: &str = "/run/dbus/system_bus_socket";

const MANAGER: Target = Target {
    destination: "org.freedesktop.resolve1",
    path: "/org/freedesktop/resolve1",
    interface: "org.freedesktop.resolve1.Manager",
};

/// AF_INET, AF_INET6.
const INET: i32 = 2;
const INET6: i32 = 10;

/// The kernel tells it of a new link as it tells others, and a link that was just made may be unknown.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);
const NO_SUCH_LINK: &str = "org.freedesktop.resolve1.NoSuchLink";

/// Whether process 1 is in this network namespace; to be found out before the root folder changes.
pub(super) fn is_in_our_namespace() -> bool {
    let number = |process: &str| std::fs::metadata(format!("/proc/{process}/net/dev")).map(|it| it.ino());
    matches!((number("1"), number("self")), (Ok(first), Ok(own)) if first == own)
}

/// Tell it. The sentence that comes of a failure is the rest of one that says names are not looked up.
pub(super) fn tell(index: i32, domain: &DomainName, resolvers: &[IpAddr]) -> Result<(), String> {
    let mut bus = Bus::connect(SOCKET).map_err(|error| sentence(&error))?;
    let mut tries = 1;
    for (member, signature, body) in calls(index, domain, resolvers) {
        while let Err(error) = bus.call(MANAGER, member, (signature, &body)) {
            let is_early = matches!(&error, BusError::Refused { name, .. } if name == NO_SUCH_LINK);
            if !is_early || tries == TRIES {
                return Err(sentence(&error));
            }
            tries += 1;
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

fn sentence(error: &BusError) -> String {
    match error {
        BusError::Bus(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "systemd-resolved does not run here".to_owned()
        }
        BusError::Refused { name, .. }
            if name.ends_with(".NameHasNoOwner") || name.ends_with(".ServiceUnknown") =>
        {
            "systemd-resolved does not run here".to_owned()
        }
        error => format!("systemd-resolved was not told: {error}"),
    }
}

/// The methods, their signatures and arguments.
fn calls(index: i32, domain: &DomainName, resolvers: &[IpAddr]) -> Vec<(&'static str, &'static str, Body)> {
    let about = || {
        let mut body = Body::default();
        body.int(index);
        body
    };
    let mut list = Vec::new();
    // Before it may be asked anything: not for other names, not by multicast, and a private domain is not signed.
    let mut route = about();
    route.boolean(false);
    list.push(("SetLinkDefaultRoute", "ib", route));
    for member in [
        "SetLinkLLMNR",
        "SetLinkMulticastDNS",
        "SetLinkDNSOverTLS",
        "SetLinkDNSSEC",
    ] {
        let mut body = about();
        body.string("no");
        list.push((member, "is", body));
    }
    let mut servers = about();
    servers.array(8, |all| {
        for address in resolvers {
            let (family, octets) = match address {
                IpAddr::V4(it) => (INET, it.octets().to_vec()),
                IpAddr::V6(it) => (INET6, it.octets().to_vec()),
            };
            all.structure();
            all.int(family);
            all.array(1, |bytes| octets.iter().for_each(|byte| bytes.byte(*byte)));
        }
    });
    list.push(("SetLinkDNS", "ia(iay)", servers));
    let mut domains = about();
    domains.array(8, |all| {
        all.structure();
        all.string(domain.as_str());
        all.boolean(true);
    });
    list.push(("SetLinkDomains", "ia(sb)", domains));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_and_the_domain_are_told_last_and_in_their_signatures() {
        let domain = "a.b".parse().unwrap();
        let resolvers = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let list = calls(7, &domain, &resolvers);
        let members: Vec<_> = list
            .iter()
            .map(|(member, signature, _)| (*member, *signature))
            .collect();
        assert_eq!(
            members[5..],
            [("SetLinkDNS", "ia(iay)"), ("SetLinkDomains", "ia(sb)")]
        );
        let mut wanted = Body::default();
        wanted.int(7);
        wanted.array(8, |all| {
            all.structure();
            all.string("a.b");
            all.boolean(true);
        });
        assert_eq!(list[6].2, wanted);
    }

    #[test]
    fn a_service_that_does_not_run_is_one_sentence() {
        let refused = BusError::Refused {
            name: "org.freedesktop.DBus.Error.NameHasNoOwner".to_owned(),
            text: "x".to_owned(),
        };
        assert_eq!(sentence(&refused), "systemd-resolved does not run here");
        let missing = BusError::Bus(std::io::ErrorKind::NotFound.into());
        assert_eq!(sentence(&missing), "systemd-resolved does not run here");
    }
}
