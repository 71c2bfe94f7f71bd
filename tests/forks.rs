//! Feeds that forked: chains of one key that honest machines heard apart, and what they make of them when they meet.

// Why a test is skipped must be seen.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use hostile::{Clone, Raw, keys, offer, run, until};
use lansync::api::Request;
use lansync::eventlog::{Ack, Event, Extensions, Payload, Role};
use lansync::id::ObjectId;
use lansync::quic::CloseCode;

/// So many events, as an honest clone would write them.
fn chain(by: &mut Raw, count: usize, said: &str) -> Vec<Event> {
    let mut events: Vec<Event> =
        (1..count).map(|_| by.write(Payload::Ack(Ack { extensions: Extensions::default() }), vec![])).collect();
    events.extend((count > 0).then(|| by.write(offer(said, ObjectId::Sha1([1; 20])), vec![])));
    events
}

/// Says these events to a node, and waits until they are in its log.
async fn give(by: &Raw, to: &Clone, events: &[Event]) {
    let before = to.status().await.log.events;
    let mut session = by.session(to).await;
    for part in events.chunks(50) {
        session.send(&part.iter().collect::<Vec<_>>()).await;
    }
    let held = || async { to.status().await.log.events >= before + events.len() as u64 };
    until("the events are held", held).await;
    session.connection.close(CloseCode::Bye, "given");
}

async fn same_log(clones: &[&Clone]) {
    let same = || async {
        let mut logs = Vec::new();
        for clone in clones {
            logs.push(clone.status().await.log);
        }
        logs.iter().all(|log| *log == logs[0])
    };
    until("the logs are equal", same).await;
}

/// Ana and Bo hear chains of one key that part after `common` events, with `left` and `right` more, and then meet.
async fn two_chains(common: usize, left: usize, right: usize) {
    let (ana, bo, mallory) = (keys("ana", 1), keys("bo", 2), keys("mallory", 3));
    let ana = Clone::found(&ana, &[(&bo, Role::Maintainer), (&mallory, Role::Contributor)]).await;
    let bo = Clone::beside(&bo, &ana).await;
    let mut one = Raw::new(mallory.clone(), &ana);
    let mut begun = vec![one.certificate()];
    begun.extend(chain(&mut one, common, "common"));
    let mut two = Raw::new(mallory, &ana);
    for event in &begun {
        two.state.take(event.clone()).expect("it fits");
    }
    let left: Vec<Event> = begun.iter().cloned().chain(chain(&mut one, left, "left")).collect();
    let right: Vec<Event> = begun.into_iter().chain(chain(&mut two, right, "right")).collect();
    give(&one, &ana, &left).await;
    give(&two, &bo, &right).await;
    ana.ask(Request::Connect { addr: bo.addr().to_string() }).await.expect("it connects");
    for clone in [&ana, &bo] {
        let told = clone.told("copied-key", "was used twice, by a copy of it").await;
        assert_eq!(told.member.as_deref(), Some("mallory"));
        assert!(told.text.contains("lansync down, then lansync up, there"), "{}", told.text);
    }
    same_log(&[&ana, &bo]).await;
    // Both proofs are kept, and whoever comes later has them as well.
    let proofs = common + 1;
    for clone in [&ana, &bo] {
        let log = clone.node.ask(log_request()).await.expect("it is read");
        let of_number = log.iter().filter(|reply| {
            let lansync::api::Reply::Line { value } = reply else { return false };
            value["author"] == one.keys.peer().to_string() && value["seq"] == proofs
        });
        assert_eq!(of_number.count(), 2);
    }
    bo.works_with(&ana).await;
    same_log(&[&ana, &bo]).await;
}

fn log_request() -> Request {
    Request::Log { since: None, until: None, author: None, kind: None, limit: None, follow: false, after: None }
}

#[test]
fn chains_of_one_length_that_part_at_the_end() {
    run(two_chains(3, 1, 1));
}

#[test]
fn chains_of_different_length_that_part_at_once() {
    run(two_chains(0, 1, 4));
}

#[test]
fn the_other_way_round() {
    run(two_chains(0, 4, 1));
}

#[test]
fn long_chains_that_part_in_the_middle() {
    run(two_chains(150, 200, 130));
}
