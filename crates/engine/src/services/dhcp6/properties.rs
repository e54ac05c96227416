//! Whatever guests say, in whatever order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use dhcproto::decoder::{Decodable, Decoder};
use dhcproto::v6::{DhcpOption, Message, MessageType, OptionCode, UnknownOption};
use proptest::prelude::*;

use super::tests::{bytes, config, host, ia, mac, told};
use super::*;
use crate::services::names::Names;

/// One thing that a guest says, or time that passes.
#[derive(Clone, Debug)]
struct Step {
    client: u8,
    kind: u8,
    /// Two associations: IAID and the address that it names.
    ias: Vec<(u8, Option<u8>)>,
    rapid: bool,
    name: Option<u8>,
    wait: u16,
}

fn step() -> impl Strategy<Value = Step> {
    let ias = prop::collection::vec((0u8..3, prop::option::of(0u8..20)), 0..3);
    let who = (0u8..8, 1u8..12, any::<bool>());
    (who, ias, prop::option::of(0u8..4), 0u16..900).prop_map(|((client, kind, rapid), ias, name, wait)| {
        Step {
            client,
            kind,
            ias,
            rapid,
            name,
            wait,
        }
    })
}

/// Clients 0 to 3 are behind one port, the rest behind another. All but the last two have an IPv4 address, of which
/// two have the same.
fn client(step: &Step) -> Client6 {
    let n = step.client;
    let src = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n.into());
    Client6 {
        ingress: PortId(u32::from(n / 4)),
        mac: mac(n),
        src,
        unicast: false,
        address4: (n < 6).then(|| Ipv4Addr::new(10, 77, 0, n.max(1) + 1)),
    }
}

fn said(step: &Step) -> Vec<u8> {
    let kind = MessageType::from(step.kind);
    let mut options = vec![DhcpOption::ClientId(vec![0, 2, 3])];
    if [3, 5, 8, 9].contains(&step.kind) {
        let server = [&[0, 3, 0, 1], config().gateway_mac.0.as_slice()].concat();
        options.push(DhcpOption::ServerId(server));
    }
    options.extend(step.rapid.then_some(DhcpOption::RapidCommit));
    let named = |address: &u8| host(u64::from(*address));
    for (iaid, address) in &step.ias {
        let addresses: Vec<_> = address.iter().map(named).collect();
        options.push(ia(u32::from(*iaid), &addresses));
    }
    let wire: [&[u8]; 4] = [b"\x01\x03web", b"\x01\x02db", b"\x01\x07gateway", b"\x01\x01x"];
    let name = step.name.map(|n| wire[usize::from(n)].to_vec());
    let fqdn = |data| DhcpOption::Unknown(UnknownOption::new(OptionCode::ClientFqdn, data));
    options.extend(name.map(fqdn));
    bytes(kind, &options)
}

fn small() -> Config {
    let mut config = config();
    config.limits.leases = 8;
    let lease = |n, address6| StaticLease {
        mac: mac(n),
        address: Some(Ipv4Addr::new(10, 77, 0, n + 10)),
        address6,
        hostname: Some(format!("db{n}")),
    };
    config.static_leases = vec![lease(0, Some(host(5))), lease(1, None)];
    config
}

/// The addresses that a reply gives.
fn given(reply: &Reply6) -> Vec<Ipv6Addr> {
    let message = Message::decode(&mut Decoder::new(&reply.message)).unwrap();
    let leases = message.msg_type() == MessageType::Reply;
    let told = told(&message).into_iter().filter(|_| leases);
    told.flat_map(|(_, told)| told.addresses).collect()
}

proptest! {
    #[test]
    fn no_address_is_two_clients_or_ours_and_what_is_told_is_what_is_kept(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let config = small();
        let (mut server, names) = (Dhcp6Server::new(&config), Names::new(&config));
        let rules = NameRules { names: &names, elsewhere: &|_| None };
        let mut now = Instant::ZERO;
        for step in &steps {
            now = now + Duration::from_secs(u64::from(step.wait));
            let client = client(step);
            let reply = server.handle_message(now, client, &said(step), rules);
            let leases = server.leases(now);
            let owners: BTreeMap<_, _> = leases.iter().map(|lease| (lease.address, lease.mac)).collect();
            let ias: BTreeSet<_> = leases.iter().map(|lease| (lease.mac, lease.iaid)).collect();
            let named: Vec<_> = leases.iter().filter_map(|lease| lease.hostname.clone()).collect();
            let unique: BTreeSet<_> = named.iter().cloned().collect();
            prop_assert_eq!(owners.len(), leases.len());
            prop_assert_eq!(ias.len(), leases.len());
            prop_assert_eq!(unique.len(), named.len());
            prop_assert!(!unique.contains("gateway"));
            for own in [0, 1, 0xfe] {
                prop_assert!(!owners.contains_key(&host(own)));
            }
            for (reserved, owner) in [(5, 0), (0x11, 1)] {
                prop_assert!(owners.get(&host(reserved)).is_none_or(|mac| *mac == self::mac(owner)));
            }
            let mut told = reply.iter().flat_map(given).collect::<Vec<_>>();
            prop_assert!(told.iter().all(|address| owners.get(address) == Some(&client.mac)));
            let count = told.len();
            told.sort_unstable();
            told.dedup();
            prop_assert_eq!(told.len(), count);
            for n in 0..8 {
                prop_assert!(leases.iter().filter(|lease| lease.mac == mac(n)).count() <= IAS_MAX);
            }
            // Two are reserved.
            prop_assert!(server.leases.len() <= config.limits.leases + 2);
            prop_assert!(server.poll_timeout().is_none_or(|at| at > now));
            server.leases.check();
        }
    }

    #[test]
    fn what_is_kept_over_a_restart_is_what_was_leased(steps in prop::collection::vec(step(), 1..60)) {
        let mut config = small();
        let (mut server, names) = (Dhcp6Server::new(&config), Names::new(&config));
        let rules = NameRules { names: &names, elsewhere: &|_| None };
        let mut now = Instant::ZERO;
        for step in &steps {
            now = now + Duration::from_secs(u64::from(step.wait));
            let _ = server.handle_message(now, client(step), &said(step), rules);
        }
        config.leases6 = server.leases(now);
        let again = Dhcp6Server::new(&config);
        again.leases.check();
        prop_assert_eq!(again.leases(Instant::ZERO), config.leases6);
    }

    #[test]
    fn random_bytes_are_answered_or_dropped(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
    ) {
        let config = small();
        let (mut server, names) = (Dhcp6Server::new(&config), Names::new(&config));
        let rules = NameRules { names: &names, elsewhere: &|_| None };
        for message in messages {
            let step = Step { client: 0, kind: 1, ias: vec![], rapid: false, name: None, wait: 0 };
            let _ = server.handle_message(Instant::ZERO, client(&step), &message, rules);
            server.leases.check();
        }
    }
}
