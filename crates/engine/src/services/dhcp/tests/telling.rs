//! What clients are told, and where.

use super::*;

#[test]
fn inform_is_answered_without_an_address() {
    let mut world = World::plain();
    let inform = message(mac(1), host(200), &[DhcpOption::MessageType(MessageType::Inform)]);
    let (ack, to) = world.send(at(0), &inform).unwrap();
    assert_eq!(
        (kind(&ack), ack.yiaddr(), ack.ciaddr()),
        (MessageType::Ack, ZERO, host(200))
    );
    assert_eq!(ack.opts().get(OptionCode::AddressLeaseTime), None);
    assert_eq!(
        ack.opts().get(OptionCode::Router),
        Some(&DhcpOption::Router(vec![GATEWAY]))
    );
    assert_eq!(
        to,
        ReplyTo::Unicast {
            ip: host(200),
            mac: mac(1)
        }
    );
    assert_eq!(world.server.leases(at(0)), []);
}

#[test]
fn a_reply_goes_where_the_client_can_hear_it() {
    let mut world = World::plain();
    let mut discover = message(mac(1), ZERO, &[DhcpOption::MessageType(MessageType::Discover)]);
    let (offer, to) = world.send(at(0), &discover).unwrap();
    assert_eq!(
        to,
        ReplyTo::Unicast {
            ip: offer.yiaddr(),
            mac: mac(1)
        }
    );

    discover.set_flags(Flags::default().set_broadcast());
    let (flagged, to) = world.send(at(0), &discover).unwrap();
    assert_eq!((to, flagged.flags().broadcast()), (ReplyTo::Broadcast, true));

    let mut renew = message(
        mac(1),
        offer.yiaddr(),
        &[DhcpOption::MessageType(MessageType::Request)],
    );
    renew.set_flags(Flags::default().set_broadcast());
    let (ack, to) = world.send(at(0), &renew).unwrap();
    assert_eq!(ack.ciaddr(), offer.yiaddr());
    assert_eq!(
        to,
        ReplyTo::Unicast {
            ip: offer.yiaddr(),
            mac: mac(1)
        }
    );

    let foreign = message(
        mac(1),
        Ipv4Addr::new(192, 168, 1, 5),
        &[DhcpOption::MessageType(MessageType::Request)],
    );
    assert_eq!(world.send(at(0), &foreign).unwrap().1, ReplyTo::Broadcast);
}

#[test]
fn an_answer_tells_the_whole_configuration() {
    let mut config = Config::new(subnet(24));
    config.ntp = vec![host(123)];
    config.mtu = 9000;
    let mut world = World::new(&config);
    let ack = world.say(0, mac(1), MessageType::Discover, &[]).unwrap();
    let expected = [
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
        DhcpOption::Router(vec![GATEWAY]),
        DhcpOption::DomainNameServer(vec![GATEWAY]),
        DhcpOption::DomainName("atoll.internal".to_owned()),
        DhcpOption::DomainSearch(vec!["atoll.internal.".parse().unwrap()]),
        DhcpOption::BroadcastAddr(host(255)),
        DhcpOption::InterfaceMtu(9000),
        DhcpOption::NtpServers(vec![host(123)]),
        DhcpOption::ServerIdentifier(GATEWAY),
        DhcpOption::AddressLeaseTime(3600),
        DhcpOption::Renewal(1800),
        DhcpOption::Rebinding(3150),
    ];
    for option in expected {
        assert_eq!(ack.opts().get(OptionCode::from(&option)), Some(&option));
    }
    assert_eq!(ack.xid(), 7);
}

#[test]
fn options_come_in_the_order_that_the_client_lists() {
    let config = Config::new(subnet(24));
    let mut server = DhcpServer::new(&config);
    let listed = [
        OptionCode::InterfaceMtu,
        OptionCode::DomainName,
        OptionCode::Router,
    ];
    let options = [
        DhcpOption::MessageType(MessageType::Discover),
        DhcpOption::ParameterRequestList(listed.to_vec()),
    ];
    let client = Client {
        ingress: PortId(1),
        mac: mac(1),
        src: ZERO,
    };
    let discover = bytes(&message(mac(1), ZERO, &options));
    let reply = server
        .handle_message(at(0), client, &discover, rules(&Names::new(&config)))
        .unwrap();
    let view = dhcproto::v4::borrowed::Message::new(&reply.message).unwrap();
    let codes: Vec<u8> = view.opts().map(|option| u8::from(option.code())).collect();
    assert_eq!(codes, [53, 54, 51, 58, 59, 1, 26, 15, 3, 6]);
    assert!(reply.message.len() >= 300, "no shorter than BOOTP");
}

#[test]
fn a_reply_fits_what_a_client_must_take() {
    let mut config = Config::new(subnet(24));
    config.domain = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60)].join(".");
    config.ntp = vec![host(1); 60];
    let mut server = DhcpServer::new(&config);
    let client = Client {
        ingress: PortId(1),
        mac: mac(1),
        src: ZERO,
    };
    let options = [
        DhcpOption::MessageType(MessageType::Discover),
        DhcpOption::ClientIdentifier(vec![1; 255]),
    ];
    let discover = bytes(&message(mac(1), ZERO, &options));
    let reply = server
        .handle_message(at(0), client, &discover, rules(&Names::new(&config)))
        .unwrap();
    assert!(reply.message.len() <= 548, "{}", reply.message.len());
    let decoded = Message::decode(&mut Decoder::new(&reply.message)).unwrap();
    assert_eq!(kind(&decoded), MessageType::Offer);
    assert!(decoded.opts().contains(OptionCode::Router));
}

#[test]
fn a_shorter_lease_is_given_when_asked_for_a_longer_one_not() {
    for (wish, given) in [(600, 600), (7200, 3600), (1, 60)] {
        let mut world = World::plain();
        let options = [DhcpOption::AddressLeaseTime(wish)];
        let offer = world.say(0, mac(1), MessageType::Discover, &options).unwrap();
        let expected = DhcpOption::AddressLeaseTime(given);
        assert_eq!(offer.opts().get(OptionCode::AddressLeaseTime), Some(&expected));
    }
}
