//! Packs that come one after the other or at once, from one peer or from several, and are checked together: each by itself as it
//! comes, and that nothing is missing once all are here.

use std::io::{BufRead, BufReader, Read as _};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::incoming::{Among, Failed, Incoming};
use super::kept::{Begun, Kept, Noted};
use super::{PackLimits, PackProgress, PackRefused, Quarantined, check, incoming};
use crate::git::objects::Objects;
use crate::git::{Portion, Repository, Skip, to_gix};
use crate::id::ObjectId;
use crate::limits;

/// Where packs come together, in quarantine.
pub struct Gathering {
    repo: Repository,
    /// `None` once all was taken out of it.
    kept: Mutex<Option<Kept>>,
    /// What was there before, and how far each pack is.
    progress: Mutex<Vec<PackProgress>>,
}

impl Repository {
    /// Begins to gather packs with what is reached from wants and not from these haves. See [`Repository::receive_pack`].
    ///
    /// # Errors
    /// [`PackRefused`] where there is no place to put them.
    pub fn gather(&self, kept: Option<Kept>, haves: &[ObjectId]) -> Result<Gathering, PackRefused> {
        let kept = match kept {
            Some(kept) => kept,
            None => Kept::nothing(self, haves)?,
        };
        let before = (!kept.follows()).then(|| PackProgress {
            objects_done: kept.objects(),
            objects_total: kept.objects(),
            bytes: kept.bytes(),
        });
        let progress = Mutex::new(before.into_iter().collect());
        Ok(Gathering { repo: self.clone(), kept: Mutex::new(Some(kept)), progress })
    }
}

impl Gathering {
    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        // It says what lies on the disk, and is changed only after that was.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what is here or changes it.
    fn with<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> Result<T, PackRefused> {
        self.kept().as_mut().map(look).ok_or(PackRefused::Stopped)
    }

    /// Receives exactly one pack, which is a portion of all if that was said of it. `progress` is told how far it is, and all
    /// packs together.
    ///
    /// # Errors
    /// [`PackRefused`]. What came before the input broke off is kept.
    pub fn receive(
        &self,
        input: &mut dyn BufRead,
        portion: Option<&Portion>,
        limits: &PackLimits,
        progress: &dyn Fn(PackProgress, PackProgress),
        stop: &AtomicBool,
    ) -> Result<(), PackRefused> {
        let (is_held, dir, number, begun, is_whole, objects) = self.with(|kept| {
            kept.expected = kept.expected.max(portion.map_or(0, |portion| portion.objects));
            let is_held = kept.haves().iter().any(|have| to_gix(have).is_some());
            let is_whole = portion.is_none() && kept.is_whole();
            (is_held, kept.room.pack_dir(), kept.next_number(), kept.beginning(), is_whole, kept.expected)
        })?;
        // Without haves nothing that is here may be built upon.
        let (held, begun) = (is_held.then(|| Objects::of(&self.repo)), begun?);
        let slot = {
            let mut all = self.progress();
            all.push(PackProgress { objects_done: 0, objects_total: 0, bytes: 0 });
            all.len() - 1
        };
        let among = Among { trimmed_from: begun.as_ref().map(|(_, from)| *from), objects };
        let tell = |now: PackProgress| {
            let mut all = self.progress();
            all[slot] = now;
            let sum = together(&all);
            drop(all);
            progress(now, PackProgress { objects_total: sum.objects_total.max(among.objects.into()), ..sum });
        };
        // What lies here is read once more where the pack goes on with it.
        let mut begun = begun.map(|(file, _)| BufReader::new(file).chain(&mut *input));
        let input: &mut dyn BufRead = match &mut begun {
            Some(begun) => begun,
            None => input,
        };
        let mut input = Noted::new(input, |objects| {
            // Where it was taken out, nothing of it is to stay.
            let _ = self.with(|kept| kept.note_coming(number, objects, is_whole));
        });
        let received = incoming::receive(&dir, number, &mut input, among, held.as_ref(), limits, &tell, stop);
        let received = received.and_then(|pack| match portion {
            Some(portion) => Ok(as_said(pack, portion)?),
            None => Ok(pack),
        });
        match received {
            Ok(pack) => self.with(|kept| {
                kept.came(pack, None);
                kept.interrupted(number);
            }),
            Err(Failed { why, cut }) => {
                let salvaged = cut.filter(|cut| cut.bytes() >= limits::KEPT_BYTES).map(|cut| {
                    let begun = Begun { total: cut.total, end: cut.end };
                    // Others bring the rest of it.
                    let objects = among.objects.max(cut.total);
                    (cut.salvage(&dir, number + 1, objects, held.as_ref(), limits, stop), begun)
                });
                self.with(|kept| {
                    // What cannot be kept is fetched again.
                    if let Some((Ok(Some(pack)), begun)) = salvaged {
                        kept.expected = kept.expected.max(begun.total);
                        kept.came(Some(pack), Some(begun).filter(|_| is_whole));
                    }
                    kept.interrupted(number);
                })?;
                Err(why)
            }
        }
    }
    /// What need not be sent any more.
    pub fn skip(&self) -> Skip {
        self.with(|kept| kept.skip()).unwrap_or_default()
    }

    /// All has come: checks that everything is there that `wants` reach.
    ///
    /// # Errors
    /// [`PackRefused`]; nothing of the packs stays here then.
    pub fn finish(&self, wants: &[ObjectId], stop: &AtomicBool) -> Result<Quarantined, PackRefused> {
        let Kept { mut room, packs, haves, .. } = self.kept().take().ok_or(PackRefused::Stopped)?;
        // What is not what it should be is of no use to anybody, and what is goes into the object store.
        room.stays(false);
        let wants = wants.iter().map(|id| to_gix(id).ok_or(PackRefused::MissingObject(*id)));
        let wants = wants.collect::<Result<Vec<_>, _>>()?;
        let haves: Vec<gix::ObjectId> = haves.iter().filter_map(to_gix).collect();
        check::packs(&self.repo, &room, &packs, &wants, &haves, stop)?;
        Ok(Quarantined::new(&self.repo, room, packs.into_iter().map(|pack| pack.files).collect()))
    }

    /// What the next try can go on with; `None` where that is nothing.
    pub fn into_kept(self) -> Option<Kept> {
        let kept = self.kept.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        if kept.packs.is_empty() {
            kept.discard();
            return None;
        }
        Some(kept)
    }

    fn progress(&self) -> MutexGuard<'_, Vec<PackProgress>> {
        // Numbers are whole after any panic.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far all are together.
fn together(all: &[PackProgress]) -> PackProgress {
    let sum = |of: fn(&PackProgress) -> u64| all.iter().map(of).sum();
    PackProgress {
        objects_done: sum(|one| one.objects_done),
        objects_total: sum(|one| one.objects_total),
        bytes: sum(|one| one.bytes),
    }
}

/// The pack of a portion, where it holds all that was said to be in it: else nobody would be asked for that.
fn as_said(pack: Option<Incoming>, Portion { names, .. }: &Portion) -> Result<Option<Incoming>, PackRefused> {
    let holds_them = match &pack {
        Some(pack) => names.is_within(check::index_of(pack)?.iter().map(|entry| entry.oid)),
        None => names.is_empty(),
    };
    if holds_them {
        return Ok(pack);
    }
    if let Some(pack) = pack {
        // What cannot be removed goes with the directory.
        let _ = std::fs::remove_file(&pack.files.index);
        let _ = std::fs::remove_file(&pack.files.pack);
    }
    Err(PackRefused::BadPack("it does not hold what was said to be in it".to_owned()))
}
