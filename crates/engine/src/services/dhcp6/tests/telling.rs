//! What clients are told, and which messages are for us.

use super::*;

const KINDS: [MessageType; 8] = [
    MessageType::Solicit,
    MessageType::Request,
    MessageType::Confirm,
    MessageType::Renew,
    MessageType::Rebind,
    MessageType::Release,
    MessageType::Decline,
    MessageType::InformationRequest,
];

fn counted(world: &World, name: &str) -> u64 {
    let mut counters = world.server.counters();
    counters
        .find(|(own, _)| *own == name)
        .map_or(0, |(_, value)| value)
}

#[test]
fn an_answer_tells_the_whole_configuration_to_whom_asks_for_it() {
    let mut config = config();
    let ntp = host(0x123);
    config.ntp6 = vec![ntp];
    let mut world = World::new(&config);
    let wanted = asks_for(&[
        OptionCode::NtpServer,
        OptionCode::DomainNameServers,
        OptionCode::DomainSearchList,
        OptionCode::SntpServers,
        OptionCode::InformationRefreshTime,
        OptionCode::DomainNameServers,
    ]);
    let reply = world
        .say(
            0,
            mac(1),
            MessageType::InformationRequest,
            std::slice::from_ref(&wanted),
        )
        .unwrap();
    // The codec writes this one but does not read it.
    let refresh = UnknownOption::new(
        OptionCode::InformationRefreshTime,
        3600_u32.to_be_bytes().to_vec(),
    );
    let sntp = UnknownOption::new(OptionCode::SntpServers, ntp.octets().to_vec());
    let expected = [
        DhcpOption::ClientId(DUID.to_vec()),
        DhcpOption::ServerId(SERVER.to_vec()),
        DhcpOption::DomainNameServers(vec![host(1)]),
        DhcpOption::DomainSearchList(vec!["atoll.internal.".parse().unwrap()]),
        DhcpOption::Unknown(sntp),
        DhcpOption::Unknown(refresh),
        DhcpOption::NtpServer(vec![dhcproto::v6::NtpSuboption::ServerAddress(ntp)]),
    ];
    let told: Vec<_> = reply.opts().iter().cloned().collect();
    assert_eq!(told, expected);
    assert_eq!((reply.msg_type(), reply.xid()), (MessageType::Reply, [7, 8, 9]));
    let reply = world.say(0, mac(1), MessageType::Solicit, &[wanted]).unwrap();
    assert!(reply.opts().get(OptionCode::InformationRefreshTime).is_none());
    assert_eq!(world.server.leases(at(0)), []);
}

#[test]
fn a_client_that_lists_nothing_is_told_of_names() {
    let mut world = World::plain();
    let reply = world.say(0, mac(1), MessageType::Solicit, &[ia(1, &[])]).unwrap();
    for code in [OptionCode::DomainNameServers, OptionCode::DomainSearchList] {
        assert!(reply.opts().get(code).is_some());
    }
}

#[test]
fn an_information_request_needs_no_identifier() {
    let mut world = World::plain();
    let request = bytes(MessageType::InformationRequest, &[]);
    let reply = world.send(0, mac(1), &request).unwrap();
    assert!(reply.opts().get(OptionCode::ClientId).is_none());
}

#[test]
fn a_message_without_the_identifiers_that_it_must_have_is_dropped() {
    let client = DhcpOption::ClientId(DUID.to_vec());
    let ours = DhcpOption::ServerId(SERVER.to_vec());
    for kind in KINDS {
        let mut world = World::plain();
        let named = ia(1, &[host(0x4711)]);
        let for_all = [MessageType::Solicit, MessageType::Confirm, MessageType::Rebind];
        let (missing, extra) = match kind {
            MessageType::InformationRequest => (vec![client.clone(), named.clone()], vec![]),
            _ if for_all.contains(&kind) => (vec![named.clone()], vec![client.clone(), ours.clone()]),
            _ => (
                vec![ours.clone(), named.clone()],
                vec![client.clone(), named.clone()],
            ),
        };
        for options in [missing, extra].into_iter().filter(|options| !options.is_empty()) {
            assert_eq!(world.send(0, mac(1), &bytes(kind, &options)), None, "{kind:?}");
        }
        assert!(counted(&world, "dhcp6_malformed") > 0, "{kind:?}");
        assert!(world.addresses(0).is_empty());
    }
}

