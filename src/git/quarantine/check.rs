//! Is everything here that was asked for, and is what is new harmless?

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use gix::hashtable::HashSet;
use gix::objs::Kind;

use super::adopt::Room;
use super::headers::check_tag;
use super::incoming::Incoming;
use super::links::{self, Links};
use super::names::Special;
use super::resolve::wrong_kind;
use super::settings;
use super::{BadTree, PackRefused};
use crate::git::objects::{Objects, Unread};
use crate::git::walk::{self, Ended, Found, Span, Visit};
use crate::git::{Repository, from_gix};

/// Trees kept decoded while commits are compared with their parents, in bytes.
const TREE_CACHE: usize = 32 << 20;

/// A pack with its index.
type Indexed<'a> = (gix_pack::index::File, &'a Incoming);

/// Checks packs that arrived, or that nothing was needed.
pub(super) fn packs(
    repo: &Repository,
    room: &Room,
    packs: &[Incoming],
    wants: &[gix::ObjectId],
    haves: &[gix::ObjectId],
    stop: &AtomicBool,
) -> Result<(), PackRefused> {
    if packs.is_empty() {
        return run(&Objects::of(repo), &Objects::of(repo), &[], wants, haves, stop);
    }
    let mut indexed: Vec<Indexed<'_>> = Vec::new();
    for pack in packs {
        indexed.push((index_of(pack)?, pack));
    }
    let store = room.objects()?;
    special_files(&store, &indexed)?;
    let links = indexed.iter().flat_map(|(_, pack)| &pack.links);
    if haves.is_empty() && links.into_iter().all(Links::are_complete) {
        return alone(&indexed, wants);
    }
    run(&room.objects()?.with_cache(TREE_CACHE), &store, &indexed, wants, haves, stop)
}

