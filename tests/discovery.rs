//! Nodes find each other on a network, by what travels on it and nothing else.
//!
//! Each host runs this test program again, as `a_node`, which is told what to do on its input and says on its
//! output what it hears.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at what is unexpected, and prints what it measured"
)]

#[path = "common/netns.rs"]
mod netns;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lansync::discovery::{Announcement, Change, Discovery, Interfaces, JoinCode, Joining};
use lansync::id::{Handle, PeerId};
use netns::{Host, Lan};

const KEY: [u8; 32] = [7; 32];

/// What a node is told: a line of its input.
/// `announce`, `open` (to joining), `withdraw`, and the end of the input to shut down.
#[test]
#[ignore = "a part of the tests below, which run it on a host"]
fn a_node() {
    let seed: u8 = std::env::var("NODE").unwrap().parse().unwrap();
    let only = std::env::var("ONLY").ok();
    let interfaces = only.map_or(Interfaces::All, |name| Interfaces::Only(vec![name]));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (lines, mut told) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let _ = lines.send(line.unwrap());
        }
    });
    runtime.block_on(async move {
        let discovery = Discovery::start(&interfaces).unwrap();
        let mut changes = discovery.changes();
        let peer = PeerId([seed; 32]);
        let mut nonce = 0;
        let mut say = |joining| {
            nonce += 1;
            let announcement = Announcement::seal(&KEY, &peer, [nonce; 8], joining);
            discovery.announce(peer, &announcement, 7000 + u16::from(seed)).unwrap();
        };
        println!("\n@ ready");
        loop {
            tokio::select! {
                line = told.recv() => match line.as_deref() {
                    Some("announce") => say(None),
                    Some("open") => say(Some(Joining {
                        project: "demo".to_owned(),
                        handle: Handle::new("ana").unwrap(),
                        code: JoinCode([1; 8]),
                        roots: None,
                    })),
                    Some("withdraw") => discovery.withdraw(&peer),
                    Some(_) | None => break,
                },
                change = changes.next() => match change.unwrap() {
                    Change::Found(found) => {
                        let peer = found.announcement.open_tag(&KEY).unwrap();
                        let joining = found.announcement.joining().map_or("-", |joining| &joining.project);
                        let addrs: Vec<String> = found.addrs.iter().map(ToString::to_string).collect();
                        println!("\n@ found {} {joining} {}", peer.0[0], addrs.join(" "));
                    }
                    Change::Lost { .. } => println!("\n@ lost"),
                },
            }
        }
        let began = Instant::now();
        discovery.shutdown().await;
        assert!(changes.next().await.is_none());
        assert!(began.elapsed() < Duration::from_secs(1));
    });
}

/// A node on a host, as the test sees it.
struct Node {
    child: Child,
    input: Option<ChildStdin>,
    heard: mpsc::Receiver<String>,
}

