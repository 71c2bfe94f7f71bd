//! Connections between machines: by either family of addresses, and what happens when the network goes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what is unexpected, and prints what it measured"
)]

#[path = "common/netns.rs"]
mod netns;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lansync::discovery::look_up;
use lansync::keys::{FeedKey, Secret};
use lansync::quic::{Doors, Endpoint};
use netns::{Host, Lan};

const NAME: &str = "mabc.lansync.invalid";

struct Home(FeedKey);

impl Doors for Home {
    fn open(&self, server_name: &str) -> Option<FeedKey> {
        (server_name == NAME).then(|| self.0.clone())
    }
}

fn key(seed: u8) -> FeedKey {
    FeedKey(Secret::from_seed([seed; 32]))
}

fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

/// Lets everybody in and says who came.
#[test]
#[ignore = "a part of the tests below, which run it on a host"]
fn stays_at_home() {
    run(async {
        let endpoint = Endpoint::bind(7483, Arc::new(Home(key(2)))).unwrap();
        println!("\n@ listens");
        let mut held = Vec::new();
        while let Some(connection) = endpoint.accept().await {
            println!("\n@ came {} from {}", connection.peer().short(), connection.remote_addr());
            held.push(connection);
        }
    });
}

/// Dials a place and says how it went, and how the connection ended.
#[test]
#[ignore = "a part of the tests below, which run it on a host"]
fn goes_out() {
    run(async {
        let endpoint = Endpoint::bind(0, Arc::new(Home(key(1)))).unwrap();
        let place = std::env::var("PLACE").unwrap().parse().unwrap();
        let addrs = look_up(&place).await.unwrap();
        let began = Instant::now();
        match endpoint.dial(&key(1), Some(key(2).peer()), NAME, &addrs).await {
            Ok(connection) => {
                println!("\n@ reached {} in {:?}", connection.remote_addr(), began.elapsed());
                let closed = connection.closed().await;
                println!("\n@ ended {:?} {}", closed.end, closed.by_peer);
            }
            Err(error) => println!("\n@ failed after {:?}: {error}", began.elapsed()),
        }
    });
}

struct Part {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Part {
    fn start(host: &Host<'_>, part: &str, place: &str) -> Self {
        let mut command = host.command(std::env::current_exe().unwrap().to_str().unwrap());
        command.args(["--exact", part, "--ignored", "--nocapture", "--test-threads=1"]).env("PLACE", place);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next thing it says; it always says something within seconds, or ends.
    fn says(&mut self) -> String {
        let said =
            self.lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix("@ ").map(str::to_owned));
        said.expect("it says how it went")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn peers_are_reached_by_both_families_and_a_cut_is_seen() {
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return println!("skipped: {why}"),
    };
    let (ana, bo) = (lan.host("ana"), lan.host("bo"));
    let mut home = Part::start(&bo, "stays_at_home", "");
    assert_eq!(home.says(), "listens");
    let places = [bo.ip().to_string(), format!("[{}%eth0]:7483", bo.link_local())];
    let mut out: Vec<Part> = Vec::new();
    for place in places {
        let mut part = Part::start(&ana, "goes_out", &place);
        let said = part.says();
        println!("{said}");
        assert!(said.starts_with("reached"), "{said}");
        let came = home.says();
        assert!(came.starts_with(&format!("came {}", key(1).peer().short())), "{came}");
        out.push(part);
    }
    bo.silence();
    let cut = Instant::now();
    for part in &mut out {
        assert_eq!(part.says(), "ended Idle false");
    }
    println!("the cut was seen after {:?}", cut.elapsed());
    assert!(cut.elapsed() < Duration::from_secs(8));
    let mut part = Part::start(&ana, "goes_out", &bo.ip().to_string());
    let said = part.says();
    assert!(said.starts_with("failed") && said.contains("no answer"), "{said}");
    bo.restore();
    let mut part = Part::start(&ana, "goes_out", &bo.ip().to_string());
    assert!(part.says().starts_with("reached"));
    drop(home);
    // A killed process says no goodbye; whoever was connected learns it by silence.
    assert_eq!(part.says(), "ended Idle false");
}

#[test]
fn a_machine_without_ipv6_is_reached_too() {
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return println!("skipped: {why}"),
    };
    let (ana, bo) = (lan.host("ana"), lan.host("bo"));
    let mut off = bo.command("sh");
    off.args(["-c", "for all in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $all; done"]);
    if !off.status().unwrap().success() {
        return println!("skipped: IPv6 cannot be switched off here");
    }
    let mut home = Part::start(&bo, "stays_at_home", "");
    assert_eq!(home.says(), "listens");
    let mut part = Part::start(&ana, "goes_out", &bo.ip().to_string());
    let said = part.says();
    assert!(said.starts_with("reached 10.77.0.2:7483"), "{said}");
    let mut back = Part::start(&bo, "goes_out", "127.0.0.1");
    assert!(back.says().starts_with("reached"));
}
