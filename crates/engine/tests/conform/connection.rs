//! A guest's end of one TCP connection, played by the test, and the host socket at the other end, which does as it is told.

use std::net::SocketAddr;
use std::time::Duration;

use atoll_engine::{Action, Config, Event, FlowId, HostError};
use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{FrameBuf, Seq};

use crate::bench::{A, Guest, Net, Segment, WORLD};
use crate::bench6::WORLD6;

pub(crate) const SERVER: SocketAddr = SocketAddr::new(WORLD, 8000);
pub(crate) const PORT: u16 = 40_000;
/// The guest's initial sequence number.
pub(crate) const ISS: u32 = 1_000;

/// What a guest of today says in its SYN.
pub(crate) const MODERN: Options = Options {
    mss: Some(1460),
    window_scale: Some(7),
    sack_permitted: true,
    sack: [None; 3],
};

/// Bytes that tell where in a stream they belong.
pub(crate) fn stream(from: usize, len: usize) -> Vec<u8> {
    (from..from + len)
        .map(|at| u8::try_from(at * 7 / 3 % 251).unwrap())
        .collect()
}

pub(crate) fn syn(seq: u32, options: Options) -> Header {
    Header {
        src_port: PORT,
        dst_port: SERVER.port(),
        seq: Seq(seq),
        flags: Flags::SYN,
        window: 64_000,
        options,
        ..Header::default()
    }
}

/// The host's socket, as its kernel would hold it.
#[derive(Debug, Default)]
pub(crate) struct Socket {
    /// Not yet discarded.
    pub(crate) queue: Vec<u8>,
    /// The peer closed its side after `queue`.
    pub(crate) ended: bool,
    /// What the engine wrote.
    pub(crate) received: Vec<u8>,
    /// How many bytes it takes yet.
    pub(crate) room: usize,
    pub(crate) shut_down: bool,
    /// `true`: by a reset.
    pub(crate) closed: Option<bool>,
    /// How many bytes were discarded.
    pub(crate) discarded: usize,
    /// In how many actions.
    pub(crate) discards: usize,
    pub(crate) peeks: Vec<(u32, u16, u16)>,
}

pub(crate) struct Tcp {
    pub(crate) net: Net,
    pub(crate) guest: Guest,
    pub(crate) remote: SocketAddr,
    pub(crate) port: u16,
    pub(crate) flow: FlowId,
    /// Next to send.
    pub(crate) seq: Seq,
    /// Next to hear.
    pub(crate) ack: Seq,
    /// The window field that the guest sends.
    pub(crate) window: u16,
    pub(crate) socket: Socket,
    /// What the engine asked of the runtime beside.
    pub(crate) other: Vec<Action>,
}

impl Tcp {
    /// An established connection of A's to [`SERVER`].
    pub(crate) fn open() -> Self {
        Self::open_with(MODERN, |_| ())
    }

    /// The same, when SYN|ACK is answered after `round_trip`.
    pub(crate) fn open_after(round_trip: Duration) -> Self {
        let mut tcp = Self::connecting(Net::with(|_| ()), A, syn(ISS, MODERN));
        tcp.net.event(Event::TcpConnected(tcp.flow));
        tcp.wait(round_trip);
        tcp.finish_handshake();
        tcp
    }

    pub(crate) fn open_with(options: Options, change: impl FnOnce(&mut Config)) -> Self {
        let mut tcp = Self::connecting(Net::with(change), A, syn(ISS, options));
        tcp.net.event(Event::TcpConnected(tcp.flow));
        tcp.finish_handshake();
        tcp
    }

    /// SYN was sent; the host connects.
    pub(crate) fn connecting(mut net: Net, guest: Guest, syn: Header) -> Self {
        let world = if guest.ip.is_ipv6() { WORLD6 } else { WORLD };
        let remote = SocketAddr::new(world, syn.dst_port);
        net.send_tcp(guest, remote, &syn, &[]);
        let flow = match net.action() {
            Action::TcpConnect { flow, to, .. } if to == remote => flow,
            other => panic!("a connection was expected: {other:?}"),
        };
        Self {
            net,
            guest,
            remote,
            port: syn.src_port,
            flow,
            seq: syn.seq + 1,
            ack: Seq(0),
            window: 64_000,
            socket: Socket {
                room: usize::MAX,
                ..Socket::default()
            },
            other: Vec::new(),
        }
    }

