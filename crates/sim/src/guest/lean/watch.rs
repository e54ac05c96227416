//! What must hold of every segment that the engine sends, at the moment at which it leaves the engine: lost later or not.

use atoll_wire::tcp::Header;
use atoll_wire::{Gso, Seq};

use super::program::Profile;
use crate::stream::Stream;

/// The smallest MSS that the engine goes down to.
const MIN_MSS: u16 = 64;

/// One connection, as far as was seen of it.
#[derive(Debug)]
pub(super) struct Watch {
    profile: Profile,
    link_mss: u16,
    expects: Stream,
    /// The engine's initial sequence number.
    irs: Option<u32>,
    /// How far the guest allowed the engine to send.
    pub(super) allowed: u64,
    /// The highest place that the guest sent.
    pub(super) sent: u64,
    acknowledged: u64,
    edge: u64,
    shift: u8,
    fin_at: Option<u64>,
}

/// The place in 64 bits of a sequence number near to a place that is known.
pub(super) fn place(initial: u32, near: u64, seq: Seq) -> u64 {
    let [a, b, c, d, ..] = near.to_le_bytes();
    let there = Seq(initial) + u32::from_le_bytes([a, b, c, d]);
    near.saturating_add_signed(i64::from(seq.distance_from(there)))
}

impl Watch {
    pub(super) fn new(profile: Profile, link_mss: u16, expects: Stream) -> Self {
        Self {
            profile,
            link_mss,
            expects,
            irs: None,
            allowed: 1,
            sent: 0,
            acknowledged: 0,
            edge: 0,
            shift: 0,
            fin_at: None,
        }
    }

    /// The engine sends this.
    pub(super) fn inspect(&mut self, header: &Header, payload: &[u8], gso: Gso) {
        if header.flags.syn {
            return self.inspect_syn(header, payload);
        }
        // What the engine says before any SYN of its is a refusal.
        let Some(irs) = self.irs.filter(|_| !header.flags.rst) else {
            return;
        };
        let start = place(irs, self.allowed, header.seq);
        self.inspect_size(header, payload.len(), gso);
        self.inspect_data(header, start, payload);
        self.inspect_ack(header);
    }

    fn inspect_syn(&mut self, header: &Header, payload: &[u8]) {
        let (options, profile) = (header.options, self.profile);
        assert!(payload.is_empty() && !header.flags.fin && !header.flags.rst);
        assert!(
            self.irs.is_none_or(|irs| irs == header.seq.0),
            "another initial sequence number"
        );
        assert_eq!(options.mss, Some(self.link_mss));
        if header.flags.ack {
            assert_eq!(
                options.window_scale.is_some(),
                profile.scale.is_some(),
                "scaling is agreed upon by both"
            );
            assert_eq!(options.sack_permitted, profile.sack);
        }
        self.irs = Some(header.seq.0);
        self.shift = options
            .window_scale
            .filter(|_| profile.scale.is_some())
            .unwrap_or(0);
        self.edge = self.edge.max(1 + u64::from(header.window));
    }

    fn inspect_size(&self, header: &Header, payload: usize, gso: Gso) {
        let mss = self.profile.mss.unwrap_or(536).clamp(MIN_MSS, self.link_mss);
        let segment = match gso {
            Gso::None => payload,
            Gso::Tcp4 { size } | Gso::Tcp6 { size } => payload.min(usize::from(size)),
            Gso::Udp4 { .. } | Gso::Udp6 { .. } => panic!("a TCP segment is to be cut as UDP"),
        };
        assert_eq!(
            header.options.mss.or(header.options.window_scale.map(u16::from)),
            None
        );
        assert!(
            segment == 0 || segment + header.options.emitted_len() <= usize::from(mss),
            "{segment} bytes and options in a segment of at most {mss}"
        );
    }

    fn inspect_data(&mut self, header: &Header, start: u64, payload: &[u8]) {
        let end = start + payload.len() as u64;
        if !payload.is_empty() {
            assert!(start >= 1, "payload where SYN stood");
            let wrong = self.expects.first_difference(start - 1, payload);
            assert_eq!(wrong, None, "the engine sends another byte there");
        }
        if header.flags.fin {
            assert!(self.fin_at.is_none_or(|at| at == end), "FIN at two places");
            self.fin_at = Some(end);
        }
        assert!(self.fin_at.is_none_or(|at| end <= at + 1), "bytes after FIN");
        let end = end + u64::from(header.flags.fin);
        assert!(
            end <= self.allowed,
            "sent up to {end} where the window ends at {}",
            self.allowed
        );
    }

    fn inspect_ack(&mut self, header: &Header) {
        assert!(header.flags.ack);
        let near = |seq| place(self.profile.iss, self.sent, seq);
        let ack = near(header.ack);
        assert!(ack <= self.sent, "the engine acknowledges what was not sent");
        assert!(ack >= self.acknowledged, "an acknowledgement is taken back");
        self.acknowledged = ack;
        let edge = ack + (u64::from(header.window) << self.shift);
        // Scaling may round to the left (RFC 7323, 2.4).
        assert!(
            edge + (1 << self.shift) > self.edge,
            "the window shrank from {} to {edge}",
            self.edge
        );
        self.edge = self.edge.max(edge);
        for (left, right) in header.options.sack.into_iter().flatten() {
            assert!(self.profile.sack, "SACK was not agreed upon");
            let (left, right) = (near(left), near(right));
            assert!(
                ack < left && left < right && right <= self.sent,
                "{left}..{right} was not sent"
            );
        }
    }
}
