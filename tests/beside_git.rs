//! Lansync beside people's own git: whatever they type, however they let git keep house, nothing that is needed is
//! pruned, nothing of theirs moves but a clean branch forward, no lock stays, and all clones agree in the end.
//!
//! `LANSYNC_SEED` repeats the choices, `LANSYNC_SECONDS` lets the second test go on for so long.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "tests fail at once and say how")]

mod common;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{LONG, Person, lan_or_skip, wait_for, wait_until_equal};

/// Numbers that only look random.
struct Chance(u64);

impl Chance {
    /// From the environment, else from the system; printed.
    fn new() -> Self {
        let given = std::env::var("LANSYNC_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| std::collections::hash_map::RandomState::new().build_hasher().finish());
        println!("LANSYNC_SEED={seed}");
        Self(seed)
    }

    /// Below `bound` (splitmix64).
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { all.get(self.below(all.len())) }
    }
}

/// Nothing is spared by git's housekeeping but what refs, indices and work trees hold.
fn prune_at_once(who: &Person<'_>) {
    for key in ["gc.pruneExpire", "gc.reflogExpire", "gc.reflogExpireUnreachable", "gc.worktreePruneExpire"] {
        let _ = who.git(&["config", key, "now"]);
    }
}

/// All that git has for keeping house.
const HOUSEKEEPING: [&[&str]; 7] = [
    &["gc", "--quiet", "--prune=now"],
    &["gc", "--quiet", "--prune=now", "--aggressive"],
    &["repack", "-q", "-a", "-d"],
    &["prune", "--expire=now"],
    &["maintenance", "run", "--quiet", "--task=gc", "--task=pack-refs", "--task=commit-graph"],
    &["repack", "-q", "--geometric=2", "-d"],
    &["-c", "gc.cruftPacks=false", "gc", "--quiet"],
];

/// Says that it is over when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Is this object here, with all that it reaches?
fn is_whole(who: &Person<'_>, commit: &str) -> bool {
    who.try_git(&["rev-list", "--objects", "--quiet", commit]).status.success()
}

