//! Memory of a guest, which other processes change while we use it.
//!
//! A [`Mapping`] never hands out a reference: bytes are copied out of it or into it, and index words are loaded and stored
//! atomically, each with its bounds checked. What lies there may change between two looks, so whoever decides on something
//! copies it first.
//!
//! **A file shorter than it is mapped.** Touching a page behind a file's end is SIGBUS, and the end of a process that does
//! not expect it. The length of the file is checked when it is mapped, but whoever holds the file can shorten it later,
//! unless it is sealed against that, which some front ends do (QEMU's `memory-backend-memfd`) and others do not (a file in
//! /dev/shm cannot be sealed). So seals are not asked for; [`super::sigbus`] makes of such an access a read of zeros or a write to
//! nowhere, and [`Mapping::is_lost`] says afterwards that this was so.
//!
//! **A file whose pages somebody else provides.** A file system in user space could let us wait for a page, or for an answer about the
//! file, for ever. Only files in memory are taken: those that can have seals, which are memfds, files on tmpfs, and huge pages. Asking
//! for seals (fcntl(2)) is no question to the file system. Likewise [`is_event`] looks at the name of a descriptor, not at its file.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering, fence};

use bytes::{BufMut, BytesMut};

use super::sigbus::Guard;

/// `hugetlbfs` (linux/magic.h).
const HUGE_PAGES: u64 = 0x9584_58f6;

/// Part of a file, shared with whoever else maps it.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    /// What the kernel mapped: whole pages.
    mapped: usize,
    /// Bytes of the first page that are not part of what was asked for.
    lead: usize,
    len: usize,
    guard: Guard,
}

// SAFETY: the memory belongs to the process, not to a thread, and is only accessed by copies and atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing hands out references into it.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Map `len` bytes of a file from `offset` on.
    ///
    /// # Errors
    /// The file is shorter, of a kind that is not taken, or cannot be mapped.
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        let page = page_of(fd)?;
        let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
        let size = rustix::fs::fstat(fd)?.st_size;
        if end.is_none_or(|end| i64::try_from(end).map_or(true, |end| end > size)) || len == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("its file has {size} bytes, and {len} from {offset} on were announced"),
            ));
        }
        let lead = usize::try_from(offset % page).map_err(io::Error::other)?;
        let whole = u64::try_from(lead + len)
            .map_err(io::Error::other)?
            .next_multiple_of(page);
        let mapped = usize::try_from(whole).map_err(io::Error::other)?;
        let from = libc::off_t::try_from(offset - offset % page).map_err(io::Error::other)?;
        // SAFETY: the kernel chooses the place, so no memory of ours is touched.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd.as_raw_fd(),
                from,
            )
        };
        let start = NonNull::new(start.cast::<u8>()).filter(|_| start != libc::MAP_FAILED);
        let start = start.ok_or_else(io::Error::last_os_error)?;
        let Some(guard) = Guard::new(start.addr().get(), mapped) else {
            // SAFETY: mapped above and used by nobody yet.
            unsafe { libc::munmap(start.as_ptr().cast(), mapped) };
            return Err(io::Error::other("too much memory of guests is mapped already"));
        };
        Ok(Self {
            start,
            mapped,
            lead,
            len,
            guard,
        })
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether a page was touched that its file does not have.
    pub(crate) fn is_lost(&self) -> bool {
        self.guard.is_hit()
    }

    /// Where `len` bytes from `at` on are, if they are inside.
    fn place(&self, at: usize, len: usize) -> Option<NonNull<u8>> {
        let is_inside = at.checked_add(len).is_some_and(|end| end <= self.len);
        // SAFETY: what was asked for begins `lead` bytes into the mapping and has `len` bytes, `at` of which are skipped.
        is_inside.then(|| unsafe { self.start.add(self.lead + at) })
    }

    /// Copy bytes out; `None` when they are not all inside.
    pub(crate) fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let place = self.place(at, N)?;
        // SAFETY: `place` is valid for reads of N bytes for as long as the mapping lives; arrays of bytes have no alignment.
        Some(unsafe { place.cast::<[u8; N]>().read_volatile() })
    }

    /// Fill `into` with what is there; `None` when it is not all inside.
    pub(crate) fn copy_to(&self, at: usize, into: &mut [u8]) -> Option<()> {
        let place = self.place(at, into.len())?;
        // SAFETY: `place` is valid for reads of as many bytes, and no buffer of ours lies in a mapping.
        unsafe { std::ptr::copy_nonoverlapping(place.as_ptr(), into.as_mut_ptr(), into.len()) };
        Some(())
    }

    /// Append `len` bytes to a buffer that has room for them; `None` when they are not all inside.
    pub(crate) fn append_to(&self, at: usize, len: usize, buf: &mut BytesMut) -> Option<()> {
        let place = self.place(at, len)?;
        let room = buf.spare_capacity_mut().get_mut(..len)?;
        // SAFETY: `place` is valid for reads of `len` bytes, `room` for writes of as many, and no buffer of ours lies in a mapping.
        unsafe { std::ptr::copy_nonoverlapping(place.as_ptr(), room.as_mut_ptr().cast::<u8>(), len) };
        // SAFETY: they were written above.
        unsafe { buf.advance_mut(len) };
        Some(())
    }

    /// Copy bytes in; `None`, and nothing written, when there is no room for all.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) -> Option<()> {
        let place = self.place(at, bytes.len())?;
        // SAFETY: `place` is valid for writes of as many bytes, and no buffer of ours lies in a mapping.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len()) };
        Some(())
    }

    fn word(&self, at: usize) -> Option<&AtomicU16> {
        let place = self.place(at, 2)?.cast::<u16>();
        // SAFETY: `place` is valid while the mapping lives, and aligned by the check; whoever else writes there writes words as a whole.
        place
            .is_aligned()
            .then(|| unsafe { AtomicU16::from_ptr(place.as_ptr()) })
    }

    /// Load a little-endian word; all that was written before it is seen afterwards. `None` when it is not inside or not aligned.
    pub(crate) fn load(&self, at: usize) -> Option<u16> {
        Some(u16::from_le(self.word(at)?.load(Ordering::Acquire)))
    }

    /// Store a little-endian word behind all that was written before it.
    pub(crate) fn store(&self, at: usize, value: u16) -> Option<()> {
        self.word(at)?.store(value.to_le(), Ordering::Release);
        Some(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard.release();
        // SAFETY: mapped in `new`, and nobody holds a reference into it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped) };
    }
}

