//! Frames as packets of one call, and back.

use std::collections::VecDeque;

use atoll_wire::{Frame, vnet};
use bytes::Bytes;

use super::contract::{MAX_BYTES, Parameters};
use super::services::is_for_dhcp_server;
use crate::decoder::MIN_FRAME;

/// Frames of one call.
const WRITES: usize = 256;

/// What one call of writing takes.
pub(super) struct Limits {
    packets: usize,
    size: usize,
    has_header: bool,
    keeps_dhcp_off: bool,
}

/// A frame as it is handed over: one piece, because the framework refuses packets of several (QEMU, `vmnet_receive_common`).
pub(super) enum Packet<'a> {
    Frame(&'a [u8]),
    WithHeader(Vec<u8>),
}

impl Packet<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Frame(bytes) => bytes,
            Self::WithHeader(bytes) => bytes,
        }
    }
}

impl Limits {
    pub(super) fn of(parameters: &Parameters, keeps_dhcp_off: bool) -> Self {
        Self {
            packets: parameters.write_max_packets.clamp(1, WRITES),
            size: parameters.max_packet_size,
            has_header: parameters.has_header,
            keeps_dhcp_off,
        }
    }

    pub(super) fn is_frame(&self, frame: &Frame) -> bool {
        (MIN_FRAME..=self.size).contains(&frame.len())
    }

    /// The packets from `first` on that go in one call; empty when the first is none for this interface.
    pub(super) fn run<'a>(&self, queue: &'a VecDeque<Frame>, first: usize) -> Vec<Packet<'a>> {
        let mut bytes = 0;
        let mut run = Vec::new();
        for frame in queue.range(first..).take(self.packets) {
            let len = frame.len() + if self.has_header { vnet::LEN } else { 0 };
            let is_over = !run.is_empty() && bytes + len > MAX_BYTES;
            let is_kept = self.keeps_dhcp_off && is_for_dhcp_server(&frame.bytes);
            if !self.is_frame(frame) || is_kept || is_over {
                break;
            }
            bytes += len;
            run.push(if self.has_header {
                Packet::WithHeader([&vnet::emit(frame)[..], &frame.bytes].concat())
            } else {
                Packet::Frame(&frame.bytes)
            });
        }
        run
    }
}

pub(super) fn parse(packet: &[u8], has_header: bool) -> Option<Frame> {
    let (header, frame) = if has_header {
        packet.split_at_checked(vnet::LEN)?
    } else {
        (&[][..], packet)
    };
    if frame.len() < MIN_FRAME {
        return None;
    }
    let bytes = Bytes::copy_from_slice(frame);
    if !has_header {
        return Some(Frame::plain(bytes));
    }
    let offload = vnet::parse(header, frame).ok()?;
    Some(Frame { bytes, offload })
}