#[test]
fn what_is_needed_outlives_any_housekeeping_and_what_is_not_goes() {
    let Some(lan) = lan_or_skip() else { return };
    let (on_ana, on_bo) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"));
    ana.found("payroll");
    bo.join(&ana, "payroll", "contributor");
    let (done, turn, people) = (AtomicBool::new(false), Mutex::new(()), [&ana, &bo]);
    people.iter().for_each(|who| prune_at_once(who));
    let commands: Vec<(PathBuf, PathBuf)> = people.map(|who| (who.dir(), who.home().join(".gitconfig"))).into();
    std::thread::scope(|scope| {
        // Also where something below fails: the scope waits for git.
        let (end, turn) = (Ends(&done), &turn);
        let git = scope.spawn(|| {
            let mut runs = 0;
            while !done.load(Ordering::Relaxed) {
                for (dir, config) in &commands {
                    let _turn = turn.lock().unwrap();
                    let mut git = std::process::Command::new("git");
                    git.args(HOUSEKEEPING[runs % HOUSEKEEPING.len()]).current_dir(dir).env("GIT_CONFIG_GLOBAL", config);
                    let output = git.output().unwrap();
                    // Git can meet itself: bo's own commands, or a lock of a ref.
                    if !output.status.success() {
                        println!("{:?}: {}", git.get_args(), String::from_utf8_lossy(&output.stderr));
                    }
                }
                runs += 1;
            }
            runs
        });
        let mut open = BTreeMap::new();
        for number in 0..6 {
            // Offered, and at once a commit that only lansync knows.
            let name = format!("fix{number}");
            // Git's own `prune --expire now` takes what a `git commit` beside it is about to refer to.
            let commits = turn.lock().unwrap();
            let tip = bo.commit_on(&name, &format!("{name}.txt"), "text\n", &format!("Fix {number}"));
            drop(commits);
            wait_for("it is offered", LONG, || bo.has(&format!("bo/{name}"), &tip));
            let _ = bo.git(&["branch", "-q", "-D", &name]);
            wait_for("it arrives", LONG, || ana.has(&format!("bo/{name}"), &tip));
            // One that does not go forward: what lands is a merge that lansync makes.
            match number % 3 {
                0 => drop(open.insert(name, tip)),
                1 => drop(ana.land(&format!("bo/{name}"))),
                _ => {
                    let _ = ana.lansync(&["reject", &format!("bo/{name}"), "-m", "not now"]).ok();
                    open.insert(name, tip);
                }
            }
        }
        let main = wait_until_equal(&people);
        for who in people {
            wait_for("the clean main follows", LONG, || who.rev("main") == main);
        }
        drop(end);
        println!("{} rounds of git's housekeeping", git.join().unwrap());
        let prune = || people.map(|who| who.git(HOUSEKEEPING[0]));
        prune();
        for who in people {
            who.fsck();
            for (name, tip) in &open {
                assert!(is_whole(who, tip), "{}: {name} {tip}", who.name);
            }
        }
        let shown = ana.git(&["for-each-ref", "--format=%(refname)", "refs/lansync"]);
        assert!(shown.contains("refs/lansync/rejected/"), "it says why: {shown}");

        // What nobody needs any more goes, also what came as a pack.
        for name in open.keys() {
            let _ = bo.lansync(&["withdraw", &format!("bo/{name}")]).ok();
        }
        let at = |who: &Person<'_>| {
            who.git(&["for-each-ref", "--format=%(refname)", "refs/lansync", "refs/remotes/lansync"])
        };
        for who in people {
            wait_for("only what is canonical is kept", LONG, || at(who) == "refs/remotes/lansync/main");
        }
        prune();
        for who in people {
            who.fsck();
            for (name, tip) in &open {
                assert!(!is_whole(who, tip), "{}: {name} {tip} is kept, and nothing says why", who.name);
            }
            let packs = who.dir().join(".git/objects/pack").read_dir().unwrap();
            let keeps =
                packs.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "keep"));
            assert_eq!(keeps.count(), 0);
        }
        // The very same commit once more: what was known of it before does not stand for its objects.
        let date = "2026-11-28T12:00:00Z";
        let make = || {
            let _ = bo.git(&["switch", "-q", "--detach", "main"]);
            bo.write("again.txt", "again\n");
            let _ = bo.git(&["add", "again.txt"]);
            let mut git = bo.command("git");
            git.args(["commit", "-q", "-m", "Again"]).env("GIT_AUTHOR_DATE", date).env("GIT_COMMITTER_DATE", date);
            assert!(git.status().unwrap().success());
            let tip = bo.rev("HEAD");
            let _ = bo.git(&["branch", "-f", "again", &tip]);
            let _ = bo.git(&["switch", "-q", "main"]);
            tip
        };
        let tip = make();
        wait_for("it is there", LONG, || ana.has("bo/again", &tip));
        let _ = bo.git(&["branch", "-D", "-q", "again"]);
        let _ = bo.lansync(&["withdraw", "bo/again"]).ok();
        for who in people {
            wait_for("its ref goes", LONG, || at(who) == "refs/remotes/lansync/main");
        }
        prune();
        assert!(!is_whole(&ana, &tip) && !is_whole(&bo, &tip));
        assert_eq!(make(), tip);
        let _ = bo.lansync(&["propose", "again"]).ok();
        wait_for("it is there again", LONG, || is_whole(&ana, &tip) && ana.try_rev("lansync/@bo/again").is_some());
        assert_eq!(ana.land("bo/again"), tip);
        people.iter().for_each(|who| who.fsck());
    });
}

/// What a repository looks like at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    /// Every ref.
    refs: BTreeMap<String, String>,
    /// Of each work tree what HEAD is, and what `git status` says.
    trees: BTreeMap<String, Vec<String>>,
}

/// The refs, the work trees, and the refs once more; `held` where somebody holds an index or a HEAD. Whoever moves
/// something between the two looks at the refs is seen, at work still or by the refs.
const LOOK: &str = r#"
refs() { git for-each-ref --format='ref %(refname) %(objectname)'; }
held() {
    for lock in .git/index.lock .git/HEAD.lock .git/worktrees/*/index.lock .git/worktrees/*/HEAD.lock; do
        if [ -e "$lock" ]; then echo held; fi
    done
}
refs
held
git worktree list --porcelain | sed -n 's/^worktree //p' | while read -r tree; do
    if [ -d "$tree" ]; then
        echo "tree $tree"
        echo "head $(git -C "$tree" symbolic-ref -q HEAD)"
        git -C "$tree" --no-optional-locks status --porcelain --untracked-files=all
    fi
done
held
echo again
refs
"#;

