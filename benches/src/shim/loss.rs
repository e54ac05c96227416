//! Losing frames by a seeded generator, so that every back end loses in the same pattern.

/// Decides frame by frame.
#[derive(Debug)]
pub(super) struct Loss {
    per_million: u64,
    state: u64,
    pub(super) lost: u64,
}

impl Loss {
    pub(super) fn new(per_million: u32, seed: u64) -> Self {
        Self {
            per_million: u64::from(per_million),
            state: seed,
            lost: 0,
        }
    }

    /// Whether the next frame is lost.
    pub(super) fn takes_next(&mut self) -> bool {
        if self.per_million == 0 {
            return false;
        }
        let lost = self.next() % 1_000_000 < self.per_million;
        self.lost += u64::from(lost);
        lost
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::Loss;

    #[test]
    fn about_as_many_are_lost_as_was_asked_for() {
        let mut loss = Loss::new(10_000, 7);
        let lost = (0..100_000).filter(|_| loss.takes_next()).count();
        assert!((900..1100).contains(&lost), "{lost} of 100000 with seed 7");
    }

    #[test]
    fn nothing_is_lost_unless_asked_for() {
        let mut loss = Loss::new(0, 7);
        assert!((0..1000).all(|_| !loss.takes_next()));
    }
}
