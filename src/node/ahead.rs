//! A clone whose clock was far ahead while nobody was near: what it wrote then would reach the others only when those times come,
//! and so would all that it writes after it.
//!
//! Once another member's clock agrees with this one as it is now, that is noted, and said. At the next start what is later than that
//! stays behind in a file of its own, and the clone goes on without it and with a new key, so that no number of the old one is
//! written twice. Branches are offered again by themselves.

use std::path::Path;

use super::core::Core;
use super::{clock, opening};
use crate::api::Refusal;
use crate::eventlog::store::{Note, Store, StoreError};
use crate::hlc::{Hlc, Millis};
use crate::limits;

/// The row that says so: the time from which on events are to be left behind.
const AHEAD: &[u8] = b"ahead";

impl Core {
    /// Is the own feed so far ahead that waiting for its time is no way out?
    fn is_far_ahead(&self, wall: Millis) -> bool {
        let head = self.state.feed_head(&self.me).and_then(|head| self.state.event(&head.id));
        let bound = wall.saturating_add(super::sessions::millis(limits::AHEAD_LEFT));
        head.is_some_and(|event| event.body().hlc.millis() > bound)
    }

    /// Notes that this feed is to be left behind, where another's clock agrees with this one as it is now.
    pub(super) fn leave_what_is_ahead(&mut self, now: Millis, wall: Millis) {
        let newest = self.state.latest().millis();
        if self.ahead || newest <= wall || !self.is_far_ahead(wall) || !self.others_agree(now, wall) {
            return;
        }
        let horizon = wall.saturating_add(super::sessions::millis(limits::CLOCK_DRIFT));
        self.note(Note::Own, vec![(AHEAD.to_vec(), Some(horizon.to_be_bytes().to_vec()))]);
        self.ahead = true;
        if let Some(refusal) = self.left_behind() {
            self.problem(&refusal);
        }
    }

    /// What to do where this feed is to be left behind.
    pub(super) fn left_behind(&self) -> Option<Refusal> {
        let message = "what this clone wrote while its clock was wrong is so far ahead that others do not get it, nor what is \
                       written after it: at the next start it stays behind, and this clone goes on with a new key";
        self.ahead.then(|| Refusal::new("ahead", message, "lansync down && lansync up"))
    }
}

/// Leaves behind what was noted as being ahead: makes a log without it, and keeps the old one beside it. Returns that log, and
/// how many events were left; 0 where there is nothing to leave, as their time has come.
///
/// # Errors
/// [`StoreError`], also that of `first`, which is called before anything is left; the log is then as it was.
pub(crate) fn leave_behind(
    store: Store,
    wall: Millis,
    first: impl FnOnce() -> std::io::Result<()>,
) -> Result<(Store, u64), StoreError> {
    let noted = store.notes(Note::Own)?.remove(AHEAD).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    let Some(noted) = noted else { return Ok((store, 0)) };
    // What is due by now has reached others.
    let horizon = noted.max(wall.saturating_add(super::sessions::millis(limits::CLOCK_DRIFT)));
    let first_left = Hlc::new(horizon.saturating_add(1), 0);
    let mut left = 0;
    store.in_time(first_left..Hlc::from_bits(u64::MAX), |_| {
        left += 1;
        true
    })?;
    if left == 0 {
        store.remember(Note::Own, &[(AHEAD.to_vec(), None)])?;
        return Ok((store, 0));
    }
    first().map_err(|error| io(&error))?;
    let path = store.path().to_owned();
    let beside = path.with_extension("redb.new");
    if beside.exists() {
        std::fs::remove_file(&beside).map_err(|error| io(&error))?;
    }
    let new = Store::create(&beside, &store.project())?;
    copy(&store, &new, first_left)?;
    new.close()?;
    store.close()?;
    replace(&path, &beside).map_err(|error| io(&error))?;
    Ok((opening::open_log(&path)?, left))
}

fn io(error: &std::io::Error) -> StoreError {
    StoreError::Io(error.to_string())
}

/// All events before `end`, folded anew, and all notes but the one that asked for this. What they rest on is earlier.
fn copy(from: &Store, to: &Store, end: Hlc) -> Result<(), StoreError> {
    let mut failed = None;
    let mut fold = opening::Folding::default();
    from.in_time(Hlc::default()..end, |event| {
        failed = fold.take(to, event).err();
        failed.is_none()
    })?;
    failed.map_or(Ok(()), Err)?;
    fold.end(to)?;
    for note in Note::ALL {
        let rows = from.notes(note)?.into_iter().filter(|(key, _)| note != Note::Own || key != AHEAD);
        let rows: Vec<_> = rows.map(|(key, value)| (key, Some(value))).collect();
        if !rows.is_empty() {
            to.remember(note, &rows)?;
        }
    }
    Ok(())
}

