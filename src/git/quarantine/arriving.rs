//! Building the objects of a pack while it comes: each is hashed and looked at as soon as it is there, if what it is
//! built on is in memory still. The others wait until all has come (`resolve`).
//!
//! Packs have what is built on one object near to it, so few have to wait. All that is built on one object goes to the
//! same thread, which has it in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

use gix::objs::Kind;

use super::links::Links;
use super::resolve::{ALONE, THREADS, apply, hash};
use super::{PackLimits, PackRefused};

/// Bytes of built objects that a thread keeps for what may be built on them. With five times as many the receiver has 50 MiB more in
/// memory and is no sooner done: what is built on others is then built after all has come.
const KEPT: usize = 3 << 20;
/// Bytes, and entries, that are handed to a thread at once.
const BATCH: usize = 128 << 10;
const MOST: usize = 64;
/// Bytes that all threads together may have before them: a family may take one of them some time, and the other is not to run
/// out of work meanwhile.
const BEFORE: usize = 1 << 20;

/// An entry that came, inflated.
struct Piece {
    /// Its place in the pack.
    at: u32,
    kind: Kind,
    /// The place of what it is built on, where it is a delta.
    base: Option<u32>,
    data: Vec<u8>,
    /// Bytes of what is built of it, which is about what that costs.
    cost: u64,
}

/// What was built of a pack.
pub(super) struct Built {
    /// By place.
    pub(super) ids: Vec<(u32, gix::ObjectId)>,
    pub(super) links: Links,
    /// The places of those that wait.
    waiting: Vec<u32>,
}

/// Those who build.
pub(super) struct Builders<'scope> {
    by: By<'scope>,
    /// What is too large to be handed over.
    waiting: Vec<u32>,
}

enum By<'scope> {
    /// Whoever receives does it as well, as there are few objects.
    Receiver(Box<Builder<'scope>>),
    Threads {
        threads: Vec<Thread<'scope>>,
        /// By place, which of them has it.
        whose: Vec<u8>,
        before: Arc<Before>,
    },
}

struct Thread<'scope> {
    pieces: Sender<Vec<Piece>>,
    batch: Vec<Piece>,
    /// Bytes in the batch.
    bytes: usize,
    /// The costs of what it was given and not the batch, and of what it has built.
    given: u64,
    built: Arc<AtomicU64>,
    handle: ScopedJoinHandle<'scope, Result<Built, PackRefused>>,
}

/// What the threads have before them.
#[derive(Default)]
struct Before {
    /// In bytes; `None` once one of them has ended.
    bytes: Mutex<Option<usize>>,
    less: Condvar,
}

impl Before {
    fn bytes(&self) -> MutexGuard<'_, Option<usize>> {
        // A number is whole after any panic.
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds so many bytes once there is room for them.
    fn add(&self, bytes: usize) -> Result<(), Gone> {
        let is_full = |before: &mut Option<usize>| before.is_some_and(|before| before > BEFORE);
        let before = self.less.wait_while(self.bytes(), is_full);
        let mut before = before.unwrap_or_else(PoisonError::into_inner);
        *before = Some(before.ok_or(Gone)? + bytes);
        Ok(())
    }

    fn take(&self, bytes: usize) {
        let mut before = self.bytes();
        *before = before.map(|before| before.saturating_sub(bytes));
        self.less.notify_one();
    }
}

/// Says that a thread has ended, however it did.
struct Ends(Arc<Before>);

impl Drop for Ends {
    fn drop(&mut self) {
        *self.0.bytes() = None;
        self.0.less.notify_one();
    }
}

/// A thread that builds has failed; [`Builders::finish`] says why.
pub(super) struct Gone;

