//! A guest on a TAP: whatever has the other side of a Linux network interface, such as a network namespace.
//!
//! Each frame follows a virtio_net_hdr, so that large segments and unfinished checksums cross as they are. The kernel hands
//! over one frame a `read` and takes one a `write`; a turn is bounded in both. What the header says is the guest's word and is
//! checked ([`vnet`]); frames with a wrong one are dropped and counted.
//!
//! **Memory.** Frames are read to where they stay: a large one becomes a slice of the buffer it was read into. One that is
//! small next to the buffer is copied out, so that it holds back no more than it weighs, and the buffer is used again.
//!
//! **The end.** A TAP closes when its interface is deleted; the network namespace it is in stays for as long as the TAP is open
//! here, so somebody else must say when a namespace is no longer needed.
//!
//! The kernel never blocks a write: it takes the frame through its whole network stack at once, or refuses it. That way is long
//! and costs the same for 1500 bytes as for 64 KiB, so segments that follow each other in the queue go as one ([`join`]), and the
//! kernel cuts them where they leave.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

use atoll_wire::join::{Joined, join};
use atoll_wire::{Frame, Mac, Offloads, vnet};
use bytes::{Buf, Bytes, BytesMut};
use rustix::io::Errno;

use crate::decoder::{MAX_FRAME, MIN_FRAME};
use crate::stream::{Progress, Written};
use crate::sys::{self, tun};

const DEVICE: &str = "/dev/net/tun";

/// What one read can take.
const READ: usize = vnet::LEN + MAX_FRAME;

/// Bytes of a buffer. A turn of reading ends with it: what was read is handled while it is in the cache, and when that is done
/// the same memory serves the next turn.
const CHUNK: usize = 4 * READ;

/// Frames up to this are copied out of the buffer.
const SMALL: usize = 2048;

/// Frames in one turn of reading.
const READS: usize = 128;

/// Frames in one turn of writing.
const WRITES: usize = 256;

/// Why there is no TAP.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The device cannot be opened.
    #[error("cannot open {DEVICE}: {source}{}", .mode.map(|mode| format!(" (its mode is {mode:04o})")).unwrap_or_default())]
    Open {
        /// What the system said.
        source: io::Error,
        /// Its permissions, when that is what is wrong.
        mode: Option<u32>,
    },
    /// No interface can be made of it.
    #[error("cannot make the interface {name}: {source}")]
    Create {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The descriptor is something else.
    #[error("the descriptor is no TAP whose frames follow a virtio_net_hdr")]
    NotATap,
    /// It does not do what is needed.
    #[error("the TAP cannot be used: {0}")]
    Unusable(#[source] io::Error),
}

impl TapError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let Self::Open { source, .. } = self else {
            return None;
        };
        Some(match Errno::from_io_error(source)? {
            Errno::ACCESS | Errno::PERM => {
                "ask the administrator: chmod 0666 /dev/net/tun is safe and what most systems have"
            }
            Errno::NOENT => "ask the administrator: mkdir -p /dev/net && mknod -m 0666 /dev/net/tun c 10 200",
            Errno::NODEV | Errno::NXIO => "ask the administrator: modprobe tun",
            _ => return None,
        })
    }
}

/// Make a TAP in the current network namespace, and its interface, which is not up.
///
/// # Errors
/// The device is not there or may not be opened, or the namespace is not ours to change.
pub fn create_tap(name: &str) -> Result<OwnedFd, TapError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0))
        .open(DEVICE);
    let device = opened.map_err(|source| {
        let is_denied = source.kind() == io::ErrorKind::PermissionDenied;
        let mode = std::fs::metadata(DEVICE).map(|file| file.permissions().mode() & 0o7777);
        TapError::Open {
            mode: mode.ok().filter(|_| is_denied),
            source,
        }
    })?;
    attach_tap(device.into(), name)
}

/// Make a TAP of what somebody has opened: `/dev/net/tun`, or the device of a macvtap, which has its interface already.
///
/// # Errors
/// The namespace is not ours to change, or the device is another.
pub fn attach_tap(device: OwnedFd, name: &str) -> Result<OwnedFd, TapError> {
    tun::create(&device, name).map_err(|source| TapError::Create {
        name: name.to_owned(),
        source,
    })?;
    Ok(device)
}

