//! Tags: a maintainer's become canonical where they point into canonical history, and canonical ones are made here.
//!
//! Like a branch, a tag is shared by making it. A canonical tag never moves, and a local one of the same name stays what
//! it is; that it differs is said.

use std::collections::{BTreeMap, BTreeSet};

use super::core::Core;
use crate::api::Refusal;
use crate::approval::CanonicalTag;
use crate::eventlog::store::Note;
use crate::eventlog::{Extensions, Payload, Tag};
use crate::git::Repository;
use crate::hlc::Millis;
use crate::id::{BranchName, ObjectId};
use crate::limits;

/// Bytes of names that one event takes, so that it stays within its own.
const NAMES: usize = 6_000;

/// So many tags are made with one write.
const TOGETHER: usize = 4;

/// What is known of tags.
#[derive(Default)]
pub(super) struct Tags {
    /// What was looked at and dealt with: shared, or staying here. `None` until a first look was made.
    pub(super) dealt: Option<BTreeMap<BranchName, ObjectId>>,
    /// Tags outside of canonical history, and its tips when that was looked at.
    outside: (Vec<ObjectId>, BTreeMap<BranchName, ObjectId>),
    /// Canonical tags that are here, as refs.
    here: BTreeSet<BranchName>,
    /// Local tags that differ from the canonical ones of their names: what they are at, and should be.
    differ: BTreeMap<BranchName, (ObjectId, ObjectId)>,
    /// Canonical tags for which was done what can be done, when refs were last moved: their objects are here, or lacking, or they
    /// point to what is not canonical yet.
    looked_at: BTreeSet<BranchName>,
    /// Objects of canonical tags that were lacking then.
    lacking: BTreeSet<ObjectId>,
    /// Was everything here once that others had?
    settled: bool,
}

/// What a look found of tags that are not dealt with.
#[derive(Default)]
pub(super) struct FoundTags {
    /// All tags there are.
    all: BTreeMap<BranchName, ObjectId>,
    /// Those that point into canonical history: object and commit.
    inside: BTreeMap<BranchName, (ObjectId, ObjectId)>,
    outside: BTreeMap<BranchName, ObjectId>,
    tips: Vec<ObjectId>,
}

/// What became of canonical tags.
#[derive(Default)]
pub(super) struct TagReport {
    /// They are here, or are not what their event says and never will be.
    here: Vec<BranchName>,
    /// They were made now, or found: their objects are here, whole.
    whole: Vec<ObjectId>,
    /// The tag object is not here.
    lacking: Vec<CanonicalTag>,
    /// All that were to be made.
    looked_at: BTreeSet<BranchName>,
    /// A local tag is something else.
    differ: BTreeMap<BranchName, (ObjectId, ObjectId)>,
    failed: Vec<String>,
}

