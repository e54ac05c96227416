//! What all connections of one port may hold for hosts that take nothing.

use std::net::SocketAddr;

use atoll_engine::{Action, Event, FlowId};
use atoll_wire::Seq;
use atoll_wire::tcp::{Flags, Header, Options};

use crate::bench::{A, Net, WORLD};
use crate::connection::{ISS, MODERN, stream, syn};

const BOUND: usize = 256 * 1024;
const FLOWS: u16 = 16;
const SEGMENT: u32 = 1000;
const REMOTE: SocketAddr = SocketAddr::new(WORLD, 8000);

/// A connection whose host is full.
struct Full {
    port: u16,
    flow: FlowId,
    /// The guest's next byte, what was acknowledged of it, and where the window ends.
    seq: Seq,
    acked: Seq,
    edge: Seq,
    ack: Seq,
}

impl Full {
    fn open(net: &mut Net, port: u16) -> Self {
        let header = Header {
            src_port: port,
            ..syn(ISS, MODERN)
        };
        net.send_tcp(A, REMOTE, &header, &[]);
        let Action::TcpConnect { flow, .. } = net.action() else {
            panic!("a connection was expected")
        };
        net.event(Event::TcpConnected(flow));
        let syn_ack = net.hears_tcp(A).header;
        let first = Seq(ISS + 1);
        let mut full = Self {
            port,
            flow,
            seq: first,
            acked: first,
            edge: first + u32::from(syn_ack.window),
            ack: syn_ack.seq + 1,
        };
        full.send(net, first, 0);
        full
    }

    /// Send `len` bytes of the stream at `seq`; the host takes nothing.
    fn send(&mut self, net: &mut Net, seq: Seq, len: u32) {
        let header = Header {
            src_port: self.port,
            dst_port: REMOTE.port(),
            seq,
            ack: self.ack,
            flags: Flags::ACK,
            window: 64_000,
            options: Options::default(),
        };
        let from = (seq - Seq(ISS + 1)) as usize;
        net.send_tcp(A, REMOTE, &header, &stream(from, len as usize));
        self.settle(net, 0);
    }

    /// The host takes `bytes` when it is offered any, and the guest hears.
    fn settle(&mut self, net: &mut Net, bytes: usize) {
        for action in net.actions() {
            if action == Action::TcpSend(self.flow) {
                net.event(Event::TcpSent {
                    flow: self.flow,
                    bytes,
                });
            }
        }
        for segment in net.segments(A) {
            assert_eq!(segment.header.src_port, REMOTE.port());
            assert_eq!(segment.header.dst_port, self.port);
            self.acked = self.acked.max(segment.header.ack);
            let edge = segment.header.ack + (u32::from(segment.header.window) << 5);
            let rounded_off = 31;
            assert!(
                !(edge + rounded_off).is_before(self.edge),
                "the right edge never moves left"
            );
            self.edge = self.edge.max(edge);
        }
    }

    /// Send segments until one is not acknowledged, or the window ends.
    fn fill(&mut self, net: &mut Net) {
        while !(self.seq + SEGMENT).is_after(self.edge) {
            self.send(net, self.seq, SEGMENT);
            if self.acked == self.seq {
                return;
            }
            self.seq = self.acked;
        }
    }

    fn offered(&self, net: &Net) -> Vec<u8> {
        net.engine.tcp_outgoing(self.flow).flatten().copied().collect()
    }
}

fn full() -> (Net, Vec<Full>) {
    let mut net = Net::with(|config| config.limits.held_bytes = BOUND);
    let mut flows: Vec<Full> = (0..FLOWS).map(|n| Full::open(&mut net, 40_000 + n)).collect();
    for flow in &mut flows {
        flow.fill(&mut net);
    }
    (net, flows)
}

#[test]
fn flows_to_hosts_that_take_nothing_hold_no_more_than_the_bound() {
    let (net, flows) = full();
    let held: usize = flows.iter().map(|flow| flow.offered(&net).len()).sum();
    assert!((BOUND / 2..=BOUND + SEGMENT as usize).contains(&held), "{held}");
    assert!(net.counter("tcp_held_full") > 0);
}

#[test]
fn what_was_acknowledged_is_held_and_what_is_held_was_acknowledged() {
    let (net, flows) = full();
    for flow in &flows {
        let acked = (flow.acked - Seq(ISS + 1)) as usize;
        assert_eq!(flow.offered(&net), stream(0, acked));
    }
}

#[test]
fn segments_out_of_order_count_too() {
    let (mut net, mut flows) = full();
    let before = net.counter("tcp_held_full");
    let last = flows.last_mut().unwrap();
    let ahead = last.acked + 2 * SEGMENT;
    last.send(&mut net, ahead, SEGMENT);
    assert_eq!(net.counter("tcp_held_full"), before + 1);
}

#[test]
fn flows_go_on_when_hosts_take_what_was_held() {
    let (mut net, mut flows) = full();
    for flow in &mut flows {
        let bytes = flow.offered(&net).len();
        net.event(Event::TcpSent {
            flow: flow.flow,
            bytes,
        });
        flow.settle(&mut net, bytes);
    }
    for flow in &mut flows {
        let next = flow.acked;
        flow.send(&mut net, next, SEGMENT);
        assert_eq!(flow.acked, next + SEGMENT, "port {}", flow.port);
        net.event(Event::TcpSent {
            flow: flow.flow,
            bytes: SEGMENT as usize,
        });
        flow.settle(&mut net, 0);
    }
}

#[test]
fn a_flow_that_ends_gives_back_what_it_held() {
    let (mut net, mut flows) = full();
    let last = flows.pop().unwrap();
    for flow in &mut flows {
        let header = Header {
            src_port: flow.port,
            dst_port: REMOTE.port(),
            seq: flow.acked,
            flags: Flags::RST,
            ..Header::default()
        };
        net.send_tcp(A, REMOTE, &header, &[]);
    }
    net.actions();
    let mut last = last;
    let before = last.acked;
    last.send(&mut net, before, SEGMENT);
    assert_eq!(last.acked, before + SEGMENT);
}
