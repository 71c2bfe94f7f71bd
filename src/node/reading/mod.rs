//! Reading: what a snapshot says, as the values that commands print. The same with and without a service.

mod earlier;
mod lines;
mod log;
mod people;
mod proposals;
mod range;
mod rights;
mod stats;
mod status;
mod verify;

pub(crate) use self::lines::Lines;

use super::snapshot::Snapshot;
use crate::api::{Refusal, Reply, Request, View};

pub(super) use proposals::{find_proposal, one_proposal};
pub(super) use range::Send;
pub(super) use rights::{removal, wanted};

fn done<T: serde::Serialize>(value: &T) -> Result<Vec<Reply>, Refusal> {
    let value = serde_json::to_value(value).map_err(|error| Refusal::plain("failed", error.to_string()))?;
    Ok(vec![Reply::Done { value }])
}

/// Answers a request that only reads, reply by reply: a log may have more events than memory has room for. A refusal may
/// come after some.
pub(super) fn stream(snapshot: &Snapshot, request: &Request, send: Send<'_>) -> Result<(), Refusal> {
    match request {
        Request::Log { since, until, author, kind, limit, follow, after } => {
            let wanted = snapshot.wanted(*since, *until, author.as_deref(), kind.as_deref(), *limit)?;
            if *follow { snapshot.follow(&wanted, after.as_deref(), send) } else { snapshot.log(&wanted, send) }
        }
        request => {
            // `all` stops where whoever asked has gone.
            answer(snapshot, request)?.into_iter().all(send);
            Ok(())
        }
    }
}

/// Answers a request that only reads.
pub(super) fn answer(snapshot: &Snapshot, request: &Request) -> Result<Vec<Reply>, Refusal> {
    match request {
        Request::Status => done(&snapshot.status()),
        Request::Watch => done(&View { status: snapshot.status(), notices: snapshot.notices.clone() }),
        Request::List { all } => done(&snapshot.proposals(*all)),
        Request::Inbox => done(&snapshot.inbox()),
        Request::Show { proposal } => done(&snapshot.show(proposal)?),
        Request::Log { .. } => {
            let mut replies = Vec::new();
            stream(snapshot, request, &mut |reply| {
                replies.push(reply);
                true
            })?;
            Ok(replies)
        }
        Request::Stats { since, until } => done(&snapshot.stats(*since, *until)?),
        Request::At { at, request } => snapshot.answer_at(*at, request),
        Request::Members => done(&snapshot.members()),
        Request::Policy => done(&snapshot.policy()),
        Request::Verify => done(&snapshot.verify()?),
        Request::Peers => done(&snapshot.peers()),
        Request::Whoami => done(&snapshot.whoami()),
        Request::Doctor => done(&snapshot.doctor()),
        _ => Err(Refusal::new("not-running", "this needs the repository to be shared", "lansync up")),
    }
}
