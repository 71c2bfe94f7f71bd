//! How values are said: short ids, relative times, counts. All of it pure; now is an argument.

use jiff::Timestamp;

use super::ui::safe;
use crate::api::{NotShared, Peer, Progress, Proposal};

/// The first seven digits of an id, as git shortens it.
pub(super) fn short(id: &str) -> String {
    safe(id).chars().take(7).collect()
}

/// `1 commit`, `2 commits`, `41,210 objects`.
pub(super) fn count(n: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// Digits in groups of three.
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `912 B`, `3.4 MB`, `12 GB`.
pub(super) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB"].iter();
    let mut unit = units.next().expect("there are five");
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1000.0, next);
    }
    if *unit == "B" || value >= 9.95 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list<T: AsRef<str>>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        [one] => safe(one.as_ref()),
        [rest @ .., last] => {
            let rest: Vec<String> = rest.iter().map(|item| safe(item.as_ref())).collect();
            format!("{} and {}", rest.join(", "), safe(last.as_ref()))
        }
    }
}

/// `0.1 s ago`, `12 s ago`, `4 m ago`, `3 h ago`, `2 d ago`, then the date. What lies ahead is `just now`: clocks
/// differ a little.
pub(super) fn ago(at: &str, now: Timestamp) -> String {
    let Ok(at) = at.parse::<Timestamp>() else { return safe(at) };
    let past = now.as_millisecond() - at.as_millisecond();
    match past {
        ..0 => "just now".to_owned(),
        0..10_000 => format!("{:.1} s ago", past as f64 / 1000.0),
        10_000..60_000 => format!("{} s ago", past / 1000),
        60_000..3_600_000 => format!("{} m ago", past / 60_000),
        3_600_000..86_400_000 => format!("{} h ago", past / 3_600_000),
        86_400_000..1_209_600_000 => format!("{} d ago", past / 86_400_000),
        _ => format!("on {}", at.strftime("%Y-%m-%d")),
    }
}

/// The local date and time, to the second.
pub(super) fn local(at: &str) -> String {
    match at.parse::<Timestamp>() {
        Ok(at) => at.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => safe(at),
    }
}

/// `2 commits, +12 -3`, or that its objects are still on their way.
pub(super) fn size(proposal: &Proposal) -> String {
    let commits = proposal.commits.map(|n| count(n, "commit"));
    let lines = proposal.lines.map(|(plus, minus)| format!("+{plus} -{minus}"));
    match (commits, lines) {
        _ if !proposal.here => "still arriving".to_owned(),
        (Some(commits), Some(lines)) => format!("{commits}, {lines}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => String::new(),
    }
}

/// What keeps a proposal from landing, in one clause; empty where nothing does.
pub(super) fn needs(proposal: &Proposal) -> String {
    if let Some(conflict) = proposal.conflicts.first() {
        return format!("conflicts with {} in {}", safe(&conflict.with), list(&conflict.paths));
    }
    if proposal.needs.is_empty() { String::new() } else { format!("needs {}", list(&proposal.needs)) }
}

/// `bo (2 ms)`, `bo (relay, 40 ms)`.
pub(super) fn peer_here(peer: &Peer) -> String {
    let path = peer.path.as_deref().filter(|path| *path == "relay").map(safe);
    let rtt = peer.rtt_ms.map(|ms| if ms < 1.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") });
    let detail: Vec<String> = path.into_iter().chain(rtt).collect();
    if detail.is_empty() { safe(&peer.member) } else { format!("{} ({})", safe(&peer.member), detail.join(", ")) }
}

/// `old (3 commits): it has not moved since the first up`.
pub(super) fn not_shared(branch: &NotShared) -> String {
    format!("{} ({}): {}", safe(&branch.branch), count(branch.commits, "commit"), safe(&branch.why))
}

/// `objects 12,000 of 41,210, 3.4 MB, 18 MB/s`, after so many seconds.
pub(super) fn progress(progress: &Progress, seconds: f64) -> String {
    // Bytes of LFS files are all that is known of them.
    if progress.step == "lfs" {
        return format!("LFS files {} of {}", bytes(progress.done), bytes(progress.total));
    }
    let mut text = match progress.step.as_str() {
        "checkout" => "files".to_owned(),
        "log" => "events".to_owned(),
        step => safe(step),
    };
    text.push_str(&format!(" {}", thousands(progress.done)));
    if progress.total > 0 {
        text.push_str(&format!(" of {}", thousands(progress.total)));
    }
    if progress.bytes > 0 {
        text.push_str(&format!(", {}", bytes(progress.bytes)));
        if seconds > 0.2 {
            text.push_str(&format!(", {}/s", bytes((progress.bytes as f64 / seconds) as u64)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let said = |at: &str| ago(at, now);
        assert_eq!(said("2026-11-24T11:59:59.900Z"), "0.1 s ago");
        assert_eq!(said("2026-11-24T11:59:30.000Z"), "30 s ago");
        assert_eq!(said("2026-11-24T11:55:30.000Z"), "4 m ago");
        assert_eq!(said("2026-11-24T02:00:00.000Z"), "10 h ago");
        assert_eq!(said("2026-11-22T11:00:00.000Z"), "2 d ago");
        assert_eq!(said("2025-11-22T11:00:00.000Z"), "on 2025-11-22");
        assert_eq!(said("2026-11-24T12:00:01.000Z"), "just now");
        assert_eq!(said("soon\u{1b}"), "soon");
    }

    #[test]
    fn numbers_are_said_shortly() {
        assert_eq!(count(1, "commit"), "1 commit");
        assert_eq!(count(41_210, "object"), "41,210 objects");
        assert_eq!(thousands(1_000_000), "1,000,000");
        assert_eq!(thousands(999), "999");
        for (n, text) in [(0, "0 B"), (912, "912 B"), (3_400, "3.4 kB"), (999_600, "1.0 MB"), (177_000_000, "177 MB")] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(list(&["ana", "bo", "cy"]), "ana, bo and cy");
        assert_eq!(list::<&str>(&[]), "");
        assert_eq!(short("4f2c9e1aaaaaaaaa"), "4f2c9e1");
    }

    #[test]
    fn progress_says_what_how_much_and_how_fast() {
        let step = |step: &str, done, total, bytes| Progress { step: step.to_owned(), done, total, bytes };
        assert_eq!(
            progress(&step("objects", 12_000, 41_210, 3_400_000), 2.0),
            "objects 12,000 of 41,210, 3.4 MB, 1.7 MB/s"
        );
        assert_eq!(progress(&step("checkout", 7, 0, 0), 2.0), "files 7");
    }
}
