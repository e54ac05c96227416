//! The other side: a front end and the guest's driver in one, for tests, fuzzing and benchmarks.
//!
//! It has one region of memory, a receive ring and a transmit ring in it, and buffers of fixed places. A frame for the network is one
//! chain of one descriptor; buffers for frames from the network have any size. Messages are sent without waiting for answers, so that one thread can
//! be both sides. [`FrontEnd::poke`] and [`FrontEnd::say`] write and say anything else.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use atoll_wire::vnet;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::features::{Features, OFFERED};
use super::message::HEADER_LEN;
use crate::decoder::MAX_FRAME;
use crate::sys::memory::{Mapping, event, full_barrier, memory_file, signal};

/// Everything that the back end offers.
pub const ALL_FEATURES: u64 = OFFERED;

/// Where the memory is for the guest, and where for the front end.
pub const GUEST_BASE: u64 = 0x4000_0000;
/// Where the memory is for the front end.
pub const USER_BASE: u64 = 0x7fff_0000_0000;

/// Bytes for each ring: one of 1024 entries and what goes with it.
const RING_AREA: usize = 64 << 10;

/// Bytes for a frame that is sent.
const SEND_BUFFER: usize = vnet::LEN + MAX_FRAME;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// What a driver is like.
#[derive(Clone, Copy, Debug)]
pub struct FrontEndOptions {
    /// The features that it takes.
    pub features: u64,
    /// Entries of each ring, a power of two up to 1024.
    pub size: u16,
    /// Bytes of each buffer to receive into.
    pub buffer: usize,
}

impl Default for FrontEndOptions {
    fn default() -> Self {
        Self {
            features: ALL_FEATURES,
            size: 256,
            buffer: 4096,
        }
    }
}

/// The driver's side of a ring.
#[derive(Debug)]
struct Side {
    at: usize,
    size: u16,
    /// Chains made available, and how many of them the device was told of.
    made: u16,
    told: u16,
    /// Used entries taken.
    taken: u16,
    kick: OwnedFd,
    call: OwnedFd,
}

/// A front end with a driver.
#[derive(Debug)]
pub struct FrontEnd {
    socket: UnixStream,
    file: OwnedFd,
    memory: Mapping,
    features: Features,
    options: FrontEndOptions,
    sides: [Side; 2],
    /// Buffers to send from that are free.
    free: VecDeque<u16>,
}

impl Side {
    fn available(&self) -> usize {
        self.at + 16 * usize::from(self.size)
    }

    fn used(&self) -> usize {
        (self.available() + 6 + 2 * usize::from(self.size)).next_multiple_of(4)
    }
}

impl FrontEnd {
    /// Make the memory and say all that a back end needs to know.
    ///
    /// # Errors
    /// There is no memory, or the back end is gone.
    pub fn new(socket: UnixStream, options: FrontEndOptions) -> io::Result<Self> {
        let count = usize::from(options.size);
        let len = 2 * RING_AREA + count * (SEND_BUFFER + options.buffer);
        let file = memory_file(u64::try_from(len).map_err(io::Error::other)?)?;
        let memory = Mapping::new(file.as_fd(), 0, len)?;
        let side = |number: usize| -> io::Result<Side> {
            Ok(Side {
                at: number * RING_AREA,
                size: options.size,
                made: 0,
                told: 0,
                taken: 0,
                kick: event()?,
                call: event()?,
            })
        };
        let features = Features::of(options.features).ok_or(io::ErrorKind::InvalidInput)?;
        let mut front_end = Self {
            socket,
            file,
            memory,
            features,
            options,
            sides: [side(RECEIVE)?, side(TRANSMIT)?],
            free: (0..options.size).collect(),
        };
        for buffer in 0..options.size {
            front_end.offer(buffer)?;
        }
        front_end.publish(RECEIVE)?;
        front_end.introduce()?;
        Ok(front_end)
    }