/// A guest on a TAP.
#[derive(Debug)]
pub struct TapPort {
    fd: OwnedFd,
    mac: Mac,
    offloads: Offloads,
    buf: BytesMut,
    bad_headers: u64,
    refused: u64,
}

impl TapPort {
    /// Take a TAP over, and let its interface send large segments.
    ///
    /// # Errors
    /// It is no TAP made by [`create_tap`] or like it.
    pub fn new(fd: OwnedFd) -> Result<Self, TapError> {
        let is_tap = tun::name(&fd).is_ok_and(|name| name.is_some());
        if !is_tap {
            return Err(TapError::NotATap);
        }
        rustix::io::ioctl_fionbio(&fd, true).map_err(|error| TapError::Unusable(error.into()))?;
        tun::set_header(&fd, vnet::LEN).map_err(TapError::Unusable)?;
        let has_udp = tun::set_offloads(&fd).map_err(TapError::Unusable)?;
        let offloads = Offloads {
            udp4: has_udp,
            udp6: has_udp,
            ..Offloads::ALL
        };
        let mac = tun::mac(&fd).map_err(TapError::Unusable)?;
        Ok(Self {
            fd,
            mac: Mac(mac),
            offloads,
            buf: BytesMut::new(),
            bad_headers: 0,
            refused: 0,
        })
    }

    /// The MAC address of its interface.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Which frames it takes as they are.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Frames dropped because their virtio_net_hdr did not go with them.
    #[must_use]
    pub fn bad_headers(&self) -> u64 {
        self.bad_headers
    }

    /// Frames that the kernel did not take.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Read a bounded number of frames and append them.
    ///
    /// # Errors
    /// The TAP broke.
    pub fn read(&mut self, frames: &mut Vec<Frame>) -> io::Result<Progress> {
        for turn in 0..READS {
            if self.buf.capacity() < READ {
                if turn > 0 {
                    break;
                }
                self.buf.reserve(CHUNK);
            }
            match sys::read_spare(&self.fd, &mut self.buf) {
                Ok(_) => frames.extend(self.take_frame()),
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) => return Ok(Progress::Drained),
                    Some(Errno::INTR) => {}
                    Some(tun::DELETED) => return Ok(Progress::Closed),
                    _ => return Err(error),
                },
            }
        }
        Ok(Progress::More)
    }

    /// The frame that was read; nothing is left in the buffer.
    fn take_frame(&mut self) -> Option<Frame> {
        let read = &self.buf[..];
        let (header, frame) = read.split_at_checked(vnet::LEN).unwrap_or((read, &[]));
        let Ok(offload) = vnet::parse(header, frame) else {
            self.bad_headers += 1;
            self.buf.clear();
            return None;
        };
        let bytes = if frame.len() <= SMALL {
            let copy = Bytes::copy_from_slice(frame);
            self.buf.clear();
            copy
        } else {
            let mut whole = self.buf.split().freeze();
            whole.advance(vnet::LEN);
            whole
        };
        Some(Frame { bytes, offload })
    }

    /// Write frames from the front of `queue`. The caller removes as many as are reported before it writes again. A frame
    /// that the kernel refuses counts as written: others may pass.
    ///
    /// # Errors
    /// The TAP broke.
    pub fn write(&mut self, queue: &VecDeque<Frame>) -> io::Result<Written> {
        let mut written = Written::default();
        while written.frames < queue.len().min(WRITES) {
            let (sent, frames) = match join(queue.range(written.frames..), self.offloads) {
                Some(run) => (self.send_run(&run, queue.range(written.frames..)), run.frames),
                None => (self.send(&queue[written.frames]), 1),
            };
            match sent {
                Ok(()) => {}
                Err(Errno::AGAIN) => {
                    written.blocked = true;
                    break;
                }
                Err(error @ tun::DELETED) => return Err(error.into()),
                // The interface is down (EIO), has no memory now, or finds fault with what it got.
                Err(error) => {
                    tracing::trace!("a TAP refused {frames} frames: {error}");
                    self.refused += u64::try_from(frames).unwrap_or(u64::MAX);
                }
            }
            written.frames += frames;
        }
        Ok(written)
    }

    fn send(&self, frame: &Frame) -> Result<(), Errno> {
        let header = vnet::emit(frame);
        self.writev(&[IoSlice::new(&header), IoSlice::new(&frame.bytes)])
    }

    /// Hand over the frames of a run as one.
    fn send_run<'a>(&self, run: &Joined, frames: impl Iterator<Item = &'a Frame>) -> Result<(), Errno> {
        let header = vnet::emit(&run.headers);
        let payloads = frames
            .take(run.frames)
            .map(|frame| &frame.bytes[run.headers.len()..]);
        let whole = [&header[..], &run.headers.bytes].into_iter().chain(payloads);
        let slices: Vec<IoSlice<'_>> = whole.map(IoSlice::new).collect();
        self.writev(&slices)
    }

    fn writev(&self, slices: &[IoSlice<'_>]) -> Result<(), Errno> {
        rustix::io::retry_on_intr(|| rustix::io::writev(&self.fd, slices)).map(drop)
    }
}

