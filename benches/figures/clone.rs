//! Clones, beside `git clone` over git:// between the same hosts.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::measure::{Memory, Peak, figure, median, middle, passed, secs, spent, spread, wait_for};
use crate::netns::{Host, Lan};
use crate::people::{Daemon, Person, join, output, plain_git};

/// How often each of two clones is timed: with the first and the last, six may ask to join in a minute.
const CLONES: usize = 4;

/// The tags of a repository, with what they point to.
const TAGS: [&str; 3] = ["for-each-ref", "--format=%(refname) %(objectname) %(*objectname)", "refs/tags"];

/// A link as slow as this, both ways; without a rate as fast as the machine is.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub(crate) name: &'static str,
    /// Bits in a second.
    pub(crate) rate: Option<u64>,
    /// Milliseconds that each way takes.
    pub(crate) delay: u32,
}

impl Link {
    pub(crate) fn shape(self, host: &Host<'_>) {
        let Some(rate) = self.rate else { return };
        let mut command = host.command("tc");
        // As much as a network card sends at once; the queue of a switch, in time.
        let limits = ["burst", "128kb", "latency", "50ms"];
        command.args(["qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", &format!("{rate}bit")]).args(limits);
        output(command);
    }
}

/// What one way to clone took, each time.
#[derive(Default)]
struct Taken {
    wall: Vec<Duration>,
    processor: Vec<Duration>,
    /// On the cable, both ways.
    bytes: Vec<u64>,
    /// Of sender and receiver.
    memory: [Peak; 2],
}