    /// Everything from the features to the last ring.
    ///
    /// # Errors
    /// The back end is gone.
    pub fn introduce(&self) -> io::Result<()> {
        self.say(3, &[], &[])?;
        self.say(2, &self.options.features.to_le_bytes(), &[])?;
        let len = u64::try_from(self.memory.len()).map_err(io::Error::other)?;
        self.say_memory(&[(GUEST_BASE, len, USER_BASE, 0)], &[self.file.as_fd()])?;
        for (number, side) in (0..).zip(&self.sides) {
            self.say_ring(8, number, side.size.into())?;
            // As QEMU does when nobody can be asked: what is used is done.
            let base = self.memory.load(side.used() + 2).unwrap_or(0);
            self.say_ring(10, number, base.into())?;
            let place = |at: usize| USER_BASE + u64::try_from(at).unwrap_or(0);
            let addresses = [place(side.at), place(side.used()), place(side.available()), 0];
            let numbers = [number, 0].map(u32::to_le_bytes);
            let words = addresses.map(u64::to_le_bytes);
            self.say(9, &[numbers.as_flattened(), words.as_flattened()].concat(), &[])?;
            self.say(13, &u64::from(number).to_le_bytes(), &[side.call.as_fd()])?;
            self.say(12, &u64::from(number).to_le_bytes(), &[side.kick.as_fd()])?;
            self.say_ring(18, number, 1)?;
        }
        Ok(())
    }

    /// A memory table: guest's address, length, front end's address, offset.
    ///
    /// # Errors
    /// The back end is gone.
    pub fn say_memory(&self, regions: &[(u64, u64, u64, u64)], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let count = u64::try_from(regions.len()).map_err(io::Error::other)?;
        let mut payload = count.to_le_bytes().to_vec();
        for (guest, len, user, offset) in regions {
            payload.extend_from_slice(
                [guest, len, user, offset]
                    .map(|word| word.to_le_bytes())
                    .as_flattened(),
            );
        }
        self.say(5, &payload, files)
    }

    /// A request about a ring.
    ///
    /// # Errors
    /// The back end is gone.
    pub fn say_ring(&self, request: u32, ring: u32, value: u32) -> io::Result<()> {
        self.say(request, [ring, value].map(u32::to_le_bytes).as_flattened(), &[])
    }

    /// Any message.
    ///
    /// # Errors
    /// The back end is gone.
    pub fn say(&self, request: u32, payload: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let size = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let header = [request, 1, size].map(u32::to_le_bytes);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let slices = [IoSlice::new(header.as_flattened()), IoSlice::new(payload)];
        let sent = sendmsg(&self.socket, &slices, &mut control, SendFlags::empty())?;
        if sent == HEADER_LEN + payload.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    /// The payload of the next answer.
    ///
    /// # Errors
    /// There is none.
    pub fn answer(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; HEADER_LEN];
        self.socket.read_exact(&mut header)?;
        let mut payload = vec![0; usize::from(header[8])];
        self.socket.read_exact(&mut payload)?;
        Ok(payload)
    }

    /// The socket to the back end.
    #[must_use]
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// The file of the memory.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Become another connection of the same guest, which knows where it was.
    ///
    /// # Errors
    /// The back end is gone.
    pub fn reconnect(&mut self, socket: UnixStream) -> io::Result<()> {
        self.socket = socket;
        self.introduce()
    }

    /// Write anything anywhere in the memory; what is not inside is not written.
    pub fn poke(&self, at: usize, bytes: &[u8]) {
        let is_inside = self.memory.write(at, bytes).is_some();
        tracing::trace!("poked at {at}: {is_inside}");
    }

