//! `lansync invite`.

use super::context::{Context, typed};
use super::error::Failure;
use super::times::parse_length;
use super::ui::safe;
use super::words::{count, local};
use crate::api::{self, Request};

/// Make a ticket for someone new
///
/// Whoever has the ticket can join with it, without anybody being asked, until
/// it has expired or is used up. Hand it over as you would a key. This machine
/// must be reachable when it is used.
///
/// Examples:
///   lansync invite
///   lansync invite --role reader --expires 7d --uses 3
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Invite {
    /// What they may do [default: contributor]
    #[arg(long, value_parser = super::roles())]
    role: Option<String>,
    /// How long it is good for: 90s, 30m, 24h, 7d or 2w
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_length)]
    expires: u64,
    /// How many may use it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
}

/// Makes a ticket.
pub(super) async fn run(context: &Context, invite: Invite) -> Result<(), Failure> {
    let Invite { role, expires, uses } = invite;
    let value = context.ask_value(Request::Invite { role, expires, uses }).await?;
    if context.ui.json {
        return context.ui.json(&value);
    }
    let made: api::Invite = typed(value)?;
    context.ui.out(&safe(&made.ticket))?;
    let uses = count(u64::from(made.uses), "use");
    context.ui.say(&format!("Good for {uses} as {}, until {}. They type:", safe(&made.role), local(&made.expires_at)));
    context.ui.say("  lansync clone TICKET");
    Ok(())
}
