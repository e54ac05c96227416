//! Rules against a model of them, and what the firewall remembers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::rules::{decide, embedded, is_private};
use super::*;
use crate::rng::Rng;
use crate::{Prefix, Subnet};

const PORT: PortId = PortId(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn network(text: &str) -> Network {
    let (address, prefix_len) = text.split_once('/').unwrap();
    Network {
        address: ip(address),
        prefix_len: prefix_len.parse().unwrap(),
    }
}

fn rule(verdict: Verdict, to: Destination) -> Rule {
    Rule {
        verdict,
        from: None,
        to,
        ports: None,
        transport: None,
    }
}

fn allow(to: Destination) -> Rule {
    rule(Verdict::Allow, to)
}

fn deny(to: Destination) -> Rule {
    rule(Verdict::Deny, to)
}

fn tcp(to: &str) -> Attempt {
    Attempt {
        transport: Transport::Tcp,
        to: ip(to),
        port: 443,
    }
}

fn firewall_with(policy: Policy) -> Firewall {
    let subnet = Subnet {
        address: Ipv4Addr::new(10, 77, 0, 0),
        prefix_len: 24,
    };
    let prefix = Prefix {
        address: "fd77:77::".parse().unwrap(),
    };
    let config = Config {
        policy,
        ..Config::new((subnet, prefix))
    };
    let mut firewall = Firewall::new(&config, Rng::new([1; 32]).keyed_hash());
    firewall.attach(PORT, Some("web"));
    firewall
}

fn firewall(rules: Vec<Rule>, default_verdict: Verdict) -> Firewall {
    firewall_with(Policy {
        rules,
        default_verdict,
        ..Policy::default()
    })
}

fn judge(firewall: &Firewall, to: &str) -> Result<(), Counter> {
    firewall.judge(Instant::ZERO, PORT, tcp(to))
}

fn tell(firewall: &mut Firewall, name: &str, address: &str) {
    let records = [(ip(address), Duration::from_secs(60))];
    firewall.note_answer(Instant::ZERO, PORT, name, &records);
}

fn named(pattern: NamePattern) -> Destination {
    Destination::Name(pattern)
}

fn exact(name: &str) -> Destination {
    named(NamePattern::Exact(name.to_owned()))
}

fn below(name: &str) -> Destination {
    named(NamePattern::Below(name.to_owned()))
}

#[test]
fn the_first_rule_that_matches_counts() {
    let firewall = firewall(
        vec![
            allow(Destination::Network(network("198.51.100.7/32"))),
            deny(Destination::Network(network("198.51.100.0/24"))),
        ],
        Verdict::Allow,
    );
    assert_eq!(judge(&firewall, "198.51.100.7"), Ok(()));
    assert_eq!(judge(&firewall, "198.51.100.8"), Err(Counter::DeniedByRule));
    assert_eq!(judge(&firewall, "203.0.113.1"), Ok(()));
}

#[test]
fn ports_and_transports_narrow_a_rule() {
    let mut web = allow(Destination::Any);
    web.ports = Some(80..=443);
    let mut echo = allow(Destination::Any);
    echo.transport = Some(Transport::Icmp);
    let firewall = firewall(vec![web, echo], Verdict::Deny);
    let of = |transport, port| Attempt {
        transport,
        to: ip("198.51.100.7"),
        port,
    };
    let judge = |attempt| firewall.judge(Instant::ZERO, PORT, attempt);
    for transport in [Transport::Tcp, Transport::Udp] {
        for (port, allowed) in [(79, false), (80, true), (443, true), (444, false)] {
            assert_eq!(
                judge(of(transport, port)).is_ok(),
                allowed,
                "{transport:?} {port}"
            );
        }
    }
    assert_eq!(judge(of(Transport::Icmp, 0)), Ok(()));
}

#[test]
fn a_name_is_what_our_dns_told_this_guest() {
    let mut firewall = firewall(vec![allow(exact("example.com"))], Verdict::Deny);
    firewall.attach(PortId(2), None);
    assert_eq!(judge(&firewall, "198.51.100.7"), Err(Counter::DeniedByDefault));
    tell(&mut firewall, "other.com", "198.51.100.7");
    assert_eq!(judge(&firewall, "198.51.100.7"), Err(Counter::DeniedByDefault));
    tell(&mut firewall, "example.com", "198.51.100.7");
    assert_eq!(judge(&firewall, "198.51.100.7"), Ok(()));
    let other = firewall.judge(Instant::ZERO, PortId(2), tcp("198.51.100.7"));
    assert_eq!(other, Err(Counter::DeniedByDefault), "another guest's answer");
    firewall.detach(PORT);
    firewall.attach(PORT, None);
    assert_eq!(judge(&firewall, "198.51.100.7"), Err(Counter::DeniedByDefault));
}

#[test]
fn a_name_opens_no_private_address_and_a_network_does() {
    let mut firewall = firewall(
        vec![
            allow(below("evil.example")),
            allow(Destination::Network(network("10.1.0.0/16"))),
        ],
        Verdict::Deny,
    );
    firewall.set_host_addresses(&[ip("203.0.113.9"), ip("2001:db8::9")]);
    let delicate = [
        "192.168.1.1",
        "10.0.0.1",
        "100.64.0.1",
        "172.16.0.1",
        "fd00::1",
        "203.0.113.9",
        "2001:db8::9",
        "64:ff9b::192.168.1.1",
        "64:ff9b:1::10.0.0.1",
        "2002:c0a8:101::1",
        "2001:0:1234::3f57:fefe",
        "2001:db8::5efe:192.168.1.1",
        "2002:cb00:7109::1",
        "10.77.0.254",
    ];
    for address in delicate {
        tell(&mut firewall, "a.evil.example", address);
        assert_eq!(
            judge(&firewall, address),
            Err(Counter::DeniedNameOfPrivate),
            "{address}"
        );
    }
    tell(&mut firewall, "a.evil.example", "10.1.2.3");
    assert_eq!(judge(&firewall, "10.1.2.3"), Ok(()));
    tell(&mut firewall, "a.evil.example", "198.51.100.7");
    assert_eq!(judge(&firewall, "198.51.100.7"), Ok(()));
}

#[test]
fn what_is_denied_is_denied_by_way_of_a_translator_too() {
    let rules = vec![
        allow(below("evil.example")),
        deny(Destination::Private),
        deny(Destination::Network(network("198.51.100.0/24"))),
    ];
    let mut firewall = firewall(rules, Verdict::Allow);
    tell(&mut firewall, "a.evil.example", "10.0.0.1");
    for address in [
        "64:ff9b::10.0.0.1",
        "64:ff9b::198.51.100.7",
        "2002:c633:6407::1",
        "64:ff9b:1:fffe::198.51.100.7",
        "fd00::5efe:198.51.100.7",
    ] {
        assert_eq!(judge(&firewall, address), Err(Counter::DeniedByRule), "{address}");
    }
    assert_eq!(judge(&firewall, "64:ff9b::203.0.113.1"), Ok(()));
}

#[test]
fn the_host_is_what_the_host_says_and_its_alias() {
    let mut firewall = firewall(vec![deny(Destination::Host)], Verdict::Allow);
    firewall.set_host_addresses(&[ip("192.0.2.1"), ip("2001:db8::1")]);
    for own in ["192.0.2.1", "2001:db8::1", "10.77.0.254", "fd77:77::fe"] {
        assert_eq!(judge(&firewall, own), Err(Counter::DeniedHost), "{own}");
    }
    firewall.set_host_addresses(&[ip("192.0.2.2")]);
    assert_eq!(judge(&firewall, "192.0.2.1"), Ok(()));
    assert_eq!(judge(&firewall, "192.0.2.2"), Err(Counter::DeniedHost));
}

#[test]
fn rules_can_be_for_some_guests() {
    let policy = || Policy {
        default_verdict: Verdict::Deny,
        guests: BTreeMap::from([(
            "web".to_owned(),
            GuestPolicy {
                group: Some("front".to_owned()),
                ..GuestPolicy::default()
            },
        )]),
        ..Policy::default()
    };
    for (from, allowed) in [
        (Who::Label("web".to_owned()), true),
        (Who::Label("db".to_owned()), false),
        (Who::Group("front".to_owned()), true),
        (Who::Group("back".to_owned()), false),
    ] {
        let mut rule = allow(Destination::Any);
        rule.from = Some(from.clone());
        let firewall = firewall_with(Policy {
            rules: vec![rule],
            ..policy()
        });
        assert_eq!(judge(&firewall, "198.51.100.7").is_ok(), allowed, "{from:?}");
    }
}

#[test]
fn an_internal_network_has_the_host_alias_at_most() {
    let firewall = firewall_with(Policy {
        rules: vec![allow(Destination::Any)],
        internal: true,
        ..Policy::default()
    });
    assert_eq!(judge(&firewall, "198.51.100.7"), Err(Counter::DeniedInternal));
    assert_eq!(judge(&firewall, "2001:db8::1"), Err(Counter::DeniedInternal));
    assert_eq!(judge(&firewall, "10.77.0.254"), Ok(()));
}

/// Few addresses, so that rules and flows meet.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0_u8..4).prop_map(|last| Ipv4Addr::new(10, 0, 0, last).into()),
        (0_u8..4).prop_map(|last| Ipv4Addr::new(198, 51, 100, last).into()),
        (0_u16..4).prop_map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()),
        (0_u16..4).prop_map(|last| Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x0a00, last).into()),
        (0_u16..4).prop_map(|last| Ipv6Addr::new(0x2002, 0xc633, 0x6400 + last, 0, 0, 0, 0, 1).into()),
    ]
}

