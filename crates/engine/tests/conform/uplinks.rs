//! Guests on the host's LAN, or on a bridge of the host's: what passes, and what the gateway does in each mode.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{
    AcceptId, Action, Command, Config, Event, ForwardId, ForwardTarget, HostError, Mode, PortId, Router,
    Side, StaticLease,
};
use atoll_wire::packet::{self, ETHERNET_LEN, Ipv4Header};
use atoll_wire::tcp::{Flags, Header};
use atoll_wire::{ArpOperation, EthernetProtocol, Frame, FrameBuf, IpProtocol, Mac, Offload, Seq, ndp};
use bytes::Bytes;
use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use crate::bench::{A, B, GATEWAY_MAC, Guest, Heard, METADATA, Net, udp, v4};
use crate::bench6::{self, PREFIX, frame, v6};

/// Somebody on the LAN, behind the uplink.
pub(crate) const LAN: Guest = Guest {
    port: PortId(9),
    ip: IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1)),
    mac: Mac([2, 0, 0, 0, 9, 9]),
};

/// The gateway's link-local address where it is not the router.
pub(crate) const LINK_LOCAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe));

/// Addresses that guests have of the LAN.
pub(crate) const A_LAN: Guest = Guest {
    ip: IpAddr::V4(Ipv4Addr::new(192, 168, 1, 50)),
    ..A
};
pub(crate) const A_LOCAL: Guest = Guest {
    ip: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0x1234, 0, 0, 2)),
    ..A
};

pub(crate) fn net(mode: Mode, change: impl FnOnce(&mut Config)) -> Net {
    let mut net = Net::of_strangers(|config| {
        config.mode = mode;
        config.ipv6 = Some(PREFIX);
        let seed = ("user-data".to_owned(), Bytes::from_static(b"#cloud-config\n"));
        config.documents.insert("m2".to_owned(), [seed].into());
        change(config);
    });
    net.attach_uplink(LAN.port, Side::Uplink);
    net
}

pub(crate) fn bridged() -> Net {
    net(Mode::Bridged, |_| ())
}

/// A frame from one station to another.
pub(crate) fn between(from: Guest, to: Mac, dst: IpAddr, payload: &[u8]) -> Vec<u8> {
    let mut buf = udp(from.at(4000), SocketAddr::new(dst, 4001), payload);
    let header = Ipv4Header {
        src: v4(from.ip),
        dst: v4(dst),
        protocol: IpProtocol::Udp,
        ttl: 64,
        ident: 1,
        dont_fragment: true,
    };
    packet::push_ipv4(&mut buf, &header);
    packet::push_ethernet(&mut buf, from.mac, to, EthernetProtocol::Ipv4);
    buf.payload().to_vec()
}

#[test]
fn frames_pass_both_ways_as_they_are() {
    let mut net = bridged();
    let question = between(A_LAN, LAN.mac, LAN.ip, b"question");
    net.send_frame(A, &question);
    assert_eq!(net.frames(LAN), std::slice::from_ref(&question));
    let answer = between(LAN, A.mac, A_LAN.ip, b"answer");
    net.send_frame(LAN, &answer);
    assert_eq!(net.frames(A), [answer]);
    net.frames(B);
    net.send_frame(A, &question);
    assert_eq!(net.frames(B), Vec::<Vec<u8>>::new(), "the LAN's station is known");
}

#[test]
fn guests_of_one_bridge_hear_each_other_without_the_lan() {
    let mut net = bridged();
    net.send_frame(B, &between(B, Mac::BROADCAST, LAN.ip, b"here"));
    net.frames(LAN);
    let frame = between(A_LAN, B.mac, B.ip, b"hello");
    net.send_frame(A, &frame);
    assert_eq!(net.frames(B), [frame]);
    assert_eq!(net.frames(LAN), Vec::<Vec<u8>>::new());
}