/// Puts the new file in the place of the old one, which keeps another name. Ended in between, both names are the old file's.
fn replace(path: &Path, beside: &Path) -> std::io::Result<()> {
    std::fs::File::options().read(true).write(true).open(beside)?.sync_all()?;
    let aside = path.with_extension(format!("redb.ahead-{}", clock::now()));
    std::fs::hard_link(path, &aside).or_else(|_| std::fs::copy(path, &aside).map(drop))?;
    std::fs::rename(beside, path)?;
    if cfg!(unix)
        && let Some(dir) = path.parent()
    {
        std::fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::{RULES, State};
    use crate::eventlog::{Ack, Event, Extensions, Genesis, Payload, Policy};
    use crate::id::Handle;
    use crate::keys::{FeedKey, IdentityKey, Secret};

    const NOW: Millis = limits::BUILD_MILLIS + 1_000_000_000;
    const YEAR: Millis = 365 * 24 * 60 * 60 * 1_000;

    /// A log with events of these times, of which the first founds.
    fn log(path: &Path, times: &[Millis]) -> (Store, Vec<Event>) {
        let (feed, identity) = (FeedKey(Secret::from_seed([1; 32])), IdentityKey(Secret::from_seed([2; 32])));
        let tip = crate::id::ObjectId::Sha1([0; 20]);
        let genesis = Genesis {
            founder: identity.identity(),
            handle: Handle::new("ana").unwrap(),
            founder_name: String::new(),
            name: "payroll".to_owned(),
            nonce: [0; 16],
            tips: vec![(crate::id::BranchName::new("main").unwrap(), tip)],
            roots: vec![tip],
            rules: RULES,
            policy: Policy { approvals: 1, own_counts: true },
            extensions: Extensions::default(),
        };
        let mut state = State::new(genesis.project());
        let store = Store::create(path, &genesis.project()).unwrap();
        let mut events = Vec::new();
        for (at, time) in times.iter().enumerate() {
            let ack = Payload::Ack(Ack { extensions: Extensions::default() });
            let payload = if at == 0 { Payload::Genesis(genesis.clone()) } else { ack };
            let mut pen = state.pen(&feed.peer());
            let event = pen.write(*time, payload, Vec::new(), &feed, &identity).unwrap();
            state.take(event.clone()).unwrap();
            events.push(event);
        }
        store.append(&state.begin_append().unwrap()).unwrap();
        (store, events)
    }

    #[test]
    fn what_is_ahead_is_left_in_a_file_of_its_own_and_the_rest_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.redb");
        let (store, events) = log(&path, &[NOW - 5, NOW - 4, NOW + YEAR, NOW + YEAR]);
        // Nobody said that the clock was wrong: nothing is done, however far ahead it is.
        let (store, left) = leave_behind(store, NOW, || Ok(())).unwrap();
        assert_eq!(left, 0);
        store.remember(Note::Own, &[(AHEAD.to_vec(), Some(NOW.to_be_bytes().to_vec()))]).unwrap();
        store.remember(Note::Own, &[(b"peer".to_vec(), Some(vec![7]))]).unwrap();
        let (store, left) = leave_behind(store, NOW, || Ok(())).unwrap();
        assert_eq!(left, 2);
        let state = opening::open_state(&store).unwrap();
        assert_eq!((state.events(), state.latest()), (2, events[1].body().hlc));
        assert_eq!(store.notes(Note::Own).unwrap(), [(b"peer".to_vec(), vec![7])].into());
        let aside: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path()).collect();
        let aside = aside.iter().find(|path| path.to_string_lossy().contains("ahead-")).unwrap();
        let old = opening::open_log(aside).unwrap();
        assert!(events.iter().all(|event| old.event(&event.id()).unwrap().is_some()), "nothing is lost");
    }

    #[test]
    fn what_is_due_by_now_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = log(&dir.path().join("log.redb"), &[NOW, NOW + YEAR]);
        store.remember(Note::Own, &[(AHEAD.to_vec(), Some(NOW.to_be_bytes().to_vec()))]).unwrap();
        let (store, left) = leave_behind(store, NOW + YEAR, || panic!("nothing is left")).unwrap();
        assert_eq!((left, opening::open_state(&store).unwrap().events()), (0, 2));
        assert_eq!(store.notes(Note::Own).unwrap(), Default::default());
    }
}