/// Are packs whole by themselves? Each of their objects was looked at as it was built, so nothing is read again.
fn alone(packs: &[Indexed<'_>], wants: &[gix::ObjectId]) -> Result<(), PackRefused> {
    // Where the objects of each begin, when those of all are counted on.
    let (mut places, mut begins) = (0, Vec::new());
    for (_, pack) in packs {
        begins.push(places);
        places += pack.kinds.len() as u32;
    }
    let find = |id: &gix::oid| {
        packs.iter().zip(&begins).find_map(|((index, pack), begin)| {
            let (at, kind) = pack.kinds.find(index.pack_offset_at_index(index.lookup(id)?))?;
            Some((begin + at, kind))
        })
    };
    if let Some(missing) = wants.iter().find(|want| find(want).is_none()) {
        return Err(PackRefused::MissingObject(from_gix(missing)));
    }
    let links = packs.iter().zip(&begins).flat_map(|((_, pack), begin)| pack.links.iter().map(|links| (*begin, links)));
    links::hold(&links.collect::<Vec<_>>(), places as usize, find)
}

/// Looks into the files that git itself reads.
fn special_files(store: &Objects, packs: &[Indexed<'_>]) -> Result<(), PackRefused> {
    let mut buf = Vec::new();
    let all = packs.iter().flat_map(|(_, pack)| pack.links.iter()).flat_map(|links| links.special.iter());
    let mut all = all.collect::<BTreeMap<_, _>>().into_iter();
    all.try_for_each(|(id, special)| special_file(store, id, *special, &mut buf))
}

/// Looks into one of them.
pub(super) fn special_file(
    store: &Objects,
    id: &gix::oid,
    special: Special,
    buf: &mut Vec<u8>,
) -> Result<(), PackRefused> {
    let bad = |why: &str| PackRefused::BadObject { id: from_gix(id), why: why.to_owned() };
    match store.kind(id) {
        Ok(Kind::Blob) => {}
        Ok(_) | Err(Unread::Missing(_)) => return Err(bad("it is no file, where git reads one")),
        Err(corrupt) => return Err(new(corrupt)),
    }
    if store.size(id).map_err(new)? >= settings::MODULES_BYTES {
        return Err(bad("it is too large for a file that git reads"));
    }
    let (_, data) = store.read(id, buf).map_err(new)?;
    let checked = match special {
        Special::Modules => settings::check_modules(data),
        Special::Attributes => settings::check_attributes(data),
    };
    checked.map_err(|why| bad(&why))
}

/// Opens the index of a pack in quarantine.
pub(super) fn index_of(pack: &Incoming) -> Result<gix_pack::index::File, PackRefused> {
    let index = gix_pack::index::File::at(&pack.files.index, gix::hash::Kind::Sha1);
    index.map_err(|error| PackRefused::BadPack(crate::git::objects::chain(&error)))
}

/// Is everything here that `tips` reach and `haves` do not?
pub(super) fn connected(
    repo: &Repository,
    tips: &[gix::ObjectId],
    haves: &[gix::ObjectId],
) -> Result<bool, PackRefused> {
    let store = Objects::of(repo);
    let objects = Objects::of(repo).with_cache(TREE_CACHE);
    let mut visit = Present { store: &store };
    let stop = AtomicBool::new(false);
    let walked =
        Span::new(&objects, tips, haves, &stop).and_then(|span| walk::objects(&objects, &span, &mut visit, &stop));
    match walked {
        Ok(()) => Ok(true),
        Err(Ended::New(Unread::Missing(_)) | Ended::Old(Unread::Missing(_)) | Ended::Deep(_)) => Ok(false),
        Err(Ended::Visitor(Unread::Missing(_))) => Ok(false),
        Err(Ended::New(corrupt) | Ended::Old(corrupt) | Ended::Visitor(corrupt)) => Err(damaged(corrupt)),
        Err(Ended::Stopped) => Err(PackRefused::Stopped),
    }
}

fn run(
    objects: &Objects,
    store: &Objects,
    packs: &[Indexed<'_>],
    wants: &[gix::ObjectId],
    haves: &[gix::ObjectId],
    stop: &AtomicBool,
) -> Result<(), PackRefused> {
    let span = Span::new(objects, wants, haves, stop)?;
    let unproven = packs.iter().flat_map(|(_, pack)| pack.bases.iter().copied()).collect();
    let mut check = Check { store, packs, span: &span, based_on: None, unproven, buf: Vec::new(), stop };
    walk::objects(objects, &span, &mut check, stop)?;
    held(objects, check.unproven, haves, stop)
}

/// Is all that deltas are against part of what the haves reach? Else a member could learn, by building on it, what is
/// in an object that was never shared. What stands at the path of what is built on it was seen by now; this is for the
/// rest, which the other side took to be new and this side did not.
fn held(
    objects: &Objects,
    unproven: HashSet<gix::ObjectId>,
    haves: &[gix::ObjectId],
    stop: &AtomicBool,
) -> Result<(), PackRefused> {
    if unproven.is_empty() {
        return Ok(());
    }
    let here: Vec<gix::ObjectId> = haves.iter().filter(|have| objects.has(have)).copied().collect();
    let mut search = Search { unproven };
    let walked = Span::new(objects, &here, &[], stop).and_then(|span| walk::objects(objects, &span, &mut search, stop));
    match walked {
        Ok(()) => Err(PackRefused::BadPack("a delta is against an object that is not held".to_owned())),
        Err(Ended::Visitor(Proven)) => Ok(()),
        Err(Ended::New(unread) | Ended::Old(unread)) => Err(damaged(unread)),
        Err(Ended::Deep(id)) => Err(PackRefused::BadTree { id: from_gix(&id), why: BadTree::TooDeep }),
        Err(Ended::Stopped) => Err(PackRefused::Stopped),
    }
}

/// Looks for objects until all are found.
struct Search {
    unproven: HashSet<gix::ObjectId>,
}

/// All were found.
struct Proven;

impl Visit for Search {
    type Error = Proven;

    fn object(&mut self, id: &gix::oid, _found: Found, _bases: &[(gix::ObjectId, bool)]) -> Result<(), Proven> {
        self.unproven.remove(id);
        if self.unproven.is_empty() { Err(Proven) } else { Ok(()) }
    }
}

/// Holds new objects against the packs. What happens to be in the object store is not enough: a member who offers
/// the id of a commit that is kept private here would have it served as if it had come from there.
struct Check<'a> {
    store: &'a Objects,
    packs: &'a [Indexed<'a>],
    span: &'a Span,
    /// What the commits that the new ones are based on contain, worked out when it is first asked for.
    based_on: Option<HashSet<gix::ObjectId>>,
    /// What deltas are against, and was not seen yet in what the new commits are based on.
    unproven: HashSet<gix::ObjectId>,
    buf: Vec<u8>,
    stop: &'a AtomicBool,
}

impl Check<'_> {
    /// The kind of an object that came. What a pack was completed with did not come.
    fn in_pack(&self, id: &gix::oid) -> Option<Kind> {
        self.packs.iter().find_map(|(index, pack)| pack.kinds.at(index.pack_offset_at_index(index.lookup(id)?)))
    }

    /// Is this tree or file part of what the new commits are based on, at another path?
    fn is_old(&mut self, id: &gix::oid) -> Result<bool, PackRefused> {
        if self.based_on.is_none() {
            self.based_on = Some(walk::based_on(self.store, self.span, self.stop).map_err(damaged)?);
        }
        Ok(self.based_on.as_ref().is_some_and(|old| old.contains(id)))
    }
}