/// `lansync clone` and `git clone --single-branch` by turns, each with the files checked out and the tags of the branch.
pub(crate) fn clones(lan: &Lan, stage: &Path, from: &Path, what: &str, link: Link) {
    let what = &format!("{what}{}", link.name);
    let a = lan.host("ana");
    let b = if link.delay == 0 { lan.host("bo") } else { lan.host_afar("bo", link.delay) };
    let (ana, bo) = (Person::new(&a, stage), Person::new(&b, stage));
    let hers = ana.repository(from, "payroll");
    let objects = ana.git(&hers, &["rev-list", "--objects", "--all"]).lines().count();
    let tags = ana.git(&hers, &["tag"]).lines().map(|tag| format!("refs/tags/{tag}\n")).collect::<String>();
    ana.lansync(&hers, &["up", "-d"]);
    let daemon = Daemon::start(&ana, &ana.home);
    let url = daemon.url("payroll");
    // The look at the history that follows `up`.
    let listed = hers.join(".git/lansync/inventory");
    wait_for("what the history consists of", Duration::from_secs(60), || {
        (objects < 5_000 || listed.exists()).then_some(())
    });
    // The first time words are read out, which takes as long as people take. A member's next clone needs none.
    let first = join(&ana, &hers, &bo, "payroll");
    let files = bo.git(&first, &["ls-files"]).lines().count();
    let pack = pack_of(&hers, &format!("refs/heads/main\n{tags}"));
    figure(&format!("clone, {what}"), format!("{objects} objects, {files} files, git's pack has {pack} bytes"));
    bo.lansync(&first, &["down"]);
    // Another project keeps the service up, as it is on most days.
    let other = bo.home.join("other");
    plain_git(&bo.home, &["init", "-q", "other"]);
    bo.git(&other, &["commit", "-q", "--allow-empty", "-m", "One"]);
    bo.lansync(&other, &["up", "-d"]);
    for host in [&a, &b] {
        link.shape(host);
    }
    let services = [(&ana, &hers), (&bo, &other)].map(|(who, dir)| who.service(dir).expect("the service's process"));
    let (mut ours, mut gits) = (Taken::default(), Taken::default());
    // Each time as if nobody had looked at the history before.
    let unlisted = std::env::var_os("LANSYNC_UNLISTED").is_some();
    // Until the command ended; of it the log and the objects.
    let (mut ended, mut inside) = (Vec::new(), Vec::new());
    // The last round is for memory: looking at that takes time.
    // Nothing is removed before the end: for seconds after many files were removed ext4 looks for a free inode slowly, so that
    // whoever checks out first after that would pay for it.
    for round in 0..=CLONES {
        let watched = round == CLONES;
        let name = format!("git-clone-{round}");
        let into = bo.home.join(&name);
        timed(&mut gits, &[daemon.child.id()], [&a, &b], watched, || {
            drop(bo.git(&bo.home, &["clone", "-q", "--single-branch", "-b", "main", &url, &name]));
        });
        let its_tags = bo.git(&into, &TAGS);

        let tags = its_tags.lines().count();
        let name = format!("lansync-clone-{round}");
        let into = bo.home.join(&name);
        let (mut done, mut begun) = (String::new(), Instant::now());
        if unlisted {
            let _ = std::fs::remove_file(&listed);
        }
        timed(&mut ours, &services, [&a, &b], watched, || {
            begun = Instant::now();
            done = bo.lansync(&bo.home, &["--yes", "--json", "clone", "payroll", &name]);
            ended.push(begun.elapsed());
            wait_for("the tags", Duration::from_secs(60), || (count_tags(&into.join(".git")) == tags).then_some(()));
        });
        let done: serde_json::Value = serde_json::from_str(&done).expect("JSON");
        inside.push(Duration::from_secs_f64(done["seconds"].as_f64().expect("a number")));
        assert_eq!(bo.git(&into, &["status", "--porcelain"]), "", "files that differ");
        assert_eq!(bo.git(&into, &["rev-parse", "HEAD"]), ana.git(&hers, &["rev-parse", "main"]));
        assert_eq!(bo.git(&into, &TAGS), its_tags, "the tags that git takes");
        bo.lansync(&into, &["down"]);
    }
    figure(&format!("  git clone over git://, {what}"), spread(&gits.wall, secs));
    figure(&format!("  lansync clone, {what}"), spread(&ours.wall, secs));
    figure(&format!("    of it until the command ended, without tags, {what}"), spread(&ended, secs));
    figure(&format!("    of it log and objects, {what}"), spread(&inside, secs));
    let ratio = |ours: &[Duration], gits: &[Duration]| median(ours).as_secs_f64() / median(gits).as_secs_f64();
    figure(&format!("clone against git clone, {what} (bound 0.5)"), format!("{:.2}", ratio(&ours.wall, &gits.wall)));
    // On a machine that is busy with other things, this says more than the clock does.
    figure(&format!("  git clone, processor time of both sides, {what}"), spread(&gits.processor, secs));
    figure(&format!("  lansync clone, processor time of both sides, {what}"), spread(&ours.processor, secs));
    figure(&format!("  the one against the other, {what}"), format!("{:.2}", ratio(&ours.processor, &gits.processor)));
    let bytes = middle(&ours.bytes);
    let against = bytes as f64 / pack as f64;
    let gits_bytes = middle(&gits.bytes);
    figure(&format!("  bytes on the cable, both ways, {what}"), format!("{bytes}, git {gits_bytes}"));
    figure(&format!("  bytes on the cable against git's pack, {what} (bound 1.02)"), format!("{against:.3}"));
    for (side, (ours, gits)) in ["sender", "receiver"].iter().zip(ours.memory.iter().zip(gits.memory)) {
        figure(&format!("  peak memory of the {side}, {what} (bound git's)"), format!("{ours}; git {gits}"));
    }
    if let Some(rate) = link.rate {
        let sending = Duration::from_secs_f64(pack as f64 * 8.0 / rate as f64);
        let over = |wall: &[Duration]| secs(median(wall).saturating_sub(sending.mul_f64(1.05)));
        figure(&format!("  sending git's pack at that rate, {what}"), secs(sending));
        figure(&format!("  what takes longer than 1.05 of that, {what}"), over(&ours.wall));
        figure(&format!("  the same of git's clone, {what}"), over(&gits.wall));
    }
}

/// Without running git, which would take of the time.
fn count_tags(dir: &Path) -> usize {
    let packed = std::fs::read_to_string(dir.join("packed-refs")).unwrap_or_default();
    let loose = std::fs::read_dir(dir.join("refs/tags")).into_iter().flatten().count();
    packed.lines().filter(|line| line.contains(" refs/tags/")).count() + loose
}

/// The bytes of the pack that git sends for these refs.
fn pack_of(repo: &Path, refs: &str) -> u64 {
    let list = repo.with_extension("refs");
    let names: Vec<String> = refs.lines().map(|name| plain_git(repo, &["rev-parse", name])).collect();
    std::fs::write(&list, names.join("\n") + "\n").expect("written");
    let script = format!("git pack-objects -q --revs --delta-base-offset --stdout < '{}' | wc -c", list.display());
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(repo);
    output(command).parse().expect("a number")
}

/// Runs one clone, and notes what it took.
fn timed(taken: &mut Taken, processes: &[u32], hosts: [&Host<'_>; 2], watched: bool, run: impl FnOnce()) {
    let memory = watched.then(|| Memory::watch(hosts));
    let (bytes, before, begun) = (passed(hosts[1]), spent(processes), Instant::now());
    run();
    let took = begun.elapsed();
    if let Some(memory) = memory {
        taken.memory = memory.peaks();
        return;
    }
    taken.wall.push(took);
    taken.processor.push(spent(processes) - before);
    taken.bytes.push(passed(hosts[1]) - bytes);
}