/// The first segment of a connection, to a station that may be any.
fn syn(guest: Guest, station: Mac, to: SocketAddr) -> Vec<u8> {
    let header = Header {
        src_port: 40_000,
        dst_port: to.port(),
        seq: Seq(1000),
        flags: Flags::SYN,
        window: 1000,
        ..Header::default()
    };
    let mut buf = FrameBuf::zeroed(0);
    header.push(&mut buf, guest.ip, to.ip());
    match to.ip() {
        IpAddr::V4(dst) => {
            let header = Ipv4Header {
                src: v4(guest.ip),
                dst,
                protocol: IpProtocol::Tcp,
                ttl: 64,
                ident: 1,
                dont_fragment: true,
            };
            packet::push_ipv4(&mut buf, &header);
            packet::push_ethernet(&mut buf, guest.mac, station, EthernetProtocol::Ipv4);
            buf.payload().to_vec()
        }
        IpAddr::V6(_) => {
            let mut bytes = frame(guest, (guest.ip, to.ip()), (IpProtocol::Tcp, 64), buf);
            bytes[..6].copy_from_slice(&station.0);
            bytes
        }
    }
}

#[test]
fn the_metadata_address_is_ours_whatever_station_it_is_asked_of() {
    for mode in [Mode::Bridged, Mode::Shared, Mode::Host] {
        let guest = if mode == Mode::Bridged { A_LAN } else { A };
        let mut net = net(mode, |_| ());
        for station in [LAN.mac, GATEWAY_MAC, Mac([2, 7, 7, 7, 7, 7])] {
            net.send_frame(guest, &syn(guest, station, SocketAddr::new(METADATA, 80)));
            let answers: Vec<_> = net.heard(guest);
            let is_answer = |heard: &Heard| matches!(heard, Heard::Tcp(segment) if segment.header.flags == Flags::SYN_ACK && segment.src.ip() == METADATA);
            assert!(answers.iter().any(is_answer), "{mode:?}: {answers:?}");
            let left: Vec<_> = net.frames(LAN);
            let about = |frame: &&Vec<u8>| frame[ETHERNET_LEN + 16..].starts_with(&[169, 254, 169, 254]);
            assert_eq!(left.iter().find(about), None, "{mode:?}");
            net.wait(Duration::from_secs(200));
            net.frames(guest);
        }
    }
}

#[test]
fn a_packet_to_the_metadata_address_does_not_leave_behind_others_to_the_same_station() {
    let mut net = bridged();
    net.send_frame(A, &between(A_LAN, LAN.mac, LAN.ip, b"one"));
    net.send_frame(A, &between(A_LAN, LAN.mac, LAN.ip, b"two"));
    net.send_frame(A, &syn(A_LAN, LAN.mac, SocketAddr::new(METADATA, 80)));
    net.send_frame(A, &between(A_LAN, LAN.mac, LAN.ip, b"three"));
    assert_eq!(net.frames(LAN).len(), 3);
}

#[test]
fn questions_for_our_addresses_are_answered_and_heard_by_nobody_else() {
    let mut net = bridged();
    net.send_arp(A, ArpOperation::Request, A_LAN.ip, METADATA);
    let Heard::Arp { sender, .. } = net.hears(A) else {
        panic!("no answer");
    };
    assert_eq!(sender, (GATEWAY_MAC, METADATA));
    bench6::solicit(&mut net, A_LOCAL, LINK_LOCAL);
    let advertisement = bench6::hears_icmp6(&mut net, A);
    assert_eq!((advertisement.kind, advertisement.src), (136, LINK_LOCAL));
    net.hears_nothing(B);
    net.hears_nothing(LAN);
}

#[test]
fn documents_are_served_at_the_link_local_address_too() {
    let mut net = bridged();
    bench6::solicit(&mut net, A_LOCAL, LINK_LOCAL);
    net.frames(A);
    net.send_frame(A, &syn(A_LOCAL, GATEWAY_MAC, SocketAddr::new(LINK_LOCAL, 80)));
    assert_eq!(net.hears_tcp(A).header.flags, Flags::SYN_ACK);
    net.send_frame(A, &syn(A_LOCAL, GATEWAY_MAC, SocketAddr::new(LINK_LOCAL, 53)));
    assert_eq!(net.hears_tcp(A).header.flags, Flags::RST_ACK, "no other service");
}

