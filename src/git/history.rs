//! Questions about the history: who descends from whom, how far apart two tips are, what a commit says and changes.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use gix::bstr::{BString, ByteSlice};
use gix::objs;

use super::Repository;
use super::merge::{Ancestry, Entry, Kind, MergeError, Numbers, Objects as _, Steps, Store, Tree};
use super::merge::{EMPTY_TREE, diff, is_binary, split};
use crate::id::ObjectId;
use crate::limits;

/// Bytes of blobs that [`Repository::line_stats`] reads: what it counts is a figure on a screen.
const STATS_BYTES: u64 = 64 << 20;
/// Bytes of one blob that it reads.
const STATS_BLOB_BYTES: usize = 8 << 20;
/// Trees and files that it looks at.
const STATS_ENTRIES: usize = 50_000;
/// Steps that its diffs take together, and each.
const STATS_STEPS: (u64, u64) = (100_000_000, 10_000_000);

/// Commits of which each is looked for alone, which ends as soon as it is clear that a tip does not reach it.
const FEW: usize = 8;

/// Why a question about the history has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The object is not here, or is no commit where it should be one.
    #[error("object {0} is missing")]
    Missing(ObjectId),
    /// The object is not what git writes.
    #[error("object {0} is malformed")]
    Malformed(ObjectId),
    /// The object store could not be read.
    #[error("the object store failed")]
    Store(#[source] gix::Error),
}

impl From<MergeError> for HistoryError {
    fn from(error: MergeError) -> Self {
        match error {
            MergeError::Missing(id) => Self::Missing(id),
            MergeError::Malformed(id) => Self::Malformed(id),
            MergeError::Store(source) => Self::Store(source),
            MergeError::Io(source) => Self::Store(gix::Error::from_error(source)),
            MergeError::UnknownRules(_) | MergeError::Collision | MergeError::Storing(_) => {
                unreachable!("nothing is merged here")
            }
        }
    }
}

/// What a commit says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitSummary {
    /// The first line of the message, at most [`limits::TITLE_BYTES`] bytes, as it is: show it through the escaping
    /// that all texts of others get.
    pub title: String,
    /// The author's name.
    pub author: String,
    /// When it was written, in milliseconds since 1970; negative before that.
    pub at_millis: i64,
    /// Its parents, in order.
    pub parents: Vec<ObjectId>,
}

/// Lines that differ between two commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineStats {
    /// Lines that were added.
    pub added: u64,
    /// Lines that were removed.
    pub removed: u64,
    /// Files that were changed, binary ones too.
    pub files: u64,
    /// Whether everything was counted; a huge change is not.
    pub whole: bool,
}

/// How a tip stands to a branch that may have several heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Branched {
    /// Commits that the tip reaches and none of the heads does.
    pub commits: usize,
    /// The nearest of other tips among those.
    pub on: Option<ObjectId>,
    /// Where it left the first head, as [`Repository::merge_base`] has it.
    pub base: Option<ObjectId>,
}

/// How far two tips are from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distance {
    /// Commits that only the first has.
    pub ahead: usize,
    /// Commits that only the second has.
    pub behind: usize,
}

