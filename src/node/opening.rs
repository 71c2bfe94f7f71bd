//! Opening a log: with patience for others that have it for a moment, and folded again where it is of an earlier format.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::approval::State;
use crate::eventlog::Event;
use crate::eventlog::rows::{Base, Layer};
use crate::eventlog::store::{Note, Opened, Store, StoreError};

/// How long to wait for others that have the log open: a dozen commands, each of some tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look.
const TURN: Duration = Duration::from_millis(7);

/// Opens the log at `path`. A log of an earlier format becomes one of this.
///
/// # Errors
/// [`StoreError`]; the file is left as it is.
pub(crate) fn open_log(path: &Path) -> Result<Store, StoreError> {
    let mut store = patiently(|| Store::open(path).and_then(migrate))?;
    if let Err(error) = give_back(&mut store) {
        tracing::warn!(%error, "the log could not be made smaller");
    }
    Ok(store)
}

/// Files up to this are not worth the work.
const SMALL_BYTES: u64 = 32 << 20;

/// A file that has doubled since may hold as much again that is free: it is made smaller, which happens so seldom that its
/// seconds do not count.
fn give_back(store: &mut Store) -> Result<(), StoreError> {
    let len = |store: &Store| std::fs::metadata(store.path()).map_or(0, |metadata| metadata.len());
    let before = len(store);
    let row = store.notes(Note::Own)?.remove(COMPACTED).and_then(|bytes| bytes.try_into().ok());
    let last = row.map_or(0, u64::from_be_bytes);
    if before <= SMALL_BYTES || before < last.saturating_mul(2) {
        return Ok(());
    }
    store.compact()?;
    let after = len(store).to_be_bytes().to_vec();
    store.remember(Note::Own, &[(COMPACTED.to_vec(), Some(after))])
}

/// The file's length when it was made smaller last.
const COMPACTED: &[u8] = b"compacted";

/// The same only to read, beside others that do.
pub(super) fn open_log_to_read(path: &Path) -> Result<Store, StoreError> {
    patiently(|| Store::open_to_read(path).and_then(migrate))
}

fn patiently(open: impl Fn() -> Result<Store, StoreError>) -> Result<Store, StoreError> {
    let begun = Instant::now();
    loop {
        match open() {
            Err(StoreError::Locked) if begun.elapsed() < PATIENCE => std::thread::sleep(TURN),
            other => return other,
        }
    }
}

/// Folds the events of a log of an earlier format into one of this.
fn migrate(opened: Opened) -> Result<Store, StoreError> {
    let earlier = matches!(opened, Opened::NeedsFold(_));
    let mut folding = Folding::default();
    let store = opened.migrated(|new, events| folding.layer(new, events.into_iter().map(Arc::new)))?;
    if earlier {
        recall(&store)?;
    }
    Ok(store)
}

/// Events that are folded and written together, about.
const TOGETHER: usize = 500;

/// Events of one log, folded again into another.
#[derive(Default)]
pub(super) struct Folding {
    state: Option<State>,
    batch: Vec<Arc<Event>>,
}

impl Folding {
    /// What these events write. They come in time order, and what was given before is in `new`.
    fn layer(&mut self, new: &Store, events: impl Iterator<Item = Arc<Event>>) -> Result<Arc<Layer>, StoreError> {
        let base: Arc<dyn Base> = new.base()?;
        let state = match &mut self.state {
            Some(state) => {
                state.appended(base);
                state
            }
            None => self.state.insert(open_on(new, base)?),
        };
        for event in events {
            match state.check(&event) {
                Ok(Some(checked)) => drop(state.apply(&event, checked)),
                Ok(None) => {}
                Err(why) => return Err(StoreError::Corrupt(format!("an event does not fit: {why}"))),
            }
        }
        // The new log is to be let go of before it takes the other's place.
        let layer = state.begin_append().unwrap_or_default();
        state.appended(Arc::new(crate::eventlog::rows::Memory::default()));
        Ok(layer)
    }

    /// The next event.
    pub(super) fn take(&mut self, to: &Store, event: Arc<Event>) -> Result<(), StoreError> {
        self.batch.push(event);
        if self.batch.len() < TOGETHER { Ok(()) } else { self.end(to) }
    }

    /// Writes what has gathered.
    pub(super) fn end(&mut self, to: &Store) -> Result<(), StoreError> {
        let batch = std::mem::take(&mut self.batch);
        let layer = self.layer(to, batch.into_iter())?;
        to.append(&layer).map(drop)
    }
}

/// Tells the state what this clone found out of landings in an earlier format.
fn recall(store: &Store) -> Result<(), StoreError> {
    let mut state = open_state(store)?;
    let sound = store.notes(Note::Sound)?;
    loop {
        let unsettled = state.unsettled();
        let known = |lid: &crate::id::Lid| sound.get(lid.0.as_slice()).map(|value| value.first() == Some(&1));
        let next: Vec<_> = unsettled.iter().filter_map(|next| Some((next.lid, known(&next.lid)?))).collect();
        if next.is_empty() {
            break;
        }
        for (lid, sound) in next {
            state.settle(&lid, sound);
        }
    }
    if let Some(layer) = state.begin_append() {
        store.append(&layer)?;
    }
    let gone: Vec<_> = sound.into_keys().map(|key| (key, None)).collect();
    store.remember(Note::Sound, &gone)
}

/// The state that a log holds.
///
/// # Errors
/// [`StoreError`] where rows cannot be read, or do not fit together.
pub(super) fn open_state(store: &Store) -> Result<State, StoreError> {
    let base = store.base()?;
    let state = open_on(store, base.clone());
    match base.trouble() {
        Some(trouble) => Err(StoreError::Corrupt(trouble.to_string())),
        None => state,
    }
}

fn open_on(store: &Store, base: Arc<dyn Base>) -> Result<State, StoreError> {
    State::open(store.project(), base).map_err(|unfit| StoreError::Corrupt(unfit.to_string()))
}