fn destination() -> impl Strategy<Value = Destination> {
    let of = |(address, up): (IpAddr, u8)| {
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        Destination::Network(Network {
            address,
            prefix_len: most.saturating_sub(up),
        })
    };
    prop_oneof![
        Just(Destination::Any),
        (address(), prop_oneof![0_u8..4, 20..40_u8, Just(128)]).prop_map(of),
        Just(Destination::Private),
        Just(Destination::Host),
        Just(exact("a.example")),
        Just(below("example")),
    ]
}

fn transport() -> impl Strategy<Value = Transport> {
    prop::sample::select(&[Transport::Tcp, Transport::Udp, Transport::Icmp][..])
}

fn some_rule() -> impl Strategy<Value = Rule> {
    let verdict = prop::sample::select(&[Verdict::Allow, Verdict::Deny][..]);
    let ports = prop::option::of((0_u16..4, 0_u16..4).prop_map(|(from, more)| from..=from + more));
    let from = prop::option::weighted(
        0.2,
        prop::sample::select(&["web", "db"][..]).prop_map(|label| Who::Label(label.to_owned())),
    );
    (
        verdict,
        from,
        destination(),
        ports,
        prop::option::weighted(0.3, transport()),
    )
        .prop_map(|(verdict, from, to, ports, transport)| Rule {
            verdict,
            from,
            to,
            ports,
            transport,
        })
}

