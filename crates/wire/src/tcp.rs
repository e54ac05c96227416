//! TCP headers: fields and options as one value, parsed with every length checked, emitted with their checksum.
//!
//! What is not here: urgent data (RFC 6093 advises against it; the pointer is ignored) and timestamps (RFC 7323), which
//! no side of ours offers.

use std::net::IpAddr;

use smoltcp::wire::{IpProtocol, TcpOption, TcpPacket, TcpSeqNumber};

use crate::{
    FrameBuf, Seq,
    packet::{pseudo_sum, transport_sum},
};

/// Bytes of a TCP header without options.
pub const TCP_LEN: usize = 20;

/// SACK blocks in one header, at most: three fit beside any other option we send.
pub const MAX_SACK_BLOCKS: usize = 3;

/// The control bits that a TCP acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Synchronize sequence numbers.
    pub syn: bool,
    /// The acknowledgement number counts.
    pub ack: bool,
    /// No more data from the sender.
    pub fin: bool,
    /// Reset the connection.
    pub rst: bool,
    /// Push.
    pub psh: bool,
}

impl Flags {
    /// Only ACK.
    pub const ACK: Self = Self {
        syn: false,
        ack: true,
        fin: false,
        rst: false,
        psh: false,
    };
    /// Only SYN.
    pub const SYN: Self = Self {
        syn: true,
        ack: false,
        fin: false,
        rst: false,
        psh: false,
    };
    /// SYN and ACK.
    pub const SYN_ACK: Self = Self {
        syn: true,
        ack: true,
        fin: false,
        rst: false,
        psh: false,
    };
    /// RST and ACK.
    pub const RST_ACK: Self = Self {
        syn: false,
        ack: true,
        fin: false,
        rst: true,
        psh: false,
    };
    /// Only RST.
    pub const RST: Self = Self {
        syn: false,
        ack: false,
        fin: false,
        rst: true,
        psh: false,
    };
    /// FIN and ACK.
    pub const FIN_ACK: Self = Self {
        syn: false,
        ack: true,
        fin: true,
        rst: false,
        psh: false,
    };

    /// Whether the combination can occur in an honest segment (RFC 9293, 3.10.7): SYN never goes with FIN or RST, and all
    /// but a first SYN or an RST acknowledge.
    #[must_use]
    pub fn are_sane(self) -> bool {
        !(self.syn && (self.fin || self.rst)) && (self.ack || self.syn || self.rst) && !(self.rst && self.fin)
    }
}

/// The options that a TCP acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size (on SYN).
    pub mss: Option<u16>,
    /// Window scale shift (on SYN), at most 14 (RFC 7323, 2.3).
    pub window_scale: Option<u8>,
    /// Selective acknowledgements may be sent (on SYN).
    pub sack_permitted: bool,
    /// Selectively acknowledged ranges, `[left, right)`.
    pub sack: [Option<(Seq, Seq)>; MAX_SACK_BLOCKS],
}

/// A TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first payload byte, or of SYN.
    pub seq: Seq,
    /// Acknowledgement number; counts when `flags.ack`.
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// Window as it stands in the header, unscaled.
    pub window: u16,
    /// Options.
    pub options: Options,
}

impl Header {
    /// The header at the start of `segment` and its length, or `None` when lengths or options are impossible, or a port
    /// is zero. The checksum is not looked at.
    #[must_use]
    pub fn parse(segment: &[u8]) -> Option<(Self, usize)> {
        let packet = TcpPacket::new_checked(segment).ok()?;
        let header = Self {
            src_port: packet.src_port(),
            dst_port: packet.dst_port(),
            seq: Seq(packet.seq_number().0.cast_unsigned()),
            ack: Seq(packet.ack_number().0.cast_unsigned()),
            flags: Flags {
                syn: packet.syn(),
                ack: packet.ack(),
                fin: packet.fin(),
                rst: packet.rst(),
                psh: packet.psh(),
            },
            window: packet.window_len(),
            options: parse_options(packet.options())?,
        };
        let ports_are_given = header.src_port != 0 && header.dst_port != 0;
        ports_are_given.then_some((header, usize::from(packet.header_len())))
    }

    /// Push this header in front of a payload, with the checksum between these addresses of one family.
    pub fn push(&self, frame: &mut FrameBuf, src: impl Into<IpAddr>, dst: impl Into<IpAddr>) {
        self.push_unsummed(frame);
        let sum = transport_sum(src.into(), dst.into(), IpProtocol::Tcp, frame.payload());
        TcpPacket::new_unchecked(frame.payload_mut()).set_checksum(!sum);
    }

    /// Push this header in front of a payload, with the sum over the pseudo-header alone
    /// ([`Checksum::Partial`](crate::Checksum)).
    pub fn push_partial(&self, frame: &mut FrameBuf, src: impl Into<IpAddr>, dst: impl Into<IpAddr>) {
        self.push_unsummed(frame);
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let sum = pseudo_sum(src.into(), dst.into(), IpProtocol::Tcp, len);
        TcpPacket::new_unchecked(frame.payload_mut()).set_checksum(sum);
    }