impl<'scope> Builders<'scope> {
    /// For a pack of so many objects, which may name so many; `None` where it is not to be noted what they name.
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        came: usize,
        named: Option<usize>,
        limits: &'env PackLimits,
        stop: &'env AtomicBool,
    ) -> Self {
        let by = if came < ALONE {
            By::Receiver(Box::new(Builder::new(named, limits, stop)))
        } else {
            let before = Arc::new(Before { bytes: Mutex::new(Some(0)), less: Condvar::new() });
            let threads = (0..THREADS).map(|_| {
                let (pieces, receive) = channel();
                let (built, ends) = (Arc::<AtomicU64>::default(), Ends(before.clone()));
                let counts = built.clone();
                let work = move || Builder::new(named, limits, stop).run(&receive, &counts, &ends);
                Thread { pieces, batch: Vec::new(), bytes: 0, given: 0, built, handle: scope.spawn(work) }
            });
            By::Threads { threads: threads.collect(), whose: Vec::new(), before }
        };
        Self { by, waiting: Vec::new() }
    }

    /// Hands over the entry of the next place, of which an object of so many bytes is built. Without data it waits.
    pub(super) fn give(
        &mut self,
        at: u32,
        kind: Kind,
        base: Option<u32>,
        data: Option<Vec<u8>>,
        cost: u64,
    ) -> Result<Result<(), Gone>, PackRefused> {
        let piece = data.map(|data| Piece { at, kind, base, data, cost });
        if piece.is_none() {
            self.waiting.push(at);
        }
        match &mut self.by {
            By::Receiver(builder) => piece.map_or(Ok(()), |piece| builder.build(piece)).map(Ok),
            By::Threads { threads, whose, before } => {
                let least = || (0..threads.len()).min_by_key(|at| threads[*at].left()).unwrap_or(0) as u8;
                let thread = base.map_or_else(least, |base| whose[base as usize]);
                whose.push(thread);
                Ok(piece.map_or(Ok(()), |piece| threads[usize::from(thread)].give(piece, before)))
            }
        }
    }

    /// All has come: what was built, and the places of those that wait.
    pub(super) fn finish(self) -> Result<(Vec<Built>, Vec<u32>), PackRefused> {
        let built = match self.by {
            By::Receiver(builder) => vec![builder.built],
            By::Threads { threads, .. } => {
                let handles: Vec<_> = threads.into_iter().map(Thread::finish).collect();
                let joined = handles.into_iter().map(|handle| match handle.join() {
                    Ok(result) => result,
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                joined.collect::<Result<Vec<_>, _>>()?
            }
        };
        let waiting = built.iter().flat_map(|built| built.waiting.iter().copied()).chain(self.waiting).collect();
        Ok((built, waiting))
    }
}

impl<'scope> Thread<'scope> {
    /// The costs of what it has not built yet.
    fn left(&self) -> u64 {
        self.given - self.built.load(Ordering::Relaxed)
    }

    fn give(&mut self, piece: Piece, before: &Before) -> Result<(), Gone> {
        self.bytes += piece.data.len();
        self.given += piece.cost;
        self.batch.push(piece);
        if self.bytes < BATCH && self.batch.len() < MOST {
            return Ok(());
        }
        before.add(self.bytes)?;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Gone> {
        self.bytes = 0;
        self.pieces.send(std::mem::take(&mut self.batch)).map_err(|_| Gone)
    }

    fn finish(mut self) -> ScopedJoinHandle<'scope, Result<Built, PackRefused>> {
        // One that has failed takes nothing more, and says so when it is joined.
        let _ = self.flush();
        self.handle
    }
}

/// One who builds.
struct Builder<'a> {
    limits: &'a PackLimits,
    stop: &'a AtomicBool,
    built: Built,
    kept: Kept,
}

impl<'a> Builder<'a> {
    fn new(named: Option<usize>, limits: &'a PackLimits, stop: &'a AtomicBool) -> Self {
        // One more: git knows the empty tree without having it.
        let links = Links::new(named.map(|named| named + 1));
        let built = Built { ids: Vec::new(), links, waiting: Vec::new() };
        Self { limits, stop, built, kept: Kept::default() }
    }

