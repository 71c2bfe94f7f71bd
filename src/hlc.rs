//! The hybrid logical clock as a pure value: 48 bit milliseconds since 1970 and a 16 bit counter.
//!
//! Kulkarni et al., "Logical Physical Clocks" (2014). Time is for reading and display, never for authority.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z, always passed in: the layers below `node` have no clock.
pub type Millis = u64;

/// One instant of a hybrid logical clock. Compares by time, then by counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Hlc(u64);

impl Hlc {
    /// The instant of wall time `millis` with counter `counter`. Time above 48 bits saturates.
    pub fn new(millis: Millis, counter: u16) -> Self {
        Self(millis.min((1 << 48) - 1) << 16 | u64::from(counter))
    }

    /// Reads the wire form.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The wire form.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> Millis {
        self.0 >> 16
    }

    /// How many events came before this one in the same millisecond.
    pub fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The time of a new event that comes after everything up to `self`, at wall time `now`.
    ///
    /// Never goes back, whatever `now` says; a full counter carries into the milliseconds.
    #[must_use]
    pub fn next(self, now: Millis) -> Self {
        Self::new(now, 0).max(Self(self.0.saturating_add(1)))
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hlc({}+{})", self.millis(), self.counter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back_and_carries() {
        let last = Hlc::new(1_000, 0xffff);
        assert_eq!(last.next(900), Hlc::new(1_001, 0));
        assert_eq!(last.next(2_000), Hlc::new(2_000, 0));
        assert!(last.next(0) > last);
        assert_eq!(Hlc::new(5, 7).counter(), 7);
        assert_eq!(Hlc::new(5, 7).millis(), 5);
    }
}
