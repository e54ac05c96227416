//! What the user-space network asks of the host: sockets, descriptors, ports, resolvers, both families.

use std::net::SocketAddr;

use crate::check::{Area, Check, Need, Status};

/// A network that has room for fewer flows than this is felt by an ordinary machine.
const FEW_FLOWS: usize = 2048;

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) ping4: Result<(), Refused>,
    pub(crate) ping6: Result<(), Refused>,
    /// `net.ipv4.ping_group_range`.
    pub(crate) ping_range: Option<(u64, u64)>,
    /// Whether received bytes can be looked at from any offset, for each family.
    pub(crate) peek: [bool; 2],
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Descriptors: the limit that holds, and the one it can be raised to. `None`: no limit.
    pub(crate) descriptors: (Option<u64>, Option<u64>),
    /// Flows and questions to resolvers for which the higher limit has room.
    pub(crate) room: (usize, usize),
    /// `net.ipv4.ip_local_port_range`.
    pub(crate) ports: Option<(u16, u16)>,
    /// Whether there is a way to the world, for each family.
    pub(crate) way: [bool; 2],
    pub(crate) ipv6: Ipv6,
    /// Resolvers, and whether there is a way to each.
    pub(crate) resolvers: Vec<(SocketAddr, bool)>,
}

/// Why a socket was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) is_permission: bool,
    pub(crate) reason: String,
}

/// IPv6 on the host itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ipv6 {
    /// The kernel has none.
    Absent,
    /// `net.ipv6.conf.all.disable_ipv6` is 1.
    Disabled,
    /// It is there.
    There,
}

/// What that means.
pub(crate) fn judge(network: &Network) -> Vec<Check> {
    let mut checks = vec![ping(network, "ping", &network.ping4)];
    // What is refused for both families has one reason.
    if network.ipv6 == Ipv6::There && network.ping4 != network.ping6 {
        checks.push(ping(network, "ping-ipv6", &network.ping6));
    }
    checks.push(peek(network));
    checks.push(descriptors(network));
    checks.extend(network.ports.map(ports));
    checks.push(ipv4(network));
    checks.push(ipv6(network));
    checks.push(resolvers(network));
    checks
}

fn check(name: &str, status: Status, found: impl Into<String>) -> Check {
    Check::new(Area::Network, name, status, found)
}

