//! A service that nobody asks for anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::measure::figure;
use crate::netns::Lan;
use crate::people::{Person, join};

/// How long an idle service is watched.
pub(crate) const IDLE: Duration = Duration::from_secs(30);

/// A service with three repositories that nobody touches: alone, and with a peer that has one of them.
pub(crate) fn idle(lan: &Lan, stage: &Path, own: &Path, many: &Path) {
    let (a, b) = (lan.host("ana"), lan.host("bo"));
    let (ana, bo) = (Person::new(&a, stage), Person::new(&b, stage));
    let hers: Vec<PathBuf> = ["payroll", "ledger", "website"].iter().map(|name| ana.repository(own, name)).collect();
    for (number, dir) in hers.iter().enumerate() {
        // Three projects, not three clones of one.
        ana.git(dir, &["switch", "-q", "--orphan", "fresh"]);
        std::fs::write(dir.join("README.md"), format!("Project {number}\n")).expect("written");
        ana.git(dir, &["add", "README.md"]);
        ana.git(dir, &["commit", "-q", "-m", "Begin"]);
        ana.git(dir, &["branch", "-q", "-D", "main"]);
        ana.git(dir, &["branch", "-q", "-m", "main"]);
        ana.lansync(dir, &["up", "-d"]);
    }
    let service = ana.service(&hers[0]).expect("the service's process");
    watch(service, "three repositories, alone");
    let _his = join(&ana, &hers[0], &bo, "payroll");
    watch(service, "three repositories, one peer connected");
    // What was used once must not stay for ever.
    ana.lansync(&hers[2], &["down"]);
    let large = ana.repository(many, "large");
    ana.lansync(&large, &["up", "-d"]);
    let his = join(&ana, &large, &bo, "large");
    watch(service, "three repositories, one of 90,000 objects just served");
    let his_service = bo.service(&his).expect("the service's process");
    watch(his_service, "two repositories, one of 90,000 objects just cloned");
}

pub(crate) fn watch(service: u32, what: &str) {
    // What was just started comes to rest.
    std::thread::park_timeout(IDLE);
    let before = switches(service);
    let begun = Instant::now();
    std::thread::park_timeout(IDLE);
    let after = switches(service);
    let seconds = begun.elapsed().as_secs_f64();
    let status = std::fs::read_to_string(format!("/proc/{service}/status")).expect("it runs");
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        line.trim().split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    figure(
        &format!("resident, {what} (bound 30 MiB)"),
        format!(
            "{:.1} MiB, {:.1} of it anonymous, {} threads",
            field("VmRSS:") as f64 / 1024.0,
            field("RssAnon:") as f64 / 1024.0,
            field("Threads:")
        ),
    );
    let mut by_name: BTreeMap<&str, u64> = BTreeMap::new();
    for (thread, (name, count)) in &after {
        let count = count - before.get(thread).map_or(0, |(_, count)| *count);
        *by_name.entry(name).or_default() += count;
    }
    let all: u64 = by_name.values().sum();
    figure(&format!("times a second that threads woke, {what}"), format!("{:.2}", all as f64 / seconds));
    for (name, count) in by_name.into_iter().filter(|(_, count)| *count > 0) {
        figure(&format!("  {name}"), format!("{:.2}", count as f64 / seconds));
    }
}

/// How often each thread has gone to sleep: its name and the count, by id.
pub(crate) fn switches(process: u32) -> BTreeMap<String, (String, u64)> {
    let mut all = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten() {
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let count = field("voluntary_ctxt_switches:").and_then(|count| count.parse().ok()).unwrap_or(0);
        let name = field("Name:").unwrap_or_default().to_owned();
        all.insert(task.file_name().to_string_lossy().into_owned(), (name, count));
    }
    all
}