impl Visit for Check<'_> {
    type Error = PackRefused;

    fn object(&mut self, id: &gix::oid, found: Found, bases: &[(gix::ObjectId, bool)]) -> Result<(), PackRefused> {
        if !self.unproven.is_empty() {
            // In what is new too, all that did not come in the pack has to be held, or this walk ends in an error.
            for (base, _) in bases {
                self.unproven.remove(base);
            }
        }
        let kind = match self.in_pack(id) {
            Some(kind) => kind,
            None if matches!(found, Found::Tree | Found::Blob) && self.is_old(id)? => {
                self.store.kind(id).map_err(new)?
            }
            None => return Err(PackRefused::MissingObject(from_gix(id))),
        };
        if kind != expected(found) {
            return Err(wrong_kind(id, kind, expected(found)));
        }
        // Commits and trees were looked at as they were built.
        if found == Found::Tag {
            let (_, data) = self.store.read(id, &mut self.buf).map_err(new)?;
            says_true(self.store, id, data)?;
        }
        Ok(())
    }

    fn is_new(&self, id: &gix::oid) -> bool {
        self.in_pack(id).is_some()
    }

    fn wants_bases(&self) -> bool {
        !self.unproven.is_empty()
    }
}

/// Is what a tag is of, of the kind that it says?
pub(super) fn says_true(store: &Objects, tag: &gix::oid, data: &[u8]) -> Result<(), PackRefused> {
    let bad = |why: String| PackRefused::BadObject { id: from_gix(tag), why };
    let said = check_tag(data).map_err(bad)?;
    let target = gix::objs::TagRef::from_bytes(data, gix::hash::Kind::Sha1).map(|tag| tag.target());
    let target = target.map_err(|error| bad(crate::git::objects::chain(&error)))?;
    if store.kind(&target).map_err(new)? != said {
        return Err(bad(format!("it says that it is of a {said}, and is not")));
    }
    Ok(())
}

/// Only looks whether objects are there and of the right kind.
struct Present<'a> {
    store: &'a Objects,
}

impl Visit for Present<'_> {
    type Error = Unread;

    fn object(&mut self, id: &gix::oid, found: Found, _bases: &[(gix::ObjectId, bool)]) -> Result<(), Unread> {
        match self.store.kind(id)? {
            kind if kind == expected(found) => Ok(()),
            kind => {
                Err(Unread::Corrupt(id.to_owned(), format!("it is a {kind}, where a {} should be", expected(found))))
            }
        }
    }
}

pub(super) fn expected(found: Found) -> Kind {
    match found {
        Found::Tag => Kind::Tag,
        Found::Commit => Kind::Commit,
        Found::Tree => Kind::Tree,
        Found::Blob => Kind::Blob,
    }
}

/// An object that the pack should have brought.
fn new(unread: Unread) -> PackRefused {
    match unread {
        Unread::Missing(id) => PackRefused::MissingObject(from_gix(&id)),
        Unread::Corrupt(id, why) => PackRefused::BadObject { id: from_gix(&id), why },
    }
}

/// An object that is trusted to be here.
pub(super) fn damaged(unread: Unread) -> PackRefused {
    match unread {
        Unread::Missing(id) => PackRefused::Damaged { id: from_gix(&id), why: "it is missing".to_owned() },
        Unread::Corrupt(id, why) => PackRefused::Damaged { id: from_gix(&id), why },
    }
}

impl From<Ended<Self>> for PackRefused {
    fn from(ended: Ended<Self>) -> Self {
        match ended {
            Ended::New(unread) => new(unread),
            Ended::Old(unread) => damaged(unread),
            Ended::Deep(id) => Self::BadTree { id: from_gix(&id), why: BadTree::TooDeep },
            Ended::Visitor(refused) => refused,
            Ended::Stopped => Self::Stopped,
        }
    }
}
