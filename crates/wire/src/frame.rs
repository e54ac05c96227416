//! A frame and what is known about it.
//!
//! A [`Frame`] is one Ethernet frame, immutable and cheap to share: the switch floods it by counting references,
//! TCP keeps payload by slicing it. Beside its bytes it carries what a virtio_net_hdr carries (virtio 1.3, 5.1.6):
//! whether the checksum is finished, and whether the frame is one segment or a large one that is to be cut.
//! A frame is cut and its checksum finished only at a port that cannot take it as it is.
//!
//! A [`FrameBuf`] is a frame under construction: [`HEADROOM`] free bytes stand before its payload, so that a host
//! socket is read straight to where the payload will lie, and the headers are written in front of it afterwards.

use bytes::{Bytes, BytesMut};

use crate::Family;

/// Bytes kept free before the payload of a [`FrameBuf`]: Ethernet (14), IPv6 (40) and the longest TCP header (60).
pub const HEADROOM: usize = 114;

/// What is known of the transport checksum, as in virtio_net_hdr's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The bytes hold a checksum that nobody has looked at.
    #[default]
    Unverified,
    /// The checksum is known to be right (`VIRTIO_NET_HDR_F_DATA_VALID`).
    Valid,
    /// Only the pseudo-header is summed; whoever needs the rest sums from `start` and stores at `start + offset`
    /// (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
    Partial {
        /// Byte of the frame where the transport header begins.
        start: u16,
        /// Where in the transport header the checksum stands.
        offset: u16,
    },
}

/// Segmentation that is still to be done, as in virtio_net_hdr's `gso_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gso {
    /// One segment: the frame fits the link's MTU.
    #[default]
    None,
    /// TCP over IPv4, to be cut into segments of at most `size` payload bytes.
    Tcp4 {
        /// Payload bytes in each segment (`gso_size`).
        size: u16,
    },
    /// TCP over IPv6, likewise.
    Tcp6 {
        /// Payload bytes in each segment (`gso_size`).
        size: u16,
    },
    /// UDP over IPv4, to be cut into datagrams of at most `size` payload bytes.
    Udp4 {
        /// Payload bytes in each datagram (`gso_size`).
        size: u16,
    },
    /// UDP over IPv6, likewise.
    Udp6 {
        /// Payload bytes in each datagram (`gso_size`).
        size: u16,
    },
}

impl Gso {
    /// TCP of this family, in segments of `size` payload bytes.
    #[must_use]
    pub fn tcp(family: Family, size: u16) -> Self {
        match family {
            Family::V4 => Self::Tcp4 { size },
            Family::V6 => Self::Tcp6 { size },
        }
    }

    /// UDP of this family, in datagrams of `size` payload bytes.
    #[must_use]
    pub fn udp(family: Family, size: u16) -> Self {
        match family {
            Family::V4 => Self::Udp4 { size },
            Family::V6 => Self::Udp6 { size },
        }
    }
}

/// All that travels beside a frame's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// State of the transport checksum.
    pub checksum: Checksum,
    /// Segmentation still to be done.
    pub gso: Gso,
}

/// One Ethernet frame, without preamble and frame check sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Destination address to last payload byte.
    pub bytes: Bytes,
    /// What a virtio_net_hdr would say of it.
    pub offload: Offload,
}

impl Frame {
    /// A frame as it comes from a port without offloads: one segment, checksum in its bytes.
    #[must_use]
    pub fn plain(bytes: Bytes) -> Self {
        Self {
            bytes,
            offload: Offload::default(),
        }
    }

    /// Length in bytes, headers included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the frame holds no byte at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// A frame under construction: a payload with room for headers before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameBuf {
    buf: BytesMut,
    start: usize,
}

impl FrameBuf {
    /// A zeroed payload of `len` bytes with [`HEADROOM`] before it.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self {
            buf: BytesMut::zeroed(HEADROOM + len),
            start: HEADROOM,
        }
    }

    /// What lies behind the first [`HEADROOM`] bytes of `buf` as payload; nothing when `buf` is no longer than that.
    #[must_use]
    pub fn after_headroom(mut buf: BytesMut) -> Self {
        if buf.len() < HEADROOM {
            buf.resize(HEADROOM, 0);
        }
        Self { buf, start: HEADROOM }
    }

    /// No payload yet, but room for `capacity` bytes of it.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let mut buf = BytesMut::with_capacity(HEADROOM + capacity);
        buf.resize(HEADROOM, 0);
        Self { buf, start: HEADROOM }
    }

    /// A copy of `payload` with [`HEADROOM`] before it.
    #[must_use]
    pub fn copy_from(payload: &[u8]) -> Self {
        let mut frame = Self::with_capacity(payload.len());
        frame.extend_from_slice(payload);
        frame
    }

    /// Append to the payload.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// What was written so far: the payload and the headers pushed before it.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.buf[self.start..]
    }

    /// The same, to be written to: a host socket is read into it.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..]
    }

    /// Length of what was written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buf.len() - self.start
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keep the first `len` bytes of the payload.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(self.start + len);
    }

    /// Take `len` bytes of headroom for a header and return it, zeroed. At most [`HEADROOM`] bytes in all.
    pub fn push_header(&mut self, len: usize) -> &mut [u8] {
        self.start = self
            .start
            .checked_sub(len)
            .expect("headers fit the headroom, whose size is their sum");
        let header = &mut self.buf[self.start..self.start + len];
        header.fill(0);
        header
    }

    /// The finished frame.
    #[must_use]
    pub fn freeze(self, offload: Offload) -> Frame {
        let mut bytes = self.buf.freeze();
        bytes::Buf::advance(&mut bytes, self.start);
        Frame { bytes, offload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_written_in_front_of_the_payload() {
        let mut frame = FrameBuf::copy_from(b"data");
        frame.push_header(2).copy_from_slice(b"ip");
        frame.push_header(3).copy_from_slice(b"eth");
        assert_eq!(&frame.freeze(Offload::default()).bytes[..], b"ethipdata");
    }
}