#[test]
fn a_message_for_another_server_is_not_ours_to_answer() {
    let options = [
        DhcpOption::ClientId(DUID.to_vec()),
        DhcpOption::ServerId(vec![0, 3, 0, 1, 9, 9, 9, 9, 9, 9]),
    ];
    let mut world = World::plain();
    for kind in [
        MessageType::Request,
        MessageType::Renew,
        MessageType::Release,
        MessageType::Decline,
        MessageType::InformationRequest,
    ] {
        assert_eq!(world.send(0, mac(1), &bytes(kind, &options)), None, "{kind:?}");
    }
    assert_eq!(counted(&world, "dhcp6_foreign"), 5);
}

#[test]
fn what_came_to_us_alone_is_told_to_use_multicast_or_dropped() {
    let told = [
        MessageType::Request,
        MessageType::Renew,
        MessageType::Release,
        MessageType::Decline,
    ];
    for kind in KINDS {
        let mut world = World::plain();
        world.unicast = true;
        let options: &[DhcpOption] = match kind {
            MessageType::InformationRequest => &[],
            _ => &[ia(1, &[host(0x4711)])],
        };
        let reply = world.say(0, mac(1), kind, options);
        let expected = told.contains(&kind).then_some(Status::UseMulticast);
        assert_eq!(reply.as_ref().and_then(status), expected, "{kind:?}");
        assert!(reply.is_none_or(|reply| reply.opts().iter().count() == 3));
        assert!(world.addresses(0).is_empty());
    }
}

#[test]
fn what_no_client_says_and_whom_no_answer_reaches_are_dropped() {
    let mut world = World::plain();
    let duid = DhcpOption::ClientId(DUID.to_vec());
    for kind in (0..=255)
        .map(MessageType::from)
        .filter(|kind| !KINDS.contains(kind))
    {
        assert_eq!(
            world.send(0, mac(1), &bytes(kind, std::slice::from_ref(&duid))),
            None
        );
    }
    assert_eq!(counted(&world, "dhcp6_malformed"), 248);
    let solicit = bytes(MessageType::Solicit, &[duid, ia(1, &[])]);
    let rules = NameRules {
        names: &world.names,
        elsewhere: &|_| None,
    };
    for src in ["::", "ff02::1", "fd77:77::1", "2001:db8::1", "::1"] {
        let client = Client6 {
            ingress: PortId(1),
            mac: mac(1),
            src: src.parse().unwrap(),
            unicast: false,
            address4: None,
        };
        assert_eq!(
            world.server.handle_message(at(0), client, &solicit, rules),
            None,
            "{src}"
        );
    }
}

#[test]
fn a_reply_needs_no_fragments() {
    let mut config = config();
    config.domain = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60)].join(".");
    config.ntp6 = vec![host(2); 60];
    let mut server = Dhcp6Server::new(&config);
    let names = Names::new(&config);
    let mut options = vec![
        DhcpOption::ClientId(vec![1; 130]),
        DhcpOption::ServerId(SERVER.to_vec()),
    ];
    let named: Vec<_> = (0..2).map(|n| host(0x4711 + n)).collect();
    options.extend((0..8).map(|iaid| ia(iaid, &named)));
    options.push(asks_for(&[
        OptionCode::NtpServer,
        OptionCode::SntpServers,
        OptionCode::DomainSearchList,
    ]));
    let client = Client6 {
        ingress: PortId(1),
        mac: mac(1),
        src: "fe80::1".parse().unwrap(),
        unicast: false,
        address4: None,
    };
    let rules = NameRules {
        names: &names,
        elsewhere: &|_| None,
    };
    let renew = bytes(MessageType::Renew, &options);
    let reply = server.handle_message(at(0), client, &renew, rules).unwrap();
    assert!(reply.message.len() <= 1232, "{}", reply.message.len());
    let decoded = Message::decode(&mut Decoder::new(&reply.message)).unwrap();
    assert_eq!(told(&decoded).len(), 8);
}
