//! Clocks that are wrong, that lie and that jump: what is held, who is told, and that nothing stops.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests print figures and fail at once"
)]

mod common {
    pub mod hostile;
}

use std::time::Instant;

use common::hostile::{Clone, Raw, commit, git, keys, offer, run, soon, until};
use lansync::api::{Refusal, Request};
use lansync::eventlog::{Draft, Role};
use lansync::hlc::Hlc;
use lansync::id::ObjectId;
use lansync::limits;
use lansync::node::clock;
use lansync::sync::Message;

const HOUR: i64 = 3_600_000;

fn some_tip() -> ObjectId {
    ObjectId::Sha1([0x77; 20])
}

async fn problem(clone: &Clone, code: &str) -> Option<Refusal> {
    clone.status().await.problems.into_iter().find(|problem| problem.code == code)
}

async fn refused(clone: &Clone) -> Refusal {
    clone.ask(Request::Invite { role: None, expires: 60, uses: 1 }).await.expect_err("nothing is written")
}

async fn sees(clone: &Clone, member: &str) -> bool {
    clone.status().await.peers.iter().any(|peer| peer.member == member && peer.connected)
}

/// Ana with the nodes of two others.
async fn three() -> (Clone, Clone, Clone) {
    let (bo, cleo) = (keys("bo", 2), keys("cleo", 3));
    let ana = Clone::found(&keys("ana", 1), &[(&bo, Role::Contributor), (&cleo, Role::Contributor)]).await;
    let (bo, cleo) = (Clone::join(&bo, &ana).await, Clone::join(&cleo, &ana).await);
    until("all are here", || async { ana.status().await.log.feeds == 3 }).await;
    (ana, bo, cleo)
}

#[test]
fn a_clock_that_jumps_stops_only_writing_and_only_until_it_is_right() {
    run(async {
        let (ana, bo, _cleo) = three().await;
        assert_eq!(problem(&ana, "clock").await, None);
        // Forward by years, back by hours, and before this program was built.
        for (ahead, says) in [
            (3 * 365 * 24 * HOUR, "1095 days ahead of those of 2 other members, so nothing is written"),
            (-5 * HOUR, "behind those of 2 other members, so nothing is written"),
            (-60 * 365 * 24 * HOUR, "stands before lansync was built"),
        ] {
            ana.set_clock(ahead);
            let refusal = refused(&ana).await;
            assert_eq!((refusal.code.as_str(), refusal.hint.is_some()), ("clock", true));
            assert!(refusal.message.contains(says), "{refusal:?}");
            assert_eq!(problem(&ana, "clock").await, Some(refusal));
            // She receives, fetches, and her refs move; where hers is behind, what Bo writes lies in the future and waits.
            let name = format!("fix/{}", ahead.unsigned_abs());
            git(&bo.dir, &["switch", "-q", "-c", &name, "lansync/main"]);
            let tip = commit(&bo.dir, "rates", &name);
            let there = || async {
                let refs = ["for-each-ref", "--format=%(objectname)", &format!("refs/remotes/lansync/@bo/{name}")];
                git(&ana.dir, &refs) == tip.to_string()
            };
            if ahead > 0 {
                until("Bo's branch is at Ana's", there).await;
            }
            // What she commits meanwhile waits.
            git(&ana.dir, &["switch", "-q", "-c", &format!("mine/{}", ahead.unsigned_abs()), "lansync/main"]);
            commit(&ana.dir, "mine", &name);
            ana.set_clock(0);
            let offered = format!("ana offers ana/mine/{}", ahead.unsigned_abs());
            bo.told("proposal", &offered).await;
            until("Bo's branch is at Ana's", there).await;
            assert_eq!(problem(&ana, "clock").await, None);
        }
        ana.works_with(&bo).await;
        let newest = ana.status().await;
        assert_eq!(newest.log.digest, bo.status().await.log.digest);
        let told: Vec<String> =
            ana.notices().into_iter().filter(|one| one.notice == "clock").map(|one| one.text).collect();
        assert!(told.len() <= 6, "once when wrong, once when right: {told:#?}");
    });
}

#[test]
fn sessions_end_and_begin_again_while_the_clock_is_wrong() {
    run(async {
        let (ana, bo, _cleo) = three().await;
        for ahead in [-48 * HOUR, 48 * HOUR] {
            ana.set_clock(ahead);
            let status = ana.status().await;
            assert_eq!(status.peers.iter().filter(|peer| peer.connected).count(), 2, "nobody is dropped for it");
            // A cut, after which both dial again within seconds, whatever the wall clock shows.
            let begun = Instant::now();
            let mut twin = Raw::new(bo.keys.clone(), &ana);
            twin.ahead = ahead;
            let session = twin.session(&ana).await;
            until("Bo is cut off", || async { !sees(&bo, "ana").await }).await;
            drop(session);
            until("Bo is back", || async { sees(&bo, "ana").await && sees(&ana, "bo").await }).await;
            assert!(begun.elapsed().as_secs() < 15);
            ana.set_clock(0);
        }
        ana.works_with(&bo).await;
    });
}

