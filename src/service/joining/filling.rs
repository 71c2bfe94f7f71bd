//! Filling a new clone: waiting for the log, the objects and the tags, and the first checkout.

use std::time::Duration;

use super::super::Service;
use super::super::control::Session;
use super::super::open::Files;
use super::hung_up;
use crate::api::{Progress, Refusal, Reply, Request};
use crate::git::LfsFilter;
use crate::id::ObjectId;
use crate::node::Node;

/// While joining, how long nothing may happen before it is given up.
const STALLED: Duration = Duration::from_secs(90);

/// How long a clone waits for tags and for the rest of the log once its branch is checked out: a tag's object comes in a round trip,
/// and who has gone meanwhile does not hold up what is here.
const SETTLED: Duration = Duration::from_secs(10);

impl Service {
    /// Waits until the log and the canonical objects are here, telling how far they are.
    pub(super) async fn wait_complete(&self, node: &Node, session: &Session) -> Result<(), Refusal> {
        let (mut card, mut progress) = (node.card(), node.progress());
        loop {
            if card.borrow_and_update().complete {
                return Ok(());
            }
            tokio::select! {
                changed = card.changed() => if changed.is_err() { return Err(hung_up()) },
                changed = progress.changed() => {
                    if changed.is_err() {
                        return Err(hung_up());
                    }
                    let now = progress.borrow_and_update().clone();
                    session.send(Reply::Progress(now)).await.map_err(|_| hung_up())?;
                }
                () = session.closed() => return Err(hung_up()),
                () = tokio::time::sleep(STALLED) => {
                    let message = "you are in, but the objects do not come; the machine that let you in may be gone";
                    return Err(Refusal::new("stalled", message, "lansync up  (in the new directory, to go on)"));
                }
            }
        }
    }

    /// Waits until what comes with the canonical objects is here too, above all their tags; not longer than [`SETTLED`].
    pub(super) async fn wait_settled(&self, node: &Node, session: &Session) -> Result<(), Refusal> {
        let mut card = node.card();
        let settled = card.wait_for(|card| card.settled);
        tokio::select! {
            _ = tokio::time::timeout(SETTLED, settled) => Ok(()),
            () = session.closed() => Err(hung_up()),
        }
    }

    /// Waits for the media of Git LFS that a commit refers to, as long as somebody may have it.
    async fn wait_for_media(&self, node: &Node, commit: ObjectId, session: Option<&Session>) -> Result<(), Refusal> {
        let repo = node.repo().clone();
        let filter = tokio::task::spawn_blocking(move || repo.lfs_filter()).await;
        if !matches!(filter, Ok(LfsFilter::Lfs { skip: false })) {
            return Ok(());
        }
        let mut progress = node.progress();
        let asked = node.ask(Request::Media { commit: Some(commit.to_string()), all: false });
        tokio::pin!(asked);
        let hung_up_on = async {
            match session {
                Some(session) => session.closed().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(hung_up_on);
        loop {
            tokio::select! {
                () = &mut hung_up_on => return Err(hung_up()),
                // Without its media a file is checked out as a pointer, which is told.
                _ = &mut asked => return Ok(()),
                changed = progress.changed() => {
                    if changed.is_err() {
                        return Err(hung_up());
                    }
                    let now = progress.borrow_and_update().clone();
                    if let Some(session) = session.filter(|_| now.step == "lfs") {
                        session.send(Reply::Progress(now)).await.map_err(|_| hung_up())?;
                    }
                }
            }
        }
    }

    /// The first checkout of a new clone: its branch, and how many files are left as pointers of Git LFS.
    pub(in crate::service) async fn check_out(
        &self,
        node: &Node,
        session: Option<&Session>,
    ) -> Result<Option<(String, usize)>, Refusal> {
        let files = Files::of(node.repo());
        let Some((branch, tip)) = node.canonical_tip().await else {
            files.end_checkout()?;
            return Ok(None);
        };
        self.wait_for_media(node, tip, session).await?;
        let repo = node.repo().clone();
        let (name, checked_out) = (branch.clone(), branch.to_string());
        let (report, mut reports) = tokio::sync::watch::channel((0, 0));
        let job = tokio::task::spawn_blocking(move || {
            repo.checkout_new(&name, tip, &|done, total| {
                report.send_replace((done, total));
            })
        });
        while reports.changed().await.is_ok() {
            let (done, total) = *reports.borrow_and_update();
            let (done, total) = (done as u64, total as u64);
            let progress = Progress { step: "checkout".to_owned(), done, total, bytes: 0 };
            if let Some(session) = session {
                let _ = session.send(Reply::Progress(progress)).await;
            }
        }
        let result = job.await.map_err(|error| Refusal::plain("checkout", error.to_string()))?;
        let pointers = result.map_err(|error| {
            let message = format!("the files could not all be checked out: {error}");
            Refusal::new("checkout", message, "git checkout main")
        })?;
        files.end_checkout()?;
        Ok(Some((checked_out, pointers)))
    }
}