    fn push_unsummed(&self, frame: &mut FrameBuf) {
        let len = TCP_LEN + self.options.emitted_len();
        let mut packet = TcpPacket::new_unchecked(frame.push_header(len));
        packet.set_src_port(self.src_port);
        packet.set_dst_port(self.dst_port);
        packet.set_seq_number(TcpSeqNumber(self.seq.0.cast_signed()));
        packet.set_ack_number(TcpSeqNumber(self.ack.0.cast_signed()));
        packet.set_syn(self.flags.syn);
        packet.set_ack(self.flags.ack);
        packet.set_fin(self.flags.fin);
        packet.set_rst(self.flags.rst);
        packet.set_psh(self.flags.psh);
        packet.set_window_len(self.window);
        packet.set_header_len(u8::try_from(len).unwrap_or(60));
        self.options.emit(packet.options_mut());
    }
}

impl Options {
    fn emitted(&self) -> impl Iterator<Item = TcpOption<'static>> {
        let sack = self.sack[0].map(|_| {
            TcpOption::SackRange(
                self.sack
                    .map(|block| block.map(|(left, right)| (left.0, right.0))),
            )
        });
        [
            self.mss.map(TcpOption::MaxSegmentSize),
            self.window_scale.map(TcpOption::WindowScale),
            self.sack_permitted.then_some(TcpOption::SackPermitted),
            sack,
        ]
        .into_iter()
        .flatten()
    }

    /// Bytes these options take in a header, padding included.
    #[must_use]
    pub fn emitted_len(&self) -> usize {
        self.emitted()
            .map(|option| option.buffer_len())
            .sum::<usize>()
            .next_multiple_of(4)
    }

    fn emit(&self, mut buffer: &mut [u8]) {
        for option in self.emitted() {
            buffer = option.emit(buffer);
        }
        if !buffer.is_empty() {
            TcpOption::EndOfList.emit(buffer);
        }
    }
}

fn parse_options(mut bytes: &[u8]) -> Option<Options> {
    let mut options = Options::default();
    while !bytes.is_empty() {
        let (rest, option) = TcpOption::parse(bytes).ok()?;
        match option {
            TcpOption::EndOfList => break,
            TcpOption::MaxSegmentSize(mss) => options.mss = Some(mss),
            TcpOption::WindowScale(shift) => options.window_scale = Some(shift.min(14)),
            TcpOption::SackPermitted => options.sack_permitted = true,
            TcpOption::SackRange(blocks) => {
                options.sack = blocks.map(|block| block.map(|(left, right)| (Seq(left), Seq(right))));
            }
            TcpOption::NoOperation | TcpOption::TimeStamp { .. } | TcpOption::Unknown { .. } => {}
        }
        bytes = rest;
    }
    Some(options)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use smoltcp::wire::IpAddress;

    use super::*;

    const SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const DST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn any_block() -> impl Strategy<Value = Option<(Seq, Seq)>> {
        proptest::option::of(any::<(u32, u32)>().prop_map(|(left, right)| (Seq(left), Seq(right))))
    }

    prop_compose! {
        fn any_options()(
            mss in any::<Option<u16>>(),
            window_scale in proptest::option::of(0u8..=14),
            sack_permitted: bool,
            first in any_block(),
            second in any_block(),
        ) -> Options {
            // Blocks are packed to the front, as they are on the wire.
            let mut blocks = [first, second].into_iter().flatten();
            Options { mss, window_scale, sack_permitted, sack: [blocks.next(), blocks.next(), None] }
        }
    }

    prop_compose! {
        fn any_header()(
            ports in (1u16.., 1u16..),
            seq: u32,
            ack: u32,
            bits: [bool; 5],
            window: u16,
            options in any_options(),
        ) -> Header {
            let [syn, ack_bit, fin, rst, psh] = bits;
            let flags = Flags { syn, ack: ack_bit, fin, rst, psh };
            Header { src_port: ports.0, dst_port: ports.1, seq: Seq(seq), ack: Seq(ack), flags, window, options }
        }
    }

    proptest! {
        #[test]
        fn an_emitted_header_parses_to_itself(header in any_header(), payload: Vec<u8>) {
            let mut frame = FrameBuf::copy_from(&payload);
            header.push(&mut frame, SRC, DST);
            let packet = TcpPacket::new_unchecked(frame.payload());
            prop_assert!(packet.verify_checksum(&IpAddress::Ipv4(SRC), &IpAddress::Ipv4(DST)));
            let (parsed, len) = Header::parse(frame.payload()).unwrap();
            prop_assert_eq!(parsed, header);
            prop_assert_eq!(&frame.payload()[len..], &payload[..]);
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Header::parse(&bytes);
        }
    }
}