fn ping(network: &Network, name: &str, tried: &Result<(), Refused>) -> Check {
    let refused = match tried {
        Ok(()) => {
            let words = "a ping socket opens: guests' pings go on into the world";
            return check(name, Status::Ok, words).needed_for(&[Need::Ping]);
        }
        Err(refused) => refused,
    };
    let range = network.ping_range.filter(|_| refused.is_permission);
    let why = range.map_or_else(
        || refused.reason.clone(),
        |(first, last)| {
            format!("net.ipv4.ping_group_range is {first} {last}, which none of this user's groups is in")
        },
    );
    let words = format!("guests cannot ping beyond the network: {why}");
    let fix = refused
        .is_permission
        .then_some("ask the administrator: sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"");
    check(name, Status::Fail, words)
        .fix_if(fix)
        .needed_for(&[Need::Ping])
}

fn peek(network: &Network) -> Check {
    let kernel = &network.kernel;
    let (status, words) = match network.peek {
        [true, true] => (
            Status::Ok,
            "received TCP bytes are read straight into frames (SO_PEEK_OFF)".to_owned(),
        ),
        [true, false] => (
            Status::Note,
            format!(
                "received TCP bytes are copied once more over IPv6: SO_PEEK_OFF has that from Linux 6.11, this is {kernel}"
            ),
        ),
        [false, _] => (
            Status::Note,
            format!(
                "received TCP bytes are copied once more: SO_PEEK_OFF for TCP came with Linux 6.9, this is {kernel}"
            ),
        ),
    };
    check("tcp-peek", status, words)
}

fn descriptors(network: &Network) -> Check {
    let (flows, questions) = network.room;
    let say = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let (soft, hard) = network.descriptors;
    let words = format!(
        "descriptors: {} now, raised to {}: room for {flows} flows and {questions} questions to resolvers in a network",
        say(soft),
        say(hard)
    );
    let check = |status| check("descriptors", status, words).needed_for(&[Need::Up]);
    if flows >= FEW_FLOWS {
        return check(Status::Ok);
    }
    check(Status::Warn)
        .fix("raise the hard limit: `ulimit -Hn`, limits.conf(5), or LimitNOFILE= of the service")
}

fn ports((first, last): (u16, u16)) -> Check {
    let count = u32::from(last.saturating_sub(first)) + 1;
    let words =
        format!("ephemeral ports {first} to {last}: {count} connections to one address and port at a time");
    if count >= 10_000 {
        return check("ports", Status::Ok, words);
    }
    check("ports", Status::Warn, words)
        .fix("ask the administrator: sysctl -w net.ipv4.ip_local_port_range=\"32768 60999\"")
}

fn ipv4(network: &Network) -> Check {
    if network.way[0] {
        return check("ipv4", Status::Ok, "the host has a way into the world's IPv4");
    }
    check(
        "ipv4",
        Status::Warn,
        "the host has no route into the world's IPv4: guests reach each other and the host only",
    )
    .fix("connect the host to a network; `ip route show default` shows its route")
}

fn ipv6(network: &Network) -> Check {
    let (status, words) = match (network.ipv6, network.way[1]) {
        (Ipv6::There, true) => (Status::Ok, "the host has a way into the world's IPv6"),
        (Ipv6::There, false) => (
            Status::Note,
            "the host has no route into the world's IPv6: guests have IPv6 among themselves, and use IPv4 beyond",
        ),
        (Ipv6::Disabled, _) => (
            Status::Note,
            "IPv6 is disabled on the host (net.ipv6.conf.all.disable_ipv6): guests have it among themselves only",
        ),
        (Ipv6::Absent, _) => (
            Status::Note,
            "the host's kernel has no IPv6: guests have it among themselves only",
        ),
    };
    check("ipv6", status, words).needed_for(&[Need::Ipv6])
}

fn resolvers(network: &Network) -> Check {
    let words = |(resolver, _): &(SocketAddr, bool)| match resolver.port() {
        53 => resolver.ip().to_string(),
        _ => resolver.to_string(),
    };
    let reachable: Vec<_> = network
        .resolvers
        .iter()
        .filter(|(_, way)| *way)
        .map(words)
        .collect();
    let lost: Vec<_> = network
        .resolvers
        .iter()
        .filter(|(_, way)| !way)
        .map(words)
        .collect();
    if reachable.is_empty() {
        let words = format!(
            "there is no way to the host's resolvers ({}): names of the world have no answer",
            lost.join(", ")
        );
        return check("resolvers", Status::Warn, words)
            .fix("put a resolver that the host reaches into /etc/resolv.conf");
    }
    let rest = if lost.is_empty() {
        String::new()
    } else {
        format!("; no way to {}", lost.join(", "))
    };
    check(
        "resolvers",
        Status::Ok,
        format!("guests' questions go to {}{rest}", reachable.join(", ")),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn laptop() -> Network {
        Network {
            ping4: Ok(()),
            ping6: Ok(()),
            ping_range: Some((0, 2_147_483_647)),
            peek: [true, true],
            kernel: "6.12.8-200.fc41.x86_64".to_owned(),
            descriptors: (Some(1024), Some(524_288)),
            room: (65_536, 256),
            ports: Some((32768, 60999)),
            way: [true, true],
            ipv6: Ipv6::There,
            resolvers: vec![("127.0.0.53:53".parse().unwrap(), true)],
        }
    }

    fn bad(network: &Network) -> Vec<Check> {
        judge(network)
            .into_iter()
            .filter(|it| it.status != Status::Ok)
            .collect()
    }

    #[test]
    fn a_laptop_has_nothing_to_complain_of() {
        assert_eq!(bad(&laptop()), []);
    }

    #[test]
    fn ping_sockets_that_are_shut_are_told_with_the_range_and_how_to_open_it() {
        let mut network = laptop();
        network.ping_range = Some((1, 0));
        network.ping4 = Err(Refused {
            is_permission: true,
            reason: "Permission denied".to_owned(),
        });
        network.ping6 = network.ping4.clone();
        let [check] = &bad(&network)[..] else {
            panic!("one complaint")
        };
        assert_eq!(check.status, Status::Fail);
        assert!(check.found.contains("ping_group_range is 1 0"), "{check:?}");
        assert!(check.fix.as_ref().unwrap().contains("0 2147483647"), "{check:?}");
    }

    #[test]
    fn the_kernels_of_ubuntu_2404_and_rhel_9_copy_once_more_and_say_since_when_not() {
        for (kernel, peek, since) in [
            ("6.8.0-49-generic", [false, false], "6.9"),
            ("5.14.0-503.el9.x86_64", [false, false], "6.9"),
            ("6.10.3", [true, false], "6.11"),
        ] {
            let network = Network {
                kernel: kernel.to_owned(),
                peek,
                ..laptop()
            };
            let [check] = &bad(&network)[..] else {
                panic!("one complaint")
            };
            assert_eq!(check.status, Status::Note);
            assert!(
                check.found.contains(since) && check.found.contains(kernel),
                "{check:?}"
            );
        }
    }

    #[test]
    fn few_descriptors_and_ports_are_warned_of() {
        let network = Network {
            descriptors: (Some(256), Some(1024)),
            room: (640, 64),
            ports: Some((50_000, 50_999)),
            ..laptop()
        };
        let names: Vec<_> = bad(&network)
            .iter()
            .map(|it| (it.name.clone(), it.status))
            .collect();
        assert_eq!(
            names,
            [
                ("descriptors".to_owned(), Status::Warn),
                ("ports".to_owned(), Status::Warn)
            ]
        );
    }

    #[test]
    fn a_host_without_ipv6_or_way_into_it_is_no_fault() {
        for (ipv6, words) in [
            (Ipv6::Absent, "kernel has no IPv6"),
            (Ipv6::Disabled, "disable_ipv6"),
            (Ipv6::There, "no route"),
        ] {
            let network = Network {
                ipv6,
                way: [true, false],
                ..laptop()
            };
            let [check] = &bad(&network)[..] else {
                panic!("one complaint")
            };
            assert_eq!(check.status, Status::Note);
            assert!(check.found.contains(words), "{check:?}");
        }
    }

    #[test]
    fn resolvers_without_a_way_to_them_are_named() {
        let mut network = laptop();
        network.resolvers = vec![("10.0.0.2:53".parse().unwrap(), false)];
        let [check] = &bad(&network)[..] else {
            panic!("one complaint")
        };
        assert!(check.found.contains("10.0.0.2"), "{check:?}");
    }
}