impl Repository {
    fn ask<T>(&self, question: impl FnOnce(&mut Ancestry<'_>) -> Result<T, MergeError>) -> Result<T, HistoryError> {
        let mut store = Store::new(self.local());
        let mut read = |id| store.read_commit(id);
        Ok(question(&mut Ancestry::new(&mut read))?)
    }

    /// Whether `descendant` reaches `ancestor`; each commit reaches itself. Unrelated ones: false.
    ///
    /// # Errors
    /// [`HistoryError::Missing`] where the answer needs a commit that is not here.
    pub fn is_ancestor(&self, ancestor: ObjectId, descendant: ObjectId) -> Result<bool, HistoryError> {
        self.ask(|history| {
            history.commit(ancestor)?;
            history.commit(descendant)?;
            history.is_ancestor(ancestor, descendant)
        })
    }

    /// Those of these commits that one of the tips reaches. What cannot be read reaches nothing.
    pub fn reached(&self, tips: &[ObjectId], mut commits: BTreeSet<ObjectId>) -> BTreeSet<ObjectId> {
        if commits.len() <= FEW {
            let reaches = |commit: &ObjectId| tips.iter().any(|tip| self.is_ancestor(*commit, *tip).unwrap_or(false));
            commits.retain(reaches);
            return commits;
        }
        // One walk for all of them, until the last is found.
        let mut store = Store::new(self.local());
        let mut read = |id: ObjectId| store.read_commit(id).ok();
        let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut queue = BinaryHeap::new();
        let mut next: Vec<ObjectId> = tips.to_vec();
        while found.len() < commits.len() {
            for id in next.drain(..) {
                if seen.insert(id)
                    && let Some(commit) = read(id)
                {
                    queue.push((commit.seconds, id, commit.parents));
                }
            }
            let Some((_, id, parents)) = queue.pop() else { break };
            if commits.contains(&id) {
                found.insert(id);
            }
            next = parents;
        }
        found
    }

    /// How many commits only `ours` and only `theirs` reach.
    ///
    /// # Errors
    /// As [`Self::is_ancestor`].
    pub fn ahead_behind(&self, ours: ObjectId, theirs: ObjectId) -> Result<Distance, HistoryError> {
        let sides = self.ask(|history| history.sides(&[ours], &[theirs]))?;
        Ok(Distance { ahead: sides.left.len(), behind: sides.right })
    }

    /// A newest common ancestor; of several that are no ancestors of each other the one with the least id.
    ///
    /// # Errors
    /// As [`Self::is_ancestor`].
    pub fn merge_base(&self, one: ObjectId, other: ObjectId) -> Result<Option<ObjectId>, HistoryError> {
        Ok(self.ask(|history| history.merge_bases(&[one], other))?.first().copied())
    }

    /// How each of these tips stands to the heads beside it, and to `others`; commits that several need are read once.
    /// `None` where a commit that the answer needs is not here.
    pub fn branched(&self, asked: &[(Vec<ObjectId>, ObjectId)], others: &BTreeSet<ObjectId>) -> Vec<Option<Branched>> {
        let mut store = Store::new(self.local());
        let mut read = |id| store.read_commit(id);
        let mut history = Ancestry::new(&mut read);
        let mut one = |heads: &[ObjectId], tip: ObjectId| -> Result<Branched, MergeError> {
            let own = history.sides(&[tip], heads)?.left;
            let mut on = None;
            for other in own.iter().filter(|id| **id != tip && others.contains(*id)) {
                let above = history.sides(&[tip], &[*other])?.left.len();
                on = Some((above, *other)).min(on.or(Some((usize::MAX, *other))));
            }
            let bases = heads.first().map_or(Ok(Vec::new()), |head| history.merge_bases(&[*head], tip))?;
            Ok(Branched { commits: own.len(), on: on.map(|(_, other)| other), base: bases.first().copied() })
        };
        asked.iter().map(|(heads, tip)| one(heads, *tip).ok()).collect()
    }

    /// What `tip` changes, file by file and by id, against where it left these branches (`git diff-tree -r`, without renames).
    /// `None` where it left them nowhere or at several places, changes nothing, or more than is looked at.
    ///
    /// # Errors
    /// As [`Self::is_ancestor`].
    pub(crate) fn raw_change(&self, branches: &[ObjectId], tip: ObjectId) -> Result<Option<RawChange>, HistoryError> {
        let bases = self.ask(|history| history.merge_bases(branches, tip))?;
        let [base] = bases[..] else { return Ok(None) };
        let mut store = Store::new(self.local());
        let (old, new) = (store.read_commit(base)?.tree, store.read_commit(tip)?.tree);
        let (mut change, mut looked_at) = (RawChange::new(), 0);
        let mut todo = vec![(BString::default(), Some(old), Some(new))];
        while let Some((dir, old, new)) = todo.pop() {
            let mut read = |id: Option<ObjectId>| id.map_or(Ok(Tree::new()), |id| store.tree(id));
            let (old, new) = (read(old)?, read(new)?);
            for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                let (old, new) = (old.get(name).copied(), new.get(name).copied());
                if old == new {
                    continue;
                }
                looked_at += 1;
                if looked_at > STATS_ENTRIES {
                    return Ok(None);
                }
                let mut path = dir.clone();
                path.extend_from_slice(name);
                let tree = |entry: Option<Entry>| entry.filter(|entry| entry.kind == Kind::Tree).map(|entry| entry.id);
                let leaf = |entry: Option<Entry>| entry.filter(|entry| entry.kind != Kind::Tree);
                if leaf(old) != leaf(new) {
                    change.insert(path.clone(), (leaf(old), leaf(new)));
                }
                if tree(old) != tree(new) {
                    path.push(b'/');
                    todo.push((path, tree(old), tree(new)));
                }
            }
        }
        Ok((!change.is_empty()).then_some(change))
    }

