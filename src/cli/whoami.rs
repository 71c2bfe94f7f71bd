//! `lansync whoami`.

use super::context::Context;
use super::error::Failure;
use super::ui::{columns, safe};
use crate::api::{self, Request};
use crate::id::IdentityId;
use crate::service::keyfile;

/// Show who you are here
///
/// Examples:
///   lansync whoami
///   lansync whoami --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Whoami {}

/// Prints who I am.
pub(super) async fn run(context: &Context, _: Whoami) -> Result<(), Failure> {
    let value = match context.read_value(Request::Whoami).await {
        Ok(mut value) => {
            // Read from the log, which knows nothing of a home.
            if let (Some(""), Ok(home)) = (value["home"].as_str(), context.home()) {
                value["home"] = home.dir().to_string_lossy().into();
            }
            value
        }
        // Outside a shared repository there is still the person.
        Err(Failure::Refused(_)) => {
            let home = context.home()?;
            let identity = IdentityId(keyfile::load(&home.identity_key())?.public()).to_string();
            let person = api::Whoami { identity, home: home.dir().to_owned(), project: None, me: None };
            serde_json::to_value(person).map_err(super::error::garbled)?
        }
        Err(other) => return Err(other),
    };
    context.print(value, |whoami: api::Whoami| lines(&whoami))
}

fn lines(whoami: &api::Whoami) -> Vec<String> {
    let row = |label: &str, text: String| vec![label.to_owned(), text];
    let mut rows = Vec::new();
    if let Some(me) = &whoami.me {
        rows.push(row("member", format!("{} ({})", safe(&me.member), safe(&me.role))));
        rows.push(row("peer", safe(&me.peer)));
    }
    if let Some(project) = &whoami.project {
        rows.push(row("project", format!("{} ({})", safe(&project.name), safe(&project.id))));
    }
    rows.push(row("identity", safe(&whoami.identity)));
    rows.push(row("home", whoami.home.display().to_string()));
    columns(&rows)
}