impl AsFd for TapPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const _: () = assert!(MIN_FRAME <= SMALL && SMALL < READ, "a frame is small or large");

#[cfg(test)]
mod tests {
    use std::iter;
    use std::net::Ipv4Addr;
    use std::os::unix::net::UnixDatagram;

    use atoll_wire::{Checksum, EthernetProtocol, FrameBuf, Gso, IpProtocol, Offload, packet, segment, tcp};

    use super::*;

    /// A port on one end of a socket that keeps the bounds of what is written, as a TAP does, and the other end.
    fn pair() -> (TapPort, UnixDatagram) {
        let (ours, kernel) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let port = TapPort {
            fd: ours.into(),
            mac: Mac::default(),
            offloads: Offloads::default(),
            buf: BytesMut::new(),
            bad_headers: 0,
            refused: 0,
        };
        (port, kernel)
    }

    fn send(kernel: &UnixDatagram, frame: &Frame) {
        let bytes = [&vnet::emit(frame)[..], &frame.bytes].concat();
        kernel.send(&bytes).unwrap();
    }

    fn plain(byte: u8, len: usize) -> Frame {
        Frame::plain(vec![byte; len].into())
    }

    fn read_all(port: &mut TapPort) -> Vec<Frame> {
        let mut frames = Vec::new();
        while port.read(&mut frames).unwrap() == Progress::More {}
        frames
    }

    #[test]
    fn frames_arrive_with_what_their_headers_say() {
        let (mut port, kernel) = pair();
        let checksum = Checksum::Partial {
            start: 34,
            offset: 16,
        };
        let partial = Frame {
            offload: Offload {
                checksum,
                gso: Gso::None,
            },
            ..plain(7, 60)
        };
        let sent = [
            partial,
            plain(1, MIN_FRAME),
            plain(2, SMALL + 1),
            plain(3, 65_000),
        ];
        for frame in &sent {
            send(&kernel, frame);
        }
        assert_eq!(read_all(&mut port), sent);
    }

    #[test]
    fn a_small_frame_holds_back_no_buffer_and_a_large_one_is_not_copied() {
        let (mut port, kernel) = pair();
        send(&kernel, &plain(1, 60));
        let small = read_all(&mut port);
        assert!(small[0].bytes.is_unique());
        let buffer = port.buf.as_ptr();
        send(&kernel, &plain(2, 60_000));
        let large = read_all(&mut port);
        assert_eq!(large[0].bytes.as_ptr(), buffer.wrapping_add(vnet::LEN));
    }

    #[test]
    fn a_buffer_whose_frames_are_gone_is_used_again() {
        let (mut port, kernel) = pair();
        let mut places = Vec::new();
        for _ in 0..20 {
            send(&kernel, &plain(1, 65_000));
            let mut frames = Vec::new();
            port.read(&mut frames).unwrap();
            places.push(frames[0].bytes.as_ptr());
        }
        places.sort_unstable();
        places.dedup();
        assert!(places.len() <= CHUNK / READ + 1, "{} places", places.len());
    }

    #[test]
    fn a_header_that_lies_costs_its_own_frame_only() {
        let (mut port, kernel) = pair();
        kernel.send(&[0xff; 100]).unwrap();
        kernel.send(&[0; 5]).unwrap();
        kernel.send(&[]).unwrap();
        send(&kernel, &plain(1, 60));
        assert_eq!(read_all(&mut port), [plain(1, 60)]);
        assert_eq!(port.bad_headers(), 3);
    }

