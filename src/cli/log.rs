//! `lansync log`.

use ratatui::crossterm::terminal;

use super::context::{Context, typed};
use super::earlier::At;
use super::error::Failure;
use super::ui::{self, columns, in_columns, safe};
use super::words::local;
use super::{plot, times};
use crate::api::{LogLine, LogStats, Reply, Request};

/// Rows by which the widths of columns are found.
const ROWS_TO_MEASURE: usize = 1_000;

/// Show the events, in time order
///
/// T is a time: 2h, 3d, yesterday, 2026-11-24, 2026-11-24T12:00 (local) or
/// 2026-11-24T12:00:00Z.
///
/// With -f events are shown as they arrive: those of who was away are older
/// than what was shown before them.
///
/// Examples:
///   lansync log -n 20
///   lansync log --since yesterday --author bo
///   lansync log --kind land --json
///   lansync log -f
///   lansync log --stats --since 30d
///   lansync log --at 2026-11-01 -n 5
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Log {
    /// Show only events at or after this time
    #[arg(long, value_name = "T")]
    since: Option<String>,
    /// Show only events before this time
    #[arg(long, value_name = "T")]
    until: Option<String>,
    /// Show only events by this member or peer
    #[arg(long, value_name = "M")]
    author: Option<String>,
    /// Show only events of this kind: propose, approve, land, grant, ...
    #[arg(long, value_name = "K")]
    kind: Option<String>,
    /// Show only the last N
    #[arg(short = 'n', value_name = "N")]
    limit: Option<usize>,
    /// Go on with new ones as they come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Show numbers and a plot instead: events and landings per day (of UTC),
    /// time from proposal to landing, and what each member did
    #[arg(long, conflicts_with_all = ["author", "kind", "limit", "follow"])]
    stats: bool,
    #[command(flatten)]
    at: At,
}

/// Prints the events.
pub(super) async fn run(context: &Context, log: Log) -> Result<(), Failure> {
    let now = times::now();
    let time = |text: Option<String>| {
        let parsed = text.map(|text| times::parse_time(&text, &now)).transpose();
        parsed.map_err(|message| Failure::usage(message, "lansync log --since yesterday"))
    };
    let Log { since, until, author, kind, limit, follow, stats, at } = log;
    let then = at.then()?;
    if follow && then.is_earlier() {
        return Err(Failure::usage("nothing new comes to an earlier time", "lansync log -f"));
    }
    let (since, until) = (time(since)?, time(until)?);
    if stats {
        let value = context.read_value(then.ask(Request::Stats { since, until })).await?;
        return context.print(value, |stats: LogStats| {
            let cells =
                if context.ui.screen { terminal::size().map_or(80, |(cells, _)| usize::from(cells)) } else { 80 };
            then.headed(plot::lines(&stats, cells, plot::has_blocks()))
        });
    }
    let request = Request::Log { since, until, author, kind, limit, follow, after: None };
    let mut stream = context.read(then.ask(request)).await?;
    if follow && stream.is_offline() {
        let message = "no service shares this repository, so no new events come";
        return Err(Failure::new("not-running", message, "lansync up"));
    }
    // Columns are as wide as the first rows are; a long log is not gathered first.
    let mut rows = Vec::new();
    let mut widths: Option<Vec<usize>> = None;
    while let Some(reply) = stream.next().await? {
        let Reply::Line { mut value } = reply else { continue };
        if context.ui.json {
            if let Some(fields) = value.as_object_mut() {
                fields.remove("text");
            }
            context.ui.json(&value)?;
            continue;
        }
        let row = row(&typed(value)?, &|text| context.ui.struck(text));
        match &widths {
            _ if follow => context.ui.out(&following(&row))?,
            Some(widths) => context.ui.out(&in_columns(&row, widths))?,
            None => rows.push(row),
        }
        if rows.len() == ROWS_TO_MEASURE {
            widths = Some(ui::widths(&rows));
            context.ui.out_all(&then.headed(columns(&std::mem::take(&mut rows))))?;
        }
    }
    if context.ui.json || widths.is_some() {
        return Ok(());
    }
    context.ui.out_all(&then.headed(columns(&rows)))
}

/// The columns of an event. What does not count is struck through with `strike`, and says why in words.
fn row(line: &LogLine, strike: &dyn Fn(&str) -> String) -> Vec<String> {
    let mut text = safe(&line.text);
    if let Some(void) = &line.void {
        text = format!("{} ({})", strike(&text), void_words(void));
    }
    vec![local(&line.at), safe(&line.id).chars().take(8).collect(), safe(&line.member), safe(&line.kind), text]
}

/// `void: removed by ab12cd34 (why)`, or what else it is that keeps an event from counting.
fn void_words(void: &serde_json::Value) -> String {
    let field = |name: &str| void.get(name).and_then(serde_json::Value::as_str).map(safe);
    let code = field("code").unwrap_or_default();
    match (field("by"), field("reason")) {
        (Some(by), reason) => {
            let by: String = by.chars().take(8).collect();
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("void: removed by {by}{reason}")
        }
        (None, _) => format!("void: {code}"),
    }
}

fn following(row: &[String]) -> String {
    let [at, id, member, kind, text] = row else { return row.join("  ") };
    format!("{at}  {id}  {member:<10}  {kind:<10}  {text}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_row_and_one_that_does_not_count_says_so() {
        let line = LogLine {
            id: "abcdef0123456789".to_owned(),
            author: "p".to_owned(),
            member: "bo".to_owned(),
            seq: 3,
            at: "soon".to_owned(),
            hlc: 1,
            kind: "approve".to_owned(),
            void: Some(serde_json::json!({ "code": "revoked", "by": "0123456789", "reason": "left" })),
            text: "approved ana/x\u{1b}".to_owned(),
            fields: serde_json::Map::new(),
        };
        let plain = row(&line, &str::to_owned);
        assert_eq!(plain, ["soon", "abcdef01", "bo", "approve", "approved ana/x (void: removed by 01234567 (left))"]);
        assert_eq!(
            following(&plain),
            "soon  abcdef01  bo          approve     approved ana/x (void: removed by 01234567 (left))"
        );
        let struck = row(&line, &|text| format!("~{text}~"));
        assert_eq!(struck[4], "~approved ana/x~ (void: removed by 01234567 (left))");
    }
}
