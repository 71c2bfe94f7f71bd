//! The only place where this machine's clocks are read, and how times are written.
//!
//! The *wall* clock can be set, back and forth by years. It is for what others see: times of events, ends of tickets,
//! display. The *steady* clock cannot be set. All deadlines are in it, so a jump of the wall clock moves none of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::hlc::Millis;

/// Milliseconds since 1970 by the wall clock of this machine; 0 where it stands before that.
pub fn now() -> Millis {
    #[expect(clippy::disallowed_methods, reason = "the one edge where wall time enters; below it is an argument")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    millis(since)
}

/// Both clocks, as a node reads them.
#[derive(Debug, Clone)]
pub struct Clock {
    /// What the wall clock showed at the start, and the steady one.
    began: (Millis, Duration),
    set: Arc<AtomicI64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self::set_by(Arc::default())
    }
}

impl Clock {
    /// A wall clock that shows this many milliseconds more than the machine's. The number may change, as if somebody
    /// set the clock: by this tests do.
    pub fn set_by(set: Arc<AtomicI64>) -> Self {
        Self { began: (now(), running()), set }
    }

    /// Milliseconds since 1970 by the wall clock.
    pub fn wall(&self) -> Millis {
        now().saturating_add_signed(self.set.load(Ordering::Relaxed))
    }

    /// Milliseconds since 1970 as the wall clock showed them at the start, and evenly from there on, also while the
    /// machine sleeps.
    pub fn steady(&self) -> Millis {
        self.began.0.saturating_add(millis(running().saturating_sub(self.began.1)))
    }
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long the machine has been running, sleep included: after a sleep the wall clock has not jumped.
#[cfg(target_os = "linux")]
fn running() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}

/// How long this process has been running.
#[cfg(not(target_os = "linux"))]
fn running() -> Duration {
    static BEGAN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    BEGAN.elapsed()
}

/// RFC 3339 UTC with milliseconds.
pub fn rfc3339(millis: Millis) -> String {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_are_utc() {
        assert_eq!(rfc3339(1_793_491_200_005), "2026-11-01T00:00:00.005Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn setting_the_wall_clock_moves_no_deadline() {
        let set = Arc::new(AtomicI64::new(0));
        let clock = Clock::set_by(set.clone());
        let (wall, steady) = (clock.wall(), clock.steady());
        assert!(wall.abs_diff(steady) < 1_000);
        set.store(-86_400_000, Ordering::Relaxed);
        assert!(clock.wall() < wall - 80_000_000);
        assert!(clock.steady() >= steady && clock.steady() < steady + 10_000);
        set.store(i64::MIN, Ordering::Relaxed);
        assert_eq!(clock.wall(), 0);
    }
}
