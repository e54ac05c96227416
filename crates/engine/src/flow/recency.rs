//! Which slot was used longest ago: lists through the slots of the flow table, one for each port.
//!
//! The links lie beside the slots and hold their numbers, so that to move one to the end of its list, which each packet does that is not of the
//! flow before, looks nothing up. A slot is in one list at most; which one, the caller knows.

/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    older: u32,
    newer: u32,
}

/// The links of all lists, by slot.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Link>);

/// One list.
#[derive(Debug)]
pub(super) struct Recency {
    oldest: u32,
    latest: u32,
    len: usize,
}

impl Default for Recency {
    fn default() -> Self {
        Self {
            oldest: NONE,
            latest: NONE,
            len: 0,
        }
    }
}

impl Links {
    fn get(&mut self, slot: u32) -> &mut Link {
        &mut self.0[slot as usize]
    }
}

impl Recency {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slot that was used longest ago.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Add a slot that is in no list, as the latest.
    pub(super) fn push(&mut self, links: &mut Links, slot: u32) {
        let place = slot as usize;
        if links.0.len() <= place {
            let unused = Link {
                older: NONE,
                newer: NONE,
            };
            links.0.resize(place + 1, unused);
        }
        links.0[place] = Link {
            older: self.latest,
            newer: NONE,
        };
        match self.latest {
            NONE => self.oldest = slot,
            latest => links.get(latest).newer = slot,
        }
        self.latest = slot;
        self.len += 1;
    }

    /// Take a slot of this list out.
    pub(super) fn remove(&mut self, links: &mut Links, slot: u32) {
        let Link { older, newer } = *links.get(slot);
        match older {
            NONE => self.oldest = newer,
            older => links.get(older).newer = newer,
        }
        match newer {
            NONE => self.latest = older,
            newer => links.get(newer).older = older,
        }
        self.len -= 1;
    }

    /// A slot of this list was used.
    pub(super) fn promote(&mut self, links: &mut Links, slot: u32) {
        if self.latest != slot {
            self.remove(links, slot);
            self.push(links, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Even slots are in the first list, odd ones in the second: no slot is in two.
        #[test]
        fn lists_are_in_the_order_of_use(steps in proptest::collection::vec((0_u32..16, 0..3), 0..200)) {
            let mut links = Links::default();
            let mut lists = [Recency::default(), Recency::default()];
            let mut models: [Vec<u32>; 2] = Default::default();
            for (slot, step) in steps {
                let which = (slot % 2) as usize;
                let (list, model) = (&mut lists[which], &mut models[which]);
                let is_in = model.contains(&slot);
                model.retain(|other| *other != slot);
                match (is_in, step) {
                    (false, _) => list.push(&mut links, slot),
                    (true, 0) => list.remove(&mut links, slot),
                    (true, _) => list.promote(&mut links, slot),
                }
                if !(is_in && step == 0) {
                    model.push(slot);
                }
                for (list, model) in lists.iter().zip(&models) {
                    prop_assert_eq!((list.len(), list.oldest()), (model.len(), model.first().copied()));
                }
            }
            for (mut list, model) in lists.into_iter().zip(models) {
                for slot in model {
                    prop_assert_eq!(list.oldest(), Some(slot));
                    list.remove(&mut links, slot);
                }
                prop_assert_eq!(list.oldest(), None);
            }
        }
    }
}
