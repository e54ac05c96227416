//! Datagrams in batches and in large frames, and what happens when a guest does not keep up.

use std::net::SocketAddr;

use atoll_engine::{Action, Datagrams, Event, FlowId, PortConfig, PortId};
use atoll_wire::packet::{self, ETHERNET_LEN, IPV4_LEN, Ipv4Header, UDP_LEN};
use atoll_wire::{
    Checksum, EthernetProtocol, Frame, FrameBuf, Gso, IpProtocol, Mac, Offload, Offloads, segment,
};

use crate::bench::{A, B, GATEWAY_MAC, Guest, Heard, Net, WORLD, v4};

const PEER: SocketAddr = SocketAddr::new(WORLD, 3478);
const PARTIAL: Checksum = Checksum::Partial { start: 34, offset: 6 };

/// Guest A's frame to this MAC address, whose payload is to be cut as `gso` says.
fn large(mac: Mac, to: SocketAddr, payload: &[u8], gso: Gso) -> Frame {
    let mut buf = FrameBuf::copy_from(payload);
    packet::push_udp_partial(&mut buf, A.at(5000), to);
    let header = Ipv4Header {
        src: v4(A.ip),
        dst: v4(to.ip()),
        protocol: IpProtocol::Udp,
        ttl: 64,
        ident: 0,
        dont_fragment: true,
    };
    packet::push_ipv4(&mut buf, &header);
    packet::push_ethernet(&mut buf, A.mac, mac, EthernetProtocol::Ipv4);
    let checksum = PARTIAL;
    buf.freeze(Offload { checksum, gso })
}

fn send_large(net: &mut Net, payload: &[u8], gso: Gso) {
    net.send_with_offload(A, large(GATEWAY_MAC, PEER, payload, gso));
}

fn open(net: &mut Net) -> FlowId {
    net.send_udp(A, 5000, PEER, b"x");
    match net.actions()[..] {
        [Action::UdpOpen { flow, .. }, Action::UdpSend { .. }] => flow,
        ref other => panic!("a socket was expected: {other:?}"),
    }
}

/// Guest A's port takes these from now on.
fn offer(net: &mut Net, offloads: Offloads) {
    net.event(Event::PortDetached(A.port));
    net.event(Event::PortAttached {
        port: A.port,
        port_config: PortConfig {
            offloads,
            ..PortConfig::default()
        },
    });
    net.introduce(A);
}

fn received(net: &mut Net, flow: FlowId, datagrams: Vec<Datagrams>) {
    net.event(Event::UdpReceived {
        flow,
        from: PEER,
        datagrams,
    });
}

fn of_sizes(sizes: &[usize]) -> Vec<Datagrams> {
    sizes.iter().map(|&size| FrameBuf::zeroed(size).into()).collect()
}

/// Payload sizes of the datagrams that a guest hears.
fn heard_sizes(net: &mut Net, guest: Guest) -> Vec<usize> {
    let size = |heard| match heard {
        Heard::Udp { payload, .. } => payload.len(),
        other => panic!("only UDP was expected: {other:?}"),
    };
    net.heard(guest).into_iter().map(size).collect()
}

fn waiting(net: &Net, port: PortId) -> Vec<Frame> {
    net.engine.egress(port).iter().cloned().collect()
}

#[test]
fn a_large_frame_goes_to_the_host_in_one_piece() {
    let mut net = Net::new();
    send_large(&mut net, &[7; 2500], Gso::Udp4 { size: 1000 });
    match &net.actions()[..] {
        [
            Action::UdpOpen { .. },
            Action::UdpSend {
                to,
                payload,
                segment: Some(1000),
                ..
            },
        ] => assert_eq!((*to, &payload[..]), (PEER, &[7; 2500][..])),
        other => panic!("one send was expected: {other:?}"),
    }
}

#[test]
fn a_large_frame_that_holds_one_datagram_is_one_datagram() {
    let mut net = Net::new();
    send_large(&mut net, &[7; 1000], Gso::Udp4 { size: 1000 });
    assert!(matches!(net.actions()[1], Action::UdpSend { segment: None, .. }));
}

#[test]
fn sizes_that_no_honest_guest_gives_are_refused_and_counted() {
    let mut net = Net::new();
    let too_many = vec![7; segment::MAX_DATAGRAMS * 10 + 1];
    for (number, gso) in (1..).zip([
        Gso::Udp4 { size: 0 },
        Gso::Udp4 { size: 10 },
        Gso::Tcp4 { size: 1000 },
    ]) {
        send_large(&mut net, &too_many, gso);
        net.asks_nothing();
        assert_eq!(net.counter("malformed"), number);
    }
}

#[test]
fn a_guest_next_door_that_takes_no_large_frames_gets_each_datagram() {
    let mut net = Net::new();
    let frame = large(B.mac, B.at(6000), &[7; 250], Gso::Udp4 { size: 100 });
    net.send_with_offload(A, frame);
    assert_eq!(heard_sizes(&mut net, B), [100, 100, 50]);
}

#[test]
fn a_batch_reaches_the_guest_in_order() {
    let mut net = Net::new();
    let flow = open(&mut net);
    received(&mut net, flow, of_sizes(&[10, 10, 0, 700, 10]));
    assert_eq!(heard_sizes(&mut net, A), [10, 10, 0, 700, 10]);
}

#[test]
fn what_the_kernel_coalesced_is_cut_for_a_port_that_needs_it() {
    let mut net = Net::new();
    let flow = open(&mut net);
    let coalesced = Datagrams {
        payload: FrameBuf::zeroed(2500),
        segment: Some(1000),
    };
    received(&mut net, flow, vec![coalesced]);
    assert_eq!(heard_sizes(&mut net, A), [1000, 1000, 500]);
}