    /// Bytes before each frame.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.features.header_len()
    }

    /// Told when there is something to receive.
    #[must_use]
    pub fn received(&self) -> BorrowedFd<'_> {
        self.sides[RECEIVE].call.as_fd()
    }

    /// Told when a buffer to send from is free again.
    #[must_use]
    pub fn sent(&self) -> BorrowedFd<'_> {
        self.sides[TRANSMIT].call.as_fd()
    }

    /// Wait for readiness of `tap` (where there is a buffer to send from), of what the device tells, or of the connection's end, unless something
    /// came meanwhile. `false` at the end.
    ///
    /// # Errors
    /// What `poll` reported.
    pub fn wait(&mut self, tap: impl AsFd) -> io::Result<bool> {
        let has_room = !self.free.is_empty();
        if !self.sleep(RECEIVE) || (!has_room && !self.sleep(TRANSMIT)) {
            return Ok(true);
        }
        let on_tap = if has_room {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        let mut fds = [
            PollFd::from_borrowed_fd(tap.as_fd(), on_tap),
            PollFd::new(&self.sides[RECEIVE].call, PollFlags::IN),
            PollFd::new(&self.sides[TRANSMIT].call, PollFlags::IN),
            PollFd::new(&self.socket, PollFlags::empty()),
        ];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [_, received, sent, socket] = fds.map(|fd| fd.revents());
        for (revents, side) in [received, sent].into_iter().zip(&self.sides) {
            if revents.contains(PollFlags::IN) {
                rustix::io::read(&side.call, &mut [0; 8])?;
            }
        }
        Ok(!socket.intersects(PollFlags::HUP | PollFlags::ERR))
    }

    /// Kick the device at a ring whatever it wants.
    ///
    /// # Errors
    /// The descriptor cannot be written to.
    pub fn kick(&self, ring: usize) -> io::Result<()> {
        self.sides.get(ring).map_or(Ok(()), |side| signal(&side.kick))
    }

    fn send_buffer(&self, buffer: u16) -> usize {
        2 * RING_AREA + usize::from(buffer) * SEND_BUFFER
    }

    fn receive_buffer(&self, buffer: u16) -> usize {
        let sends = usize::from(self.options.size) * SEND_BUFFER;
        2 * RING_AREA + sends + usize::from(buffer) * self.options.buffer
    }

    /// Make a chain of one descriptor available; the device does not know yet.
    fn make(&mut self, ring: usize, number: u16, (at, len, flags): (usize, usize, u16)) -> io::Result<()> {
        let Self { memory, sides, .. } = self;
        let side = &mut sides[ring];
        let address = GUEST_BASE + u64::try_from(at).map_err(io::Error::other)?;
        let len = u32::try_from(len).map_err(io::Error::other)?;
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&address.to_le_bytes());
        descriptor[8..12].copy_from_slice(&len.to_le_bytes());
        descriptor[12..14].copy_from_slice(&flags.to_le_bytes());
        let slot = usize::from(side.made & (side.size - 1));
        let inside = memory
            .write(side.at + 16 * usize::from(number), &descriptor)
            .and_then(|()| memory.write(side.available() + 4 + 2 * slot, &number.to_le_bytes()));
        side.made = side.made.wrapping_add(1);
        inside.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn offer(&mut self, buffer: u16) -> io::Result<()> {
        let place = (self.receive_buffer(buffer), self.options.buffer, 2);
        self.make(RECEIVE, buffer, place)
    }

    /// Let the device know what was made available, and kick it if it wants that.
    fn publish(&mut self, ring: usize) -> io::Result<()> {
        let Self {
            memory,
            sides,
            features,
            ..
        } = self;
        let side = &mut sides[ring];
        let (before, now) = (side.told, side.made);
        if before == now {
            return Ok(());
        }
        memory.store(side.available() + 2, now);
        side.told = now;
        full_barrier();
        let wanted = if features.has_event_index() {
            let event = memory
                .load(side.used() + 4 + 8 * usize::from(side.size))
                .unwrap_or(0);
            now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before)
        } else {
            memory.load(side.used()).unwrap_or(0) & 1 == 0
        };
        if wanted { signal(&side.kick) } else { Ok(()) }
    }

    /// The next used entry: which chain, and how many bytes.
    fn take(&mut self, ring: usize) -> Option<(u16, usize)> {
        let Self { memory, sides, .. } = self;
        let side = &mut sides[ring];
        if memory.load(side.used() + 2)? == side.taken {
            return None;
        }
        let slot = usize::from(side.taken & (side.size - 1));
        let [a, b, _, _, len @ ..] = memory.read::<8>(side.used() + 4 + 8 * slot)?;
        side.taken = side.taken.wrapping_add(1);
        Some((
            u16::from_le_bytes([a, b]),
            usize::try_from(u32::from_le_bytes(len)).ok()?,
        ))
    }

    /// Ask to be told of the next used entry. `false` when there is one already.
    pub fn sleep(&mut self, ring: usize) -> bool {
        let Self {
            memory,
            sides,
            features,
            ..
        } = self;
        let Some(side) = sides.get(ring) else { return true };
        if features.has_event_index() {
            memory.store(side.available() + 4 + 2 * usize::from(side.size), side.taken);
        }
        full_barrier();
        memory.load(side.used() + 2) == Some(side.taken)
    }

    /// Take back the buffers of frames that were sent; whether any is free.
    pub fn reclaim(&mut self) -> bool {
        while let Some((buffer, _)) = self.take(TRANSMIT) {
            self.free.push_back(buffer);
        }
        !self.free.is_empty()
    }

    /// Send a header and a frame; `false` when no buffer is free.
    ///
    /// # Errors
    /// The frame is too long.
    pub fn send(&mut self, packet: &[u8]) -> io::Result<bool> {
        let Some(buffer) = self.reclaim().then(|| self.free.pop_front()).flatten() else {
            return Ok(false);
        };
        let at = self.send_buffer(buffer);
        self.memory.write(at, packet).ok_or(io::ErrorKind::InvalidInput)?;
        self.make(TRANSMIT, buffer, (at, packet.len(), 0))?;
        self.publish(TRANSMIT)?;
        Ok(true)
    }

    /// Send what a TAP hands over, until it has no more or no buffer is free; how many frames. Those that `keep` is against are lost.
    ///
    /// # Errors
    /// The TAP broke.
    pub fn send_from(&mut self, tap: impl AsFd, mut keep: impl FnMut() -> bool) -> io::Result<usize> {
        let mut count = 0;
        while let Some(&buffer) = self.free.front() {
            let at = self.send_buffer(buffer);
            let len = match self.memory.fill_from(&tap, &[(at, SEND_BUFFER)]) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            count += 1;
            if keep() {
                self.free.pop_front();
                self.make(TRANSMIT, buffer, (at, len, 0))?;
                // The device may begin while more is read.
                self.publish(TRANSMIT)?;
            }
        }
        Ok(count)
    }

    /// The buffers of the next frame that came, each with where it is and how much of it is filled.
    fn next_packet(&mut self) -> Option<Vec<(u16, usize, usize)>> {
        let (buffer, len) = self.take(RECEIVE)?;
        let at = self.receive_buffer(buffer);
        let mut pieces = vec![(buffer, at, len)];
        if self.header_len() == vnet::LEN && self.features.has_mergeable() {
            let [low, high] = self.memory.read::<2>(at + 10)?;
            for _ in 1..u16::from_le_bytes([low, high]) {
                let (buffer, len) = self.take(RECEIVE)?;
                pieces.push((buffer, self.receive_buffer(buffer), len));
            }
        }
        Some(pieces)
    }

    fn give_back(&mut self, pieces: &[(u16, usize, usize)]) -> io::Result<()> {
        pieces.iter().try_for_each(|(buffer, ..)| self.offer(*buffer))
    }

    /// The next frame that came, its header before it; its buffers are offered again.
    ///
    /// # Errors
    /// The device says what cannot be.
    pub fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(pieces) = self.next_packet() else {
            return Ok(None);
        };
        let mut packet = Vec::new();
        for &(_, at, len) in &pieces {
            let filled = packet.len();
            if len > self.options.buffer {
                return Err(io::ErrorKind::InvalidData.into());
            }
            packet.resize(filled + len, 0);
            let inside = self.memory.copy_to(at, &mut packet[filled..]);
            inside.ok_or(io::ErrorKind::InvalidData)?;
        }
        self.give_back(&pieces)?;
        self.publish(RECEIVE)?;
        Ok(Some(packet))
    }

    /// Hand up to `most` frames that came to a TAP; how many there were, and how many of them it refused. Those that `keep` is against
    /// are lost.
    ///
    /// # Errors
    /// The device says what cannot be.
    pub fn receive_to(
        &mut self,
        tap: impl AsFd,
        most: usize,
        mut keep: impl FnMut() -> bool,
    ) -> io::Result<(usize, usize)> {
        let (mut count, mut refused) = (0, 0);
        while count < most
            && let Some(pieces) = self.next_packet()
        {
            let places: Vec<_> = pieces.iter().map(|&(_, at, len)| (at, len)).collect();
            if keep() {
                refused += usize::from(self.memory.drain_to(&tap, &places).is_err());
            }
            self.give_back(&pieces)?;
            count += 1;
        }
        self.publish(RECEIVE)?;
        Ok((count, refused))
    }
}
