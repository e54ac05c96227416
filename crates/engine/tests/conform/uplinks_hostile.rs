//! Whatever guests and the LAN send: nothing of the gateway's leaves by an uplink, and the LAN poisons nothing of a guest's.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{AcceptId, Action, Command, Event, ForwardId, ForwardTarget, Mode, Router, Side};
use atoll_wire::packet;
use atoll_wire::{ArpOperation, EthernetProtocol, IpProtocol, Mac, ndp};
use proptest::prelude::*;

use crate::bench::{A, B, GATEWAY_MAC, Guest, METADATA, Net, ip_frame, udp};
use crate::bench6::{PREFIX, frame};
use crate::uplinks::{A_LAN, A_LOCAL, LAN, LINK_LOCAL};

const ROUTER: Router = Router {
    mac: Mac([0x52, 1, 2, 3, 4, 5]),
    link_local: std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77),
};

/// One thing that somebody does.
#[derive(Clone, Debug)]
enum Step {
    /// A frame of this kind from one of [`WHO`] to one of [`MACS`], in the name of one of [`MACS`], with one of [`ADDRESSES`] and another.
    Frame {
        kind: u8,
        who: usize,
        macs: (usize, usize),
        addresses: (usize, usize),
        flip: Option<(usize, u8)>,
    },
    Wait(u64),
    Accept,
    Router(bool),
    Reattach(usize),
}

const WHO: [Guest; 3] = [A, B, LAN];

fn macs() -> [Mac; 7] {
    [
        A.mac,
        B.mac,
        LAN.mac,
        GATEWAY_MAC,
        Mac::BROADCAST,
        ROUTER.mac,
        Mac([0x33, 0x33, 0, 0, 0, 1]),
    ]
}

fn addresses() -> [IpAddr; 11] {
    let text = |text: &str| text.parse().unwrap();
    [
        A.ip,
        A_LAN.ip,
        METADATA,
        LAN.ip,
        text("10.77.0.1"),
        text("10.77.0.254"),
        text("255.255.255.255"),
        A_LOCAL.ip,
        LINK_LOCAL,
        text("fd77:77::fe"),
        text("ff02::1"),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let frame = (
        0_u8..10,
        0..WHO.len(),
        (0..macs().len(), 0..macs().len()),
        (0..addresses().len(), 0..addresses().len()),
        prop::option::weighted(0.2, (0_usize..120, 1_u8..)),
    );
    prop_oneof![
        12 => frame.prop_map(|(kind, who, macs, addresses, flip)| Step::Frame { kind, who, macs, addresses, flip }),
        2 => (0_u64..40).prop_map(Step::Wait),
        1 => Just(Step::Accept),
        1 => any::<bool>().prop_map(Step::Router),
        1 => (0..WHO.len()).prop_map(Step::Reattach),
    ]
}

/// A frame, as well formed as kind and addresses allow.
fn bytes(kind: u8, src_mac: Mac, dst_mac: Mac, (src, dst): (IpAddr, IpAddr)) -> Vec<u8> {
    let sender = Guest {
        mac: src_mac,
        ip: src,
        ..A
    };
    let with_macs = |mut bytes: Vec<u8>| {
        bytes[..6].copy_from_slice(&dst_mac.0);
        bytes
    };
    if let (IpAddr::V4(src), IpAddr::V4(dst)) = (src, dst) {
        let operation = if kind & 1 == 0 {
            ArpOperation::Request
        } else {
            ArpOperation::Reply
        };
        if kind < 3 {
            let mut buf = packet::arp(operation, (src_mac, src), (Mac::default(), dst));
            packet::push_ethernet(&mut buf, src_mac, dst_mac, EthernetProtocol::Arp);
            return buf.payload().to_vec();
        }
        let ports = [(68, 67), (67, 68), (4000, 53), (4000, 80)][usize::from(kind) % 4];
        let pair = (
            SocketAddr::new(src.into(), ports.0),
            SocketAddr::new(dst.into(), ports.1),
        );
        let mut dhcp = vec![0; 244];
        dhcp[0] = 1 + kind % 2;
        dhcp[1..3].copy_from_slice(&[1, 6]);
        dhcp[28..34].copy_from_slice(&src_mac.0);
        dhcp[236..240].copy_from_slice(&[99, 130, 83, 99]);
        dhcp[240..244].copy_from_slice(&[53, 1, 1 + 2 * (kind % 3), 255]);
        return with_macs(ip_frame(
            sender,
            dst.into(),
            IpProtocol::Udp,
            64,
            udp(pair.0, pair.1, &dhcp),
        ));
    }
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) else {
        return vec![0; usize::from(kind) * 8];
    };
    let buf = match kind {
        0..3 => ndp::neighbor_solicitation((src, src_mac), dst),
        3..6 => ndp::neighbor_advertisement((src, src_mac), dst),
        6 => crate::bench6::icmp6((src.into(), dst.into()), 133, [0; 4], &[]),
        7 => crate::bench6::icmp6((src.into(), dst.into()), 128, [0; 4], b"ping"),
        _ => udp(
            SocketAddr::new(src.into(), 546),
            SocketAddr::new(dst.into(), 547),
            &[1, 2, 3, 4],
        ),
    };
    let protocol = if kind < 8 {
        IpProtocol::Icmpv6
    } else {
        IpProtocol::Udp
    };
    with_macs(frame(sender, (src.into(), dst.into()), (protocol, 255), buf))
}