    fn run(
        mut self,
        pieces: &Receiver<Vec<Piece>>,
        built: &AtomicU64,
        Ends(before): &Ends,
    ) -> Result<Built, PackRefused> {
        while let Ok(batch) = pieces.recv() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(PackRefused::Stopped);
            }
            before.take(batch.iter().map(|piece| piece.data.len()).sum());
            for piece in batch {
                let cost = piece.cost;
                self.build(piece)?;
                built.fetch_add(cost, Ordering::Relaxed);
            }
        }
        Ok(self.built)
    }

    fn build(&mut self, piece: Piece) -> Result<(), PackRefused> {
        let Piece { at, kind, base, mut data, .. } = piece;
        let base = match base {
            None => None,
            Some(base) => match self.kept.get(base) {
                Some(base) => {
                    let delta = std::mem::take(&mut data);
                    apply(base, &delta, self.limits.object_bytes, &mut data)?;
                    Some(base)
                }
                None => {
                    self.built.waiting.push(at);
                    return Ok(());
                }
            },
        };
        let id = hash(kind, &data)?;
        self.built.ids.push((at, id));
        self.built.links.add(at, &id, kind, &data, base)?;
        self.kept.keep(at, data);
        Ok(())
    }
}

/// Built objects, of which those go first that were of no use for longest.
#[derive(Default)]
struct Kept {
    by_place: HashMap<u32, (Vec<u8>, u32)>,
    /// When each was of use; what was so again stands here twice.
    uses: VecDeque<(u32, u32)>,
    now: u32,
    bytes: usize,
}

impl Kept {
    fn get(&mut self, at: u32) -> Option<&[u8]> {
        let (data, used) = self.by_place.get_mut(&at)?;
        self.now += 1;
        *used = self.now;
        self.uses.push_back((at, self.now));
        Some(data)
    }

    fn keep(&mut self, at: u32, mut data: Vec<u8>) {
        if data.len() > KEPT / 2 {
            return;
        }
        // What was inflated has room beyond its end.
        data.shrink_to_fit();
        self.now += 1;
        self.bytes += data.len();
        self.by_place.insert(at, (data, self.now));
        self.uses.push_back((at, self.now));
        while self.bytes > KEPT {
            let Some((at, when)) = self.uses.pop_front() else { break };
            if self.by_place.get(&at).is_some_and(|(_, used)| *used == when)
                && let Some((data, _)) = self.by_place.remove(&at)
            {
                self.bytes -= data.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_on_an_object_that_is_not_kept_any_more_waits() {
        let (limits, stop) = (PackLimits::default(), AtomicBool::new(false));
        let base = vec![7; 1 << 20];
        // All of the base.
        let delta = [&[0x80, 0x80, 0x40, 0x80, 0x80, 0x40][..], &[0xb0, 0xff, 0xff].repeat(16), &[0x90, 16]].concat();
        for (between, expected) in [(KEPT >> 21, &[][..]), (KEPT >> 19, &[1, 2])] {
            let (built, waiting) = std::thread::scope(|scope| {
                let mut builders = Builders::start(scope, 3, Some(3), &limits, &stop);
                let mut give = |at: u32, base: Option<u32>, data: Vec<u8>| {
                    let cost = data.len() as u64;
                    let given = builders.give(at, Kind::Blob, base, Some(data), cost);
                    assert!(matches!(given, Ok(Ok(()))));
                };
                give(0, None, base.clone());
                (0..between).for_each(|at| give(100 + at as u32, None, base.clone()));
                give(1, Some(0), delta.clone());
                give(2, Some(1), delta.clone());
                builders.finish()
            })
            .expect("nothing is wrong with it");
            assert_eq!(waiting, expected, "{between} in between");
            let id = hash(Kind::Blob, &base).expect("no collision");
            assert!(built.iter().flat_map(|built| &built.ids).all(|(_, is)| *is == id));
        }
    }
}