/// Looks while lansync is not just moving something: what is half done is not what anybody works with.
fn look(who: &Person<'_>) -> Look {
    let mut look = None;
    wait_for("a moment in which nothing moves", LONG, || {
        let output = who.command("sh").args(["-c", LOOK]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:#?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (first, second) = text.split_once("again\n").unwrap();
        let refs = |text: &str| -> BTreeMap<String, String> {
            let of = |line: &str| {
                let (name, id) = line.strip_prefix("ref ")?.split_once(' ')?;
                Some((name.to_owned(), id.to_owned()))
            };
            text.lines().filter_map(of).collect()
        };
        let mut found = Look { refs: refs(first), ..Look::default() };
        let mut tree = String::new();
        for line in first.lines().filter(|line| !line.starts_with("ref ") && *line != "held") {
            match line.strip_prefix("tree ") {
                Some(path) => path.clone_into(&mut tree),
                None => found.trees.entry(tree.clone()).or_default().push(line.to_owned()),
            }
        }
        let still = !text.lines().any(|line| line == "held") && found.refs == refs(second);
        look = still.then_some(found);
        still
    });
    look.unwrap()
}

/// Refs that lansync may do with as it likes.
fn is_ours(name: &str) -> bool {
    name.starts_with("refs/remotes/lansync/") || name.starts_with("refs/lansync/")
}

/// A tag that a maintainer made and that became canonical: it is made where there is none of that name.
fn is_new_tag(who: &Person<'_>, name: &str, id: &str) -> bool {
    name.starts_with("refs/tags/") && is_in(who, &format!("{id}^{{commit}}"), "lansync/main")
}

/// Is one commit contained in another?
fn is_in(who: &Person<'_>, one: &str, other: &str) -> bool {
    who.try_git(&["merge-base", "--is-ancestor", one, other]).status.success()
}

/// Between two commands of theirs only a canonical branch may have moved, forward, to what landed, where it was clean.
fn check_untouched(who: &Person<'_>, before: &Look, now: &Look) -> usize {
    let mut moved = 0;
    for (name, id) in now.refs.iter().filter(|(name, _)| !is_ours(name)) {
        let Some(old) = before.refs.get(name) else {
            assert!(is_new_tag(who, name, id), "{}: {name} was made at {id}", who.name);
            continue;
        };
        if old != id {
            moved += 1;
            assert_eq!(name, "refs/heads/main", "{}: {name} moved from {old} to {id}", who.name);
            assert!(is_in(who, old, id), "{}: {name} moved from {old} to {id}, which is not forward", who.name);
            assert!(is_in(who, id, "lansync/main"), "{}: {name} moved to {id}, which did not land", who.name);
        }
    }
    for name in before.refs.keys().filter(|name| !is_ours(name)) {
        assert!(now.refs.contains_key(name), "{}: {name} is gone", who.name);
    }
    assert_eq!(before.trees, now.trees, "{}: a work tree looks different", who.name);
    moved
}

/// The same as the reflogs tell it, also of what was moved while a command ran: how often.
fn check_reflogs(who: &Person<'_>) -> usize {
    let mut moved = 0;
    for name in who.git(&["for-each-ref", "--format=%(refname)", "refs/heads"]).lines() {
        let log = std::fs::read_to_string(who.dir().join(".git/logs").join(name)).unwrap_or_default();
        for line in log.lines().filter(|line| line.contains("\tlansync: ")) {
            // A branch that was renamed took its history along.
            let (old, new) = line.split_once(' ').unwrap();
            let new = new.split(' ').next().unwrap();
            // The first checkout of a clone makes it.
            if old.bytes().all(|digit| digit == b'0') {
                continue;
            }
            assert!(is_in(who, old, new), "{}: {name} was moved from {old} to {new}", who.name);
            assert!(is_in(who, new, "lansync/main"), "{}: {name} was moved to {new}, which did not land", who.name);
            moved += 1;
        }
    }
    moved
}

/// Files whose names end in `.lock` below a directory.
fn locks(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in dir.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            locks(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "lock") {
            found.push(path);
        }
    }
}

/// One person at their keyboard.
struct Typist<'a> {
    who: &'a Person<'a>,
    seen: Look,
    made: usize,
    failed: usize,
}

