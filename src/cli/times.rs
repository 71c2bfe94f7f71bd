//! Times and lengths of time as people type them.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};

/// What can be typed, for messages.
const FORMS: &str = "2h, 3d, yesterday, 2026-11-24, 2026-11-24T12:00 or 2026-11-24T12:00:00Z";

/// A length of time: `90s`, `30m`, `24h`, `7d`, `2w`. In seconds.
pub(super) fn parse_length(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no length of time: type it as 90s, 30m, 24h, 7d or 2w");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    // More than a century is a slip of the finger.
    number.checked_mul(seconds).filter(|seconds| (1..=100 * 366 * 86_400).contains(seconds)).ok_or_else(wrong)
}

/// A point in time, in milliseconds since 1970. What names no zone is local.
pub(super) fn parse_time(text: &str, now: &ZonedDateTime) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time: type it as {FORMS}");
    let zone = now.time_zone();
    let at: Timestamp = if let Ok(seconds) = parse_length(text) {
        let seconds = i64::try_from(seconds).map_err(|_| wrong())?;
        now.timestamp().checked_sub(Span::new().try_seconds(seconds).map_err(|_| wrong())?).map_err(|_| wrong())?
    } else if text == "now" {
        now.timestamp()
    } else if text == "today" || text == "yesterday" {
        let today = now.date();
        let day = if text == "today" { today } else { today.yesterday().map_err(|_| wrong())? };
        midnight(day, zone).ok_or_else(wrong)?
    } else if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else if let Some(day) = only_date(text) {
        midnight(day, zone).ok_or_else(wrong)?
    } else {
        let at: DateTime = text.parse().map_err(|_| wrong())?;
        at.to_zoned_datetime(zone.clone()).map_err(|_| wrong())?.timestamp()
    };
    u64::try_from(at.as_millisecond()).map_err(|_| wrong())
}

fn only_date(text: &str) -> Option<Date> {
    if text.len() == 10 { text.parse().ok() } else { None }
}

fn midnight(day: Date, zone: &TimeZone) -> Option<Timestamp> {
    day.to_zoned_datetime(zone.clone()).ok().map(|at| at.timestamp())
}

/// Now. Time enters the command line only here.
pub(super) fn now() -> ZonedDateTime {
    ZonedDateTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        // One hour east of Greenwich, without the zones of this machine.
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let now = "2026-11-24T12:00:00Z".parse::<Timestamp>().unwrap().to_zoned_datetime(zone);
        parse_time(text, &now).map(|ms| Timestamp::from_millisecond(ms as i64).unwrap().to_string())
    }

    #[test]
    fn times_are_read_as_typed() {
        for (text, at) in [
            ("2h", "2026-11-24T10:00:00Z"),
            ("3d", "2026-11-21T12:00:00Z"),
            ("today", "2026-11-23T23:00:00Z"),
            ("yesterday", "2026-11-22T23:00:00Z"),
            ("2026-11-01", "2026-10-31T23:00:00Z"),
            ("2026-11-01T08:30", "2026-11-01T07:30:00Z"),
            ("2026-11-01 08:30:15", "2026-11-01T07:30:15Z"),
            ("2026-11-01T08:30:00Z", "2026-11-01T08:30:00Z"),
            ("2026-11-01T08:30:00+02:00", "2026-11-01T06:30:00Z"),
            ("now", "2026-11-24T12:00:00Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(at), "{text}");
        }
        for text in ["", "h", "soon", "-2h", "2026-13-01", "24-11-2026", "1969-01-01T00:00:00Z", "2é", "9999999w"] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains("yesterday"), "{error}");
        }
    }

    #[test]
    fn lengths_are_read_as_typed() {
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600)] {
            assert_eq!(parse_length(text), Ok(seconds));
        }
        for text in ["", "0h", "24", "h", "1y", "-1h", "1.5h", "99999999999999999999w"] {
            assert!(parse_length(text).is_err(), "{text}");
        }
    }
}