#[test]
fn no_mode_but_user_opens_a_socket_of_the_host() {
    let world: [SocketAddr; 4] = [
        "198.51.100.7:80".parse().unwrap(),
        "127.0.0.1:80".parse().unwrap(),
        "[2001:db8::7]:80".parse().unwrap(),
        "[::1]:80".parse().unwrap(),
    ];
    for mode in [Mode::Bridged, Mode::Shared, Mode::Host] {
        let mut net = net(mode, |config| config.host_loopback = true);
        for to in world {
            let guest = if to.is_ipv4() { A } else { bench6::A6 };
            net.send_frame(guest, &syn(guest, GATEWAY_MAC, to));
            net.send_udp(guest, 4000, to, b"out");
            net.send_echo(guest, to.ip(), (1, 1), b"out");
        }
        for action in net.actions() {
            let is_silent = matches!(action, Action::LeasesChanged | Action::Notice(_));
            assert!(is_silent, "{mode:?}: {action:?}");
        }
    }
}

#[test]
fn nothing_that_comes_by_an_uplink_is_answered() {
    for mode in [Mode::Bridged, Mode::Shared, Mode::Host] {
        let mut net = net(mode, |_| ());
        let host = Guest {
            ip: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)),
            ..LAN
        };
        for target in [METADATA, crate::bench::GATEWAY, crate::bench::ALIAS] {
            net.send_arp(host, ArpOperation::Request, host.ip, target);
            net.send_echo(host, target, (1, 1), b"ping");
            net.send_udp(host, 68, SocketAddr::new(target, 67), &discover(LAN.mac));
        }
        let local = Guest {
            ip: A_LOCAL.ip,
            ..LAN
        };
        bench6::solicit(&mut net, local, LINK_LOCAL);
        net.wait(Duration::from_secs(60));
        assert_eq!(net.frames(LAN), Vec::<Vec<u8>>::new(), "{mode:?}");
    }
}

#[test]
fn who_claims_our_addresses_by_an_uplink_is_not_heard() {
    let mut net = bridged();
    net.send_arp(LAN, ArpOperation::Reply, METADATA, A_LAN.ip);
    let claimed = ndp::neighbor_advertisement((v6(LINK_LOCAL), LAN.mac), ndp::ALL_NODES);
    let local = Guest {
        ip: LINK_LOCAL,
        ..LAN
    };
    bench6::send_discovery(
        &mut net,
        local,
        (LINK_LOCAL, IpAddr::V6(ndp::ALL_NODES)),
        255,
        claimed,
    );
    let cloud = Guest { ip: METADATA, ..LAN };
    net.send_frame(LAN, &between(cloud, A.mac, A_LAN.ip, b"forged"));
    net.hears_nothing(A);
    net.hears_nothing(B);
    assert_eq!(net.counter("spoofed"), 3);
}

fn discover(mac: Mac) -> Vec<u8> {
    request(mac, MessageType::Discover)
}

