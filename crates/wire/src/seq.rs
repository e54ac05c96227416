//! TCP sequence numbers: 32 bits that wrap (RFC 9293, 3.4).

use std::ops::{Add, AddAssign, Sub};

/// A TCP sequence number. Comparison is modulo 2^32 and so only by name, never by `<`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// Signed distance from `earlier` to `self`: negative when `self` lies before it.
    #[must_use]
    pub fn distance_from(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// `self < other`, modulo 2^32.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        self.distance_from(other) < 0
    }

    /// `self > other`, modulo 2^32.
    #[must_use]
    pub fn is_after(self, other: Self) -> bool {
        self.distance_from(other) > 0
    }

    /// The later of the two.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }

    /// The earlier of the two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if self.is_before(other) { self } else { other }
    }
}

impl Add<u32> for Seq {
    type Output = Self;

    fn add(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, bytes: u32) {
        *self = *self + bytes;
    }
}

impl Sub<Self> for Seq {
    type Output = u32;

    /// Bytes from `earlier` to `self`, for when `self` is known not to lie before it.
    fn sub(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let before = Seq(u32::MAX - 1);
        let after = before + 4;
        assert_eq!(after, Seq(2));
        assert!(before.is_before(after) && after.is_after(before));
        assert_eq!(after - before, 4);
        assert_eq!(before.distance_from(after), -4);
    }
}
