//! `log`: which events are read, and no more than those that are printed.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::{Refusal, Reply};
use crate::approval::State;
use crate::eventlog::store::Store;
use crate::eventlog::{Event, Head, Kind, Lacking};
use crate::hlc::Hlc;
use crate::id::PeerId;
use crate::node::refusals;
use crate::node::settings::clip;
use crate::node::snapshot::Snapshot;

/// Bytes of events that are read at once.
const PIECE: usize = 1 << 20;

/// Takes one reply, and says whether more are wanted.
pub(in crate::node) type Send<'a> = &'a mut dyn FnMut(Reply) -> bool;

/// Why no more is read.
enum Stop {
    /// Whoever asked has gone.
    Gone,
    /// It cannot be read.
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Is more wanted, after this?
fn unless_gone(read: Result<(), Stop>) -> Result<bool, Refusal> {
    match read {
        Ok(()) => Ok(true),
        Err(Stop::Gone) => Ok(false),
        Err(Stop::Refused(refusal)) => Err(refusal),
    }
}

/// Which events.
pub(super) struct Wanted {
    range: Range<Hlc>,
    authors: Option<Vec<PeerId>>,
    kind: Option<Kind>,
    limit: Option<usize>,
}

impl Wanted {
    fn has(&self, event: &Event) -> bool {
        let body = event.body();
        self.range.contains(&body.hlc)
            && self.kind.is_none_or(|kind| body.kind == kind)
            && self.authors.as_ref().is_none_or(|authors| authors.contains(&body.author))
    }
}

impl Snapshot {
    /// The range of time from `since` until before `until`, and no later than what this shows.
    pub(super) fn range(&self, since: Option<u64>, until: Option<u64>) -> Range<Hlc> {
        let end = until.map_or(Hlc::from_bits(u64::MAX), |until| Hlc::new(until, 0));
        let shown = self.at.map_or(end, |at| super::earlier::up_to(at).end);
        Hlc::new(since.unwrap_or(0), 0)..end.min(shown)
    }

