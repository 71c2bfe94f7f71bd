//! What the parts of a clone take, each alone in this process: the list of objects, the pack, indexing and checking it,
//! making it durable, the files. For whoever makes it faster: `perf record -g` on this shows where the time goes.

use std::io::{BufReader, Write as _};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use lansync::git::{PackLimits, Repository};
use lansync::id::{BranchName, ObjectId};

use crate::measure::{figure, secs, spent};
use crate::people::plain_git;

/// How often all are run.
const TIMES: usize = 3;

pub(crate) fn stages(stage: &Path, from: &Path, what: &str) {
    std::fs::create_dir_all(stage).expect("a directory");
    let repo = Repository::discover(from).expect("a repository");
    let id = |name: &str| plain_git(from, &["rev-parse", name]).parse::<ObjectId>().expect("an id");
    let main = id("main");
    let mut wants = vec![main];
    wants.extend(plain_git(from, &["tag"]).lines().map(|tag| id(&format!("refs/tags/{tag}"))));
    for round in 0..TIMES {
        let say = |name: &str, (wall, processor): (Duration, Duration)| {
            figure(&format!("{name}, {what}, {round}"), format!("{}, processor {}", secs(wall), secs(processor)));
        };
        let pack = stage.join(format!("pack-{round}"));
        let stop = AtomicBool::new(false);
        say(
            "  pack",
            taking(|| {
                let mut out = std::io::BufWriter::new(std::fs::File::create(&pack).expect("a file"));
                repo.write_pack(&wants, &[], &mut out, &stop).expect("a pack");
                out.flush().expect("written");
            })
            .0,
        );
        let into = stage.join(format!("clone-{round}"));
        let branch = BranchName::new("main").expect("a name");
        let clone = Repository::init(&into, &branch).expect("a repository");
        let (took, quarantined) = taking(|| {
            let mut input = BufReader::with_capacity(128 << 10, std::fs::File::open(&pack).expect("it is there"));
            let limits = PackLimits::default();
            clone.receive_pack(&mut input, &wants, &[], &limits, &|_| {}, &stop).unwrap_or_else(|why| panic!("{why}"))
        });
        say("  index and check", took);
        let (took, adopted) = taking(|| quarantined.adopt().expect("adopted"));
        say("  make durable", took);
        say("  check out", taking(|| clone.checkout_new(&branch, main, &|_, _| {}).expect("files")).0);
        // The files stay: ext4 is slow to make new ones for seconds after many were removed.
        adopted.release();
    }
}

fn taking<T>(run: impl FnOnce() -> T) -> ((Duration, Duration), T) {
    let own = [std::process::id()];
    let (before, begun) = (spent(&own), Instant::now());
    let made = run();
    ((begun.elapsed(), spent(&own) - before), made)
}