fn request(mac: Mac, kind: MessageType) -> Vec<u8> {
    let zero = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(77, zero, zero, zero, zero, &mac.0);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    message.opts_mut().insert(DhcpOption::ParameterRequestList(vec![
        OptionCode::Router,
        OptionCode::DomainNameServer,
        OptionCode::ClasslessStaticRoute,
    ]));
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

/// A client's message to all DHCP servers.
fn broadcast(net: &mut Net, guest: Guest, message: &[u8]) {
    let nobody = Guest {
        ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ..guest
    };
    let to = SocketAddr::new(Ipv4Addr::BROADCAST.into(), 67);
    let mut buf = udp(nobody.at(68), to, message);
    let header = Ipv4Header {
        src: Ipv4Addr::UNSPECIFIED,
        dst: Ipv4Addr::BROADCAST,
        protocol: IpProtocol::Udp,
        ttl: 64,
        ident: 1,
        dont_fragment: false,
    };
    packet::push_ipv4(&mut buf, &header);
    packet::push_ethernet(&mut buf, guest.mac, Mac::BROADCAST, EthernetProtocol::Ipv4);
    net.send_frame(guest, buf.payload());
}

/// What DHCP answers to a guest that looks for a server.
pub(crate) fn offered(net: &mut Net, guest: Guest) -> Option<Message> {
    broadcast(net, guest, &discover(guest.mac));
    net.heard(guest).into_iter().find_map(|heard| match heard {
        Heard::Udp { payload, .. } => Message::decode(&mut Decoder::new(&payload)).ok(),
        _ => None,
    })
}

#[test]
fn dhcp_names_the_kernel_as_router_of_a_shared_network_and_nobody_of_a_host_network() {
    let services = vec![Ipv4Addr::new(10, 77, 0, 254)];
    for (mode, router) in [
        (Mode::Shared, Some(Ipv4Addr::new(10, 77, 0, 1))),
        (Mode::Host, None),
    ] {
        let mut net = net(mode, |_| ());
        let offer = offered(&mut net, A).unwrap();
        let option = |code| offer.opts().get(code).cloned();
        let routers = router.map(|router| DhcpOption::Router(vec![router]));
        assert_eq!(option(OptionCode::Router), routers, "{mode:?}");
        assert_eq!(
            option(OptionCode::DomainNameServer),
            Some(DhcpOption::DomainNameServer(services.clone()))
        );
        assert_eq!(
            option(OptionCode::ServerIdentifier),
            Some(DhcpOption::ServerIdentifier(services[0]))
        );
    }
    assert_eq!(offered(&mut bridged(), A), None, "the LAN's DHCP server answers");
}

#[test]
fn a_shared_networks_router_is_advertised_in_the_kernels_name() {
    let router = Router {
        mac: Mac([0x52, 1, 2, 3, 4, 5]),
        link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77),
    };
    let ours = (LINK_LOCAL, GATEWAY_MAC, 0);
    let kernels = (IpAddr::V6(router.link_local), router.mac, 1800);
    for (mode, before, after) in [(Mode::Shared, ours, kernels), (Mode::Host, ours, ours)] {
        let mut net = net(mode, |_| ());
        assert_eq!(advertised(&mut net), before, "{mode:?}");
        net.command(Command::SetRouter(Some(router)));
        assert_eq!(advertised(&mut net), after, "{mode:?}");
        net.command(Command::SetRouter(None));
        assert_eq!(advertised(&mut net), before, "{mode:?}");
        assert_eq!(net.frames(LAN), Vec::<Vec<u8>>::new());
    }
}

/// Source address and station of the advertisement that a guest hears next, and for how long there is a router.
pub(crate) fn advertised(net: &mut Net) -> (IpAddr, Mac, u16) {
    net.frames(A);
    net.wait(Duration::from_secs(16));
    let frames = net.frames(A);
    let is_one = |frame: &&Vec<u8>| frame.get(ETHERNET_LEN + 40) == Some(&134);
    let frame = frames.iter().rfind(is_one).expect("an advertisement");
    let src: [u8; 16] = frame[ETHERNET_LEN + 8..ETHERNET_LEN + 24].try_into().unwrap();
    let lifetime = u16::from_be_bytes([frame[ETHERNET_LEN + 46], frame[ETHERNET_LEN + 47]]);
    (
        Ipv6Addr::from(src).into(),
        Mac(frame[6..12].try_into().unwrap()),
        lifetime,
    )
}

/// The addresses that a snapshot shows of a port.
fn shown(net: &Net, guest: Guest) -> Vec<IpAddr> {
    let ports = net.engine.snapshot(net.now).ports;
    let port = ports.into_iter().find(|port| port.port == guest.port);
    port.unwrap().addresses
}

#[test]
fn what_a_guest_says_of_itself_is_shown_and_what_the_lan_says_of_it_is_not() {
    let mut net = bridged();
    net.send_arp(A, ArpOperation::Request, A_LAN.ip, LAN.ip);
    bench6::solicit(&mut net, A_LOCAL, LINK_LOCAL);
    assert_eq!(shown(&net, A), [A_LAN.ip, A_LOCAL.ip]);
    let forged = Guest { mac: A.mac, ..LAN };
    let other: IpAddr = "192.168.1.66".parse().unwrap();
    net.send_arp(forged, ArpOperation::Request, other, LAN.ip);
    net.send_arp(LAN, ArpOperation::Request, A_LAN.ip, A_LAN.ip);
    assert_eq!(shown(&net, A), [A_LAN.ip, A_LOCAL.ip]);
    assert_eq!(shown(&net, LAN), Vec::<IpAddr>::new());
}