    /// The commits without parents that `tip` reaches, by id. Walks the whole history.
    ///
    /// # Errors
    /// As [`Self::is_ancestor`].
    pub fn root_commits(&self, tip: ObjectId) -> Result<Vec<ObjectId>, HistoryError> {
        let mut store = Store::new(self.local());
        let (mut seen, mut todo, mut roots) = (BTreeSet::from([tip]), vec![tip], BTreeSet::new());
        while let Some(id) = todo.pop() {
            let parents = store.read_commit(id)?.parents;
            if parents.is_empty() {
                roots.insert(id);
            }
            todo.extend(parents.into_iter().filter(|&parent| seen.insert(parent)));
        }
        Ok(roots.into_iter().collect())
    }

    /// What the commit says of itself; bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// [`HistoryError`] where it is not here or no commit.
    pub fn summary(&self, commit: ObjectId) -> Result<CommitSummary, HistoryError> {
        summary(&mut Store::new(self.local()), commit)
    }

    /// Commits that `tips` reach and none of `bases` does.
    pub(super) fn only_in(&self, tips: &[ObjectId], bases: &[ObjectId]) -> Result<Vec<ObjectId>, HistoryError> {
        Ok(self.ask(|history| history.sides(tips, bases))?.left)
    }

    /// The commit that a text names, in any way that `git rev-parse` takes and that is known here.
    pub fn commit_named(&self, text: &str) -> Option<ObjectId> {
        let repo = self.local();
        let commit = repo.rev_parse_single(text).ok()?.object().ok()?.peel_to_kind(gix::objs::Kind::Commit).ok()?;
        Some(super::from_gix(&commit.id))
    }

    /// The newest `max` commits that `tip` reaches and none of `bases` does, newest first, and how many there are.
    ///
    /// # Errors
    /// As [`Self::is_ancestor`].
    pub fn commits_between(
        &self,
        bases: &[ObjectId],
        tip: ObjectId,
        max: usize,
    ) -> Result<(Vec<(ObjectId, CommitSummary)>, usize), HistoryError> {
        let commits = self.ask(|history| history.sides(&[tip], bases))?.left;
        let mut store = Store::new(self.local());
        let newest = commits.iter().take(max).map(|&id| Ok((id, summary(&mut store, id)?)));
        Ok((newest.collect::<Result<_, HistoryError>>()?, commits.len()))
    }

    /// The lines that `tip` changes against `base` (`git diff --shortstat base tip`); all of its lines without one. Files that were only renamed do not count. Bounded in work; attributes are not looked at.
    ///
    /// # Errors
    /// As [`Self::is_ancestor`].
    pub fn line_stats(&self, base: Option<ObjectId>, tip: ObjectId) -> Result<LineStats, HistoryError> {
        let mut store = Store::new(self.local());
        let old = base.map_or(Ok(EMPTY_TREE), |base| store.read_commit(base).map(|commit| commit.tree))?;
        let new = store.read_commit(tip)?.tree;
        let mut count = Count { store, stats: LineStats { whole: true, ..LineStats::default() }, bytes: 0 };
        count.trees(old, new)?;
        Ok(count.stats)
    }
}

fn summary(store: &mut Store, id: ObjectId) -> Result<CommitSummary, HistoryError> {
    let parents = store.read_commit(id)?.parents;
    let bytes = store.read(id, objs::Kind::Commit)?;
    let (head, message) = bytes.split_once_str("\n\n").unwrap_or((bytes, b""));
    let title = message.trim_start_with(|c| c == '\n').lines().next().unwrap_or(b"").to_str_lossy().into_owned();
    let author = head.lines().find_map(|line| line.strip_prefix(b"author ")).ok_or(HistoryError::Malformed(id))?;
    let (name, rest) = author.split_once_str("<").unwrap_or((author, b""));
    let seconds = rest.rsplit_once_str(">").and_then(|(_, time)| {
        let text = time.to_str().ok()?;
        text.split_whitespace().next()?.parse::<i64>().ok()
    });
    Ok(CommitSummary {
        title: cut(title, limits::TITLE_BYTES),
        author: cut(name.trim().to_str_lossy().into_owned(), limits::TITLE_BYTES),
        at_millis: seconds.unwrap_or(0).saturating_mul(1_000),
        parents,
    })
}

/// At most `bytes` bytes of `text`, whole characters.
fn cut(mut text: String, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.truncate(end);
    text
}

