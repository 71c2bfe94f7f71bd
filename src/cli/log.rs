//! `lansync log`.

use super::context::{Context, typed};
use super::error::Failure;
use super::times;
use super::ui::{columns, safe};
use super::words::local;
use crate::api::{LogLine, Reply, Request};

/// Show the events, in time order
///
/// T is a time: 2h, 3d, yesterday, 2026-11-24, 2026-11-24T12:00 (local) or
/// 2026-11-24T12:00:00Z.
///
/// Examples:
///   lansync log -n 20
///   lansync log --since yesterday --author bo
///   lansync log --kind land --json
///   lansync log -f
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
}

/// Prints the events.
pub(super) async fn run(context: &Context, log: Log) -> Result<(), Failure> {
    let now = times::now();
    let time = |text: Option<String>| {
        let parsed = text.map(|text| times::parse_time(&text, &now)).transpose();
        parsed.map_err(|message| Failure::usage(message, "lansync log --since yesterday"))
    };
    let Log { since, until, author, kind, limit, follow } = log;
    let (since, until) = (time(since)?, time(until)?);
    let mut stream = context.read(Request::Log { since, until, author, kind, limit, follow }).await?;
    if follow && stream.is_offline() {
        let message = "no service shares this repository, so no new events come";
        return Err(Failure::new("not-running", message, "lansync up"));
    }
    // Columns are as wide as the longest so far where they stream.
    let mut rows = Vec::new();
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
        if follow {
            context.ui.out(&following(&row))?;
        } else {
            rows.push(row);
        }
    }
    context.ui.out_all(&columns(&rows))
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
