//! What several want at once leaves the author's machine little more than once: they pass it on to each other.

#![allow(clippy::print_stdout, reason = "what is skipped is said, and figures are printed")]

mod common;

use std::fs;
use std::time::Duration;

use common::{LONG, Person, lan_or_skip, wait_for};

/// How long a large fetch may take on a machine under load.
const LARGE: Duration = Duration::from_secs(120);

/// Content that does not compress, another one for each seed.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn what_four_want_at_once_leaves_the_author_less_than_twice() {
    const FILES: u64 = 24;
    const BYTES: usize = 1 << 20;
    let Some(lan) = lan_or_skip() else { return };
    let hosts = ["ana", "bo", "cy", "di", "eva"].map(|name| lan.host(name));
    let [ana, others @ ..] = ["ana", "bo", "cy", "di", "eva"].each_ref().map(|name| {
        let host = hosts.iter().find(|host| host.name() == *name).expect("one of them");
        Person::on(host, name)
    });
    ana.found("payroll");
    for other in &others {
        other.join(&ana, "payroll", "contributor");
    }
    let connected = |who: &Person<'_>| who.status()["peers"].as_array().map_or(0, |peers| {
        peers.iter().filter(|peer| peer["connected"] == true).count()
    });
    wait_for("everybody is connected with everybody", LONG, || others.iter().all(|who| connected(who) == 4));
    for host in &hosts {
        if let Err(why) = host.shape(100) {
            println!("skipped: {why}");
            return;
        }
    }
    let _ = ana.git(&["switch", "--quiet", "-c", "big"]);
    for file in 0..FILES {
        fs::write(ana.dir().join(format!("file-{file}")), content(file + 1, BYTES)).expect("a writable file");
    }
    let _ = ana.git(&["add", "-A"]);
    let before = hosts[0].sent();
    let _ = ana.git(&["commit", "--quiet", "-m", "Many files"]);
    let tip = ana.rev("HEAD");
    let took = wait_for("everybody has it", LARGE, || {
        others.iter().all(|who| who.try_rev("refs/remotes/lansync/@ana/big").as_deref() == Some(tip.as_str()))
    });
    let sent = hosts[0].sent() - before;
    let size = FILES * BYTES as u64;
    println!("{sent} bytes for {size} to four, in {took:?}");
    assert!(sent >= size, "it comes from nowhere else");
    assert!(sent < 2 * size, "{sent} bytes left the author for {size}; git sends {}", 4 * size);
    others.iter().for_each(Person::fsck);
    // Nothing is left of it in quarantine.
    let left = |who: &Person<'_>| fs::read_dir(who.dir().join(".git/lansync/quarantine")).map_or(0, Iterator::count);
    wait_for("its pieces are cleaned away", LARGE, || others.iter().chain([&ana]).all(|who| left(who) == 0));
}
