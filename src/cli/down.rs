//! `lansync down`.

use std::time::Duration;

use super::context::{Context, typed};
use super::error::Failure;
use super::words::count;
use crate::api::{DownDone, Request, codes};
use crate::service::control::{self, ControlError};
use crate::service::home::Home;

/// How long a service may take to end: connections are closed and the others told.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Stop sharing this repository
///
/// Nothing is lost: what others have still to receive waits here until the next
/// `lansync up`.
///
/// Examples:
///   lansync down
///   lansync down --all
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Down {
    /// End the service, and with it the sharing of every repository
    #[arg(long)]
    all: bool,
}

/// Stops.
pub(super) async fn run(context: &Context, down: Down) -> Result<(), Failure> {
    let value = match context.ask_value(Request::Down { all: down.all }).await {
        // What is not running is down.
        Err(failure) if [Some(ControlError::NotRunning.code()), Some(codes::NOT_UP)].contains(&failure.code()) => {
            let nothing = DownDone { was_up: false, ended: false, unsent: 0 };
            serde_json::to_value(nothing).map_err(super::error::garbled)?
        }
        other => other?,
    };
    let done: DownDone = typed(value.clone())?;
    if done.ended {
        ended(&context.home()?).await;
    }
    if done.unsent > 0 {
        let unsent = count(done.unsent, "event");
        context.ui.warn(&format!("{unsent} of yours nobody else has yet; they wait here until the next `lansync up`"));
    }
    context.print(value, |done: DownDone| vec![line(&done, down.all).to_owned()])
}

fn line(done: &DownDone, all: bool) -> &'static str {
    match (all, done.was_up, done.ended) {
        (true, _, true) => "The service has ended",
        (true, _, false) => "No service was running",
        (false, true, _) => "This repository is not being shared any more",
        (false, false, _) => "This repository was not being shared",
    }
}

/// Waits until nobody answers any more, so that an `up` right after this finds a clear place.
async fn ended(home: &Home) {
    let gone = async {
        while control::ping(home).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // One that takes longer still ends; `up` then says that one runs.
    let _ = tokio::time::timeout(END_TIMEOUT, gone).await;
}