#[test]
fn the_lans_dhcp_server_tells_a_guests_address_when_the_guest_asked() {
    let mut net = bridged();
    let ack = |xid: u32, address: Ipv4Addr| {
        let mut answer = request(A.mac, MessageType::Ack);
        answer[0] = 2;
        answer[4..8].copy_from_slice(&xid.to_be_bytes());
        answer[16..20].copy_from_slice(&address.octets());
        let from = SocketAddr::new(LAN.ip, 67);
        let mut buf = udp(from, SocketAddr::new(address.into(), 68), &answer);
        let header = Ipv4Header {
            src: v4(LAN.ip),
            dst: address,
            protocol: IpProtocol::Udp,
            ttl: 64,
            ident: 1,
            dont_fragment: false,
        };
        packet::push_ipv4(&mut buf, &header);
        packet::push_ethernet(&mut buf, LAN.mac, A.mac, EthernetProtocol::Ipv4);
        buf.payload().to_vec()
    };
    net.send_frame(LAN, &ack(77, v4(A_LAN.ip)));
    assert_eq!(shown(&net, A), Vec::<IpAddr>::new(), "nobody asked");
    broadcast(&mut net, A, &request(A.mac, MessageType::Request));
    net.send_frame(LAN, &ack(78, v4(A_LAN.ip)));
    assert_eq!(
        shown(&net, A),
        Vec::<IpAddr>::new(),
        "an answer to another question"
    );
    net.send_frame(LAN, &ack(77, v4(A_LAN.ip)));
    assert_eq!(shown(&net, A), [A_LAN.ip]);
}

/// A forward's connection: the SYN that the guest hears.
fn forwarded(net: &mut Net, id: u32, guest: ForwardTarget) -> Option<(SocketAddr, SocketAddr)> {
    let forward = ForwardId(id);
    net.command(Command::AddForward {
        forward,
        guest,
        port: 22,
    });
    net.frames(A);
    net.event(Event::TcpAccepted {
        forward,
        accept: AcceptId(id.into()),
        peer: "127.0.0.1:5000".parse().unwrap(),
    });
    net.heard(A).into_iter().find_map(|heard| match heard {
        Heard::Tcp(segment) if segment.header.flags == Flags::SYN => Some((segment.src, segment.dst)),
        _ => None,
    })
}

#[test]
fn forwards_reach_a_guest_at_its_link_local_address_by_name_and_by_mac() {
    let mut net = bridged();
    net.command(Command::SetStaticLease(StaticLease {
        mac: A.mac,
        address: None,
        address6: None,
        hostname: Some("web".to_owned()),
    }));
    net.send_arp(A, ArpOperation::Request, A_LAN.ip, LAN.ip);
    let over_v4 = forwarded(&mut net, 1, ForwardTarget::Mac(A.mac)).unwrap();
    assert_eq!((over_v4.0.ip(), over_v4.1), (METADATA, A_LAN.at(22)));
    bench6::solicit(&mut net, A_LOCAL, LINK_LOCAL);
    let targets = [
        ForwardTarget::Mac(A.mac),
        ForwardTarget::Name("m2".to_owned()),
        ForwardTarget::Name("WEB".to_owned()),
    ];
    for (id, target) in (2..).zip(targets) {
        let (from, to) = forwarded(&mut net, id, target.clone()).unwrap();
        assert_eq!((from.ip(), to), (LINK_LOCAL, A_LOCAL.at(22)), "{target:?}");
    }
    let frames = net.frames(LAN);
    assert!(
        frames.iter().all(|frame| frame[6..12] != GATEWAY_MAC.0),
        "{frames:?}"
    );
}

fn dial(net: &mut Net, accept: u64, guest: ForwardTarget) {
    net.frames(A);
    net.event(Event::TcpDialled {
        accept: AcceptId(accept),
        peer: "127.0.0.1:5000".parse().unwrap(),
        guest,
        port: 22,
    });
}