pub(super) fn recall(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> Tags {
    let dealt = (!rows.is_empty()).then(|| super::look::recall_branches(rows));
    Tags { dealt, ..Tags::default() }
}

/// Looks at tags that are not in `known`, beside the loop.
pub(super) fn look(
    repo: &Repository,
    known: &BTreeMap<BranchName, ObjectId>,
    tips: Vec<ObjectId>,
) -> Result<FoundTags, String> {
    let all = repo.tags().map_err(|error| error.to_string())?;
    let mut found = FoundTags { all, tips, ..FoundTags::default() };
    let new = found.all.iter().filter(|(name, object)| known.get(*name) != Some(*object));
    let new: Vec<(BranchName, ObjectId, ObjectId)> =
        new.filter_map(|(name, object)| Some((name.clone(), *object, repo.tagged_commit(object)?))).collect();
    if new.is_empty() {
        return Ok(found);
    }
    let commits: BTreeSet<ObjectId> = new.iter().map(|(.., commit)| *commit).collect();
    let inside = repo.contained(&commits, &found.tips).map_err(|error| error.to_string())?;
    for (name, object, commit) in new {
        if inside.contains(&commit) {
            found.inside.insert(name, (object, commit));
        } else {
            found.outside.insert(name, object);
        }
    }
    Ok(found)
}

/// Makes the canonical tags that are not here, as far as they point into what `tips` reach.
pub(super) fn make(repo: &Repository, tags: Vec<CanonicalTag>, tips: &[ObjectId]) -> TagReport {
    let mut report = TagReport::default();
    let there = match repo.tags() {
        Ok(there) => there,
        Err(error) => {
            report.failed.push(error.to_string());
            return report;
        }
    };
    report.looked_at = tags.iter().map(|tag| tag.name.clone()).collect();
    let (mut missing, mut whole) = (Vec::new(), Vec::new());
    for tag in tags {
        match (there.get(&tag.name), repo.tagged_commit(&tag.object)) {
            (Some(local), _) if *local != tag.object => {
                report.differ.insert(tag.name, (*local, tag.object));
            }
            (_, None) if !repo.has(&tag.object) => missing.push(tag),
            (local, Some(commit)) if commit == tag.commit => whole.push((tag, local.is_some())),
            (..) => report.here.push(tag.name),
        }
    }
    let commits: BTreeSet<ObjectId> =
        missing.iter().map(|tag| tag.commit).chain(whole.iter().map(|(tag, _)| tag.commit)).collect();
    let inside = match repo.contained(&commits.into_iter().filter(|commit| repo.has(commit)).collect(), tips) {
        Ok(inside) => inside,
        Err(error) => {
            report.failed.push(error.to_string());
            return report;
        }
    };
    report.lacking.extend(missing.into_iter().filter(|tag| inside.contains(&tag.commit)));
    whole.retain(|(tag, _)| inside.contains(&tag.commit));
    let new: Vec<_> = whole.iter().filter(|(_, there)| !there).map(|(tag, _)| (tag.name.clone(), tag.object)).collect();
    let mut made = BTreeMap::new();
    if new.len() >= TOGETHER {
        match repo.set_tags(&new).and_then(|()| repo.tags()) {
            Ok(now) => made = now,
            Err(error) => {
                report.failed.push(error.to_string());
                return report;
            }
        }
    }
    for (tag, there) in whole {
        match if there || made.get(&tag.name) == Some(&tag.object) {
            Ok(())
        } else {
            repo.set_tag(&tag.name, tag.object)
        } {
            Ok(()) => {
                report.whole.push(tag.object);
                report.here.push(tag.name);
            }
            Err(error) => report.failed.push(error.to_string()),
        }
    }
    report
}

impl Core {
    /// Tags that need not be looked at again: dealt with, or known to be outside of what is canonical now.
    pub(super) fn known_tags(&self, tips: &[ObjectId]) -> BTreeMap<BranchName, ObjectId> {
        let mut known = self.tags.dealt.clone().unwrap_or_default();
        if self.tags.outside.0 == tips {
            known.extend(self.tags.outside.1.iter().map(|(name, object)| (name.clone(), *object)));
        }
        let here = self.state.tags().into_iter().filter(|tag| self.tags.here.contains(&tag.name));
        known.extend(here.map(|tag| (tag.name, tag.object)));
        known
    }

    /// Shares what is to be shared of tags that were found.
    pub(super) fn weigh_tags(&mut self, now: Millis, found: FoundTags) {
        let FoundTags { all, inside, outside, tips } = found;
        if tips.is_empty() {
            return;
        }
        let founder = self.state.genesis().and_then(|(id, _)| self.state.event(id)).map(|event| event.body().author);
        let maintains = self.my_member().and_then(|me| self.state.role(&me)).is_some_and(|role| role.maintains());
        // What was here before the first `up` stays here, but for whoever founded the project.
        let stays = self.tags.dealt.is_none() && founder != Some(self.me);
        let canonical: BTreeMap<BranchName, ObjectId> =
            self.state.tags().into_iter().map(|tag| (tag.name, tag.object)).collect();
        let differ = |(name, object): (&BranchName, &ObjectId)| {
            let local = all.get(name).filter(|local| *local != object)?;
            Some((name.clone(), (*local, *object)))
        };
        let differ: BTreeMap<_, _> = canonical.iter().filter_map(differ).collect();
        // One that was in the way of the project's is gone.
        self.landing.refs_wanted |= self.tags.differ.keys().any(|name| !differ.contains_key(name));
        self.say_differing(differ);
        let mut share = Vec::new();
        for (name, (object, commit)) in &inside {
            let private = self.settings.is_private(name);
            if maintains && !stays && !private && !canonical.contains_key(name) {
                share.push((name.clone(), *object, *commit));
            }
        }
        if let Err(refusal) = self.share_tags(now, &share) {
            // Not dealt with: the next look comes back to it.
            return self.problem(&refusal);
        }
        self.hold(&share.iter().map(|(_, object, _)| *object).collect::<Vec<_>>());
        let mut dealt: BTreeMap<BranchName, ObjectId> =
            inside.into_iter().map(|(name, (object, _))| (name, object)).collect();
        if stays {
            dealt.extend(outside.iter().map(|(name, object)| (name.clone(), *object)));
        }
        let mut rows = super::look::branch_rows(&dealt);
        if self.tags.dealt.is_none() {
            rows.push((Vec::new(), Some(Vec::new())));
        }
        let known = self.tags.dealt.get_or_insert_default();
        known.retain(|name, _| {
            let there = all.contains_key(name);
            if !there {
                rows.push((name.as_str().as_bytes().to_vec(), None));
            }
            there
        });
        known.extend(dealt);
        if self.tags.outside.0 == tips {
            self.tags.outside.1.extend(outside);
        } else {
            self.tags.outside = (tips, outside);
        }
        if !rows.is_empty() {
            self.note(Note::Tags, rows);
        }
    }

    fn share_tags(&mut self, now: Millis, tags: &[(BranchName, ObjectId, ObjectId)]) -> Result<(), Refusal> {
        let (mut events, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
        for tag in tags {
            if part.len() == limits::TAGS || bytes + tag.0.as_str().len() > NAMES {
                events.push(std::mem::take(&mut part));
                bytes = 0;
            }
            bytes += tag.0.as_str().len();
            part.push(tag.clone());
        }
        events.extend((!part.is_empty()).then_some(part));
        if events.is_empty() {
            return Ok(());
        }
        self.write(now, |writer| {
            for tags in events {
                writer.add(Payload::Tag(Tag { tags, extensions: Extensions::default() }), Vec::new())?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Tag objects that come with a first clone.
    pub(super) fn tag_objects(&self) -> Vec<ObjectId> {
        let objects = self.state.tags().into_iter().filter(|tag| tag.object != tag.commit).map(|tag| tag.object);
        objects.filter(|object| !self.held.contains(object)).take(limits::FETCH_TIPS).collect()
    }

    /// Canonical tags that are not known to be here.
    pub(super) fn tags_to_make(&self) -> Vec<CanonicalTag> {
        self.state.tags().into_iter().filter(|tag| !self.tags.here.contains(&tag.name)).collect()
    }

    pub(super) fn tags_made(&mut self, report: TagReport) {
        let mut differ = std::mem::take(&mut self.tags.differ);
        differ.retain(|name, _| !report.here.contains(name));
        self.tags.differ = differ.clone();
        differ.extend(report.differ);
        self.say_differing(differ);
        self.tags.here.extend(report.here);
        self.tags.looked_at = report.looked_at;
        self.tags.lacking = report.lacking.iter().map(|tag| tag.object).collect();
        self.hold(&report.whole);
        for tag in report.lacking {
            self.fetches.want(tag.object, tag.by);
        }
        for why in report.failed {
            self.problem(&Refusal::new("refs", format!("a tag cannot be made: {why}"), "git fsck"));
        }
    }

    /// Is everything here that comes with a clone beside the canonical branches, but for what nobody has who was asked? Looked at until it is.
    pub(super) fn is_settled(&mut self) -> bool {
        if !self.tags.settled && self.sync.has_heard_one() {
            let nowhere = self.fetches.nowhere();
            let seen_to = |tag: &CanonicalTag| self.tags.looked_at.contains(&tag.name);
            self.tags.settled = self.tags.lacking.iter().all(|object| nowhere.contains(object))
                && self.tags_to_make().iter().all(seen_to);
        }
        self.tags.settled
    }

    /// Canonical tags whose objects are not here.
    pub(super) fn tags_lacking(&self) -> usize {
        self.tags.lacking.len()
    }

    fn say_differing(&mut self, differ: BTreeMap<BranchName, (ObjectId, ObjectId)>) {
        let fresh: Vec<_> = differ.iter().filter(|(name, at)| self.tags.differ.get(*name) != Some(*at)).collect();
        for (name, at) in fresh {
            let (local, canonical) = (at.0.short(), at.1.short());
            let text = format!("your tag {name} stays at {local}, and is {canonical} in the project");
            self.notice("tag", None, Some(name.to_string()), Some(at.1), text);
        }
        self.tags.differ = differ;
    }

    /// Local tags that are not what the project has.
    pub(super) fn tag_problems(&self) -> Vec<Refusal> {
        let one = |(name, (local, canonical)): (&BranchName, &(ObjectId, ObjectId))| {
            let (local, canonical) = (local.short(), canonical.short());
            let message = format!("your tag {name} is at {local}, and at {canonical} in the project; yours stays");
            Refusal::new("tag", message, format!("git tag -d {name}  (to get the project's)"))
        };
        self.tags.differ.iter().map(one).collect()
    }
}
