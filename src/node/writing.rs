//! Taking events in: checked and folded at once, durable soon after, told to anybody only then.
//!
//! Events that arrive while an append is under way go together in the next one, and where thousands stream in the next one waits
//! for more of them ([`crate::eventlog::Gather`]).

use std::collections::HashSet;
use std::sync::Arc;

use super::core::Core;
use super::run::{Appended, Wake};
use crate::api::Refusal;
use crate::approval::{Change, Checked, Pen, RULES};
use crate::eventlog::rows::{Base, Layer};
use crate::eventlog::store::{Note, Store, StoreError};
use crate::eventlog::{Certify, Event, Extensions, Gather, OnStrand, Payload};
use crate::hlc::Millis;
use crate::id::{EventId, PeerId};
use crate::sync::Input;

/// What is to happen once events are durable.
pub(super) type After = Box<dyn FnOnce(&mut Core, Result<(), Refusal>) + Send>;

/// Folded, not durable.
#[derive(Default)]
pub(super) struct Pending {
    gather: Gather,
    told: Told,
    /// What the append under way carries.
    under_way: Told,
}

/// The log failed and is not open again yet.
pub(super) struct LogLost {
    /// Why, for those who ask meanwhile.
    pub(super) why: Refusal,
    /// When it is tried again.
    pub(super) again: Millis,
}

/// Waits between the failures of an append and the next try, doubling from the first to the last. A single failure
/// is followed by a try at once.
const AGAIN: (Millis, Millis) = (1_000, 30_000);

/// What others hear once it is durable.
#[derive(Default)]
struct Told {
    changes: Vec<(EventId, Vec<Change>)>,
    /// The events of `changes`.
    events: HashSet<EventId>,
    after: Vec<After>,
}

impl Pending {
    /// Is this event folded and not known to be on disk?
    pub(super) fn has(&self, id: &EventId) -> bool {
        self.told.events.contains(id) || self.under_way.events.contains(id)
    }

    /// Do events stream in, so that it is too early to look at what they mean?
    pub(super) fn is_gathering(&self, now: Millis) -> bool {
        !self.gather.is_due(now)
    }

    /// When what has gathered is to be appended, if that waits.
    pub(super) fn next_wake(&self) -> Option<Millis> {
        self.gather.due()
    }
}

impl Core {
    /// Takes in an event that was checked just before.
    pub(super) fn take_in(&mut self, event: Event, checked: Checked) {
        let id = event.id();
        let now = self.clock.steady();
        self.pending.gather.take(now, &event);
        if event.body().author == self.me {
            self.pending.gather.awaited();
        }
        let changes = Arc::make_mut(&mut self.state).apply(&Arc::new(event), checked);
        self.pending.told.changes.push((id, changes));
        self.pending.told.events.insert(id);
    }

    /// What is to be appended next.
    pub(super) fn begin_append(&mut self) -> Option<Arc<Layer>> {
        self.pending.gather.begun();
        Arc::make_mut(&mut self.state).begin_append()
    }