type Change = (Option<Entry>, Option<Entry>);

/// Files with what they were and what they are: modes and ids.
pub(crate) type RawChange = BTreeMap<BString, Change>;

struct Count {
    store: Store,
    stats: LineStats,
    bytes: u64,
}

impl Count {
    fn trees(&mut self, old: ObjectId, new: ObjectId) -> Result<(), HistoryError> {
        let mut changes: Vec<Change> = Vec::new();
        let mut todo = vec![(Some(old), Some(new))];
        let mut looked_at = 0;
        while let Some((old, new)) = todo.pop() {
            let mut read = |id: Option<ObjectId>| id.map_or(Ok(Tree::new()), |id| self.store.tree(id));
            let (old, new) = (read(old)?, read(new)?);
            let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for name in names {
                let (old, new) = (old.get(name).copied(), new.get(name).copied());
                if old == new {
                    continue;
                }
                looked_at += 1;
                if looked_at > STATS_ENTRIES {
                    self.stats.whole = false;
                    return Ok(());
                }
                let tree = |entry: Option<Entry>| entry.filter(|entry| entry.kind == Kind::Tree).map(|entry| entry.id);
                let leaf = |entry: Option<Entry>| entry.filter(|entry| entry.kind != Kind::Tree);
                if tree(old) != tree(new) {
                    todo.push((tree(old), tree(new)));
                }
                if leaf(old) != leaf(new) {
                    changes.push((leaf(old), leaf(new)));
                }
            }
        }
        let (changes, renames) = without_renames(changes);
        self.stats.files += renames;
        self.changes(changes)
    }

    fn changes(&mut self, changes: Vec<Change>) -> Result<(), HistoryError> {
        let mut steps = Steps::of(STATS_STEPS.0, STATS_STEPS.1);
        for (old, new) in changes {
            self.stats.files += 1;
            let same_id = |old: Option<Entry>, new: Option<Entry>| old.zip(new).is_some_and(|(a, b)| a.id == b.id);
            if same_id(old, new) {
                continue;
            }
            let (Some(old), Some(new)) = (self.content(old)?, self.content(new)?) else {
                self.stats.whole = false;
                continue;
            };
            if is_binary(&old) || is_binary(&new) {
                continue;
            }
            let (old, new) = (split(&old), split(&new));
            let mut numbers = Numbers::default();
            let (old, new) = (numbers.of(&old), numbers.of(&new));
            match diff(&old, &new, &mut steps) {
                Ok(hunks) => {
                    self.stats.removed += hunks.iter().map(|hunk| hunk.old.len() as u64).sum::<u64>();
                    self.stats.added += hunks.iter().map(|hunk| hunk.new.len() as u64).sum::<u64>();
                }
                Err(_) => self.stats.whole = false,
            }
        }
        Ok(())
    }

    /// The bytes of what `entry` names; `None` where they are too many.
    fn content(&mut self, entry: Option<Entry>) -> Result<Option<Vec<u8>>, HistoryError> {
        let Some(entry) = entry else { return Ok(Some(Vec::new())) };
        if entry.kind == Kind::Gitlink {
            return Ok(Some(format!("Subproject commit {}\n", entry.id).into_bytes()));
        }
        if self.bytes > STATS_BYTES {
            return Ok(None);
        }
        let content = self.store.blob(entry.id, STATS_BLOB_BYTES)?;
        self.bytes += content.as_ref().map_or(0, |bytes| bytes.len() as u64);
        Ok(content)
    }
}

/// Leaves out, and counts, what only moved: a file that is gone and another that came with the same content.
fn without_renames(changes: Vec<Change>) -> (Vec<Change>, u64) {
    let mut gone: BTreeMap<ObjectId, usize> = BTreeMap::new();
    for change in &changes {
        if let (Some(old), None) = change {
            *gone.entry(old.id).or_default() += 1;
        }
    }
    let mut moved: BTreeMap<ObjectId, usize> = BTreeMap::new();
    let take = |left: &mut BTreeMap<ObjectId, usize>, id| match left.get_mut(&id) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    let mut kept = Vec::new();
    for change in changes {
        match change {
            (None, Some(new)) if take(&mut gone, new.id) => *moved.entry(new.id).or_default() += 1,
            change => kept.push(change),
        }
    }
    let renames = moved.values().map(|&count| count as u64).sum();
    kept.retain(|change| !matches!(change, (Some(old), None) if take(&mut moved, old.id)));
    (kept, renames)
}