impl Typist<'_> {
    fn git(&mut self, args: &[&str]) {
        let output = self.who.try_git(args);
        if std::env::var_os("LANSYNC_SHOW").is_some() {
            println!(
                "{}: git {} -> {:?} {}",
                self.who.name,
                args.join(" "),
                output.status.code(),
                output.stderr.trim()
            );
        }
        // Git may refuse whatever was typed, but not since a lock stays or an object is missing.
        let broken =
            ["unable to read", "missing", "bad object", "corrupt", "invalid sha1", "does not point to a valid"];
        let said = output.stderr.replace("missing or", "");
        assert!(!broken.iter().any(|word| said.contains(word)), "{}: git {args:?}: {output:#?}", self.who.name);
        assert!(!said.contains(".lock': File exists"), "{}: git {args:?}: {output:#?}", self.who.name);
        self.failed += usize::from(!output.status.success());
    }

    /// Any ref of these, by its full name.
    fn any(&self, chance: &mut Chance, kinds: &[&str]) -> String {
        let is_one = |name: &&String| kinds.iter().any(|kind| name.starts_with(kind));
        let all: Vec<&String> = self.seen.refs.keys().filter(is_one).collect();
        chance.of(&all).map_or_else(|| "refs/heads/main".to_owned(), |name| (*name).clone())
    }

    fn change(&mut self, chance: &mut Chance) {
        self.made += 1;
        let path = format!("dir{}/file{}.txt", chance.below(3), chance.below(6));
        let text: String = (0..chance.below(40)).map(|line| format!("{line} {}\n", chance.below(4))).collect();
        self.who.write(&path, &format!("{text}{} {}\n", self.who.name, self.made));
    }

    fn type_one(&mut self, chance: &mut Chance) {
        let git_dir = self.who.dir().join(".git");
        let under_way = [("MERGE_HEAD", "merge"), ("CHERRY_PICK_HEAD", "cherry-pick"), ("rebase-merge", "rebase")];
        for (file, command) in under_way {
            if git_dir.join(file).exists() {
                if chance.below(3) == 0 {
                    self.git(&["add", "-A"]);
                    return self.git(&["commit", "-q", "--allow-empty", "-m", "Resolved"]);
                }
                return self.git(&[command, "--abort"]);
            }
        }
        let other = self.any(chance, &["refs/heads/", "refs/remotes/lansync/", "refs/tags/"]);
        let branch = self.any(chance, &["refs/heads/"]).replace("refs/heads/", "");
        let new = format!("topic/{}-{}", self.who.name, self.made);
        match chance.below(34) {
            0..=7 => {
                self.change(chance);
                self.git(&["add", "-A"]);
                self.git(&["commit", "-q", "-m", &format!("Change {}", self.made)]);
            }
            8 | 9 => {
                self.change(chance);
                self.git(&["commit", "-q", "-a", "--amend", "-m", &format!("Amended {}", self.made)]);
            }
            10 | 11 => self.git(&["switch", "-q", "-c", &new]),
            12 | 13 => self.git(&["switch", "-q", "main"]),
            14 => self.git(&["switch", "-q", &branch]),
            15 => self.git(&["checkout", "-q", "--detach", &other]),
            16 | 17 => self.git(&["merge", "-q", "--no-edit", &other]),
            18 => self.git(&["rebase", "-q", &other]),
            19 => self.git(&["rebase", "-q", "lansync/main"]),
            20 => self.git(&["cherry-pick", "--allow-empty", &other]),
            21 => {
                self.change(chance);
                self.git(&["stash", "push", "-q", "-u"]);
            }
            22 => self.git(&["stash", "pop", "-q"]),
            23 => self.git(&["reset", "-q", "--hard", "HEAD~1"]),
            24 => self.git(&["reset", "-q", ["--soft", "--mixed"][chance.below(2)], "HEAD~1"]),
            25 => self.git(&["tag", "-f", &format!("tag{}", chance.below(4)), &other]),
            26 => {
                let path = format!("../{}-tree{}", self.who.name, chance.below(3));
                if self.who.dir().join(&path).exists() {
                    self.git(&["worktree", "remove", "--force", &path]);
                } else {
                    self.git(&["worktree", "add", "-q", &path, &branch]);
                }
            }
            27 if branch != "main" => self.git(&["branch", "-q", "-D", &branch]),
            28 if branch != "main" => self.git(&["branch", "-q", "-M", &branch, &new]),
            29 => self.change(chance),
            30 => self.git(&["clean", "-q", "-f", "-d"]),
            31 => self.git(&["checkout", "-q", "--", "."]),
            32 => self.git(&["pack-refs", "--all", "--prune"]),
            _ => {
                let command = HOUSEKEEPING[chance.below(HOUSEKEEPING.len())];
                self.git(command);
            }
        }
    }
}

