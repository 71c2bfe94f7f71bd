//! The only place where the wall clock is read, and how times are written.

use crate::hlc::Millis;

/// Milliseconds since 1970 by the wall clock of this machine; 0 where it stands before that.
pub fn now() -> Millis {
    #[expect(clippy::disallowed_methods, reason = "the one edge where wall time enters; below it is an argument")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 UTC with milliseconds.
pub fn rfc3339(millis: Millis) -> String {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_milliseconds_and_are_utc() {
        assert_eq!(super::rfc3339(1_793_491_200_005), "2026-11-01T00:00:00.005Z");
        assert_eq!(super::rfc3339(0), "1970-01-01T00:00:00.000Z");
    }
}
