//! Reading without a service: the log is opened for the length of one command.

use std::path::Path;
use std::sync::Arc;

use super::core::Moves;
use super::snapshot::Snapshot;
use super::{Settings, opening, reading, refusals};
use crate::api::{Refusal, Reply, Request};
use crate::eventlog::store::{Note, Store, StoreError};
use crate::git::Repository;
use crate::id::PeerId;

/// Answers a request that only reads, from the log in the repository at `dir`: gives each reply to `send`, which says
/// whether more are wanted.
///
/// # Errors
/// A [`Refusal`] where there is no such repository or log, or another process has it; it may come after some replies.
pub fn offline(dir: &Path, request: &Request, send: &mut dyn FnMut(Reply) -> bool) -> Result<(), Refusal> {
    let repo = Repository::discover(dir).map_err(|error| refusals::open_refusal(&error))?;
    let path = repo.lansync_dir().join("log.redb");
    if !path.exists() {
        return Err(Refusal::new("not-shared", "this repository is not shared yet", "lansync up"));
    }
    let store = opening::open_log_to_read(&path).map_err(|error| refusals::store(&error))?;
    let snapshot = read(repo, store).map_err(|error| refusals::store(&error))?;
    reading::stream(&snapshot, request, send)
}

fn read(repo: Repository, store: Store) -> Result<Snapshot, StoreError> {
    let state = opening::open_state(&store)?;
    let me = store.notes(Note::Own)?.get(b"peer".as_slice()).and_then(|bytes| bytes.as_slice().try_into().ok());
    let me = PeerId(me.unwrap_or([0; 32]));
    let held = store.notes(Note::Objects)?;
    let last_seen = store.notes(Note::Peers)?;
    let handle = Settings::of(&repo).handle.to_string();
    let mut unsent = 0;
    let mut seen = std::collections::BTreeMap::new();
    let mut durable = None;
    for (key, value) in &last_seen {
        let Ok(peer) = <[u8; 32]>::try_from(key.as_slice()) else { continue };
        if let Some(known) = super::dialling::Known::recall(value) {
            durable = durable.max(known.durable);
            if let Some(at) = known.last_seen {
                seen.insert(PeerId(peer), at);
            }
        }
    }
    if let Some(head) = state.feed_head(&me) {
        unsent = durable.map_or(head.seq + 1, |seq| head.seq.saturating_sub(seq));
    }
    let identity = state.identity_of_feed(&me);
    Ok(Snapshot {
        at: None,
        state: Arc::new(state),
        repo,
        store: Arc::new(store),
        me,
        identity,
        handle,
        running: false,
        sessions: Default::default(),
        last_seen: seen,
        asks: Vec::new(),
        held: Arc::new(held.keys().filter_map(|key| std::str::from_utf8(key).ok()?.parse().ok()).collect()),
        conflicts: Default::default(),
        lines: Default::default(),
        moves: Moves::default(),
        not_shared: Vec::new(),
        unsent,
        problems: Vec::new(),
        notices: Vec::new(),
    })
}