#[test]
fn whatever_three_people_type_nothing_breaks_and_all_agree() {
    let Some(lan) = lan_or_skip() else { return };
    let mut chance = Chance::new();
    let seconds = std::env::var("LANSYNC_SECONDS").ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let (on_ana, on_bo, on_cy) = (lan.host("ana"), lan.host("bo"), lan.host("cy"));
    let (ana, bo, cy) = (Person::on(&on_ana, "ana"), Person::on(&on_bo, "bo"), Person::on(&on_cy, "cy"));
    ana.found("payroll");
    bo.join(&ana, "payroll", "contributor");
    cy.join(&ana, "payroll", "contributor");
    let people = [&ana, &bo, &cy];
    let mut typists = people.map(|who| Typist { who, seen: look(who), made: 0, failed: 0 });
    let (begun, mut commands, mut moved, mut landed) = (Instant::now(), 0, 0, 0);
    while seconds.map_or(commands < COMMANDS, |seconds| begun.elapsed() < seconds) {
        commands += 1;
        let at = chance.below(3);
        let who = people[at];
        let now = look(who);
        moved += check_untouched(who, &typists[at].seen, &now);
        typists[at].seen = now;
        typists[at].type_one(&mut chance);
        typists[at].seen = look(who);
        if chance.below(6) == 0 {
            // The maintainer approves something, if it merges.
            let list = ana.lansync(&["--json", "list"]).json();
            let open: Vec<&str> = list.as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
            if let Some(name) = chance.of(&open) {
                let shown = ana.lansync(&["show", name]).status.success();
                landed += usize::from(shown && ana.lansync(&["approve", name]).status.success());
            }
        }
        if commands % 40 == 0 {
            println!("{commands} commands, {:?}", begun.elapsed());
            for who in people {
                who.fsck();
            }
        }
    }
    let failed: usize = typists.iter().map(|typist| typist.failed).sum();
    wait_until_equal(&people);
    let took = begun.elapsed();
    let mut in_all = 0;
    for (who, typist) in people.iter().zip(&typists) {
        check_untouched(who, &typist.seen, &look(who));
        in_all += check_reflogs(who);
        who.fsck();
        let left = || {
            let mut found = Vec::new();
            locks(&who.dir().join(".git"), &mut found);
            found
        };
        // It may be writing a ref at this moment.
        wait_for("no lock is left", LONG, || left().is_empty());
        assert_eq!(who.services().len(), 1);
        assert!(!who.service_log().contains("panicked"), "{}", who.service_log());
    }
    println!("{commands} commands in {took:?}, {failed} refused by git; {landed} landings");
    println!("main was moved {in_all} times that reflogs still know, {moved} of all between two commands");
    // Whoever cleans up has what landed.
    let main = ana.canonical().unwrap();
    for who in people {
        let trees = who.git(&["worktree", "list", "--porcelain"]);
        for tree in trees.lines().filter_map(|line| line.strip_prefix("worktree ")).skip(1) {
            let _ = who.git(&["worktree", "remove", "--force", tree]);
        }
        for command in ["merge", "cherry-pick", "rebase"] {
            let _ = who.try_git(&[command, "--abort"]);
        }
        // In this order: `switch` gives way to files that git does not know.
        let _ = who.git(&["reset", "-q", "--hard"]);
        let _ = who.git(&["clean", "-q", "-f", "-d"]);
        let _ = who.git(&["switch", "-q", "main"]);
        let _ = who.git(&["reset", "-q", "--hard", "lansync/main"]);
        assert_eq!(who.rev("main"), main);
        assert_eq!(who.git(&["status", "--porcelain"]), "");
    }
    let _ = bo.git(&["switch", "-q", "-c", "last"]);
    let tip = bo.commit("last.txt", "last\n", "The last one");
    wait_for("it arrives", LONG, || ana.has("bo/last", &tip));
    let main = ana.land("bo/last");
    for who in people {
        wait_for("it lands with everybody", LONG, || who.canonical().as_ref() == Some(&main));
    }
    for who in [&ana, &cy] {
        wait_for("their clean main follows", LONG, || who.rev("main") == main);
    }
}

/// Commands in an ordinary run.
const COMMANDS: usize = 120;