    #[test]
    fn a_turn_of_reading_is_bounded() {
        let (mut port, kernel) = pair();
        kernel.set_nonblocking(true).unwrap();
        let bytes = [&[0; vnet::LEN][..], &[9; 60]].concat();
        while kernel.send(&bytes).is_ok() {}
        let mut frames = Vec::new();
        let progress = port.read(&mut frames).unwrap();
        assert!(frames.len() <= READS);
        assert_eq!(progress == Progress::More, frames.len() == READS);
    }

    #[test]
    fn frames_are_written_behind_their_headers_until_the_kernel_takes_no_more() {
        let (mut port, kernel) = pair();
        kernel.set_nonblocking(true).unwrap();
        let queue: VecDeque<Frame> = (0..200).map(|byte| plain(byte, 60_000)).collect();
        let written = port.write(&queue).unwrap();
        assert!(written.blocked && written.frames > 0);
        let mut bytes = vec![0; READ];
        for frame in queue.iter().take(written.frames) {
            let len = kernel.recv(&mut bytes).unwrap();
            assert_eq!(bytes[..vnet::LEN], vnet::emit(frame));
            assert_eq!(bytes[vnet::LEN..len], frame.bytes);
        }
        assert_eq!(port.refused(), 0);
    }

    /// A large segment as a guest without offloads sends it: in pieces of 1000 bytes.
    fn segments(len: usize) -> (Frame, Vec<Frame>) {
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3));
        let mut buf = FrameBuf::copy_from(&vec![5; len]);
        let tcp = tcp::Header {
            flags: tcp::Flags::ACK,
            ..tcp::Header::default()
        };
        tcp.push_partial(&mut buf, src, dst);
        let ip = packet::Ipv4Header {
            src,
            dst,
            protocol: IpProtocol::Tcp,
            ttl: 64,
            ident: 0,
            dont_fragment: true,
        };
        packet::push_ipv4(&mut buf, &ip);
        packet::push_ethernet(&mut buf, Mac([2; 6]), Mac([4; 6]), EthernetProtocol::Ipv4);
        let whole = buf.freeze(Offload {
            checksum: Checksum::Partial {
                start: 34,
                offset: 16,
            },
            gso: Gso::Tcp4 { size: 1000 },
        });
        let pieces = segment::plain(&whole).unwrap();
        (whole, pieces)
    }

    #[test]
    fn segments_that_follow_each_other_are_written_as_one_where_the_kernel_cuts() {
        let (mut port, kernel) = pair();
        kernel.set_nonblocking(true).unwrap();
        let (whole, pieces) = segments(8500);
        let queue: VecDeque<Frame> = [plain(1, 60)]
            .into_iter()
            .chain(pieces)
            .chain([plain(2, 60)])
            .collect();
        let mut receive = || {
            let mut bytes = vec![0; READ];
            let len = kernel.recv(&mut bytes).ok()?;
            let offload = vnet::parse(&bytes[..vnet::LEN], &bytes[vnet::LEN..len]).unwrap();
            let bytes = bytes[vnet::LEN..len].to_vec().into();
            Some(Frame { bytes, offload })
        };
        assert_eq!(port.write(&queue).unwrap().frames, queue.len());
        let apart: Vec<Frame> = iter::from_fn(&mut receive).collect();
        assert_eq!(apart, queue.iter().cloned().collect::<Vec<_>>());
        port.offloads = Offloads::ALL;
        assert_eq!(port.write(&queue).unwrap().frames, queue.len());
        let joined: Vec<Frame> = iter::from_fn(&mut receive).collect();
        assert_eq!(joined, [plain(1, 60), whole, plain(2, 60)]);
    }

    #[test]
    fn what_is_no_tap_is_refused() {
        let (socket, _) = UnixDatagram::pair().unwrap();
        assert!(matches!(TapPort::new(socket.into()), Err(TapError::NotATap)));
    }

    #[test]
    fn who_may_not_open_the_device_learns_its_mode_and_what_to_do() {
        let denied = TapError::Open {
            source: io::Error::from(Errno::ACCESS),
            mode: Some(0o600),
        };
        assert!(denied.to_string().ends_with("(its mode is 0600)"), "{denied}");
        assert!(denied.hint().unwrap().contains("chmod 0666 /dev/net/tun"));
        let missing = TapError::Open {
            source: io::Error::from(Errno::NODEV),
            mode: None,
        };
        assert!(missing.hint().unwrap().contains("modprobe tun"));
    }
}