impl Node {
    fn start(mut command: Command, seed: u8, only: Option<&str>) -> Self {
        command
            .args(["--exact", "a_node", "--ignored", "--nocapture", "--test-threads=1"])
            .env("NODE", seed.to_string());
        if let Some(only) = only {
            command.env("ONLY", only);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (heard, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix("@ ") {
                    let _ = heard.send(line.to_owned());
                }
            }
        });
        let input = child.stdin.take();
        let node = Self { child, input, heard: receiver };
        node.hears("ready");
        node
    }

    fn on(host: &Host<'_>, seed: u8) -> Self {
        Self::start(host.command(std::env::current_exe().unwrap().to_str().unwrap()), seed, None)
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.input.as_mut().unwrap(), "{what}").unwrap();
    }

    /// Waits for a line that starts so, and says how long that took.
    fn hears(&self, start: &str) -> (String, Duration) {
        self.hears_all(start, &[])
    }

    /// The same, for a line that also has all these parts.
    fn hears_all(&self, start: &str, parts: &[&str]) -> (String, Duration) {
        let began = Instant::now();
        let mut lines = Vec::new();
        while let Some(left) = Duration::from_secs(15).checked_sub(began.elapsed()) {
            let Ok(line) = self.heard.recv_timeout(left) else { break };
            if line.starts_with(start) && parts.iter().all(|part| line.contains(part)) {
                return (line, began.elapsed());
            }
            lines.push(line);
        }
        panic!("{start} {parts:?} was not heard, but {lines:?}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Longer than anything here takes, also where the machine is busy with other tests.
const SOON: Duration = Duration::from_secs(4);

#[test]
fn two_find_each_other_and_see_each_other_leave() {
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return println!("skipped: {why}"),
    };
    let (a, b) = (lan.host("ana"), lan.host("bo"));
    let (mut ana, mut bo) = (Node::on(&a, 1), Node::on(&b, 2));
    ana.tell("announce");
    let (line, took) = bo.hears_all("found 1 -", &["10.77.0.1:7001"]);
    println!("found after {took:?}: {line}");
    assert!(took < SOON, "{took:?}");
    let (line, took) = match line.contains("fe80::1%") {
        true => (line, took),
        false => bo.hears_all("found 1 -", &["10.77.0.1:7001", "[fe80::1%"]),
    };
    println!("with both families after {took:?}: {line}");
    assert!(!line.contains("127.0.0.1"), "{line}");
    // Whoever comes later hears of those who are here.
    bo.tell("announce");
    let (_, took) = ana.hears("found 2 -");
    println!("the other way after {took:?}");
    assert!(took < SOON, "{took:?}");

    ana.tell("open");
    let (_, took) = bo.hears("found 1 demo");
    println!("a changed announcement after {took:?}");
    assert!(took < SOON, "{took:?}");
    ana.tell("announce");
    let (_, took) = bo.hears("found 1 -");
    println!("changed back after {took:?}");

    ana.tell("withdraw");
    let (_, took) = bo.hears("lost");
    println!("withdrawn after {took:?}");
    assert!(took < SOON, "{took:?}");
    bo.input = None;
    let (_, took) = ana.hears("lost");
    println!("shut down after {took:?}");
    assert!(took < SOON, "{took:?}");
    assert!(bo.child.wait().unwrap().success());
}

#[test]
fn a_cable_that_is_plugged_in_is_noticed() {
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return println!("skipped: {why}"),
    };
    let (a, b) = (lan.host("ana"), lan.host("bo"));
    a.cut();
    let (mut ana, mut bo) = (Node::on(&a, 1), Node::on(&b, 2));
    ana.tell("announce");
    bo.tell("announce");
    a.restore();
    let (_, took) = bo.hears_all("found 1", &["10.77.0.1"]);
    println!("she is seen {took:?} after the cable");
    assert!(took < SOON, "{took:?}");
    let (_, took) = ana.hears_all("found 2", &["10.77.0.2"]);
    println!("and sees, {took:?} later");
    assert!(took < SOON, "{took:?}");
    a.cut();
    let (_, took) = ana.hears("lost");
    println!("and sees nobody {took:?} after it is pulled");
    a.restore();
    let (_, took) = ana.hears_all("found 2", &["10.77.0.2"]);
    println!("and sees again {took:?} after it is back");
    assert!(took < SOON, "{took:?}");
}

#[test]
fn two_on_one_machine_without_a_network_find_each_other() {
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return println!("skipped: {why}"),
    };
    let host = lan.host("both");
    host.cut();
    let program = std::env::current_exe().unwrap();
    for only in [Some("lo"), None] {
        let node = |seed| Node::start(host.command(program.to_str().unwrap()), seed, only);
        let (mut ana, mut bo) = (node(1), node(2));
        ana.tell("announce");
        let (line, took) = bo.hears_all("found 1", &["127.0.0.1:7001"]);
        println!("{only:?}: found after {took:?}: {line}");
        assert!(took < SOON, "{took:?}");
        bo.tell("announce");
        ana.hears_all("found 2", &["127.0.0.1:7002"]);
        ana.input = None;
        let (_, took) = bo.hears("lost");
        println!("{only:?}: lost after {took:?}");
        assert!(took < SOON, "{took:?}");
    }
}

#[test]
fn two_who_keep_to_loopback_say_nothing_on_the_network() {
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return println!("skipped: {why}"),
    };
    let (both, third) = (lan.host("both"), lan.host("third"));
    let program = std::env::current_exe().unwrap();
    let node = |seed| Node::start(both.command(program.to_str().unwrap()), seed, Some("lo"));
    let (mut ana, mut bo, mut cy) = (node(1), node(2), Node::on(&third, 3));
    cy.tell("announce");
    ana.tell("announce");
    let (line, _) = bo.hears("found");
    assert!(line.starts_with("found 1") && line.contains("127.0.0.1") && !line.contains("10.77"), "{line}");
    bo.tell("announce");
    let (line, _) = ana.hears("found");
    assert!(line.starts_with("found 2"), "not Cy, who is on the network: {line}");
    assert!(cy.heard.try_recv().is_err());
}

#[test]
fn two_on_one_machine_find_each_other_by_its_network() {
    let lan = match Lan::new() {
        Ok(lan) => lan,
        Err(why) => return println!("skipped: {why}"),
    };
    let host = lan.host("both");
    let (mut ana, bo) = (Node::on(&host, 1), Node::on(&host, 2));
    ana.tell("announce");
    let (line, took) = bo.hears_all("found 1", &["10.77.0.1:7001"]);
    println!("found after {took:?}: {line}");
    assert!(!line.contains("127.0.0.1"), "{line}");
}