    /// An established connection of the guest's to a service of the network.
    pub(crate) fn served(mut net: Net, guest: Guest, remote: SocketAddr) -> Self {
        let header = Header {
            dst_port: remote.port(),
            ..syn(ISS, MODERN)
        };
        net.send_tcp(guest, remote, &header, &[]);
        net.asks_nothing();
        let flow = net.engine.snapshot(net.now).flows[0].flow;
        let mut tcp = Self {
            net,
            guest,
            remote,
            port: PORT,
            flow,
            seq: header.seq + 1,
            ack: Seq(0),
            window: 64_000,
            socket: Socket::default(),
            other: Vec::new(),
        };
        tcp.finish_handshake();
        tcp
    }

    /// Hear SYN|ACK, and acknowledge it.
    pub(crate) fn finish_handshake(&mut self) -> Segment {
        let syn_ack = self.net.hears_tcp(self.guest);
        assert_eq!(syn_ack.header.flags, Flags::SYN_ACK);
        assert_eq!(syn_ack.header.ack, self.seq);
        self.ack = syn_ack.header.seq + 1;
        self.send_ack();
        syn_ack
    }

    pub(crate) fn header(&self, flags: Flags) -> Header {
        Header {
            src_port: self.port,
            dst_port: self.remote.port(),
            seq: self.seq,
            ack: self.ack,
            flags,
            window: self.window,
            options: Options::default(),
        }
    }

    /// Send a segment as it is.
    pub(crate) fn send_raw(&mut self, header: &Header, payload: &[u8]) {
        self.net.send_tcp(self.guest, self.remote, header, payload);
        self.run();
    }

    pub(crate) fn send_flags(&mut self, flags: Flags) {
        self.send_raw(&self.header(flags), &[]);
    }

    pub(crate) fn send_ack(&mut self) {
        self.send_flags(Flags::ACK);
    }

    /// Acknowledge, with SACK blocks.
    pub(crate) fn send_sack(&mut self, blocks: &[(Seq, Seq)]) {
        let mut header = self.header(Flags::ACK);
        for (slot, block) in header.options.sack.iter_mut().zip(blocks) {
            *slot = Some(*block);
        }
        self.send_raw(&header, &[]);
    }

    /// Send bytes in order.
    pub(crate) fn send(&mut self, payload: &[u8]) {
        let header = self.header(Flags::ACK);
        self.seq += u32::try_from(payload.len()).unwrap();
        self.send_raw(&header, payload);
    }

    /// Send bytes that lie `ahead` of what is next.
    pub(crate) fn send_ahead(&mut self, ahead: u32, payload: &[u8]) {
        let mut header = self.header(Flags::ACK);
        header.seq += ahead;
        self.send_raw(&header, payload);
    }

    pub(crate) fn send_fin(&mut self) {
        let header = self.header(Flags::FIN_ACK);
        self.seq += 1;
        self.send_raw(&header, &[]);
    }

    /// Hear one segment.
    pub(crate) fn hears(&mut self) -> Segment {
        self.net.hears_tcp(self.guest)
    }

    pub(crate) fn hears_nothing(&mut self) {
        self.net.hears_nothing(self.guest);
    }

    pub(crate) fn segments(&mut self) -> Vec<Segment> {
        self.net.segments(self.guest)
    }