    /// Writes own events, in order, each made by `write` with the pen; they are appended together.
    ///
    /// # Errors
    /// Where this machine's clock is wrong, or a text breaks a bound.
    pub(super) fn write(
        &mut self,
        now: Millis,
        payloads: impl FnOnce(&mut Writer<'_>) -> Result<(), Refusal>,
    ) -> Result<Vec<EventId>, Refusal> {
        self.may_write()?;
        let wall = self.clock.wall();
        self.clock_is_right(now, wall)?;
        let pen = self.state.pen(&self.me);
        let mut writer = Writer { core: self, pen, wall, written: Vec::new() };
        payloads(&mut writer)?;
        let written = std::mem::take(&mut writer.written);
        let ids = written.iter().map(Event::id).collect();
        for event in written {
            match self.state.check(&event) {
                Ok(Some(checked)) => self.take_in(event, checked),
                Ok(None) => {}
                Err(why) => {
                    return Err(Refusal::plain("failed", format!("the event to be written does not fit: {why}")));
                }
            }
        }
        Ok(ids)
    }

    /// Is there a log to write to, and a key that only this clone has?
    ///
    /// # Errors
    /// Why not.
    pub(super) fn may_write(&self) -> Result<(), Refusal> {
        if let Some(lost) = &self.log_lost {
            return Err(lost.why.clone());
        }
        if let Some(newer) = self.needs_newer() {
            return Err(newer);
        }
        self.copied_key().map_or(Ok(()), Err)
    }

    /// What to do where the project goes by rules that this version does not know: what it wrote might not hold.
    pub(super) fn needs_newer(&self) -> Option<Refusal> {
        let rules = self.state.needs_rules()?;
        let message = format!(
            "this project goes by rules {rules} and this lansync knows those up to {RULES}, so it receives and serves, and writes nothing"
        );
        Some(Refusal::new("needs-upgrade", message, "install a newer lansync, then: lansync down && lansync up"))
    }

    /// Has `after` run once all that was taken in so far is durable (or is known not to be).
    pub(super) fn once_durable(&mut self, after: After) {
        self.pending.gather.awaited();
        self.pending.told.after.push(after);
    }

    /// Appends what has gathered, unless an append is under way or more is to come.
    pub(super) fn flush(&mut self) {
        if self.appending || self.pending.is_gathering(self.clock.steady()) {
            return;
        }
        let layer = if self.state.healthy() { self.begin_append() } else { None };
        let Some(layer) = layer else {
            // Nothing to wait for.
            for after in std::mem::take(&mut self.pending.told.after) {
                after(self, Ok(()));
            }
            return;
        };
        self.appending = true;
        self.pending.under_way = std::mem::take(&mut self.pending.told);
        let store = self.store.clone();
        let append = move || {
            let events = store.append(&layer)?;
            let base: Arc<dyn Base> = store.base()?;
            Ok((events, base))
        };
        super::run::work(&self.wake, append, Wake::Appended);
    }

    pub(super) fn appended(&mut self, now: Millis, result: Result<Appended, StoreError>) {
        self.appending = false;
        let told = std::mem::take(&mut self.pending.under_way);
        match result {
            Ok((events, base)) => {
                let own = events.iter().map(|(_, event)| event.get()).rfind(|event| event.body().author == self.me);
                let own = own.map(|event| event.body().seq);
                let state = Arc::make_mut(&mut self.state);
                state.appended(base);
                let logged = state.frontier();
                self.caught_up(now, &events);
                self.sync.handle(now, Input::Stored { events, logged });
                // Sent before anything else is done with it: others wait for it, we do not.
                self.drain(now);
                if let Some(seq) = own
                    && self.copied_key().is_none()
                    && let Err(error) = super::place::settle(&self.repo.lansync_dir(), &self.feeds, &self.me, Some(seq))
                {
                    tracing::warn!(%error, "how far this feed went could not be noted");
                }
                for (event, changes) in told.changes {
                    self.changed(now, event, changes);
                }
                for after in told.after {
                    after(self, Ok(()));
                }
            }
            Err(error) => self.append_failed(now, told, &error),
        }
    }

    /// A failed commit is not a rollback: what was written may be durable. So the log is opened and read afresh;
    /// whatever is not in it did not happen, and nobody was told of it. Until then nothing is taken in or moved.
    fn append_failed(&mut self, now: Millis, told: Told, error: &StoreError) {
        tracing::error!(%error, "append failed, the log is read afresh");
        let why = super::refusals::store(error);
        self.problem(&why);
        let wait = match self.log_failed {
            Some((at, wait)) if now.saturating_sub(at) < 2 * AGAIN.1 => (wait * 2).clamp(AGAIN.0, AGAIN.1),
            _ => 0,
        };
        self.log_failed = Some((now, wait));
        self.log_lost = Some(LogLost { why: why.clone(), again: now + wait });
        self.pending.gather = Gather::default();
        let waiting = std::mem::take(&mut self.pending.told).after;
        for session in self.sessions.values() {
            session.connection.close(crate::quic::CloseCode::Bye, "the log is read afresh");
        }
        self.hearings.close_all("the log is read afresh");
        for after in told.after.into_iter().chain(waiting) {
            after(self, Err(why.clone()));
        }
    }

    /// Rows could not be read: nothing that was worked out since is used, and the log is opened afresh.
    pub(super) fn log_unreadable(&mut self, now: Millis) {
        let error = StoreError::Corrupt("a part of it cannot be read".to_owned());
        let told = std::mem::take(&mut self.pending.told);
        self.append_failed(now, told, &error);
    }

    /// Is the log open? Where it failed it is opened again when its time has come.
    pub(super) fn has_log(&mut self, now: Millis) -> bool {
        let Some(lost) = &mut self.log_lost else { return true };
        if lost.again > now {
            return false;
        }
        // Readers hold the store only for the length of one job.
        let Some(store) = Arc::get_mut(&mut self.store) else {
            lost.again = now + 50;
            return false;
        };
        match store.reopen().and_then(|()| self.read_afresh()) {
            Ok(()) => {
                self.log_lost = None;
                self.look_again = true;
                self.landing.refs_wanted = true;
                self.notice("log", None, None, None, "the log is open again".to_owned());
                true
            }
            Err(error) => {
                tracing::error!(%error, "the log cannot be opened again");
                let why = super::refusals::store(&error);
                if self.log_lost.as_ref().is_some_and(|lost| lost.why != why) {
                    self.problem(&why);
                }
                self.log_lost = Some(LogLost { why, again: now + AGAIN.1 / 6 });
                false
            }
        }
    }

    fn read_afresh(&mut self) -> Result<(), StoreError> {
        let state = super::opening::open_state(&self.store)?;
        self.sync = crate::sync::Sync::new(state.frontier(), state.heads());
        self.state = Arc::new(state);
        Ok(())
    }

    /// What a neighbour lacks was read, or not: then it is tried again, and people hear of it meanwhile.
    pub(super) fn loaded(&mut self, now: Millis, peer: PeerId, load: u64, events: Result<Vec<OnStrand>, StoreError>) {
        match events {
            Ok(events) => self.sync.handle(now, Input::Loaded { peer, load, events }),
            Err(error) => {
                self.sync.handle(now, Input::NotLoaded { peer, load });
                let refusal = super::refusals::store(&error);
                self.problem(&refusal);
            }
        }
    }

    /// A clone that is a member's and has no event yet writes its certificate.
    pub(super) fn certify_if_admitted(&mut self, now: Millis) {
        if self.state.genesis().is_none() || self.my_member().is_none() || self.has_begun() {
            return;
        }
        let certificate = self.certificate;
        let payload = Payload::Certify(Certify { certificate, extensions: Extensions::default() });
        if let Err(refusal) = self.write(now, |writer| writer.add(payload, Vec::new()).map(drop)) {
            self.problem(&refusal);
        }
    }

    /// Writes rows that only this clone needs, beside the loop.
    pub(super) fn note(&self, note: Note, rows: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let store: Arc<Store> = self.store.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.remember(note, &rows) {
                tracing::warn!(%error, ?note, "a note could not be written");
            }
        });
    }
}

/// Writes several events of the own feed.
pub(super) struct Writer<'a> {
    core: &'a mut Core,
    pen: Pen,
    wall: Millis,
    written: Vec<Event>,
}

impl Writer<'_> {
    /// Adds one event.
    pub(super) fn add(&mut self, payload: Payload, refs: Vec<EventId>) -> Result<EventId, Refusal> {
        let key = payload.encode().0.uses_rights().then(|| self.core.identity.key()).transpose()?;
        let event = self
            .pen
            .write(self.wall, payload, refs, &self.core.feed, key.as_ref())
            .map_err(|error| Refusal::plain("too-long", format!("this cannot be written as an event: {error}")))?;
        let id = event.id();
        self.written.push(event);
        Ok(id)
    }
}