/// The circumstances of the model: one host address, and one name with some addresses.
struct World {
    host: IpAddr,
    told: Vec<IpAddr>,
}

impl Circumstances for World {
    fn is_from(&self, from: &Who) -> bool {
        *from == Who::Label("web".to_owned())
    }

    fn was_told(&self, _: usize, address: IpAddr) -> bool {
        self.told.contains(&address)
    }

    fn is_host(&self, address: IpAddr) -> bool {
        address == self.host
    }
}

/// Bit by bit, as a string.
fn bits(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("4{:032b}", address.to_bits()),
        IpAddr::V6(address) => format!("6{:0128b}", address.to_bits()),
    }
}

/// The same question put in another way: every rule says what it is for the flow, and the list is read.
fn model(rules: &[Rule], attempt: Attempt, world: &World, default: Verdict) -> Verdict {
    let hits = |rule: &Rule, to: IpAddr| {
        let port = match attempt.transport {
            Transport::Icmp => None,
            _ => Some(attempt.port),
        };
        let ports: Option<Vec<u16>> = rule.ports.clone().map(Iterator::collect);
        let where_to = match &rule.to {
            Destination::Any => true,
            Destination::Network(network) => {
                let len = usize::from(network.prefix_len) + 1;
                bits(network.address)[..len] == bits(to)[..len.min(bits(to).len())]
            }
            Destination::Private => is_private(to),
            Destination::Host => to == world.host,
            Destination::Name(_) => world.told.contains(&to),
        };
        [
            where_to,
            rule.transport
                .is_none_or(|transport| transport == attempt.transport),
            ports.is_none_or(|ports| port.is_some_and(|port| ports.contains(&port))),
            rule.from
                .as_ref()
                .is_none_or(|from| *from == Who::Label("web".to_owned())),
        ]
        .into_iter()
        .all(|hit| hit)
    };
    let is_name = |rule: &Rule| matches!(rule.to, Destination::Name(_)) && rule.verdict == Verdict::Allow;
    let inner = embedded(attempt.to).map(IpAddr::from);
    let ways: Vec<IpAddr> = [attempt.to].into_iter().chain(inner).collect();
    let is_delicate = ways.iter().any(|way| is_private(*way) || *way == world.host);
    let outer: Vec<&Rule> = rules
        .iter()
        .filter(|rule| hits(rule, attempt.to) && !(is_delicate && is_name(rule)))
        .collect();
    let inside = |inner: IpAddr| {
        let says = rules
            .iter()
            .filter(|rule| rule.to != Destination::Any && !is_name(rule) && hits(rule, inner));
        says.map(|rule| rule.verdict).next()
    };
    match (inner.and_then(inside), outer.first()) {
        (Some(Verdict::Deny), _) => Verdict::Deny,
        (_, Some(rule)) => rule.verdict,
        (_, None) => default,
    }
}