    /// Hear segments, acknowledge all that is in order, until the other end is silent. Returns the payload.
    pub(crate) fn receive_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let before = self.ack;
            for segment in self.segments() {
                if segment.header.seq == self.ack {
                    self.ack += u32::try_from(segment.payload.len()).unwrap();
                    self.ack += u32::from(segment.header.flags.fin);
                    bytes.extend(segment.payload);
                }
            }
            if before == self.ack {
                return bytes;
            }
            self.send_ack();
        }
    }

    /// The peer of the host's socket sent something.
    pub(crate) fn host_sends(&mut self, bytes: &[u8]) {
        self.socket.queue.extend(bytes);
        self.net.event(Event::TcpReadable(self.flow));
        self.run();
    }

    /// The peer of the host's socket closed its side.
    pub(crate) fn host_closes(&mut self) {
        self.socket.ended = true;
        self.net.event(Event::TcpReadable(self.flow));
        self.run();
    }

    pub(crate) fn host_fails(&mut self, error: HostError) {
        let flow = self.flow;
        self.net.event(Event::TcpFailed { flow, error });
        self.run();
    }

    /// The host's socket has room for this many bytes more.
    pub(crate) fn host_takes(&mut self, bytes: usize) {
        self.socket.room = bytes;
        self.write();
        self.run();
    }

    /// Bytes that left the host's queue, once there was time to drop those that were acknowledged.
    pub(crate) fn discarded(&mut self) -> usize {
        self.wait(Duration::from_millis(200));
        self.socket.discarded
    }

    /// Let time go by; the host's socket answers at every step.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.net.now + time;
        while let Some(at) = self.net.engine.poll_timeout().filter(|at| *at <= end) {
            self.net.wait(at.since(self.net.now));
            self.run();
        }
        self.net.wait(end.since(self.net.now));
    }

    /// Wait until the guest hears something; returns it, and how long that took.
    pub(crate) fn wait_for_segment(&mut self) -> (Segment, Duration) {
        let start = self.net.now;
        loop {
            let at = self.net.engine.poll_timeout().expect("nothing will ever happen");
            self.wait(at.since(self.net.now));
            let heard = self.segments();
            if let [segment] = &heard[..] {
                return (segment.clone(), self.net.now.since(start));
            }
            assert!(heard.is_empty(), "one segment was expected: {heard:?}");
        }
    }

    /// Carry out what the engine asks.
    pub(crate) fn run(&mut self) {
        while let Some(action) = self.net.next_action() {
            match action {
                Action::TcpSend(flow) if flow == self.flow => self.write(),
                Action::TcpPeek {
                    flow,
                    offset,
                    segment,
                    count,
                } if flow == self.flow => self.peek(offset, segment, count),
                Action::TcpAgain(flow) if flow == self.flow => self.net.event(Event::TcpReadable(flow)),
                Action::TcpDiscard { flow, bytes } if flow == self.flow => {
                    self.socket.discards += 1;
                    self.socket.discarded += bytes as usize;
                    self.socket.queue.drain(..bytes as usize);
                }
                Action::TcpShutdown(flow) if flow == self.flow => {
                    assert!(!self.socket.shut_down, "shut down twice");
                    self.socket.shut_down = true;
                }
                Action::Close(flow) if flow == self.flow => self.close(false),
                Action::TcpReset(flow) if flow == self.flow => self.close(true),
                other => self.other.push(other),
            }
        }
    }

    fn close(&mut self, by_reset: bool) {
        assert_eq!(self.socket.closed, None, "closed twice");
        self.socket.closed = Some(by_reset);
    }

    fn write(&mut self) {
        let bytes: Vec<u8> = self
            .net
            .engine
            .tcp_outgoing(self.flow)
            .flatten()
            .copied()
            .collect();
        if bytes.is_empty() {
            return;
        }
        assert!(!self.socket.shut_down, "bytes after the end");
        let taken = bytes.len().min(self.socket.room);
        self.socket.room = self.socket.room.saturating_sub(taken);
        self.socket.received.extend(&bytes[..taken]);
        let flow = self.flow;
        self.net.event(Event::TcpSent { flow, bytes: taken });
    }

    fn peek(&mut self, offset: u32, segment: u16, count: u16) {
        assert_eq!(self.socket.closed, None, "peek at a closed socket");
        self.socket.peeks.push((offset, segment, count));
        let from = offset as usize;
        assert!(from <= self.socket.queue.len(), "peek beyond what was ever there");
        let wanted = usize::from(segment) * usize::from(count);
        let bytes: Vec<u8> = self.socket.queue[from..].iter().take(wanted).copied().collect();
        let end = self.socket.ended && bytes.len() < wanted;
        let segments = bytes
            .chunks(usize::from(segment))
            .map(FrameBuf::copy_from)
            .collect();
        let flow = self.flow;
        self.net.event(Event::TcpPeeked {
            flow,
            offset,
            segments,
            end,
        });
    }
}
