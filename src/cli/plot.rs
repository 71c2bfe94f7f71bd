//! `log --stats` on a terminal: a plot of bars, and tables. Pure.

use super::ui::{columns, safe, width};
use super::words::{count, thousands};
use crate::api::{DayStats, LogStats};

/// A plot has at most so many rows; where there are more days, several are added up in one.
const ROWS: usize = 40;
/// Bars are at least so wide, however narrow the terminal.
const NARROW: usize = 10;
/// Parts of a cell, an eighth each.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// The numbers for a screen of so many cells. `blocks`: it can show block characters.
pub(super) fn lines(stats: &LogStats, cells: usize, blocks: bool) -> Vec<String> {
    let (Some(first), Some(last)) = (stats.days.first(), stats.days.last()) else {
        return vec!["No events in this range".to_owned()];
    };
    let span = if first == last { safe(&first.day) } else { format!("{} to {}", safe(&first.day), safe(&last.day)) };
    let mut lines = vec![format!("{}, {span} (days of UTC)", count(stats.events, "event")), String::new()];
    lines.extend(plot(&stats.days, cells, blocks));
    let landing = &stats.landing_time;
    lines.push(String::new());
    lines.push(match (landing.median_ms, landing.p90_ms) {
        (Some(median), Some(p90)) => format!(
            "From proposal to landing: median {}, nine in ten within {} ({})",
            length(median),
            length(p90),
            count(landing.count, "landing")
        ),
        _ => "No proposal landed".to_owned(),
    });
    lines.push(String::new());
    let mut rows = vec![["member", "events", "proposals", "approvals", "landed"].map(str::to_owned).to_vec()];
    for member in &stats.members {
        let numbers = [member.events, member.proposals, member.approvals, member.landed].map(thousands);
        rows.push(std::iter::once(safe(&member.member)).chain(numbers).collect());
    }
    lines.extend(table(rows));
    lines
}

fn plot(days: &[DayStats], cells: usize, blocks: bool) -> Vec<String> {
    let step = [1, 7, 28, 91].into_iter().find(|step| days.len().div_ceil(*step) <= ROWS);
    let step = step.unwrap_or_else(|| days.len().div_ceil(ROWS));
    let label = if step == 1 { "day".to_owned() } else { format!("{step} days from") };
    let mut rows = vec![vec![label, "events".to_owned(), "proposals".to_owned(), "landed".to_owned()]];
    let mut events = Vec::new();
    for some in days.chunks(step) {
        let sum = |of: fn(&DayStats) -> u64| some.iter().map(of).sum::<u64>();
        let numbers = [sum(|day| day.events), sum(|day| day.proposals), sum(|day| day.landings)];
        events.push(numbers[0]);
        let first = some.first().map(|day| safe(&day.day)).unwrap_or_default();
        rows.push(std::iter::once(first).chain(numbers.map(thousands)).collect());
    }
    let most = events.iter().copied().max().unwrap_or(0);
    let mut lines = table(rows);
    let wide = lines.iter().map(|line| width(line)).max().unwrap_or(0);
    let room = cells.saturating_sub(wide + 3).max(NARROW);
    for (line, events) in lines.iter_mut().skip(1).zip(events) {
        let bar = bar(events, most, room, blocks);
        *line = format!("{line}  {bar}").trim_end().to_owned();
    }
    lines
}

/// A bar of `value`, where `most` fills the room. What is not nothing is seen.
fn bar(value: u64, most: u64, room: usize, blocks: bool) -> String {
    if value == 0 || most == 0 {
        return String::new();
    }
    let parts = if blocks { 8 } else { 1 };
    let whole = room as u64 * parts;
    let long = (u128::from(value) * u128::from(whole) / u128::from(most)).max(1) as u64;
    let cells = (long / parts) as usize;
    if !blocks {
        return "#".repeat(cells);
    }
    let rest = (long % 8) as usize;
    let mut bar = "█".repeat(cells);
    if rest > 0 {
        bar.push(EIGHTHS[rest - 1]);
    }
    bar
}

/// Columns, all but the first to the right.
fn table(mut rows: Vec<Vec<String>>) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    for at in 1..count {
        let wide = rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max().unwrap_or(0);
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(at)) {
            *cell = format!("{}{cell}", " ".repeat(wide - width(cell)));
        }
    }
    columns(&rows)
}

/// A length of time, roughly.
fn length(millis: u64) -> String {
    match millis {
        0..60_000 => format!("{:.1} s", millis as f64 / 1000.0),
        60_000..3_600_000 => format!("{} m", millis / 60_000),
        3_600_000..172_800_000 => format!("{} h", millis / 3_600_000),
        _ => format!("{} d", millis / 86_400_000),
    }
}

/// Can the terminal show what is not ASCII?
pub(super) fn has_blocks() -> bool {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(named) {
        Some(locale) => is_utf8(&locale),
        None => cfg!(windows),
    }
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{LandingTime, MemberStats};

    fn day(day: &str, events: u64, proposals: u64, landings: u64) -> DayStats {
        DayStats { day: day.to_owned(), events, proposals, landings }
    }

    fn stats(days: Vec<DayStats>) -> LogStats {
        LogStats {
            events: days.iter().map(|day| day.events).sum(),
            days,
            landing_time: LandingTime { count: 3, median_ms: Some(42_000), p90_ms: Some(7_300_000) },
            members: vec![MemberStats {
                member: "bo\u{1b}".to_owned(),
                events: 1_234,
                proposals: 3,
                approvals: 0,
                landed: 2,
            }],
        }
    }

    #[test]
    fn a_plot_fits_the_terminal() {
        let days = || vec![day("2026-11-22", 16, 2, 1), day("2026-11-23", 0, 0, 0), day("2026-11-24", 1, 1, 0)];
        insta::assert_snapshot!(lines(&stats(days()), 60, true).join("\n"), @r"
        17 events, 2026-11-22 to 2026-11-24 (days of UTC)

        day         events  proposals  landed
        2026-11-22      16          2       1  ████████████████████
        2026-11-23       0          0       0
        2026-11-24       1          1       0  █▎

        From proposal to landing: median 42.0 s, nine in ten within 2 h (3 landings)

        member  events  proposals  approvals  landed
        bo       1,234          3          0       2
        ");
        let plain = lines(&stats(days()), 60, false).join("\n");
        assert!(plain.is_ascii() && plain.contains(&format!("1  {}\n", "#".repeat(20))), "{plain}");
        assert!(plain.contains("0  #\n"), "one event is seen: {plain}");
        assert!(lines(&stats(days()), 60, true).iter().take(6).all(|line| width(line) <= 60));
    }

    #[test]
    fn many_days_share_rows_and_no_days_say_so() {
        let days: Vec<DayStats> = (0..100).map(|at| day(&format!("day {at}"), 2, 1, 0)).collect();
        let said = lines(&stats(days), 80, true);
        assert!(said[2].starts_with("7 days from"), "{said:?}");
        assert!(said[3].starts_with("day 0            14          7       0  █"), "{said:?}");
        assert_eq!(said.iter().filter(|line| line.starts_with("day ")).count(), 15);
        assert_eq!(lines(&stats(vec![]), 80, true), ["No events in this range"]);
        assert!(is_utf8("de_DE.UTF-8") && is_utf8("C.utf8") && !is_utf8("POSIX"));
    }
}