proptest! {
    #[test]
    fn rules_decide_as_the_model_does(
        rules in proptest::collection::vec(some_rule(), 0..8),
        host in address(),
        told in proptest::collection::vec(address(), 0..4),
        to in address(),
        port in 0_u16..8,
        transport in transport(),
        denies in any::<bool>(),
    ) {
        let world = World { host, told };
        let default = if denies { Verdict::Deny } else { Verdict::Allow };
        let attempt = Attempt { transport, to, port };
        let decided = match decide(&rules, attempt, &world) {
            Decision::Rule(verdict) => verdict,
            Decision::Default | Decision::NameOfPrivate => default,
        };
        prop_assert_eq!(decided, model(&rules, attempt, &world, default));
    }

    /// A rule that denies an address cannot be got round by any rule behind it.
    #[test]
    fn what_is_denied_first_stays_denied(
        rules in proptest::collection::vec(some_rule(), 0..8),
        told in proptest::collection::vec(address(), 0..4),
        to in address(),
        transport in transport(),
    ) {
        let whole = if to.is_ipv4() { 32 } else { 128 };
        let first = deny(Destination::Network(Network { address: to, prefix_len: whole }));
        let rules: Vec<Rule> = [first].into_iter().chain(rules).collect();
        let attempt = Attempt { transport, to, port: 1 };
        let world = World { host: ip("192.0.2.1"), told };
        prop_assert_eq!(decide(&rules, attempt, &world), Decision::Rule(Verdict::Deny));
    }

    #[test]
    fn names_match_label_by_label(pattern in "[ab]{1,2}(\\.[ab]{1,2}){0,2}", name in "[ab]{1,2}(\\.[ab]{1,2}){0,3}") {
        let labels = |name: &str| -> Vec<String> { name.split('.').map(str::to_owned).collect() };
        let (of_pattern, of_name) = (labels(&pattern), labels(&name));
        let is_below = of_name.len() > of_pattern.len() && of_name.ends_with(&of_pattern);
        prop_assert_eq!(NamePattern::Below(pattern.clone()).matches(&name), is_below);
        prop_assert_eq!(NamePattern::Exact(pattern.clone()).matches(&name), pattern == name);
    }

    #[test]
    fn an_ipv4_address_is_found_wherever_it_is_embedded(bits in any::<u32>()) {
        let inner = Ipv4Addr::from_bits(bits);
        let [a, b, c, d] = inner.octets();
        let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        for outer in [
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, 7, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 9, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, 1, 2, 3, 4, !high, !low),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0x0200, 0x5efe, high, low),
        ] {
            prop_assert_eq!(embedded(outer.into()), Some(inner));
        }
    }
}