/// The network, and every frame that guests sent.
struct World {
    net: Net,
    sent: BTreeSet<Vec<u8>>,
    accepted: u64,
}

impl World {
    fn new(mode: Mode, pinned: bool, isolate: bool) -> Self {
        let mut net = Net::of_strangers(|config| {
            config.mode = mode;
            config.pinned_uplinks = pinned;
            config.isolate = isolate;
            config.ipv6 = Some(PREFIX);
        });
        let side = if pinned { Side::Pinned(A.mac) } else { Side::Uplink };
        net.attach_uplink(LAN.port, side);
        net.command(Command::AddForward {
            forward: ForwardId(1),
            guest: ForwardTarget::Mac(A.mac),
            port: 22,
        });
        Self {
            net,
            sent: BTreeSet::new(),
            accepted: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Frame {
                kind,
                who,
                macs: (src, dst),
                addresses: (from, to),
                flip,
            } => {
                let mut bytes = bytes(
                    kind,
                    macs()[src],
                    macs()[dst],
                    (addresses()[from], addresses()[to]),
                );
                if let Some((at, how)) = flip.filter(|_| !bytes.is_empty()) {
                    let at = at % bytes.len();
                    bytes[at] ^= how;
                }
                if who < 2 {
                    self.sent.insert(bytes.clone());
                }
                self.net.send_frame(WHO[who], &bytes);
            }
            Step::Wait(seconds) => self.net.wait(Duration::from_secs(seconds)),
            Step::Accept => {
                self.accepted += 1;
                self.net.event(Event::TcpAccepted {
                    forward: ForwardId(1),
                    accept: AcceptId(self.accepted),
                    peer: "127.0.0.1:5000".parse().unwrap(),
                });
            }
            Step::Router(is_there) => self.net.command(Command::SetRouter(is_there.then_some(ROUTER))),
            Step::Reattach(who) if who < 2 => {
                self.net.event(Event::PortDetached(WHO[who].port));
                self.net.attach(WHO[who].port);
            }
            Step::Reattach(_) => {}
        }
        for frame in self.net.frames(LAN) {
            assert!(self.sent.contains(&frame), "this left by an uplink: {frame:02x?}");
        }
        for action in self.net.actions() {
            let opens = matches!(
                action,
                Action::TcpConnect { .. }
                    | Action::UdpOpen { .. }
                    | Action::IcmpOpen { .. }
                    | Action::DnsAsk { .. }
            );
            assert!(!opens, "{action:?}");
        }
    }
}

proptest! {
    /// All that leaves by an uplink is what a guest sent; and nothing in the other modes opens a socket of the host's.
    #[test]
    fn an_uplink_carries_what_guests_sent_and_nothing_else(
        steps in proptest::collection::vec(step(), 1..60),
        mode in prop::sample::select(&[Mode::Bridged, Mode::Shared, Mode::Host][..]),
        pinned: bool,
        isolate: bool,
    ) {
        let mut world = World::new(mode, pinned && mode == Mode::Bridged, isolate);
        for step in &steps {
            world.take(step);
        }
    }

    /// What a guest has said of itself stays so, whatever the LAN sends.
    #[test]
    fn the_lan_takes_nothing_from_a_guest(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new(Mode::Bridged, false, false);
        world.net.send_arp(A, ArpOperation::Request, A_LAN.ip, LAN.ip);
        crate::bench6::solicit(&mut world.net, A_LOCAL, LINK_LOCAL);
        for step in &steps {
            if let Step::Frame { kind, macs: (src, dst), addresses: (from, to), .. } = *step {
                let bytes = bytes(kind, macs()[src], macs()[dst], (addresses()[from], addresses()[to]));
                world.net.send_frame(LAN, &bytes);
            }
        }
        let ports = world.net.engine.snapshot(world.net.now).ports;
        let of = |guest: Guest| ports.iter().find(|port| port.port == guest.port).unwrap();
        prop_assert_eq!(&of(A).addresses, &[A_LAN.ip, A_LOCAL.ip]);
        prop_assert_eq!(&of(A).macs, &[A.mac]);
        prop_assert!(of(B).addresses.is_empty() && of(LAN).addresses.is_empty());
    }
}

#[test]
fn a_lan_of_many_stations_grows_nothing_without_bound() {
    let mut world = World::new(Mode::Bridged, false, false);
    for number in 0..20_000_u32 {
        let [a, b, c, d] = number.to_be_bytes();
        let mac = Mac([2, 9, a, b, c, d]);
        let ip = IpAddr::V4(Ipv4Addr::new(192, 168, c, d));
        let bytes = bytes(0, mac, Mac::BROADCAST, (ip, A_LAN.ip));
        world.net.send_frame(LAN, &bytes);
        world.net.frames(A);
        world.net.frames(B);
    }
    let ports = world.net.engine.snapshot(world.net.now).ports;
    let uplink = ports.iter().find(|port| port.port == LAN.port).unwrap();
    assert_eq!(uplink.macs.len(), 8192);
}
