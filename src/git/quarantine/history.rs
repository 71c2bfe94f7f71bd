//! Would others take this history? Of what lay here before it was shared nothing was ever held against what quarantine checks.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use gix::hashtable::HashSet;
use gix::objs::Kind;

use super::PackRefused;
use super::check::{damaged, expected, says_true, special_file};
use super::links::Links;
use super::resolve::wrong_kind;
use crate::git::objects::Objects;
use crate::git::pack::Inventory;
use crate::git::walk::{self, Found, Span, Visit};
use crate::git::{Repository, to_gix};
use crate::id::ObjectId;

/// Bytes of decoded trees that are kept, and of what deltas are against.
const CACHES: usize = 8 << 20;

/// It rests once in so many objects: before anybody notices.
const REST_EVERY: u32 = 256;
/// No longer than this.
const LONGEST_REST: Duration = Duration::from_millis(200);

impl Repository {
    /// Holds what `tips` reach and `known` do not against what everybody checks who receives it, all but whether it is all there.
    /// Takes half of a processor at most.
    ///
    /// # Errors
    /// [`PackRefused::BadTree`] or [`PackRefused::BadObject`], which is what others would say of it; anything else where it could not
    /// be looked at.
    pub fn check_history(&self, tips: &[ObjectId], known: &[ObjectId], stop: &AtomicBool) -> Result<(), PackRefused> {
        let tips = tips.iter().map(|id| to_gix(id).ok_or(PackRefused::MissingObject(*id)));
        let tips = tips.collect::<Result<Vec<_>, _>>()?;
        let known: Vec<gix::ObjectId> = known.iter().filter_map(to_gix).collect();
        let objects = Objects::apart(self).map_err(PackRefused::io("the objects cannot be read"))?;
        let objects = objects.with_cache(CACHES).with_bases(CACHES);
        let span = Span::new(&objects, &tips, &known, stop)?;
        let (links, since) = (Links::new(None), Instant::now());
        let mut look = Look { objects: &objects, links, buf: Vec::new(), ids: Vec::new(), looked_at: 0, since };
        walk::objects(&objects, &span, &mut look, stop)?;
        let Look { links, mut buf, mut ids, .. } = look;
        if !span.common {
            // The next thing that is asked for is all of it.
            ids.sort_unstable();
            Inventory::note(self, &span, &HashSet::default(), &ids);
        }
        links.special.iter().try_for_each(|(id, special)| special_file(&objects, id, *special, &mut buf))
    }
}

/// Looks at commits, trees and tags one by one.
struct Look<'a> {
    objects: &'a Objects,
    links: Links,
    buf: Vec<u8>,
    ids: Vec<gix::ObjectId>,
    looked_at: u32,
    since: Instant,
}

impl Visit for Look<'_> {
    type Error = PackRefused;

    fn object(&mut self, id: &gix::oid, found: Found, _bases: &[(gix::ObjectId, bool)]) -> Result<(), PackRefused> {
        self.looked_at += 1;
        self.ids.push(id.to_owned());
        if self.looked_at.is_multiple_of(REST_EVERY) {
            std::thread::sleep(Instant::now().duration_since(self.since).min(LONGEST_REST));
            self.since = Instant::now();
        }
        let should = expected(found);
        if should == Kind::Blob {
            return Ok(());
        }
        let (kind, data) = self.objects.read(id, &mut self.buf).map_err(damaged)?;
        if kind != should {
            return Err(wrong_kind(id, kind, should));
        }
        self.links.add(0, id, kind, data, None)?;
        if kind == Kind::Tag { says_true(self.objects, id, data) } else { Ok(()) }
    }
}
