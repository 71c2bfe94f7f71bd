//! `lansync peers`.

use jiff::Timestamp;

use super::context::Context;
use super::error::Failure;
use super::times;
use super::ui::{columns, safe};
use super::words::ago;
use crate::api::{Peer, Request};

/// List the clones of the others, and how they are reached
///
/// Examples:
///   lansync peers
///   lansync peers --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Peers {}

/// Prints the peers.
pub(super) async fn run(context: &Context, _: Peers) -> Result<(), Failure> {
    let value = context.read_value(Request::Peers).await?;
    context.print(value, |peers: Vec<Peer>| {
        if peers.is_empty() {
            return vec!["No other clone is known yet".to_owned()];
        }
        lines(&peers, times::now().timestamp())
    })
}

/// One line for each.
pub(super) fn lines(peers: &[Peer], now: Timestamp) -> Vec<String> {
    let rows: Vec<Vec<String>> = peers
        .iter()
        .map(|peer| {
            let reached = match (peer.connected, &peer.path, &peer.last_seen) {
                (true, Some(path), _) => safe(path),
                (true, None, _) => "connected".to_owned(),
                (false, _, Some(at)) => format!("here {}", ago(at, now)),
                (false, _, None) => "never here".to_owned(),
            };
            let rtt = peer.rtt_ms.filter(|_| peer.connected).map(|ms| format!("{ms:.1} ms")).unwrap_or_default();
            let version = peer.version.as_deref().map(|version| format!("lansync {}", safe(version)));
            let behind = if peer.up_to_date == Some(false) { "lacks something" } else { "" };
            vec![
                safe(&peer.peer).chars().take(8).collect(),
                safe(&peer.member),
                reached,
                rtt,
                peer.addr.as_deref().map(safe).unwrap_or_default(),
                version.unwrap_or_default(),
                behind.to_owned(),
            ]
        })
        .collect();
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{now, status};

    #[test]
    fn each_clone_has_a_line() {
        insta::assert_snapshot!(super::lines(&status().peers, now()).join("\n"), @r"
        626f626f  bo  lan           0.3 ms  10.0.0.2:7483  lansync 0.1.0
        63796379  cy  here 3 h ago                         lansync 0.1.0  lacks something
        ");
    }
}