/// The proxy's way in.
#[test]
fn a_dial_on_a_bridged_network_leads_to_guests_by_label_or_address_and_to_nobody_else_of_the_lan() {
    let mut net = bridged();
    net.send_arp(A, ArpOperation::Request, A_LAN.ip, LAN.ip);
    net.send_arp(LAN, ArpOperation::Request, LAN.ip, A_LAN.ip);
    bench6::solicit(&mut net, A_LOCAL, LINK_LOCAL);
    for (accept, (target, guest)) in (1..).zip([
        (ForwardTarget::Name("m2".to_owned()), A_LOCAL),
        (ForwardTarget::Address(A_LOCAL.ip), A_LOCAL),
        (ForwardTarget::Address(A_LAN.ip), A_LAN),
    ]) {
        dial(&mut net, accept, target.clone());
        let heard = net.heard(A);
        let is_syn = |heard: &Heard| matches!(heard, Heard::Tcp(segment) if segment.header.flags == Flags::SYN && segment.dst == guest.at(22));
        assert!(heard.iter().any(is_syn), "{target:?}: {heard:?}");
    }
    net.frames(LAN);
    net.asks_nothing();
    let world = "198.51.100.7".parse().unwrap();
    for (accept, address) in (10..).zip([LAN.ip, METADATA, world, LINK_LOCAL]) {
        dial(&mut net, accept, ForwardTarget::Address(address));
        let refusal = Action::TcpRefuse {
            accept: AcceptId(accept),
            why: HostError::Prohibited,
        };
        assert_eq!(net.action(), refusal, "{address}");
    }
    assert_eq!(net.frames(LAN), Vec::<Vec<u8>>::new());
}

#[test]
fn several_guests_may_be_known_by_their_mac_addresses() {
    let mut net = bridged();
    bench6::solicit(&mut net, A_LOCAL, LINK_LOCAL);
    let both = ForwardTarget::OneOf(vec![ForwardTarget::Mac(B.mac), ForwardTarget::Mac(A.mac)]);
    let (from, to) = forwarded(&mut net, 1, both).unwrap();
    assert_eq!((from.ip(), to), (LINK_LOCAL, A_LOCAL.at(22)));
}

#[test]
fn a_guest_that_is_wanted_and_not_known_is_called() {
    let mut net = bridged();
    net.wait(Duration::from_secs(120));
    net.frames(A);
    assert_eq!(forwarded(&mut net, 1, ForwardTarget::Mac(A.mac)), None);
    net.wait(Duration::from_secs(1));
    let call = bench6::hears_icmp6(&mut net, A);
    assert_eq!((call.kind, call.src), (128, LINK_LOCAL));
    net.send_echo_reply(A_LOCAL);
    assert!(forwarded(&mut net, 2, ForwardTarget::Mac(A.mac)).is_some());
}

impl Net {
    /// The guest answers a call.
    fn send_echo_reply(&mut self, guest: Guest) {
        let pair = (guest.ip, LINK_LOCAL);
        let reply = bench6::icmp6(pair, 129, [0; 4], &[]);
        let bytes = frame(guest, pair, (IpProtocol::Icmpv6, 64), reply);
        self.send_frame(guest, &bytes);
    }
}

#[test]
fn large_segments_cross_as_they_are_where_both_ports_take_them() {
    use atoll_wire::{Checksum, Gso, Offloads};
    let mut net = bridged();
    let offloads = Offloads::ALL;
    for (port, side) in [(A.port, Side::Guest), (LAN.port, Side::Uplink)] {
        net.event(Event::PortAttached {
            port,
            port_config: atoll_engine::PortConfig {
                offloads,
                side,
                ..Default::default()
            },
        });
    }
    let mut buf = FrameBuf::zeroed(5000);
    Header::default().push_partial(&mut buf, v4(A_LAN.ip), v4(LAN.ip));
    let header = Ipv4Header {
        src: v4(A_LAN.ip),
        dst: v4(LAN.ip),
        protocol: IpProtocol::Tcp,
        ttl: 64,
        ident: 1,
        dont_fragment: true,
    };
    packet::push_ipv4(&mut buf, &header);
    packet::push_ethernet(&mut buf, A.mac, LAN.mac, EthernetProtocol::Ipv4);
    let offload = Offload {
        checksum: Checksum::Partial {
            start: 34,
            offset: 16,
        },
        gso: Gso::Tcp4 { size: 1400 },
    };
    let large: Frame = buf.freeze(offload);
    net.send_with_offload(A, large.clone());
    assert_eq!(net.frames(LAN), [large.bytes.to_vec()]);
}
