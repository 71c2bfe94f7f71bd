//! Times, processor time, bytes on the cable, memory; and how they are printed.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::netns::Host;
use crate::people::output;

/// One figure.
pub(crate) fn figure(name: &str, value: impl std::fmt::Display) {
    println!("{name}: {value}");
}

pub(crate) fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

pub(crate) fn secs(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

pub(crate) fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Median, and the range.
pub(crate) fn spread(times: &[Duration], show: fn(Duration) -> String) -> String {
    let (min, max) = (times.iter().min().expect("some"), times.iter().max().expect("some"));
    format!("{} (median of {}, {} to {})", show(median(times)), times.len(), show(*min), show(*max))
}

/// What it runs on, and what a durable write costs here, which is part of every figure about commits.
pub(crate) fn machine(dir: &Path) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_matches([' ', '\t', ':']);
    figure("machine", format!("{cores} cores, {cpu}, Linux {}", kernel.trim()));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    figure("load before the run", load.split(' ').next().unwrap_or_default());
    let times: Vec<Duration> = (0..50)
        .map(|_| {
            let mut file = std::fs::File::create(dir.join("fsync")).expect("a file");
            file.write_all(&[7; 4096]).expect("written");
            let begun = Instant::now();
            file.sync_all().expect("synced");
            begun.elapsed()
        })
        .collect();
    figure("fsync of 4 KiB here", spread(&times, ms));
}

/// Waits for a condition, looking 5,000 times a second, which costs a core little.
pub(crate) fn wait_for<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < bound, "waited for {what} for {bound:?} in vain");
        std::thread::park_timeout(Duration::from_micros(200));
    }
}

/// What is left to say is said by then.
pub(crate) fn settled(host: &Host<'_>) -> u64 {
    std::thread::park_timeout(Duration::from_millis(100));
    passed(host)
}

/// Bytes that a host has sent and received so far, all of every packet.
pub(crate) fn passed(host: &Host<'_>) -> u64 {
    let mut command = host.command("cat");
    command.arg("/proc/net/dev");
    let said = output(command);
    let line = said.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("a host has eth0");
    let fields: Vec<u64> = line.split_whitespace().map(|field| field.parse().expect("a number")).collect();
    fields[0] + fields[8]
}

/// Processor time of these processes, of their children that have ended, and of our children that have ended.
pub(crate) fn spent(processes: &[u32]) -> Duration {
    // In hundredths of a second, which Linux has settled on for what it shows.
    let of = |process: &str, fields: std::ops::Range<usize>| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
        // The name, in brackets, may hold anything; utime, stime, cutime and cstime are numbers 11 to 14 after it.
        let after = stat.rsplit(')').next().unwrap_or_default();
        let fields = after.split_whitespace().skip(fields.start).take(fields.len());
        fields.map(|field| field.parse::<u64>().unwrap_or(0)).sum()
    };
    let all = processes.iter().map(|process| of(&process.to_string(), 11..15)).sum::<u64>() + of("self", 13..15);
    Duration::from_millis(all * 10)
}

/// Memory of all processes of a host together, at its peak.
#[derive(Clone, Copy, Default)]
pub(crate) struct Peak {
    /// All that is resident, of each process: `VmRSS`. What processes share counts for each.
    pub(crate) resident: u64,
    /// Of that, what no file stands behind, at its own peak.
    pub(crate) anonymous: u64,
}

impl std::fmt::Display for Peak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |kib: u64| kib as f64 / 1024.0;
        write!(f, "{:.1} MiB, {:.1} anonymous", mib(self.resident), mib(self.anonymous))
    }
}

/// Looks at the memory of the processes of hosts, 200 times a second, which costs time itself: it is not for what is timed.
pub(crate) struct Memory<const HOSTS: usize> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<[Peak; HOSTS]>,
}

impl<const HOSTS: usize> Memory<HOSTS> {
    pub(crate) fn watch(hosts: [&Host<'_>; HOSTS]) -> Self {
        let networks = hosts.map(|host| {
            let mut command = host.command("readlink");
            command.arg("/proc/self/ns/net");
            output(command)
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut peaks = [Peak::default(); HOSTS];
            while !stopped.load(Ordering::Relaxed) {
                for (peak, network) in peaks.iter_mut().zip(&networks) {
                    let now = memory_of(network);
                    peak.resident = peak.resident.max(now.resident);
                    peak.anonymous = peak.anonymous.max(now.anonymous);
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
            peaks
        });
        Self { stop, thread }
    }

    pub(crate) fn peaks(self) -> [Peak; HOSTS] {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only reads")
    }
}

/// What the processes in this network have resident now. `cat` holds the network and nothing else.
fn memory_of(network: &str) -> Peak {
    let mut sum = Peak::default();
    let processes: BTreeSet<_> =
        std::fs::read_dir("/proc").expect("Linux").flatten().map(|entry| entry.path()).collect();
    for process in processes {
        // Each may end at any time.
        if std::fs::read_link(process.join("ns/net")).is_ok_and(|link| link.as_os_str() == network)
            && let Ok(status) = std::fs::read_to_string(process.join("status"))
            && !status.starts_with("Name:\tcat\n")
        {
            let field = |name: &str| -> u64 {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
                line.trim().split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
            };
            sum.resident += field("VmRSS:");
            sum.anonymous += field("RssAnon:");
        }
    }
    sum
}

/// The middle one.
pub(crate) fn middle(bytes: &[u64]) -> u64 {
    let mut sorted = bytes.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