    /// Reads what was typed.
    pub(super) fn wanted(
        &self,
        since: Option<u64>,
        until: Option<u64>,
        author: Option<&str>,
        kind: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Wanted, Refusal> {
        let kind = kind.map(|name| {
            Kind::from_name(name).ok_or_else(|| {
                let kinds = "genesis, certificate, grant, invite, propose, approve, reject, withdraw, land, \
                             revoke, vote, policy, link, ack";
                let message = format!("there is no kind '{}': {kinds}", clip(name));
                Refusal::new("usage", message, "lansync log --kind land")
            })
        });
        let authors = author.map(|author| self.authors(author)).transpose()?;
        Ok(Wanted { range: self.range(since, until), authors, kind: kind.transpose()?, limit })
    }

    /// Gives each event, then the end. `send` says whether to go on: whoever asked may have gone.
    pub(super) fn log(&self, wanted: &Wanted, send: Send<'_>) -> Result<(), Refusal> {
        if self.lines(wanted, |_| true, send)? {
            send(Reply::Done { value: Value::Null });
        }
        Ok(())
    }

    /// What is there, or with `after` what came since; and in `Done` what to give as `after` next.
    pub(super) fn follow(&self, wanted: &Wanted, after: Option<&[(u32, u64)]>, send: Send<'_>) -> Result<(), Refusal> {
        if self.at.is_some() {
            return Err(Refusal::new("usage", "nothing new comes to an earlier time", "lansync log -f"));
        }
        let held = durable(&self.store, &self.state)?;
        let cursor: Vec<(u32, u64)> = held.iter().map(|(strand, seq)| (*strand, *seq)).collect();
        let goes_on = match after {
            None => {
                let shown = |event: &Event| {
                    let place = self.state.place_of(&event.id());
                    place.is_some_and(|place| held.get(&place.strand).is_some_and(|seq| place.seq <= *seq))
                };
                self.lines(wanted, shown, send)?
            }
            Some(shown) => {
                let shown: BTreeMap<u32, u64> = shown.iter().copied().collect();
                let next = |strand: &u32| shown.get(strand).map_or(0, |seq| seq + 1);
                let spans = held.iter().map(|(strand, to)| Lacking { strand: *strand, from: next(strand), to: *to });
                let spans = self.state.clip(spans.collect());
                unless_gone(each_of(&self.store, spans, |event| match wanted.has(event) {
                    true => self.tell(event, send),
                    false => Ok(()),
                }))?
            }
        };
        if goes_on {
            send(Reply::Done { value: json!({ "shown": cursor }) });
        }
        Ok(())
    }

    /// Gives the events that are wanted, in time order; `false` where whoever asked has gone.
    fn lines(&self, wanted: &Wanted, shown: impl Fn(&Event) -> bool, send: Send<'_>) -> Result<bool, Refusal> {
        if wanted.limit == Some(0) {
            return Ok(true);
        }
        let fits = |event: &Event| wanted.has(event) && self.state.holds(&event.id()) && shown(event);
        // What is cut to the last few is gathered first.
        let mut last: VecDeque<Arc<Event>> = VecDeque::new();
        // An earlier state has numbers of its own for strands.
        if let Some(authors) = wanted.authors.as_ref().filter(|_| self.at.is_none()) {
            let mut spans = only_durable(&self.store, &self.state, self.state.written(authors, &wanted.range))?;
            if let (Some(limit), None) = (wanted.limit, wanted.kind) {
                // The last of each strand suffice.
                for span in &mut spans {
                    span.from = span.from.max(span.to.saturating_add(1).saturating_sub(limit as u64));
                }
            }
            let read = each_of(&self.store, spans, |event| match wanted.limit {
                _ if !fits(event) => Ok(()),
                None => self.tell(event, send),
                Some(limit) => {
                    if last.len() == limit {
                        last.pop_front();
                    }
                    last.push_back(event.clone());
                    Ok(())
                }
            });
            if !unless_gone(read)? {
                return Ok(false);
            }
        } else {
            let mut told = Ok(());
            let read = match wanted.limit {
                None => self.store.in_time(wanted.range.clone(), |event| {
                    if fits(&event) {
                        told = self.tell(&event, send);
                    }
                    told.is_ok()
                }),
                // From the end, until there are enough.
                Some(limit) => self.store.in_time_back(wanted.range.clone(), |event| {
                    if fits(&event) {
                        last.push_front(event);
                    }
                    last.len() < limit
                }),
            };
            read.map_err(|error| refusals::store(&error))?;
            if !unless_gone(told)? {
                return Ok(false);
            }
        }
        unless_gone(last.iter().try_for_each(|event| self.tell(event, send)))
    }

    /// Gives one event.
    fn tell(&self, event: &Event, send: Send<'_>) -> Result<(), Stop> {
        let value = serde_json::to_value(self.line(event));
        let value = value.map_err(|error| Stop::Refused(Refusal::plain("failed", error.to_string())))?;
        if send(Reply::Line { value }) { Ok(()) } else { Err(Stop::Gone) }
    }

    /// The feeds of a member's handle, or of a peer's id prefix.
    fn authors(&self, text: &str) -> Result<Vec<PeerId>, Refusal> {
        if let Some(member) = self.state.member_named(text) {
            return Ok(member.peers);
        }
        let found: Vec<PeerId> = self
            .state
            .feeds()
            .filter(|feed| text.len() >= 4 && feed.to_string().starts_with(&text.to_ascii_lowercase()))
            .copied()
            .collect();
        if found.is_empty() {
            let message = format!("there is no member or peer '{}'", clip(text));
            return Err(Refusal::new("unknown-member", message, "lansync members"));
        }
        Ok(found)
    }
}

/// How far each strand is on disk, as far as this state knows it.
fn durable(store: &Store, state: &State) -> Result<BTreeMap<u32, u64>, Refusal> {
    let heads = store.heads().map_err(|error| refusals::store(&error))?;
    let known = |(strand, (_, head)): (u32, (PeerId, Head))| Some((strand, state.held_to(strand)?.min(head.seq)));
    Ok(heads.into_iter().filter_map(known).collect())
}

/// Of these spans what is on disk.
pub(super) fn only_durable(store: &Store, state: &State, mut spans: Vec<Lacking>) -> Result<Vec<Lacking>, Refusal> {
    let durable = durable(store, state)?;
    spans.retain_mut(|span| {
        let Some(held) = durable.get(&span.strand) else { return false };
        span.to = span.to.min(*held);
        span.from <= span.to
    });
    Ok(spans)
}

/// Every event of these spans, in time order, read in pieces.
pub(super) fn each_of<E: From<Refusal>>(
    store: &Store,
    mut spans: Vec<Lacking>,
    mut each: impl FnMut(&Arc<Event>) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        let read = store.read(&spans, PIECE).map_err(|error| refusals::store(&error))?;
        if read.is_empty() {
            return Ok(());
        }
        let mut next = BTreeMap::new();
        for (strand, event) in &read {
            next.insert(*strand, event.get().body().seq + 1);
            each(event.get())?;
        }
        for span in &mut spans {
            span.from = next.get(&span.strand).copied().unwrap_or(span.from);
        }
    }
}