/// Order a store before a later load, as both sides of a ring need it before they look whether the other one sleeps.
pub(crate) fn full_barrier() {
    fence(Ordering::SeqCst);
}

/// The page size of a file that may be mapped.
fn page_of(fd: BorrowedFd<'_>) -> io::Result<u64> {
    if rustix::fs::fcntl_get_seals(fd).is_err() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is neither a memfd nor a file on tmpfs or hugetlbfs",
        ));
    }
    let file_system = rustix::fs::fstatfs(fd)?;
    let kind = u64::from_ne_bytes(file_system.f_type.to_ne_bytes()) & u64::from(u32::MAX);
    let size = if kind == HUGE_PAGES {
        u64::try_from(file_system.f_bsize).unwrap_or(0)
    } else {
        // SAFETY: asks for a number.
        u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0)
    };
    Some(size)
        .filter(|size| size.is_power_of_two())
        .ok_or_else(|| io::Error::other("its pages have no size"))
}

/// Whether a descriptor is an eventfd, which can be written to and watched without waiting for anybody.
pub(crate) fn is_event(fd: impl AsFd) -> bool {
    let name = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()));
    name.is_ok_and(|name| name.as_os_str() == "anon_inode:[eventfd]")
}

/// Write one to an eventfd. Never waits: one that is full wakes its reader anyway.
pub(crate) fn signal(fd: impl AsFd) -> io::Result<()> {
    match rustix::io::write(fd, &1_u64.to_ne_bytes()) {
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(any(test, feature = "front-end"))]
mod front_end {
    //! What the other side of the memory needs: to make it, and to let the kernel read and write there.

    use std::io;
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};

    use rustix::event::EventfdFlags;
    use rustix::fs::MemfdFlags;

    use super::Mapping;

    /// A file in memory, all zeros.
    pub(crate) fn memory_file(len: u64) -> io::Result<OwnedFd> {
        let fd = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, len)?;
        Ok(fd)
    }

    /// Something to wake somebody by.
    pub(crate) fn event() -> io::Result<OwnedFd> {
        Ok(rustix::event::eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?)
    }

    impl Mapping {
        fn slices(&self, places: &[(usize, usize)]) -> Option<Vec<libc::iovec>> {
            let slice = |&(at, len): &(usize, usize)| {
                Some(libc::iovec {
                    iov_base: self.place(at, len)?.as_ptr().cast(),
                    iov_len: len,
                })
            };
            places.iter().map(slice).collect()
        }

        /// One `readv` to these places, each a start and a length.
        pub(crate) fn fill_from(&self, fd: impl AsFd, places: &[(usize, usize)]) -> io::Result<usize> {
            let slices = self.slices(places).ok_or(io::ErrorKind::InvalidInput)?;
            let count = libc::c_int::try_from(slices.len()).map_err(io::Error::other)?;
            // SAFETY: every slice lies inside the mapping, to which no reference exists.
            let status = unsafe { libc::readv(fd.as_fd().as_raw_fd(), slices.as_ptr(), count) };
            usize::try_from(status).map_err(|_| io::Error::last_os_error())
        }

        /// One `writev` of what is at these places.
        pub(crate) fn drain_to(&self, fd: impl AsFd, places: &[(usize, usize)]) -> io::Result<usize> {
            let slices = self.slices(places).ok_or(io::ErrorKind::InvalidInput)?;
            let count = libc::c_int::try_from(slices.len()).map_err(io::Error::other)?;
            // SAFETY: every slice lies inside the mapping and is only read.
            let status = unsafe { libc::writev(fd.as_fd().as_raw_fd(), slices.as_ptr(), count) };
            usize::try_from(status).map_err(|_| io::Error::last_os_error())
        }
    }
}
#[cfg(any(test, feature = "front-end"))]
pub(crate) use front_end::{event, memory_file};

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 3 * 4096;

    fn mapping() -> (Mapping, std::os::fd::OwnedFd) {
        let fd = memory_file(u64::try_from(LEN).unwrap()).unwrap();
        (Mapping::new(fd.as_fd(), 0, LEN).unwrap(), fd)
    }

    #[test]
    fn nothing_outside_is_read_or_written() {
        let (mapping, _fd) = mapping();
        let mut buf = BytesMut::with_capacity(64);
        for at in [LEN - 1, LEN, usize::MAX - 1, usize::MAX] {
            assert!(mapping.read::<2>(at).is_none());
            assert!(mapping.write(at, &[1, 2]).is_none());
            assert!(mapping.append_to(at, 2, &mut buf).is_none());
            assert!(mapping.load(at).is_none());
            assert!(mapping.store(at, 1).is_none());
        }
        assert!(mapping.append_to(0, buf.capacity() + 1, &mut buf).is_none());
        assert!(mapping.load(1).is_none(), "not aligned");
        assert!(buf.is_empty());
    }

    #[test]
    fn both_mappings_of_a_file_see_the_same_bytes() {
        let (one, fd) = mapping();
        let other = Mapping::new(fd.as_fd(), 100, 4096).unwrap();
        one.write(100, b"hello").unwrap();
        assert_eq!(other.read::<5>(0), Some(*b"hello"));
        other.store(4, 0x0201).unwrap();
        assert_eq!(one.read::<2>(104), Some([1, 2]));
    }

    #[test]
    fn a_file_that_is_too_short_is_not_mapped() {
        let (_, fd) = mapping();
        for (offset, len) in [
            (0, LEN + 1),
            (4096, LEN),
            (u64::MAX, 1),
            (u64::MAX - 4095, 4096),
            (0, 0),
            (0, usize::MAX),
        ] {
            assert!(Mapping::new(fd.as_fd(), offset, len).is_err(), "{offset} {len}");
        }
    }

    #[test]
    fn a_file_that_is_no_memory_is_not_mapped() {
        let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
        Mapping::new(socket.as_fd(), 0, 4096).unwrap_err();
        let proc = std::fs::File::open("/proc/self/maps").unwrap();
        Mapping::new(proc.as_fd(), 0, 4096).unwrap_err();
    }

    #[test]
    fn a_file_that_is_cut_short_later_reads_as_zeros_and_is_lost() {
        let (mapping, fd) = mapping();
        let (other, _other_fd) = self::mapping();
        mapping.write(4096, &[7; 4096]).unwrap();
        rustix::fs::ftruncate(&fd, 4096).unwrap();
        assert!(!mapping.is_lost());
        assert_eq!(mapping.read::<4>(4096), Some([0; 4]));
        mapping.write(8000, &[1; 100]).unwrap();
        assert!(mapping.is_lost());
        assert!(!other.is_lost());
    }
}