#[test]
fn ten_clones_of_one_liar_do_not_stop_a_node_and_two_members_that_agree_do() {
    run(async {
        let (bo, mallory, eve) = (keys("bo", 2), keys("mallory", 3), keys("eve", 4));
        let members = [(&bo, Role::Contributor), (&mallory, Role::Contributor), (&eve, Role::Contributor)];
        let ana = Clone::found(&keys("ana", 1), &members).await;
        let mut liars = Vec::new();
        for n in 0..10 {
            let mut keys = mallory.clone();
            keys.feed = lansync::keys::FeedKey(lansync::keys::Secret::from_seed([0x40 | n; 32]));
            let mut raw = Raw::new(keys, &ana);
            raw.ahead = 24 * HOUR;
            let session = raw.session(&ana).await;
            liars.push((raw, session));
        }
        // One voice: that is no majority, and is said.
        until("it is said", || async { problem(&ana, "clock").await.is_some() }).await;
        let says = problem(&ana, "clock").await.expect("it was there").message;
        assert_eq!(says, "this machine's clock is 24 h behind that of mallory; one of the two is wrong");
        ana.ask(Request::Invite { role: None, expires: 60, uses: 1 }).await.expect("it is written");
        // Bo agrees with Ana.
        let mut honest = Raw::new(bo.clone(), &ana);
        let mut with_bo = honest.session(&ana).await;
        until("Ana is right", || async { problem(&ana, "clock").await.is_none() }).await;
        // Bo's clock is set: he says so, and then two are against Ana.
        honest.ahead = 24 * HOUR;
        with_bo.say(&Message::Clock(clock::now() + 24 * HOUR.unsigned_abs())).await;
        until("Ana is alone", || async { problem(&ana, "clock").await.is_some() }).await;
        assert!(refused(&ana).await.message.contains("24 h behind those of 2 other members"));
        // Who leaves has no voice.
        liars.clear();
        drop(with_bo);
        until("they are gone", || async { problem(&ana, "clock").await.is_none() }).await;
        ana.ask(Request::Invite { role: None, expires: 60, uses: 1 }).await.expect("it is written");
    });
}

#[test]
fn an_event_of_the_year_2100_is_named_and_holds_up_nobody() {
    run(async {
        let (bo, mallory) = (keys("bo", 2), keys("mallory", 3));
        let ana = Clone::found(&keys("ana", 1), &[(&bo, Role::Contributor), (&mallory, Role::Contributor)]).await;
        let bo = Clone::join(&bo, &ana).await;
        let mut mallory = Raw::new(mallory, &ana);
        let mut session = mallory.session(&ana).await;
        let begun = mallory.certificate();
        let far = Hlc::new(4_102_444_800_000, 0);
        let late = mallory.sign(Draft { hlc: far, ..mallory.draft(offer("late", some_tip()), vec![]) });
        mallory.state.take(late.clone()).expect("it fits");
        // What is on top of it has a later time, so it waits as well.
        let later = mallory.sign(mallory.draft(offer("later", some_tip()), vec![]));
        session.send(&[&begun, &late, &later]).await;
        ana.told("clock", "an event of mallory is ahead of this machine's clock").await;
        let problem = problem(&ana, "held").await.expect("status says it");
        assert!(problem.message.starts_with("an event of mallory waits until 2100-01-01T00:00:00"), "{problem:?}");
        // Not received: in no count, and never passed on. Neither side loops: nothing is said until it is asked again.
        until("her first event is there", || async { bo.status().await.log.events == 5 }).await;
        let ask = |message: &Message| matches!(message, Message::Frontier { .. });
        let mut asked = 0;
        while let Ok(message) = session.messages.try_recv() {
            asked += usize::from(ask(&message));
        }
        assert!(asked <= 1, "the frontier was told once, when the session began");
        ana.works_with(&bo).await;
        while let Ok(message) = session.messages.try_recv() {
            assert!(!ask(&message), "it is asked for again in an hour");
        }
        // Once the clock shows it, it is asked for at once, and counts.
        let until_then = i64::try_from(far.millis() - clock::now()).unwrap();
        ana.set_clock(until_then - i64::try_from(limits::CLOCK_DRIFT.as_millis()).unwrap() + HOUR);
        ana.status().await;
        loop {
            let message = soon("it is asked for", session.messages.recv()).await.expect("the session goes on");
            if ask(&message) {
                break;
            }
        }
        session.send(&[&late, &later]).await;
        until("both count", || async { ana.status().await.log.events == bo.status().await.log.events + 2 }).await;
    });
}

#[test]
fn a_feed_that_is_far_ahead_is_left_behind_once_another_clock_agrees() {
    run(async {
        let bo = keys("bo", 2);
        let ana = Clone::found(&keys("ana", 1), &[(&bo, Role::Contributor)]).await;
        let _bo = Clone::join(&bo, &ana).await;
        until("both are here", || async { ana.status().await.log.feeds == 2 && sees(&ana, "bo").await }).await;
        // One other is no majority: what she writes now is forty days ahead.
        ana.set_clock(40 * 24 * HOUR);
        ana.ask(Request::Invite { role: None, expires: 60, uses: 1 }).await.expect("it is written");
        assert_eq!(problem(&ana, "ahead").await, None);
        ana.set_clock(0);
        until("it is said", || async { problem(&ana, "ahead").await.is_some() }).await;
    });
}
