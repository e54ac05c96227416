//! Whatever guests say, in whatever order.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use dhcproto::decoder::{Decodable, Decoder};
use dhcproto::v4::{DhcpOption, Message, MessageType};
use proptest::prelude::*;

use super::tests::{bytes, mac, message, rules, subnet};
use super::*;
use crate::services::names::Names;

/// One thing that a guest says, or time that passes.
#[derive(Clone, Debug)]
struct Step {
    client: u8,
    kind: u8,
    ciaddr: Option<u8>,
    requested: Option<u8>,
    server: Option<bool>,
    name: Option<u8>,
    wait: u16,
}

fn step() -> impl Strategy<Value = Step> {
    let last_octet = || prop::option::of(0u8..17);
    let who = (0u8..8, 0u8..9, prop::option::of(any::<bool>()));
    (
        who,
        last_octet(),
        last_octet(),
        prop::option::of(0u8..4),
        0u16..900,
    )
        .prop_map(|((client, kind, server), ciaddr, requested, name, wait)| Step {
            client,
            kind,
            ciaddr,
            requested,
            server,
            name,
            wait,
        })
}

/// Clients 0 to 3 are behind one port, the rest behind another.
fn client(step: &Step) -> Client {
    Client {
        ingress: PortId(u32::from(step.client / 4)),
        mac: mac(step.client),
        src: Ipv4Addr::UNSPECIFIED,
    }
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

fn said(step: &Step) -> Message {
    let mut options = vec![DhcpOption::MessageType(MessageType::from(step.kind))];
    options.extend(
        step.requested
            .map(|last| DhcpOption::RequestedIpAddress(address(last))),
    );
    let server = step.server.map(|ours| address(if ours { 1 } else { 9 }));
    options.extend(server.map(DhcpOption::ServerIdentifier));
    let name = step
        .name
        .map(|n| ["web", "db", "gateway", "x"][usize::from(n)].to_owned());
    options.extend(name.map(DhcpOption::Hostname));
    let ciaddr = step.ciaddr.map_or(Ipv4Addr::UNSPECIFIED, address);
    message(mac(step.client), ciaddr, &options)
}

fn config() -> Config {
    // A /28: guests at .2 to .13, host alias .14.
    let mut config = Config::new(subnet(28));
    config.limits.leases = 6;
    let hostname = Some("db".to_owned());
    config.static_leases = vec![StaticLease {
        mac: mac(0),
        address: Some(address(5)),
        address6: None,
        hostname,
    }];
    config
}

proptest! {
    #[test]
    fn no_address_is_two_clients_or_ours_and_the_table_is_bounded(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let config = config();
        let (mut server, names) = (DhcpServer::new(&config), Names::new(&config));
        let mut now = Instant::ZERO;
        for step in &steps {
            now = now + Duration::from_secs(u64::from(step.wait));
            let client = client(step);
            let reply = server.handle_message(now, client, &bytes(&said(step)), rules(&names));
            if let Some(Reply { to: ReplyTo::Unicast { mac: to, .. }, .. }) = reply {
                prop_assert_eq!(to, client.mac);
            }
            let leases = server.leases(now);
            let addresses: BTreeSet<_> = leases.iter().map(|lease| lease.address).collect();
            let macs: BTreeSet<_> = leases.iter().map(|lease| lease.mac).collect();
            let named: Vec<_> = leases.iter().filter_map(|lease| lease.hostname.clone()).collect();
            let unique: BTreeSet<_> = named.iter().cloned().collect();
            prop_assert_eq!(addresses.len(), leases.len());
            prop_assert_eq!(macs.len(), leases.len());
            prop_assert_eq!(unique.len(), named.len());
            prop_assert!(!unique.contains("db") && !unique.contains("gateway"));
            prop_assert!(!macs.contains(&mac(0)), "the static client has no dynamic lease");
            for own in [0, 1, 5, 14, 15] {
                prop_assert!(!addresses.contains(&address(own)));
            }
            prop_assert!(server.leases.len() <= config.limits.leases);
            prop_assert!(server.poll_timeout().is_none_or(|at| at > now));
            server.leases.check();
        }
    }

    #[test]
    fn the_same_messages_give_the_same_answers(steps in prop::collection::vec(step(), 1..40)) {
        let run = || {
            let config = config();
            let (mut server, names) = (DhcpServer::new(&config), Names::new(&config));
            let mut now = Instant::ZERO;
            let answer = |step: &Step| {
                now = now + Duration::from_secs(u64::from(step.wait));
                server.handle_message(now, client(step), &bytes(&said(step)), rules(&names))
            };
            steps.iter().map(answer).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_flood_by_one_port_never_stops_a_client_behind_another(
        flood in prop::collection::vec((any::<u16>(), 0u8..4, 0u64..3), 1..400),
        limit in prop::option::of(16usize..30),
    ) {
        let mut config = Config::new(subnet(27));
        config.limits.leases = limit.unwrap_or(config.limits.leases);
        let (mut server, names) = (DhcpServer::new(&config), Names::new(&config));
        let mut now = Instant::ZERO;
        let mut held = None;
        for (n, ending, wait) in flood {
            now = now + Duration::from_secs(wait);
            let [high, low] = n.to_be_bytes();
            take(&mut server, &names, now, (PortId(1), Mac([2, 0, 0, 1, high, low])), ending);
            let honest = Mac([2, 0, 0, 2, high, low]);
            let address = take(&mut server, &names, now, (PortId(2), honest), 1);
            prop_assert!(address.is_some(), "no address at {now:?}");
            server.leases.check();
            // He leaves again, but for the first, who stays and finds his address whenever he looks.
            let (mac, first) = *held.get_or_insert((honest, address));
            if mac == honest {
                prop_assert_eq!(address, first);
            } else {
                server.leases.release(now, honest, address.unwrap());
            }
        }
    }
}

/// DISCOVER and REQUEST of a client; then, as `ending` says, it keeps the lease (1), declines (2) or releases (3) it. At
/// 0 the offer is not taken up.
fn take(
    server: &mut DhcpServer,
    names: &Names,
    now: Instant,
    (ingress, mac): (PortId, Mac),
    ending: u8,
) -> Option<Ipv4Addr> {
    let src = Ipv4Addr::UNSPECIFIED;
    let client = Client { ingress, mac, src };
    let mut say = |kind, ciaddr, options: &[DhcpOption]| {
        let options = [&[DhcpOption::MessageType(kind)], options].concat();
        let said = bytes(&message(mac, ciaddr, &options));
        let reply = server.handle_message(now, client, &said, rules(names))?;
        let reply = Message::decode(&mut Decoder::new(&reply.message)).unwrap();
        (reply.opts().msg_type() != Some(MessageType::Nak)).then(|| reply.yiaddr())
    };
    let address = say(MessageType::Discover, src, &[])?;
    let ours = [
        DhcpOption::ServerIdentifier(self::address(1)),
        DhcpOption::RequestedIpAddress(address),
    ];
    let given = (ending != 0).then(|| say(MessageType::Request, src, &ours));
    match ending {
        2 => say(MessageType::Decline, src, &ours),
        3 => say(MessageType::Release, address, &ours[..1]),
        _ => None,
    };
    given.flatten()
}
