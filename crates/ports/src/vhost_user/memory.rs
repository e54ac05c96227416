//! A guest's memory as its front end laid it out: a few regions, each with an address in the guest and one in the front end.
//!
//! Every address that a ring or a descriptor names is looked up here, and what is not wholly inside regions is not there.
//! A buffer may go on from one region to the next where their addresses do. Regions hold their mapping by counting, so that a ring
//! that was set up on an earlier table never reads what is no longer mapped.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::message::RegionSpec;
use crate::sys::memory::Mapping;

/// The whole of a guest's memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    regions: Vec<Region>,
}

#[derive(Debug)]
struct Region {
    guest: u64,
    user: u64,
    len: u64,
    mapping: Arc<Mapping>,
}

/// Part of a buffer: in which region, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    region: usize,
    at: usize,
    pub(super) len: usize,
}

/// A fixed place, for what a ring looks at again and again.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) mapping: Arc<Mapping>,
    pub(super) at: usize,
}

/// Why a memory table is not taken.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Addresses wrap around, or two regions share some.
    #[error("the regions of the guest's memory overlap or leave the address space")]
    Overlap,
    /// One cannot be mapped.
    #[error("{len} bytes of the guest's memory cannot be mapped: {source}")]
    Map {
        /// Its length.
        len: u64,
        /// Why.
        source: io::Error,
    },
}

impl Memory {
    pub(super) fn new(specs: Vec<(RegionSpec, OwnedFd)>) -> Result<Self, MemoryError> {
        for start in [|spec: &RegionSpec| spec.guest, |spec: &RegionSpec| spec.user] {
            let mut ranges: Vec<_> = specs.iter().map(|(spec, _)| (start(spec), spec.len)).collect();
            ranges.sort_unstable();
            let mut free = 0;
            for (from, len) in ranges {
                let end = from.checked_add(len).filter(|_| from >= free);
                free = end.ok_or(MemoryError::Overlap)?;
            }
        }
        let map = |(spec, descriptor): (RegionSpec, OwnedFd)| {
            let len = usize::try_from(spec.len).unwrap_or(usize::MAX);
            let mapping = Mapping::new(descriptor.as_fd(), spec.offset, len);
            let mapping = mapping.map_err(|source| MemoryError::Map {
                len: spec.len,
                source,
            })?;
            Ok(Region {
                guest: spec.guest,
                user: spec.user,
                len: spec.len,
                mapping: Arc::new(mapping),
            })
        };
        let regions = specs.into_iter().map(map).collect::<Result<_, _>>()?;
        Ok(Self { regions })
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Whether a page was touched that the front end took away.
    pub(super) fn is_lost(&self) -> bool {
        self.regions.iter().any(|region| region.mapping.is_lost())
    }

    /// Append the parts of a guest's buffer; `None` when it is not wholly in the guest's memory.
    pub(super) fn find(&self, mut address: u64, len: u32, parts: &mut Vec<Part>) -> Option<()> {
        let mut rest = usize::try_from(len).ok()?;
        while rest > 0 {
            let (number, offset) = self.regions.iter().enumerate().find_map(|(number, region)| {
                let offset = address.checked_sub(region.guest)?;
                (offset < region.len).then_some((number, offset))
            })?;
            let at = usize::try_from(offset).ok()?;
            let len = rest.min(self.regions[number].mapping.len() - at);
            parts.push(Part {
                region: number,
                at,
                len,
            });
            rest -= len;
            address = address.checked_add(u64::try_from(len).ok()?)?;
        }
        Some(())
    }

    /// The place of `len` bytes by the front end's address, in one region and aligned.
    pub(super) fn place(&self, user: u64, len: usize, align: u64) -> Option<Place> {
        let region = self.regions.iter().find(|region| {
            let offset = user.checked_sub(region.user);
            offset.is_some_and(|offset| offset < region.len)
        })?;
        let at = usize::try_from(user - region.user).ok()?;
        let fits = at.checked_add(len).is_some_and(|end| end <= region.mapping.len());
        (fits && user.is_multiple_of(align) && at.is_multiple_of(usize::try_from(align).ok()?)).then(|| {
            Place {
                mapping: Arc::clone(&region.mapping),
                at,
            }
        })
    }

    /// The mapping of a part that [`Memory::find`] found, and where in it the part is.
    pub(super) fn mapping(&self, part: Part) -> Option<(&Mapping, usize)> {
        Some((&self.regions.get(part.region)?.mapping, part.at))
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::sys::memory::memory_file;

    const PAGE: u64 = 4096;

    fn spec(guest: u64, user: u64, len: u64) -> (RegionSpec, OwnedFd) {
        let spec = RegionSpec {
            guest,
            len,
            user,
            offset: 0,
        };
        (spec, memory_file(len.min(1 << 30)).unwrap())
    }

    fn parts(memory: &Memory, address: u64, len: u32) -> Option<Vec<usize>> {
        let mut parts = Vec::new();
        memory.find(address, len, &mut parts)?;
        Some(parts.iter().map(|part| part.len).collect())
    }

    #[test]
    fn a_buffer_goes_on_in_the_next_region_and_ends_with_the_last() {
        let memory = Memory::new(vec![spec(PAGE, 0, PAGE), spec(0, 1 << 20, PAGE)]).unwrap();
        assert_eq!(parts(&memory, 4000, 200), Some(vec![96, 104]));
        assert_eq!(parts(&memory, 8000, 192), Some(vec![192]));
        assert_eq!(parts(&memory, 8000, 193), None);
        assert_eq!(parts(&memory, u64::MAX, 2), None);
        assert_eq!(parts(&memory, 1 << 40, 0), Some(vec![]));
    }

    #[test]
    fn a_place_is_in_one_region_and_aligned() {
        let memory = Memory::new(vec![spec(PAGE, 0, PAGE), spec(0, PAGE, PAGE)]).unwrap();
        assert!(memory.place(16, 4080, 16).is_some());
        assert!(memory.place(16, 4081, 16).is_none());
        assert!(memory.place(8, 16, 16).is_none());
        assert!(memory.place(2 * PAGE, 1, 1).is_none());
    }

    #[test]
    fn regions_that_overlap_wrap_or_lie_about_their_file_are_refused() {
        for specs in [
            vec![spec(0, 0, PAGE), spec(PAGE - 1, PAGE, PAGE)],
            vec![spec(0, 0, PAGE), spec(PAGE, PAGE - 1, PAGE)],
            vec![spec(u64::MAX - 10, 0, PAGE)],
            vec![spec(0, u64::MAX - 10, PAGE)],
            vec![spec(0, 0, 1 << 40)],
            vec![spec(0, 0, u64::MAX)],
            vec![spec(0, 0, 0)],
        ] {
            Memory::new(specs).unwrap_err();
        }
    }
}