#[test]
fn coalesced_datagrams_larger_than_the_link_come_in_fragments_each_by_itself() {
    let mut net = Net::new();
    let flow = open(&mut net);
    let coalesced = Datagrams {
        payload: FrameBuf::zeroed(5000),
        segment: Some(2000),
    };
    received(&mut net, flow, vec![coalesced]);
    assert_eq!(net.heard(A).len(), 2 + 2 + 1);
}

#[test]
fn a_port_that_takes_large_frames_gets_a_run_as_one() {
    let mut net = Net::new();
    offer(&mut net, Offloads::ALL);
    let flow = open(&mut net);
    net.stop(A);
    received(&mut net, flow, of_sizes(&[1000, 1000, 500]));
    let frames = waiting(&net, A.port);
    let offload = Offload {
        checksum: PARTIAL,
        gso: Gso::Udp4 { size: 1000 },
    };
    let headers = ETHERNET_LEN + IPV4_LEN + UDP_LEN;
    let seen: Vec<(usize, Offload)> = frames
        .iter()
        .map(|frame| (frame.len() - headers, frame.offload))
        .collect();
    assert_eq!(seen, [(2500, offload)]);
}

#[test]
fn a_port_that_finishes_checksums_gets_them_partial_and_can_finish_them() {
    let mut net = Net::new();
    let checksum = true;
    offer(
        &mut net,
        Offloads {
            checksum,
            ..Offloads::default()
        },
    );
    let flow = open(&mut net);
    net.stop(A);
    received(&mut net, flow, of_sizes(&[100]));
    let frame = waiting(&net, A.port).remove(0);
    assert_eq!(frame.offload.checksum, PARTIAL);
    let finished = segment::plain(&frame).unwrap().remove(0);
    let transport = &finished.bytes[ETHERNET_LEN + IPV4_LEN..];
    let is_right = packet::transport_checksum_is_right(WORLD, A.ip, IpProtocol::Udp, transport);
    assert!(is_right);
}

/// Datagrams until the runtime is asked to leave the rest in the socket.
fn flood(net: &mut Net, flow: FlowId) -> usize {
    for batch in 1..1000 {
        received(net, flow, of_sizes(&[64; 64]));
        match net.actions()[..] {
            [] => {}
            [Action::UdpPause(paused)] if paused == flow => return batch,
            ref other => panic!("a pause was expected: {other:?}"),
        }
    }
    panic!("the flood was never stopped");
}

#[test]
fn a_flood_stops_at_half_of_the_queue_and_goes_on_when_there_is_room() {
    let mut net = Net::new();
    let flow = open(&mut net);
    net.stop(A);
    flood(&mut net, flow);
    let queued = waiting(&net, A.port).len();
    assert!(queued < 8192 / 2 + 64, "half of the queue is free for others");
    net.resume(A);
    assert_eq!(net.action(), Action::UdpResume(flow));
    assert_eq!(net.heard(A).len(), queued);
    received(&mut net, flow, of_sizes(&[64]));
    assert_eq!(net.heard(A).len(), 1);
}

#[test]
fn what_comes_for_a_guest_that_is_far_behind_is_lost_and_counted() {
    let mut net = Net::new();
    let flow = open(&mut net);
    net.stop(A);
    flood(&mut net, flow);
    let queued = waiting(&net, A.port).len();
    received(&mut net, flow, of_sizes(&[64; 3]));
    assert_eq!(waiting(&net, A.port).len(), queued);
    assert_eq!(net.counter("egress_dropped"), 3);
    net.asks_nothing();
}

#[test]
fn a_guest_that_does_not_read_fills_few_sockets_of_the_host() {
    let mut net = Net::new();
    let flow = open(&mut net);
    net.stop(A);
    flood(&mut net, flow);
    let mut paused = 1;
    for port in 6000..6100 {
        net.send_udp(A, port, PEER, b"x");
        let Action::UdpOpen { flow: other, .. } = net.actions()[0] else {
            panic!("a socket was expected")
        };
        received(&mut net, other, of_sizes(&[64]));
        paused += net.actions().len();
    }
    assert_eq!(paused, 32);
}

#[test]
fn a_paused_flow_goes_on_when_its_guests_port_is_gone() {
    let mut net = Net::new();
    let flow = open(&mut net);
    net.stop(A);
    flood(&mut net, flow);
    net.event(Event::PortDetached(A.port));
    assert_eq!(net.action(), Action::UdpResume(flow));
}

#[test]
fn a_paused_flow_goes_on_when_its_guest_speaks_at_another_port() {
    let mut net = Net::new();
    let flow = open(&mut net);
    net.stop(A);
    flood(&mut net, flow);
    let moved = Guest { port: PortId(9), ..A };
    net.attach(moved.port);
    net.send_udp(moved, 5000, PEER, b"here");
    match net.actions()[..] {
        [Action::UdpResume(resumed), Action::UdpSend { .. }] => assert_eq!(resumed, flow),
        ref other => panic!("the flow should go on: {other:?}"),
    }
}

#[test]
fn what_the_hosts_kernel_dropped_is_counted() {
    let mut net = Net::new();
    net.event(Event::UdpOverflow {
        sent: 3,
        received: 40,
    });
    assert_eq!(net.counter("host_send_dropped"), 3);
    assert_eq!(net.counter("host_receive_dropped"), 40);
}
