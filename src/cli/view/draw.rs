//! The picture: a view, a time and a size give lines. Pure.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};

use super::super::summary;
use super::super::ui::{fit, safe};
use super::super::words::local;
use crate::api::{Notice, View};

/// What is always on the last line.
const FOOTER: &str = "q leaves this view; the sharing goes on";

/// With fewer lines than this, only the first line about the branches is shown.
const SMALL: usize = 16;

/// Notices that keep their place when there is not enough for everything.
const NOTICES_KEPT: usize = 3;

/// Fills the frame.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, now: Timestamp) {
    let area = frame.area();
    let lines = lines(view, now, usize::from(area.width), usize::from(area.height));
    frame.render_widget(Text::from(lines), area);
}

/// Exactly `height` lines of at most `width` cells, or fewer where the terminal is tiny.
pub(super) fn lines(view: &View, now: Timestamp, width: usize, height: usize) -> Vec<Line<'static>> {
    let Some(room) = height.checked_sub(1) else { return Vec::new() };
    let mut top = top(view, now, height);
    // A blank line, and the last notices.
    let kept = view.notices.len().min(NOTICES_KEPT).min(room / 4);
    let for_top = room - if kept > 0 { kept + 1 } else { 0 };
    if top.len() > for_top {
        let shown = for_top.saturating_sub(1);
        let hidden = top.len() - shown;
        top.truncate(shown);
        if for_top > 0 {
            top.push(Row { label: "", bold: true, text: format!("… {hidden} more lines: lansync status") });
        }
    }
    let free = (room - top.len()).saturating_sub(1);
    let shown = view.notices.len().min(free);
    let mut lines: Vec<Line<'static>> = top.into_iter().map(|row| row.line(width)).collect();
    lines.resize(room - shown, Line::default());
    lines.extend(view.notices[view.notices.len() - shown..].iter().map(|notice| notice_line(notice, width)));
    lines.push(Line::styled(fit(FOOTER, width), Style::new().add_modifier(Modifier::DIM)));
    lines
}

struct Row {
    label: &'static str,
    bold: bool,
    text: String,
}

/// Cells of the widest label and what follows it.
const LABEL: usize = 12;

impl Row {
    fn line(self, width: usize) -> Line<'static> {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        if self.label.is_empty() && self.bold {
            return Line::styled(fit(&self.text, width), bold);
        }
        let label = fit(&format!("{:LABEL$}", self.label), width.min(LABEL));
        let text = fit(&self.text, width.saturating_sub(LABEL));
        Line::from(vec![Span::styled(label, bold), Span::raw(text)])
    }
}

/// Where there is no room for everything, what somebody waits for comes first.
const URGENT: [&str; 4] = ["my turn", "asks", "problem", "here"];

fn top(view: &View, now: Timestamp, height: usize) -> Vec<Row> {
    let mut head = summary::head(&view.status, now);
    let mut sections = summary::sections(&view.status, now);
    if height < SMALL {
        head.truncate(1);
        let rank = |label: &str| URGENT.iter().position(|urgent| *urgent == label).unwrap_or(URGENT.len());
        sections.sort_by_key(|section| rank(section.label));
    } else {
        head.push(String::new());
    }
    let mut rows: Vec<Row> = head.into_iter().map(|text| Row { label: "", bold: true, text }).collect();
    for section in sections {
        for (at, text) in section.lines.into_iter().enumerate() {
            rows.push(Row { label: if at == 0 { section.label } else { "" }, bold: false, text });
        }
    }
    if let Some(next) = summary::next(&view.status) {
        rows.push(Row { label: "next", bold: false, text: next });
    }
    rows
}

fn notice_line(notice: &Notice, width: usize) -> Line<'static> {
    let at = local(&notice.at);
    let time = at.split_once(' ').map_or(at.as_str(), |(_, time)| time);
    Line::raw(fit(&format!("{time}  {}", safe(&notice.text)), width))
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{now, status};
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn view(notices: usize) -> View {
        let notice = |n: usize| Notice {
            // No time, so that the zone of the machine does not show.
            at: "soon".to_owned(),
            notice: "landed".to_owned(),
            project: "payroll".to_owned(),
            member: None,
            subject: None,
            commit: None,
            text: format!("bo/fix-{n} landed on main\u{1b}[2J, which is a long sentence about a small thing"),
        };
        View { status: status(), notices: (1..=notices).map(notice).collect() }
    }

    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view, now())).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content().chunks(usize::from(width));
        let rows: Vec<String> =
            rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()).collect();
        rows.join("\n")
    }

    #[test]
    fn at_80_by_24() {
        insta::assert_snapshot!(drawn(&view(5), 80, 24), @r"
        main 4f2c9e1, moved 0.1 s ago: bo/fix-2 landed, approved by ana
        your main is 2 commits behind, and was left: the work tree has uncommitted chan…
        next has 2 heads: aaaaaaa and bbbbbbb
        next is diverged: its heads conflict and wait for a merge by a person
        payroll, you are ana (maintainer)

        here        bo (0.3 ms)
        away        cy (3 h ago)
        asks        dee asks to join: lansync members accept WORDS
        my turn     bo/fix: Round totals half up (2 commits, +12 -3, 4 m ago)
        mine        ana/parser: Read dates of two digits, needs one approval
        others      cy/docs: Say how to install[31m, conflicts with main in README.md
        waiting     3 events and 1 commit for 1 member
                    2 events of yours nobody else has yet
        stays here  old (3 commits): it has not moved since the first up
        problem     your clock is 12 minutes ahead
                      timedatectl set-ntp true
        next        lansync members accept WORDS   (the two words that dee reads to you)

        soon  bo/fix-2 landed on main[2J, which is a long sentence about a small thing
        soon  bo/fix-3 landed on main[2J, which is a long sentence about a small thing
        soon  bo/fix-4 landed on main[2J, which is a long sentence about a small thing
        soon  bo/fix-5 landed on main[2J, which is a long sentence about a small thing
        q leaves this view; the sharing goes on
        ");
    }

    #[test]
    fn at_40_by_10() {
        insta::assert_snapshot!(drawn(&view(5), 40, 10), @r"
        main 4f2c9e1, moved 0.1 s ago: bo/fix-2…
        my turn     bo/fix: Round totals half u…
        asks        dee asks to join: lansync m…
        problem     your clock is 12 minutes ah…
                      timedatectl set-ntp true
        … 8 more lines: lansync status

        soon  bo/fix-4 landed on main[2J, which…
        soon  bo/fix-5 landed on main[2J, which…
        q leaves this view; the sharing goes on
        ");
    }

    #[test]
    fn no_size_is_too_small() {
        for height in 0..30 {
            for width in 0..50 {
                let lines = lines(&view(9), now(), width, height);
                assert_eq!(lines.len(), height, "{width}x{height}");
                assert!(lines.iter().all(|line| line.width() <= width), "{width}x{height}");
            }
        }
    }
}
